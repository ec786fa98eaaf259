# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels in bags: topics are found where there is no choice, stamps must agree."""

import labelled_files as files
import numpy as np
import pytest
from recordings import write as write_any

from diception_ros.bags.reader import read_messages
from diception_ros.datasets import labelled
from diception_ros.messages import images as image_messages


def masks(k):
    return files.mask(k).astype(np.uint8)


def color(k, stamp):
    return image_messages.image(files.MAKE, files.rgb_array(k), 'rgb8', files.header(stamp))


def label(array, stamp, encoding='mono8'):
    return image_messages.image(files.MAKE, array, encoding, files.header(stamp))


def fails(place, kind, match, **choices):
    with pytest.raises(ValueError, match=match) as raised:
        labelled.read(place, kind, 'floor', **choices)
    assert str(place) in str(raised.value)


def test_images_without_a_label_are_left_out_and_counted(tmp_path):
    more = [('/camera/image_raw', color(k, k)) for k in range(20, 25)]
    place = files.write_bag(tmp_path / 'a.mcap', masks, more=more)
    read = labelled.read(place, 'mask', 'floor')
    assert len(read.samples) == files.COUNT
    assert read.samples[0].frame.stamp_ns == files.BEGIN
    assert read.samples[0].name == '1700000000.000000000'
    assert read.samples[0].frame.frame_id == 'cam'
    (warning,) = read.warnings
    assert warning.startswith('5 of 14 images of /camera/image_raw have no label')


def test_a_label_without_an_image_is_an_error(tmp_path):
    more = [('/labels', label(masks(0), 30))]
    place = files.write_bag(tmp_path / 'a.mcap', masks, more=more)
    fails(place, 'mask', r'/labels at 1700000003\.000000000 is a label without an image')


@pytest.mark.parametrize('topic', ['/camera/image_raw', '/labels'])
def test_two_of_one_stamp_are_an_error(topic, tmp_path):
    message = color(0, 3) if topic != '/labels' else label(masks(0), 3)
    place = files.write_bag(tmp_path / 'a.mcap', masks, more=[(topic, message)])
    fails(place, 'mask', rf'{topic}.*two .* stamp')


def test_topics_are_listed_where_there_is_a_choice(tmp_path):
    more = [
        ('/other/image', color(0, 0)),
        ('/other/labels', label(masks(0), 0)),
        ('/depth', label(np.ones(files.SIZE, np.float32), 0, '32FC1')),
    ]
    place = files.write_bag(tmp_path / 'a.mcap', masks, more=more)
    said = r'/depth \(32FC1\), /labels \(mono8\), /other/image \(rgb8\)'
    fails(place, 'mask', r'got 2: /camera/image_raw, /other/image; name it as image_topic.*')
    image = {'image_topic': '/camera/image_raw'}
    fails(place, 'mask', 'got 2: /labels, /other/labels; name it as label_topic', **image)
    fails(place, 'normals', f'labels of kind normals, got none.*{said}', **image)
    fails(place, 'mask', "no topic '/none' with images", label_topic='/none', **image)
    fails(place, 'depth', 'expected 16UC1, 32FC1 for kind depth, got mono8',
          label_topic='/labels', **image)  # fmt: skip
    fails(place, 'mask', '/labels at .*: .*whole|got rgb8', label_topic='/other/image', **image)
    read = labelled.read(place, 'mask', 'floor', label_topic='/labels', **image)
    np.testing.assert_array_equal(read.samples[3].label.values, files.mask(3))


def test_the_digest_is_of_what_was_read_and_not_of_the_rest(tmp_path):
    plain = files.write_bag(tmp_path / 'a.mcap', masks)
    (tmp_path / 'b').mkdir()
    more = [('/depth', label(np.ones(files.SIZE, np.float32), 0, '32FC1'))]
    files.write_bag(tmp_path / 'b/c.mcap', masks, more=more)
    first = labelled.read(plain, 'mask', 'floor')
    assert labelled.read(tmp_path / 'b', 'mask', 'floor').digest == first.digest

    def others(k):
        out = masks(k)
        out[0, 0] = k == 4
        return out

    other = files.write_bag(tmp_path / 'd.mcap', others)
    assert labelled.read(other, 'mask', 'floor').digest != first.digest


@pytest.mark.parametrize('form', ['sqlite3', 'rosbags-mcap', 'ros1'])
def test_bags_of_every_kind(form, tmp_path):
    plain = files.write_bag(tmp_path / 'a.mcap', masks)
    messages = [(raw.topic, message, raw.stamp_ns) for raw, message in read_messages(plain)]
    place = write_any(tmp_path / 'b', messages, form)
    read = labelled.read(place, 'mask', 'floor')
    for k, sample in enumerate(read.samples):
        np.testing.assert_array_equal(sample.label.values, files.mask(k))


@pytest.mark.parametrize('share', [0, 0.1, 0.5, 0.99])
def test_damaged_bag_error_names_the_file(share, tmp_path):
    place = files.write_bag(tmp_path / 'a.mcap', masks)
    content = place.read_bytes()
    place.write_bytes(content[: int(len(content) * share)])
    fails(place, 'mask', 'a.mcap: ')


@pytest.mark.parametrize('form', ['sqlite3', 'rosbags-mcap', 'ros1'])
def test_whatever_bytes_are_wrong_a_bag_is_read_or_named(form, tmp_path):
    plain = files.write_bag(tmp_path / 'a.mcap', masks, count=2)
    messages = [(raw.topic, message, raw.stamp_ns) for raw, message in read_messages(plain)]
    place = write_any(tmp_path / 'b', messages, form)
    file = place if place.is_file() else next(place.glob('*.[md][cb]*'))
    good, rng = file.read_bytes(), np.random.default_rng(0)
    said = []
    for _ in range(40):
        bad, at = bytearray(good), rng.integers(len(good))
        length = len(bad[at : at + rng.integers(1, 4000)])
        bad[at : at + length] = rng.bytes(length)
        file.write_bytes(bad)
        try:
            labelled.read(place, 'mask', 'floor')
        except ValueError as error:
            said.append(str(error))
    assert said
    assert all(str(place) in one for one in said)


def test_numbers_of_32_bits_and_sizes_that_differ(tmp_path):
    place = files.write_bag(tmp_path / 'a.mcap', lambda k: files.ids(k).astype(np.int32), '32SC1')
    read = labelled.read(place, 'instances', 'floor')
    np.testing.assert_array_equal(read.samples[2].label.ids, files.ids(2))
    below = files.write_bag(
        tmp_path / 'b.mcap', lambda k: files.ids(k).astype(np.int32) - 1, '32SC1'
    )
    fails(below, 'instances', r'/labels at .*: expected numbers >= 0, got -1')
    small = files.write_bag(tmp_path / 'c.mcap', lambda k: masks(k)[:, :-1].copy())
    fails(small, 'mask', '/labels at .*: expected the size of .*30 x 20 pixels, got 29 x 20')
