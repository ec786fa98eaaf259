# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of every encoding come in as they were, and maps go out and come back."""

import re

import cv2
import encoders
import numpy as np
import pytest

from diception_ros.bags.typestore import BagTypes
from diception_ros.core.frame import Intrinsics
from diception_ros.messages import MessageError, base, camera_info, encodings
from diception_ros.messages import images as image_messages

TYPES = BagTypes()
# Rounding of BT.601 in eight bits, there and back.
TOLERANCE = dict.fromkeys([*encoders.PAIRS, *encoders.PLANES], 3)


def off(message, rgb):
    got = image_messages.rgb_from(message)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.shape == rgb.shape
    return np.abs(got.astype(int) - rgb)


def kind_of(call, *arguments):
    with pytest.raises(MessageError) as caught:
        call(*arguments)
    return caught.value.kind


def test_the_encodings_are_those_that_cameras_send():
    assert set(encoders.ALL) == {*encodings.LAYOUTS, *encodings.PLANES}


@pytest.mark.parametrize('encoding', encoders.ALL)
@pytest.mark.parametrize('padding', [0, 1, 6])
@pytest.mark.parametrize('bigendian', [False, True])
def test_a_picture_comes_in_as_it_was(encoding, padding, bigendian):
    rng = np.random.default_rng(0)
    for _ in range(5):
        rgb = encoders.picture(encoding, rng)
        error = off(encoders.encode(rgb, encoding, padding, bigendian), rgb)
        if encoding in encoders.BAYER:
            # Of the border the neighbours are missing.
            assert error[1:-1, 1:-1].max() <= 1
        else:
            assert error.max() <= TOLERANCE.get(encoding, 0)


@pytest.mark.parametrize('encoding', encoders.BAYER)
@pytest.mark.parametrize('size', [(12, 16), (11, 13), (3, 3)])
def test_a_bayer_pixel_keeps_the_colour_that_it_saw(encoding, size):
    rgb = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    got = image_messages.rgb_from(encoders.encode(rgb, encoding))
    seen = encoders.channels(encoding.split('_')[1], rgb.shape)[..., None]
    kept, true = (np.take_along_axis(array, seen, -1)[1:-1, 1:-1] for array in (got, rgb))
    np.testing.assert_array_equal(kept, true)


@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
def test_sixteen_bits_become_eight_by_the_full_range(encoding):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    got = image_messages.rgb_from(image_messages.image(TYPES, values, encoding, None))
    np.testing.assert_array_equal(got, np.rint(values / 257).astype(np.uint8)[..., None] + [0] * 3)


def test_brightness_without_colour_spans_black_to_white():
    for encoding in ('uyvy', 'yuyv'):
        rows = np.full((2, 4, 2), 128, np.uint8)
        rows[..., 'uyvy yuyv'.split().index(encoding) - 1] = [16, 235, 126, 16]
        message = encoders.message(encoding, rows.ravel(), (2, 4), 8)
        np.testing.assert_allclose(
            image_messages.rgb_from(message)[1, :, 2], [0, 255, 128, 0], atol=1
        )


def test_a_picture_that_is_rgb_already_is_not_copied():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    message = encoders.encode(rgb, 'rgb8')
    assert np.shares_memory(image_messages.rgb_from(message), message.data)


def small_and_odd():
    for encoding in encoders.ALL:
        yield encoding, (0, 0)
        yield encoding, (0, 4)
        yield encoding, (4, 0)
        if encoding in encoders.BAYER:
            yield from ((encoding, size) for size in ((2, 4), (4, 2), (1, 1)))
        if encoding in encoders.PAIRS or encoding in encoders.PLANES:
            yield encoding, (4, 5)
        if encoding in encoders.PLANES:
            yield encoding, (5, 4)


@pytest.mark.parametrize(('encoding', 'size'), [*small_and_odd()])
def test_sizes_that_an_encoding_cannot_have(encoding, size):
    message = encoders.message(encoding, np.zeros(400, np.uint8), size, 20)
    assert kind_of(image_messages.rgb_from, message) == 'size'


@pytest.mark.parametrize('encoding', encoders.ALL)
def test_numbers_that_contradict_each_other(encoding):
    rgb = encoders.picture(encoding, np.random.default_rng(0))
    good = vars(encoders.encode(rgb, encoding, padding=4))

    def kind(**changes):
        return kind_of(image_messages.rgb_from, encoders.SimpleNamespace(**{**good, **changes}))

    row = good['step'] - 4
    assert kind(data=good['data'][:-1]) == 'data'
    assert kind(data=np.append(good['data'], 0)) == 'data'
    assert kind(data=good['data'][:0]) == 'data'
    assert kind(step=row - 1) == 'step'
    assert kind(step=0) == 'step'
    assert kind(step=row) == 'data'
    assert kind(height=2 * rgb.shape[0]) == 'data'
    assert kind(width=2**32 - 2) == 'step'
    assert kind(height=2**32 - 2, width=2**32 - 2, step=2**32 - 1) in ('step', 'data')


def test_other_encodings_are_named_and_not_at_length():
    message = encoders.message('bayer_x', np.zeros(4, np.uint8), (2, 2), 2)
    assert kind_of(image_messages.rgb_from, message) == "encoding 'bayer_x'"
    with pytest.raises(MessageError, match=r"'bayer_x'.* known: rgb8, bgr8, .*nv21"):
        image_messages.rgb_from(message)
    message.encoding = 'x' * 10_000
    assert len(kind_of(image_messages.rgb_from, message)) < 60
    message.encoding = ''
    assert kind_of(image_messages.rgb_from, message) == "encoding ''"


def test_a_frame_has_the_header_and_the_pinhole():
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    message = encoders.encode(rgb, 'bgr8')
    frame = image_messages.frame_from(message)
    assert (frame.stamp_ns, frame.frame_id, frame.intrinsics) == (1_000_000_002, 'cam', None)
    np.testing.assert_array_equal(frame.image, rgb)
    lens = Intrinsics(5, 6, 4, 3)
    info = camera_info.info(TYPES, lens, (6, 8), base.header(TYPES, 0, 'cam'))
    assert image_messages.frame_from(message, info).intrinsics == lens
    message.header.stamp.sec = -1
    assert kind_of(image_messages.frame_from, message) == 'stamp'


def test_a_camera_info_of_another_picture_is_refused():
    message = encoders.encode(np.zeros((6, 8, 3), np.uint8), 'rgb8')
    info = camera_info.info(TYPES, Intrinsics(5, 6, 4, 3), (6, 10), base.header(TYPES, 0, 'cam'))
    assert kind_of(image_messages.frame_from, message, info) == 'camera_info size'
    info.k[0] = np.nan
    assert kind_of(image_messages.frame_from, message, info) == 'camera_info'
    info.k[:] = 0
    assert image_messages.frame_from(message, info).intrinsics is None


MAPS = ('rgb8', 'bgr8', 'rgba8', 'mono8', 'mono16', '8UC1', '8UC3', '8SC2', '16UC1', '16SC1',
        '32SC1', '32FC1', '32FC3', '64FC4')  # fmt: skip


@pytest.mark.parametrize('encoding', MAPS)
@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('bigendian', [0, 1])
def test_maps_keep_every_number(encoding, padding, bigendian):
    dtype, channels = image_messages.element(encoding)
    shape = (5, 7) if channels == 1 else (5, 7, channels)
    array = np.random.default_rng(2).integers(0, 256, (5, 7 * channels * dtype.itemsize), np.uint8)
    array = array.view(dtype).reshape(shape)  # any bits, NaN and all
    message = image_messages.image(TYPES, array, encoding, 'the header')
    assert message.header == 'the header'
    assert message.step * message.height == len(message.data)
    assert message.is_bigendian == 0
    rows = np.asarray(message.data).reshape(5, -1)
    if bigendian:
        rows = rows.view(dtype).byteswap().view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=9)
    back = image_messages.array_from(
        encoders.message(encoding, rows.ravel(), (5, 7), rows.shape[1], bigendian)
    )
    assert back.dtype == dtype
    assert back.shape == shape
    assert not back.flags.writeable
    assert back.tobytes() == array.tobytes()


def test_maps_that_are_not_of_their_encoding_are_refused():
    for encoding in ('bayer_rggb8', 'nv12', '32UC1', '64SC1', '16FC1', '8UC5', '32FC', 'FC1', ''):
        with pytest.raises(MessageError, match=re.escape(repr(encoding))):
            image_messages.image(TYPES, np.zeros((2, 2), np.uint8), encoding, None)
    for wrong in (np.zeros((2, 2), np.float64), np.zeros((2, 2, 1), np.float32),
                  np.zeros((0, 2), np.float32), np.zeros(4, np.float32)):  # fmt: skip
        with pytest.raises(ValueError, match='32FC1'):
            image_messages.image(TYPES, wrong, '32FC1', None)
    message = encoders.message('32FC1', np.zeros(16, np.uint8), (2, 2), 8)
    message.data = message.data[:-1]
    assert kind_of(image_messages.array_from, message) == 'data'
    message.encoding = 'yuyv'
    assert kind_of(image_messages.array_from, message) == "encoding 'yuyv'"


def test_a_picture_of_a_view_is_the_picture():
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    for view in (array[::2, ::-1], array[:, 2:3], array.T):
        message = image_messages.image(TYPES, view, '32FC1', None)
        np.testing.assert_array_equal(image_messages.array_from(message), view)


def test_opencv_names_its_patterns_otherwise():
    # What the table of patterns rests on, for the OpenCV that is installed.
    mosaic = np.zeros((6, 6), np.uint8)
    mosaic[::2, ::2] = 200  # the first pixel of the first row sees this colour
    red, _, blue = cv2.cvtColor(mosaic, encodings.LAYOUTS['bayer_rggb8'].code)[2, 2]
    assert (red, blue) == (200, 0)
