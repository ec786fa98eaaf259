# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Encode images into the bytes of each encoding of sensor_msgs, written from its definition."""

from types import SimpleNamespace

import numpy as np

EXACT = {'rgb8': [0, 1, 2], 'bgr8': [2, 1, 0], '8UC3': [2, 1, 0], 'rgba8': [0, 1, 2, 3],
         'bgra8': [2, 1, 0, 3], '8UC4': [2, 1, 0, 3], 'rgb16': [0, 1, 2], 'bgr16': [2, 1, 0],
         '16UC3': [2, 1, 0], 'rgba16': [0, 1, 2, 3], 'bgra16': [2, 1, 0, 3],
         '16UC4': [2, 1, 0, 3]}  # fmt: skip
GREY = {'mono8': 'u1', '8UC1': 'u1', 'mono16': 'u2', '16UC1': 'u2'}
PATTERNS = ('rggb', 'bggr', 'gbrg', 'grbg')
BAYER = [f'bayer_{pattern}{bits}' for pattern in PATTERNS for bits in (8, 16)]
# Where the brightness and the two colours of a pair of pixels lie.
PAIRS = {'yuv422': 'UYVY', 'uyvy': 'UYVY', 'yuv422_yuy2': 'YUYV', 'yuyv': 'YUYV'}
PLANES = {'nv12': (0, 1), 'nv21': (1, 0), 'nv24': (0, 1)}
ALL = [*EXACT, *GREY, *BAYER, *PAIRS, *PLANES]


def message(encoding, data, size, step, bigendian=0, stamp=(1, 2), frame_id='cam'):
    """A raw Image as any library hands it over; `data` is uint8."""
    stamp = SimpleNamespace(sec=stamp[0], nanosec=stamp[1])
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id=frame_id), height=size[0], width=size[1],
        encoding=encoding, is_bigendian=bigendian, step=step, data=data,
    )  # fmt: skip


def compressed(content, words, stamp=(1, 2)):
    stamp = SimpleNamespace(sec=stamp[0], nanosec=stamp[1])
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id='cam'), format=words,
        data=np.frombuffer(content, np.uint8),
    )  # fmt: skip


def yuv(rgb):
    """BT.601 with limited range: brightness 16 to 235, colours 16 to 240."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0) / 255
    y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
    u = 128 - 37.797 * r - 74.203 * g + 112 * b
    v = 128 + 112 * r - 93.786 * g - 18.214 * b
    return np.rint(np.stack([y, u, v], axis=-1)).astype(np.uint8)


def planes(rgb, encoding):
    """(3 H / 2, W) or, of nv24, (3 H, W) uint8: luma, and below it pairs of chroma.

    The pairs are of 2 x 2 pixels, of nv24 of each pixel.
    """
    parts = yuv(rgb)
    if encoding == 'nv24':
        return np.concatenate([parts[..., 0], parts[..., 1:].reshape(2 * len(rgb), -1)])
    colors = np.stack([parts[::2, ::2, 1 + k] for k in PLANES[encoding]], axis=-1)
    return np.concatenate([parts[..., 0], colors.reshape(len(rgb) // 2, rgb.shape[1])])


def numbers(rgb, encoding):
    """(H, W, C), or for planes (3 H / 2, W): what the encoding keeps of an image."""
    height, width = rgb.shape[:2]
    if encoding in EXACT:
        alpha = np.full((height, width, 1), 77, np.uint8)
        ordered = np.concatenate([rgb, alpha], axis=-1)[..., EXACT[encoding]]
        return ordered.astype(np.uint16) * 257 if '16' in encoding else ordered
    if encoding in GREY:
        grey = rgb[..., :1]
        return grey if GREY[encoding] == 'u1' else grey.astype(np.uint16) * 257
    if encoding in BAYER:
        pattern = encoding.split('_')[1]
        mosaic = rgb[np.arange(height)[:, None], np.arange(width), channels(pattern, rgb.shape)]
        mosaic = mosaic[..., None]
        return mosaic if encoding.endswith('8') else mosaic.astype(np.uint16) * 257
    if encoding in PAIRS:
        parts = yuv(rgb)
        out = np.empty((height, width, 2), np.uint8)
        for place, name in enumerate(PAIRS[encoding]):
            column, part = divmod(place, 2)
            of = column if name == 'Y' else 0
            out[:, column::2, part] = parts[:, of::2, 'YUV'.index(name)]
        return out
    return planes(rgb, encoding)


def channels(pattern, shape):
    """(H, W) which of R, G, B a pixel of the pattern sees; its name reads along the rows."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.array(['rgb'.index(c) for c in pattern[:4]])[2 * (rows % 2) + columns % 2]


def encode(rgb, encoding, padding=0, bigendian=False):
    """A raw Image of an image, its rows followed by so many bytes of noise."""
    array = numbers(rgb, encoding)
    if array.dtype == np.uint16 and bigendian:
        array = array.byteswap()
    rows = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (len(rows), padding), np.uint8)
    if encoding == 'nv24':  # V4L2: a row of chroma is twice as long, and so is its padding
        height, width = rgb.shape[:2]
        rows, noise = rows.reshape(3, height, width), noise.reshape(3, height, padding)
        luma = np.concatenate([rows[0], noise[0]], axis=1)
        chroma = rows[1:].reshape(height, 2 * width), noise[1:].reshape(height, 2 * padding)
        data = np.concatenate([luma.ravel(), np.concatenate(chroma, axis=1).ravel()])
        return message(encoding, data, (height, width), width + padding, int(bigendian))
    data = np.concatenate([rows, noise], axis=1)
    return message(encoding, data.ravel(), rgb.shape[:2], data.shape[1], int(bigendian))


def image(encoding, rng, size=(12, 16)):
    """A random image of which the encoding keeps everything, or nearly."""
    if encoding in EXACT:
        return rng.integers(0, 256, (*size, 3), np.uint8)
    if encoding in GREY:
        return np.repeat(rng.integers(0, 256, (*size, 1), np.uint8), 3, axis=-1)
    if encoding in BAYER:
        # Linear ramps, which linear interpolation gives back.
        ramps = rng.uniform(0, 5, (2, 3)) * rng.choice([-1, 1], (2, 3))
        where = np.moveaxis(np.mgrid[: size[0], : size[1]], 0, -1)
        return np.rint(np.clip(128 + where @ ramps, 0, 255)).astype(np.uint8)
    # One colour for each block that shares its colours.
    if encoding == 'nv24':
        return rng.integers(0, 256, (*size, 3), np.uint8)
    rows, columns = (2 if encoding in PLANES else 1), 2
    blocks = rng.integers(0, 256, (size[0] // rows, size[1] // columns, 3), np.uint8)
    return blocks.repeat(rows, axis=0).repeat(columns, axis=1)
