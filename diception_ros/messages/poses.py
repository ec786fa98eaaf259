# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write poses: geometry_msgs/PoseStamped and tf2_msgs/TFMessage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.messages.base import Types


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
    return types.make('tf2_msgs/msg/TFMessage', transforms=[moved])


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
