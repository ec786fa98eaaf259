# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every encoding of images is decoded; depth and label maps survive a round trip."""

import re

import cv2
import encoders
import numpy as np
import pytest

from diception_ros.bags.typestore import BagTypes
from diception_ros.core.frame import Intrinsics
from diception_ros.messages import MessageError, camera_info, encodings, make_header
from diception_ros.messages import images as image_messages

TYPES = BagTypes()
# Rounding of BT.601 in eight bits, there and back.
TOLERANCE = dict.fromkeys([*encoders.PAIRS, *encoders.PLANES], 3)
HALF_PLANES = [name for name in encoders.PLANES if name != 'nv24']


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


def test_encodings_decoded_are_those_tested():
    assert set(encoders.ALL) == {*encodings.LAYOUTS, *encodings.PLANES}


@pytest.mark.parametrize('encoding', encoders.ALL)
@pytest.mark.parametrize('padding', [0, 1, 6])
@pytest.mark.parametrize('bigendian', [False, True])
def test_rgb_from_returns_the_encoded_image(encoding, padding, bigendian):
    rng = np.random.default_rng(0)
    for _ in range(5):
        rgb = encoders.image(encoding, rng)
        error = off(encoders.encode(rgb, encoding, padding, bigendian), rgb)
        if encoding in encoders.BAYER:
            # Of the border the neighbours are missing.
            assert error[1:-1, 1:-1].max() <= 1
        else:
            assert error.max() <= TOLERANCE.get(encoding, 0)


@pytest.mark.parametrize('encoding', encoders.BAYER)
@pytest.mark.parametrize('size', [(12, 16), (11, 13), (3, 3)])
def test_rgb_from_keeps_the_measured_color_of_a_bayer_pixel(encoding, size):
    rgb = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    got = image_messages.rgb_from(encoders.encode(rgb, encoding))
    seen = encoders.channels(encoding.split('_')[1], rgb.shape)[..., None]
    kept, true = (np.take_along_axis(array, seen, -1)[1:-1, 1:-1] for array in (got, rgb))
    np.testing.assert_array_equal(kept, true)


@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
def test_rgb_from_scales_16_bits_by_the_full_range(encoding):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    got = image_messages.rgb_from(image_messages.image(TYPES, values, encoding, None))
    np.testing.assert_array_equal(got, np.rint(values / 257).astype(np.uint8)[..., None] + [0] * 3)


def test_rgb_from_expands_limited_range_yuv():
    for encoding in ('uyvy', 'yuyv'):
        rows = np.full((2, 4, 2), 128, np.uint8)
        rows[..., 'uyvy yuyv'.split().index(encoding) - 1] = [16, 235, 126, 16]
        message = encoders.message(encoding, rows.ravel(), (2, 4), 8)
        np.testing.assert_allclose(
            image_messages.rgb_from(message)[1, :, 2], [0, 255, 128, 0], atol=1
        )


def test_rgb_from_does_not_copy_rgb8():
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
        if encoding in encoders.PAIRS or encoding in HALF_PLANES:
            yield encoding, (4, 5)
        if encoding in HALF_PLANES:
            yield encoding, (5, 4)


@pytest.mark.parametrize(('encoding', 'size'), [*small_and_odd()])
def test_rgb_from_refuses_sizes_an_encoding_cannot_have(encoding, size):
    message = encoders.message(encoding, np.zeros(400, np.uint8), size, 20)
    assert kind_of(image_messages.rgb_from, message) == 'size'


@pytest.mark.parametrize('encoding', encoders.ALL)
def test_rgb_from_refuses_contradicting_numbers(encoding):
    rgb = encoders.image(encoding, np.random.default_rng(0))
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


@pytest.mark.parametrize('size', [(12, 16), (5, 7), (1, 1)])
def test_nv24_of_any_size_is_bt601_with_limited_range(size):
    rgb = np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)
    assert off(encoders.encode(rgb, 'nv24'), rgb).max() <= 3


def test_rgb_from_names_unknown_encodings_briefly():
    message = encoders.message('bayer_x', np.zeros(4, np.uint8), (2, 2), 2)
    assert kind_of(image_messages.rgb_from, message) == "encoding 'bayer_x'"
    with pytest.raises(MessageError, match=r"'bayer_x'.* known: rgb8, bgr8, .*nv24"):
        image_messages.rgb_from(message)
    message.encoding = 'x' * 10_000
    assert len(kind_of(image_messages.rgb_from, message)) < 60
    message.encoding = ''
    assert kind_of(image_messages.rgb_from, message) == "encoding ''"
    message.encoding = 'RGB8'
    with pytest.raises(MessageError, match="did you mean 'rgb8'"):
        image_messages.rgb_from(message)


# sensor_msgs/image_encodings.hpp of Lyrical.
LYRICAL = {
    'rgb8', 'rgba8', 'rgb16', 'rgba16', 'bgr8', 'bgra8', 'bgr16', 'bgra16', 'mono8', 'mono16',
    *(f'bayer_{name}{bits}' for name in encoders.PATTERNS for bits in (8, 16)),
    'uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2', 'nv12', 'nv21', 'nv24',
    *(f'{kind}C{n}' for kind in ('8U', '8S', '16U', '16S', '32S', '32F', '64F')
      for n in (1, 2, 3, 4)),
}  # fmt: skip


def test_every_standard_encoding_is_decoded_or_refused_with_its_own_reason():
    refused = LYRICAL - {*encoders.ALL}
    assert refused == LYRICAL - {*encodings.LAYOUTS, *encodings.PLANES}
    assert refused >= {'8UC2', '8SC4', '16SC1', '32SC1', '32FC1', '32FC3', '64FC4'}
    for encoding in refused:
        message = encoders.message(encoding, np.zeros(400, np.uint8), (2, 2), 100)
        with pytest.raises(MessageError, match='the image that the camera sees') as caught:
            image_messages.rgb_from(message)
        assert caught.value.kind == f"encoding '{encoding}'"
        assert 'known: ' not in str(caught.value)


@pytest.mark.parametrize('encoding', ['mono16', '16UC1', 'rgb16', 'bayer_rggb16'])
def test_frame_from_doubts_16_bit_images_of_few_bits(encoding):
    header = make_header(TYPES, 0, 'cam')
    # All 0 is what a covered camera sends, too; 12 bits are what many sensors have.
    for largest, doubted in ((0, False), (1023, True), (4095, True), (8191, False)):
        pixels = np.full((6, 8, encodings.LAYOUTS[encoding].channels), largest, np.uint16)
        plain = 'rgb16' if pixels.shape[2] == 3 else 'mono16'
        message = image_messages.image(TYPES, np.squeeze(pixels), plain, header)
        message.encoding = encoding
        assert (encoding in image_messages.frame_from(message).doubt) == doubted
    dark = np.ones((6, 8, 3), np.uint8)
    assert image_messages.frame_from(encoders.encode(dark, 'rgb8')).doubt == ''


def test_frame_from_has_header_and_intrinsics():
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    message = encoders.encode(rgb, 'bgr8')
    frame = image_messages.frame_from(message)
    assert (frame.stamp_ns, frame.frame_id, frame.intrinsics) == (1_000_000_002, 'cam', None)
    np.testing.assert_array_equal(frame.image, rgb)
    lens = Intrinsics(5, 6, 4, 3)
    info = camera_info.info(TYPES, lens, (6, 8), make_header(TYPES, 0, 'cam'))
    assert image_messages.frame_from(message, info).intrinsics == lens
    message.header.stamp.sec = -1
    assert kind_of(image_messages.frame_from, message) == 'stamp'


def uncalibrated(info):
    info.k[:], info.p[:], info.r[:] = 0, 0, 0


def driver_without_calibration(info):  # camera_ros, gscam, usb_cam
    uncalibrated(info)
    info.height = info.width = 0


def rectification_failed(info):
    info.p[0] = info.p[5] = np.nan


def size_0(info):
    info.height = info.width = 0


def other_size(info):
    info.height, info.width = 480, 641


def twice_the_size(info):
    info.height, info.width = 12, 16


def binning_left_in(info):
    info.binning_x = info.binning_y = 2


def negative_focal_length(info):
    info.k[0] = info.p[0] = -5


@pytest.mark.parametrize(
    ('spoil', 'advice'),
    [
        (uncalibrated, 'not calibrated'),
        (driver_without_calibration, 'not calibrated'),
        (rectification_failed, 'finite'),
        (size_0, 'width and height are 0 x 0'),
        (other_size, 'remap camera_info'),
        (twice_the_size, 'binning_x and binning_y to 2'),
        (binning_left_in, 'set both to 0'),
        (negative_focal_length, 'focal lengths > 0'),
    ],
)
def test_frame_from_needs_no_usable_camera_info(spoil, advice):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    message = encoders.encode(rgb, 'rgb8')
    info = camera_info.info(TYPES, Intrinsics(5, 6, 4, 3), (6, 8), make_header(TYPES, 0, 'cam'))
    spoil(info)
    frame = image_messages.frame_from(message, info)
    np.testing.assert_array_equal(frame.image, rgb)
    assert frame.intrinsics is None
    pinhole, reason = camera_info.pinhole(info, (6, 8))
    assert pinhole is None
    assert advice in reason


def test_pinhole_of_k_where_p_is_not_filled_in():
    info = camera_info.info(TYPES, Intrinsics(5, 6, 4, 3), (6, 8), make_header(TYPES, 0, 'cam'))
    info.p[:] = 0
    assert camera_info.pinhole(info, (6, 8)) == (Intrinsics(5, 6, 4, 3), '')
    assert 'no CameraInfo' in camera_info.pinhole(None, (6, 8))[1]


MAPS = ('rgb8', 'bgr8', 'rgba8', 'mono8', 'mono16', '8UC1', '8UC3', '8SC2', '16UC1', '16SC1',
        '32SC1', '32FC1', '32FC3', '64FC4')  # fmt: skip


@pytest.mark.parametrize('encoding', MAPS)
@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('bigendian', [0, 1])
def test_image_and_array_from_round_trip(encoding, padding, bigendian):
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


def test_image_refuses_arrays_of_another_encoding():
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


def test_image_of_a_strided_view():
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    for view in (array[::2, ::-1], array[:, 2:3], array.T):
        message = image_messages.image(TYPES, view, '32FC1', None)
        np.testing.assert_array_equal(image_messages.array_from(message), view)


def test_opencv_bayer_code_of_the_table():
    # What the table of patterns rests on, for the OpenCV that is installed.
    mosaic = np.zeros((6, 6), np.uint8)
    mosaic[::2, ::2] = 200  # the first pixel of the first row sees this colour
    red, _, blue = cv2.cvtColor(mosaic, encodings.LAYOUTS['bayer_rggb8'].code)[2, 2]
    assert (red, blue) == (200, 0)
