# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write and read poses (geometry_msgs/PoseStamped, tf2_msgs/TFMessage), look transforms up."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Transform, rotation_from
from diception_ros.messages import Types, frame_name, stamp_of
from diception_ros.messages.synchronizer import MessageCache

TRANSFORMS = 'tf2_msgs/msg/TFMessage'
# Absolute, as tf2_ros has them; a robot among others remaps them.
TF, TF_STATIC = '/tf', '/tf_static'
# Transforms kept of each frame: 10 s at 100 Hz, and tf2 keeps 10 s.
TF_CAPACITY = 1000
# Frames that are kept at most; a humanoid has about 100.
TF_FRAMES = 4096
# Largest difference of the stamps of an image and a transform.
TF_TOLERANCE_NS = 500_000_000
# Error of the length of a quaternion up to which tf2 takes it.
_UNIT = 0.01


def pose_stamped(
    types: Types, position: NDArray[np.float64], rotation: NDArray[np.float64], header: Any
) -> Any:
    """Make a geometry_msgs/PoseStamped.

    Args:
        types: makes the message.
        position: (3,) float64, metres, in the frame of the header.
        rotation: (3, 3) float64, from the posed object to the frame of the header.
        header: std_msgs/Header.
    """
    x, y, z = position.tolist()
    return types.make(
        'geometry_msgs/msg/PoseStamped',
        header=header,
        pose=types.make('geometry_msgs/msg/Pose',
                        position=types.make('geometry_msgs/msg/Point', x=x, y=y, z=z),
                        orientation=_quaternion(types, rotation)),
    )  # fmt: skip


def transform(
    types: Types,
    position: NDArray[np.float64],
    rotation: NDArray[np.float64],
    header: Any,
    child: str,
) -> Any:
    """Make a tf2_msgs/TFMessage with one transform, from the header's frame to the child.

    Args:
        types: makes the message.
        position: (3,) float64, metres, of the child in the frame of the header.
        rotation: (3, 3) float64, from the child to the frame of the header.
        header: std_msgs/Header.
        child: frame id.
    """
    x, y, z = position.tolist()
    moved = types.make(
        'geometry_msgs/msg/TransformStamped',
        header=header,
        child_frame_id=child,
        transform=types.make('geometry_msgs/msg/Transform',
                             translation=types.make('geometry_msgs/msg/Vector3', x=x, y=y, z=z),
                             rotation=_quaternion(types, rotation)),
    )  # fmt: skip
    return types.make(TRANSFORMS, transforms=[moved])


def pose_of(message: Any, frame_id: str) -> Transform | None:
    """The pose of a frame in a PoseStamped or a TFMessage; None if it has none, or a false one."""
    if hasattr(message, 'transforms'):
        for stamped in message.transforms:
            if frame_name(stamped.child_frame_id) == frame_name(frame_id):
                return _pose(stamped.transform.rotation, stamped.transform.translation)
        return None
    return _pose(message.pose.orientation, message.pose.position)


def _pose(q: Any, p: Any) -> Transform | None:
    numbers = [float(number) for number in (q.x, q.y, q.z, q.w)]
    if not 0 < np.linalg.norm(numbers) < np.inf:
        return None
    return Transform(rotation_from(*numbers), np.array([float(p.x), float(p.y), float(p.z)]))


def _quaternion(types: Types, rotation: NDArray[np.float64]) -> Any:
    # Shepperd's method: divides by the largest of the four, which is never small.
    r = rotation
    squares = np.array([
        1 + r[0, 0] - r[1, 1] - r[2, 2],
        1 - r[0, 0] + r[1, 1] - r[2, 2],
        1 - r[0, 0] - r[1, 1] + r[2, 2],
        1 + r[0, 0] + r[1, 1] + r[2, 2],
    ])  # fmt: skip
    k = int(squares.argmax())
    products = np.array([
        [squares[0], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
        [r[0, 1] + r[1, 0], squares[1], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
        [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[2], r[1, 0] - r[0, 1]],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3]],
    ])  # fmt: skip
    x, y, z, w = (products[k] / (2 * math.sqrt(squares[k]))).tolist()
    return types.make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)


class _Link(NamedTuple):
    """Rotation of a frame in its parent, as a quaternion x, y, z, w."""

    parent: str
    rotation: tuple[float, float, float, float]


class TransformBuffer:
    """The last transforms of /tf and /tf_static; safe between threads.

    Of the transforms of a frame the one with the nearest stamp counts, as for the other messages
    that belong to an image (`messages.synchronizer`); static ones have no time.
    """

    def __init__(self) -> None:
        self._links: dict[str, tuple[bool, MessageCache[_Link]]] = {}
        self._changed = threading.Condition()
        self._in_step = True

    def add(self, message: Any, static: bool) -> None:
        """Store a tf2_msgs/TFMessage; what tf2 refuses is left out.

        Args:
            message: of /tf or /tf_static.
            static: whether it is of /tf_static.
        """
        with self._changed:
            for item in message.transforms:
                child, parent = frame_name(item.child_frame_id), frame_name(item.header.frame_id)
                quaternion = item.transform.rotation
                rotation = quaternion.x, quaternion.y, quaternion.z, quaternion.w
                if child == parent or not abs(math.hypot(*rotation) - 1) < _UNIT:
                    continue
                if self._links.get(child, (None,))[0] != static:
                    if child not in self._links and len(self._links) >= TF_FRAMES:
                        continue
                    self._links[child] = static, MessageCache(1 if static else TF_CAPACITY)
                stamp_ns = 0 if item.header.stamp.sec < 0 else stamp_of(item.header)
                self._links[child][1].add(stamp_ns, _Link(parent, rotation))
            self._changed.notify_all()

    def gravity(
        self, frame_id: str, level_frame: str, stamp_ns: int, wait_s: float = 0.0
    ) -> tuple[float, float, float] | None:
        """The direction of gravity in a frame.

        Args:
            frame_id: of the camera's optical frame.
            level_frame: a frame whose z axis points up.
            stamp_ns: of the image, nanoseconds.
            wait_s: seconds to wait for transforms of this time, unless they came late the last
                time, too.

        Returns:
            Its unit vector; None if no transforms of this time connect the frames.
        """
        with self._changed:
            gravity_direction, newest_ns = self._find(frame_id, level_frame, stamp_ns)
            if newest_ns < stamp_ns and wait_s and self._in_step:
                self._changed.wait_for(
                    lambda: self._find(frame_id, level_frame, stamp_ns)[1] >= stamp_ns, wait_s
                )
                gravity_direction, newest_ns = self._find(frame_id, level_frame, stamp_ns)
            self._in_step = newest_ns >= stamp_ns
            return gravity_direction

    def complete(self, frame_id: str, level_frame: str, stamp_ns: int) -> bool:
        """Whether no transform between two frames is awaited that belongs to a stamp."""
        with self._changed:
            return self._find(frame_id, level_frame, stamp_ns)[1] >= stamp_ns

    def clear(self) -> None:
        """Drop what has a time, after a jump of time."""
        with self._changed:
            self._links = {child: link for child, link in self._links.items() if link[0]}
            self._in_step = True

    def _find(
        self, frame_id: str, level_frame: str, stamp_ns: int
    ) -> tuple[tuple[float, float, float] | None, float]:
        """Gravity, and the stamp up to which all transforms between the frames are known."""
        camera = self._ancestors(frame_name(frame_id), stamp_ns)
        level = self._ancestors(frame_name(level_frame), stamp_ns)
        common = next((name for name in camera if name in level), None)
        if common is None:
            return None, -math.inf
        # From the camera to the common ancestor, and from the level frame to it.
        (turned, one_ns), (upright, other_ns) = camera[common], level[common]
        x, y, z = (-turned.T @ upright[:, 2]).tolist()
        return (x, y, z), min(one_ns, other_ns)

    def _ancestors(
        self, frame_id: str, stamp_ns: int
    ) -> dict[str, tuple[NDArray[np.float64], float]]:
        """A frame and its ancestors, with the rotation from the frame to each of them."""
        rotation, newest_ns = np.eye(3), math.inf
        ancestors = {frame_id: (rotation, newest_ns)}
        while (link_and_history := self._links.get(frame_id)) is not None:
            static, links = link_and_history
            link = links.nearest(stamp_ns, 2**63 if static else TF_TOLERANCE_NS)
            if link is None or link.parent in ancestors:
                break
            rotation = rotation_from(*link.rotation) @ rotation
            newest_ns = newest_ns if static else min(newest_ns, links.newest_ns)
            frame_id = link.parent
            ancestors[frame_id] = rotation, newest_ns
        return ancestors
