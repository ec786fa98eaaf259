# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags come back as they were written, and messages mean what they say."""

import numpy as np
import pytest

from diception_ros.bags import mcap_writer, typestore
from diception_ros.bags.reader import read_messages
from diception_ros.core.frame import Intrinsics
from diception_ros.messages import camera_info, make_header, outputs, poses
from diception_ros.messages import images as image_messages
from diception_ros.messages.point_clouds import JOINT, joint_cloud

STAMP = 1_700_000_000_123_456_789
TYPES = typestore.BagTypes()
MAPS = {'rgb8': 255, 'mono8': 255, '16UC1': 65535, '32FC1': 9, '32FC3': 9}


def array_of(encoding, rng, size=(5, 7)):
    dtype, channels = image_messages.element(encoding)
    shape = size + ((channels,) if channels > 1 else ())
    return (rng.random(shape) * MAPS[encoding]).astype(dtype)


def some_messages():
    rng = np.random.default_rng(0)
    pose = np.array([1.0, 2, 3]), np.eye(3)
    joints = np.zeros(17, JOINT)
    joints['x'], joints['u'], joints['instance'] = rng.random(17), np.nan, 40_000
    thing = outputs.Detection(7, 'cup', 0.5, (1.0, 2.0), (3.0, 5.0))
    for k in range(3):
        stamp = STAMP + k * 100_000_000
        header, world = (make_header(TYPES, stamp, name) for name in ('cam', 'map'))
        for encoding in MAPS:
            array = array_of(encoding, rng)
            yield f'/{encoding}', image_messages.image(TYPES, array, encoding, header), stamp
        yield '/info', camera_info.info(TYPES, Intrinsics(50, 51, 3, 2), (5, 7), header), stamp
        yield '/pose', poses.pose_stamped(TYPES, *pose, world), stamp
        yield '/tf', poses.transform(TYPES, *pose, world, 'cam'), stamp
        yield '/joints', joint_cloud(TYPES, joints, header), stamp
        yield '/things', outputs.detection_array(TYPES, [thing], header), stamp
        yield '/words', outputs.label_info(TYPES, ['cup'], header), stamp
        yield '/text', TYPES.make('std_msgs/msg/String', data='é {}'), stamp


def write(path, force=False):
    with mcap_writer.create(path, force) as writer:
        for topic, message, stamp in some_messages():
            writer.write_message(topic, message, stamp)


def test_write_message_and_read_messages_round_trip(tmp_path):
    path = tmp_path / 'a.mcap'
    write(path)
    written, read = list(some_messages()), list(read_messages(path))
    assert len(read) == len(written)
    assert {raw.topic for raw, _ in read} == {topic for topic, _, _ in written}
    key = {(raw.topic, raw.stamp_ns): (raw, message) for raw, message in read}
    for topic, message, stamp in written:
        raw, found = key[topic, stamp]
        assert raw.msgtype == message.__msgtype__
        assert raw.data == bytes(typestore.TYPES.serialize_cdr(message, raw.msgtype))
        if hasattr(message, 'header'):
            header = found.header
            assert header.stamp.sec * 10**9 + header.stamp.nanosec == stamp
            assert header.frame_id == message.header.frame_id


def test_vision_msgs_are_those_of_ros():
    # The hashes with which ROS itself (Jazzy) tells whether two definitions are the same.
    assert typestore.TYPES.hash_rihs01('vision_msgs/msg/LabelInfo') == (
        'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783'
    )
    assert typestore.TYPES.hash_rihs01('vision_msgs/msg/Detection2DArray') == (
        'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968'
    )


def test_create_writes_the_same_file_twice(tmp_path):
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


def test_read_messages_reads_the_named_topics(tmp_path):
    write(tmp_path / 'a.mcap')
    assert {raw.topic for raw, _ in read_messages(tmp_path / 'a.mcap', ('/info', '/tf'))} == {
        '/info',
        '/tf',
    }
    with pytest.raises(ValueError, match='/nothing'):
        list(read_messages(tmp_path / 'a.mcap', ('/nothing',)))


def test_create_refuses_an_existing_file(tmp_path):
    path = tmp_path / 'a.mcap'
    path.write_text('mine')
    with pytest.raises(FileExistsError, match='--force'):
        mcap_writer.create(path).__enter__()
    write(path, force=True)
    assert len(list(read_messages(path))) == 36
    (tmp_path / 'b.mcap').mkdir()
    with pytest.raises(FileExistsError, match='is no file'):
        mcap_writer.create(tmp_path / 'b.mcap', force=True).__enter__()
    with pytest.raises(ValueError, match=r'\.mcap'):
        mcap_writer.create(tmp_path / 'a.bag').__enter__()


def test_create_leaves_nothing_after_an_error(tmp_path):
    def fail():
        with mcap_writer.create(tmp_path / 'a.mcap') as writer:
            writer.write_message('/text', TYPES.make('std_msgs/msg/String', data=''), STAMP)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_read_messages_reports_what_is_no_bag(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_messages(tmp_path / 'nothing.mcap'))
    (tmp_path / 'a.mcap').write_text('not a bag')
    with pytest.raises(ValueError, match='not a bag'):
        list(read_messages(tmp_path / 'a.mcap'))
