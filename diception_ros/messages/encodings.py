# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decode the pixels of a sensor_msgs/Image to RGB.

Every encoding that sensor_msgs/image_encodings.hpp of ROS 2 Lyrical names is either in LAYOUTS or
PLANES, or is refused with a reason of its own. Measured on 1280x720 images, these conversions take
0.02 ms (rgb8) to 0.67 ms (yuv422); cv_bridge takes 0.37 to 2.2 ms, so it is used only on request
(see `decoder`).
"""

from __future__ import annotations

from collections.abc import Callable
import difflib
import functools
import importlib
import importlib.util
import re
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.messages import MessageError, quoted
from diception_ros.system import processes

# Image message -> (H, W, 3) uint8 RGB.
Decoder = Callable[[Any], NDArray[np.uint8]]


class Layout(NamedTuple):
    """Memory layout of the pixels in one row, and OpenCV's code for the conversion to RGB.

    Attributes:
        channels: numbers per pixel.
        wide: whether a number has 16 bits rather than 8.
        code: code of cv2.cvtColor; None if the pixels are RGB.
        even: whether two neighbouring pixels share their colour.
        least: fewest rows and columns for which the conversion is defined.
    """

    channels: int
    wide: bool
    code: int | None
    even: bool = False
    least: int = 1


class Planes(NamedTuple):
    """A plane of luma followed by a plane of interleaved chroma.

    Attributes:
        half: whether the chroma has half the rows and columns (4:2:0) or all of them (4:4:4).
        code: code of cv2.cvtColorTwoPlane; None for 4:4:4, which OpenCV does not convert.
    """

    half: bool
    code: int | None


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
    'rgba8': Layout(4, False, cv2.COLOR_RGBA2RGB),
    'bgra8': Layout(4, False, cv2.COLOR_BGRA2RGB),
    'rgb16': Layout(3, True, None),
    'bgr16': Layout(3, True, cv2.COLOR_BGR2RGB),
    'rgba16': Layout(4, True, cv2.COLOR_RGBA2RGB),
    'bgra16': Layout(4, True, cv2.COLOR_BGRA2RGB),
    # These promise no order of colours; OpenCV, RViz and Foxglove read blue, green, red.
    '8UC3': Layout(3, False, cv2.COLOR_BGR2RGB),
    '8UC4': Layout(4, False, cv2.COLOR_BGRA2RGB),
    '16UC3': Layout(3, True, cv2.COLOR_BGR2RGB),
    '16UC4': Layout(4, True, cv2.COLOR_BGRA2RGB),
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
PLANES: dict[str, Planes] = {
    'nv12': Planes(True, cv2.COLOR_YUV2RGB_NV12),
    'nv21': Planes(True, cv2.COLOR_YUV2RGB_NV21),
    'nv24': Planes(False, None),
}
# BT.601 with limited range, (luma, Cb, Cr, 1) -> RGB; as OpenCV converts the other YUV encodings.
_Y, _R_V, _G_U, _G_V, _B_U = 255 / 219, 1.596027, -0.391762, -0.812968, 2.017232
_YUV_TO_RGB = np.array([
    [_Y, 0, _R_V, -16 * _Y - 128 * _R_V],
    [_Y, _G_U, _G_V, -16 * _Y - 128 * (_G_U + _G_V)],
    [_Y, _B_U, 0, -16 * _Y - 128 * _B_U],
])  # fmt: skip
# Other encodings of image_encodings.hpp: bits, kind of number, channels.
_NUMBERS = re.compile('(8|16|32|64)([USF])C([0-9]*)')


def decode(message: Any) -> NDArray[np.uint8]:
    """Convert a sensor_msgs/Image to RGB.

    16 bits are scaled to 8 by the full range (65535 becomes 255). Bayer patterns are interpolated
    linearly. YUV is BT.601 with limited range, as OpenCV and cv_bridge read it. Alpha is dropped.

    Returns:
        (H, W, 3) uint8 RGB; for 'rgb8' without padding a view of the message's data.

    Raises:
        MessageError: the encoding is not supported ("encoding 'x'"), or size ('size'), row length
            ('step') and data ('data') contradict each other.
    """
    planes = PLANES.get(str(message.encoding))
    if planes is not None:
        return _decode_planes(message, planes)
    pixels, layout = packed(message)
    return to_rgb(pixels, layout.code)


def packed(message: Any) -> tuple[NDArray[Any], Layout]:
    """The checked numbers of an Image of one of LAYOUTS, before conversion; raises as `decode`."""
    encoding = str(message.encoding)
    layout = LAYOUTS.get(encoding)
    if layout is None:
        raise _unsupported(encoding)
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
    """The numbers of a sensor_msgs/Image without padding, in this machine's byte order.

    Returns:
        (H, W) or, with more than one channel a pixel, (H, W, channels) of the dtype; a view of the
        message's data where possible.

    Raises:
        MessageError: 'size', 'step', 'data': these contradict each other.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    row = width * channels * dtype.itemsize
    data = _checked_data(message, height, width, row, step * height)
    foreign = dtype.itemsize > 1 and bool(message.is_bigendian)
    stored = dtype.newbyteorder('>' if foreign else '<')
    shape: tuple[int, ...] = (height, width)
    strides: tuple[int, ...] = (step, channels * dtype.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, dtype.itemsize)
    # A view even with padding: OpenCV and numpy accept rows that are not adjacent.
    view: NDArray[Any] = np.ndarray(shape, stored, data, strides=strides)
    # OpenCV cannot read unaligned numbers.
    return view if stored == dtype and view.flags.aligned else view.astype(dtype)


def to_rgb(pixels: NDArray[Any], code: int | None) -> NDArray[np.uint8]:
    """Convert (H, W) or (H, W, C) uint8 or uint16 to (H, W, 3) uint8 by a code of OpenCV."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    return np.ascontiguousarray(pixels if code is None else cv2.cvtColor(pixels, code))


def _checked_data(
    message: Any, height: int, width: int, row: int, expected: int
) -> NDArray[np.uint8]:
    """The bytes of an Image as an (N,) uint8 view; `row` and `expected` are numbers of bytes."""
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


def _decode_planes(message: Any, planes: Planes) -> NDArray[np.uint8]:
    height, width, step = int(message.height), int(message.width), int(message.step)
    if planes.half and (height % 2 or width % 2):
        raise MessageError(
            'size',
            f'image {message.encoding}: expected an even width and height, got {width} x {height}',
        )
    # Of 4:4:4 a row of chroma takes two rows of the plane's step, of 4:2:0 two rows share one.
    total = step * height * 3 // (2 if planes.half else 1)
    data = _checked_data(message, height, width, width, total)
    luma = np.ndarray((height, width), np.uint8, data, strides=(step, 1))
    shape = (height // 2, width // 2, 2) if planes.half else (height, width, 2)
    strides = (step, 2, 1) if planes.half else (2 * step, 2, 1)
    chroma = np.ndarray(shape, np.uint8, data, offset=step * height, strides=strides)
    if planes.code is not None:
        return np.asarray(cv2.cvtColorTwoPlane(luma, chroma, planes.code), np.uint8)
    return np.asarray(cv2.transform(np.dstack([luma, chroma]), _YUV_TO_RGB), np.uint8)


def _unsupported(encoding: str) -> MessageError:
    kind, known = f'encoding {quoted(encoding)}', [*LAYOUTS, *PLANES]
    parts = _NUMBERS.fullmatch(encoding)
    if parts is None:
        near = difflib.get_close_matches(encoding[:40].lower(), known, n=1)
        hint = f'; did you mean {near[0]!r}?' if near else ''
        reason = f'is not supported{hint}; known: {", ".join(known)}'
    elif parts[3] not in ('', '1'):
        reason = (
            f'has {parts[3]} numbers per pixel that are not 8 or 16 bit colours, such as vectors '
            'or optical flow; expected the image that the camera sees'
        )
    elif parts[2] == 'F':
        reason = (
            'is a map of numbers such as depth, not an image; expected the image that the camera '
            'sees. Depth in metres can be a depth reference (depth.metric aligned) or ground truth'
        )
    else:
        reason = (
            f'is a map of {"signed " if parts[2] == "S" else ""}{parts[1]} bit integers such as '
            'labels or disparity, not an image; expected the image that the camera sees'
        )
    return MessageError(kind, f'image encoding {quoted(encoding)} {reason}')


# cv_bridge is compiled against one version of numpy and of OpenCV. With another it raises
# (`KeyError: 16` with OpenCV 5) or kills the process (numpy 2), so it is tried in a child process.
# Importing numpy, OpenCV and cv_bridge takes 0.5 s, or a few on a busy small machine.
CHECK_TIMEOUT_S = 30.0
# Exceptions of a cv_bridge that does not fit the environment; CvBridgeError is a TypeError.
_FAULTS = (
    ImportError, AttributeError, KeyError, TypeError, ValueError, RuntimeError, SystemError,
    OSError, cv2.error,
)  # fmt: skip


class Bridge(NamedTuple):
    """Encodings for which cv_bridge can be used.

    Attributes:
        encodings: those for which it returns the same bytes as `decode`.
        reason: why there are none, for the log; '' where there are some.
    """

    encodings: frozenset[str]
    reason: str


def decoder(conversion: str, log: Callable[[str], object] | None = None) -> Decoder:
    """The function that converts raw Images to RGB, by a `conversion` 'own' or 'cv_bridge'.

    With 'cv_bridge', cv_bridge converts the encodings for which it returns the same bytes as
    `decode`, so that results do not depend on this choice. `decode` converts the others, rows with
    padding, which cv_bridge does not read, and big-endian images, which it cannot swap with
    numpy 2. `log` receives one line about how far cv_bridge agrees.
    """
    if conversion != 'cv_bridge':
        return decode
    bridge = check_cv_bridge()
    if log is not None:
        log(
            f'conversion cv_bridge: {bridge.reason}; all images are converted by diception_ros'
            if bridge.reason
            else f'conversion cv_bridge: it converts {", ".join(sorted(bridge.encodings))}, with '
            'the same bytes; diception_ros converts all other encodings and padded rows'
        )
    if bridge.reason:
        return decode
    convert = _cv_bridge()

    def decode_by_cv_bridge(message: Any) -> NDArray[np.uint8]:
        if message.encoding not in bridge.encodings or message.is_bigendian:
            return decode(message)
        pixels, layout = packed(message)
        if message.step != message.width * layout.channels * pixels.itemsize:
            return decode(message)
        try:
            return np.ascontiguousarray(convert(message), np.uint8)
        except _FAULTS as error:
            raise MessageError(
                'cv_bridge', f'cv_bridge failed on {message.encoding}: {error!r}'
            ) from error

    return decode_by_cv_bridge


@functools.cache
def check_cv_bridge() -> Bridge:
    """Compare cv_bridge with `decode`, once per process; takes about 1 s where installed."""
    if importlib.util.find_spec('cv_bridge') is None:
        return Bridge(frozenset(), 'cv_bridge is not installed')
    answer = processes.run_isolated(
        'from diception_ros.messages import encodings\nreport(encodings.agreeing_encodings())',
        CHECK_TIMEOUT_S,
    )
    if answer.value is None:
        return Bridge(frozenset(), f'cv_bridge does not work here: {answer.error}')
    if not answer.value:
        return Bridge(frozenset(), 'cv_bridge returns other colours for every encoding')
    try:
        _cv_bridge()
    except _FAULTS as error:
        return Bridge(frozenset(), f'cv_bridge does not work here: {error!r}')
    return Bridge(frozenset(answer.value), '')


def agreeing_encodings() -> list[str]:
    """Encodings for which cv_bridge returns the same bytes; may crash, see `check_cv_bridge`."""
    convert = _cv_bridge()
    return [encoding for encoding in LAYOUTS if _agrees(convert, encoding)]


def _cv_bridge() -> Callable[[Any], Any]:
    bridge = importlib.import_module('cv_bridge').CvBridge()
    return lambda message: bridge.imgmsg_to_cv2(message, 'rgb8')


def _agrees(convert: Callable[[Any], Any], encoding: str) -> bool:
    layout = LAYOUTS[encoding]
    random = np.random.default_rng(0)
    for height, width in ((6, 8), (4, 14), (10, 6)):
        step = width * layout.channels * (1 + layout.wide)
        message = SimpleNamespace(
            height=height, width=width, step=step, encoding=encoding, is_bigendian=0,
            data=random.integers(0, 256, height * step, np.uint8),
        )  # fmt: skip
        try:
            converted = np.asarray(convert(message))
        except _FAULTS:
            return False
        if not np.array_equal(converted, decode(message)):
            return False
    return True
