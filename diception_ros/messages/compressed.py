# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decode a sensor_msgs/CompressedImage: image files to RGB, compressedDepth to depth values.

The first bytes of the data decide which file format it is; drivers write many words, or none, into
`format`, so that it is used only for what the bytes don't say (Bayer pattern, depth encoding).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import struct
from typing import Any
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.images import MAX_PIXELS, png_is_whole
from diception_ros.messages import MessageError, quoted
from diception_ros.messages.encodings import LAYOUTS, to_rgb

_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
_START_OF_SCAN, _END = 0xDA, b'\xff\xd9'
# Start of frame, which holds the size, of all JPEG processes: 0xC0 to 0xCF but for three others.
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Header of compressed_depth_image_transport: int32 format, float32 A, float32 B.
_DEPTH_HEADER = struct.Struct('<iff')
# Image file formats that are recognised only to be named when they are refused.
_OTHER = {b'GIF8': 'gif', b'BM': 'bmp', b'\0\0\0\x0cjP  ': 'jpeg 2000', b'#?': 'hdr'}
_VIDEO = ('h264', 'h265', 'hevc', 'vp9', 'av1', 'theora', 'ffmpeg')
# Message types of video transports, with the name of the transport.
VIDEO_TYPES = {
    'theora_image_transport/msg/Packet': 'theora',
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket': 'ffmpeg',
    'foxglove_msgs/msg/CompressedVideo': 'ffmpeg',
}


def republish(transport: str, topic: str = 'TOPIC') -> str:
    """The shell command that decodes a video topic of image_transport to raw images."""
    return (
        f'ros2 run image_transport republish --ros-args -p in_transport:={transport} '
        f'-p out_transport:=raw -r in/{transport}:={topic} -r out:=/camera/image_raw'
    )


def decode(message: Any) -> NDArray[np.uint8]:
    """Decode the image of a sensor_msgs/CompressedImage: (H, W, 3) uint8 RGB.

    JPEG, PNG, WebP, TIFF and AVIF are read by OpenCV, else by Pillow; JPEG XL where Pillow has a
    plugin for it. A rotation noted in the file is not applied, because CameraInfo describes the
    pixels as they were sent. A Bayer pattern that was compressed as it left the sensor is
    interpolated. 16 bits are scaled to 8.

    Raises:
        MessageError: a file that is damaged or too large ('jpeg', 'png', ...), a depth image,
            video or unknown bytes ("format 'x'").
    """
    content, words = _content(message), str(message.format)
    kind = _file_format(content)
    if 'compresseddepth' in words.lower():
        raise MessageError(
            f'format {quoted(words)}',
            f'compressed image of format {quoted(words)} holds depth, not an image; expected the '
            'image that the camera sees. It can be a depth reference or ground truth',
        )
    if not kind:
        raise _unsupported(content, words)
    pixels = _read(content, kind)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels == 1:
        encoding = _encoding(words)
        layout = LAYOUTS.get(encoding)
        bayer = encoding.startswith('bayer_') and layout and min(pixels.shape[:2]) >= layout.least
        code = layout.code if layout and bayer else cv2.COLOR_GRAY2RGB
        return to_rgb(pixels.reshape(pixels.shape[:2]), code)
    code = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}.get(channels)
    if code is None:
        raise MessageError(kind, f'{kind} image: expected 1, 3 or 4 channels, got {channels}')
    return to_rgb(pixels, code)


def decode_depth(message: Any) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Decode the depth of a CompressedImage of compressedDepth, or of a lossless 16 bit file.

    compressed_depth_image_transport writes a header of 12 bytes and then PNG or RVL (Wilson, "Fast
    Lossless Depth Image Compression", 2017). 16UC1 keeps the values; 32FC1 stores A / depth + B in
    16 bits, with A and B in the header and 0 for unknown.

    Returns:
        (H, W) uint16 as the sensor wrote it, usually mm with 0 = unknown; or, of 32FC1, float32
        metres with NaN = unknown.

    Raises:
        MessageError: the data are damaged or too large ('compressedDepth'), or the format is not
            one of depth ("format 'x'").
    """
    content, words = _content(message), str(message.format)
    encoding = _encoding(words)
    if 'compresseddepth' not in words.lower():
        return _depth_file(message, words, encoding)
    if encoding not in ('16uc1', 'mono16', '32fc1'):
        raise MessageError(
            f'format {quoted(words)}',
            f'compressed depth of format {quoted(words)}: expected 16UC1 or 32FC1 before the ;',
        )
    if len(content) <= _DEPTH_HEADER.size:
        raise MessageError(
            'compressedDepth',
            f'compressed depth: expected a header of {_DEPTH_HEADER.size} bytes and data, got '
            f'{len(content)} bytes',
        )
    _, a, b = _DEPTH_HEADER.unpack_from(content)
    body = content[_DEPTH_HEADER.size :]
    if body.startswith(_PNG):
        values = _sixteen_bits(_read(body, 'png'), 'compressedDepth')
    elif 'png' in words.lower():
        raise MessageError(
            'compressedDepth',
            'compressed depth: expected a PNG file after the header, got bytes that begin with '
            f'{body[:4].hex()}',
        )
    else:
        values = _decode_rvl(body)
    if encoding != '32fc1':
        return values
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        metres = np.float32(a) / (values.astype(np.float32) - np.float32(b))
    known = (values > 0) & np.isfinite(metres) & (metres > 0)
    return np.where(known, metres, np.float32(np.nan))


def decode_array(message: Any) -> NDArray[Any]:
    """The values of a lossless file of one channel, such as labels that were sent as PNG.

    Returns:
        (H, W) uint8 or uint16, as they were compressed.

    Raises:
        MessageError: another file format ("format 'x'"), or a damaged file ('png', 'tiff').
    """
    content, words = _content(message), str(message.format)
    kind = _file_format(content)
    if kind not in ('png', 'tiff') or 'compresseddepth' in words.lower():
        raise MessageError(
            f'format {quoted(words)}',
            f'compressed image of format {quoted(words)}: expected the numbers of a PNG or TIFF '
            f'file, got {kind or "other data"}, which does not keep numbers',
        )
    pixels = _read(content, kind)
    if pixels.ndim != 2:
        raise MessageError(kind, f'{kind}: expected one channel, got {pixels.shape}')
    return pixels


def _depth_file(message: Any, words: str, encoding: str) -> NDArray[np.uint16]:
    """16 bit PNG or TIFF files of the transport `compressed` keep a depth image as it is."""
    if encoding not in ('16uc1', 'mono16', ''):
        raise MessageError(
            f'format {quoted(words)}',
            f'compressed image of format {quoted(words)} holds no depth; expected compressedDepth '
            'or a 16 bit PNG',
        )
    return _sixteen_bits(decode_array(message), 'png')


def _sixteen_bits(pixels: NDArray[Any], kind: str) -> NDArray[np.uint16]:
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise MessageError(
            kind, f'{kind}: expected one channel of 16 bits, got {pixels.dtype} {pixels.shape}'
        )
    return pixels


def _decode_rvl(content: bytes) -> NDArray[np.uint16]:
    """Decode columns and rows (int32 each) and runs of zeros and of differences.

    A number is a sequence of 4 bit groups in 32 bit words, highest group first; the top bit of a
    group says that more groups follow, its other three are the next higher bits of the number.
    """
    if len(content) < 8:
        raise MessageError('compressedDepth', f'RVL depth: cut off, got {len(content)} bytes')
    columns, height = struct.unpack_from('<ii', content)
    if columns < 1 or height < 1 or columns * height > MAX_PIXELS:
        raise MessageError(
            'compressedDepth',
            f'RVL depth: expected 1 to {MAX_PIXELS} pixels, got {columns} x {height}',
        )
    # A pixel takes at most 8 groups; what more there is takes memory for nothing.
    count = min((len(content) - 8) // 4, columns * height + 16)
    words = np.frombuffer(content, '<u4', count, 8)
    groups = ((words[:, None] >> np.arange(28, -1, -4, dtype=np.uint32)) & 15).reshape(-1)
    ends = np.flatnonzero(groups < 8)
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    place = np.arange(ends[-1] + 1 if len(ends) else 0) - np.repeat(starts, ends - starts + 1)
    # A difference has 17 bits, a run at most 28 (MAX_PIXELS): more groups than 10 are damage.
    digits = (groups[: len(place)].astype(np.int64) & 7) << (3 * np.minimum(place, 10))
    numbers = np.add.reduceat(digits, starts) if len(ends) else digits
    numbers[ends - starts >= 10] = MAX_PIXELS + 1
    values = np.zeros(columns * height, np.uint16)
    previous = at = read = 0
    while at < len(values):
        if read + 2 > len(numbers):
            raise _damaged_rvl(columns, height, len(content))
        at += int(numbers[read])
        count = int(numbers[read + 1])
        read += 2
        if at + count > len(values) or read + count > len(numbers):
            raise _damaged_rvl(columns, height, len(content))
        folded = numbers[read : read + count]
        depths = previous + np.cumsum((folded >> 1) ^ -(folded & 1))
        if count:
            previous = int(depths[-1])
            values[at : at + count] = depths.astype(np.uint16)
        at, read = at + count, read + count
    return values.reshape(height, columns)


def _damaged_rvl(columns: int, height: int, length: int) -> MessageError:
    return MessageError(
        'compressedDepth',
        f'RVL depth of {columns} x {height}: damaged or cut off, got {length} bytes',
    )


def _content(message: Any) -> bytes:
    return bytes(memoryview(message.data)) if len(message.data) else b''


def _encoding(words: str) -> str:
    """'16UC1; compressedDepth png' -> '16uc1'; '' where no raw encoding stands before the ;."""
    before, semicolon, _ = words.lower().partition(';')
    return before.strip() if semicolon else ''


def _file_format(content: bytes) -> str:
    """Format by the first bytes: jpeg, png, webp, tiff, avif, jxl; '' for any other."""
    if content.startswith(_JPEG):
        return 'jpeg'
    if content.startswith(_PNG):
        return 'png'
    if content[:4] == b'RIFF' and content[8:12] == b'WEBP':
        return 'webp'
    if content[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return 'tiff'
    if content[4:8] == b'ftyp' and any(
        brand in content[8 : int.from_bytes(content[:4], 'big')] for brand in (b'avif', b'avis')
    ):
        return 'avif'
    if content[:2] == b'\xff\x0a' or content[:12] == b'\0\0\0\x0cJXL \r\n\x87\n':
        return 'jxl'
    return ''


def _unsupported(content: bytes, words: str) -> MessageError:
    kind, what = f'format {quoted(words)}', f'compressed image of format {quoted(words)}'
    low = words.lower()
    video = next((name for name in _VIDEO if name in low), '')
    # Annex B of H.264 and H.265: units begin with a start code; Theora comes in Ogg or packets.
    if video or content.startswith((b'\0\0\0\1', b'\0\0\1', b'OggS', b'\x80theora')):
        transport = 'theora' if video == 'theora' or b'theora' in content[:64] else 'ffmpeg'
        return MessageError(
            kind,
            f'{what} is video ({video or transport}), whose frames depend on each other; decode '
            f'it to raw images first: {republish(transport)}',
        )
    name = next((name for start, name in _OTHER.items() if content.startswith(start)), '')
    got = name or f'{len(content)} bytes that begin with {content[:4].hex() or "nothing"}'
    for known in ('jpeg', 'png', 'webp', 'tiff', 'avif', 'jxl'):
        if known in low or (known == 'jpeg' and 'jpg' in low):
            kind = known
    return MessageError(
        kind, f'{what}: expected a JPEG, PNG, WebP, TIFF, AVIF or JPEG XL file, got {got}'
    )


def _read(content: bytes, kind: str) -> NDArray[Any]:
    """(H, W) or (H, W, C) uint8 or uint16, channels as OpenCV orders them (BGR, BGRA)."""
    size = {'jpeg': _jpeg_size, 'png': _png_size}.get(kind, _size_by_pillow)(content)
    if size is None:
        raise MessageError(kind, f'{kind} image: damaged or cut off, got {len(content)} bytes')
    if size[0] * size[1] > MAX_PIXELS:
        raise MessageError(
            kind,
            f'{kind} image: expected at most {MAX_PIXELS} pixels, got {size[1]} x {size[0]}',
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MessageError(kind, f'{kind} image: damaged ({error.err})') from error
    if pixels is None and kind not in ('jpeg', 'png'):
        pixels = _read_by_pillow(content, kind)
    if pixels is None:
        raise MessageError(kind, f'{kind} image: damaged, got {len(content)} bytes')
    if pixels.dtype not in (np.uint8, np.uint16):
        raise MessageError(kind, f'{kind} image: expected 8 or 16 bits, got {pixels.dtype}')
    return pixels


@contextlib.contextmanager
def _pillow(content: bytes) -> Any:
    # Here, since messages are read without Pillow otherwise.
    from PIL import Image

    with contextlib.suppress(ImportError):
        importlib.import_module('pillow_jxl')
    with warnings.catch_warnings():
        # Of many pixels, which are checked here, and one for each odd field of a TIFF file.
        warnings.simplefilter('ignore')
        with Image.open(io.BytesIO(content)) as image:
            yield image


def _size_by_pillow(content: bytes) -> tuple[int, int] | None:
    try:
        with _pillow(content) as image:
            return int(image.height), int(image.width)
    except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error, ...
        name = _file_format(content)
        if type(error).__name__ != 'UnidentifiedImageError' or name in ('webp', 'tiff'):
            return None
        raise MessageError(
            name,
            f'{name} image: damaged, or this Pillow does not read it; AVIF needs Pillow 11.3, '
            'JPEG XL the package pillow-jxl-plugin',
        ) from error


def _read_by_pillow(content: bytes, kind: str) -> NDArray[Any] | None:
    try:
        with _pillow(content) as image:
            if image.mode not in ('L', 'RGB', 'RGBA', 'I;16'):
                image = image.convert('RGBA' if 'A' in image.getbands() else 'RGB')
            pixels = np.asarray(image)
    except Exception as error:  # see `_size_by_pillow`
        raise MessageError(kind, f'{kind} image: damaged ({error})') from error
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]


def _png_size(content: bytes) -> tuple[int, int] | None:
    if content[12:16] != b'IHDR' or not png_is_whole(content):
        return None
    return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    # OpenCV before 4.10 silently fills the missing part of a truncated file with grey. So the
    # markers are followed up to the scan, because a preview in the header has an end marker too;
    # within a scan 0xFF is always followed by 0, so its end is unambiguous there.
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
