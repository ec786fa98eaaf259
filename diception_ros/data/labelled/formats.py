# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which format labels are in, found out by looking."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diception_ros.data.labelled import coco, folder, labelme, recording
from diception_ros.data.labelled.item import Item, Wanted, files_in, load_json

Found = tuple[list[Item], list[str]]

EXPECTED = (
    'expected a folder with images/ and labels/, a COCO file (.json), a folder of LabelMe files '
    'beside their pictures, or a bag (.mcap, .db3, .bag)'
)


def items(place: Path, wanted: Wanted) -> Found:
    """The labelled pictures of a place, and what should be said about them.

    Raises:
        ValueError: the place has no format that is known, or several; or as its `read` says.
        FileNotFoundError: as its `read` says.
    """
    readers: dict[str, Callable[[], Found]] = {}
    if place.is_dir() and folder.matches(place):
        readers['a folder with images/ and labels/'] = partial(folder.read, place, wanted)
    bag = recording.bag_at(place)
    if bag is not None:
        readers[f'the bag {bag.name}'] = partial(recording.read, bag, wanted)
    files = _json_files(place)
    if files:
        contents = {file: load_json(file) for file in files}
        if len(files) == 1 and coco.matches(contents[files[0]]):
            readers[f'the COCO file {files[0].name}'] = partial(
                coco.read, files[0], contents[files[0]], wanted, whole_folder=place.is_dir()
            )
        elif place.is_dir() and any(map(labelme.matches, contents.values())):
            readers['files of LabelMe'] = partial(labelme.read, place, contents, wanted)
        elif not readers or any(map(coco.matches, contents.values())):
            # Anything else beside images/ and labels/ is somebody's notes, such as about.json.
            raise ValueError(_what_json(place, contents))
    if not readers:
        raise ValueError(f'{place}: nothing in it that holds labels; {EXPECTED}')
    if len(readers) > 1:
        raise ValueError(
            f'{place}: expected labels in one format, came {" and ".join(readers)}; name the '
            'file itself, or move one of them away'
        )
    ((name, reader),) = readers.items()
    outlined = 'COCO' in name or 'LabelMe' in name
    if outlined and wanted.kind not in ('mask', 'instances'):
        raise ValueError(
            f'{place}: {name} holds outlines, which are of kind mask or instances; expected '
            f'labels of kind {wanted.kind}'
        )
    if bag is None and (wanted.image_topic or wanted.label_topic):
        raise ValueError(f'{place}: a topic was named, but {name} has none; topics are for bags')
    return reader()


def _json_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix.lower() == '.json' else []
    inside = [place, place / 'annotations']  # where CVAT and COCO itself put them
    return [
        file
        for one in inside
        if one.is_dir()
        for file in files_in(one)
        if file.suffix.lower() == '.json'
    ]


def _what_json(place: Path, contents: dict[Path, dict[str, Any]]) -> str:
    if all(map(coco.matches, contents.values())):
        names = ', '.join(str(file.relative_to(place)) for file in contents)
        return f'{place}: expected one COCO file, came {names}; name the one to read'
    if place.is_file() and labelme.matches(contents[place]):
        return f'{place}: one file of LabelMe; name its folder, {place.parent}'
    strange = next(
        file
        for file, content in contents.items()
        if len(contents) == 1 or not coco.matches(content)
    )
    return (
        f'{strange}: a JSON file that is neither of COCO (images, annotations, categories) nor of '
        'LabelMe (shapes, imagePath)'
    )
