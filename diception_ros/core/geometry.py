# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Disparity and metric depth, robust alignment to known depths, and the rays of a pinhole.

The frame is the camera optical frame throughout: x right, y down, z forward, metres.
"""

from __future__ import annotations

from dataclasses import dataclass
import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Intrinsics
from diception_ros.core.labels import Disparity, MetricDepth

if TYPE_CHECKING:
    from diception_ros.core.settings import FitCriteria


class ScaleShift(NamedTuple):
    """The map value -> scale * value + shift."""

    scale: float
    shift: float


class ScaleShiftMoments:
    """Moments of pairs (x, y) that come in parts, for the least-squares y = scale * x + shift.

    Centred and in float64: the normal equations lose half the digits otherwise.

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
        Sample Variances (1979).
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean_x = self._mean_y = 0.0
        self._variance = self._covariance = 0.0  # times the count

    def update(self, x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]) -> None:
        """Add pairs, (N,) each, all finite."""
        if not x.size:
            return
        x, y = x.astype(np.float64), y.astype(np.float64)
        mean_x, mean_y = float(x.mean()), float(y.mean())
        x -= mean_x
        variance, covariance = float(x @ x), float(x @ (y - mean_y))
        total = self._count + len(x)
        share = len(x) / total
        step_x, step_y = mean_x - self._mean_x, mean_y - self._mean_y
        between = self._count * share
        self._variance += variance + step_x * step_x * between
        self._covariance += covariance + step_x * step_y * between
        self._mean_x += step_x * share
        self._mean_y += step_y * share
        self._count = total

    def fit(self) -> ScaleShift:
        """Scale 0 and the mean of y where x is constant; NaN without pairs."""
        if not self._count:
            return ScaleShift(float('nan'), float('nan'))
        scale = self._covariance / self._variance if self._variance > 0 else 0.0
        return ScaleShift(scale, self._mean_y - scale * self._mean_x)


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
    moments = ScaleShiftMoments()
    moments.update(source[known], target[known])
    return moments.fit()


def to_disparity(depth: MetricDepth) -> tuple[Disparity, ScaleShift]:
    """Inverse depth, stretched to [0, 1] so that the nearest pixel is 1 and the farthest 0.

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


def to_metric(disparity: Disparity, scale_shift: ScaleShift) -> MetricDepth:
    """Depth in metres, by a scale and shift in 1/m from disparity to inverse depth.

    Inverse of `to_disparity`. Unknown where the inverse depth is not positive, beyond infinity.
    """
    inverse = disparity.values.astype(np.float64) * scale_shift.scale + scale_shift.shift
    farthest = float(np.finfo(np.float32).max) / 2
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        metres = np.where(inverse * farthest > 1, 1 / inverse, np.nan)
    return MetricDepth(metres.astype(np.float32))


@functools.lru_cache(maxsize=8)
def axes(
    size: tuple[int, ...], intrinsics: Intrinsics
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The rays of an image's pixels: x / z of each column and y / z of each row.

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

    Returns:
        (H, W, 3) float32, metres, camera optical frame; NaN where the depth is unknown.
    """
    x, y = axes(depth.size, intrinsics)
    z = depth.values
    return np.stack([z * x, z * y[:, None], z], axis=-1)


# Scale and shift of a disparity from depths that are known somewhere, of which many are wrong. The
# model is 1/depth = scale * disparity + shift; the error of a reference is predicted depth / known
# depth - 1. Outliers (seen past an edge by a lidar that stands elsewhere,
# mirrored, out of range) have no say at all.

# More references than this are thinned out: the fit is then good to some thousandths, in 6 ms.
MAX_REFERENCES = 4096
# Lines through two references that are tried. With 30 % wrong references every second is through
# two right ones, with 60 % every sixth: enough of them are near the truth in spite of noise.
_HYPOTHESES = 400
_JUDGING_REFERENCES = 1024  # references that judge a line
# Share of [0, 1] that the disparities of inliers must span. Below it the error at the
# ends of the range is ten times that of the references.
MIN_SPAN = 0.1


@dataclass(frozen=True)
class FitReport:
    """How well a disparity fits depth references.

    Attributes:
        scale_shift: scale and shift in 1/m, NaN where nothing could be fitted.
        points: references that there were.
        inliers: share of them whose relative error is at most `FitCriteria.inlier_threshold`,
            NaN where there were too few.
        residual: root mean square of the relative errors of those, NaN where there are none.
        problem: why the fit must not be used, '' for one that may.
    """

    scale_shift: ScaleShift
    points: int
    inliers: float
    residual: float
    problem: str

    @property
    def ok(self) -> bool:
        """Whether depth may be published with it."""
        return not self.problem

    def __str__(self) -> str:
        return (
            f'{self.points} references, {100 * self.inliers:.0f} % inliers, '
            f'residual {100 * self.residual:.1f} %'
        )


def align(
    disparity: NDArray[np.floating[Any]], depth: NDArray[np.floating[Any]], criteria: FitCriteria
) -> FitReport:
    """Fit scale and shift robustly; the same input gives the same output, bit for bit.

    Lines through pairs of references are tried (RANSAC, judged by MSAC), and the best is refined
    by least squares in which a reference counts less the larger its error, and not at all beyond
    `inlier_threshold` (IRLS with Tukey's biweight).

    Args:
        disparity: (N,) unitless, at the places of the references, NaN = unknown.
        depth: (N,) metres, what is known there; NaN or not positive = unknown.
        criteria: what the fit must satisfy.

    Raises:
        ValueError: not as many depths as disparities.
    """
    x, y, points = _known(disparity, depth)
    if points < max(criteria.min_points, 2):
        return _too_few(points, criteria)
    start = _best_line(x, y, criteria.inlier_threshold)
    if start is None:
        return FitReport(
            ScaleShift(math.nan, math.nan), points, 0.0, math.nan,
            f'no scale > 0 and shift lead from disparity to any two of {points} references',
        )  # fmt: skip
    return evaluate_fit(
        _refine(x, y, start, criteria.inlier_threshold), disparity, depth, criteria
    )


def evaluate_fit(
    scale_shift: ScaleShift,
    disparity: NDArray[np.floating[Any]],
    depth: NDArray[np.floating[Any]],
    criteria: FitCriteria,
) -> FitReport:
    """How well a given scale and shift fit references; arguments as of `align`."""
    x, y, points = _known(disparity, depth)
    if points < max(criteria.min_points, 2):
        return _too_few(points, criteria)
    error = _errors(scale_shift, x, y)
    inlier = np.abs(error) <= criteria.inlier_threshold
    share = float(inlier.mean())
    residual = float(np.sqrt(np.mean(error[inlier] ** 2))) if inlier.any() else math.nan
    low, high = np.quantile(x[inlier], [0.05, 0.95]) if inlier.any() else (0.0, 0.0)
    problem = ''
    if not scale_shift.scale > 0:
        problem = f'the scale is {scale_shift.scale:.3g} 1/m; expected more than 0'
    elif share < criteria.min_inliers:
        problem = (
            f'{100 * share:.0f} % of {points} references are within '
            f'{100 * criteria.inlier_threshold:.0f} %; expected {100 * criteria.min_inliers:.0f} %'
        )
    elif not residual <= criteria.max_residual:
        problem = (
            f'the residual is {100 * residual:.1f} %; expected at most '
            f'{100 * criteria.max_residual:.1f} %'
        )
    elif high - low < MIN_SPAN:
        problem = (
            f'the references span disparities {low:.2f} to {high:.2f} only; expected a span of '
            f'{MIN_SPAN}'
        )
    return FitReport(scale_shift, points, share, residual, problem)


def smooth(last: ScaleShift, new: ScaleShift, keep: float) -> ScaleShift:
    """A fit with `keep`, [0, 1), of the last one: inverse depths are blended, linear in both."""
    return ScaleShift(
        keep * last.scale + (1 - keep) * new.scale, keep * last.shift + (1 - keep) * new.shift
    )


def _known(
    disparity: NDArray[np.floating[Any]], depth: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Disparity and inverse depth where both are known, at most MAX_REFERENCES; and how many."""
    if disparity.shape != depth.shape or disparity.ndim != 1:
        raise ValueError(
            'align: expected as many depths as disparities in one row, got '
            f'{disparity.shape} and {depth.shape}'
        )
    known = np.isfinite(disparity) & np.isfinite(depth) & (depth > 0)
    x, z = disparity[known].astype(np.float64), depth[known].astype(np.float64)
    if len(x) > MAX_REFERENCES:
        # Drawn, not every n-th: an image has columns, and n might divide their number.
        chosen = np.random.default_rng(0).choice(len(x), MAX_REFERENCES, replace=False)
        x, z = x[chosen], z[chosen]
    return x, 1 / z, int(known.sum())


def _errors(
    scale_shift: ScaleShift, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predicted depth by known depth, less 1; below -1 where the prediction is beyond infinity."""
    with np.errstate(divide='ignore'):
        out: NDArray[np.float64] = y / (scale_shift.scale * x + scale_shift.shift) - 1
    return out


def _best_line(x: NDArray[np.float64], y: NDArray[np.float64], bound: float) -> ScaleShift | None:
    """The line through two references with the smallest truncated error; None: none rises."""
    rng = np.random.default_rng(1)
    order = np.argsort(x, kind='stable')
    half = len(order) // 2
    # One from the nearer half and one from the farther: short lines point anywhere.
    far = order[rng.integers(0, half, _HYPOTHESES)]
    near = order[rng.integers(half, len(order), _HYPOTHESES)]
    with np.errstate(divide='ignore', invalid='ignore'):
        scale = (y[near] - y[far]) / (x[near] - x[far])
        shift = y[far] - scale * x[far]
    rising = np.isfinite(scale) & (scale > 0)
    if not rising.any():
        return None
    scale, shift = scale[rising], shift[rising]
    judges = (
        order
        if len(order) <= _JUDGING_REFERENCES
        else rng.choice(order, _JUDGING_REFERENCES, replace=False)
    )
    with np.errstate(divide='ignore'):
        error = y[judges] / (scale[:, None] * x[judges] + shift[:, None]) - 1  # (lines, judges)
    cost = (np.minimum(np.abs(error), bound) ** 2).sum(axis=1)
    best = int(cost.argmin())
    return ScaleShift(float(scale[best]), float(shift[best]))


def _refine(
    x: NDArray[np.float64], y: NDArray[np.float64], start: ScaleShift, bound: float
) -> ScaleShift:
    best = start
    for _ in range(20):
        error = _errors(best, x, y)
        # The last prediction is the yardstick: noisy references as such would pull it down.
        weight = np.where(np.abs(error) < bound, (1 - (error / bound) ** 2) ** 2, 0)
        weight /= np.maximum(best.scale * x + best.shift, 1e-9) ** 2
        total = weight.sum()
        if not total > 0:
            return best
        mean_x, mean_y = weight @ x / total, weight @ y / total
        variance = weight @ (x - mean_x) ** 2
        scale = float(weight @ ((x - mean_x) * (y - mean_y)) / variance) if variance > 0 else 0.0
        if not scale > 0:
            return best
        new = ScaleShift(scale, float(mean_y - scale * mean_x))
        done = np.allclose(new, best, rtol=1e-9, atol=0)
        best = new
        if done:
            break
    return best


def _too_few(points: int, criteria: FitCriteria) -> FitReport:
    return FitReport(
        ScaleShift(math.nan, math.nan), points, math.nan, math.nan,
        f'{points} references in the image; expected at least {max(criteria.min_points, 2)}',
    )  # fmt: skip
