# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pixels of a raw sensor_msgs/Image, as RGB."""

from __future__ import annotations

from collections.abc import Callable
import functools
import importlib
import importlib.util
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.messages.base import MessageError, quoted
from diception_ros.system import processes


class Layout(NamedTuple):
    """What one row of a picture is made of, and OpenCV's code for the way to RGB.

    Attributes:
        channels: numbers per pixel.
        wide: whether a number has 16 bits rather than 8.
        code: of cv2.cvtColor; None for what is RGB already.
        even: whether two pixels side by side share their colour.
        least: rows and columns without which the conversion is not defined.
    """

    channels: int
    wide: bool
    code: int | None
    even: bool = False
    least: int = 1


# OpenCV names a Bayer pattern by the second and third pixel of its second row.
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
_UYVY = Layout(2, False, cv2.COLOR_YUV2RGB_UYVY, even=True)
_YUYV = Layout(2, False, cv2.COLOR_YUV2RGB_YUY2, even=True)

LAYOUTS: dict[str, Layout] = {
    'rgb8': Layout(3, False, None),
    'bgr8': Layout(3, False, cv2.COLOR_BGR2RGB),
    # No order of colours is promised; OpenCV, RViz and Foxglove take it as blue, green, red.
    '8UC3': Layout(3, False, cv2.COLOR_BGR2RGB),
    'rgba8': Layout(4, False, cv2.COLOR_RGBA2RGB),
    'bgra8': Layout(4, False, cv2.COLOR_BGRA2RGB),
    'rgb16': Layout(3, True, None),
    'bgr16': Layout(3, True, cv2.COLOR_BGR2RGB),
    'mono8': Layout(1, False, cv2.COLOR_GRAY2RGB),
    '8UC1': Layout(1, False, cv2.COLOR_GRAY2RGB),
    'mono16': Layout(1, True, cv2.COLOR_GRAY2RGB),
    '16UC1': Layout(1, True, cv2.COLOR_GRAY2RGB),
    **{f'bayer_{name}8': Layout(1, False, code, least=3) for name, code in _BAYER.items()},
    **{f'bayer_{name}16': Layout(1, True, code, least=3) for name, code in _BAYER.items()},
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
}
# A plane of brightness, and below it one of colour with half the rows and columns.
PLANES: dict[str, int] = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}


def decode(message: Any) -> NDArray[np.uint8]:
    """The picture of a raw Image.

    Sixteen bits become eight by the full range, 65535 to 255. Bayer patterns are interpolated
    linearly. YUV is BT.601 with limited range, as OpenCV and cv_bridge take it.

    Args:
        message: sensor_msgs/Image.

    Returns:
        (H, W, 3) uint8 RGB; of an 'rgb8' picture without padding a view of the message's data.

    Raises:
        MessageError: the encoding is not known ("encoding 'x'"), or size ('size'), length of rows
            ('step') and data ('data') contradict each other.
    """
    code = PLANES.get(str(message.encoding))
    if code is not None:
        return _two_planes(message, code)
    pixels, layout = packed(message)
    return to_rgb(pixels, layout.code)


def packed(message: Any) -> tuple[NDArray[Any], Layout]:
    """The numbers of an Image of one of LAYOUTS, checked but not yet RGB; raises as `decode`."""
    encoding = str(message.encoding)
    layout = LAYOUTS.get(encoding)
    if layout is None:
        raise _unknown(encoding)
    size = int(message.height), int(message.width)
    if min(size) < layout.least or (layout.even and size[1] % 2):
        width = 'an even width' if layout.even else 'a width'
        raise MessageError(
            'size',
            f'image {encoding}: expected {width} and a height of at least {layout.least}, '
            f'got {size[1]} x {size[0]}',
        )
    dtype = np.dtype(np.uint16 if layout.wide else np.uint8)
    return rows(message, dtype, layout.channels), layout


def rows(message: Any, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """The numbers of an Image, its padding left out and its bytes in this machine's order.

    Args:
        message: sensor_msgs/Image.
        dtype: of one number.
        channels: numbers per pixel.

    Returns:
        (H, W) or, with more than one channel, (H, W, channels) of the dtype; a view of the
        message's data where that is possible.

    Raises:
        MessageError: 'size', 'step', 'data': these contradict each other.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    row = width * channels * dtype.itemsize
    data = checked_data(message, height, width, row, step * height)
    foreign = dtype.itemsize > 1 and bool(message.is_bigendian)
    kind = dtype.newbyteorder('>' if foreign else '<')
    shape: tuple[int, ...] = (height, width)
    strides: tuple[int, ...] = (step, channels * dtype.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, dtype.itemsize)
    # A view even with padding: OpenCV and numpy take rows that do not touch.
    view: NDArray[Any] = np.ndarray(shape, kind, data, strides=strides)
    # OpenCV cannot read numbers that lie across the machine's words.
    return view if kind == dtype and view.flags.aligned else view.astype(dtype)


def checked_data(
    message: Any, height: int, width: int, row: int, expected: int
) -> NDArray[np.uint8]:
    """The bytes of an Image, (N,) uint8 view, once their number is what size and step say.

    Args:
        message: sensor_msgs/Image.
        height: rows.
        width: columns.
        row: bytes that a row needs.
        expected: bytes that there should be.

    Raises:
        MessageError: 'size', 'step', 'data'.
    """
    what = f'image {quoted(message.encoding)} {width} x {height}'
    if min(height, width) < 1:
        raise MessageError('size', f'{what}: expected at least one pixel')
    if message.step < row:
        raise MessageError(
            'step', f'{what}: expected rows of at least {row} bytes, got step {message.step}'
        )
    if len(message.data) != expected:
        raise MessageError(
            'data',
            f'{what}: expected {expected} bytes with step {message.step}, got {len(message.data)}',
        )
    return np.frombuffer(message.data, np.uint8)


def to_rgb(pixels: NDArray[Any], code: int | None) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C) uint8 or uint16 to (H, W, 3) uint8 by OpenCV's code."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    return np.ascontiguousarray(pixels if code is None else cv2.cvtColor(pixels, code))


def _unknown(encoding: str) -> MessageError:
    return MessageError(
        f'encoding {quoted(encoding)}',
        f'image encoding {quoted(encoding)} is not supported; known: '
        f'{", ".join([*LAYOUTS, *PLANES])}',
    )


def _two_planes(message: Any, code: int) -> NDArray[np.uint8]:
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height % 2 or width % 2:
        raise MessageError(
            'size',
            f'image {message.encoding}: expected an even width and height, got {width} x {height}',
        )
    data = checked_data(message, height, width, width, step * height * 3 // 2)
    light = np.ndarray((height, width), np.uint8, data, strides=(step, 1))
    colour = np.ndarray(
        (height // 2, width // 2, 2), np.uint8, data, offset=step * height, strides=(step, 2, 1)
    )
    return np.asarray(cv2.cvtColorTwoPlane(light, colour, code), np.uint8)


# cv_bridge, where it is installed and works.
#
# It is built against one version of numpy and of OpenCV, and with another it raises (`KeyError:
# 16` with OpenCV 5) or takes the whole process down (numpy 2). So another process tries it first,
# once. It is used for the encodings alone for which that process saw it give the very bytes that
# `encodings` gives: a live node and the replay of a bag, where there is no cv_bridge, must not
# differ.


# Importing numpy, OpenCV and cv_bridge takes 0.5 s, or a few on a busy small machine.
PATIENCE = 30.0
# What a cv_bridge that does not fit has been seen to raise, CvBridgeError being a TypeError.
_FAULTS = (
    ImportError, AttributeError, KeyError, TypeError, ValueError, RuntimeError, SystemError,
    OSError, cv2.error,
)  # fmt: skip


class Bridge(NamedTuple):
    """What cv_bridge can be used for.

    Attributes:
        encodings: those of which it gives the same bytes; none where it is missing or broken.
        reason: why there are none, in a few words for the log; '' where there are some.
        convert: message to (H, W, 3) RGB, for these encodings.
    """

    encodings: frozenset[str]
    reason: str
    convert: Callable[[Any], Any] | None = None

    def rgb_from(self, message: Any) -> NDArray[np.uint8]:
        """The picture of an Image of one of the encodings, whose numbers have been checked.

        Raises:
            MessageError: 'cv_bridge': it failed all the same.
        """
        assert self.convert is not None
        try:
            return np.ascontiguousarray(self.convert(message), np.uint8)
        except _FAULTS as error:
            raise MessageError(
                'cv_bridge', f'cv_bridge failed on {message.encoding}: {error!r}'
            ) from error


@functools.cache
def find() -> Bridge:
    """Look for cv_bridge, once a process; takes a second where it is installed."""
    if importlib.util.find_spec('cv_bridge') is None:
        return Bridge(frozenset(), 'cv_bridge is not installed')
    answer = processes.ask(
        'from diception_ros.messages import encodings\ntell(encodings.agreed())', PATIENCE
    )
    if answer.said is None:
        return Bridge(frozenset(), f'cv_bridge does not work here: {answer.error}')
    same = frozenset(answer.said)
    if not same:
        return Bridge(frozenset(), 'cv_bridge gives other colours than it should')
    try:
        return Bridge(same, '', _convert())
    except _FAULTS as error:
        return Bridge(frozenset(), f'cv_bridge does not work here: {error!r}')


def agreed() -> list[str]:
    """The encodings of which cv_bridge gives the same bytes; may crash, see `find`."""
    convert = _convert()
    return [encoding for encoding in LAYOUTS if _agrees(convert, encoding)]


def _convert() -> Callable[[Any], Any]:
    made = importlib.import_module('cv_bridge').CvBridge()
    return lambda message: made.imgmsg_to_cv2(message, 'rgb8')


def _agrees(convert: Callable[[Any], Any], encoding: str) -> bool:
    layout = LAYOUTS[encoding]
    row = 8 * layout.channels * (1 + layout.wide)
    random = np.random.default_rng(0)
    for step in (row, row + 5, row + 2 * layout.channels):
        data = random.integers(0, 256, 6 * step, np.uint8)
        message = SimpleNamespace(
            height=6, width=8, step=step, encoding=encoding, is_bigendian=0, data=data
        )
        try:
            theirs = np.asarray(convert(message))
        except _FAULTS:
            return False
        if not np.array_equal(theirs, decode(message)):
            return False
    return True


# The picture of a sensor_msgs/CompressedImage: JPEG or PNG.


_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
_START_OF_SCAN, _END = 0xDA, b'\xff\xd9'
# Start of frame, which holds the size, of all ways of coding: 0xC0 to 0xCF but for three others.
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# A few bytes can claim 65535 x 65535 pixels, 12 GB. The largest cameras have 150 million.
MOST_PIXELS = 2**28


def decode_compressed(message: Any) -> NDArray[np.uint8]:
    """The picture of a CompressedImage.

    `format` must name JPEG or PNG, in the words of image_transport ('rgb8; jpeg compressed bgr8')
    or alone ('jpeg'); which of the two it is, the bytes say. A rotation noted in the file is not
    carried out, because CameraInfo speaks of the pixels as they were sent. A Bayer pattern that
    was compressed as it came off the sensor is interpolated.

    Args:
        message: sensor_msgs/CompressedImage.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        MessageError: another format ("format 'x'"), or a file that is damaged or too large
            ('jpeg', 'png').
    """
    words = str(message.format)
    low = words.lower()
    if not any(name in low for name in ('jpeg', 'jpg', 'png')) or 'compresseddepth' in low:
        raise MessageError(
            f'format {quoted(words)}',
            f'compressed image of format {quoted(words)} is not supported; known: jpeg, png',
        )
    content = bytes(memoryview(message.data)) if len(message.data) else b''
    if content.startswith(_JPEG):
        kind, size = 'jpeg', _jpeg_size(content)
    elif content.startswith(_PNG):
        kind, size = 'png', _png_size(content)
    else:
        raise MessageError(
            'png' if 'png' in low else 'jpeg',
            f'compressed image of format {quoted(words)}: expected a JPEG or PNG file, '
            f'got {len(content)} bytes that begin with {content[:4].hex() or "nothing"}',
        )
    if size is None:
        raise MessageError(kind, f'{kind} image: damaged or cut off, got {len(content)} bytes')
    if size[0] * size[1] > MOST_PIXELS:
        raise MessageError(
            kind,
            f'{kind} image: expected at most {MOST_PIXELS} pixels, got {size[1]} x {size[0]}',
        )
    return _decode(content, kind, low.partition(';')[0].strip())


def _decode(content: bytes, kind: str, before: str) -> NDArray[np.uint8]:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MessageError(kind, f'{kind} image: damaged ({error.err})') from error
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise MessageError(kind, f'{kind} image: damaged, got {len(content)} bytes')
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels == 1:
        layout = LAYOUTS.get(before)
        bayer = before.startswith('bayer_') and layout and min(pixels.shape[:2]) >= layout.least
        code = layout.code if layout and bayer else cv2.COLOR_GRAY2RGB
        return to_rgb(pixels.reshape(pixels.shape[:2]), code)
    code = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}.get(channels)
    if code is None:
        raise MessageError(kind, f'{kind} image: expected 1, 3 or 4 channels, got {channels}')
    return to_rgb(pixels, code)


def _png_size(content: bytes) -> tuple[int, int] | None:
    if content[12:16] != b'IHDR':
        return None
    return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    # OpenCV before 4.10 fills what is missing of a cut-off file with grey, and says nothing. So
    # from marker to marker up to the scan, for a preview in the head has an end of its own; within
    # a scan 0xFF is always followed by 0, so there its end cannot be mistaken.
    at, size = 2, None
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], 'big')
        if marker == 0xFF:
            at += 1
            continue
        if marker in _START_OF_FRAME:
            height, width = content[at + 5 : at + 7], content[at + 7 : at + 9]
            size = int.from_bytes(height, 'big'), int.from_bytes(width, 'big')
        if marker == _START_OF_SCAN:
            return size if content.find(_END, at) >= 0 else None
        at += 2 + length
    return None
