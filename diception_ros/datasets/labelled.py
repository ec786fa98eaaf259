# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels in the formats that annotation tools write, and the checks that hold for all of them.

`read` recognises the format of a place; each format is a module here that makes `LabelledImage`s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diception_ros.core.labels import Instances, Mask
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import coco, image_folder, labelled_bag, labelme
from diception_ros.datasets.annotation import (
    KINDS,
    LabelledImage,
    LabelQuery,
    check_sizes,
    files_in,
    load_json,
)
from diception_ros.datasets.sample import Sample
from diception_ros.system import files

Found = tuple[list[LabelledImage], list[str]]

EXPECTED = (
    'expected a folder with images/ and labels/, a COCO file (.json), a folder of LabelMe files '
    'beside their images, or a bag (.mcap, .db3, .bag)'
)


def labelled_items(place: Path, wanted: LabelQuery) -> Found:
    """The labelled images of a place, and notes for the user.

    Raises:
        ValueError: the place has no known format, or several; or as the format's `read`.
        FileNotFoundError: as the format's `read`.
    """
    readers: dict[str, Callable[[], Found]] = {}
    if place.is_dir() and image_folder.matches(place):
        readers['a folder with images/ and labels/'] = partial(image_folder.read, place, wanted)
    bag = labelled_bag.bag_at(place)
    if bag is not None:
        readers[f'the bag {bag.name}'] = partial(labelled_bag.read, bag, wanted)
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
            # Any other JSON beside images/ and labels/ is a note, such as about.json.
            raise ValueError(_what_json(place, contents))
    if not readers:
        raise ValueError(f'{place}: nothing in it that holds labels; {EXPECTED}')
    if len(readers) > 1:
        raise ValueError(
            f'{place}: expected labels in one format, got {" and ".join(readers)}; name the '
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


# Where COCO, CVAT, Roboflow and people with LabelMe put JSON files.
_JSON_FOLDERS = ('annotations', 'labels', 'json', 'jsons', 'train', 'valid', 'test')


def _json_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix.lower() == '.json' else []
    inside = [place, *(place / name for name in _JSON_FOLDERS)]
    return [
        file
        for item in inside
        if item.is_dir()
        for file in files_in(item)
        if file.suffix.lower() == '.json'
    ]


def _what_json(place: Path, contents: dict[Path, dict[str, Any]]) -> str:
    if all(map(coco.matches, contents.values())):
        names = ', '.join(str(file.relative_to(place)) for file in contents)
        return f'{place}: expected one COCO file, got {names}; name the one to read'
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


# One for training and one for validation.
LEAST = 2
# Below this number of images a warning says what to expect.
FEW = 8


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled images.

    Attributes:
        samples: in the order of their names, which are files or stamps.
        digest: SHA-256, hexadecimal, of the images' and labels' bytes, the kind and the
            category; independent of where the files are.
        warnings: sentences for the user.
    """

    samples: list[Sample]
    digest: str
    warnings: tuple[str, ...]


def read(
    place: Path, kind: str, task: str, *, category: str = '', image_topic: str = '',
    label_topic: str = '', images: Path | None = None, skip_bad: bool = False,
) -> Labelled:  # fmt: skip
    """Read labels; the format is recognised by the content.

    Args:
        place: a folder or a file.
        kind: one of KINDS.
        task: name of the task of the samples.
        category: which one, '*' for all, where the format has categories; of masks that are
            images the number of the object. '' where there is no choice to make.
        image_topic: of a bag; '' where there is no choice to make.
        label_topic: likewise.
        images: folder of the images of COCO and LabelMe files, where they are not in a usual one.
        skip_bad: leave out images with an annotation that cannot be read, instead of failing.

    Raises:
        FileNotFoundError: the place, an image or a label is missing.
        ValueError: a file is not what it should be; the message names it and says what to do.
    """
    if kind not in KINDS:
        raise ValueError(f'kind {kind!r}: expected one of {", ".join(KINDS)}')
    if not place.exists():
        raise FileNotFoundError(f'{place}: no such file or folder; {EXPECTED}')
    if kind == 'rgb' and category:
        raise ValueError(f'category {category!r}: labels of kind rgb have none; leave it out')
    query = LabelQuery(kind, category, image_topic, label_topic, images, skip_bad)
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f'{images}: no such folder of images')
    items, notes = labelled_items(place, query)
    if len(items) < LEAST:
        raise ValueError(
            f'{place}: expected at least {LEAST} labelled images, one to learn from and one to '
            f'check with, got {len(items)}; label more'
        )
    items.sort(key=lambda item: item.name)
    for item in items:
        check_sizes(item.frame.size, item.label.size, f'the image {item.name}', item.where)
    notes += _of_one_class(place, items)
    if len(items) < FEW:
        notes.append(
            f'{len(items)} labelled images are few: expect answers that suit these images and '
            'often fail on others, and a validation that says little; label at least '
            f'{FEW}, better 50.'
        )
    samples = [Sample(item.frame, Prompt(task), item.label, name=item.name) for item in items]
    return Labelled(samples, _digest(kind, category, items), tuple(notes))


def _of_one_class(place: Path, items: list[LabelledImage]) -> list[str]:
    """Notes on empty labels.

    Raises:
        ValueError: all labels have one class only.
    """
    maps = []
    for item in items:
        if isinstance(item.label, Mask):
            maps.append(item.label.values.astype(np.int32))
        elif isinstance(item.label, Instances):
            maps.append(item.label.ids)
        else:
            return []
    empty = [item for item, ids in zip(items, maps, strict=True) if not ids.any()]
    if len(empty) == len(items):
        raise ValueError(
            f'{place}: one class only: in none of {len(items)} images anything is labelled '
            f'(the first is {items[0].where}); nothing can be learned from that'
        )
    if all(ids.min() == ids.max() and ids.min() > 0 for ids in maps):
        raise ValueError(
            f'{place}: one class only: in all of {len(items)} images every pixel is the thing '
            f'(the first is {items[0].where}); nothing can be learned from that; is the '
            'background another value than 0?'
        )
    if not empty:
        return []
    names = ', '.join(item.name for item in empty[:3]) + (', ...' if len(empty) > 3 else '')
    return [
        f'{len(empty)} of {len(items)} images show nothing of what is labelled ({names}); that '
        'is right where it is not to be seen, and wrong where its label was forgotten.'
    ]


def _digest(kind: str, category: str, items: list[LabelledImage]) -> str:
    contents = (part for item in items for part in item.content)
    return files.sha256_of_parts([kind.encode(), category.encode(), *contents])


__all__ = ['KINDS', 'Labelled', 'read']
