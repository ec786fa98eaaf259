# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Poses have the quaternion of their rotation matrix; transforms lead from frame to frame."""

import threading

import numpy as np
import pytest

from diception_ros.bags.typestore import BagTypes
from diception_ros.messages import make_header, poses

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
    header = make_header(TYPES, 5, 'map')
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


def moved(rotation, parent, child, stamp_ns=5):
    header = make_header(TYPES, stamp_ns, parent)
    return poses.transform(TYPES, np.zeros(3), rotation, header, child)


def buffer(*messages, static=True):
    made = poses.TransformBuffer()
    for message in messages:
        made.add(message, static)
    return made


def test_gravity_is_down_of_the_level_frame_on_every_path():
    turns = some_turns()
    for one, two, three in zip(turns, turns[1:], turns[2:], strict=False):
        # The camera and the level frame are on two branches.
        found = buffer(
            moved(one, 'base', 'mast'), moved(two, '/mast', 'camera'),
            moved(three, 'base', 'odom'), moved(one, 'odom', 'odom'),
        ).gravity('camera', 'odom', 9)  # fmt: skip
        expected = (one @ two).T @ three @ [0, 0, -1]
        np.testing.assert_allclose(found, expected, atol=1e-12)
        back = buffer(moved(one, 'camera', 'odom')).gravity('camera', 'odom', 9)
        np.testing.assert_allclose(back, one @ [0, 0, -1], atol=1e-12)
    assert buffer().gravity('camera', 'camera', 0) == (0, 0, -1)
    loop = buffer(moved(turns[0], 'a', 'b'), moved(turns[0], 'b', 'a'))
    assert loop.gravity('a', 'odom', 0) is None
    assert buffer(moved(turns[0], 'a', 'b')).gravity('b', 'c', 0) is None


def test_gravity_is_by_the_transform_with_the_nearest_stamp():
    one, two, *_ = some_turns()
    half = poses.TF_TOLERANCE_NS
    made = buffer(
        moved(one, 'odom', 'camera', 10 * half), moved(two, 'odom', 'camera', 11 * half),
        static=False,
    )  # fmt: skip
    for stamp_ns, rotation in (
        (9 * half, one), (10 * half + 5, one), (11 * half - 5, two), (12 * half, two),
    ):  # fmt: skip
        found = made.gravity('camera', 'odom', stamp_ns)
        np.testing.assert_allclose(found, rotation.T @ [0, 0, -1], atol=1e-12)
        assert made.complete('camera', 'odom', stamp_ns) == (stamp_ns <= 11 * half)
    assert made.gravity('camera', 'odom', 12 * half + 1) is None
    made.clear()
    assert made.gravity('camera', 'odom', 11 * half) is None


def test_a_transform_that_comes_late_is_waited_for():
    one, two, *_ = some_turns()
    made = buffer(moved(one, 'odom', 'camera', 5), static=False)
    late = threading.Timer(0.05, made.add, (moved(two, 'odom', 'camera', 9), False))
    late.start()
    found = made.gravity('camera', 'odom', 8, wait_s=60)
    late.join()
    np.testing.assert_allclose(found, two.T @ [0, 0, -1], atol=1e-12)


@pytest.mark.parametrize('rotation', [(0, 0, 0, 0), (0, 0, 0, 2), (0, 0, float('nan'), 1)])
def test_transforms_that_tf2_refuses_are_left_out(rotation):
    message = moved(np.eye(3), 'odom', 'camera')
    given = message.transforms[0].transform.rotation
    given.x, given.y, given.z, given.w = rotation
    assert buffer(message).gravity('camera', 'odom', 0) is None
