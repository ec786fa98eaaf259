# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Truth of several cameras, each its own; truth in images and arrays, which say the same."""

import cv2
import numpy as np
import pytest
import recordings
from recordings import BEGIN, LATE, MAKE, SIZE, image, write

from diception_ros import tasks
from diception_ros.bag_replay import run
from diception_ros.bag_replay.run import Job
from diception_ros.bags.frames import choose
from diception_ros.bags.reader import Bag
from diception_ros.core import geometry
from diception_ros.core.frame import Frame
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets.ground_truth import GroundTruthSource, truth_from_file
from diception_ros.evaluation import bag_scores
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header
from diception_ros.perception.perceiver import Perceiver

COUNT = 4
POINTS = (Point(9, 9),)
# Number of the first image that each camera takes, and its period.
CAMERAS = {'front': (0, 100_000_000), 'rear': (40, 70_000_000)}


def said(task, number):
    """What the cheap model answers to an image."""
    prompt = Prompt(task, points=POINTS if task == 'segmentation' else ())
    return recordings.prediction(Frame(image(number)), prompt)


def metres(number):
    return geometry.to_metric(said('depth', number), geometry.ScaleShift(0.4, 0.1)).values


def write_bag(path, names):
    """Images of some cameras, and true depths beside them."""
    messages = []
    for name in names:
        first, period = CAMERAS[name]
        for k in range(COUNT):
            stamp = BEGIN + k * period
            header = make_header(MAKE, stamp, name)
            for topic, array, encoding in (
                ('image_raw', image(first + k), 'rgb8'),
                ('depth', metres(first + k), '32FC1'),
            ):
                message = image_messages.image(MAKE, array, encoding, header)
                messages.append((f'/{name}/{topic}', message, stamp + LATE))
    return write(path, sorted(messages, key=lambda one: one[2]))


def judged(bag, out, names, truths, tasks):
    asked = recordings.asked(tasks=tasks, temporal__track_ids=False)
    points = POINTS if 'segmentation' in tasks else ()
    topics = tuple(f'/{name}/image_raw' for name in names)
    job = Job(out, cameras=topics, force=True, points=points)
    with Bag(bag) as opened:
        cameras = choose(opened, job.cameras)
        run.replay(opened, Perceiver(recordings.Cheap(), MAKE, asked), job)
        sources = [GroundTruthSource(opened, text, cameras, asked.tasks) for text in truths]
        for source in sources:
            source.check(opened, asked.categories)
    return bag_scores.score(bag, out, cameras, job, asked, sources, {}, 'frame')


def test_each_camera_has_its_own_truth(tmp_path):
    bag = write_bag(tmp_path / 'bag', CAMERAS)
    given = [f'{name}.depth=/{name}/depth' for name in CAMERAS]
    found = judged(bag, tmp_path / 'out.mcap', CAMERAS, given, ('depth',))
    assert set(found.numbers) == set(CAMERAS)
    for name, (_, period) in CAMERAS.items():
        assert found.numbers[name]['depth']['images'] == COUNT
        assert found.numbers[name]['depth']['abs_rel'] < 1e-4
        rows = [row for row in found.rows if row['camera'] == name]
        assert [row['stamp_ns'] for row in rows] == [BEGIN + k * period for k in range(COUNT)]
        alone = judged(bag, tmp_path / 'alone.mcap', [name], [f'depth=/{name}/depth'], ('depth',))
        assert alone.numbers[''] == found.numbers[name]


def test_the_truth_of_one_camera_is_not_that_of_another(tmp_path):
    bag = write_bag(tmp_path / 'bag', CAMERAS)
    given = ['front.depth=/front/depth', 'rear.depth=/front/depth']
    found = judged(bag, tmp_path / 'out.mcap', CAMERAS, given, ('depth',))
    assert found.numbers['front']['depth']['abs_rel'] < 1e-4
    assert found.numbers['rear']['depth']['abs_rel'] > 0.05
    assert found.missing['front'] == {}


def test_files_in_their_order_belong_to_one_camera(tmp_path):
    bag = write_bag(tmp_path / 'bag', CAMERAS)
    for name, (first, _) in CAMERAS.items():
        (tmp_path / name).mkdir()
        for k in range(COUNT):
            np.save(tmp_path / name / f'{k}.npy', metres(first + k))
    given = [f'{name}.depth={tmp_path / name}' for name in CAMERAS]
    found = judged(bag, tmp_path / 'out.mcap', CAMERAS, given, ('depth',))
    assert all(found.numbers[name]['depth']['abs_rel'] < 1e-4 for name in CAMERAS)


def test_several_cameras_need_a_name(tmp_path):
    bag = write_bag(tmp_path / 'bag', CAMERAS)
    for text, says in (('depth=/front/depth', r'as in front\.depth='),
                       ('left.depth=/front/depth', "no camera 'left'")):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            judged(bag, tmp_path / 'out.mcap', CAMERAS, [text], ('depth',))


def save(path, array):
    """An array as a file of the kind that its name says."""
    if path.suffix == '.npy':
        np.save(path, array)
    else:
        assert cv2.imwrite(str(path), array)


@pytest.mark.parametrize('end', ['png', 'npy'])
@pytest.mark.parametrize('value', [1, 255])
def test_masks_in_files(tmp_path, end, value):
    bag = write_bag(tmp_path / 'bag', ['front'])
    for name, shift in (('right', 0), ('wrong', 1)):
        (tmp_path / name).mkdir()
        for k in range(COUNT):
            mask = said('segmentation', (k + shift) % COUNT).values
            save(tmp_path / name / f'{BEGIN + k * 100_000_000}.{end}',
                 mask.astype(np.uint8) * np.uint8(value))  # fmt: skip
    right, wrong = (
        judged(bag, tmp_path / 'out.mcap', ['front'], [f'segmentation={tmp_path / name}'],
               ('segmentation',)).numbers['']['segmentation']
        for name in ('right', 'wrong')
    )  # fmt: skip
    assert right['iou'] == 1
    assert wrong['iou'] < 0.9


@pytest.mark.parametrize(('end', 'kind', 'unit'), [
    ('png', np.uint16, 1000), ('npy', np.uint16, 1000), ('npy', np.float32, 1),
    ('npy', np.float64, 1),
])  # fmt: skip
def test_depths_in_files(tmp_path, end, kind, unit):
    bag = write_bag(tmp_path / 'bag', ['front'])
    folder = tmp_path / 'truth'
    folder.mkdir()
    for k in range(COUNT):
        depth = metres(k) * unit
        depth[:3] = 0  # unknown
        save(folder / f'{BEGIN + k * 100_000_000}.{end}', np.nan_to_num(depth).astype(kind))
    found = judged(bag, tmp_path / 'out.mcap', ['front'], [f'depth={folder}'], ('depth',))
    numbers = found.numbers['']['depth']
    assert numbers['abs_rel'] < (1e-2 if unit == 1000 else 1e-4)
    assert numbers['images'] == COUNT
    # By the scores alone any unit would do, as they scale.
    read = truth_from_file(tasks.get('depth'), folder / f'{BEGIN}.{end}', ()).values
    np.testing.assert_allclose(read[3:], metres(0)[3:], atol=2e-3 if unit == 1000 else 1e-6)
    assert np.isnan(read[:3]).all()


@pytest.mark.parametrize(('task', 'array'), [
    ('segmentation', np.zeros((*SIZE, 3), np.uint8)), ('depth', np.zeros(SIZE, np.uint8)),
    ('depth', np.zeros((*SIZE, 3), np.uint16)),
])  # fmt: skip
@pytest.mark.parametrize('end', ['png', 'npy'])
def test_files_of_another_kind_are_refused(tmp_path, task, array, end):
    bag = write_bag(tmp_path / 'bag', ['front'])
    folder = tmp_path / 'truth'
    folder.mkdir()
    save(folder / f'1.{end}', array)
    with pytest.raises(ValueError, match=f'truth of {task}: .*expected'):
        judged(bag, tmp_path / 'out.mcap', ['front'], [f'{task}={folder}'], (task,))
