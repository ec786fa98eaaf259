# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels in the layouts and with the quirks of the tools that write them."""

import json
import shutil

import labelled_files as files
import layouts
import numpy as np
from PIL import Image, features
import pytest

from diception_ros.core import images
from diception_ros.datasets import benchmarks, decode, labelled
from diception_ros.evaluation import dataset_scores


def changed(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def laid_out(place, json_at, images_at):
    """A COCO data set whose file and images lie where a tool puts them."""
    file = files.write_coco(place / 'made')
    (place / json_at).parent.mkdir(parents=True, exist_ok=True)
    (place / images_at).mkdir(parents=True, exist_ok=True)
    shutil.move(file, place / json_at)
    for image in sorted((place / 'made').glob('*.png')):
        shutil.move(image, place / images_at / image.name)
    (place / 'made').rmdir()
    return place / json_at


@pytest.mark.parametrize(('json_at', 'images_at', 'named'), [
    ('annotations/instances_train2017.json', 'train2017', '.'),  # COCO
    ('annotations/instances_default.json', 'images/default', '.'),  # Datumaro, CVAT
    ('labels.json', 'data', '.'),  # FiftyOne
    ('labels/coco.json', 'images', '.'),
    ('train/_annotations.coco.json', 'train', '.'),  # Roboflow
    ('train/_annotations.coco.json', 'train', 'train'),
    ('result.json', 'images', '.'),  # Label Studio
])  # fmt: skip
def test_coco_is_found_as_each_tool_lays_it_out(tmp_path, json_at, images_at, named):
    laid_out(tmp_path, json_at, images_at)
    read = labelled.read(tmp_path / named, 'mask', 'floor', category='cup')
    assert len(read.samples) == files.COUNT
    np.testing.assert_array_equal(read.samples[2].label.values, files.mask(2))


def test_images_elsewhere_are_named(tmp_path):
    file = laid_out(tmp_path / 'a', 'labels.json', '../b/c/d/e/f')
    with pytest.raises(FileNotFoundError, match='--images'):
        labelled.read(file, 'mask', 'floor', category='cup')
    folder = tmp_path / 'b/c/d/e/f'
    read = labelled.read(file, 'mask', 'floor', category='cup', images=folder)
    assert len(read.samples) == files.COUNT
    with pytest.raises(FileNotFoundError, match='none: no such folder'):
        labelled.read(file, 'mask', 'floor', category='cup', images=tmp_path / 'none')


def test_a_flat_list_of_numbers_is_one_polygon(tmp_path):
    file = files.write_coco(tmp_path)

    def flat(content):
        for one in content['annotations']:
            one['segmentation'] = one['segmentation'][0]

    changed(file, flat)
    read = labelled.read(file, 'mask', 'floor', category='cup')
    np.testing.assert_array_equal(read.samples[1].label.values, files.mask(1))


@pytest.mark.parametrize(('outline', 'match'), [
    ([], 'annotation 1: expected an outline .*boxes alone are no masks; --skip-bad'),
    ([[1, 2, 3, 4]], 'annotation 1: expected polygons of at least 3 .*got one of 2; --skip-bad'),
    ([[1, 2, 3, 4, 5]], 'annotation 1: expected polygons of at least 3 .*got one of 2.5'),
    ([1, 2, 3, 4], 'annotation 1: expected polygons of at least 3 .*got one of 2'),
])  # fmt: skip
def test_invalid_polygon_raises_with_its_file_or_skips_the_image(tmp_path, outline, match):
    file = files.write_coco(tmp_path)
    changed(file, lambda content: content['annotations'][0].update(segmentation=outline))
    with pytest.raises(ValueError, match=match):
        labelled.read(file, 'mask', 'floor', category='cup')
    read = labelled.read(file, 'mask', 'floor', category='cup', skip_bad=True)
    assert [sample.name for sample in read.samples] == [f'{k:03d}.png' for k in range(1, 9)]
    assert '1 images are left out (--skip-bad); the first: ' in read.warnings[0]


def with_hole(k):
    values = files.mask(k, 2)
    values[9:12, 10:13] = False
    return values


def rle(values):
    return {'size': list(files.SIZE), 'counts': files.runs(values)}


def crowd(content, number, values):
    one = content['annotations'][number]
    one.update(iscrowd=1, segmentation=rle(values))


def boxes_found(file):
    read = labelled.read(file, 'instances', 'floor', category='box')
    return [len(sample.label.categories) for sample in read.samples], ' '.join(read.warnings)


def test_run_lengths_with_iscrowd_of_a_mask_with_a_hole_are_an_object(tmp_path):
    # supervision writes masks with holes or several parts so, and polygons else.
    file = files.write_coco(tmp_path)
    changed(file, lambda content: crowd(content, 1, with_hole(0)))
    counts, notes = boxes_found(file)
    assert counts == [1] * files.COUNT
    assert '1 masks with iscrowd 1 are read as single objects' in notes


def test_run_lengths_with_iscrowd_everywhere_are_objects(tmp_path):
    # Datumaro writes every mask so.
    file = files.write_coco(tmp_path)

    def all_marked(content):
        for number in range(2 * files.COUNT):
            crowd(content, number, files.mask(number // 2, 1 + number % 2))

    changed(file, all_marked)
    counts, notes = boxes_found(file)
    assert counts == [1] * files.COUNT
    assert 'every mask of the file is written so' in notes


@pytest.mark.parametrize('original', [False, True])
def test_run_lengths_of_a_crowd_stay_a_crowd(tmp_path, original):
    file = files.write_coco(tmp_path)

    def marked(content):
        crowd(content, 1, with_hole(0) if original else files.mask(0, 2))
        if original:
            content['info'] = {'description': 'COCO 2017 Dataset'}

    changed(file, marked)
    counts, notes = boxes_found(file)
    assert counts == [0] + [1] * (files.COUNT - 1)
    assert '1 regions are crowds' in notes


def void(k):
    """As Pascal VOC: objects with a border that nobody labelled."""
    ids = files.ids(k)
    out = ids.copy()
    out[:-1][ids[1:] != ids[:-1]] = 255
    return out


def test_255_of_voc_is_unknown_and_no_object(tmp_path):
    place = files.write_folder(tmp_path / 'a', void)
    files.save(place / 'labels/003.png', np.where(void(3) == 255, 255, 0).astype(np.uint8))
    read = labelled.read(place, 'instances', 'own')
    assert [len(sample.label.categories) for sample in read.samples] == [2, 2, 2, 0] + [2] * 5
    for sample in read.samples[:3]:
        assert not sample.label.ids[void(int(sample.name[:3])) == 255].any()
    assert any('255 in 9 label images' in text for text in read.warnings)


def test_255_of_voc_is_unknown_beside_the_value_of_a_mask(tmp_path):
    place = files.write_folder(tmp_path / 'a', lambda k: np.where(void(k) == 2, 0, void(k)))
    read = labelled.read(place, 'mask', 'own')
    np.testing.assert_array_equal(read.samples[0].label.values, void(0) == 1)
    assert any('255 in 9 label images' in text for text in read.warnings)


def test_255_among_so_many_objects_is_one_of_them():
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert len(decode.instances(ids, '').categories) == 255
    assert len(decode.instances(np.where(ids == 254, 0, ids), '').categories) == 253


def first_shape(place, **change):
    changed(place / '000.json', lambda content: content['shapes'][0].update(change))


def test_an_oriented_rectangle_of_labelme_is_its_four_corners(tmp_path):
    place = files.write_labelme(tmp_path / 'a')
    corners = [[10, 2], [18, 6], [14, 14], [6, 10]]
    first_shape(place, shape_type='oriented_rectangle', points=corners)
    other = files.write_labelme(tmp_path / 'b')
    first_shape(other, shape_type='polygon', points=corners)
    found, wanted = (
        labelled.read(one, 'mask', 'floor', category='cup').samples[0].label.values
        for one in (place, other)
    )
    np.testing.assert_array_equal(found, wanted)
    assert found.any()


@pytest.mark.parametrize(('dx', 'dy'), [(0.4, -0.4), (0.6, 0.6), (-4.5, -6.2), (18.3, 9.9)])
def test_a_dragged_mask_of_labelme_is_rounded_and_cut_at_the_border(tmp_path, dx, dy):
    place = files.write_labelme(tmp_path / 'a', 'mask')
    x0, y0, x1, y1 = files.boxes(0)[0]
    points = [[x0 + dx, y0 + dy], [x1 - 1 + dx, y1 - 1 + dy]]
    first_shape(place, points=points)
    found = labelled.read(place, 'mask', 'floor', category='cup').samples[0].label.values
    left, top = np.round(points[0]).astype(int)
    right, bottom = left + x1 - x0 - 1, top + y1 - y0 - 1
    wanted = np.zeros(files.SIZE, bool)
    wanted[max(top, 0) : bottom + 1, max(left, 0) : right + 1] = True
    np.testing.assert_array_equal(found, wanted)
    assert found.any()


@pytest.mark.parametrize('folder', ['labels', 'json', 'annotations'])
def test_labelme_files_may_lie_in_a_folder_of_their_own(tmp_path, folder):
    made = files.write_labelme(tmp_path / 'made')
    (tmp_path / 'a/images').mkdir(parents=True)
    (tmp_path / 'a' / folder).mkdir(parents=True)
    for path in sorted(made.iterdir()):
        shutil.move(path, tmp_path / 'a' / (folder if path.suffix == '.json' else 'images'))
    for place in (tmp_path / 'a', tmp_path / 'a' / folder):
        read = labelled.read(place, 'mask', 'floor', category='cup')
        np.testing.assert_array_equal(read.samples[1].label.values, files.mask(1))


@pytest.mark.parametrize('form', ['jpeg', 'webp', 'avif', 'png'])
def test_a_rotation_noted_in_an_image_is_carried_out(tmp_path, form):
    if form in ('webp', 'avif') and not features.check(form):
        pytest.skip(f'this Pillow reads no {form}')
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    array = np.zeros((20, 40, 3), np.uint8)
    array[:, :20] = 255
    path = tmp_path / f'a.{form}'
    Image.fromarray(array).save(path, form.upper(), exif=exif, quality=95)
    for found in (decode.rgb(path.read_bytes(), str(path)), images.read(path)):
        assert found.shape == (40, 20, 3)
        assert found[:18].mean() > 240 > 20 > found[22:].mean()
    with pytest.raises(ValueError, match='not an image'):
        images.decode(path.read_bytes()[:60], 'cut')


@pytest.mark.parametrize(('name', 'moves'), [
    ('diode', {'indoors': 'val/indoors', 'outdoor': 'val/outdoor'}),
    ('scannet', {'scene0406_01': 'scans/scene0406_01', 'scene0406_02': 'scans/scene0406_02'}),
    ('kitti', {f'2011_09_26_drive_{k:04d}_sync': f'val/2011_09_26_drive_{k:04d}_sync'
               for k in (2, 9)}),
    ('kitti', {'2011_09_26': 'raw/2011_09_26', **{
        f'2011_09_26_drive_{k:04d}_sync':
        f'data_depth_annotated/val/2011_09_26_drive_{k:04d}_sync' for k in (2, 9)}}),
    ('nyuv2', {'test': 'official_splits/test'}),
])  # fmt: skip
def test_data_sets_are_found_where_people_have_them(tmp_path, name, moves):
    layouts.write(name, tmp_path)
    before, _ = dataset_scores.find_samples(benchmarks.get(name), tmp_path)
    for old, new in moves.items():
        (tmp_path / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(tmp_path / old, tmp_path / new)
    after, _ = dataset_scores.find_samples(benchmarks.get(name), tmp_path)
    assert [sample.name for sample in after] == [sample.name for sample in before]


def test_nyu_as_bts_wrote_it(tmp_path):
    layouts.write('nyuv2', tmp_path)
    for path in sorted(tmp_path.glob('test/*/*.png')):
        if path.name.startswith('depth_'):
            path.rename(path.with_name('sync_' + path.name))
        else:
            Image.open(path).save(path.with_suffix('.jpg'))
            path.unlink()
    samples, _ = dataset_scores.find_samples(benchmarks.get('nyuv2'), tmp_path)
    assert [sample.truth[0].name for sample in samples] == ['sync_depth_0001.png'] * 2
