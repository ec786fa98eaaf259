# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files of pictures: those to look at, and those whose pixels are numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from diception_ros import images

# A few bytes can claim any number of pixels. The cameras of robots have less than 30 million.
MOST_PIXELS = 100_000_000
# What PIL has been seen to raise at damaged files of the formats that are read here.
_FAULTS = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError)


def rgb(content: bytes, where: str) -> NDArray[np.uint8]:
    """A picture as viewers show it: a rotation noted in the file (EXIF) is carried out.

    Args:
        content: of the file.
        where: for messages.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: it is no picture, cut off, or has more than MOST_PIXELS.
    """
    # Versions of OpenCV before 4.10 fill what is missing with grey; PIL says that it is missing.
    _opened(content, where)
    return images.decode(content, where)


def numbers(content: bytes, where: str) -> NDArray[Any]:
    """The numbers in a PNG, turned as a viewer turns it.

    Args:
        content: of the file.
        where: for messages.

    Returns:
        (H, W) uint8 or uint16, of a picture with a palette the indices into it; (H, W, 3) uint8
        of a colour picture.

    Raises:
        ValueError: as `rgb`; or it is a JPEG, is partly transparent, or has 16 bits a colour.
    """
    picture = _opened(content, where)
    if picture.format != 'PNG':
        raise ValueError(
            f'{where}: expected a PNG, came {picture.format}; formats made for photographs change '
            'numbers, save the label as PNG'
        )
    # PIL would halve the bits without a word. The depth is byte 24 of a PNG, its colours byte 25.
    if content[24] == 16 and content[25] not in (0, 4):
        raise ValueError(f'{where}: expected 8 bits a colour, came 16')
    array = np.asarray(ImageOps.exif_transpose(picture))
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.int32:  # 16 bits, as PIL before 11 opens them
        return array.astype(np.uint16)
    if picture.mode in ('LA', 'RGBA', 'PA'):
        if (array[..., -1] != 255).any():
            raise ValueError(
                f'{where}: expected a label without transparency, came transparent pixels; save '
                'it as a grey or palette PNG'
            )
        array = array[..., 0] if picture.mode != 'RGBA' else array[..., :3]
    return array


def array(path: Path) -> NDArray[Any]:
    """The array in a .npy file.

    Raises:
        ValueError: it is no such file, cut off, or has more than MOST_PIXELS of three numbers.
    """
    try:
        # Mapped, so that a header that claims more than there is does not fill the memory.
        mapped = np.load(path, mmap_mode='r', allow_pickle=False)
    except (ValueError, OSError, EOFError, OverflowError) as error:
        raise ValueError(f'{path}: not an array that can be read ({error})') from error
    if not isinstance(mapped, np.ndarray):
        raise ValueError(f'{path}: expected one array (.npy), came an archive of several')
    if mapped.size > 3 * MOST_PIXELS:
        raise ValueError(
            f'{path}: expected at most {MOST_PIXELS} pixels, came an array of {mapped.shape}'
        )
    return np.array(mapped)


def _opened(content: bytes, where: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content))
            if picture.width * picture.height <= MOST_PIXELS:
                picture.load()
                return picture
            size = f'{picture.width} x {picture.height}'
    except Image.DecompressionBombError as error:
        size = str(error)
    except _FAULTS as error:
        raise ValueError(
            f'{where}: not a picture that can be read, or one that is cut off '
            f'({len(content)} bytes; {error}); copy it again'
        ) from error
    raise ValueError(f'{where}: expected at most {MOST_PIXELS} pixels, came {size}')
