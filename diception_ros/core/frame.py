# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera image with its stamp and frame, the pinhole camera, and rigid transforms."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diception_ros.core.images import ResizeTransform


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole of a rectified image, in pixels (pixel centres at whole numbers).

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

    def to_model(self, transform: ResizeTransform) -> Intrinsics:
        """The pinhole of the same image resized to the network's square input."""
        sx, sy = transform.scale.tolist()
        cx, cy = transform.to_model(np.array([self.cx, self.cy])).tolist()
        return Intrinsics(self.fx * sx, self.fy * sy, cx, cy)

    def to_image(self, transform: ResizeTransform) -> Intrinsics:
        """Inverse of `to_model`."""
        sx, sy = transform.scale.tolist()
        cx, cy = transform.to_image(np.array([self.cx, self.cy])).tolist()
        return Intrinsics(self.fx / sx, self.fy / sy, cx, cy)

    def flip(self, width: int) -> Intrinsics:
        """The pinhole of the left-right mirrored image of this width, pixels."""
        return Intrinsics(self.fx, self.fy, width - 1 - self.cx, self.cy)


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera image with its header.

    Attributes:
        image: (H, W, 3) uint8, 0..255, RGB. Kept as a read-only view, not copied.
        stamp_ns: time of the exposure, nanoseconds since the epoch of the camera's clock.
        frame_id: name of the camera's optical frame (x right, y down, z forward).
        intrinsics: pinhole of the image, or None where it is not known.
        no_intrinsics: why the CameraInfo that there is gives no pinhole, '' otherwise.
        doubt: why image or pinhole may not be those of the camera, '' otherwise.

    Raises:
        ValueError: the image is not (H, W, 3) uint8 with at least one pixel, or stamp_ns < 0.
    """

    image: NDArray[np.uint8]
    stamp_ns: int = 0
    frame_id: str = ''
    intrinsics: Intrinsics | None = None
    no_intrinsics: str = ''
    doubt: str = ''

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


class Transform(NamedTuple):
    """Where one frame is in another: p_there = rotation p + translation.

    Attributes:
        rotation: (3, 3) float64.
        translation: (3,) float64, metres.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


def transform_from(text: str) -> Transform:
    """Read 'x y z qx qy qz qw': metres, and a quaternion of unit length.

    Raises:
        ValueError: not seven finite numbers, or a quaternion that is not of unit length.
    """
    try:
        numbers = [float(part) for part in text.replace(',', ' ').split()]
    except ValueError:
        numbers = []
    if len(numbers) != 7 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"expected seven numbers 'x y z qx qy qz qw', got {text!r}")
    length = math.hypot(*numbers[3:])
    if abs(length - 1) > 1e-3:  # five digits of each are enough
        raise ValueError(f'expected a quaternion of length 1, got {length:.4g} in {text!r}')
    return Transform(rotation_from(*numbers[3:]), np.array(numbers[:3]))


def rotation_from(x: float, y: float, z: float, w: float) -> NDArray[np.float64]:
    """(3, 3) float64, the rotation of a quaternion of any length but 0."""
    length = math.hypot(x, y, z, w)
    x, y, z, w = x / length, y / length, z / length, w / length
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
