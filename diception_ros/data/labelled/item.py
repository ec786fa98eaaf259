# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is looked for in labels, and one labelled picture as a format delivers it."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from diception_ros.frame import Frame
from diception_ros.labels import Label

KINDS = ('mask', 'instances', 'normals', 'depth', 'rgb')
PICTURES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp')


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to read.

    Attributes:
        kind: one of KINDS.
        category: the name of a category, '*' for all, '' where there is no choice to make; of
            pictures that hold numbers the number of the thing.
        image_topic: of a bag, '' where there is no choice to make.
        label_topic: likewise.
    """

    kind: str
    category: str = ''
    image_topic: str = ''
    label_topic: str = ''


@dataclass(frozen=True, eq=False)
class Item:
    """One labelled picture.

    Attributes:
        name: the picture's file or stamp, by which items are sorted.
        where: file or topic of the label, for messages.
        frame: the picture.
        label: of the frame's size.
        content: the bytes that were read, picture first.
    """

    name: str
    where: str
    frame: Frame
    label: Label
    content: tuple[bytes, ...]


def check_sizes(
    picture: tuple[int, int], label: tuple[int, int], picture_where: str, where: str
) -> None:
    """Raise ValueError unless picture and label are of one size (H, W)."""
    if picture == label:
        return
    hint = 'a label has a value for each pixel of its picture'
    if picture == label[::-1]:
        hint = (
            'one is the other turned by a quarter: a rotation noted in a picture (EXIF) is '
            'carried out, as viewers do, and its label has to be drawn on that'
        )
    raise ValueError(
        f'{where}: expected the size of {picture_where}, {picture[1]} x {picture[0]} pixels, '
        f'came {label[1]} x {label[0]}; {hint}'
    )


def files_in(folder: Path) -> list[Path]:
    """The files of a folder by name, without those that are hidden or that Windows left there."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith('.') and file.name != 'Thumbs.db'
    )


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: it is none.
    """
    try:
        loaded = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    if not isinstance(loaded, dict):
        raise ValueError(f'{path}: expected a JSON object, came {type(loaded).__name__}')
    return loaded
