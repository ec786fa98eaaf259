# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The points that people clicked in the pictures of one camera; knows no ROS."""

from __future__ import annotations

import threading

from diception_ros.frame import Intrinsics
from diception_ros.prompt import MAX_POINTS, Point, Prompt


class Points:
    """At most five points, which stay until they are cleared. May be shared between threads."""

    def __init__(self) -> None:
        self._points: tuple[Point, ...] = ()
        self._size: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def add(self, point: Point) -> int:
        """Add a point and say how many there are.

        Raises:
            ValueError: it lies outside of the pictures, none has come yet, or five are there.
        """
        with self._lock:
            if self._size is None:
                raise ValueError(f'{point} is refused: no picture has come yet to point at')
            if len(self._points) == MAX_POINTS:
                raise ValueError(
                    f'{point} is refused: the model takes at most {MAX_POINTS} points and has '
                    f'them; clear them first (service ~/prompt/clear)'
                )
            Prompt('any', points=(point,)).check_inside(self._size)
            self._points = (*self._points, point)
            return len(self._points)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._points)

    def clear(self) -> int:
        """Remove all points and say how many there were."""
        with self._lock:
            count, self._points = len(self._points), ()
            return count

    def of(self, size: tuple[int, int]) -> tuple[tuple[Point, ...], int]:
        """The points for a picture of this size (H, W), and how many were removed.

        Points were clicked in pictures of the last size. In those of another size they mean
        something else, so they are removed.
        """
        with self._lock:
            removed = 0
            if self._size != size:
                removed, self._points = len(self._points), ()
                self._size = size
            return self._points, removed


def words(text: str) -> tuple[str, ...]:
    """'chair, traffic light' -> ('chair', 'traffic light')."""
    parts = (part.strip() for part in text.split(','))
    return tuple(dict.fromkeys(part for part in parts if part))


def pixel(position: tuple[float, float, float], intrinsics: Intrinsics | None) -> Point:
    """The pixel that a geometry_msgs/PointStamped in a camera's frame means.

    Args:
        position: x, y in pixels and z 0, as image viewers publish it; or metres in the camera
            optical frame, as 3D viewers do.
        intrinsics: pinhole of the pictures; only points in space need it.

    Raises:
        ValueError: a point in space that lies behind the camera, or without a pinhole.
    """
    x, y, z = position
    if z == 0:
        return Point(x, y)
    if not z > 0:
        raise ValueError(f'point ({x}, {y}, {z}) m is refused: it is not in front of the camera')
    if intrinsics is None:
        raise ValueError(
            f'point ({x}, {y}, {z}) m is refused: no calibrated CameraInfo has come yet to '
            'project it; for a pixel let z be 0'
        )
    return Point(
        intrinsics.fx * x / z + intrinsics.cx,
        intrinsics.fy * y / z + intrinsics.cy,
    )
