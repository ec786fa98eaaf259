# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A folder of images and labels of the same names.

FOLDER/images/NAME.png   or .jpg .jpeg .bmp .webp
FOLDER/labels/NAME.png   the meaning of its pixels depends on the kind; depth and normals may
                         be .npy, images of kind rgb any format that the images may have
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diception_ros.core.frame import Frame
from diception_ros.core.labels import ImageLabel, Label
from diception_ros.datasets import decode
from diception_ros.datasets.annotation import (
    IMAGE_SUFFIXES,
    LabelledImage,
    LabelQuery,
    check_sizes,
    files_in,
)
from diception_ros.datasets.decode import RasterDecoder

IMAGES, LABELS = 'images', 'labels'
_ENDS = {
    'mask': ('.png',), 'instances': ('.png',), 'normals': ('.png', '.npy'),
    'depth': ('.png', '.npy'), 'rgb': IMAGE_SUFFIXES,
}  # fmt: skip


def matches(place: Path) -> bool:
    """Whether a folder has this layout."""
    if not (place / IMAGES).is_dir() or not (place / LABELS).is_dir():
        return False
    # Labels that are all JSON are those of LabelMe or COCO in a folder of their own.
    labels = files_in(place / LABELS)
    return not labels or any(file.suffix.lower() != '.json' for file in labels)


def read(place: Path, wanted: LabelQuery) -> tuple[list[LabelledImage], list[str]]:
    """The labelled images, and notes for the user.

    Raises:
        FileNotFoundError: an image has no label.
        ValueError: a label has no image, or a file is not what it should be.
    """
    shown = _by_name(place / IMAGES, IMAGE_SUFFIXES, 'images')
    ends = _ENDS[wanted.kind]
    answers = _by_name(place / LABELS, ends, f'labels of kind {wanted.kind}')
    for name, file in shown.items():
        if name not in answers:
            expected = ' or '.join(f'{LABELS}/{name}{end}' for end in ends)
            raise FileNotFoundError(
                f'{file}: an image without a label; expected {expected}; draw it, or take the '
                'image out'
            )
    for name, file in answers.items():
        if name not in shown:
            raise ValueError(
                f'{file}: a label without an image; expected {IMAGES}/{name}.png or .jpg; add '
                'it, or take the label out'
            )
    numbers = None if wanted.kind == 'rgb' else RasterDecoder(wanted.kind, wanted.category)
    items = [_item(file, answers[name], numbers) for name, file in shown.items()]
    return (items, []) if numbers is None else numbers.finish(items, str(place / LABELS))


def _item(image: Path, answer: Path, numbers: RasterDecoder | None) -> LabelledImage:
    content, label_bytes = image.read_bytes(), answer.read_bytes()
    frame = Frame(decode.rgb(content, str(image)))
    label: Label
    if numbers is None:
        values = decode.rgb(label_bytes, str(answer)).astype(np.float32) / np.float32(255)
        label = ImageLabel(values)
    else:
        array = decode.load_array(answer)
        check_sizes(frame.size, (*array.shape, 1, 1)[:2], str(image), str(answer))
        label = numbers.label(array, str(answer))
    return LabelledImage(image.name, str(answer), frame, label, (content, label_bytes))


def _by_name(folder: Path, ends: tuple[str, ...], what: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files_in(folder):
        if file.suffix.lower() not in ends:
            raise ValueError(
                f'{file}: expected {what}, which end in {", ".join(ends)}; save it as one, or '
                'take it out'
            )
        if file.stem in found:
            raise ValueError(
                f'{file}: expected one file of each name, got {found[file.stem].name} too; take '
                'one of them out'
            )
        found[file.stem] = file
    return found
