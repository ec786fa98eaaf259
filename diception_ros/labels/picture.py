# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A picture that is the answer itself, such as the same view in better light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diception_ros.labels import resample
from diception_ros.labels.label import check_image, check_size, freeze

if TYPE_CHECKING:
    from diception_ros.images import Fit


@dataclass(frozen=True, eq=False)
class Picture:
    """What a picture should look like.

    Attributes:
        values: (H, W, 3) float32 in [0, 1], RGB; all of it known.

    Raises:
        ValueError: wrong dtype or shape, or values outside [0, 1].
    """

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        values = freeze(self, 'values', np.float32, ('H', 'W', 3))
        # Written so that NaN fails.
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f'Picture.values: expected values in [0, 1], came {values.min():.4g} to '
                f'{values.max():.4g}'
            )

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    @property
    def valid(self) -> NDArray[np.bool_]:
        return np.ones(self.size, bool)

    def to_model(self, fit: Fit) -> Picture:
        check_size(self, fit.camera, 'camera picture')
        return self._resized(fit.model)

    def to_camera(self, fit: Fit) -> Picture:
        check_size(self, fit.model, 'model square')
        return self._resized(fit.camera)

    def flip(self) -> Picture:
        return Picture(self.values[:, ::-1])

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The picture in eight bits; covers the image."""
        if image is not None:
            check_image(self, image)
        return np.rint(self.values * 255).astype(np.uint8)

    def _resized(self, size: tuple[int, int]) -> Picture:
        # Blending rounds: a hair above 1 is not an error of whoever asked.
        return Picture(np.clip(resample.linear(self.values, size), 0, 1))
