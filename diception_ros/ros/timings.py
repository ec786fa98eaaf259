# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long things took lately, and how often they happened."""

from __future__ import annotations

from collections import deque
import threading

import numpy as np

# Enough for a p99 that is no maximum, and a minute of a slow camera.
KEPT = 300


class Timings:
    """Percentiles of the last seconds of each kind; may be shared between threads."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, seconds: float) -> None:
        """Note how long one took."""
        with self._lock:
            self._kept.setdefault(kind, deque(maxlen=KEPT)).append(seconds)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()

    def milliseconds(self) -> dict[str, tuple[float, float]]:
        """(p50, p99) of each kind in milliseconds, in alphabetical order."""
        with self._lock:
            kept = {kind: list(seconds) for kind, seconds in sorted(self._kept.items())}
        return {
            kind: tuple(float(p) for p in np.percentile(seconds, (50, 99)) * 1000)  # type: ignore[misc]
            for kind, seconds in kept.items()
        }


class Rate:
    """How often per second a counter rises, over the last few seconds.

    Args:
        window: seconds that are looked back.
    """

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, count: int) -> float:
        """Note a counter and say its rate, 1/s.

        Args:
            now: steady time, seconds.
            count: of all so far.
        """
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[0][0] > self._window:
            self._seen.popleft()
        before, then = self._seen[0]
        return (count - then) / (now - before) if now > before else 0.0
