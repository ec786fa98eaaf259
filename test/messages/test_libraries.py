# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""rclpy and rosbags make the same bytes, and read each other's messages."""

import sys

import encoders
import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.bags.typestore import TYPES, BagTypes
from diception_ros.core.frame import Frame, Intrinsics
from diception_ros.core.labels import MetricDepth
from diception_ros.messages import camera_info, make_header, outputs, point_clouds, poses
from diception_ros.messages import images as image_messages

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402

from diception_ros.node.publishers import RosTypes, find  # noqa: E402

BAG, ROS = BagTypes(), RosTypes()
LENS = Intrinsics(50.5, 60.25, 31, 20)
SIZE = (48, 64)
HEADER = 'std_msgs/msg/Header'


def every_message(types):
    """What can be made of the packages that the tests install, by name."""
    rng = np.random.default_rng(0)
    header = make_header(types, 1_700_000_000_123_456_789, 'cam')
    info = camera_info.info(types, LENS, SIZE, header)
    frame = Frame(rng.integers(0, 256, (*SIZE, 3), np.uint8), 5, 'cam', LENS)
    for name in tasks.names():
        task = tasks.get(name)
        label = example(task, rng, 64)
        wanted = [one.topic for one in outputs.declared(task, types)]
        yield from outputs.from_label(types, task, label, header, frame, wanted, info,
                                      ('person',))  # fmt: skip
    depth = MetricDepth(rng.uniform(1, 2, SIZE).astype(np.float32))
    yield 'points', point_clouds.cloud(types, header, depth, LENS, frame.image)
    yield 'camera_info', info
    yield 'nobody', point_clouds.joint_cloud(types, np.zeros(0, point_clouds.JOINT), header)
    yield 'pose', poses.pose_stamped(types, np.array([1.0, 2, 3]), np.eye(3), header)
    yield 'text', types.make('std_msgs/msg/String', data='é')


def kind_of(message):
    return '/'.join((type(message).__module__.split('.')[0], 'msg', type(message).__name__))


def test_rclpy_and_rosbags_make_the_same_bytes():
    ours = dict(every_message(ROS))
    theirs = {topic: one for topic, one in every_message(BAG) if topic in ours}
    assert list(ours) == list(theirs)
    assert len(ours) > 15
    for topic, message in ours.items():
        kind = theirs[topic].__msgtype__
        assert kind_of(message) == kind
        live, recorded = serialize_message(message), TYPES.serialize_cdr(theirs[topic], kind)
        # Fast CDR leaves what was in memory between numbers that it aligns; read and written by
        # rosbags these bytes are 0.
        again = TYPES.serialize_cdr(TYPES.deserialize_cdr(live, kind), kind)
        assert len(live) == len(recorded), topic
        assert bytes(again) == bytes(recorded), topic


def test_messages_pass_the_field_checks_of_rclpy(monkeypatch):
    # What ROS_PYTHON_CHECK_FIELDS=1 switches on: every field is of the type that it should be.
    list(every_message(ROS))
    for module in [*sys.modules.values()]:
        if hasattr(module, 'ros_python_check_fields'):
            monkeypatch.setattr(module, 'ros_python_check_fields', '1')
    assert len(dict(every_message(ROS))) > 15


def test_make_fills_arrays_without_the_checks_of_each_number(monkeypatch):
    # As rclpy does when a field is set, 141 ms for 1280x720: see ros/types.py.
    kind = find('sensor_msgs/msg/Image')

    def set_nothing(message, value):
        assert not len(value)
        set_data(message, value)

    set_data = kind.data.fset
    monkeypatch.setattr(kind, 'data', property(kind.data.fget, set_nothing))
    message = image_messages.image(ROS, np.ones((4, 6), np.float32), '32FC1', ROS.make(HEADER))
    np.testing.assert_array_equal(image_messages.array_from(message), 1)
    with pytest.raises(AssertionError):
        message.data = message.data


def test_an_image_of_rclpy_is_read_as_one_of_rosbags():
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for encoding in encoders.ALL:
        message = encoders.encode(image, encoding, padding=2)
        fields = {**vars(message), 'header': make_header(ROS, 7_000_000_008, 'cam')}
        live = ROS.make('sensor_msgs/msg/Image', **fields)
        replayed = TYPES.deserialize_cdr(serialize_message(live), 'sensor_msgs/msg/Image')
        infos = [camera_info.info(types, LENS, SIZE, make_header(types, 0, 'cam'))
                 for types in (ROS, BAG)]  # fmt: skip
        one, two = map(image_messages.frame_from, (live, replayed), infos)
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.image, image_messages.rgb_from(message))
        assert one.stamp_ns == two.stamp_ns == 7_000_000_008
        assert one.frame_id == two.frame_id == 'cam'
        assert one.intrinsics == two.intrinsics == LENS


def test_a_compressed_image_of_rclpy_is_read_as_one_of_rosbags():
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    import cv2

    content = cv2.imencode('.png', image[..., ::-1])[1]
    live = ROS.make('sensor_msgs/msg/CompressedImage', header=make_header(ROS, 7, 'cam'),
                    format='png', data=content)  # fmt: skip
    kind = 'sensor_msgs/msg/CompressedImage'
    replayed = TYPES.deserialize_cdr(serialize_message(live), kind)
    for message in (live, replayed):
        np.testing.assert_array_equal(image_messages.frame_from(message).image, image)


def test_published_messages_survive_serialization():
    for topic, message in every_message(ROS):
        kind = kind_of(message)
        again = deserialize_message(serialize_message(message), find(kind))
        if kind == outputs.IMAGE and topic.endswith(('image', 'label', 'mask', 'instances')):
            np.testing.assert_array_equal(
                image_messages.array_from(again), image_messages.array_from(message)
            )
        if kind == outputs.CLOUD:
            assert (
                point_clouds.records_from(again).tobytes()
                == point_clouds.records_from(message).tobytes()
            )


def test_missing_packages_raise():
    assert ROS.has('sensor_msgs/msg/Image')
    assert BAG.has('vision_msgs/msg/LabelInfo')
    for kind in ('no_such_msgs/msg/Image', 'sensor_msgs/msg/Nothing'):
        assert not ROS.has(kind)
        assert not BAG.has(kind)
        with pytest.raises(ImportError):
            ROS.make(kind)
        with pytest.raises(ValueError, match=kind):
            BAG.make(kind)
    with pytest.raises(AttributeError):
        ROS.make('sensor_msgs/msg/Image', color=1)


def test_make_accepts_arrays_of_any_shape_and_dtype():
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    for array in (image, image[:, ::2], image[:0], np.zeros(0, np.uint8)):
        message = ROS.make('sensor_msgs/msg/Image', data=array)
        assert message.data.typecode == 'B'
        assert message.data.tobytes() == array.tobytes()
    info = ROS.make('sensor_msgs/msg/CameraInfo', d=np.arange(5), k=np.arange(9.0))
    assert (info.d.typecode, info.d.tolist()) == ('d', [0, 1, 2, 3, 4])
    assert info.k.tolist() == list(range(9))
