# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One scale and shift for all frames of a camera, from sums alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.geometry import Affine
from diception_ros.labels import Disparity, MetricDepth
from diception_ros.replay.truth import resized


class Affines:
    """Fits disparities to 1/depth, each task of each camera by itself, frame after frame."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], NDArray[np.float64]] = {}

    def add(self, camera: str, answers: dict[str, Any], truths: dict[str, Any]) -> None:
        """Take the pixels of a frame in."""
        for task, answer in answers.items():
            true = truths.get(task)
            if not (isinstance(answer, Disparity) and isinstance(true, MetricDepth)):
                continue
            x = resized(answer, true.size).values.astype(np.float64)
            y = 1 / true.values.astype(np.float64)
            # Zeros are left out, as where each frame is fitted: it may have been cut off there.
            known = np.isfinite(x) & np.isfinite(y) & (x > 0)
            x, y = x[known], y[known]
            sums = np.array([x.size, x.sum(), y.sum(), x @ x, x @ y])
            key = camera, task
            self._sums[key] = self._sums.get(key, np.zeros(5)) + sums

    def found(self) -> dict[tuple[str, str], Affine]:
        """Scale and shift (1/m) by camera and task; NaN where nothing is known."""
        found = {}
        for key, (n, x, y, xx, xy) in self._sums.items():
            variance = n * xx - x * x
            scale = (n * xy - x * y) / variance if variance > 0 else 0.0
            found[key] = Affine(float(scale), float((y - scale * x) / n) if n else float('nan'))
        return found
