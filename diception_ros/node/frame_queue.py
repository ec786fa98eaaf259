# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The queue between the image callbacks and the worker; where frames are dropped.

No method blocks a callback, and every frame is accounted for: at each moment received =
processed + dropped + failed + waiting, where the frame in work still counts as waiting.
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
    """An image message that waits, or is in work.

    Attributes:
        camera: its name.
        message: sensor_msgs/Image or CompressedImage.
        arrived: when it was queued, seconds of the queue's clock.
    """

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
    """

    def __init__(
        self,
        cameras: Sequence[str],
        size: int = 1,
        keep: Literal['newest', 'oldest'] = 'newest',
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queues: dict[str, deque[QueuedFrame]] = {camera: deque() for camera in cameras}
        self._counts: dict[str, Counter[str]] = {camera: Counter() for camera in cameras}
        self._due = dict.fromkeys(cameras, float('-inf'))
        # Served last comes last: the order of the dictionary is the order of service.
        self._order = list(cameras)
        self._size, self._keep, self._clock = size, keep, clock
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

    def put(self, camera: str, message: Any) -> None:
        """Queue a frame, or drop one; never blocks."""
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
            queue.append(QueuedFrame(camera, message, self._clock()))
            self._count(camera, waiting=1)
            self._changed.notify()

    def get(self) -> QueuedFrame | None:
        """Wait for a frame, cameras in turn; None once the queue is closed."""
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
                # Bounded: at 1e-300 Hz a frame is due after more seconds than a lock can wait.
                self._changed.wait(None if soon is None else min(soon - now, LONGEST_WAIT_S))
            return None

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
