# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Surface normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import base, visualize
from diception_ros.core.labels.base import Label, check_image, freeze

# Float32 unit vectors are off by 1e-7; 8-bit or float16 files by up to 5e-3.
UNIT_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class Normals(Label):
    """Surface normals.

    Attributes:
        vectors: (H, W, 3) float32, unit length, camera optical frame (x right, y down,
            z forward), pointing to the camera (so z is mostly negative); all three NaN = unknown.

    Raises:
        ValueError: wrong dtype or shape, a vector that is not of unit length, or one that is
            unknown only in part.
    """

    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        vectors = freeze(self, 'vectors', np.float32, ('H', 'W', 3))
        length = np.sqrt(np.einsum('hwc,hwc->hw', vectors, vectors))
        # Channel by channel: numpy reduces a last axis of three six times more slowly.
        x, y, z = (np.isnan(vectors[..., axis]) for axis in range(3))
        if not np.array_equal(np.isnan(length), x & y & z):
            raise ValueError('Normals.vectors: expected NaN in all three components or in none')
        off = np.fmax.reduce(np.abs(length - 1), axis=None)
        if off > UNIT_TOLERANCE:
            raise ValueError(
                f'Normals.vectors: expected unit vectors, got a length off by {off:.4g}'
            )

    @property
    def size(self) -> tuple[int, int]:
        return self.vectors.shape[0], self.vectors.shape[1]

    @property
    def valid(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.vectors[..., 0])

    def resized(self, size: tuple[int, int]) -> Normals:
        return unit(base.linear(self.vectors, size))

    def flip(self) -> Normals:
        """The mirrored scene: the map is mirrored, and x is negated."""
        return Normals(self.vectors[:, ::-1] * np.array([-1, 1, 1], np.float32))

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The usual normal colours, facing the camera = lilac, unknown black; covers the image."""
        check_image(self, image)
        return visualize.normal_colours(self.vectors)


def unit(vectors: NDArray[np.float32], shortest: float = 1e-3) -> Normals:
    """Scale vectors to unit length.

    Args:
        vectors: (H, W, 3) float32, camera optical frame, any length; NaN = unknown.
        shortest: vectors below this length have no direction and become unknown.

    Returns:
        Unit normals.
    """
    length = np.sqrt(np.einsum('hwc,hwc->hw', vectors, vectors))[..., None]
    with np.errstate(invalid='ignore', divide='ignore'):
        return Normals(np.where(length >= shortest, vectors / length, np.float32(np.nan)))
