# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The queue between the image callbacks and the worker; where frames are dropped.

No method blocks a callback, and every frame is accounted for: at each moment received =
processed + dropped + failed + waiting, where the frame in work still counts as waiting.

Where the newest frame is kept, frames that will be replaced stay in the middleware: the executor
takes images only while the worker waits for one (`accepts`), and the worker first takes what
arrived in the meantime (`pull`). Frames that the middleware replaced are counted by their numbers.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import threading
import time
from typing import Any, Literal

# What happened to a frame. 'idle': no output had a subscriber. 'stopped': the categories changed
# while it was in work.
Outcome = Literal['processed', 'failed', 'idle', 'stopped']


@dataclass(frozen=True)
class Counts:
    """Frames of one camera since the node was configured.

    Attributes:
        received: all of them.
        processed: results were published.
        failed: the message or the model was at fault.
        replaced: dropped because a newer one arrived (policy latest).
        overflowed: dropped because the queue was full (policy all).
        idle: dropped because no output had a subscriber.
        stopped: dropped because the node was deactivated, the clock jumped back, or the categories
            changed while it was in work.
        waiting: queued or in work.
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
        """Dropped without a fault."""
        return self.replaced + self.overflowed + self.idle + self.stopped


@dataclass(frozen=True)
class QueuedFrame:
    """An image message that waits or is in work, and when it was queued, seconds of that clock."""

    camera: str
    message: Any
    arrived: float


LONGEST_WAIT_S = 3600.0


class FrameQueue:
    """One queue per camera, served in turn.

    Args:
        cameras: their names, at least one.
        size: frames that may wait for each camera.
        keep: which frames stay when the queue is full: 'newest' or 'oldest'.
        clock: monotonic, seconds.
        pull: takes what the middleware holds of a camera and calls `put` for it; called by `get`
            and `refresh`, without the lock. None: nothing is left there, all is `put`.
        wake: called when `accepts` becomes true.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        size: int = 1,
        keep: Literal['newest', 'oldest'] = 'newest',
        clock: Callable[[], float] = time.monotonic,
        pull: Callable[[str], object] | None = None,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        self._queues: dict[str, deque[QueuedFrame]] = {camera: deque() for camera in cameras}
        self._counts: dict[str, Counter[str]] = {camera: Counter() for camera in cameras}
        self._due = dict.fromkeys(cameras, float('-inf'))
        # Served last comes last: the order of the dictionary is the order of service.
        self._order = list(cameras)
        self._size, self._keep, self._clock = size, keep, clock
        self._pull, self._wake = pull if keep == 'newest' else None, wake
        self._accepting = False
        self._changed = threading.Condition()
        self._open = False
        self._period = 0.0

    def open(self) -> None:
        """Accept frames."""
        with self._changed:
            self._open = True

    def close(self) -> None:
        """Drop queued frames, accept no more, and end every `get`."""
        with self._changed:
            self._open = False
            self._clear()
            self._changed.notify_all()

    def clear(self) -> None:
        """Drop queued frames, but not the one in work."""
        with self._changed:
            self._clear()

    def limit(self, rate: float) -> None:
        """Limit the frames per second of each camera; 0: no limit."""
        with self._changed:
            self._period = 1 / rate if rate else 0.0
            self._due = dict.fromkeys(self._due, float('-inf'))
            self._changed.notify_all()

    def accepts(self, camera: str) -> bool:
        """Whether an image of this camera should be taken from the middleware now."""
        if self._pull is None:
            return True
        with self._changed:
            return self._accepting and self._due[camera] <= self._clock()

    def put(self, camera: str, message: Any, skipped: int = 0) -> None:
        """Queue a frame, or drop one; never blocks.

        `skipped` is the number of frames before it that the middleware replaced.
        """
        with self._changed:
            self._count(camera, received=1 + skipped, replaced=skipped)
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
            queue.append(QueuedFrame(camera, message, self._clock()))
            self._count(camera, waiting=1)
            self._accepting = False
            self._changed.notify()

    def refresh(self) -> None:
        """Count and queue what the middleware holds, and let the executor look for events."""
        for camera in self._queues:
            if self._pull is not None and not self.accepts(camera):
                self._pull(camera)
        self._wake()

    def get(self) -> QueuedFrame | None:
        """Wait for a frame, cameras in turn; None once the queue is closed."""
        while True:
            with self._changed:
                now = self._clock()
                due = [camera for camera in self._order if self._due[camera] <= now]
            for camera in due:
                if self._pull is not None:
                    self._pull(camera)
                if self._queues[camera]:
                    break
            with self._changed:
                if not self._open:
                    return None
                for camera in due:
                    if self._due[camera] <= now and self._queues[camera]:
                        self._order.remove(camera)
                        self._order.append(camera)
                        # From when it was due rather than from now, or a camera of 30 Hz and a
                        # limit of 20 Hz would come to 15 Hz; but not to make up for a pause.
                        since = self._due[camera]
                        since = since if now - since < self._period else now
                        self._due[camera] = since + self._period
                        return self._queues[camera].popleft()
                self._wait(now)

    def _wait(self, now: float) -> None:
        """Wait until a frame is put or due, or something changed."""
        if any(self._queues[camera] and self._due[camera] <= now for camera in self._order):
            return  # it was put meanwhile
        # A frame of a camera that is not due may be in the queue or, unseen, in the middleware.
        soon = min((due for due in self._due.values() if due > now), default=None)
        if self._pull is not None:
            self._accepting = True
            self._wake()
        # Bounded: at 1e-300 Hz a frame is due after more seconds than a lock can wait.
        self._changed.wait(None if soon is None else min(soon - now, LONGEST_WAIT_S))
        self._accepting = False

    def task_done(self, camera: str, outcome: Outcome) -> None:
        """Count the outcome of a frame returned by `get`; call it once for each."""
        with self._changed:
            self._count(camera, waiting=-1, **{outcome: 1})

    def counts(self) -> dict[str, Counts]:
        """Counts by camera, all of one moment."""
        with self._changed:
            return {camera: Counts(**count) for camera, count in self._counts.items()}

    def _clear(self) -> None:
        for camera, queue in self._queues.items():
            self._count(camera, stopped=len(queue), waiting=-len(queue))
            queue.clear()

    def _count(self, camera: str, **more: int) -> None:
        self._counts[camera].update(more)
