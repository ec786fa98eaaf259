# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images, depth and label maps: read from messages and written into messages."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.images import is_nearly_black
from diception_ros.messages import (
    MessageError,
    Types,
    camera_info,
    compressed,
    encodings,
    quoted,
    stamp_of,
)

# Dtype and channels of the encodings that do not state them in their names.
_NAMED: dict[str, tuple[str, int]] = {
    'rgb8': ('u1', 3), 'bgr8': ('u1', 3), 'rgba8': ('u1', 4), 'bgra8': ('u1', 4),
    'rgb16': ('u2', 3), 'bgr16': ('u2', 3), 'rgba16': ('u2', 4), 'bgra16': ('u2', 4),
    'mono8': ('u1', 1), 'mono16': ('u2', 1),
}  # fmt: skip
_BY_NAME = re.compile('(8|16|32|64)([USF])C([1-4])')
_LETTERS = {'U': 'u', 'S': 'i', 'F': 'f'}
_BITS = {'U': ('8', '16'), 'S': ('8', '16', '32'), 'F': ('32', '64')}
# Encodings of a depth image, with the unit of a value in metres (REP 118).
DEPTH_UNITS = {'16UC1': 1e-3, 'mono16': 1e-3, '32FC1': 1.0}


def frame_from(
    message: Any,
    info: Any | None = None,
    decode: encodings.Decoder = encodings.decode,
    no_info: str = '',
) -> Frame:
    """Make a Frame of a sensor_msgs/Image or CompressedImage; it may view the message's data.

    A CameraInfo that cannot be used costs the intrinsics, never the frame; `no_intrinsics` of the
    frame has the reason.

    Args:
        message: the image.
        info: sensor_msgs/CameraInfo of the image, if there is one.
        decode: converts raw images, see `encodings.decoder`.
        no_info: why there is no CameraInfo, see `CameraInfoCache.why_none`.

    Raises:
        MessageError: the image cannot be read (see `rgb_from`) or the stamp is before the epoch
            ('stamp').
    """
    stamp_ns = stamp_of(message.header)
    image = rgb_from(message, decode)
    intrinsics, reason = camera_info.pinhole(info, (image.shape[0], image.shape[1]))
    reason = no_info if info is None else reason
    doubt = _doubt(message, image)
    if not doubt and intrinsics is not None:
        doubt = camera_info.doubt(info, intrinsics, (image.shape[0], image.shape[1]))
    return Frame(image, stamp_ns, str(message.header.frame_id), intrinsics, reason, doubt)


def _doubt(message: Any, image: NDArray[np.uint8]) -> str:
    """Why a decoded image may not be what the camera saw, with what to do; '' otherwise."""
    compressed_image = hasattr(message, 'format')
    words = str(message.format if compressed_image else message.encoding)
    encoding = words.partition(';')[0].strip()
    layout = encodings.LAYOUTS.get(encoding)
    if layout is None or not layout.wide or not is_nearly_black(image):
        return ''
    return (
        f'the values of the {encoding} image do not exceed 12 of 16 bits, so it is nearly black '
        'to the model, which reads 65535 as white; let the driver publish 8 bits, or values over '
        'the whole range; if these are depths, remap image to the colour image of the camera'
    )


def rgb_from(message: Any, decode: encodings.Decoder = encodings.decode) -> NDArray[np.uint8]:
    """Decode an Image or a CompressedImage, which differ by their fields.

    Returns:
        (H, W, 3) uint8 RGB; may be a view of the message's data: do not write.

    Raises:
        MessageError: see `encodings.decode` and `compressed.decode`.
    """
    return compressed.decode(message) if hasattr(message, 'format') else decode(message)


def depth_from(message: Any) -> NDArray[np.float32]:
    """Decode a depth image: 16UC1 or mono16 in mm, 32FC1 in metres, raw or compressedDepth.

    Returns:
        (H, W) float32, metres along the optical axis, NaN = unknown (0, negative, infinite).

    Raises:
        MessageError: the message cannot be read, or its encoding is not one of depth.
    """
    if hasattr(message, 'format'):
        values = compressed.decode_depth(message)
        unit = 1e-3 if values.dtype == np.uint16 else 1.0
    else:
        encoding = str(message.encoding)
        if encoding not in DEPTH_UNITS:
            raise MessageError(
                f'encoding {quoted(encoding)}',
                f'expected a depth image of 16UC1 (mm) or 32FC1 (m), got {quoted(encoding)}',
            )
        values, unit = array_from(message), DEPTH_UNITS[encoding]
    metres = values.astype(np.float32)
    if unit != 1.0:
        metres /= np.float32(1 / unit)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(np.nan))


def image(types: Types, array: NDArray[Any], encoding: str, header: Any) -> Any:
    """Make a sensor_msgs/Image, little-endian, without padding; inverse of `array_from`.

    Args:
        types: makes the message.
        array: (H, W) or (H, W, C), of the dtype and channels of the encoding.
        encoding: e.g. 'rgb8', 'mono8', '16UC1', '32FC1', '32FC3'.
        header: std_msgs/Header.

    Raises:
        ValueError: the encoding is unknown, or the array does not match it.
    """
    dtype, channels = element(encoding)
    shape = array.shape[:2] if channels == 1 else (*array.shape[:2], channels)
    if array.dtype != dtype or array.shape != shape or array.ndim < 2 or not array.size:
        raise ValueError(
            f'image {encoding}: expected {dtype} with {channels} channels, '
            f'got {array.dtype} {array.shape}'
        )
    height, width = array.shape[:2]
    return types.make(
        'sensor_msgs/msg/Image', header=header, height=height, width=width, encoding=encoding,
        is_bigendian=0, step=width * channels * dtype.itemsize,
        data=np.ascontiguousarray(array).reshape(-1).view(np.uint8),
    )  # fmt: skip


def array_from(message: Any) -> NDArray[Any]:
    """The array of an image whose values are numbers rather than colours.

    Args:
        message: sensor_msgs/Image of an encoding that `image` accepts, or a CompressedImage of a
            lossless file, see `compressed.decode_array`.

    Returns:
        (H, W) or (H, W, C) of the encoding's dtype, C-contiguous; read-only, and without padding
        a view of the message's data.

    Raises:
        MessageError: the encoding is unknown ("encoding 'x'"), or the numbers in the message
            contradict each other ('size', 'step', 'data').
    """
    if hasattr(message, 'format'):
        return compressed.decode_array(message)
    dtype, channels = element(str(message.encoding))
    array: NDArray[Any] = np.ascontiguousarray(encodings.rows(message, dtype, channels))
    view = array.view()
    view.flags.writeable = False
    return view


def element(encoding: str) -> tuple[np.dtype[Any], int]:
    """Dtype of the numbers of an encoding, and how many a pixel has.

    Raises:
        MessageError: "encoding 'x'": its values are not plain numbers.
    """
    if encoding in _NAMED:
        code, channels = _NAMED[encoding]
        return np.dtype(code), channels
    parts = _BY_NAME.fullmatch(encoding)
    if parts is None or parts[1] not in _BITS[parts[2]]:
        raise MessageError(
            f'encoding {quoted(encoding)}',
            f'image encoding {quoted(encoding)} is not supported; known: {", ".join(_NAMED)}, '
            'and such as 16UC1, 32FC1, 32FC3',
        )
    return np.dtype(f'{_LETTERS[parts[2]]}{int(parts[1]) // 8}'), int(parts[3])
