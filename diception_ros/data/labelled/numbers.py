# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels out of arrays of numbers, such as pictures and messages hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.labels import Instances, Label, Mask, MetricDepth, Normals
from diception_ros.labels.normals import unit
from diception_ros.tasks.normal import AXES, LONGEST, SHORTEST

MILLIMETRES = np.float32(1000)
_SHOWN = 8  # of the values in a message


class Numbers:
    """Reads the numbers of all pictures of a set, in which one value means one thing.

    Args:
        kind: 'mask', 'instances', 'normals' or 'depth'.
        category: the value that is the thing of a mask, as text; '' if it is the only one.

    Raises:
        ValueError: a category that is no whole number, or one for another kind than a mask.
    """

    def __init__(self, kind: str, category: str = '') -> None:
        self._kind = kind
        self._chosen: int | None = None
        self._first: tuple[int, str] | None = None
        self._only_255 = True
        if category and kind != 'mask':
            raise ValueError(
                f'category {category!r}: labels of kind {kind} that are pictures have no '
                'categories; leave it out'
            )
        if category and not category.isdecimal():
            raise ValueError(
                f'category {category!r}: masks that are pictures hold numbers; expected the '
                'number of the thing, such as 1'
            )
        if category:
            self._chosen = int(category)

    def label(self, array: NDArray[Any], where: str) -> Label:
        """The label that an array tells.

        Args:
            array: of a mask or instances (H, W) whole numbers, or three equal channels of them;
                of depth (H, W) uint16 mm or floats m; of normals (H, W, 3) uint8 as
                `docs/conventions.md` paints them, or floats in the camera optical frame.
            where: for messages.

        Raises:
            ValueError: it tells no such label.
        """
        if self._kind == 'depth':
            return _depth(array, where)
        if self._kind == 'normals':
            return _normals(array, where)
        ids = _whole(array, where, self._kind)
        return self._mask(ids, where) if self._kind == 'mask' else self._instances(ids, where)

    def finish(self, place: str) -> None:
        """Raise ValueError if the pictures together are of another kind than asked for."""
        if self._kind == 'instances' and self._first is not None and self._only_255:
            raise ValueError(
                f'{place}: expected instances, 0 for none and a number for each thing, came '
                'pictures of 0 and 255 alone, which are masks; read them as kind mask, or number '
                'the things 1, 2, ...'
            )

    def _mask(self, ids: NDArray[Any], where: str) -> Mask:
        if self._chosen is not None:
            return Mask(ids == self._chosen)
        values = [int(value) for value in np.unique(ids) if value != 0]
        if len(values) > 1:
            raise ValueError(
                f'{where}: expected 0 for the background and one other value, came '
                f'{_listed([0, *values] if (ids == 0).any() else values)}; choose the value of '
                'the thing as category, or read them as kind instances if each is a thing of its '
                'own'
            )
        if values and self._first is not None and self._first[0] != values[0]:
            raise ValueError(
                f'{where}: expected the value {self._first[0]} of {self._first[1]} for the '
                f'thing, came {values[0]}; choose one of them as category'
            )
        if values and self._first is None:
            self._first = values[0], where
        return Mask(ids != 0)

    def _instances(self, ids: NDArray[Any], where: str) -> Instances:
        values, inverse = np.unique(ids, return_inverse=True)
        if values[0] < 0:
            raise ValueError(f'{where}: expected numbers >= 0, came {values[0]}')
        first = int(values[0] == 0)
        count = len(values) - first
        if count:
            self._first = self._first or (int(values[-1]), where)
            self._only_255 = self._only_255 and values[first:].tolist() == [255]
        numbers = inverse.reshape(ids.shape).astype(np.int32) + (1 - first)
        return Instances(numbers, ('',) * count, np.ones(count, np.float32))


def _whole(array: NDArray[Any], where: str, kind: str) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[2] == 3:
        if not (array == array[..., :1]).all():
            raise ValueError(
                f'{where}: expected one number a pixel for kind {kind}, came colours; save the '
                'label as a grey or palette PNG'
            )
        array = array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in 'ui':
        raise ValueError(
            f'{where}: expected one whole number a pixel for kind {kind}, came {_said(array)}'
        )
    return array


def _depth(array: NDArray[Any], where: str) -> MetricDepth:
    if array.ndim != 2 or not (array.dtype == np.uint16 or array.dtype.kind == 'f'):
        raise ValueError(
            f'{where}: expected 16-bit whole numbers (mm, 0 unknown) or floats (m, NaN unknown) '
            f'for kind depth, one a pixel, came {_said(array)}'
        )
    metres = array.astype(np.float32)
    if array.dtype == np.uint16:
        metres = np.where(array > 0, metres / MILLIMETRES, np.float32(np.nan))
    depth: MetricDepth = _made(MetricDepth, metres, where)
    _known(depth, where)
    return depth


def _normals(array: NDArray[Any], where: str) -> Normals:
    painted = array.dtype == np.uint8
    if array.ndim != 3 or array.shape[2] != 3 or not (painted or array.dtype.kind == 'f'):
        raise ValueError(
            f'{where}: expected 8-bit RGB, (n + 1) / 2 with x right, y up, z to the viewer, or '
            'three floats a pixel in the camera optical frame, for kind normals, came '
            f'{_said(array)}'
        )
    vectors = array.astype(np.float32)
    if painted:
        vectors = (vectors / np.float32(127.5) - 1) * AXES
        length = np.linalg.norm(vectors, axis=-1, keepdims=True)
        known = (length >= SHORTEST) & (length <= LONGEST)
        normals = unit(np.where(known, vectors, np.float32(np.nan)))
    else:
        # Vectors of length 0 say that nothing is known, in the messages of this package too.
        nothing = (vectors == 0).all(axis=-1, keepdims=True)
        normals = _made(Normals, np.where(nothing, np.float32(np.nan), vectors), where)
    _known(normals, where)
    # Single ones at a grazing angle may; most cannot: what is seen faces the camera.
    if np.nanmedian(normals.vectors[..., 2]) > 0:
        expected = 'blue for what faces the camera' if painted else 'z < 0 (z points forward)'
        raise ValueError(
            f'{where}: expected normals that point to the camera, {expected}, came most of them '
            'pointing away; see docs/conventions.md'
        )
    return normals


def _made(kind: Any, values: NDArray[np.float32], where: str) -> Any:
    try:
        return kind(values)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def _known(label: Label, where: str) -> None:
    if not label.valid.any():
        raise ValueError(
            f'{where}: expected a label, came one that is unknown at every pixel; take the '
            'picture and its label out'
        )


def _listed(values: list[int]) -> str:
    more = f' and {len(values) - _SHOWN} more' if len(values) > _SHOWN else ''
    return ', '.join(map(str, values[:_SHOWN])) + more


def _said(array: NDArray[Any]) -> str:
    return f'{array.dtype} of shape {array.shape}'
