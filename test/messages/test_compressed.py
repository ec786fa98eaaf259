# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG come in with the right colours, and nothing that is cut off comes in as whole."""

import cv2
import encoders
import numpy as np
import pytest

from diception_ros.messages import MessageError, encodings
from diception_ros.messages import images as image_messages


def smooth(size=(40, 56), seed=0):
    coarse = np.random.default_rng(seed).integers(30, 226, (4, 5, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def file_of(rgb, suffix='.png', *options):
    swapped = rgb if rgb.ndim == 2 else rgb[..., [2, 1, 0, *range(3, rgb.shape[2])]]
    return cv2.imencode(suffix, swapped, options)[1].tobytes()


def jpeg(rgb):
    return file_of(rgb, '.jpg', cv2.IMWRITE_JPEG_QUALITY, 97)


def decode(content, words):
    return image_messages.rgb_from(encoders.compressed(content, words))


def kind_of(content, words):
    with pytest.raises(MessageError) as caught:
        decode(content, words)
    return caught.value.kind


@pytest.mark.parametrize(
    'words', ['jpeg', 'jpg', 'JPEG', 'rgb8; jpeg compressed bgr8', 'bgr8; jpeg compressed bgr8',
              'bayer_rggb8; jpeg compressed bgr8']
)  # fmt: skip
def test_a_jpeg_has_the_colours_that_it_had(words):
    rgb = smooth()
    got = decode(jpeg(rgb), words)
    assert got.flags.c_contiguous
    assert np.abs(got.astype(int) - rgb).max() <= 12
    # A red picture is red.
    red = np.zeros((16, 16, 3), np.uint8) + np.array([200, 40, 10], np.uint8)
    np.testing.assert_allclose(decode(jpeg(red), words)[8, 8], [200, 40, 10], atol=4)


@pytest.mark.parametrize('words', ['png', 'bgr8; png compressed bgr8', 'rgba8; png compressed '])
def test_a_png_keeps_every_byte(words):
    rgb = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
    np.testing.assert_array_equal(decode(file_of(rgb), words), rgb)
    alpha = np.concatenate([rgb, np.full((13, 17, 1), 9, np.uint8)], axis=-1)
    np.testing.assert_array_equal(decode(file_of(alpha), words), rgb)
    wide = rgb.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode(file_of(wide), words), rgb)


def test_grey_files_become_grey_pictures():
    grey = smooth()[..., 0]
    for content, tolerance in ((file_of(grey), 0), (jpeg(grey), 12)):
        for words in ('mono8; jpeg compressed ', 'png', 'jpeg'):
            got = decode(content, words)
            assert np.abs(got.astype(int) - grey[..., None]).max() <= tolerance
    wide = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    got = decode(file_of(wide), '16UC1; png compressed ')
    np.testing.assert_array_equal(got[..., 1], np.rint(wide / 257))


@pytest.mark.parametrize('encoding', encoders.BAYER)
def test_a_pattern_that_was_compressed_is_interpolated(encoding):
    rgb = encoders.picture(encoding, np.random.default_rng(0))
    mosaic = encoders.numbers(rgb, encoding)[..., 0]
    got = decode(file_of(mosaic), f'{encoding}; png compressed ')
    np.testing.assert_array_equal(got, image_messages.rgb_from(encoders.encode(rgb, encoding)))


def test_pixels_stay_where_the_camera_sent_them():
    # A head that says "turn by a quarter": CameraInfo speaks of the picture as it was sent.
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    content = jpeg(smooth())
    turned = content[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + content[2:]
    np.testing.assert_array_equal(decode(turned, 'jpeg'), decode(content, 'jpeg'))


@pytest.mark.parametrize('words', ['jpeg', 'png'])
def test_no_part_of_a_file_is_a_picture(words):
    content = jpeg(smooth()) if words == 'jpeg' else file_of(smooth())
    for length in range(0, len(content), 7):
        assert kind_of(content[:length], words) == words
    assert kind_of(content[:-1], words) == words
    # What comes after the end of the file does no harm.
    np.testing.assert_array_equal(decode(content + bytes(8), words), decode(content, words))


def test_a_preview_in_the_head_is_not_the_end_of_the_picture():
    content, preview = jpeg(smooth()), jpeg(smooth((8, 8)))
    head = b'\xff\xe1' + (len(preview) + 2).to_bytes(2, 'big') + preview
    whole = content[:2] + head + content[2:]
    np.testing.assert_array_equal(decode(whole, 'jpeg'), decode(content, 'jpeg'))
    assert kind_of(whole[:-20], 'jpeg') == 'jpeg'


def test_the_bytes_say_which_file_it_is():
    rgb = smooth()
    np.testing.assert_array_equal(decode(file_of(rgb), 'jpeg'), rgb)
    for content in (b'BM' + bytes(60), b'GIF89a' + bytes(60), bytes(60), b''):
        assert kind_of(content, 'jpeg') == 'jpeg'
        assert kind_of(content, 'bgr8; png compressed bgr8') == 'png'


def test_other_formats_are_named():
    for words in ('h264', '16UC1; compressedDepth png', '', 'x' * 1000):
        kind = kind_of(jpeg(smooth()), words)
        assert kind.startswith("format '")
        assert words[:30] in kind
        assert len(kind) < 60


def test_a_few_bytes_cannot_ask_for_gigabytes():
    content = bytearray(file_of(smooth()))
    content[16:24] = (60_000).to_bytes(4, 'big') * 2
    assert kind_of(bytes(content), 'png') == 'png'
    content = bytearray(jpeg(smooth()))
    at = content.index(b'\xff\xc0')
    content[at + 5 : at + 9] = (60_000).to_bytes(2, 'big') * 2
    with pytest.raises(MessageError, match='at most'):
        decode(bytes(content), 'jpeg')
    assert encodings.MOST_PIXELS > 12_000**2


def outcome(content, words):
    try:
        return decode(content, words)
    except MessageError as error:
        return error.kind


def test_a_flipped_bit_is_seen_in_a_png_and_does_no_harm_in_a_jpeg():
    rng = np.random.default_rng(0)
    for words, content in (('png', file_of(smooth())), ('jpeg', jpeg(smooth()))):
        for _ in range(100):
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
            got = outcome(bytes(damaged), words)
            if isinstance(got, str):
                assert got == words
            elif words == 'png':
                np.testing.assert_array_equal(got, decode(content, words))
            else:
                assert (got.dtype, got.shape[2]) == (np.uint8, 3)
