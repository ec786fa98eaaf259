# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt: a task, with a category or points where it takes them; prompts by clicks and text."""

from __future__ import annotations

from dataclasses import dataclass
import math
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from diception_ros.core.frame import Intrinsics

# The model has five point slots (shared by training and inference of the released weights).
MAX_POINTS = 5
# The categories that every converted model can be asked for, spelt as COCO does.
COCO_CATEGORIES = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
    'traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog',
    'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella',
    'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'bottle',
    'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple', 'sandwich', 'orange',
    'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch', 'potted plant',
    'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote', 'keyboard', 'cell phone',
    'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book', 'clock', 'vase', 'scissors',
    'teddy bear', 'hair drier', 'toothbrush',
)  # fmt: skip


class Point(NamedTuple):
    """A position in an image, in pixels: x right, y down, pixel centres at whole numbers."""

    x: float
    y: float


@dataclass(frozen=True)
class Prompt:
    """What to predict for a frame.

    Which tasks exist, and which of them take a category or points, only `tasks` knows; here what
    holds for every prompt is checked.

    Attributes:
        task: name of the task, e.g. 'depth'.
        category: for tasks that take one, e.g. 'person'.
        points: at most five positions, in pixels of the frame.

    Raises:
        TypeError: a point is not a Point (a bare pair does not say which number is x).
        ValueError: no task, an empty category, too many points, or a point that is not finite or
            lies left of or above any image.
    """

    task: str
    category: str | None = None
    points: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        if not self.task:
            raise ValueError('Prompt.task: expected the name of a task, got an empty string')
        if self.category is not None and not self.category.strip():
            raise ValueError('Prompt.category: expected a name or None, got an empty string')
        check_points(self.points)

    def check_inside(self, size: tuple[int, int]) -> None:
        """Raise ValueError if a point lies outside of a frame of size (H, W); it names both."""
        check_points(self.points, size)


def check_points(points: object, size: tuple[int, int] | None = None) -> None:
    """Check points as a Prompt takes them.

    Args:
        points: in pixels of the frame.
        size: (H, W) of the frame; None while it is not known.

    Raises:
        TypeError: they are no tuple of Point (a bare pair does not say which number is x).
        ValueError: too many points, or one that is not finite or lies outside of the frame, or
            left of or above any frame.
    """
    if not isinstance(points, tuple):
        raise TypeError(f'points: expected a tuple of Point, got {type(points).__name__}')
    if len(points) > MAX_POINTS:
        raise ValueError(f'points: the model takes at most {MAX_POINTS} points, got {len(points)}')
    for point in points:
        if not isinstance(point, Point):
            raise TypeError(f'points: expected Point(x, y), got {point!r}')
        if not (math.isfinite(point.x) and math.isfinite(point.y)):
            raise ValueError(f'points: expected finite pixels, got {point}')
        if point.x < -0.5 or point.y < -0.5:
            raise ValueError(f'points: {point} lies outside any image')
        if size is not None and (point.x >= size[1] - 0.5 or point.y >= size[0] - 0.5):
            raise ValueError(
                f'{point} lies outside the frame of {size[1]} x {size[0]} pixels '
                f'(x from 0 to {size[1] - 1}, y from 0 to {size[0] - 1})'
            )


def fractions_of(points: tuple[Point, ...], size: tuple[int, int]) -> list[tuple[float, float]]:
    """Points as the model takes them: (x, y) in [0, 1] of a frame of size (H, W)."""
    height, width = size
    # Upstream: the row over the number of rows, without the half pixel; trained so.
    return [(min(max(x, 0) / width, 1), min(max(y, 0) / height, 1)) for x, y in points]


def read_points(text: str) -> tuple[Point, ...]:
    """'320,240;400,260' -> two Points; ValueError says what is not a point."""
    points = []
    for part in filter(None, text.split(';')):
        try:
            x, y = (float(number) for number in part.split(','))
        except ValueError:
            raise ValueError(
                f"--points: {part!r} is no point; expected 'x,y;x,y' in pixels"
            ) from None
        points.append(Point(x, y))
    return tuple(points)


class PromptPoints:
    """Up to five points that stay until they are cleared; safe between threads."""

    def __init__(self) -> None:
        self._points: tuple[Point, ...] = ()
        self._size: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def add(self, point: Point) -> int:
        """Add a point; returns the number of points.

        Raises:
            ValueError: it lies outside of the image, no image was received, or there are five.
        """
        with self._lock:
            if self._size is None:
                raise ValueError(f'{point} is refused: no image was received yet to point at')
            if len(self._points) == MAX_POINTS:
                raise ValueError(
                    f'{point} is refused: the model takes at most {MAX_POINTS} points and has '
                    f'them; clear them first (service ~/prompt/clear)'
                )
            check_points((point,), self._size)
            self._points = (*self._points, point)
            return len(self._points)

    @property
    def count(self) -> int:
        """Number of points."""
        return len(self._points)

    def clear(self) -> int:
        """Remove all points; returns their number."""
        with self._lock:
            count, self._points = len(self._points), ()
            return count

    def for_size(self, size: tuple[int, int]) -> tuple[tuple[Point, ...], int]:
        """The points for an image of this size (H, W), and the number of removed ones.

        Points were clicked in images of the last size; in those of another size they mean
        something else.
        """
        with self._lock:
            removed = 0
            if self._size != size:
                removed, self._points = len(self._points), ()
                self._size = size
            return self._points, removed


def parse_categories(text: str) -> tuple[str, ...]:
    """'chair, traffic light' -> ('chair', 'traffic light')."""
    parts = (part.strip() for part in text.split(','))
    return tuple(dict.fromkeys(part for part in parts if part))


def point_at(position: tuple[float, float, float], intrinsics: Intrinsics | None) -> Point:
    """The pixel that a geometry_msgs/PointStamped in a camera's frame means.

    Args:
        position: x, y in pixels and z 0, as image viewers publish it; or metres in the camera
            optical frame, as 3D viewers do.
        intrinsics: pinhole of the images; only points in space need it.

    Raises:
        ValueError: a point in space that lies behind the camera or is not finite, or without a
            pinhole.
    """
    x, y, z = position
    if not all(map(math.isfinite, position)):
        raise ValueError(f'point ({x}, {y}, {z}) is refused: expected finite numbers')
    if z == 0:
        return Point(x, y)
    if not z > 0:
        raise ValueError(f'point ({x}, {y}, {z}) m is refused: it is not in front of the camera')
    if intrinsics is None:
        raise ValueError(
            f'point ({x}, {y}, {z}) m is refused: no calibrated CameraInfo was received '
            'yet to project it; for a pixel let z be 0'
        )
    return Point(
        intrinsics.fx * x / z + intrinsics.cx,
        intrinsics.fy * y / z + intrinsics.cy,
    )
