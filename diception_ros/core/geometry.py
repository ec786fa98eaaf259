# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From disparity to metres and back, and what depth and a pinhole say together.

The frame is the camera optical frame throughout: x right, y down, z forward, metres.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Intrinsics
from diception_ros.core.labels import Disparity, MetricDepth


class ScaleShift(NamedTuple):
    """The map value -> scale * value + shift."""

    scale: float
    shift: float


def fit_scale_shift(
    source: NDArray[np.floating[Any]],
    target: NDArray[np.floating[Any]],
    valid: NDArray[np.bool_] | None = None,
) -> ScaleShift:
    """Scale and shift that bring one map closest to another in the least-squares sense.

    To give a disparity metres, fit it to the inverse of sparse metric depths, in 1/m, and hand the
    result to `to_metric`.

    Args:
        source: any shape, float, NaN = unknown.
        target: the same shape, float, any unit, NaN = unknown.
        valid: the same shape, bool: pixels that count; None = all. Unknown ones never count.

    Returns:
        Scale and shift, in the target's unit. A source that is constant gives scale 0 and the
        mean of the target; where nothing is known both are NaN.

    Raises:
        ValueError: the shapes differ.
    """
    if source.shape != target.shape:
        raise ValueError(
            f'fit_scale_shift: expected maps of one shape, got {source.shape} and {target.shape}'
        )
    known = np.isfinite(source) & np.isfinite(target)
    if valid is not None:
        known &= valid
    # Centred and in float64: the normal equations lose half the digits otherwise.
    x, y = source[known].astype(np.float64), target[known].astype(np.float64)
    if x.size == 0:
        return ScaleShift(float('nan'), float('nan'))
    mean_x, mean_y = float(x.mean()), float(y.mean())
    x -= mean_x
    variance = float(x @ x)
    scale = float(x @ (y - mean_y)) / variance if variance > 0 else 0.0
    return ScaleShift(scale, mean_y - scale * mean_x)


def to_disparity(depth: MetricDepth) -> tuple[Disparity, ScaleShift]:
    """Inverse depth, stretched to [0, 1] so that the nearest pixel is 1 and the farthest 0.

    Args:
        depth: metres.

    Returns:
        The disparity, and the scale and shift (1/m) with which `to_metric` leads back. Where all
        depths are equal there is no span to stretch: the disparity is 0.5 and the scale 0. Where
        none is known, all are NaN.

    Source: inverse depth and min-max are how the authors' code (dataset.py) makes its targets; its
        2 % and 98 % quantiles cancel out.
    """
    inverse = 1 / depth.values.astype(np.float64)
    if not depth.valid.any():
        return Disparity(depth.values), ScaleShift(float('nan'), float('nan'))
    low, high = float(np.nanmin(inverse)), float(np.nanmax(inverse))
    span = high - low
    stretched = (inverse - low) / span if span > 0 else inverse * 0 + 0.5
    # Of a constant depth the shift alone carries the distance.
    return Disparity(stretched.astype(np.float32)), ScaleShift(span, low)


def to_metric(disparity: Disparity, affine: ScaleShift) -> MetricDepth:
    """Depth in metres; inverse of `to_disparity`.

    Args:
        disparity: unitless.
        affine: scale and shift in 1/m that turn the disparity into inverse depth.

    Returns:
        Metres; unknown where the inverse depth is not positive, that is beyond infinity.
    """
    inverse = disparity.values.astype(np.float64) * affine.scale + affine.shift
    farthest = float(np.finfo(np.float32).max) / 2
    with np.errstate(divide='ignore', invalid='ignore'):
        metres = np.where(inverse * farthest > 1, 1 / inverse, np.nan)
    return MetricDepth(metres.astype(np.float32))


@functools.lru_cache(maxsize=8)
def axes(
    size: tuple[int, ...], intrinsics: Intrinsics
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The rays of an image's pixels: x / z of each column and y / z of each row.

    Args:
        size: (H, W), pixels.
        intrinsics: pinhole of the image.

    Returns:
        (W,) and (H,) float32, read-only.
    """
    out = (
        (np.arange(size[1], dtype=np.float32) - np.float32(intrinsics.cx))
        / np.float32(intrinsics.fx),
        (np.arange(size[0], dtype=np.float32) - np.float32(intrinsics.cy))
        / np.float32(intrinsics.fy),
    )
    for item in out:
        item.flags.writeable = False
    return out


def back_project(depth: MetricDepth, intrinsics: Intrinsics) -> NDArray[np.float32]:
    """The point in space that each pixel shows.

    Args:
        depth: metres along the optical axis.
        intrinsics: pinhole of the same image.

    Returns:
        (H, W, 3) float32, metres, camera optical frame; NaN where the depth is unknown.
    """
    x, y = axes(depth.size, intrinsics)
    z = depth.values
    return np.stack([z * x, z * y[:, None], z], axis=-1)
