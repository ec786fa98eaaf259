# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bag holds what a folder of the same views holds, and says what it cannot be asked."""

import json

import numpy as np
import pytest
from random_labels import assert_same

from diception_ros import tasks
from diception_ros.bags import mcap_writer
from diception_ros.bags.typestore import BagTypes
from diception_ros.datasets.sample import create_folder, read_folder, write_frame
from diception_ros.simulation import sample_stream
from diception_ros.simulation.record import START_NS, frame_messages, scene_message
from diception_ros.simulation.views import recorded_views

STEP = 100_000_000


def stamps(count):
    return [START_NS + k * STEP for k in range(count)]


@pytest.fixture(scope='module')
def shown(views):
    """Two views of each of four rooms, some with people in them."""
    kept = views[:8]
    assert any(len(view.keypoints().joints) for view in kept)
    return kept


def write(path, shown, leave_out=(), stories=True, lost=()):
    with mcap_writer.create(path) as bag:
        for k, (view, stamp_ns) in enumerate(zip(shown, stamps(len(shown)), strict=True)):
            if stories and (k == 0 or view.scene is not shown[k - 1].scene):
                bag.write_message('/camera/scene', scene_message(view.scene), stamp_ns)
            for topic, message in frame_messages(view, stamp_ns):
                if topic not in leave_out and (k, topic) not in lost:
                    bag.write_message(topic, message, stamp_ns)
    return path


@pytest.mark.parametrize('stuff', [False, True])
def test_a_bag_and_a_folder_of_the_same_views_give_equal_samples(shown, tmp_path, stuff):
    create_folder(tmp_path / 'folder')
    numbers = [0, 1] * 4
    for k, (view, stamp_ns) in enumerate(zip(shown, stamps(8), strict=True)):
        name = f'{view.scene.name}/{numbers[k]}'
        asked = sample_stream.make_samples(
            view, tasks.names(), np.random.default_rng(k), name, stuff=stuff, metric=True,
            stamp_ns=stamp_ns,
        )  # fmt: skip
        write_frame(tmp_path / 'folder', k, asked)
    bag = write(tmp_path / 'bag.mcap', shown)
    got = []
    for k, view in enumerate(recorded_views(bag)):
        assert view.tasks == ['depth', 'normal', 'entity', 'segmentation', 'semantic', 'pose']
        rng = np.random.default_rng(k)
        got += sample_stream.samples_of_image(view, view.frame, view.pose(), tasks.names(), rng,
                                       view.name, stuff=stuff, metric=True)  # fmt: skip
    expected = list(read_folder(tmp_path / 'folder'))
    assert len(got) == len(expected) > 40
    for one, two in zip(got, expected, strict=True):
        assert one.name == two.name
        assert one.prompt == two.prompt
        assert_same(one.label, two.label, rtol=0, atol=0)
        np.testing.assert_array_equal(one.frame.image, two.frame.image)
        for name in ('stamp_ns', 'frame_id', 'intrinsics', 'size'):
            assert getattr(one.frame, name) == getattr(two.frame, name)
        np.testing.assert_array_equal(one.pose.translation, two.pose.translation)
        np.testing.assert_allclose(one.pose.rotation, two.pose.rotation, rtol=0, atol=1e-8)


def test_questions_follow_from_the_seed_and_the_name(shown, tmp_path):
    whole = write(tmp_path / 'whole.mcap', shown)
    rest = write(tmp_path / 'rest.mcap', shown[4:])
    asked = list(sample_stream.bag_samples(whole, ['segmentation', 'depth']))
    again = list(sample_stream.bag_samples(rest, ['segmentation', 'depth']))
    other = list(sample_stream.bag_samples(whole, ['segmentation', 'depth'], seed=1))
    assert len(asked) == len(other) == 16
    assert [(one.name, one.prompt) for one in asked[8:]] == [
        (one.name, one.prompt) for one in again
    ]
    assert [one.prompt for one in asked] != [one.prompt for one in other]
    assert asked[0].frame is asked[1].frame


def test_a_folder_of_bags_is_all_of_them_by_name(shown, tmp_path):
    write(tmp_path / 'b.mcap', shown[:2])
    write(tmp_path / 'a.mcap', shown[2:6])
    names = [one.name for one in sample_stream.bag_samples(tmp_path, ['depth'])]
    assert names == [f'{shown[k].scene.name}/{k % 2}/depth' for k in (2, 3, 4, 5, 0, 1)]


@pytest.mark.parametrize(('missing', 'tasks_left'), [
    ('/camera/depth/image', {'normal', 'entity', 'segmentation', 'semantic', 'pose'}),
    ('/camera/normals/image', {'depth', 'entity', 'segmentation', 'semantic', 'pose'}),
    ('/camera/joints', {'depth', 'normal', 'entity', 'segmentation', 'semantic'}),
    ('/camera/instances/image', {'depth', 'normal', 'pose'}),
    ('/camera/scene', {'depth', 'normal', 'pose'}),
    ('/camera/semantic/image', set(tasks.names())),
])  # fmt: skip
def test_what_was_not_recorded_is_not_asked(shown, tmp_path, missing, tasks_left):
    bag = write(tmp_path / 'bag.mcap', shown, [missing], missing != '/camera/scene')
    asked = {one.prompt.task for one in sample_stream.bag_samples(bag, tasks.names())}
    assert asked == tasks_left


def test_a_lost_message_is_not_that_of_the_image_before(shown, tmp_path):
    lost = [(1, '/camera/depth/image'), (4, '/camera/image_raw')]
    bag = write(tmp_path / 'bag.mcap', shown[:6], lost=lost)
    got = list(sample_stream.bag_samples(bag, ['depth', 'normal'], metric=True))
    expected = [(k, task) for k in range(6) for task in ('depth', 'normal')]
    expected = [(k, task) for k, task in expected if k != 4 and (k, task) != (1, 'depth')]
    assert len(got) == len(expected)
    for one, (k, task) in zip(got, expected, strict=True):
        assert one.prompt.task == task
        np.testing.assert_array_equal(one.frame.image, shown[k].image)
        truth = shown[k].metric_depth() if task == 'depth' else shown[k].surface_normals()
        assert_same(one.label, truth, rtol=0, atol=0)


def test_pinhole_and_pose_are_optional(shown, tmp_path):
    bag = write(tmp_path / 'bag.mcap', shown[:1], ['/camera/pose', '/camera/camera_info'])
    (sample,) = sample_stream.bag_samples(bag, ['depth'])
    assert sample.pose is None
    assert sample.frame.intrinsics is None


def test_errors_name_the_bag(shown, tmp_path):
    with pytest.raises(FileNotFoundError, match='no bag'):
        next(sample_stream.bag_samples(tmp_path, ['depth']))
    bag = write(tmp_path / 'blind.mcap', shown[:1], ['/camera/image_raw'])
    with pytest.raises(ValueError, match=r'blind\.mcap: no images'):
        next(sample_stream.bag_samples(bag, ['depth']))

    with mcap_writer.create(tmp_path / 'short.mcap') as out:
        scene_content = json.loads(scene_message(shown[0].scene).data)
        scene_content['instances'] = {'1': 'floor'}
        message = BagTypes().make('std_msgs/msg/String', data=json.dumps(scene_content))
        out.write_message('/camera/scene', message, START_NS)
        for topic, message in frame_messages(shown[0], START_NS):
            out.write_message(topic, message, START_NS)
    with pytest.raises(ValueError, match='names 1 instances'):
        next(sample_stream.bag_samples(tmp_path / 'short.mcap', ['entity']))
    with mcap_writer.create(tmp_path / 'odd.mcap') as out:
        message = BagTypes().make('std_msgs/msg/String', data='hello')
        out.write_message('/camera/scene', message, START_NS)
    with pytest.raises(ValueError, match=r'odd\.mcap: /camera/scene is not'):
        next(sample_stream.bag_samples(tmp_path / 'odd.mcap', ['depth']))
