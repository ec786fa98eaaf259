# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where frames wait between the callbacks that bring them and the worker that answers them.

Nothing here blocks a callback, and every frame is accounted for: at each moment received =
processed + dropped + failed + waiting, where the frame in work still counts as waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import threading
import time
from typing import Any, Literal

# What became of a frame. 'idle': nobody listened to an answer.
Outcome = Literal['processed', 'failed', 'idle']


@dataclass(frozen=True)
class Counts:
    """Frames of one camera since the node was configured.

    Attributes:
        received: all of them.
        processed: answered, and the answers published.
        failed: not answered because the message or the model was at fault.
        replaced: dropped because a newer one came (policy latest).
        overflowed: dropped because the queue was full (policy all).
        idle: dropped because nobody listened to an answer.
        stopped: dropped because the node was deactivated, or the clock jumped back.
        waiting: in a slot or in work.
    """

    received: int = 0
    processed: int = 0
    failed: int = 0
    replaced: int = 0
    overflowed: int = 0
    idle: int = 0
    stopped: int = 0
    waiting: int = 0

    @property
    def dropped(self) -> int:
        """Not answered although there was nothing wrong with them."""
        return self.replaced + self.overflowed + self.idle + self.stopped


@dataclass(frozen=True)
class Ticket:
    """A frame in work.

    Attributes:
        camera: where it comes from.
        message: what came.
        arrived: when, by the slots' clock, seconds.
    """

    camera: str
    message: Any
    arrived: float


class Slots:
    """One queue for each camera, served in turn.

    Args:
        cameras: their names, at least one.
        size: frames that may wait for each camera.
        keep: which frame stays when there is no place: 'newest' or 'oldest'.
        clock: seconds that never jump; the tests give another one.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        size: int = 1,
        keep: Literal['newest', 'oldest'] = 'newest',
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queues: dict[str, deque[Ticket]] = {camera: deque() for camera in cameras}
        self._counts = {camera: Counts() for camera in cameras}
        self._due = dict.fromkeys(cameras, float('-inf'))
        # Served last comes last: the order of the dictionary is the order of service.
        self._order = list(cameras)
        self._size, self._keep, self._clock = size, keep, clock
        self._changed = threading.Condition()
        self._open = False
        self._period = 0.0

    def open(self) -> None:
        """Let frames wait and be taken."""
        with self._changed:
            self._open = True

    def close(self) -> None:
        """Drop what waits and let nobody wait in `take` any longer."""
        with self._changed:
            self._open = False
            self._clear()
            self._changed.notify_all()

    def clear(self) -> None:
        """Drop what waits, but not what is in work."""
        with self._changed:
            self._clear()

    def limit(self, rate: float) -> None:
        """Frames of each camera that may be taken per second; 0 for all."""
        with self._changed:
            self._period = 1 / rate if rate else 0.0
            self._due = dict.fromkeys(self._due, float('-inf'))
            self._changed.notify_all()

    def put(self, camera: str, message: Any) -> None:
        """Let a frame wait; never blocks."""
        with self._changed:
            self._count(camera, received=1)
            if not self._open:
                self._count(camera, stopped=1)
                return
            queue = self._queues[camera]
            if len(queue) == self._size:
                if self._keep == 'oldest':
                    self._count(camera, overflowed=1)
                    return
                queue.popleft()
                self._count(camera, replaced=1, waiting=-1)
            queue.append(Ticket(camera, message, self._clock()))
            self._count(camera, waiting=1)
            self._changed.notify()

    def take(self) -> Ticket | None:
        """Wait for a frame, cameras in turn; None once the slots are closed."""
        with self._changed:
            while self._open:
                now = self._clock()
                ready = [camera for camera in self._order if self._queues[camera]]
                for camera in ready:
                    if self._due[camera] <= now:
                        self._order.remove(camera)
                        self._order.append(camera)
                        # From when it was due rather than from now, or a camera of 30 Hz and a
                        # limit of 20 Hz would come to 15 Hz; but not to make up for a pause.
                        due = self._due[camera]
                        since = due if now - due < self._period else now
                        self._due[camera] = since + self._period
                        return self._queues[camera].popleft()
                soon = min((self._due[camera] for camera in ready), default=None)
                self._changed.wait(None if soon is None else soon - now)
            return None

    def done(self, camera: str, outcome: Outcome) -> None:
        """Say what became of a frame that was taken; once for each."""
        with self._changed:
            self._count(camera, waiting=-1, **{outcome: 1})

    def counts(self) -> dict[str, Counts]:
        """By camera, all of one moment."""
        with self._changed:
            return dict(self._counts)

    def _clear(self) -> None:
        for camera, queue in self._queues.items():
            self._count(camera, stopped=len(queue), waiting=-len(queue))
            queue.clear()

    def _count(self, camera: str, **more: int) -> None:
        old = self._counts[camera]
        self._counts[camera] = replace(
            old, **{name: getattr(old, name) + number for name, number in more.items()}
        )
