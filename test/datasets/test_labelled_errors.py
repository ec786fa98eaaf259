# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with labels, the message names the file; and nothing is dropped silently."""

import json
import re

import labelled_files as files
import numpy as np
import pytest

from diception_ros.datasets import labelled

FULL = np.ones(files.SIZE, np.uint8)


def masks(k):
    return files.mask(k).astype(np.uint8)


def fails(place, kind, match, error=ValueError, **choices):
    with pytest.raises(error, match=match) as raised:
        labelled.read(place, kind, 'floor', **choices)
    assert str(place if place.is_dir() else place.parent) in str(raised.value)


# What is done to a folder of nine good masks, and what is said then.
BROKEN = {
    'no label': (lambda p: (p / 'labels/004.png').unlink(), r'images/004\.png: .*labels/004\.png'),
    'no image': (lambda p: (p / 'images/004.png').unlink(), r'labels/004\.png: .*images/004'),
    'other size': (
        lambda p: files.save(p / 'labels/004.png', np.ones((20, 29), np.uint8)),
        r'labels/004\.png: .*images/004\.png, 30 x 20 pixels, got 29 x 20',
    ),
    'cut image': (lambda p: cut(p / 'images/004.png'), r'images/004\.png: not an image'),
    'cut label': (lambda p: cut(p / 'labels/004.png'), r'labels/004\.png: not an image'),
    'empty file': (
        lambda p: (p / 'images/004.png').write_bytes(b''), r'images/004\.png: not an image'
    ),
    'text': (lambda p: (p / 'labels/004.png').write_text('hi'), r'labels/004\.png: not an im'),
    'several values': (
        lambda p: files.save(p / 'labels/004.png', files.ids(4) * 3),
        r'labels/004\.png: .*got 0, 3, 6; choose .*category.*instances',
    ),
    'another value': (
        lambda p: files.save(p / 'labels/004.png', masks(4) * 7),
        r'labels/004\.png: expected the value 1 of .*labels/000\.png for the thing, got 7',
    ),
    'colours': (
        lambda p: files.save(p / 'labels/004.png', files.rgb_array(4)),
        r'labels/004\.png: expected one number.*got colours',
    ),
    'transparent': (
        lambda p: files.save(p / 'labels/004.png', np.stack([masks(4)] * 4, axis=-1)),
        r'labels/004\.png: .*transparen',
    ),
    'a JPEG by another name': (
        lambda p: files.save(p / 'labels/004.png', masks(4), format='JPEG'),
        r'labels/004\.png: expected a PNG, got JPEG',
    ),
    'another format': (
        lambda p: (p / 'labels/004.png').rename(p / 'labels/004.txt'),
        r'labels/004\.txt: expected labels of kind mask, which end in \.png',
    ),
    'two of a name': (
        lambda p: files.save(p / 'images/004.bmp', files.rgb_array(4)),
        r'images/004\.png: expected one file of each name, got 004\.bmp',
    ),
}  # fmt: skip


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.parametrize('what', BROKEN)
def test_broken_folder_error_names_the_file(what, tmp_path):
    place = files.write_folder(tmp_path / 'a', masks)
    labelled.read(place, 'mask', 'floor')
    damage, match = BROKEN[what]
    damage(place)
    error = FileNotFoundError if what == 'no label' else ValueError
    fails(place, 'mask', match, error)


def test_hidden_files_are_no_images(tmp_path):
    place = files.write_folder(tmp_path / 'a', masks)
    first = labelled.read(place, 'mask', 'floor')
    (place / 'images/.DS_Store').write_text('')
    (place / 'labels/Thumbs.db').write_text('')
    assert labelled.read(place, 'mask', 'floor').digest == first.digest


@pytest.mark.parametrize('value', [0, 1])
@pytest.mark.parametrize('kind', ['mask', 'instances'])
def test_one_class_only_is_an_error(kind, value, tmp_path):
    place = files.write_folder(tmp_path / 'a', lambda k: FULL * value)
    fails(place, kind, r'one class only.*labels/000\.png')


def test_some_empty_masks_are_counted(tmp_path):
    place = files.write_folder(tmp_path / 'a', lambda k: masks(k) * (k > 1))
    for kind in ('mask', 'instances'):
        read = labelled.read(place, kind, 'floor')
        assert len(read.samples) == files.COUNT
        (warning,) = read.warnings
        assert warning.startswith('2 of 9 images show nothing')
        assert '000.png, 001.png' in warning


@pytest.mark.parametrize('count', [0, 1, 2, 7, 8])
def test_few_images_are_a_warning_and_one_is_an_error(count, tmp_path):
    place = files.write_folder(tmp_path / 'a', masks, count=count)
    if count < 2:
        fails(place, 'mask', f'at least 2 labelled images.*got {count}')
        return
    warnings = labelled.read(place, 'mask', 'floor').warnings
    assert [w.startswith('7 labelled images are few') for w in warnings] == [True] * (
        count == 7
    ) or count == 2
    assert bool(warnings) == (count < 8)


OTHER_KINDS = [
    ('depth', masks, '.png', r'000\.png: expected 16-bit .*got uint8'),
    ('normals', masks, '.png', r'000\.png: expected 8-bit RGB.*got uint8'),
    ('instances', lambda k: masks(k) * 255, '.png', 'labels: expected instances.*masks'),
    ('mask', lambda k: FULL * 1.5, '.npy', r'000\.npy: expected labels of kind mask'),
    ('depth', lambda k: -FULL.astype(np.float32), '.npy', r'000\.npy: .*metres > 0'),
    ('depth', lambda k: FULL * np.float32(np.nan), '.npy', r'000\.npy: .*unknown at every'),
    ('depth', lambda k: np.zeros_like(FULL, np.uint16), '.png', r'000\.png: .*unknown at every'),
    ('normals', lambda k: np.ones((*files.SIZE, 3), np.float32), '.npy', r'000\.npy: .*unit'),
    ('normals', lambda k: np.eye(3, dtype=np.float32)[FULL * 2], '.npy', r'000\.npy: .*away'),
    ('normals', lambda k: np.stack([FULL * 128] * 2 + [FULL], -1), '.png', r'000\.png: .*away'),
    ('normals', lambda k: FULL[..., None] * np.uint8([0, 0, 0]), '.png', r'000\.png: .*unknown'),
]


@pytest.mark.parametrize(('kind', 'labels', 'end', 'match'), OTHER_KINDS)
def test_labels_of_another_kind_are_an_error(kind, labels, end, match, tmp_path):
    fails(files.write_folder(tmp_path / 'a', labels, end=end), kind, match)


@pytest.mark.parametrize(('kind', 'category', 'match'), [
    ('mask', 'floor', 'number of the thing'),
    ('instances', '1', 'no categories'),
    ('rgb', '1', 'leave it out'),
    ('masks', '', 'expected one of mask, instances'),
])  # fmt: skip
def test_choices_that_are_none_are_errors(kind, category, match, tmp_path):
    place = files.write_folder(tmp_path / 'a', masks)
    with pytest.raises(ValueError, match=match):
        labelled.read(place, kind, 'floor', category=category)


OUTLINED = {'coco': files.write_coco, 'labelme': files.write_labelme}


@pytest.mark.parametrize('form', OUTLINED)
@pytest.mark.parametrize('kind', ['mask', 'instances'])
def test_several_categories_are_listed_where_none_is_chosen(form, kind, tmp_path):
    place = OUTLINED[form](tmp_path / 'a')
    fails(place, kind, 'got 2: box, cup; choose')
    fails(place, kind, "nothing of category 'dog' is labelled; there are box, cup", category='dog')


@pytest.mark.parametrize('form', OUTLINED)
@pytest.mark.parametrize('kind', ['normals', 'depth', 'rgb'])
def test_outlines_are_no_maps(form, kind, tmp_path):
    fails(OUTLINED[form](tmp_path / 'a'), kind, 'kind mask or instances')


def changed(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def segmentation(value):
    return lambda c: c['annotations'][0].update(segmentation=value)


COCO = {
    'no outline': (segmentation([]), r'annotation 1: expected an outline'),
    'two points': (segmentation([[1, 2, 3, 4]]), r'annotation 1: expected polygons'),
    'odd numbers': (segmentation([[1, 2, 3, 4, 5, 6, 7]]), r'annotation 1: '),
    'other size': (segmentation({'size': [3, 4], 'counts': [12]}), r'annotation 1: .*30 x 20'),
    'other length': (segmentation({'size': [20, 30], 'counts': [12]}), r'annotation 1: .*600'),
    'no such category': (lambda c: c['annotations'][0].update(category_id=99), 'category 99'),
    'no such image': (
        lambda c: c['annotations'][0].update(image_id=99), '1 is a label without an image'
    ),
    'size of an image': (
        lambda c: c['images'][0].update(width=31), r'image 000\.png\): expected the size.*31 x'
    ),
    'twice': (lambda c: c['images'][1].update(id=100), 'two images have the id 100'),
    'a file twice': (lambda c: c['images'][1].update(file_name='000.png'), r'000\.png twice'),
    'no file name': (lambda c: c['images'][1].pop('file_name'), 'file_name'),
    'nothing': (lambda c: c.update(annotations=[]), 'nothing is outlined'),
}  # fmt: skip


@pytest.mark.parametrize('what', COCO)
def test_invalid_coco_file_error_names_the_entry(what, tmp_path):
    file = files.write_coco(tmp_path / 'a')
    change, match = COCO[what]
    changed(file, change)
    fails(file, 'mask', r'labels\.json.*' + match, category='*')


def test_images_and_coco_files_must_name_each_other(tmp_path):
    file = files.write_coco(tmp_path / 'a')
    files.save(tmp_path / 'a/more.png', files.rgb_array(20))
    fails(file.parent, 'mask', r'more\.png: an image without a label', category='cup')
    (warning,) = labelled.read(file, 'mask', 'floor', category='cup').warnings
    assert warning.startswith('1 images')
    assert 'more.png' in warning
    (tmp_path / 'a/003.png').unlink()
    fails(file, 'mask', r'labels\.json: .*003\.png', FileNotFoundError, category='cup')


def test_a_coco_image_without_annotations_shows_nothing(tmp_path):
    file = files.write_coco(tmp_path / 'a')
    changed(file, lambda c: c.update(annotations=c['annotations'][4:]))
    read = labelled.read(file, 'mask', 'floor', category='cup')
    assert not read.samples[0].label.values.any()
    assert read.warnings[0].startswith('2 of 9 images show nothing')


def test_crowds_are_part_of_a_mask_and_no_instance(tmp_path):
    file = files.write_coco(tmp_path / 'a')
    changed(file, lambda c: c['annotations'][0].update(iscrowd=1))
    mask = labelled.read(file, 'mask', 'floor', category='cup').samples[0].label
    np.testing.assert_array_equal(mask.values, files.mask(0))
    read = labelled.read(file, 'instances', 'floor', category='cup')
    assert not read.samples[0].label.ids.any()
    assert read.warnings[0].startswith('1 regions are crowds')


def first(**fields):
    return lambda c: c['shapes'][0].update(fields)


LABELME = {
    'a line': (first(shape_type='linestrip'), r"shape 0 \('cup'\): .*got a linestrip"),
    'two points': (first(shape_type='polygon'), r"shape 0 \('cup'\): .*3 points"),
    'no mask': (first(shape_type='mask'), 'mask'),
    'no base64': (first(shape_type='mask', mask='?'), r'shape 0.*not base64'),
    'other mask': (
        first(shape_type='mask', points=[[0, 0], [3, 3]], mask='iVBORw0KGgo='), 'shape 0.*not an i'
    ),
    'no shapes': (lambda c: c.pop('shapes'), 'expected a file of LabelMe'),
    'other size': (lambda c: c.update(imageWidth=31), 'expected the size of .*31 x 20'),
    'not finite': (first(points=[[0, 0], [float('nan'), 1]]), 'shape 0.*finite'),
}  # fmt: skip


@pytest.mark.parametrize('what', LABELME)
def test_invalid_labelme_file_error_names_the_entry(what, tmp_path):
    place = files.write_labelme(tmp_path / 'a')
    change, match = LABELME[what]
    changed(place / '004.json', change)
    fails(place, 'mask', r'004\.json: .*' + match, category='cup')


def test_images_and_labelme_files_must_name_each_other(tmp_path):
    place = files.write_labelme(tmp_path / 'a')
    files.save(place / 'more.png', files.rgb_array(20))
    fails(place, 'mask', r'more\.png: an image without a label', category='cup')
    (place / 'more.png').unlink()
    (place / '004.png').unlink()
    fails(place, 'mask', r'004\.json: a label without an image', FileNotFoundError, category='cup')


def test_unknown_or_ambiguous_label_format_raises(tmp_path):
    fails(tmp_path / 'none', 'mask', 'no such file or folder', FileNotFoundError)
    (tmp_path / 'empty').mkdir()
    fails(tmp_path / 'empty', 'mask', 'nothing in it that holds labels; expected a folder with')
    place = files.write_folder(tmp_path / 'a', masks)
    fails(place, 'mask', 'topics are for bags', label_topic='/labels')
    file = files.write_coco(place, count=2)
    fails(place, 'mask', 'one format, got .*images/ and labels/ and the COCO file labels.json')
    (place / 'more.json').write_text(file.read_text())
    fails(place, 'mask', re.escape('labels.json, more.json; name the one'))
    (place / 'more.json').write_text('{"a": 1}')
    fails(place, 'mask', r'more\.json: a JSON file that is neither')
    (place / 'more.json').write_text('{')
    fails(place, 'mask', r'more\.json: not JSON')
    single = files.write_labelme(tmp_path / 'b') / '001.json'
    fails(single, 'mask', 'one file of LabelMe; name its folder')
