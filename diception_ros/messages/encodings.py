# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pixels of a raw sensor_msgs/Image, as RGB."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.messages.error import MessageError, quoted


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
            f'came {size[1]} x {size[0]}',
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
            'step', f'{what}: expected rows of at least {row} bytes, came step {message.step}'
        )
    if len(message.data) != expected:
        raise MessageError(
            'data',
            f'{what}: expected {expected} bytes with step {message.step}, '
            f'came {len(message.data)}',
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
            f'image {message.encoding}: expected an even width and height, '
            f'came {width} x {height}',
        )
    data = checked_data(message, height, width, width, step * height * 3 // 2)
    light = np.ndarray((height, width), np.uint8, data, strides=(step, 1))
    colour = np.ndarray(
        (height // 2, width // 2, 2), np.uint8, data, offset=step * height, strides=(step, 2, 1)
    )
    return np.asarray(cv2.cvtColorTwoPlane(light, colour, code), np.uint8)
