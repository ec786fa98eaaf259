# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags come back as they were written, and messages mean what they say."""

import numpy as np
import pytest

from diception_ros.data import bag, messages
from diception_ros.data.sample import Pose
from diception_ros.frame import Intrinsics

STAMP = 1_700_000_000_123_456_789
MAX = {'rgb8': 255, 'mono8': 255, '16UC1': 65535, '32FC1': 9, '32FC3': 9}


def array_of(encoding, rng, size=(5, 7)):
    dtype, channels = messages.ENCODINGS[encoding]
    shape = size + ((channels,) if channels > 1 else ())
    return (rng.random(shape) * MAX[encoding]).astype(dtype)


def some_messages():
    rng = np.random.default_rng(0)
    pose = Pose(np.array([1.0, 2, 3]), np.eye(3))
    joints = np.zeros(17, messages.JOINT)
    joints['x'], joints['u'], joints['instance'] = rng.random(17), np.nan, 40_000
    for k in range(3):
        stamp = STAMP + k * 100_000_000
        for encoding in messages.ENCODINGS:
            array = array_of(encoding, rng)
            yield f'/{encoding}', messages.image(array, encoding, stamp, 'cam'), stamp
        lens = Intrinsics(50, 51, 3, 2)
        yield '/info', messages.camera_info(lens, (5, 7), stamp, 'cam'), stamp
        yield '/pose', messages.pose_stamped(pose, stamp, 'map'), stamp
        yield '/tf', messages.transform(pose, stamp, 'map', 'cam'), stamp
        yield '/joints', messages.joint_cloud(joints, stamp, 'cam'), stamp
        yield '/text', messages.make('std_msgs/msg/String', data='é {}'), stamp


def write(path, force=False):
    with bag.BagWriter(path, force) as writer:
        for topic, message, stamp in some_messages():
            writer.write(topic, message, stamp)


def test_every_message_comes_back_as_it_was(tmp_path):
    path = tmp_path / 'a.mcap'
    write(path)
    written, read = list(some_messages()), list(bag.read(path))
    assert len(read) == len(written)
    assert {r.topic for r in read} == {topic for topic, _, _ in written}
    key = {(r.topic, r.stamp_ns): r for r in read}
    for topic, message, stamp in written:
        one = key[topic, stamp]
        assert one.kind == message.__msgtype__
        assert one.data == bytes(bag.TYPES.serialize_cdr(message, one.kind))
        if hasattr(message, 'header'):
            header = one.message.header
            assert header.stamp.sec * 10**9 + header.stamp.nanosec == stamp
            assert header.frame_id == message.header.frame_id


def test_two_runs_write_the_same_file(tmp_path):
    path = tmp_path / 'a.mcap'
    write(path)
    first = path.read_bytes()
    write(path, force=True)
    assert path.read_bytes() == first


def test_definitions_are_in_the_file(tmp_path):
    write(tmp_path / 'a.mcap')
    content = (tmp_path / 'a.mcap').read_bytes()
    assert b'ros2msg' in content
    assert b'float64[9] k' in content  # CameraInfo
    assert b'builtin_interfaces/Time' in content


def test_some_topics_only(tmp_path):
    write(tmp_path / 'a.mcap')
    assert {r.topic for r in bag.read(tmp_path / 'a.mcap', ('/info', '/tf'))} == {'/info', '/tf'}
    with pytest.raises(ValueError, match='/nothing'):
        list(bag.read(tmp_path / 'a.mcap', ('/nothing',)))


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / 'a.mcap'
    path.write_text('mine')
    with pytest.raises(FileExistsError, match='--force'):
        bag.BagWriter(path)
    write(path, force=True)
    assert len(list(bag.read(path))) == 30
    (tmp_path / 'b.mcap').mkdir()
    with pytest.raises(FileExistsError, match='is no file'):
        bag.BagWriter(tmp_path / 'b.mcap', force=True)
    with pytest.raises(ValueError, match=r'\.mcap'):
        bag.BagWriter(tmp_path / 'a.bag')


def test_a_failed_run_leaves_nothing(tmp_path):
    def fail():
        with bag.BagWriter(tmp_path / 'a.mcap') as writer:
            writer.write('/text', messages.make('std_msgs/msg/String', data=''), STAMP)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_bag_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(bag.read(tmp_path / 'nothing.mcap'))
    (tmp_path / 'a.mcap').write_text('not a bag')
    with pytest.raises(ValueError, match='not a bag'):
        list(bag.read(tmp_path / 'a.mcap'))


@pytest.mark.parametrize('encoding', messages.ENCODINGS)
def test_pictures_keep_every_value(encoding):
    array = array_of(encoding, np.random.default_rng(1))
    message = messages.image(array, encoding, STAMP, 'cam')
    np.testing.assert_array_equal(messages.array_from(message), array)
    assert message.step * message.height == len(message.data)


def test_padded_rows_and_big_endian_pictures_are_read():
    message = messages.make(
        'sensor_msgs/msg/Image', header=messages.header(0, ''), height=2, width=2,
        encoding='16UC1', is_bigendian=1, step=6,
        data=np.array([1, 0, 0, 2, 9, 9, 0, 3, 0, 4, 9, 9], np.uint8),
    )  # fmt: skip
    np.testing.assert_array_equal(messages.array_from(message), [[256, 2], [3, 4]])
    message.data = message.data[:-1]
    with pytest.raises(ValueError, match='bytes'):
        messages.array_from(message)


def test_wrong_pictures_are_refused():
    with pytest.raises(ValueError, match='bayer'):
        messages.image(np.zeros((2, 2), np.uint8), 'bayer', 0, '')
    for wrong in (np.zeros((2, 2), np.float64), np.zeros((2, 2, 3), np.float32)):
        with pytest.raises(ValueError, match='32FC1'):
            messages.image(wrong, '32FC1', 0, '')


def test_quaternions_turn_as_their_matrix_does():
    rng = np.random.default_rng(3)
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(50)]
    turns = [q * np.sign(np.linalg.det(q)) for q in turns]
    # Half turns, where the simple formula divides by zero.
    turns += [np.diag(d).astype(float) for d in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1])]
    for rotation in turns:
        q = messages.pose_stamped(Pose(np.zeros(3), rotation), 0, 'map').pose.orientation
        vector, v = np.array([q.x, q.y, q.z]), rng.normal(size=3)
        turned = v + 2 * np.cross(vector, np.cross(vector, v) + q.w * v)
        np.testing.assert_allclose(turned, rotation @ v, atol=1e-12)


def test_joints_come_back():
    joints = np.zeros(34, messages.JOINT)
    joints['z'], joints['joint'] = np.arange(34), np.arange(34) % 17
    message = messages.joint_cloud(joints, STAMP, 'cam')
    np.testing.assert_array_equal(messages.joints_from(message), joints)
    assert message.width * message.point_step == len(message.data)
