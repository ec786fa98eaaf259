# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images: resizing to the model input and back, image files, contact sheets.

Pixel coordinates, everywhere in this package: the *centre* of the pixel in column i, row j is at
x = i, y = j; the image covers [-0.5, W - 0.5) x [-0.5, H - 0.5). A resize by the factor s moves
x to (x + 0.5) s - 0.5. The resizes of OpenCV and Pillow and the CameraInfo of ROS mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import functools
import io
import math
from pathlib import Path
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from diception_ros.system import files

# Bytes 8 to 12 of WebP and AVIF files, in which OpenCV finds a noted rotation in some versions
# only: Pillow reads them.
_PILLOW = (b'WEBP', b'avif', b'avis')
_PNG = b'\x89PNG\r\n\x1a\n'
# The limit for all images. A few bytes can declare 65535 x 65535 pixels, 12 GB; the largest
# cameras have 150 million.
MAX_PIXELS = 150_000_000
# 4095 of 65535, in 8 bits.
LARGEST_OF_12_BITS = 16


@dataclass(frozen=True)
class ResizeTransform:
    """How an image was resized to the network's square input, and the way back.

    The whole image is stretched onto the square, as in training: the aspect ratio is not kept, and
    nothing is cropped or padded.

    Attributes:
        image_size: (H, W) of the image, pixels.
        resolution: S, side of the square, pixels.

    Raises:
        ValueError: a side is not positive.
    """

    image_size: tuple[int, int]
    resolution: int

    def __post_init__(self) -> None:
        if min(*self.image_size, self.resolution) < 1:
            raise ValueError(
                f'ResizeTransform: expected sides of at least 1 pixel, got image '
                f'{self.image_size}, resolution {self.resolution}'
            )

    @property
    def model(self) -> tuple[int, int]:
        """(S, S): the size of the square as (H, W), to compare with a label's `size`."""
        return self.resolution, self.resolution

    @property
    def scale(self) -> NDArray[np.float64]:
        """(2,) float64: pixels of the square per pixel of the image along x and along y."""
        height, width = self.image_size
        return np.array([self.resolution / width, self.resolution / height])

    def to_model(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Map points (..., 2), x right, y down, from pixels of the image to float64 of the square.

        NaN stays NaN.
        """
        return (np.asarray(points, np.float64) + 0.5) * self.scale - 0.5

    def to_image(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Map points from the square to the image; inverse of `to_model`."""
        return (np.asarray(points, np.float64) + 0.5) / self.scale - 0.5


# A camera has one size, so its frames share one transform.
resize_transform = functools.lru_cache(maxsize=64)(ResizeTransform)


def resize(image: NDArray[np.uint8], resolution: int) -> tuple[NDArray[np.uint8], ResizeTransform]:
    """Resize a whole image to the network's square input with a Lanczos filter.

    Args:
        image: (H, W, 3) uint8, 0..255, RGB.
        resolution: S, side of the square, pixels.

    Returns:
        The square, (S, S, 3) uint8 RGB, and the transform.

    Raises:
        ValueError: the image is not (H, W, 3) uint8 with at least one pixel, or S < 1.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}')
    height, width = image.shape[:2]
    transform = resize_transform((height, width), resolution)
    # Two calls, because Pillow 13 began to choose the order of its two passes itself; it rounds to
    # bytes between them, so a portrait image would depend on the installed version.
    square = (
        Image.fromarray(np.ascontiguousarray(image))
        .resize((resolution, height), Image.Resampling.LANCZOS)
        .resize((resolution, resolution), Image.Resampling.LANCZOS)
    )
    return np.asarray(square, np.uint8), transform


def read(path: str | Path) -> NDArray[np.uint8]:
    """Read an image file as a camera would have delivered it.

    Args:
        path: of a file in any format that Pillow and OpenCV read; 16 bits become 8, transparency
            is dropped, a rotation noted by the camera is carried out.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not an image, or a damaged one.
    """
    return decode(np.fromfile(path, np.uint8), str(path))


def is_nearly_black(image: NDArray[np.uint8]) -> bool:
    """Whether an image, reduced from 16 bits to 8, used 12 of them at most; False if all 0."""
    return 0 < int(image.max()) <= LARGEST_OF_12_BITS


def doubt(path: str | Path, image: NDArray[np.uint8]) -> str:
    """Why a file's image may not be what the camera saw, with what to do; '' otherwise.

    Args:
        path: of the file.
        image: what `read` returned for it.
    """
    import cv2

    if not is_nearly_black(image):
        return ''
    deep = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if deep is None or deep.dtype == np.uint8:
        return ''
    return (
        f'{path}: its values do not exceed 12 of 16 bits, so it is nearly black to the model, '
        'which reads 65535 as white; write 8 bits, or values over the whole range; if these are '
        'depths, give the colour image'
    )


def opened(content: bytes | NDArray[np.uint8], what: str) -> Image.Image:
    """An image file whose declared size is within MAX_PIXELS; its pixels are not read yet.

    Raises:
        ValueError: it is no image that Pillow knows, or declares more pixels; `what` tells in the
            message where the bytes come from.
    """
    many = f'{what}: expected at most {MAX_PIXELS} pixels, got more; scale it down'
    try:
        with warnings.catch_warnings():
            # Of many pixels, which are checked here, and of odd fields of TIFF files.
            warnings.simplefilter('ignore')
            image = Image.open(io.BytesIO(bytes(content)))
    except Image.DecompressionBombError as error:
        raise ValueError(many) from error
    except Exception as error:  # its plugins raise errors of every type
        raise unreadable(what, len(content), error) from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(many)
    if not png_is_whole(bytes(content)):
        raise unreadable(what, len(content))
    return image


def png_is_whole(content: bytes) -> bool:
    """Whether a PNG file holds as many bytes as its chunks declare; True for other formats.

    OpenCV takes memory for what a chunk declares, up to 4 GB.
    """
    at = len(_PNG)
    while content.startswith(_PNG) and at + 12 <= len(content):
        at += 12 + int.from_bytes(content[at : at + 4], 'big')
    return at <= len(content) or not content.startswith(_PNG)


def unreadable(what: str, size: int, error: Exception | None = None) -> ValueError:
    """The error for a file of so many bytes that is no image, or a damaged one."""
    # Pillow's names the object in memory that it read.
    told = error and not isinstance(error, UnidentifiedImageError)
    reason = f'; {str(error) or type(error).__name__}' if told else ''
    return ValueError(
        f'{what}: not an image that can be read, or one that is cut off ({size} bytes{reason})'
    )


def decode(content: bytes | NDArray[np.uint8], what: str) -> NDArray[np.uint8]:
    """The image, (H, W, 3) uint8 RGB, that the bytes of a file hold; see `read`.

    Raises:
        ValueError: it is not an image, or a damaged one; `what` names it in the message.
    """
    import cv2

    data = np.frombuffer(content, np.uint8)
    file = opened(data, what)
    if data[8:12].tobytes() in _PILLOW:
        try:
            return np.asarray(ImageOps.exif_transpose(file).convert('RGB'), np.uint8)
        except Exception as error:  # as in `opened`
            raise unreadable(what, data.size, error) from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise unreadable(what, data.size, error) from error
    if image is None:
        raise unreadable(what, data.size)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def write(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an image, (H, W, 3) uint8 RGB; the suffix of the file selects the format.

    Raises:
        OSError: the file cannot be written.
        ValueError: no format of that suffix.
    """
    import cv2

    suffix = Path(path).suffix
    try:
        done, content = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f'{path}: no image format {suffix!r}; use .png')
    files.write_bytes(path, content.tobytes())


_BAR = 22  # height of the line of text above each image, pixels
_GAP = 4
_WIDEST = 640  # a wider image is shrunk, so that a sheet of six fits a screen


def drawable(text: str) -> str:
    """A text for cv2.putText, with '?' for what is not Unicode, such as bytes of a file's name.

    OpenCV 5.0.0 ends the process at a lone surrogate.
    """
    return text.encode(errors='replace').decode()


def contact_sheet(
    images: Sequence[NDArray[np.uint8]], names: Sequence[str], columns: int = 0
) -> NDArray[np.uint8]:
    """Lay images out in a grid, each with its name above it.

    Args:
        images: each (H, W, 3) uint8 RGB, all of one size.
        names: one for each image.
        columns: of the grid; 0 for one that makes the sheet about as wide as a screen.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: no images, of several sizes, or not as many names.
    """
    import cv2

    shapes = {image.shape for image in images}
    if len(shapes) != 1 or len(names) != len(images):
        raise ValueError(
            f'contact_sheet: expected images of one size and a name for each, got '
            f'{sorted(shapes)} and {len(names)} names for {len(images)} images'
        )
    height, width = images[0].shape[:2]
    shrink = min(1.0, _WIDEST / width)
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    # Text needs room, also over an image of a few pixels.
    cell = max(width, 10 * max(len(name) for name in names))
    if not columns:
        columns = max(1, min(len(images), round(math.sqrt(1.8 * len(images) * height / cell))))
    rows = math.ceil(len(images) / columns)
    sheet = np.full(
        (rows * (height + _BAR + _GAP) + _GAP, columns * (cell + _GAP) + _GAP, 3), 24, np.uint8
    )
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        top = _GAP + (i // columns) * (height + _BAR + _GAP)
        left = _GAP + (i % columns) * (cell + _GAP)
        cv2.putText(
            sheet, drawable(name), (left + 2, top + _BAR - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.48,
            (235, 235, 235), 1, cv2.LINE_AA,
        )  # fmt: skip
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        sheet[top + _BAR : top + _BAR + height, left : left + width] = small
    return sheet
