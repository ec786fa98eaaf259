# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joints of people as a PointCloud2.

Of the standard messages it is the one for it: installed with every ROS, with a header, with typed
fields that say their names, one message for all people, shown by viewers and read by numpy in one
call. vision_msgs has no keypoints and may be missing; a message of our own would have to be built
before anybody could read it; hri_msgs/Skeleton2D is one person a topic and not on every
distribution. The same layout is recorded as the truth by `sim`, so that both are read alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.labels import COCO_JOINTS, Keypoints
from diception_ros.messages.clouds import check_fields, cloud_of, records_from
from diception_ros.messages.error import MessageError
from diception_ros.messages.types import Types

# One joint: x y z in metres in the camera's optical frame (NaN: not known), u v in pixels (x
# right, y down; NaN: outside of the picture), COCO's visibility, the index into COCO_JOINTS, the
# number of the person (0: not known which), trust in [0, 1].
JOINT = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('u', '<f4'), ('v', '<f4'), ('visibility', 'u1'),
     ('joint', 'u1'), ('instance', '<u2'), ('score', '<f4')]
)  # fmt: skip
# Index of a joint whose type is not known.
UNTYPED = 255


def joint_cloud(types: Types, joints: NDArray[Any], header: Any) -> Any:
    """sensor_msgs/PointCloud2 of joints; inverse of `joints_from`.

    Args:
        types: what makes the message.
        joints: (N,) of dtype JOINT.
        header: std_msgs/Header.
    """
    return cloud_of(types, joints.astype(JOINT, copy=False), header)


def joints_from(message: Any) -> NDArray[Any]:
    """The joints of a cloud that `joint_cloud` made: (N,) of dtype JOINT.

    Raises:
        MessageError: 'cloud': it is no such cloud.
    """
    records = records_from(message)
    names = JOINT.names or ()
    check_fields(records, names)
    joints = np.empty(len(records), JOINT)
    for name in names:
        joints[name] = records[name]
    return joints


def joints_of(label: Keypoints) -> NDArray[Any]:
    """Joints that were found, person by person from 1, and then the points without a type.

    Returns:
        (N,) of dtype JOINT without the absent ones; x y z are NaN. A person without joints leaves
        its number out.
    """
    people, kinds = np.nonzero(label.visibility)
    joints = np.zeros(len(people) + len(label.untyped), JOINT)
    for axis in 'xyz':
        joints[axis] = np.nan
    found, loose = joints[: len(people)], joints[len(people) :]
    found['u'], found['v'] = label.joints[people, kinds].T
    found['visibility'], found['score'] = (
        label.visibility[people, kinds],
        label.scores[people, kinds],
    )
    found['joint'], found['instance'] = kinds, people + 1
    loose['u'], loose['v'] = label.untyped.T
    loose['visibility'], loose['joint'], loose['score'] = 2, UNTYPED, 1
    return joints


def keypoints_from(message: Any, size: tuple[int, int]) -> Keypoints:
    """The people in a cloud of joints; inverse of `joints_of`.

    Args:
        message: sensor_msgs/PointCloud2 as `joint_cloud` makes it.
        size: (H, W) of the picture, pixels.

    Raises:
        MessageError: 'cloud': it is no such cloud, or says of a joint what cannot be.
    """
    joints = joints_from(message)
    inside = np.isfinite(joints['u']) & np.isfinite(joints['v'])
    joints = joints[inside & (joints['visibility'] > 0)]
    untyped = joints['joint'] == UNTYPED
    loose, typed = joints[untyped], joints[~untyped]
    if typed.size and (typed['joint'].max() >= len(COCO_JOINTS) or typed['instance'].min() < 1):
        raise MessageError('cloud', 'cloud: expected joints 0 to 16 of people from 1, came others')
    shape = (int(typed['instance'].max(initial=0)), len(COCO_JOINTS))
    places = np.full((*shape, 2), np.nan, np.float32)
    visibility, scores = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    where = typed['instance'].astype(int) - 1, typed['joint']
    places[where] = np.stack([typed['u'], typed['v']], axis=-1)
    visibility[where], scores[where] = typed['visibility'], typed['score']
    untyped_places = np.stack([loose['u'], loose['v']], axis=-1)
    try:
        return Keypoints(places, visibility, scores, untyped_places, size)
    except ValueError as error:
        raise MessageError('cloud', f'cloud: not joints of people: {error}') from error
