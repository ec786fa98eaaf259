# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Log lines and progress bars of long work: on a terminal for commands, a logger for libraries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import logging
import sys
from typing import Any, TypeVar

ItemT = TypeVar('ItemT')


class Bar:
    """Progress towards a total; this one shows nothing.

    Attributes:
        n: how much is done.
    """

    def __init__(self) -> None:
        self.n: float = 0

    def update(self, count: float = 1) -> Any:
        """Add to what is done."""
        self.n += count

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Show a text after the bar."""


class Progress:
    """What a workflow reports while it works: log lines go to the logger `diception_ros`."""

    shown = False  # whether bars are drawn

    def log(self, text: str) -> None:
        """Log one line."""
        logging.getLogger('diception_ros').info(text)

    @contextlib.contextmanager
    def bar(self, total: float, description: str = '', unit: str = 'it') -> Iterator[Bar]:
        """A progress bar.

        Args:
            total: what `update` adds up to.
            description: in front of the bar.
            unit: what is counted.
        """
        yield Bar()

    def each(
        self, items: Iterable[ItemT], total: int, description: str = '', unit: str = 'it'
    ) -> Iterator[ItemT]:
        """The items, with a bar that counts them."""
        with self.bar(total, description, unit) as bar:
            for item in items:
                yield item
                bar.update()


class ConsoleProgress(Progress):
    """Log lines and tqdm bars on stderr."""

    shown = True

    def log(self, text: str) -> None:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    @contextlib.contextmanager
    def bar(self, total: float, description: str = '', unit: str = 'it') -> Iterator[Any]:
        from tqdm import tqdm

        with tqdm(total=total, desc=description or None, unit=unit, file=sys.stderr) as bar:
            yield bar


SILENT = Progress()
