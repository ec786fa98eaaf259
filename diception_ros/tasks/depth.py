# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Relative depth: disparity up to scale and shift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.geometry import ScaleShift, fit_scale_shift
from diception_ros.core.labels import Disparity, MetricDepth
from diception_ros.tasks import Task, check_output_image, check_same_size, check_square

if TYPE_CHECKING:
    from diception_ros.core.prompt import Prompt

Alignment = Literal['disparity', 'depth']

# Floors of the protocol: of the aligned disparity (1/m) before it is inverted, and of a depth (m).
MIN_DISPARITY = 1e-3
MIN_DEPTH = 1e-6


class Depth(Task[Disparity]):
    """Disparity as a grey image, near = white."""

    def encode(self, label: Disparity) -> NDArray[np.float32]:
        """Grey, stretched so that the nearest pixel is 1 and the farthest 0.

        Unknown pixels take the value of the nearest known one: `label.valid` says that they do not
        count, but the VAE looks beyond a pixel and would carry a black hole into its neighbours.
        A constant disparity has no span to stretch and is 0.5, one that is all unknown is 0.

        Raises:
            TypeError: the label is no Disparity; metres would be generated with far as near.
            ValueError: the label is not square.
        """
        from scipy.ndimage import distance_transform_edt

        if not isinstance(label, Disparity):
            raise TypeError(
                f'task {self.name!r} encodes Disparity, got {type(label).__name__}; '
                'geometry.to_disparity makes one of MetricDepth'
            )
        side = check_square(label)
        values = label.values
        if not label.valid.any():
            return np.zeros((side, side, 3), np.float32)
        if not label.valid.all():
            nearest = distance_transform_edt(
                ~label.valid, return_distances=False, return_indices=True
            )
            values = values[tuple(nearest)]
        low, high = values.min(), values.max()
        grey = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        return np.repeat(grey[..., None], 3, axis=-1)

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Disparity:
        """Mean of the three channels; every pixel is predicted."""
        check_output_image(rgb)
        return Disparity(np.clip(rgb, 0, 1).mean(axis=-1, dtype=np.float32))

    def score(
        self,
        predicted: Disparity,
        truth: Disparity | MetricDepth,
        align: Alignment = 'disparity',
        nearest: float = 0.0,
        farthest: float = float('inf'),
        fitted: NDArray[np.bool_] | None = None,
        scale_shift: ScaleShift | None = None,
    ) -> dict[str, float]:
        """Errors after the least-squares scale and shift that suit the prediction best.

        Against `MetricDepth`: `abs_rel` mean |p - t| / t; `delta1`, `delta2`, `delta3` shares of
        pixels with max(p/t, t/p) < 1.25, 1.25^2, 1.25^3; `rmse` in metres; `log10` mean
        |log10 p - log10 t|. Against `Disparity`, for which metres do not exist: `disparity_mae`
        and `disparity_rmse`, of the span of the truth. In both cases `coverage`, the share of the
        true pixels for which there is a prediction; pixels without one are not in the other
        numbers.

        Args:
            predicted: the prediction.
            truth: of the same size.
            align: 'disparity' fits the prediction to 1/truth, which is what it is affine to;
                'depth' fits it to the truth itself, as is customary for models that predict
                depth, for comparison. Without effect where the truth is a `Disparity`.
            nearest: metres; pixels of the truth at or below count as unknown, and predictions are
                clipped to it. The data set says.
            farthest: metres; the same at the other end.
            fitted: (H, W) bool, pixels by which scale and shift are fitted, of those that count;
                None for all. Without effect where the truth is a `Disparity`.
            scale_shift: a given scale and shift, such as one pair for all frames of a camera; None
                fits them to this truth. Without effect where the truth is a `Disparity`.

        Returns:
            The numbers; all NaN (coverage too) where no pixel of the truth is known.

        Raises:
            ValueError: the sizes differ, or align is neither word.

        Source: the protocol of Marigold and GenPercept (least_square_disparity, least_square).
        """
        check_same_size(predicted, truth)
        if align not in ('disparity', 'depth'):
            raise ValueError(f"align: expected 'disparity' or 'depth', got {align!r}")
        if isinstance(truth, Disparity):
            return _disparity_errors(predicted, truth)
        values = truth.values.astype(np.float64)
        counts = truth.valid & (values > nearest) & (values < farthest)
        compared = counts & predicted.valid
        p, t = predicted.values[compared].astype(np.float64), values[compared]
        if p.size == 0:
            names = ('abs_rel', 'delta1', 'delta2', 'delta3', 'rmse', 'log10')
            return {**dict.fromkeys(names, float('nan')), 'coverage': _share(p.size, counts)}
        among = np.ones(p.shape, np.bool_) if fitted is None else fitted[compared]
        if align == 'disparity':
            # Zeros of the prediction are left out of the fit: it may have been cut off there.
            cut = among & (p > 0)
            scale, shift = scale_shift or fit_scale_shift(p, 1 / t, cut if cut.any() else among)
            p = 1 / np.maximum(scale * p + shift, MIN_DISPARITY)
        else:
            scale, shift = scale_shift or fit_scale_shift(p, t, among)
            p = scale * p + shift
        p = np.maximum(np.clip(p, nearest, farthest), MIN_DEPTH)
        ratio = np.maximum(p / t, t / p)
        return {
            'abs_rel': float(np.mean(np.abs(p - t) / t)),
            'delta1': float(np.mean(ratio < 1.25)),
            'delta2': float(np.mean(ratio < 1.25**2)),
            'delta3': float(np.mean(ratio < 1.25**3)),
            'rmse': float(np.sqrt(np.mean((p - t) ** 2))),
            'log10': float(np.mean(np.abs(np.log10(p / t)))),
            'coverage': _share(p.size, counts),
        }


def _disparity_errors(predicted: Disparity, truth: Disparity) -> dict[str, float]:
    compared = truth.valid & predicted.valid
    p = predicted.values[compared].astype(np.float64)
    t = truth.values[compared].astype(np.float64)
    if p.size == 0:
        error = np.array([np.nan])
    else:
        scale, shift = fit_scale_shift(p, t)
        span = float(np.ptp(t)) or 1.0
        error = (scale * p + shift - t) / span
    return {
        'disparity_mae': float(np.mean(np.abs(error))),
        'disparity_rmse': float(np.sqrt(np.mean(error**2))),
        'coverage': _share(p.size, truth.valid),
    }


def _share(compared: int, counts: NDArray[np.bool_]) -> float:
    known = int(counts.sum())
    return compared / known if known else float('nan')


TASK = Depth('depth', '[[image2depth]]', Disparity)
