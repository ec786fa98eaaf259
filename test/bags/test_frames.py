# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The topics that are images of cameras, and what belongs to them."""

from types import SimpleNamespace

import numpy as np
import pytest
import recordings

from diception_ros.bags.frames import Camera, choose
from diception_ros.bags.reader import Bag
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header


def bag(tmp_path, **encodings):
    """A bag with an image of an encoding on each topic; `c` in front: compressed."""
    messages = []
    for name, encoding in encodings.items():
        header = make_header(recordings.MAKE, 5, 'cam')
        topic = '/' + name.replace('__', '/')
        if encoding == 'jpeg':
            message = recordings.MAKE.make('sensor_msgs/msg/CompressedImage', header=header,
                                           format='jpeg', data=np.zeros(5, np.uint8))  # fmt: skip
        else:
            dtype, channels = image_messages.element(encoding)
            array = np.zeros((4, 4, channels)[: 2 + (channels > 1)], dtype)
            message = image_messages.image(recordings.MAKE, array, encoding, header)
        messages.append((topic, message, 5))
    return Bag(recordings.write(tmp_path / 'bag', messages))


def test_choose_finds_the_only_camera_among_depths_and_labels(tmp_path):
    found = choose(bag(tmp_path, depth__image='32FC1', labels='mono8', front__image='rgb8'))
    assert found == [Camera('', '/front/image')]


def test_choose_takes_the_only_images(tmp_path):
    assert choose(bag(tmp_path, a__image='mono8')) == [Camera('', '/a/image')]


def test_choose_prefers_raw_over_compressed_of_one_camera(tmp_path):
    found = choose(bag(tmp_path, a__image='rgb8', a__image__compressed='jpeg', d__image='32FC1'))
    assert found == [Camera('', '/a/image')]


def test_choose_finds_a_compressed_camera_beside_depths(tmp_path):
    topics = {'a__image__compressed': 'jpeg', 'a__depth__compressedDepth': 'jpeg'}
    assert choose(bag(tmp_path, **topics)) == [Camera('', '/a/image/compressed')]


@pytest.mark.parametrize('topics', [
    {'a__image': 'rgb8', 'b__image__compressed': 'jpeg'}, {'a': 'bgr8', 'b': 'rgb8'},
    {'a': 'mono8', 'b': '32FC1'},
])  # fmt: skip
def test_choose_lists_several_cameras(tmp_path, topics):
    with pytest.raises(ValueError, match='choose with --camera'):
        choose(bag(tmp_path, **topics))


def test_choose_reports_wrong_topics(tmp_path):
    mine = bag(tmp_path, front__image='rgb8', rear__image='rgb8')
    for wanted, says in (
        (['/front/imag'], "did you mean '/front/image'"), (['/front/image'] * 2, 'twice'),
        (['1=/front/image'], 'expected a name'), (['a=/front/image', 'a=/rear/image'], 'one name'),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            choose(mine, wanted)
    with pytest.raises(ValueError, match='2 topics for 1 cameras'):
        choose(mine, ['/front/image'], ['/a', '/b'])
    with pytest.raises(ValueError, match='no CameraInfo'):
        choose(mine, ['/front/image'], ['/rear/image'])


@pytest.mark.parametrize(('topics', 'names'), [
    (['/front/image_raw', '/rear/image_raw'], ['front', 'rear']),
    (['/a/cam/image_raw', '/b/cam/image_raw/compressed'], ['a_cam', 'b_cam']),
    (['/left', '/right'], ['left', 'right']),
    (['/cam/image', '/cam/image_raw'], ['cam_image', 'cam_image_raw']),
])  # fmt: skip
def test_choose_names_cameras_by_what_differs(topics, names):
    there = {
        topic: SimpleNamespace(name=topic, msgtype='sensor_msgs/msg/Image', count=1)
        for topic in topics
    }
    found = choose(SimpleNamespace(topics=there, path='bag'), topics)
    assert [one.name for one in found] == names


def test_choose_takes_names(tmp_path):
    found = choose(bag(tmp_path, a='rgb8', b='rgb8'), ['left=/a', '/b'])
    assert [one.name for one in found] == ['left', 'b']


@pytest.mark.parametrize(
    ('msgtype', 'transport'),
    [
        ('theora_image_transport/msg/Packet', 'theora'),
        ('ffmpeg_image_transport_msgs/msg/FFMPEGPacket', 'ffmpeg'),
    ],
)
def test_a_bag_of_video_alone_gets_the_command_that_republishes(msgtype, transport):
    topic = SimpleNamespace(name='/cam/video', msgtype=msgtype, count=3)
    recorded = SimpleNamespace(path='a.mcap', damage='', topics={topic.name: topic})
    with pytest.raises(ValueError, match='no images in it') as caught:
        choose(recorded)
    assert f'in_transport:={transport} ' in str(caught.value)
    assert f'-r in/{transport}:=/cam/video ' in str(caught.value)
