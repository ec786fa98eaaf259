# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What files declare is checked, and no path in them leads out of what was named."""

import contextlib
import json
import shutil
import sqlite3
from types import SimpleNamespace

import cv2
import labelled_files
import numpy as np
import pytest
import recordings

from diception_ros.bags.reader import Bag
from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import MetricDepth
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import annotation, decode, labelled
from diception_ros.datasets.sample import Sample, create_folder, read_folder, write_frame
from diception_ros.messages import MessageError, compressed


def read(place):
    return labelled.read(place, 'instances', 'own', category='*')


@pytest.mark.parametrize('name', ['../{}', '/absolute/{}', 'x/../../{}', '..\\..\\{}'])
def test_coco_follows_no_path_out_of_the_folder(tmp_path, name):
    place = tmp_path / 'named'
    file = labelled_files.write_coco(place, count=2)
    content = json.loads(file.read_text())
    plain = content['images'][0]['file_name']
    content['images'][0]['file_name'] = name.format(plain)
    file.write_text(json.dumps(content))
    assert len(read(place).samples) == 2  # found by its name alone
    shutil.move(place / plain, tmp_path / plain)
    with pytest.raises(FileNotFoundError, match='a label without'):
        read(place)


def test_labelme_follows_paths_to_the_folder_above_and_no_further(tmp_path):
    place = labelled_files.write_labelme(tmp_path / 'set/labels', count=2)
    beside = tmp_path / 'set/images/deeper'
    beside.mkdir(parents=True)
    for file in place.glob('*.json'):
        image = file.with_suffix('.png')
        shutil.move(image, beside / image.name)
        content = json.loads(file.read_text())
        content['imagePath'] = f'..\\images\\deeper\\{image.name}'
        file.write_text(json.dumps(content))
    assert len(read(place).samples) == 2
    content['imagePath'] = f'../../{image.name}'
    file.write_text(json.dumps(content))
    shutil.move(beside / image.name, tmp_path / image.name)
    with pytest.raises(FileNotFoundError, match='a label without'):
        read(place)


def test_the_label_of_a_sample_lies_in_its_folder(tmp_path):
    depth = MetricDepth(np.ones((4, 5), np.float32))
    create_folder(tmp_path / 'a')
    image = np.zeros((4, 5, 3), np.uint8)
    write_frame(tmp_path / 'a', 0, [Sample(Frame(image), Prompt('depth'), depth, name='x')])
    about = tmp_path / 'a/000000/frame.json'
    shutil.move(tmp_path / 'a/000000/0_depth.npz', tmp_path / '0_depth.npz')
    about.write_text(about.read_text().replace('0_depth', '../../0_depth'))
    with pytest.raises(FileNotFoundError):
        list(read_folder(tmp_path / 'a'))


@pytest.mark.parametrize('value', [float('inf'), float('nan'), 'x', [], {}, -1, 10**30])
def test_sizes_that_are_no_sizes_are_named_with_their_file(tmp_path, value):
    file = labelled_files.write_coco(tmp_path / 'coco', 'runs', 2)
    content = json.loads(file.read_text())
    content['images'][1]['height'] = value or {'a': 1}
    content['annotations'][1]['segmentation']['size'] = [value, 30]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'labels\.json'):
        read(file.parent)
    place = labelled_files.write_labelme(tmp_path / 'labelme', count=2)
    file = place / '001.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), 'imageHeight': value or {'a': 1}}))
    with pytest.raises(ValueError, match=r'001\.json'):
        read(place)


@pytest.mark.parametrize(('name', 'value'), [
    ('category', 1.5), ('points', 3), ('label', None), ('stamp_ns', -1),
    ('intrinsics', {'fx': 1}),
])  # fmt: skip
def test_samples_with_values_of_another_kind_are_named(tmp_path, name, value):
    depth = MetricDepth(np.ones((4, 5), np.float32))
    create_folder(tmp_path)
    image = np.zeros((4, 5, 3), np.uint8)
    write_frame(tmp_path, 0, [Sample(Frame(image), Prompt('depth'), depth, name='x')])
    about = tmp_path / '000000/frame.json'
    content = json.loads(about.read_text())
    (content if name in content else content['samples'][0])[name] = value
    about.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'frame\.json: not a description'):
        list(read_folder(tmp_path))


def test_run_lengths_are_of_an_image_within_the_limit(monkeypatch):
    monkeypatch.setattr(annotation, 'MAX_PIXELS', 100)
    assert annotation.run_lengths([40, 60], (10, 10)).sum() == 60
    for size in ((10, 11), (0, 5), (-10, -10), (10.0, 10), (True, 4)):
        count = int(size[0] * size[1])
        with pytest.raises(ValueError, match='expected run lengths of 1 to 100 pixels'):
            annotation.run_lengths([count - 60, 60], size)


def png(lie=0):
    """An image whose last data chunk declares more bytes than there are."""
    content = bytearray(cv2.imencode('.png', np.zeros((4, 5, 3), np.uint8))[1].tobytes())
    at = content.index(b'IDAT') - 4
    content[at : at + 4] = (int.from_bytes(content[at : at + 4], 'big') + lie).to_bytes(4, 'big')
    return bytes(content)


def test_a_chunk_of_a_png_that_declares_more_than_there_is_is_refused(tmp_path):
    def message(content):
        return SimpleNamespace(format='png', data=np.frombuffer(content, np.uint8))

    assert images.decode(png(), 'x').shape == (4, 5, 3)
    assert compressed.decode(message(png())).shape == (4, 5, 3)
    for reader in (images.decode, decode.rgb, decode.raster):
        with pytest.raises(ValueError, match='x: not an image that can be read, or one that is'):
            reader(png(1000), 'x')
    with pytest.raises(MessageError, match='cut off'):
        compressed.decode(message(png(1000)))


def test_images_have_one_limit(monkeypatch):
    monkeypatch.setattr(images, 'MAX_PIXELS', 19)
    for reader in (images.decode, decode.rgb, decode.raster):
        with pytest.raises(ValueError, match='x: expected at most 19 pixels'):
            reader(png(), 'x')
    assert decode.MAX_PIXELS == compressed.MAX_PIXELS == annotation.MAX_PIXELS


@pytest.mark.parametrize('suffix', ['.npy', '.png'])
@pytest.mark.parametrize('content', [
    b'', b'PK\3\4',
    b'\x93NUMPY\1\0\4\0{[)(', b'\x93NUMPY\1\0\2\0{"', b'\x80\4N.', b'\x93NUMPY\7\0',
])  # fmt: skip
def test_invalid_array_error_names_the_file(tmp_path, content, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'a\{suffix}: not an'):
        decode.load_array(path)


def test_a_computed_column_of_sqlite_is_no_bag(tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(1), 'sqlite3')
    with contextlib.closing(sqlite3.connect(next(path.glob('*.db3')))) as base, base:
        base.execute("ALTER TABLE messages ADD COLUMN more GENERATED ALWAYS AS (x'00')")
    with pytest.raises(ValueError, match='a computed column in messages'):
        Bag(path)
