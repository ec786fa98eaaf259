# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Threads that work before and behind the model, so that it does not wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

ItemT = TypeVar('ItemT')
_END: Any = object()


def ahead(items: Iterator[ItemT], depth: int) -> Iterator[ItemT]:
    """The items, worked out by another thread while the last ones are in use.

    Args:
        items: what they raise is raised here, in their turn.
        depth: so many at most are kept.
    """
    with ThreadPoolExecutor(1, thread_name_prefix='reader') as pool:
        waiting: deque[Future[ItemT]] = deque()
        try:
            while True:
                while len(waiting) < depth:
                    waiting.append(pool.submit(next, items, _END))
                item = waiting.popleft().result()
                if item is _END:
                    return
                yield item
        finally:
            for one in waiting:
                one.cancel()


class Behind:
    """Does things in their order in another thread, and none after one that failed; in a `with`.

    Args:
        depth: so many at most wait.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='writer')
        return self

    def do(self, what: Callable[..., None], *arguments: Any) -> None:
        """Let it be done soon; raises what earlier things raised."""
        while len(self._waiting) >= self._depth or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._do, what, *arguments))

    def _do(self, what: Callable[..., None], *arguments: Any) -> None:
        if self._failed:
            return
        try:
            what(*arguments)
        except BaseException:
            self._failed = True
            raise

    def wait(self) -> None:
        """Until all is done; raises what was raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error nothing more is done: what comes later must not stand without it.
        if kind is not None:
            for one in self._waiting:
                one.cancel()
        self._pool.shutdown(wait=True)
