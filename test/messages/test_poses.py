# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Poses have the quaternion of their rotation matrix."""

import numpy as np

from diception_ros.bags.typestore import BagTypes
from diception_ros.messages import base, poses

TYPES = BagTypes()


def some_turns():
    rng = np.random.default_rng(3)
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(50)]
    turns = [q * np.sign(np.linalg.det(q)) for q in turns]
    # Half turns, where the simple formula divides by zero.
    return turns + [
        np.diag(d).astype(float) for d in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1])
    ]


def test_pose_stamped_and_transform_have_the_rotation():
    rng = np.random.default_rng(4)
    header = base.header(TYPES, 5, 'map')
    for rotation in some_turns():
        place, v = rng.normal(size=3), rng.normal(size=3)
        message = poses.pose_stamped(TYPES, place, rotation, header)
        (moved,) = poses.transform(TYPES, place, rotation, header, 'cam').transforms
        for q in (message.pose.orientation, moved.transform.rotation):
            vector = np.array([q.x, q.y, q.z])
            turned = v + 2 * np.cross(vector, np.cross(vector, v) + q.w * v)
            np.testing.assert_allclose(turned, rotation @ v, atol=1e-12)
        for p in (message.pose.position, moved.transform.translation):
            assert [p.x, p.y, p.z] == place.tolist()
        assert moved.header is message.header is header
        assert moved.child_frame_id == 'cam'
