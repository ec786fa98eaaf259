# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded predictions: headers, gaps, and equality with a replay."""

import random

import numpy as np
import pytest
from recordings import BEGIN, MAKE, recorded, write

from diception_ros import tasks
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity, Instances, Mask
from diception_ros.core.prompt import Point
from diception_ros.live_demo import run, verify
from diception_ros.live_demo.run import CLICK
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header, outputs, stamp_of

STEP = 100_000_000
SIZE = (6, 8)
TOPICS = ('disparity/image', 'depth/color', 'segmentation/mask')


def answered(count, frame_id='cam', topics=TOPICS):
    """(topic, message, log time) of predictions to images, each another."""
    for k in range(count):
        header = make_header(MAKE, BEGIN + k * STEP, frame_id)
        for n, topic in enumerate(topics):
            array = np.full(SIZE, 3 * k + n, np.uint8)
            message = image_messages.image(MAKE, array, 'mono8', header)
            yield f'/perception/{topic}', message, BEGIN + k * STEP + n


@pytest.fixture
def headers(tmp_path):
    return run.headers(run.read_drive(write(tmp_path / 'camera', recorded(6))))


def test_every_header_of_an_image_is_found(tmp_path, headers):
    assert headers == {BEGIN + k * STEP: 'cam' for k in range(6)}
    found = verify.check(write(tmp_path / 'live', answered(6)), headers)
    assert (found.messages, found.frames, found.complete) == (18, 6, 6)
    assert found.topics == dict.fromkeys(TOPICS, 6)
    assert not found.unmatched


def test_another_frame_and_another_stamp_are_unmatched(tmp_path, headers):
    wrong = verify.check(write(tmp_path / 'a', answered(6, 'camera')), headers)
    assert len(wrong.unmatched) == 18
    late = verify.check(write(tmp_path / 'b', answered(7)), headers)  # one image too many
    assert len(late.unmatched) == 3
    assert str(BEGIN + 6 * STEP) in late.unmatched[0]


def test_missing_message_is_reported_unless_its_topic_is_late(tmp_path, headers):
    recorded = [*answered(6)]
    bag = write(
        tmp_path / 'a', recorded[:2] + recorded[3:]
    )  # the first image was not asked for a mask
    assert verify.check(bag, headers).complete == 5
    assert verify.check(bag, headers, {'segmentation/mask'}).complete == 6
    assert verify.check(bag, headers, {'disparity/image'}).complete == 5


def test_messages_that_overtake_others_are_still_together(tmp_path, headers):
    recorded = [*answered(6)]
    order = random.Random(0)
    # Recorded up to three frames late.
    mixed = sorted(recorded, key=lambda one: stamp_of(one[1].header) + order.random() * 3 * STEP)
    assert mixed != recorded
    bag = write(tmp_path / 'a', ((t, m, BEGIN + k) for k, (t, m, _) in enumerate(mixed)))
    found = verify.check(bag, headers)
    assert (found.frames, found.complete) == (6, 6)


def test_equal_messages_are_counted(tmp_path):
    recorded = [*answered(6)]
    one = write(tmp_path / 'one', recorded)
    dropped = write(tmp_path / 'dropped', recorded[:3] + recorded[9:])
    assert verify.compare(dropped, one, set(TOPICS)) == (12, 12)
    assert verify.compare(one, dropped, set(TOPICS)) == (12, 18)  # of two, nothing was replayed
    assert verify.compare(one, one, {'depth/color'}) == (6, 6)
    other = [*recorded]
    other[4] = (
        recorded[4][0],
        recorded[5][1],
        recorded[4][2],
    )  # another message of the same image
    assert verify.compare(one, write(tmp_path / 'other', other), set(TOPICS)) == (17, 18)
    moved = answered(6, 'camera')
    assert verify.compare(one, write(tmp_path / 'moved', moved), set(TOPICS)) == (0, 18)


def test_what_depends_on_earlier_frames_is_not_compared():
    topics = verify.without_memory(tasks.names(), MAKE)
    assert {'disparity/image', 'normal/image', 'pose/keypoints', 'segmentation/mask'} <= topics
    assert not [topic for topic in topics if topic.startswith(('entity', 'semantic'))]


def test_categories_come_back_from_the_map_of_categories():
    ids = np.zeros(SIZE, np.int32)
    ids[0], ids[2, :3], ids[4] = 1, 2, 3
    words = ('person', 'chair', 'person')
    things = Instances(ids, words, np.ones(3, np.float32))
    asked = ('chair', 'person')
    frame = Frame(np.zeros((*SIZE, 3), np.uint8))
    header = make_header(MAKE, BEGIN, 'cam')
    wanted = {'semantic/label', 'semantic/instances'}
    messages = dict(
        outputs.from_label(MAKE, tasks.get('semantic'), things, header, frame, wanted, None, asked)
    )
    found = verify.label('semantic', messages, SIZE, asked)
    assert found.categories == words
    np.testing.assert_array_equal(found.ids, ids)
    for word, count in (('person', 2), ('chair', 1), ('dog', 0)):
        some = verify.only(found, [word])
        assert len(some.scores) == count == some.ids.max()
        mine = [k + 1 for k, one in enumerate(words) if one == word]
        np.testing.assert_array_equal(some.ids > 0, np.isin(ids, mine))
    np.testing.assert_array_equal(verify.only(found, asked).ids, ids)


def test_what_was_not_predicted_is_none():
    assert verify.label('depth', {}, SIZE, ()) is None
    assert verify.label('semantic', {}, SIZE, ()) is None
    message = image_messages.image(
        MAKE, np.ones(SIZE, np.float32), '32FC1', make_header(MAKE, 0, 'cam')
    )
    assert isinstance(verify.label('depth', {'disparity/image': message}, SIZE, ()), Disparity)
    mask = image_messages.image(MAKE, np.ones(SIZE, np.uint8), 'mono8', message.header)
    assert isinstance(verify.label('segmentation', {'segmentation/mask': mask}, SIZE, ()), Mask)


def test_a_recording_of_ones_own_is_read(tmp_path):
    click = MAKE.make('geometry_msgs/msg/Point', x=5.0, y=3.0, z=0.0)
    one = run.read_drive(write(tmp_path / 'a', [*recorded(4), (CLICK, click, BEGIN + STEP)]))
    assert (one.frames, one.compressed, one.truth) == (4, False, False)
    assert one.click == Point(5.0, 3.0)
    assert one.topics == ['/camera/image_raw', '/camera/camera_info', CLICK]
    assert one.seconds == pytest.approx(0.3, abs=0.05)
    pressed = recorded(4, '/front/image/compressed', compressed=True, info=False)
    other = run.read_drive(write(tmp_path / 'b', pressed))
    assert (other.compressed, other.click, other.topics) == (
        True,
        None,
        ['/front/image/compressed'],
    )
    two = [*recorded(2, '/a/image'), *recorded(2, '/b/image')]
    bag = write(tmp_path / 'c', sorted(two, key=lambda message: message[2]))
    with pytest.raises(ValueError, match='choose with --camera'):
        run.read_drive(bag)
    assert run.read_drive(bag, '/b/image').camera.info == '/b/camera_info'


def test_what_is_recorded_is_all_that_the_tasks_say():
    topics = run.recorded(['depth', 'normal'])
    assert topics[0] == '/diagnostics'
    assert {'/perception/disparity/image', '/perception/normal/color'} <= set(topics)
    assert not any('entity' in topic for topic in topics)
