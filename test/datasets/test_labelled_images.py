# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files of images: turned as viewers turn them, numbers as they are, nothing absurd."""

import json
import struct
import zlib

import cv2
import labelled_files as files
import numpy as np
from PIL import Image
import pytest

from diception_ros.datasets import labelled

# EXIF's orientations, and how each is undone.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a),
}


def smooth(k):
    rows, columns = np.mgrid[: files.SIZE[0], : files.SIZE[1]]
    return np.stack([rows * 12, columns * 8, 0 * rows + 9 * k], axis=-1).astype(np.uint8)


def turned_jpegs(place, orientation, labels, count=2):
    for name in ('images', 'labels'):
        (place / name).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for k in range(count):
        files.save(place / f'images/{k}.jpg', smooth(k), quality=98, subsampling=0, exif=exif)
        files.save(place / f'labels/{k}.png', labels(k))
    return place


def masks(k):
    return files.mask(k).astype(np.uint8)


@pytest.mark.parametrize('orientation', TURNS)
def test_labels_are_of_the_image_as_a_viewer_shows_it(orientation, tmp_path):
    turn = TURNS[orientation]
    place = turned_jpegs(tmp_path, orientation, lambda k: np.ascontiguousarray(turn(masks(k))))
    for k, sample in enumerate(labelled.read(place, 'mask', 'floor').samples):
        expected = turn(smooth(k)).astype(int)
        assert np.abs(sample.frame.image - expected).max() < 12  # JPEG
        np.testing.assert_array_equal(sample.label.values, turn(files.mask(k)))


def test_a_label_of_the_unturned_image_is_an_error_that_explains(tmp_path):
    place = turned_jpegs(tmp_path, 6, masks)
    with pytest.raises(ValueError, match=r'labels/0\.png: .*30 x 20.*EXIF'):
        labelled.read(place, 'mask', 'floor')


def test_sizes_in_a_coco_file_are_of_the_turned_image_too(tmp_path):
    file = files.write_coco(tmp_path, count=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    files.save(tmp_path / '001.png', files.rgb_array(1), exif=exif)
    with pytest.raises(ValueError, match=r'labels\.json \(image 001\.png\): .*EXIF'):
        labelled.read(file, 'mask', 'floor', category='cup')


def test_a_turned_label_is_turned_as_its_image_is(tmp_path):
    place = files.write_folder(tmp_path / 'a', masks, count=2)
    exif = Image.Exif()
    exif[0x0112] = 3
    for k in range(2):
        files.save(place / f'labels/{k:03d}.png', masks(k)[::-1, ::-1], exif=exif)
    for k, sample in enumerate(labelled.read(place, 'mask', 'floor').samples):
        np.testing.assert_array_equal(sample.label.values, files.mask(k))


@pytest.mark.parametrize(
    'mode', ['palette', '1 bit', 'grey', 'three equal', 'opaque', '16 bit', 'grey opaque']
)
def test_numbers_are_read_as_they_are_in_every_png(mode, tmp_path):
    place = files.write_folder(tmp_path / 'a', masks, count=2)
    for k in range(2):
        path = place / f'labels/{k:03d}.png'
        array = masks(k)
        opaque = np.full_like(array, 255)
        if mode == 'palette':
            files.save(path, array, 'P')
        elif mode == '1 bit':
            files.save(path, array, '1')
        elif mode == '16 bit':
            files.save(path, array.astype(np.uint16) * 40_000)
        else:
            layers = {'three equal': [array] * 3, 'opaque': [array] * 3 + [opaque],
                      'grey opaque': [array, opaque], 'grey': [array]}[mode]  # fmt: skip
            files.save(path, np.stack(layers, axis=-1).squeeze())
    for k, sample in enumerate(labelled.read(place, 'mask', 'floor').samples):
        np.testing.assert_array_equal(sample.label.values, files.mask(k))


def test_ids_of_16_bits_and_of_a_palette_are_not_colors(tmp_path):
    place = files.write_folder(tmp_path / 'a', files.ids, count=2)
    files.save(place / 'labels/000.png', files.ids(0).astype(np.uint16) * 30_000)
    files.save(place / 'labels/001.png', files.ids(1), 'P')
    for k, sample in enumerate(labelled.read(place, 'instances', 'floor').samples):
        np.testing.assert_array_equal(sample.label.ids, files.ids(k))


def huge_png(width, height):
    def chunk(kind, data):
        body = kind + data
        return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))

    head = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    parts = [(b'IHDR', head), (b'IDAT', zlib.compress(bytes(1000))), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts)


@pytest.mark.parametrize('size', [(15_001, 10_000), (60_000, 60_000)])
@pytest.mark.parametrize('which', ['images', 'labels'])
def test_an_image_that_claims_absurd_sizes_is_not_opened(size, which, tmp_path):
    place = files.write_folder(tmp_path / 'a', masks, count=2)
    (place / which / '001.png').write_bytes(huge_png(*size))
    with pytest.raises(ValueError, match=rf'{which}/001\.png: .*at most 150000000 pixels'):
        labelled.read(place, 'mask', 'floor')


def header(shape):
    dictionary = repr({'descr': '<f4', 'fortran_order': False, 'shape': shape}).encode().ljust(117)
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(dictionary) + 1) + dictionary + b'\n'


def npy(kind):
    if kind == 'claims':
        return header((400_000, 400_000)) + bytes(400)
    if kind == 'cut off':
        return header((20, 30)) + bytes(400)
    if kind == 'no array':
        return b'hello'
    return b''


@pytest.mark.parametrize('kind', ['claims', 'cut off', 'no array', 'empty'])
def test_an_array_that_is_not_there_is_an_error(kind, tmp_path):
    place = files.write_folder(
        tmp_path / 'a', lambda k: np.ones(files.SIZE, np.float32), count=2, end='.npy'
    )
    (place / 'labels/001.npy').write_bytes(npy(kind))
    with pytest.raises(ValueError, match=r'labels/001\.npy: not an array'):
        labelled.read(place, 'depth', 'floor')


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    place = files.write_folder(
        tmp_path / 'a', lambda k: np.ones(files.SIZE, np.float32), count=2, end='.npy'
    )
    np.save(place / 'labels/001.npy', np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r'labels/001\.npy: not an array'):
        labelled.read(place, 'depth', 'floor')


def test_the_image_inside_a_labelme_file_may_be_broken_too(tmp_path):
    place = files.write_labelme(tmp_path / 'a', embedded=True, count=2)
    content = json.loads((place / '001.json').read_text())
    content['imageData'] = content['imageData'][:100]
    (place / '001.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'001\.json \(imageData\): not an image'):
        labelled.read(place, 'mask', 'floor', category='cup')


def test_colors_of_16_bits_are_refused_because_half_of_them_would_be_lost(tmp_path):
    place = files.write_folder(tmp_path / 'a', files.ids, count=2)
    wide = np.repeat(files.ids(1)[..., None].astype(np.uint16), 3, axis=-1)
    assert cv2.imwrite(str(place / 'labels/001.png'), wide)
    with pytest.raises(ValueError, match=r'labels/001\.png: expected 8 bits a colour, got 16'):
        labelled.read(place, 'instances', 'floor')
