# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Resizing of maps: blended where values may be blended, picked where they may not.

Both functions follow the pixel convention of `diception_ros.images`: pixel centres at whole
numbers, x becoming (x + 0.5) s - 0.5, so maps stay in step with points and keypoints.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

ScalarT = TypeVar('ScalarT', bound=np.generic)


def nearest(values: NDArray[ScalarT], size: tuple[int, int]) -> NDArray[ScalarT]:
    """Pick for each new pixel the old pixel that its centre falls into; invents no value.

    Args:
        values: (H, W) or (H, W, C) any dtype.
        size: new (H, W), pixels.

    Returns:
        New array of that size and the same dtype.
    """
    # Not cv2.INTER_NEAREST, which picks by the pixel's corner and so shifts by half a pixel.
    height, width = values.shape[:2]
    rows = (2 * np.arange(size[0]) + 1) * height // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * width // (2 * size[1])
    out: NDArray[ScalarT] = values[rows][:, columns]
    return out


def linear(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Blend neighbours: linearly where a side grows, by pixel area where it shrinks.

    Unknown pixels take no part: a new pixel is the blend of the known ones under it, and is
    unknown itself where these make up less than half of its weight. Where a side shrinks, the
    result is in step with points to a tenth of an old pixel.

    Args:
        values: (H, W) or (H, W, C) float32, NaN where unknown (in all C channels at once).
        size: new (H, W), pixels.

    Returns:
        New float32 array of that size.
    """
    known = ~np.isnan(values if values.ndim == 2 else values[..., 0])
    if known.all():
        return _blend(values, size)
    weight = _blend(known.astype(np.float32), size)
    mask = known if values.ndim == 2 else known[..., None]
    total = _blend(np.where(mask, values, np.float32(0)), size)
    share = weight if values.ndim == 2 else weight[..., None]
    with np.errstate(invalid='ignore', divide='ignore'):
        mean = total / share
    return np.where(share >= 0.5, mean, np.float32(np.nan)).astype(np.float32)


def _blend(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    # One axis at a time, because cv2.INTER_AREA falls back to something else as soon as one side
    # shrinks while the other grows, which a portrait picture on the square does.
    width = _resize(values, (values.shape[0], size[1]))
    return _resize(width, size)


def _resize(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if values.shape[:2] == size:
        return values
    shrinks = size[0] <= values.shape[0] and size[1] <= values.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    source: NDArray[Any] = np.ascontiguousarray(values)
    out: NDArray[Any] = cv2.resize(source, (size[1], size[0]), interpolation=how)
    return out
