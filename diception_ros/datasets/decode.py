# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels from arrays, files and messages: one decoder for adapt, replay and the data sets.

Depth: a value that is not positive and finite is unknown. Normals: a vector whose length is within
[0.5, 1.5] becomes a unit vector, any other is unknown; a vector of length 0 or NaN says so on
purpose. An array in which something is given, but nothing that counts, is refused: it is of
another kind or unit. Ids: 0 is the background, and so is 255 beside other ids of 8 bits below
254: Pascal VOC and its followers mark pixels so that nobody labelled.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from diception_ros.core import images
from diception_ros.core.images import MAX_PIXELS
from diception_ros.core.labels import (
    ImageLabel,
    Instances,
    Label,
    Mask,
    MetricDepth,
    Normals,
    unit,
)
from diception_ros.datasets.annotation import LabelledImage
from diception_ros.system import safe_load
from diception_ros.tasks.normal import IMAGE_TO_CAMERA_AXES, MAX_LENGTH, MIN_LENGTH

MILLIMETRES = 1000
_NONE = np.zeros(0, np.float32)  # scores of no instance
OPTICAL = np.ones(3, np.float32)  # x right, y down, z forward, as `Normals`
VOID = 255  # of Pascal VOC: a pixel that nobody labelled
_MAX_LISTED = 8  # of the values in a message


def rgb(content: bytes, where: str) -> NDArray[np.uint8]:
    """An image file, (H, W, 3) uint8 RGB, as viewers show it: rotated as its EXIF data say.

    Raises:
        ValueError: it is no image, cut off, or has more than MAX_PIXELS.
    """
    # Versions of OpenCV before 4.10 fill missing rows with grey; PIL raises.
    _loaded(content, where)
    return images.decode(content, where)


def raster(content: bytes, where: str) -> NDArray[Any]:
    """The numbers in a PNG file, rotated as a viewer does.

    Returns:
        (H, W) uint8 or uint16, of an image with a palette the indices into it; (H, W, 3) uint8
        of a colour image.

    Raises:
        ValueError: as `rgb`; or it is a JPEG, is partly transparent, or has 16 bits a colour.
    """
    image = _loaded(content, where)
    if image.format != 'PNG':
        raise ValueError(
            f'{where}: expected a PNG, got {image.format}; formats made for photographs change '
            'numbers, save the label as PNG'
        )
    # PIL would halve the bits silently. The depth is byte 24 of a PNG, the colour type byte 25.
    if content[24] == 16 and content[25] not in (0, 4):
        raise ValueError(f'{where}: expected 8 bits a colour, got 16')
    array = np.asarray(ImageOps.exif_transpose(image))
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.int32:  # 16 bits, as PIL before 11 opens them
        return array.astype(np.uint16)
    if image.mode in ('LA', 'RGBA', 'PA'):
        if (array[..., -1] != 255).any():
            raise ValueError(
                f'{where}: expected a label without transparency, got transparent pixels; save '
                'it as a grey or palette PNG'
            )
        array = array[..., 0] if image.mode != 'RGBA' else array[..., :3]
    return array


def load_array(path: Path) -> NDArray[Any]:
    """The numbers in a .npy file, or in a PNG as `raster` reads it.

    Raises:
        ValueError: it is no such file, cut off, or has more than MAX_PIXELS of three numbers.
    """
    if path.suffix.lower() != '.npy':
        return raster(path.read_bytes(), str(path))
    return np.array(safe_load.npy_file(path, 3 * MAX_PIXELS))


def _loaded(content: bytes, where: str) -> Image.Image:
    image = images.opened(content, where)
    try:
        image.load()
    except Exception as error:  # Pillow's plugins raise errors of every type
        raise images.unreadable(where, len(content), error) from error
    return image


def depth(array: NDArray[Any], where: str, per_metre: float = MILLIMETRES) -> MetricDepth:
    """Depth from an array; what is not positive and finite is unknown.

    Args:
        array: (H, W) uint16, or floats in metres.
        where: for messages.
        per_metre: units of the whole numbers in a metre.

    Raises:
        ValueError: another dtype or shape, or finite numbers of which none is positive.
    """
    if array.ndim != 2 or not (array.dtype == np.uint16 or array.dtype.kind == 'f'):
        raise ValueError(
            f'{where}: expected 16-bit whole numbers (16UC1, 0 unknown) or floats in metres '
            f'(32FC1, 0 or NaN unknown) as depth, one a pixel, got {described(array)}'
        )
    metres = array / np.float64(per_metre) if array.dtype == np.uint16 else array
    metres = metres.astype(np.float32)
    nonzero = metres[np.isfinite(metres) & (metres != 0)]
    if nonzero.size and nonzero.max() <= 0:
        raise ValueError(
            f'{where}: expected metres > 0, or 0 or NaN where unknown, got {nonzero.min():.4g} to '
            f'{nonzero.max():.4g}'
        )
    with np.errstate(invalid='ignore'):
        known = np.isfinite(metres) & (metres > 0)
    return MetricDepth(np.where(known, metres, np.float32(np.nan)))


def normals(array: NDArray[Any], where: str, axes: NDArray[np.float32] | None = None) -> Normals:
    """Normals from an array; see the head of the module for lengths and unknown pixels.

    Args:
        array: (H, W, 3) floats, or uint8 for [-1, 1] of each component.
        where: for messages.
        axes: (3,) signs that lead to the camera optical frame; None: OPTICAL for floats, and for
            uint8 the usual colours (x right, y up, z to the viewer, see docs/conventions.md).

    Raises:
        ValueError: another dtype or shape, or vectors of which none is a direction.
    """
    colors = array.dtype == np.uint8
    if array.ndim != 3 or array.shape[2] != 3 or not (colors or array.dtype.kind == 'f'):
        raise ValueError(
            f'{where}: expected 8-bit RGB or three floats a pixel (32FC3) as normals, got '
            f'{described(array)}'
        )
    if axes is None:
        axes = IMAGE_TO_CAMERA_AXES if colors else OPTICAL
    vectors = array.astype(np.float32)
    vectors = (vectors / np.float32(127.5) - 1 if colors else vectors) * axes
    with np.errstate(invalid='ignore'):
        length = np.linalg.norm(vectors, axis=-1)
        known = (length >= MIN_LENGTH) & (length <= MAX_LENGTH)
        lengths = length[np.isfinite(length) & (length > 0)]
    # Colours always have some length, black for unknown that of (-1, -1, -1).
    if not colors and lengths.size and not known.any():
        raise ValueError(
            f'{where}: expected unit vectors (lengths from {MIN_LENGTH} to {MAX_LENGTH} are '
            f'normalised, 0 or NaN is unknown), got lengths {lengths.min():.4g} to '
            f'{lengths.max():.4g}'
        )
    return unit(np.where(known[..., None], vectors, np.float32(np.nan)))


def instances(array: NDArray[Any], where: str) -> Instances:
    """Instances from ids in their order: (H, W) whole numbers >= 0, or three equal channels.

    Raises:
        ValueError: another dtype or shape, or a negative id.
    """
    ids = _ids(array, where, 'instances')
    if has_void(ids):
        ids = np.where(ids == VOID, 0, ids)
    values, inverse = np.unique(ids, return_inverse=True)
    if values[0] < 0:
        raise ValueError(f'{where}: expected numbers >= 0, got {values[0]}')
    first = int(values[0] == 0)
    count = len(values) - first
    numbered = inverse.reshape(array.shape[:2]).astype(np.int32) + (1 - first)
    return Instances(numbered, ('',) * count, np.ones(count, np.float32))


def has_void(ids: NDArray[Any]) -> bool:
    """Whether 255 in a map of ids marks pixels that nobody labelled."""
    if ids.dtype != np.uint8 or not (ids == VOID).any():
        return False
    highest = int(ids[ids < VOID].max(initial=0))
    return 0 < highest < VOID - 1


def image(array: NDArray[Any], where: str) -> ImageLabel:
    """An image that is the label; ValueError unless the array is (H, W, 3) uint8 RGB."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f'{where}: expected an 8-bit RGB image, got {described(array)}')
    return ImageLabel.from_image(array)


def _ids(array: NDArray[Any], where: str, kind: str) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[2] == 3:
        if not (array == array[..., :1]).all():
            raise ValueError(
                f'{where}: expected one number a pixel for kind {kind}, got colours; save the '
                'label as a grey or palette PNG'
            )
        array = array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in 'ui':
        raise ValueError(
            f'{where}: expected one whole number a pixel for kind {kind}, got {described(array)}'
        )
    return array


def described(array: NDArray[Any]) -> str:
    """Dtype and shape of an array, for messages."""
    return f'{array.dtype} of shape {array.shape}'


class RasterDecoder:
    """Decodes all label images of a set, in which one value means one thing.

    Args:
        kind: 'mask', 'instances', 'normals', 'depth' or 'rgb'.
        category: the value of the object in a mask, as text; '' if it is the only one.

    Raises:
        ValueError: a category that is no whole number, or one for another kind than a mask.
    """

    def __init__(self, kind: str, category: str = '') -> None:
        self._kind = kind
        self._chosen: int | None = None
        self._first: tuple[int, str] | None = None
        # Where 255 marks what nobody labelled, and where it is the only value.
        self._void: list[str] = []
        self._only_255: list[str] = []
        self._others = 0
        if category and kind != 'mask':
            raise ValueError(
                f'category {category!r}: label images of kind {kind} have no categories; leave it '
                'out'
            )
        if category and not category.isdecimal():
            raise ValueError(
                f'category {category!r}: masks that are images hold numbers; expected the '
                'number of the thing, such as 1'
            )
        if category:
            self._chosen = int(category)

    def label(self, array: NDArray[Any], where: str) -> Label:
        """The label in an array as `depth`, `normals`, `instances` or `image` takes it, or of ids.

        Raises:
            ValueError: it holds no such label, or is unknown at every pixel.
        """
        if self._kind == 'rgb':
            return image(array, where)
        if self._kind == 'mask':
            return self._mask(_ids(array, where, 'mask'), where)
        if self._kind == 'instances':
            label = instances(array, where)
            if (array == VOID).any() and not has_void(_ids(array, where, 'instances')):
                self._only_255 += [where] if len(label.categories) == 1 else []
            elif (array == VOID).any():
                self._void.append(where)
            self._others += len(label.categories) > 0 and where not in self._only_255[-1:]
            return label
        decoded: Label = depth(array, where) if self._kind == 'depth' else normals(array, where)
        if not decoded.valid.any():
            raise ValueError(
                f'{where}: expected a label, got one that is unknown at every pixel; remove the '
                'image and its label'
            )
        # Single ones at a grazing angle may point away; most cannot: visible surfaces face the
        # camera.
        if isinstance(decoded, Normals) and np.nanmedian(decoded.vectors[..., 2]) > 0:
            expected = 'z < 0 (z points forward)'
            if array.dtype == np.uint8:
                expected = 'blue for what faces the camera'
            raise ValueError(
                f'{where}: expected normals that point to the camera, {expected}, got most of '
                'them pointing away; see docs/conventions.md'
            )
        return decoded

    def finish(
        self, items: list[LabelledImage], place: str
    ) -> tuple[list[LabelledImage], list[str]]:
        """The items as the whole set shows them, and notes for the user.

        Raises:
            ValueError: the images together are of another kind than asked for.
        """
        if self._only_255 and not self._others:
            raise ValueError(
                f'{place}: expected instances, 0 for none and a number for each thing, got '
                'images of 0 and 255 alone, which are masks; read them as kind mask, or number '
                'the things 1, 2, ...'
            )
        if not self._void:
            return items, []
        # In a set with such pixels, an image of 0 and 255 alone shows no object.
        void = set(self._only_255)
        items = [
            replace(item, label=Instances(np.zeros(item.label.size, np.int32), (), _NONE))
            if item.where in void
            else item
            for item in items
        ]
        count = len(self._void) + len(void)
        return items, [
            f'255 in {count} label images of {place} marks pixels that nobody labelled (as in '
            'Pascal VOC), it is read as background and not as an object.'
        ]

    def _mask(self, ids: NDArray[Any], where: str) -> Mask:
        if has_void(ids) and self._chosen != VOID:
            self._void.append(where)
            ids = np.where(ids == VOID, 0, ids)
        if self._chosen is not None:
            return Mask(ids == self._chosen)
        values = [int(value) for value in np.unique(ids) if value != 0]
        if len(values) > 1:
            raise ValueError(
                f'{where}: expected 0 for the background and one other value, got '
                f'{_listed([0, *values] if (ids == 0).any() else values)}; choose the value of '
                'the thing as category, or read them as kind instances if each is a thing of its '
                'own'
            )
        if values and self._first is not None and self._first[0] != values[0]:
            raise ValueError(
                f'{where}: expected the value {self._first[0]} of {self._first[1]} for the '
                f'thing, got {values[0]}; choose one of them as category'
            )
        if values and self._first is None:
            self._first = values[0], where
        return Mask(ids != 0)


def _listed(values: list[int]) -> str:
    more = f' and {len(values) - _MAX_LISTED} more' if len(values) > _MAX_LISTED else ''
    return ', '.join(map(str, values[:_MAX_LISTED])) + more
