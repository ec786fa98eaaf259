# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same labels are the same, whatever tool wrote them; and they are known by a digest."""

import json
import shutil

import labelled_files as files
import numpy as np
import pytest

from diception_ros.core.labels import ImageLabel, Instances, Mask, MetricDepth, Normals
from diception_ros.datasets import labelled
from diception_ros.tasks.normal import IMAGE_TO_CAMERA_AXES

OUTLINED = {
    'polygons': lambda place: files.write_coco(place),
    'run lengths': lambda place: files.write_coco(place, 'runs'),
    'packed run lengths': lambda place: files.write_coco(place, 'packed'),
    'folder of COCO': lambda place: files.write_coco(place, folder='images').parent,
    'rectangles': lambda place: files.write_labelme(place, 'rectangle'),
    'polygons of LabelMe': lambda place: files.write_labelme(place, 'polygon'),
    'masks of LabelMe': lambda place: files.write_labelme(place, 'mask'),
    'shapes of a group': lambda place: files.write_labelme(place, 'halves'),
    'images inside': lambda place: files.write_labelme(place, embedded=True),
}
NUMBERED = {
    'folder': lambda place, labels: files.write_folder(place, labels),
    'bag': lambda place, labels: files.write_bag(place.with_suffix('.mcap'), labels),
}


def write(form, place):
    if form.startswith('packed'):
        pytest.importorskip('pycocotools')
    return OUTLINED[form](place)


def check(read, count=files.COUNT):
    assert len(read.samples) == count
    assert [sample.name for sample in read.samples] == sorted(s.name for s in read.samples)
    for k, sample in enumerate(read.samples):
        np.testing.assert_array_equal(sample.frame.image, files.rgb_array(k))
        assert sample.prompt.task == 'floor'


@pytest.mark.parametrize('form', OUTLINED)
def test_masks_out_of_outlines(form, tmp_path):
    read = labelled.read(write(form, tmp_path / 'a'), 'mask', 'floor', category='cup')
    check(read)
    assert not read.warnings
    for k, sample in enumerate(read.samples):
        assert isinstance(sample.label, Mask)
        np.testing.assert_array_equal(sample.label.values, files.mask(k))


@pytest.mark.parametrize('form', OUTLINED)
def test_instances_out_of_outlines(form, tmp_path):
    read = labelled.read(write(form, tmp_path / 'a'), 'instances', 'floor', category='*')
    check(read)
    for k, sample in enumerate(read.samples):
        assert isinstance(sample.label, Instances)
        assert sample.label.categories == ('cup', 'box')
        np.testing.assert_array_equal(sample.label.ids, files.ids(k))


@pytest.mark.parametrize('form', NUMBERED)
@pytest.mark.parametrize('value', [1, 255])
def test_masks_out_of_numbers(form, value, tmp_path):
    place = NUMBERED[form](tmp_path / 'a', lambda k: files.mask(k).astype(np.uint8) * value)
    read = labelled.read(place, 'mask', 'floor')
    check(read)
    for k, sample in enumerate(read.samples):
        np.testing.assert_array_equal(sample.label.values, files.mask(k))


@pytest.mark.parametrize('form', NUMBERED)
def test_a_category_chooses_among_numbers(form, tmp_path):
    read = labelled.read(NUMBERED[form](tmp_path / 'a', files.ids), 'mask', 'floor', category='2')
    for k, sample in enumerate(read.samples):
        np.testing.assert_array_equal(sample.label.values, files.ids(k) == 2)


@pytest.mark.parametrize('form', NUMBERED)
def test_instances_out_of_numbers_whatever_the_numbers_are(form, tmp_path):
    place = NUMBERED[form](tmp_path / 'a', lambda k: files.ids(k) * 70)
    read = labelled.read(place, 'instances', 'floor')
    check(read)
    for k, sample in enumerate(read.samples):
        np.testing.assert_array_equal(sample.label.ids, files.ids(k))


def metres(k):
    values = np.random.default_rng(k).integers(300, 9000, files.SIZE).astype(np.float32) / 1000
    values[0] = np.nan
    return values


def millimetres(k):
    return np.nan_to_num(np.rint(metres(k) * 1000)).astype(np.uint16)


def vectors(k):
    out = np.random.default_rng(k).normal(size=(*files.SIZE, 3)).astype(np.float32)
    out[..., 2] = -np.abs(out[..., 2])
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    out[0] = np.nan
    return out


@pytest.mark.parametrize('form', ['.png', '.npy', '16UC1', '32FC1'])
def test_depth_is_metres_in_every_format(form, tmp_path):
    labels = millimetres if form in ('.png', '16UC1') else metres
    if form.startswith('.'):
        place = files.write_folder(tmp_path / 'a', labels, end=form)
    else:
        place = files.write_bag(tmp_path / 'a.mcap', labels, form)
    read = labelled.read(place, 'depth', 'floor')
    check(read)
    for k, sample in enumerate(read.samples):
        assert isinstance(sample.label, MetricDepth)
        np.testing.assert_allclose(sample.label.values, metres(k), rtol=1e-6)


@pytest.mark.parametrize('form', ['.png', '.npy', '32FC3'])
def test_normals_are_of_the_camera_in_every_format(form, tmp_path):
    def painted(k):
        return np.rint(
            np.nan_to_num((vectors(k) * IMAGE_TO_CAMERA_AXES + 1) / 2, nan=0.5) * 255
        ).astype(np.uint8)

    if form == '32FC3':
        place = files.write_bag(tmp_path / 'a.mcap', vectors, form)
    else:
        labels = painted if form == '.png' else vectors
        place = files.write_folder(tmp_path / 'a', labels, end=form)
    read = labelled.read(place, 'normals', 'floor')
    check(read)
    for k, sample in enumerate(read.samples):
        assert isinstance(sample.label, Normals)
        # Half a step of 8 bits in each of three components.
        off = 1e-6 if form != '.png' else 0.01
        np.testing.assert_allclose(sample.label.vectors, vectors(k), atol=off)


@pytest.mark.parametrize('form', ['.png', 'rgb8', 'bgr8'])
def test_images_as_labels_keep_their_colors(form, tmp_path):
    def wanted(k):
        return 255 - files.rgb_array(k)

    if form == '.png':
        place, topic = files.write_folder(tmp_path / 'a', wanted), ''
    else:
        swap = slice(None, None, -1 if form == 'bgr8' else 1)
        place, topic = tmp_path / 'a.mcap', '/labels'
        files.write_bag(place, lambda k: wanted(k)[..., swap], form)
    read = labelled.read(place, 'rgb', 'floor', label_topic=topic)
    check(read)
    for k, sample in enumerate(read.samples):
        assert isinstance(sample.label, ImageLabel)
        np.testing.assert_allclose(sample.label.values * 255, wanted(k), atol=1e-4)


@pytest.mark.parametrize('form', [*OUTLINED, 'folder'])
def test_the_digest_is_of_what_was_read_and_not_of_where(form, tmp_path):
    if form == 'folder':
        written, category = files.write_folder(tmp_path / 'a', files.ids), '1'
    else:
        written, category = write(form, tmp_path / 'a'), 'cup'
    first = labelled.read(written, 'mask', 'floor', category=category).digest
    moved = tmp_path / 'deep' / 'b'
    shutil.copytree(tmp_path / 'a', moved)
    place = moved / written.relative_to(tmp_path / 'a')
    assert labelled.read(place, 'mask', 'another', category=category).digest == first
    if form != 'folder':
        assert labelled.read(place, 'instances', 'floor', category=category).digest != first
    other = '2' if form == 'folder' else 'box'
    assert labelled.read(place, 'mask', 'floor', category=other).digest != first


@pytest.mark.parametrize('which', ['images', 'labels'])
def test_one_pixel_changes_the_digest(which, tmp_path):
    place = files.write_folder(tmp_path / 'a', lambda k: files.mask(k).astype(np.uint8))
    first = labelled.read(place, 'mask', 'floor').digest
    array = files.rgb_array(4) if which == 'images' else files.mask(4).astype(np.uint8)
    array[5, 5] ^= 1
    files.save(place / which / '004.png', array)
    assert labelled.read(place, 'mask', 'floor').digest != first


@pytest.mark.parametrize('write', [files.write_coco, files.write_labelme])
def test_one_corner_changes_the_digest(write, tmp_path):
    file = write(tmp_path / 'a')
    file = file if file.is_file() else file / '004.json'
    place = file if file.name == 'labels.json' else file.parent
    first = labelled.read(place, 'mask', 'floor', category='cup').digest
    content = json.loads(file.read_text())
    if 'shapes' in content:
        content['shapes'][0]['points'][0][0] += 1
    else:
        content['annotations'][0]['segmentation'][0][0] += 1
    file.write_text(json.dumps(content))
    assert labelled.read(place, 'mask', 'floor', category='cup').digest != first


def test_notes_beside_images_and_labels_are_left_alone(tmp_path):
    place = files.write_folder(tmp_path / 'a', lambda k: files.mask(k).astype(np.uint8))
    before = labelled.read(place, 'mask', 'floor')
    (place / 'about.json').write_text('{"kind": "mask", "seed": 5}')
    after = labelled.read(place, 'mask', 'floor')
    assert [one.name for one in after.samples] == [one.name for one in before.samples]
    assert after.digest == before.digest
