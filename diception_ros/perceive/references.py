# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depths that something else has measured: a depth camera's picture, or a lidar's points."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import math
import threading
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diception_ros.frame import Intrinsics

ItemT = TypeVar('ItemT')
# Of pictures with more pixels than this every second, third, ... in each direction is looked at.
_ENOUGH = 2**17


class Transform(NamedTuple):
    """Where one frame is in another: p_there = rotation p + translation.

    Attributes:
        rotation: (3, 3) float64.
        translation: (3,) float64, metres.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


class Samples(NamedTuple):
    """Known depths in a picture.

    Attributes:
        rows: (N,) int64, pixels.
        columns: (N,) int64, pixels.
        depth: (N,) float64, metres along the optical axis.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    depth: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reference:
    """Depths of one moment; a picture or points, not both.

    Attributes:
        stamp_ns: of the measurement, nanoseconds.
        frame_id: of the message that it came in.
        picture: (h, w) float32, metres along the optical axis of the camera, NaN = unknown; of
            the same view as the frame, at any resolution. None where there are points.
        points: (N, 3) float32, metres, camera optical frame. None where there is a picture.

    Raises:
        ValueError: both or neither, or of another shape.
    """

    stamp_ns: int
    frame_id: str
    picture: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if (self.picture is None) == (self.points is None):
            raise ValueError('Reference: expected a picture or points, came both or neither')
        shape = self.picture.shape if self.picture is not None else ()
        if self.picture is not None and (len(shape) != 2 or not self.picture.size):
            raise ValueError(f'Reference.picture: expected (H, W), came {shape}')
        if self.points is not None and (self.points.ndim != 2 or self.points.shape[1] != 3):
            raise ValueError(f'Reference.points: expected (N, 3), came {self.points.shape}')

    def samples(self, size: tuple[int, int], intrinsics: Intrinsics | None) -> Samples:
        """The known depths that lie in a picture of the frame; of a large one a part of them.

        Args:
            size: (H, W) of that picture, pixels.
            intrinsics: pinhole of that picture; only points need it.

        Raises:
            ValueError: points without a pinhole.
        """
        if self.points is not None:
            return _projected(self.points, size, intrinsics)
        assert self.picture is not None
        (high, wide), (height, width) = self.picture.shape, size
        step = max(1, math.isqrt(self.picture.size // _ENOUGH))
        some = self.picture[step // 2 :: step, step // 2 :: step]
        rows, columns = np.nonzero(np.isfinite(some) & (some > 0))
        depth = some[rows, columns].astype(np.float64)
        rows, columns = rows * step + step // 2, columns * step + step // 2
        # Of the pixels of the frame the one that the middle of the reference's pixel falls into.
        return Samples(
            (2 * rows + 1) * height // (2 * high), (2 * columns + 1) * width // (2 * wide), depth
        )


class References(Generic[ItemT]):
    """The newest references, to be matched with frames by their stamps; safe between threads.

    Args:
        capacity: how many are kept; the oldest to have come makes room.
    """

    def __init__(self, capacity: int = 32) -> None:
        self._kept: deque[tuple[int, ItemT]] = deque(maxlen=capacity)
        self._lock = threading.Lock()

    def add(self, stamp_ns: int, item: ItemT) -> None:
        """Keep one more: a message or a Reference, whichever is cheaper to keep."""
        with self._lock:
            self._kept.append((stamp_ns, item))

    def match(self, stamp_ns: int, tolerance_s: float) -> ItemT | None:
        """The one whose stamp is nearest, the newest of equals; None beyond the tolerance."""
        with self._lock:
            kept = list(self._kept)
        if not kept:
            return None
        stamp, item = min(reversed(kept), key=lambda one: abs(one[0] - stamp_ns))
        return item if abs(stamp - stamp_ns) <= tolerance_s * 1e9 else None

    def clear(self) -> None:
        """Forget all, after a jump of time."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


def reference_from(message: Any, transform: Transform) -> Reference:
    """Read a sensor_msgs/Image (16UC1 mm, 32FC1 m) or PointCloud2.

    Args:
        message: the message.
        transform: of the cloud's frame in the camera optical frame; a picture is of that frame.

    Raises:
        ValueError: the message cannot be read, or its encoding is none of a depth.
    """
    # Here, so that the help of a command line, which reads the settings, loads no OpenCV.
    from diception_ros.messages import clouds, pictures, stamps

    stamp_ns, frame_id = stamps.stamp_ns(message.header), message.header.frame_id
    if hasattr(message, 'point_step'):
        points = clouds.points_from(message).astype(np.float64)
        moved = points @ transform.rotation.T + transform.translation
        return Reference(stamp_ns, frame_id, points=moved.astype(np.float32))
    if message.encoding not in ('16UC1', 'mono16', '32FC1'):
        raise ValueError(
            f'depth reference: expected a picture of 16UC1 (mm) or 32FC1 (m), came '
            f'{message.encoding!r}'
        )
    array = pictures.array_from(message).astype(np.float32)
    metres = array if message.encoding == '32FC1' else array / np.float32(1000)
    known = np.isfinite(metres) & (metres > 0)
    return Reference(stamp_ns, frame_id, picture=np.where(known, metres, np.float32(np.nan)))


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
        raise ValueError(f"expected seven numbers 'x y z qx qy qz qw', came {text!r}")
    length = math.hypot(*numbers[3:])
    if abs(length - 1) > 1e-3:  # five digits of each are enough
        raise ValueError(f'expected a quaternion of length 1, came {length:.4g} in {text!r}')
    x, y, z, w = (number / length for number in numbers[3:])
    rotation = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    return Transform(rotation, np.array(numbers[:3]))


def _projected(
    points: NDArray[np.float32], size: tuple[int, int], intrinsics: Intrinsics | None
) -> Samples:
    if intrinsics is None:
        raise ValueError(
            'depth reference: points need a calibrated CameraInfo beside the image, came none'
        )
    ahead = points[np.isfinite(points).all(axis=1) & (points[:, 2] > 0)].astype(np.float64)
    column = ahead[:, 0] / ahead[:, 2] * intrinsics.fx + intrinsics.cx
    row = ahead[:, 1] / ahead[:, 2] * intrinsics.fy + intrinsics.cy
    inside = (column >= -0.5) & (column < size[1] - 0.5) & (row >= -0.5) & (row < size[0] - 0.5)
    return Samples(
        np.floor(row[inside] + 0.5).astype(np.int64),
        np.floor(column[inside] + 0.5).astype(np.int64),
        ahead[inside, 2],
    )
