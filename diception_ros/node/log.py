# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Log messages once per kind, so that a fault of every frame is one line. Knows no ROS."""

from __future__ import annotations

import threading
from typing import Protocol

# Broken messages may differ in endless ways.
KINDS = 30


class Logger(Protocol):
    """The methods of rclpy's logger that are used."""

    def info(self, message: str) -> object: ...
    def warning(self, message: str) -> object: ...
    def error(self, message: str) -> object: ...


class Log:
    """A logger that can log each kind of message once; safe between threads.

    Args:
        logger: writes the messages.

    Attributes:
        last_error: text of the last error, '' before the first.
    """

    def __init__(self, logger: Logger) -> None:
        self.last_error = ''
        self._logger = logger
        self._logged: set[str] = set()
        self._lock = threading.Lock()

    def info(self, text: str) -> None:
        """Log at level INFO."""
        self._logger.info(text)

    def warning(self, text: str) -> None:
        """Log at level WARN."""
        self._logger.warning(text)

    def error(self, text: str) -> None:
        """Log at level ERROR and store it as `last_error`."""
        self.last_error = text
        self._logger.error(text)

    def info_once(self, kind: str, text: str) -> None:
        """Log at level INFO unless this kind was logged before."""
        if self._is_new(kind):
            self._logger.info(text)

    def warning_once(self, kind: str, text: str) -> None:
        """Log at level WARN unless this kind was logged before."""
        if self._is_new(kind):
            self._logger.warning(text)

    def error_once(self, kind: str, text: str) -> None:
        """Log at level ERROR unless this kind was logged before; always store `last_error`."""
        self.last_error = text
        if self._is_new(kind):
            self._logger.error(text)

    def again(self, kind: str) -> None:
        """Log the next message of this kind again."""
        with self._lock:
            self._logged.discard(kind)

    def _is_new(self, kind: str) -> bool:
        with self._lock:
            if kind in self._logged or len(self._logged) > KINDS:
                return False
            self._logged.add(kind)
            full = len(self._logged) > KINDS
        if full:
            self._logger.warning(
                f'{KINDS} kinds of problems were logged; others are only counted, see /diagnostics'
            )
        return not full
