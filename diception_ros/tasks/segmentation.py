# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which pixels belong to the thing at these points?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Mask
from diception_ros.tasks import RESOLUTION, Task, _checks

if TYPE_CHECKING:
    from diception_ros.core.prompt import Prompt

# A painter that is not sure paints grey: what belongs is brighter than this part of the brightest
# spot of this many pixels square, ...
SHARE, SPOT = 0.5, 3
# ... which counts as at least twice as bright as this: in the noise on black nothing belongs.
LEAST = 0.25


class Segmentation:
    """One mask as a picture: the thing white, the rest black.

    Args:
        threshold: how bright a pixel must be that belongs to the thing, in [0, 1]; None: half as
            bright as the brightest spot of the picture, so 0.5 where the thing is painted white.
    """

    name = 'segmentation'
    prompt = '[[image2segmentation]]'
    label = Mask
    takes_points = True
    takes_category = False

    def __init__(self, threshold: float | None = None) -> None:
        self._threshold = threshold

    def text(self, prompt: Prompt) -> str:
        """The task's prompt; the points reach the model by another way.

        Raises:
            ValueError: there is a category, or there are no points.
        """
        _checks.without_category(prompt)
        if not prompt.points:
            raise ValueError(f'task {self.name!r} needs 1 to 5 points, got none')
        return self.prompt

    def encode(self, label: Mask) -> NDArray[np.float32]:
        _checks.square(label)
        return np.repeat(label.values[..., None].astype(np.float32), 3, axis=-1)

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Mask:
        """Pixels whose channel mean is above the threshold.

        The score says how sure the picture is: of the pixels that are brighter than half-way from
        black to the threshold, the share that is brighter than half-way from there to white. It is
        the IoU of the masks that a stricter and a laxer threshold would have given: 1 for pure
        black and white, 0 for grey, and 0 where nothing is bright, since an empty mask is no
        answer to a point. At 0.5, noise of sigma 0.05 (0.03 in the mean of the channels) stays
        eight sigma inside.

        Source: the stability score of Segment Anything, with other thresholds.
        """
        _checks.picture(rgb)
        grey = np.clip(rgb, 0, 1).mean(axis=-1, dtype=np.float32)
        threshold = self._threshold
        if threshold is None:
            threshold = max(LEAST, SHARE * float(cv2.blur(grey, (SPOT, SPOT)).max()))
        lax = int((grey > threshold / 2).sum())
        strict = int((grey > (threshold + 1) / 2).sum())
        return Mask(grey > threshold, strict / lax if lax else 0.0)

    def score(self, predicted: Mask, truth: Mask) -> dict[str, float]:
        """`iou`, intersection over union; NaN where both masks are empty.

        Raises:
            ValueError: the sizes differ.
        """
        _checks.same_size(predicted, truth)
        union = int((predicted.values | truth.values).sum())
        both = int((predicted.values & truth.values).sum())
        return {'iou': both / union if union else float('nan')}

    def example(self, rng: np.random.Generator, size: int = RESOLUTION) -> Mask:
        """A star-shaped blob with a smooth outline and perhaps a hole."""
        rows, columns = np.mgrid[:size, :size]
        x, y = rng.uniform(0.3, 0.7, 2) * size
        angle = np.arctan2(rows - y, columns - x)
        radius = rng.uniform(0.12, 0.28) * size * np.ones_like(angle)
        for wave in range(2, 6):
            radius *= 1 + rng.uniform(0, 0.12) * np.sin(wave * angle + rng.uniform(0, 2 * np.pi))
        distance = np.hypot(rows - y, columns - x)
        hole = rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0
        return Mask((distance < radius) & (distance >= hole * radius))


TASK: Task[Mask] = Segmentation()
