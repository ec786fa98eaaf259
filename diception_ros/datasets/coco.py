# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON: one file with the outlines of all pictures.

The pictures lie beside it, in `images` beside it, or in `images` beside its folder.
Source of the format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.datasets import annotation, decode
from diception_ros.datasets.annotation import (
    PICTURES,
    LabelledImage,
    LabelQuery,
    Region,
    check_sizes,
    files_in,
)

Json = dict[str, Any]


def matches(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object is of this format."""
    return 'images' in content and 'annotations' in content


def read(
    file: Path, content: Json, wanted: LabelQuery, whole_folder: bool
) -> tuple[list[LabelledImage], list[str]]:
    """The labelled pictures, and what should be said about them.

    A picture of the file without annotations shows nothing of the category.

    Args:
        file: the JSON file.
        content: of the file.
        wanted: kind 'mask' or 'instances'.
        whole_folder: whether its folder was named rather than the file, so that a picture there
            of which the file says nothing is an error and not a choice.

    Raises:
        FileNotFoundError: a picture is not there.
        ValueError: a picture or the file is not what it should be.
    """
    try:
        return _read(file, content, wanted, whole_folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{file}: not what COCO files hold ({error!r})') from error


def _read(
    file: Path, content: Json, wanted: LabelQuery, whole_folder: bool
) -> tuple[list[LabelledImage], list[str]]:
    names = {one['id']: str(one['name']) for one in content.get('categories', [])}
    of_picture: dict[Any, list[Json]] = {}
    for one in content['images']:
        if one['id'] in of_picture:
            raise ValueError(f'{file}: two pictures have the id {one["id"]}')
        of_picture[one['id']] = []
    for one in content['annotations']:
        if one['image_id'] not in of_picture:
            raise ValueError(
                f'{file}: annotation {one.get("id")} is a label without a picture: there is none '
                f'with the id {one["image_id"]}'
            )
        if one['category_id'] not in names:
            raise ValueError(
                f'{file}: annotation {one.get("id")} has the category {one["category_id"]}, of '
                'which the file tells no name'
            )
        of_picture[one['image_id']].append(one)
    used = {names[one['category_id']] for one in content['annotations']}
    meant = annotation.chosen(wanted.category, used, str(file))

    items: list[LabelledImage] = []
    files: set[Path] = set()
    crowds = lost = 0
    for picture in content['images']:
        path = _picture(file, str(picture['file_name']))
        if path in files:
            raise ValueError(f'{file}: names {path} twice')
        files.add(path)
        data = path.read_bytes()
        frame = Frame(decode.rgb(data, str(path)))
        size = _declared(picture, frame.size)
        check_sizes(frame.size, size, str(path), f'{file} (picture {picture["file_name"]})')
        mine = [one for one in of_picture[picture['id']] if names[one['category_id']] in meant]
        kept = [one for one in mine if wanted.kind == 'mask' or not one.get('iscrowd')]
        crowds += len(mine) - len(kept)
        found = [
            Region(names[one['category_id']], k, _mask(one, size, file))
            for k, one in enumerate(kept)
        ]
        label, empty = annotation.label_of(wanted.kind, found, size)
        lost += empty
        told = json.dumps(
            [(names[one['category_id']], one['segmentation']) for one in kept], sort_keys=True
        ).encode()
        where = f'{file} ({picture["file_name"]})'
        items.append(LabelledImage(str(picture['file_name']), where, frame, label, (data, told)))
    return items, _notes(file, files, whole_folder, crowds, lost)


def _notes(file: Path, files: set[Path], whole_folder: bool, crowds: int, lost: int) -> list[str]:
    others = [
        path
        for folder in sorted({one.parent for one in files})
        for path in files_in(folder)
        if path.suffix.lower() in PICTURES and path not in files
    ]
    if others and whole_folder:
        raise ValueError(
            f'{others[0]}: a picture without a label, {file} does not name it '
            f'({len(others)} such); take it out, or give the file itself instead of the folder'
        )
    notes = []
    if others:
        notes.append(
            f'{len(others)} pictures beside those of {file} are not named in it and left out, '
            f'such as {others[0].name}.'
        )
    if crowds:
        notes.append(
            f'{crowds} regions are crowds (iscrowd), in which things are not told apart; as '
            'instances they are left out, and their pixels count as background.'
        )
    if lost:
        notes.append(f'{lost} outlines of {file} contain the centre of no pixel or are hidden.')
    return notes


def _declared(picture: Json, size: tuple[int, int]) -> tuple[int, int]:
    # Both are part of the format, but some tools leave them out.
    return int(picture.get('height') or size[0]), int(picture.get('width') or size[1])


def _picture(file: Path, name: str) -> Path:
    relative = Path(name.replace('\\', '/'))
    places = [file.parent, file.parent / 'images', file.parent.parent / 'images']
    found = next((place / relative for place in places if (place / relative).is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f'{file}: a label without a picture: there is no {relative} in '
            f'{", ".join(map(str, places))}'
        )
    return found


def _mask(one: Json, size: tuple[int, int], file: Path) -> NDArray[np.bool_]:
    where = f'{file}: annotation {one.get("id")}'
    told = one.get('segmentation')
    if not told:
        raise ValueError(
            f'{where}: expected an outline (segmentation), got none; boxes alone are no masks'
        )
    try:
        if isinstance(told, dict):
            height, width = told['size']
            if (height, width) != size:
                raise ValueError(
                    f"expected run lengths of the picture's size, {size[1]} x {size[0]}, got "
                    f'{width} x {height}'
                )
            return annotation.run_lengths(told['counts'], size)
        mask = np.zeros(size, np.bool_)
        for part in told:
            points = np.array(part, np.float64).reshape(-1, 2)
            if len(points) < 3 or not np.isfinite(points).all():
                raise ValueError(
                    f'expected polygons of at least 3 finite points, got one of {len(points)}'
                )
            mask |= annotation.polygon(points, size)
        return mask
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
