# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image files are decoded by what their bytes are; damaged ones are never taken for whole."""

import io
import struct

import cv2
import encoders
import numpy as np
from PIL import Image
import pytest

from diception_ros.messages import MessageError, compressed
from diception_ros.messages import images as image_messages


def smooth(size=(40, 56), seed=0):
    coarse = np.random.default_rng(seed).integers(30, 226, (4, 5, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def file_of(rgb, suffix='.png', *options):
    if not cv2.haveImageWriter(suffix):  # AVIF before OpenCV 4.12
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, suffix[1:])
        return file.getvalue()
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
              'bayer_rggb8; jpeg compressed bgr8', '', 'rgb8', 'png', 'foo']
)  # fmt: skip
def test_decode_jpeg(words):
    rgb = smooth()
    got = decode(jpeg(rgb), words)
    assert got.flags.c_contiguous
    assert np.abs(got.astype(int) - rgb).max() <= 12
    # A red image is red.
    red = np.zeros((16, 16, 3), np.uint8) + np.array([200, 40, 10], np.uint8)
    np.testing.assert_allclose(decode(jpeg(red), words)[8, 8], [200, 40, 10], atol=4)


@pytest.mark.parametrize('words', ['png', 'bgr8; png compressed bgr8', 'rgba8; png compressed '])
def test_decode_png_keeps_every_byte(words):
    rgb = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
    np.testing.assert_array_equal(decode(file_of(rgb), words), rgb)
    alpha = np.concatenate([rgb, np.full((13, 17, 1), 9, np.uint8)], axis=-1)
    np.testing.assert_array_equal(decode(file_of(alpha), words), rgb)
    wide = rgb.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode(file_of(wide), words), rgb)


def test_decode_grey_files():
    grey = smooth()[..., 0]
    for content, tolerance in ((file_of(grey), 0), (jpeg(grey), 12)):
        for words in ('mono8; jpeg compressed ', 'png', 'jpeg'):
            got = decode(content, words)
            assert np.abs(got.astype(int) - grey[..., None]).max() <= tolerance
    wide = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    got = decode(file_of(wide), '16UC1; png compressed ')
    np.testing.assert_array_equal(got[..., 1], np.rint(wide / 257))


@pytest.mark.parametrize('encoding', encoders.BAYER)
def test_decode_interpolates_a_compressed_bayer_pattern(encoding):
    rgb = encoders.image(encoding, np.random.default_rng(0))
    mosaic = encoders.numbers(rgb, encoding)[..., 0]
    got = decode(file_of(mosaic), f'{encoding}; png compressed ')
    np.testing.assert_array_equal(got, image_messages.rgb_from(encoders.encode(rgb, encoding)))


def test_decode_ignores_the_rotation_of_exif():
    # A head that says "turn by a quarter": CameraInfo speaks of the image as it was sent.
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    content = jpeg(smooth())
    turned = content[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + content[2:]
    np.testing.assert_array_equal(decode(turned, 'jpeg'), decode(content, 'jpeg'))


@pytest.mark.parametrize('words', ['jpeg', 'png', 'webp', 'tiff', 'avif'])
def test_decode_refuses_every_part_of_a_file(words):
    content = jpeg(smooth()) if words == 'jpeg' else file_of(smooth(), f'.{words}')
    for length in range(0, len(content), 7):
        assert kind_of(content[:length], words) == words
    assert kind_of(content[:-1], words) == words
    # Bytes after the end of the file are ignored.
    np.testing.assert_array_equal(decode(content + bytes(8), words), decode(content, words))


def test_decode_jpeg_with_a_preview_in_its_header():
    content, preview = jpeg(smooth()), jpeg(smooth((8, 8)))
    head = b'\xff\xe1' + (len(preview) + 2).to_bytes(2, 'big') + preview
    whole = content[:2] + head + content[2:]
    np.testing.assert_array_equal(decode(whole, 'jpeg'), decode(content, 'jpeg'))
    assert kind_of(whole[:-20], 'jpeg') == 'jpeg'


@pytest.mark.parametrize('suffix', ['.png', '.webp', '.tiff', '.avif'])
@pytest.mark.parametrize('words', ['', 'rgb8', 'jpeg', 'rgb8; tiff compressed bgr8', 'webp'])
def test_decode_ignores_the_format_where_the_bytes_are_an_image(suffix, words):
    rgb = smooth()
    got = decode(file_of(rgb, suffix), words)
    assert np.abs(got.astype(int) - rgb).max() <= (0 if suffix in ('.png', '.tiff') else 60)
    assert np.abs(got.astype(int) - rgb).mean() < 6
    # The colours are in their order.
    red = np.zeros((16, 16, 3), np.uint8) + np.array([200, 40, 10], np.uint8)
    np.testing.assert_allclose(decode(file_of(red, suffix), words)[8, 8], [200, 40, 10], atol=5)


@pytest.mark.parametrize('suffix', ['.webp', '.tiff', '.avif'])
def test_decode_by_pillow_where_opencv_does_not_read_a_format(suffix, monkeypatch):
    rgb, read = smooth(), cv2.imdecode
    content = file_of(rgb, suffix)
    expected = decode(content, '')
    monkeypatch.setattr(
        cv2, 'imdecode',
        lambda data, flags: None if bytes(data) == content else read(data, flags),
    )  # fmt: skip
    got = decode(content, '')
    assert np.abs(got.astype(int) - expected).max() <= 3  # two decoders of lossy formats


def test_decode_names_what_the_bytes_are():
    for content in (b'BM' + bytes(60), b'GIF89a' + bytes(60), bytes(60), b''):
        assert kind_of(content, 'jpeg') == 'jpeg'
        assert kind_of(content, 'bgr8; png compressed bgr8') == 'png'
        assert kind_of(content, '') == "format ''"
    with pytest.raises(MessageError, match=r'expected a JPEG.* got gif'):
        decode(b'GIF89a' + bytes(60), '')
    assert kind_of(b'\xff\x0a' + bytes(60), '') == 'jxl'


@pytest.mark.parametrize(
    ('words', 'content', 'transport'),
    [
        ('h264', b'\0\0\0\1\x67' + bytes(40), 'ffmpeg'),
        ('', b'\0\0\0\1\x67' + bytes(40), 'ffmpeg'),
        ('hevc', b'\0\0\1' + bytes(40), 'ffmpeg'),
        ('theora', b'\x80theora' + bytes(40), 'theora'),
        ('', b'OggS' + bytes(20) + b'\x80theora', 'theora'),
    ],
)
def test_decode_refuses_video_with_the_command_that_republishes(words, content, transport):
    assert kind_of(content, words) == f"format '{words}'"
    with pytest.raises(MessageError, match='is video') as caught:
        decode(content, words)
    command = f'ros2 run image_transport republish --ros-args -p in_transport:={transport} '
    assert command in str(caught.value)


def test_decode_names_formats_that_are_no_image():
    for words, content in (
        ('16UC1; compressedDepth png', file_of(smooth())), ('x' * 1000, b'x'), ('', b''),
    ):  # fmt: skip
        kind = kind_of(content, words)
        assert kind.startswith("format '")
        assert words[:30] in kind
        assert len(kind) < 60


def rvl(depth):
    """Wilson's run length and variable length code of a (H, W) uint16 array."""
    groups, flat = [], depth.ravel().astype(int)

    def number(value):
        while True:
            low, value = value & 7, value >> 3
            groups.append(low | (8 if value else 0))
            if not value:
                return

    at, previous = 0, 0
    while at < len(flat):
        zeros = at
        while at < len(flat) and flat[at] == 0:
            at += 1
        values = at
        while at < len(flat) and flat[at] != 0:
            at += 1
        number(values - zeros)
        number(at - values)
        for value in flat[values:at]:
            delta = int(value) - previous
            number((delta << 1) ^ (delta >> 63))
            previous = int(value)
    groups += [0] * (-len(groups) % 8)
    words = [sum(group << (28 - 4 * k) for k, group in enumerate(groups[i : i + 8]))
             for i in range(0, len(groups), 8)]  # fmt: skip
    return struct.pack('<ii', *depth.shape[::-1]) + struct.pack(f'<{len(words)}I', *words)


def depths(size=(13, 17)):
    rng = np.random.default_rng(5)
    values = rng.integers(1, 65536, size).astype(np.uint16)
    values[rng.random(size) < 0.4] = 0
    values[:4] = np.linspace(800, 3000, 4 * size[1]).reshape(4, -1)
    return values


def compressed_depth(values, codec, encoding='16UC1', a=0.0, b=0.0):
    body = rvl(values) if codec == 'rvl' else cv2.imencode('.png', values)[1].tobytes()
    content = struct.pack('<iff', 0, a, b) + body
    return encoders.compressed(content, f'{encoding}; compressedDepth {codec}'.strip())


@pytest.mark.parametrize('codec', ['png', 'rvl', ''])
@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
def test_depth_from_16_bit_compressed_depth(codec, encoding):
    for values in (depths(), np.zeros((3, 5), np.uint16), np.full((1, 1), 7, np.uint16)):
        message = compressed_depth(values, codec, encoding)
        np.testing.assert_array_equal(compressed.decode_depth(message), values)
        metres = image_messages.depth_from(message)
        assert metres.dtype == np.float32
        expected = np.where(values > 0, values / np.float32(1000), np.nan)
        np.testing.assert_allclose(metres, expected, rtol=1e-6)


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_depth_from_32fc1_compressed_depth_with_its_quantisation(codec):
    # As compressed_depth_image_transport: depth_quantization 100, depth_max 10.
    a, b = 100 * 101.0, 1 - 100 * 101.0 / 10
    truth = np.random.default_rng(0).uniform(0.5, 9.9, (12, 16))
    truth[2, 3] = np.nan
    stored = np.where(np.isfinite(truth), np.floor(a / truth + b), 0).astype(np.uint16)
    metres = image_messages.depth_from(compressed_depth(stored, codec, '32FC1', a, b))
    known = np.isfinite(truth)
    np.testing.assert_array_equal(np.isfinite(metres), known)
    # One step of the inverse depth is truth ** 2 / A.
    assert (np.abs(metres - truth)[known] <= 1.1 * truth[known] ** 2 / a).all()


def test_depth_from_a_16_bit_png_of_the_transport_compressed():
    values = depths()
    message = encoders.compressed(cv2.imencode('.png', values)[1], '16UC1; png compressed ')
    np.testing.assert_array_equal(compressed.decode_depth(message), values)
    for words, content in (('16UC1; jpeg compressed', jpeg(smooth())), ('rgb8', b'')):
        with pytest.raises(MessageError) as caught:
            compressed.decode_depth(encoders.compressed(content, words))
        assert caught.value.kind.startswith('format')


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_damaged_compressed_depth_is_refused(codec):
    message = compressed_depth(depths(), codec)
    content = bytes(message.data)
    for length in range(0, len(content) - 4, 5):
        message.data = np.frombuffer(content[:length], np.uint8)
        with pytest.raises(MessageError) as caught:
            compressed.decode_depth(message)
        assert caught.value.kind == 'compressedDepth' or codec == 'png'
    rng = np.random.default_rng(0)
    for _ in range(60):  # any flipped byte: other values, or an error of a known kind
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(12, len(damaged))] ^= rng.integers(1, 256, dtype=np.uint8)
        message.data = damaged
        try:
            assert compressed.decode_depth(message).dtype == np.uint16
        except MessageError as error:
            assert error.kind in ('compressedDepth', 'png', 'tiff')  # noqa: PT017
    message.data = np.frombuffer(content[:12] + struct.pack('<ii', 60_000, 60_000), np.uint8)
    with pytest.raises(MessageError):
        compressed.decode_depth(message)


def test_decode_checks_the_declared_size_first():
    content = bytearray(file_of(smooth()))
    content[16:24] = (60_000).to_bytes(4, 'big') * 2
    assert kind_of(bytes(content), 'png') == 'png'
    content = bytearray(jpeg(smooth()))
    at = content.index(b'\xff\xc0')
    content[at + 5 : at + 9] = (60_000).to_bytes(2, 'big') * 2
    with pytest.raises(MessageError, match='at most'):
        decode(bytes(content), 'jpeg')
    assert compressed.MAX_PIXELS > 12_000**2


def outcome(content, words):
    try:
        return decode(content, words)
    except MessageError as error:
        return error.kind


def test_decode_of_files_with_a_flipped_bit():
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
