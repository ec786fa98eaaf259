# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a sensor_msgs/CompressedImage: JPEG or PNG."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.messages import encodings
from diception_ros.messages.error import MessageError, quoted

_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
_START_OF_SCAN, _END = 0xDA, b'\xff\xd9'
# Start of frame, which holds the size, of all ways of coding: 0xC0 to 0xCF but for three others.
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# A few bytes can claim 65535 x 65535 pixels, 12 GB. The largest cameras have 150 million.
MOST_PIXELS = 2**28


def decode(message: Any) -> NDArray[np.uint8]:
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
            f'came {len(content)} bytes that begin with {content[:4].hex() or "nothing"}',
        )
    if size is None:
        raise MessageError(kind, f'{kind} image: damaged or cut off, came {len(content)} bytes')
    if size[0] * size[1] > MOST_PIXELS:
        raise MessageError(
            kind,
            f'{kind} image: expected at most {MOST_PIXELS} pixels, came {size[1]} x {size[0]}',
        )
    return _decode(content, kind, low.partition(';')[0].strip())


def _decode(content: bytes, kind: str, before: str) -> NDArray[np.uint8]:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MessageError(kind, f'{kind} image: damaged ({error.err})') from error
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise MessageError(kind, f'{kind} image: damaged, came {len(content)} bytes')
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels == 1:
        layout = encodings.LAYOUTS.get(before)
        bayer = before.startswith('bayer_') and layout and min(pixels.shape[:2]) >= layout.least
        code = layout.code if layout and bayer else cv2.COLOR_GRAY2RGB
        return encodings.to_rgb(pixels.reshape(pixels.shape[:2]), code)
    code = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}.get(channels)
    if code is None:
        raise MessageError(kind, f'{kind} image: expected 1, 3 or 4 channels, came {channels}')
    return encodings.to_rgb(pixels, code)


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
