# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of the object at given points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Mask
from diception_ros.tasks import Task, check_output_image, check_same_size, check_square

if TYPE_CHECKING:
    from diception_ros.core.prompt import Prompt

# Low-confidence regions are grey: a pixel of the object is brighter than this share of the
# brightest spot of so many pixels square, ...
FOREGROUND_SHARE, SPOT_SIZE = 0.5, 3
# ... which counts as at least twice as bright as this, so that noise on black gives no object.
MIN_PEAK_BRIGHTNESS = 0.25


@dataclass(frozen=True)
class Segmentation(Task[Mask]):
    """One mask as an image: the object white, the rest black.

    Attributes:
        threshold: brightness above which a pixel belongs to the object, in [0, 1]; None: half as
            bright as the brightest spot of the image, so 0.5 for a white object.
    """

    threshold: float | None = None

    def encode(self, label: Mask) -> NDArray[np.float32]:
        check_square(label)
        return np.repeat(label.values[..., None].astype(np.float32), 3, axis=-1)

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Mask:
        """Pixels whose channel mean is above the threshold.

        The score measures confidence: of the pixels that are brighter than half-way from
        black to the threshold, the share that is brighter than half-way from there to white. It is
        the IoU of the masks that a stricter and a laxer threshold would have given: 1 for pure
        black and white, 0 for grey, and 0 where nothing is bright, since a point is always on
        something. At 0.5, noise of sigma 0.05 (0.03 in the mean of the channels) stays eight
        sigma inside.

        Source: the stability score of Segment Anything, with other thresholds.
        """
        check_output_image(rgb)
        grey = np.clip(rgb, 0, 1).mean(axis=-1, dtype=np.float32)
        threshold = self.threshold
        if threshold is None:
            threshold = max(
                MIN_PEAK_BRIGHTNESS,
                FOREGROUND_SHARE * float(cv2.blur(grey, (SPOT_SIZE, SPOT_SIZE)).max()),
            )
        lax = int((grey > threshold / 2).sum())
        strict = int((grey > (threshold + 1) / 2).sum())
        return Mask(grey > threshold, strict / lax if lax else 0.0)

    def score(self, predicted: Mask, truth: Mask) -> dict[str, float]:
        """`iou`, intersection over union; NaN where both masks are empty.

        Raises:
            ValueError: the sizes differ.
        """
        check_same_size(predicted, truth)
        union = int((predicted.values | truth.values).sum())
        both = int((predicted.values & truth.values).sum())
        return {'iou': both / union if union else float('nan')}


TASK = Segmentation('segmentation', '[[image2segmentation]]', Mask, takes_points=True)
