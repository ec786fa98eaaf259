# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures and maps: from messages and into messages."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.messages import base, camera_info, encodings
from diception_ros.messages.base import MessageError, Types, quoted

# What an array of an encoding is made of: dtype and channels. The others say it in their names.
_NAMED: dict[str, tuple[str, int]] = {
    'rgb8': ('u1', 3), 'bgr8': ('u1', 3), 'rgba8': ('u1', 4), 'bgra8': ('u1', 4),
    'rgb16': ('u2', 3), 'bgr16': ('u2', 3), 'mono8': ('u1', 1), 'mono16': ('u2', 1),
}  # fmt: skip
_BY_NAME = re.compile('(8|16|32|64)([USF])C([1-4])')
_LETTERS = {'U': 'u', 'S': 'i', 'F': 'f'}
_BITS = {'U': ('8', '16'), 'S': ('8', '16', '32'), 'F': ('32', '64')}


def frame_from(message: Any, info: Any | None = None) -> Frame:
    """The picture of a camera with its header.

    Args:
        message: sensor_msgs/Image or CompressedImage.
        info: sensor_msgs/CameraInfo of the picture, if there is one.

    Returns:
        The frame. Its picture may be a view of the message's data.

    Raises:
        MessageError: the picture cannot be read (see `rgb_from`), the stamp is before the epoch
            ('stamp'), the CameraInfo is not usable ('camera_info') or is of a picture of another
            size ('camera_info size').
    """
    stamp_ns = base.stamp_ns(message.header)
    intrinsics = None if info is None else camera_info.intrinsics_from(info)
    image = rgb_from(message)
    if info is not None and intrinsics is not None:
        camera_info.check_size(info, (image.shape[0], image.shape[1]))
    return Frame(image, stamp_ns, str(message.header.frame_id), intrinsics)


def rgb_from(message: Any) -> NDArray[np.uint8]:
    """The picture of an Image or a CompressedImage, which are told apart by their fields.

    Raw pictures go through cv_bridge where that is there and gives the same, see `bridge`.

    Returns:
        (H, W, 3) uint8 RGB; may be a view of the message's data: do not write.

    Raises:
        MessageError: see `encodings.decode` and `compressed.decode`.
    """
    if hasattr(message, 'format'):
        return encodings.decode_compressed(message)
    found = encodings.find()
    # cv_bridge cannot swap bytes with numpy 2.
    if message.encoding in found.encodings and not message.is_bigendian:
        encodings.packed(message)
        return found.rgb_from(message)
    return encodings.decode(message)


def image(types: Types, array: NDArray[Any], encoding: str, header: Any) -> Any:
    """sensor_msgs/Image, little-endian, without padding; inverse of `array_from`.

    Args:
        types: what makes the message.
        array: (H, W) or (H, W, C), of the dtype and channels of the encoding.
        encoding: e.g. 'rgb8', 'mono8', '16UC1', '32FC1', '32FC3'.
        header: std_msgs/Header.

    Raises:
        ValueError: the encoding is not known, or the array is not of it.
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
    """The array of a sensor_msgs/Image whose values are numbers rather than colours.

    Args:
        message: sensor_msgs/Image of an encoding that `image` takes.

    Returns:
        (H, W) or (H, W, C) of the encoding's dtype, C-contiguous; read-only, and without padding
        a view of the message's data.

    Raises:
        MessageError: the encoding is not known ("encoding 'x'"), or the numbers in the message
            contradict each other ('size', 'step', 'data').
    """
    dtype, channels = element(str(message.encoding))
    array: NDArray[Any] = np.ascontiguousarray(encodings.rows(message, dtype, channels))
    view = array.view()
    view.flags.writeable = False
    return view


def element(encoding: str) -> tuple[np.dtype[Any], int]:
    """Dtype of the numbers of an encoding, and how many a pixel has.

    Raises:
        MessageError: "encoding 'x'": it is none of those whose arrays are numbers.
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
