# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One camera picture, and where and when it was taken."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diception_ros.core.images import Fit


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole of a rectified camera picture, in its pixels (pixel centres at whole numbers).

    Attributes:
        fx: focal length along x, pixels, > 0.
        fy: focal length along y, pixels, > 0.
        cx: column of the optical axis, pixels.
        cy: row of the optical axis, pixels.

    Raises:
        ValueError: a focal length is not positive, or a number is not finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if not all(map(math.isfinite, numbers)) or self.fx <= 0 or self.fy <= 0:
            raise ValueError(
                'Intrinsics: expected finite numbers and focal lengths > 0, got '
                f'fx={self.fx}, fy={self.fy}, cx={self.cx}, cy={self.cy}'
            )

    def to_model(self, fit: Fit) -> Intrinsics:
        """The pinhole of the same picture once it was resized to the model's square."""
        sx, sy = fit.scale.tolist()
        cx, cy = fit.to_model(np.array([self.cx, self.cy])).tolist()
        return Intrinsics(self.fx * sx, self.fy * sy, cx, cy)

    def to_camera(self, fit: Fit) -> Intrinsics:
        """Inverse of `to_model`."""
        sx, sy = fit.scale.tolist()
        cx, cy = fit.to_camera(np.array([self.cx, self.cy])).tolist()
        return Intrinsics(self.fx / sx, self.fy / sy, cx, cy)

    def flip(self, width: int) -> Intrinsics:
        """The pinhole of the left-right mirrored picture of this width, pixels."""
        return Intrinsics(self.fx, self.fy, width - 1 - self.cx, self.cy)


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera picture with its header.

    Attributes:
        image: (H, W, 3) uint8, 0..255, RGB. Kept as a read-only view, not copied.
        stamp_ns: time of the exposure, nanoseconds since the epoch of the camera's clock.
        frame_id: name of the camera's optical frame (x right, y down, z forward).
        intrinsics: pinhole of the picture, or None where it is not known.
        no_intrinsics: why the CameraInfo that there is gives no pinhole, '' otherwise.

    Raises:
        ValueError: the image is not (H, W, 3) uint8 with at least one pixel, or stamp_ns < 0.
    """

    image: NDArray[np.uint8]
    stamp_ns: int = 0
    frame_id: str = ''
    intrinsics: Intrinsics | None = None
    no_intrinsics: str = ''

    def __post_init__(self) -> None:
        image = self.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(
                f'Frame.image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}'
            )
        if self.stamp_ns < 0:
            raise ValueError(f'Frame.stamp_ns: expected >= 0 nanoseconds, got {self.stamp_ns}')
        view = image.view()
        view.flags.writeable = False
        object.__setattr__(self, 'image', view)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return self.image.shape[0], self.image.shape[1]
