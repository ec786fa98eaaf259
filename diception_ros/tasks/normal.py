# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Surface normals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Normals
from diception_ros.tasks import Task, check_output_image, check_same_size, check_square

if TYPE_CHECKING:
    from diception_ros.core.prompt import Prompt

Floats = NDArray[np.float32]

# The image has x right, y up, z to the viewer; our frame has x right, y down, z forward.
IMAGE_TO_CAMERA_AXES = np.array([1, -1, -1], np.float32)

# Lengths that a generated vector may have; outside, the pixel is unknown. The evaluation protocol
# of StableNormal masks its truth by the same two numbers. An unknown pixel is encoded as grey,
# length 0; black, which other data sets use for unknown, has length 1.73.
MIN_LENGTH, MAX_LENGTH = 0.5, 1.5

# Window of the noise filter. Noise of sigma 0.05 alone costs 7.2 degrees; radius 1 leaves 1.8,
# radius 2 leaves 1.1, radius 4 leaves 0.9 of them but rounds more of the small shapes.
FILTER_RADIUS = 2
# Below one step of an 8-bit image there is no noise to speak of, and the image stays as it is.
MIN_NOISE = 1 / 255


class Normal(Task[Normals]):
    """Normals as the usual colours: red = right, green = up, blue = to the viewer."""

    def encode(self, label: Normals) -> NDArray[np.float32]:
        """(n + 1) / 2 on the image's axes; unknown pixels mid-grey, a vector of length 0."""
        check_square(label)
        rgb: NDArray[np.float32] = np.nan_to_num(
            (label.vectors * IMAGE_TO_CAMERA_AXES + 1) / 2, nan=0.5
        )
        return rgb

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Normals:
        """Unit vectors, denoised; unknown where the generated vector has no valid length."""
        import cv2

        check_output_image(rgb)
        vectors = np.clip(rgb, 0, 1)
        vectors *= 2
        vectors -= 1
        # Channel by channel: passes over short last axes take three times as long.
        planes = _quieten(vectors)
        length = np.sqrt(_square(planes))
        with np.errstate(divide='ignore'):
            scale = 1 / length
        scale[(length <= MIN_LENGTH) | (length >= MAX_LENGTH)] = np.nan
        for sign, plane in zip(IMAGE_TO_CAMERA_AXES, planes, strict=True):
            plane *= scale if sign > 0 else -scale
        return Normals(np.asarray(cv2.merge(planes), np.float32))

    def score(self, predicted: Normals, truth: Normals) -> dict[str, float]:
        """Angles between predicted and true normals.

        Returns:
            `mean_deg` and `median_deg`; `within_11_25`, `within_22_5`, `within_30`, the shares of
            pixels with a smaller angle; `coverage`, the share of the true pixels for which there
            is a prediction, pixels without one not being in the other numbers. All NaN where no
            pixel of the truth is known.

        Raises:
            ValueError: the sizes differ.

        Source: the protocol of StableNormal and DSINE, which pools the pixels of a data set:
            `diception_ros.evaluation.metrics` does.
        """
        angles = angles_deg(predicted, truth)
        known = int(truth.valid.sum())
        if angles.size == 0:
            angles = np.array([np.nan])
            shares = dict.fromkeys(THRESHOLDS_DEG, float('nan'))
        else:
            shares = {
                name: float(np.mean(angles < limit)) for name, limit in THRESHOLDS_DEG.items()
            }
        return {
            'mean_deg': float(np.mean(angles)),
            'median_deg': float(np.median(angles)),
            **shares,
            'coverage': float((truth.valid & predicted.valid).sum()) / known
            if known
            else float('nan'),
        }


# Customary limits, degrees.
THRESHOLDS_DEG = {'within_11_25': 11.25, 'within_22_5': 22.5, 'within_30': 30.0}


def angles_deg(predicted: Normals, truth: Normals) -> NDArray[np.float64]:
    """Angle at each pixel that both labels know: (K,) float64 in [0, 180], degrees.

    Raises:
        ValueError: the sizes differ.
    """
    check_same_size(predicted, truth)
    both = predicted.valid & truth.valid
    p = predicted.vectors[both].astype(np.float64)
    t = truth.vectors[both].astype(np.float64)
    # Not acos of the dot product: near 0 that turns a rounding error of 1e-7 into 0.03 degrees.
    half = np.arctan2(np.linalg.norm(p - t, axis=1), np.linalg.norm(p + t, axis=1))
    angles: NDArray[np.float64] = np.degrees(2 * half)
    return angles


def _quieten(vectors: Floats) -> list[Floats]:
    """Smooth away as much as is noise, by the image's own measure, and keep edges.

    In each window the variance is compared with that of the noise: a window that holds no more is
    replaced by its mean, one that holds much more is left alone. So an image without noise comes
    back as it was, bit for bit. Returns the channels of vectors (S, S, 3), three of (S, S).

    Source: the filter of Lee (1980), its gain averaged over windows as in He et al., "Guided Image
        Filtering" (2010).
    """
    import cv2

    noise = _noise(vectors)
    planes = [np.asarray(plane, np.float32) for plane in cv2.split(vectors)]
    if noise < 2 * MIN_NOISE:  # vectors span twice the range of the image
        return planes
    means = [_mean(plane) for plane in planes]
    variance = _mean(_square(planes)) - _square(means)
    # Twice the variance of the noise (in three channels): a sample of 25 pixels often exceeds it.
    gain = np.clip(1 - np.float32(6 * noise**2) / np.maximum(variance, np.float32(1e-9)), 0, 1)
    mean_gain, rest = _mean(gain), 1 - gain
    for plane, mean in zip(planes, means, strict=True):
        mean *= rest
        plane *= mean_gain
        plane += _mean(mean)
    return planes


def _mean(plane: Floats) -> Floats:
    """Mean over the window around each pixel of (S, S) float32."""
    import cv2

    return np.asarray(cv2.blur(plane, (2 * FILTER_RADIUS + 1, 2 * FILTER_RADIUS + 1)), np.float32)


def _square(planes: list[Floats]) -> Floats:
    """Squared lengths (S, S) float32 of vectors that are given channel by channel."""
    x, y, z = planes
    out: Floats = x * x
    out += y * y
    out += z * z
    return out


def _noise(vectors: Floats) -> float:
    """Standard deviation of the noise: median size of the mixed second differences.

    Planes have none, edges are few, so what most pixels show is the noise; the mixed difference
    of independent noise is twice as large as the noise, and its median 0.6745 of its deviation.
    """
    if len(vectors) < 2:
        return 0.0
    # Some 200 x 200 places are enough for a median.
    every = max(2, len(vectors) // 192)
    corners = [vectors[y::every, x::every] for y in (0, 1) for x in (0, 1)]
    height, width = corners[3].shape[:2]
    a, b, c, d = (corner[:height, :width] for corner in corners)
    return float(np.median(np.abs(a - b - c + d))) / (2 * 0.6745)


TASK = Normal('normal', '[[image2normal]]', Normals)
