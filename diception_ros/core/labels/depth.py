# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth labels: `Disparity` has no unit, `MetricDepth` has metres.

They are different types on purpose, so that relative depth is never treated as metric. Only
`core.geometry` converts one to the other, with a scale and a shift that must come from somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import base, visualize
from diception_ros.core.labels.base import Label, check_image, freeze


class _DepthMap(Label):
    """A map of one number a pixel, NaN where unknown."""

    values: NDArray[np.float32]

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    @property
    def valid(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.values)

    def _checked_range(self) -> tuple[np.float32, np.float32]:
        values = freeze(self, 'values', np.float32, ('H', 'W'))
        return np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)


@dataclass(frozen=True, eq=False)
class Disparity(_DepthMap):
    """Inverse depth up to an unknown scale and shift.

    Attributes:
        values: (H, W) float32 in [0, 1], no unit, 1 = nearest, 0 = farthest, NaN = unknown.

    Raises:
        ValueError: wrong dtype or shape, or a value outside [0, 1].
    """

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        low, high = self._checked_range()
        if low < 0 or high > 1:
            raise ValueError(
                f'Disparity.values: expected [0, 1] or NaN, got {low:.6g} to {high:.6g}'
            )

    def resized(self, size: tuple[int, int]) -> Disparity:
        # The weights of a blend sum to one only up to rounding.
        return Disparity(np.clip(base.linear(self.values, size), 0, 1))

    def flip(self) -> Disparity:
        return Disparity(np.ascontiguousarray(self.values[:, ::-1]))

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Spectral colours, far red to near blue, unknown grey; covers the image."""
        check_image(self, image)
        return visualize.spectral(self.values)


@dataclass(frozen=True, eq=False)
class MetricDepth(_DepthMap):
    """Depth in metres.

    Attributes:
        values: (H, W) float32 > 0, metres along the optical axis (z of the camera optical frame,
            not the length of the ray), NaN = unknown.

    Raises:
        ValueError: wrong dtype or shape, or a depth that is not positive and finite.
    """

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        low, high = self._checked_range()
        if low <= 0 or np.isinf(high):
            raise ValueError(
                'MetricDepth.values: expected metres > 0, finite, or NaN where unknown, '
                f'got {low:.6g} to {high:.6g}'
            )

    def resized(self, size: tuple[int, int]) -> MetricDepth:
        # 1/z is blended: on a plane it is linear in the pixel coordinates, z is not.
        inverse = base.linear(np.float32(1) / self.values, size)
        return MetricDepth(np.float32(1) / inverse)

    def flip(self) -> MetricDepth:
        return MetricDepth(np.ascontiguousarray(self.values[:, ::-1]))

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Spectral colours of 1/depth, far red to near blue, unknown grey; covers the image.

        The colours span the 2nd to the 98th percentile, so that one stray pixel does not decide.
        """
        check_image(self, image)
        inverse = np.float32(1) / self.values
        if not self.valid.any():
            return visualize.spectral(inverse)
        low, high = np.nanpercentile(inverse, [2, 98])
        stretched = (inverse - low) / max(high - low, 1e-12)
        return visualize.spectral(np.clip(stretched, 0, 1).astype(np.float32))
