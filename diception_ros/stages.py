# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the seconds of an answer go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib

# The parts of the work whose seconds are told, in their order.
STAGES = ('fit', 'encode', 'denoise', 'decode', 'read')


class Clock:
    """Seconds of each stage of each answer.

    Args:
        answers: how many there are.
        now: seconds since any moment, read when all work that was begun is done.

    Attributes:
        seconds: for each answer, by stage.
    """

    def __init__(self, answers: int, now: Callable[[], float]) -> None:
        self.seconds = [dict.fromkeys(STAGES, 0.0) for _ in range(answers)]
        self._now = now

    @contextlib.contextmanager
    def stage(self, name: str, answers: Sequence[int]) -> Iterator[None]:
        """Charge what happens inside to these answers in equal shares."""
        start = self._now()
        yield
        share = (self._now() - start) / max(1, len(answers))
        for answer in answers:
            self.seconds[answer][name] += share
