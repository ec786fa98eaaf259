# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""LabelMe's JSON: one file for each image, beside it or in a folder of its own.

Source of the format: `labelme/label_file.py` and `labelme/utils/shape.py` of LabelMe 5.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.datasets import annotation, decode
from diception_ros.datasets.annotation import (
    IMAGE_SUFFIXES,
    LabelledImage,
    LabelQuery,
    Region,
    check_sizes,
    files_in,
)
from diception_ros.system import safe_load

_SHAPES = ('polygon', 'rectangle', 'oriented_rectangle', 'circle', 'mask')


def matches(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object is of this format."""
    return 'shapes' in content and 'imagePath' in content


def read(
    place: Path, contents: Mapping[Path, dict[str, Any]], query: LabelQuery
) -> tuple[list[LabelledImage], list[str]]:
    """The labelled images of a folder with one .json for each, and notes for the user.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: an image or a file is not what it should be.
    """
    try:
        for file, content in contents.items():
            if not matches(content):
                raise ValueError(f'{file}: expected a file of LabelMe as the others, got another')
        used = {str(s['label']) for content in contents.values() for s in content['shapes']}
        meant = annotation.chosen(query.category, used, str(place))
        items: list[LabelledImage] = []
        shown: dict[Path, Path] = {}
        lost = 0
        for file, content in contents.items():
            item, path, empty = _item(file, content, query, meant)
            if path is not None and path in shown:
                raise ValueError(f'{file}: labels the image {path.name}, as {shown[path]} does')
            if path is not None:
                shown[path] = file
            items.append(item)
            lost += empty
    except safe_load.MALFORMED as error:
        raise ValueError(f'{file}: not what files of LabelMe hold ({error!r})') from error
    embedded = {file.stem for file in contents}
    folders = sorted({file.parent for file in contents})
    for path in (path for folder in folders for path in files_in(folder)):
        if (
            path.suffix.lower() in IMAGE_SUFFIXES
            and path not in shown
            and path.stem not in embedded
        ):
            raise ValueError(
                f'{path}: an image without a label, no .json file names it; label it (without a '
                'shape where nothing is to be seen), or take it out'
            )
    hidden = f'{lost} shapes in {place} contain the centre of no pixel or are hidden.'
    return items, [hidden] if lost else []


def _item(
    file: Path, content: dict[str, Any], query: LabelQuery, meant: frozenset[str]
) -> tuple[LabelledImage, Path | None, int]:
    path, data = _image(file, content, query.images)
    where = str(path or f'{file} (imageData)')
    frame = Frame(decode.rgb(data, where))
    size = frame.size
    declared = annotation.declared_size(
        content.get('imageHeight'), content.get('imageWidth'), size, str(file)
    )
    check_sizes(size, declared, where, str(file))
    regions, things = [], []
    for k, shape in enumerate(content['shapes']):
        label = str(shape['label'])
        if label not in meant:
            continue
        group = shape.get('group_id')
        thing = (label, 'shape', k) if group is None else (label, 'group', group)
        try:
            regions.append(Region(label, thing, _mask(shape, size)))
        except ValueError as error:
            raise ValueError(f'{file}: shape {k} ({label!r}): {error}') from error
        things.append(
            [label, group, *(shape.get(key) for key in ('shape_type', 'points', 'mask'))]
        )
    made, empty = annotation.label_of(query.kind, regions, size)
    # Not the whole file: it may hold the image again, and the version that saved it.
    label_bytes = json.dumps(things).encode()
    return LabelledImage(file.name, str(file), frame, made, (data, label_bytes)), path, empty


def _image(file: Path, content: dict[str, Any], images: Path | None) -> tuple[Path | None, bytes]:
    name = str(content['imagePath'] or '').replace('\\', '/')
    own = Path(name).name
    beside = [file.parent / own]
    told = Path(os.path.normpath(file.parent / name))
    above = Path(os.path.abspath(file.parent)).parent
    if Path(os.path.abspath(told)).is_relative_to(above):  # no further out than that
        beside.insert(0, told)
    # Labels in a folder of their own, and images in one beside it.
    siblings = sorted(path for path in file.parent.parent.iterdir() if path.is_dir())
    away = [folder / own for folder in (file.parent.parent, *siblings)]
    for path in [images / own] if images is not None else [*beside, *away]:
        if name and path.is_file():
            return path, path.read_bytes()
    if not content.get('imageData'):
        raise FileNotFoundError(
            f'{file}: a label without an image: there is no {file.parent / name}, and the file '
            'does not hold the image either (imageData)'
        )
    return None, _decoded(content['imageData'], f'{file}: imageData')


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f'{where}: not base64 ({error})') from error


def _mask(shape: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    kind = shape.get('shape_type') or 'polygon'  # older files have none
    if kind not in _SHAPES:
        raise ValueError(
            f'expected a shape with an inside ({", ".join(_SHAPES)}), got a {kind}; outline it'
        )
    points = np.array(shape['points'], np.float64)
    least = {'polygon': 3, 'oriented_rectangle': 4}.get(kind, 2)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < least:
        raise ValueError(f'expected at least {least} points x, y for a {kind}, got {points.shape}')
    if not np.isfinite(points).all():
        raise ValueError(f'expected finite points for a {kind}, got {points.tolist()}')
    if kind == 'circle':
        return annotation.circle(points[0].tolist(), points[1].tolist(), size)
    if kind == 'mask':
        return _pasted(shape['mask'], points, size)
    if kind == 'rectangle' and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return annotation.polygon(points, size)


def _pasted(text: str, points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask that is stored for its box only, whose corners are pixels inside it."""
    part = decode.raster(_decoded(text, 'mask'), 'mask')
    # Corners have fractions after a mask was dragged; LabelMe rounds them so, too.
    (x0, y0), (x1, y1) = np.round(points[:2]).astype(int).tolist()
    height, width = y1 - y0 + 1, x1 - x0 + 1
    # Both corners at half a pixel may be rounded apart.
    off = [abs(part.shape[0] - height), abs(part.shape[1] - width)] if part.ndim == 2 else [2]
    if max(off) > 1:
        raise ValueError(
            f'expected a mask of its box, {width} x {height} pixels, got {part.shape} (H, W)'
        )
    y1, x1 = y0 + part.shape[0] - 1, x0 + part.shape[1] - 1
    mask = np.zeros(size, np.bool_)
    # What a drag pushed over the border of the image is cut off.
    rows, columns = slice(max(y0, 0), max(y1 + 1, 0)), slice(max(x0, 0), max(x1 + 1, 0))
    inside = mask[rows, columns]
    top, left = rows.start - y0, columns.start - x0
    inside[:] = part[top : top + inside.shape[0], left : left + inside.shape[1]] > 0
    return mask
