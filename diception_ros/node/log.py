# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The log of a node, where nothing is said thousands of times. Knows no ROS."""

from __future__ import annotations

import threading
from typing import Protocol

# Broken messages may differ in endless ways.
KINDS = 30


class Logger(Protocol):
    """What of rclpy's logger is used."""

    def info(self, message: str) -> object: ...
    def warning(self, message: str) -> object: ...
    def error(self, message: str) -> object: ...


class Log:
    """Says each kind of thing once; may be shared between threads.

    Args:
        logger: that prints.

    Attributes:
        last_error: what was last said as an error, '' before.
    """

    def __init__(self, logger: Logger) -> None:
        self.last_error = ''
        self._logger = logger
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def info(self, text: str) -> None:
        """Say it."""
        self._logger.info(text)

    def warning(self, text: str) -> None:
        """Say it."""
        self._logger.warning(text)

    def error(self, text: str) -> None:
        """Say it, and remember it."""
        self.last_error = text
        self._logger.error(text)

    def info_once(self, kind: str, text: str) -> None:
        """Say it if nothing of this kind was said."""
        if self._new(kind):
            self._logger.info(text)

    def warning_once(self, kind: str, text: str) -> None:
        """Say it if nothing of this kind was said."""
        if self._new(kind):
            self._logger.warning(text)

    def error_once(self, kind: str, text: str) -> None:
        """Say it if nothing of this kind was said; remember it in any case."""
        self.last_error = text
        if self._new(kind):
            self._logger.error(text)

    def again(self, kind: str) -> None:
        """Things of this kind are news once more."""
        with self._lock:
            self._said.discard(kind)

    def _new(self, kind: str) -> bool:
        with self._lock:
            if kind in self._said or len(self._said) > KINDS:
                return False
            self._said.add(kind)
            last = len(self._said) > KINDS
        if last:
            self._logger.warning(
                f'{KINDS} kinds of trouble were told; others are only counted, see /diagnostics'
            )
        return not last
