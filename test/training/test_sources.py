# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sources: a pool follows from its number, and what is held out is never trained on."""

from dataclasses import replace
import json

from disc_samples import SIDE, discs, equal, tiny
import labelled_files as files
import numpy as np
from PIL import Image
import pytest
import torch

from diception_ros.bags import mcap_writer
from diception_ros.bags.typestore import BagTypes
from diception_ros.core.labels import MetricDepth
from diception_ros.datasets import coco, rgbd
from diception_ros.datasets.sample import create_folder, write_frame
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header
from diception_ros.training import sources
from diception_ros.training.samples import Preprocessor, take_per_task
from diception_ros.training.sources import DiskDataset, coco_samples, open_dataset, rgbd_samples

FORM = Preprocessor(SIDE, 'xy', False)
TASKS = ['segmentation', 'depth']


def test_a_folder_is_read_whole(tmp_path):
    for name, seed in (('train', 0), ('validation', 1)):
        create_folder(tmp_path / name)
        samples = discs(3, seed)
        for k in range(3):
            write_frame(tmp_path / name, k, samples[2 * k : 2 * k + 2])
    chosen = replace(
        tiny(), source='folder', folder=str(tmp_path / 'train'),
        validation_folder=str(tmp_path / 'validation'), validation_samples=2,
    )  # fmt: skip
    source = open_dataset(chosen, ['depth'], SIDE)
    assert equal(source.buffer(0, FORM), FORM.collate(discs(3, 0, ['depth'])))
    assert [one.name for one in source.validation()] == ['disc 0 depth', 'disc 1 depth']


def recorded(path, count, seed):
    """A bag of discs with depth in metres, and the samples that should be in it."""
    types, out = BagTypes(), []
    with mcap_writer.create(path) as bag:
        for k, sample in enumerate(discs(count, seed, ['depth'])):
            stamp_ns = (k + 1) * 10**8
            metres = 5 - 4 * sample.label.values
            metres[3, 3] = 0.4  # a nearest pixel that no smaller image shows
            depth = MetricDepth(metres)
            header = make_header(types, stamp_ns, 'camera')
            for topic, array, encoding in (
                ('/camera/image_raw', sample.frame.image, 'rgb8'),
                ('/camera/depth/image', depth.values, '32FC1'),
            ):
                message = image_messages.image(types, array, encoding, header)
                bag.write_message(topic, message, stamp_ns)
            out.append(replace(sample, label=depth, name=f'{path.stem}/{k}/depth'))
    return out


def test_bags_and_a_folder_of_the_same_samples_are_the_same_pool(tmp_path):
    samples = recorded(tmp_path / 'drive.mcap', 4, 0)
    held = recorded(tmp_path / 'other.mcap', 2, 1)
    create_folder(tmp_path / 'folder')
    for k, sample in enumerate(samples):
        write_frame(tmp_path / 'folder', k, [sample])
    bag = open_dataset(
        tiny(source='bag', bags=str(tmp_path / 'drive.mcap'), task_weights='depth=1',
             validation_bags=str(tmp_path / 'other.mcap')), ['depth'], SIDE)  # fmt: skip
    files = open_dataset(tiny(source='folder', folder=str(tmp_path / 'folder')), ['depth'], SIDE)
    pool = bag.buffer(0, FORM)
    assert equal(pool, files.buffer(0, FORM))
    assert torch.equal(pool.images, files.buffer(0, FORM).images)
    assert equal(pool, FORM.collate(samples))
    # Metres are resized, and then become disparity, whichever way they came.
    small = replace(FORM, resolution=SIDE // 2)
    assert equal(bag.buffer(0, small), files.buffer(0, small))
    assert [one.name for one in bag.validation()] == [one.name for one in held]


def test_what_lies_on_disk_is_read_once(tmp_path):
    read = []
    source = DiskDataset(lambda: read.append(1) or discs(2, 0, ['depth']))
    assert not read
    assert source.buffer(0, FORM) is source.buffer(1, FORM)
    assert read == [1]
    assert len(source.buffer(0, replace(FORM, hflip=True))) == 4


@pytest.mark.parametrize(('given', 'says'), [
    ({'source': 'folder', 'folder': 'NO'}, 'no folder of samples'),
    ({'source': 'bag', 'bags': 'NO'}, 'no such bag'),
    ({'source': 'bag', 'bags': 'bags', 'validation_bags': 'NO'}, 'no such bag'),
])  # fmt: skip
def test_a_missing_place_is_an_error(tmp_path, given, says):
    (tmp_path / 'bags').mkdir()
    chosen = {name: str(tmp_path / value) if name != 'source' else value
              for name, value in given.items()}  # fmt: skip
    with pytest.raises(FileNotFoundError, match=says):
        open_dataset(tiny(**chosen), TASKS, SIDE).buffer(0, FORM)


def test_gathering_takes_the_first_of_each_and_gives_up_in_the_end():
    endless = (one for seed in range(10**6) for one in discs(1, seed, ['depth']))
    found = take_per_task(endless, ['depth', 'pose'], 3)
    assert [one.prompt.task for one in found] == ['depth'] * 3


def coco_run(place, **changes):
    weights = 'segmentation=1 entity=1 semantic=1 pose=1'
    return tiny(source='coco', coco=str(place), coco_crops=3, task_weights=weights, **changes)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of the small images that the tests write."""
    monkeypatch.setattr(sources, '_MIN_OBJECT', 4)


def window_of(name):
    """The rows and columns that a sample's name says."""
    left, top, size = name.split('/')[1].split(',')
    width, height = map(int, size.split('x'))
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def test_samples_of_coco_files_are_the_annotations_of_each_part(tmp_path, small_parts):
    found = coco.find_set(files.write_coco_set(tmp_path))
    images = {image.name: image for image in found.frames()}
    samples = list(coco_samples(found, [*TASKS, 'entity', 'semantic', 'pose'], (0,), crops=3))
    seen = {sample.prompt.task for sample in samples}
    assert seen == {'segmentation', 'entity', 'semantic', 'pose'}
    assert len({sample.name.rpartition('/')[0] for sample in samples}) > len(images)
    for sample in samples:
        image = images[sample.name.split('/')[0]]
        rows, columns = window_of(sample.name)
        np.testing.assert_array_equal(sample.frame.image, image.frame.image[rows, columns])
        numbers = files.ids(int(image.name[:3]))[rows, columns]
        if sample.prompt.task == 'segmentation':
            (value,) = {int(numbers[int(point.y), int(point.x)]) for point in sample.prompt.points}
            np.testing.assert_array_equal(sample.label.values, numbers == value)
        elif sample.prompt.task == 'entity':
            np.testing.assert_array_equal(sample.label.ids > 0, numbers > 0)
            assert set(sample.label.categories) == {
                files.NAMES[k - 1] for k in set(numbers.ravel()) - {0}
            }
        elif sample.prompt.task == 'semantic' and sample.prompt.category in files.NAMES:
            number = files.NAMES.index(sample.prompt.category) + 1
            np.testing.assert_array_equal(sample.label.ids > 0, numbers == number)
        elif sample.prompt.task == 'pose':
            origin = columns.start, rows.start
            for joints in sample.label.joints:
                known = np.isfinite(joints[:, 0])
                whole = image.people.joints[0][known]
                np.testing.assert_array_equal(joints[known] + origin, whole)


def test_what_a_crowd_hides_has_no_sample(tmp_path):
    place = files.write_coco_set(tmp_path)
    file = place / f'annotations/instances_{files.SPLIT}.json'
    content = json.loads(file.read_text())
    for annotation in content['annotations']:
        annotation['iscrowd'] = int(annotation['category_id'] == 7)  # every cup
    file.write_text(json.dumps(content))
    tasks = ['segmentation', 'entity', 'semantic', 'pose']
    samples = list(coco_samples(coco.find_set(place), tasks, (0,)))
    assert {sample.prompt.task for sample in samples} == {'segmentation', 'semantic', 'pose'}
    assert 'cup' not in {sample.prompt.category for sample in samples}
    # The last image has a person without joints.
    people = {sample.name.split('/')[0] for sample in samples if sample.prompt.task == 'pose'}
    assert people == {'000.png', '001.png', '002.png'}


def test_a_coco_buffer_follows_from_its_number_and_joins_another_source(tmp_path, small_parts):
    files.write_coco_set(tmp_path / 'photographs')
    create_folder(tmp_path / 'folder')
    write_frame(tmp_path / 'folder', 0, discs(1, 0, ['depth']))
    tasks = ['depth', 'segmentation', 'entity']
    alone_run = coco_run(tmp_path / 'photographs')
    alone = open_dataset(alone_run, tasks, SIDE)
    first = alone.buffer(0, FORM)
    assert equal(first, alone.buffer(0, FORM))
    assert first.names != alone.buffer(1, FORM).names
    held = coco_run(tmp_path / 'photographs', validation_coco=str(tmp_path / 'photographs'),
                    validation_samples=2)  # fmt: skip
    validation = open_dataset(held, tasks, SIDE).validation()
    assert [sample.prompt.task for sample in validation] == 2 * ['segmentation'] + 2 * ['entity']
    folder = replace(
        held, source='folder', folder=str(tmp_path / 'folder'),
        validation_folder=str(tmp_path / 'folder'),
    )  # fmt: skip
    source = open_dataset(folder, tasks, SIDE)
    names = [sample.name for sample in source.validation()]
    assert names == ['disc 0 depth', *(sample.name for sample in validation)]
    assert [sample.name for sample in source.validation()] == names
    both = replace(alone_run, source='folder', folder=str(tmp_path / 'folder'))
    mixed = open_dataset(both, tasks, SIDE).buffer(0, FORM)
    assert mixed.names == ('disc 0 depth', *first.names)
    assert torch.equal(mixed.targets[1:], first.targets)


def write_rgbd(place, known=True):
    """Two frames of a wall, of which the second's depth is unknown but for a tenth."""
    for name in ('rgb', 'depth'):
        (place / name).mkdir(parents=True)
    for k, unknown in enumerate((4, 36)):
        image = np.random.default_rng(k).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(image).save(place / f'rgb/{k}.png')
        depth = np.tile(np.linspace(1, 2, 60, dtype=np.float32), (40, 1))
        depth[:unknown] = np.nan
        np.save(place / f'depth/{k}.npy', depth)
    meta = {'intrinsics': [50.0, 50.0, 29.5, 19.5], 'intrinsics_known': known}
    (place / 'meta.json').write_text(json.dumps(meta))
    return place


def rgbd_run(place, **changes):
    return tiny(source='rgbd', rgbd=str(place), task_weights='depth=1 normal=1', **changes)


def test_samples_of_rgbd_frames_are_the_depth_and_normals_of_each_part(tmp_path):
    write_rgbd(tmp_path / 'a')
    write_rgbd(tmp_path / 'b', known=False)
    found = rgbd.find_sources(tmp_path)
    samples = list(rgbd_samples(found, ['normal', 'pose', 'depth'], (0,), crops=3))
    frames = {source.name: next(source.read()) for source in found}
    # Nothing of the second frames, and no normals with intrinsics that are guessed.
    assert {(sample.name[:3], sample.prompt.task) for sample in samples} == {
        ('a/0', 'depth'), ('a/0', 'normal'), ('b/0', 'depth'),
    }  # fmt: skip
    for task, count in (('depth', 8), ('normal', 4)):
        names = [sample.name for sample in samples if sample.prompt.task == task]
        assert len(names) == len(set(names)) == count
    for sample in samples:
        item = frames[sample.name[0]]
        rows, columns = window_of(sample.name[2:]) if ',' in sample.name else 2 * (slice(None),)
        np.testing.assert_array_equal(sample.frame.image, item.frame.image[rows, columns])
        if sample.prompt.task == 'depth':
            whole = item.depth.values
        else:
            whole = rgbd.plane_normals(item.depth, item.frame.intrinsics).vectors
        found_here = getattr(sample.label, sample.label.array_name)
        np.testing.assert_array_equal(found_here, whole[rows, columns])


def test_rgbd_frames_join_other_sources(tmp_path, small_parts):
    files.write_coco_set(tmp_path / 'photographs')
    write_rgbd(tmp_path / 'frames')
    tasks = ['depth', 'segmentation']
    held = {'validation_rgbd': str(tmp_path / 'frames'), 'validation_samples': 2}
    frames = open_dataset(rgbd_run(tmp_path / 'frames', **held), tasks, SIDE)
    assert [sample.name for sample in frames.validation()] == ['frames/0']
    photographs = open_dataset(coco_run(tmp_path / 'photographs'), tasks, SIDE).buffer(1, FORM)
    both = coco_run(tmp_path / 'photographs', rgbd=str(tmp_path / 'frames'))
    for run in (both, replace(both, source='rgbd')):
        names = open_dataset(run, tasks, SIDE).buffer(1, FORM).names
        assert sorted(names) == sorted((*frames.buffer(1, FORM).names, *photographs.names))


def test_a_run_without_a_task_of_the_annotations_is_refused(tmp_path):
    files.write_coco_set(tmp_path / 'a')
    with pytest.raises(ValueError, match='expected a task with COCO annotations'):
        open_dataset(coco_run(tmp_path / 'a'), ['depth', 'normal'], SIDE)
    with pytest.raises(ValueError, match='expected a task with measured depth'):
        open_dataset(rgbd_run(write_rgbd(tmp_path / 'b')), ['pose'], SIDE)
    with pytest.raises(ValueError, match="source is 'rgbd'; set rgbd to a folder"):
        tiny(source='rgbd')
