# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Shared by readers of annotations: queries, labelled images, polygons, run lengths, regions."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.images import MAX_PIXELS
from diception_ros.core.labels import Instances, Label, Mask
from diception_ros.system import safe_load

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.avif')


@dataclass(frozen=True)
class LabelQuery:
    """What to read; the fields are arguments of `labelled.read`."""

    kind: str
    category: str = ''
    image_topic: str = ''
    label_topic: str = ''
    images: Path | None = None
    skip_bad: bool = False


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One labelled image.

    Attributes:
        name: the image's file or stamp, by which items are sorted.
        where: file or topic of the label, for messages.
        frame: the image.
        label: of the frame's size.
        content: the bytes that were read, the image first.
    """

    name: str
    where: str
    frame: Frame
    label: Label
    content: tuple[bytes, ...]


def check_sizes(
    image: tuple[int, int], label: tuple[int, int], image_where: str, where: str
) -> None:
    """Raise ValueError unless image and label are of one size (H, W)."""
    if image == label:
        return
    hint = 'a label has a value for each pixel of its image'
    if image == label[::-1]:
        hint = (
            'one is the other turned by a quarter: a rotation noted in an image (EXIF) is '
            'carried out, as viewers do, and its label has to be drawn on that'
        )
    raise ValueError(
        f'{where}: expected the size of {image_where}, {image[1]} x {image[0]} pixels, '
        f'got {label[1]} x {label[0]}; {hint}'
    )


def declared_size(height: Any, width: Any, size: tuple[int, int], where: str) -> tuple[int, int]:
    """(H, W) that a label file declares; that of the image where a tool left it out.

    Raises:
        ValueError: they are no numbers; it names the file.
    """
    try:
        return int(height or size[0]), int(width or size[1])
    except (ValueError, *safe_load.MALFORMED) as error:
        raise ValueError(
            f"{where}: expected the image's size, {size[1]} x {size[0]} pixels, got "
            f'{width!r:.40} x {height!r:.40}'
        ) from error


def files_in(folder: Path) -> list[Path]:
    """The files of a folder by name, without hidden ones and those that Windows writes."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith('.') and file.name != 'Thumbs.db'
    )


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError if it holds none."""
    return safe_load.json_object(path, safe_load.MAX_LABELS_SIZE)


# Polygons, circles and run lengths as masks. Annotation tools put the corner of the first pixel at
# (0, 0), so that its centre is (0.5, 0.5).

Size = tuple[int, int]


def polygon(points: NDArray[np.float64], size: Size) -> NDArray[np.bool_]:
    """The pixels, (H, W) bool, whose centres lie in a polygon, by the even-odd rule.

    Of two polygons that share an edge, a pixel belongs to one and not to both. Points are (N, 2)
    float64 x, y, pixels from the image's corner; they need not lie inside it.
    """
    height, width = size
    crossed = np.zeros((height, width + 1), np.bool_)
    # Centres at whole numbers, as everywhere in this package.
    places = (points - 0.5).tolist()
    for start, end in zip(places, [*places[1:], places[0]], strict=True):
        # From the upper end, so that both owners of an edge compute the same crossings.
        (x0, y0), (x1, y1) = sorted((start, end), key=lambda place: place[::-1])
        rows = np.arange(max(int(np.ceil(y0)), 0), min(int(np.ceil(y1)), height))
        if not rows.size:
            continue
        x = x0 + (rows - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(x), 0, width).astype(np.intp)
        crossed[rows, columns] ^= True
    inside: NDArray[np.bool_] = np.logical_xor.accumulate(crossed, axis=1)[:, :width]
    return inside


def circle(centre: Sequence[float], rim: Sequence[float], size: Size) -> NDArray[np.bool_]:
    """The pixels whose centres lie in a circle through `rim`; points as in `polygon`."""
    (cx, cy), (rx, ry) = centre, rim
    rows, columns = np.ogrid[: size[0], : size[1]]
    square = (columns + 0.5 - cx) ** 2 + (rows + 0.5 - cy) ** 2
    inside: NDArray[np.bool_] = square <= (rx - cx) ** 2 + (ry - cy) ** 2
    return inside


def run_lengths(counts: Any, size: Size) -> NDArray[np.bool_]:
    """The mask, (H, W) bool, in COCO's run lengths.

    Decoded here and not by pycocotools: what has to be checked is their sum, for which packed
    ones must be unpacked anyway, and reading labels needs no further package.

    Args:
        counts: whole numbers, or packed as text: how many pixels are outside, inside, outside,
            ... going down the columns from left to right.
        size: (H, W), pixels.

    Raises:
        ValueError: they are no run lengths of an image of this size.
    """
    if not all(type(side) is int and side > 0 for side in size) or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f'expected run lengths of 1 to {MAX_PIXELS} pixels, got size {size}')
    runs = unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError('expected run lengths, whole numbers >= 0 or a text that packs them')
    if sum(runs) != size[0] * size[1]:
        raise ValueError(
            f'expected run lengths of {size[0] * size[1]} pixels ({size[1]} x {size[0]}), got '
            f'{sum(runs)}'
        )
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(size[1], size[0]).T)


def unpacked(text: str) -> list[int]:
    """The run lengths in COCO's packed text.

    Each character holds five bits, the lowest first, and in the sixth whether more follow; the
    last one's fifth bit is the sign. From the fourth on, differences to the one before the last.

    Source: `rleFrString` of the COCO API.

    Raises:
        ValueError: the text is damaged.
    """
    runs: list[int] = []
    value, bits = 0, 0
    for letter in text:
        part = ord(letter) - 48
        # A run of 100 million pixels needs six letters.
        if not 0 <= part < 64 or bits > 60:
            raise ValueError(f'expected packed run lengths, got the character {letter!r}')
        value |= (part & 31) << bits
        bits += 5
        if part & 32:
            continue
        if part & 16:
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, bits = 0, 0
    if bits:
        raise ValueError('expected packed run lengths, got a text that is cut off')
    return runs


# Labels from regions that have a category and may belong together, as in COCO and LabelMe.

ALL = '*'


@dataclass(frozen=True, eq=False)
class Region:
    """Some pixels of an object.

    Attributes:
        category: of the object.
        thing: which object; regions with the same value are one object.
        mask: (H, W) bool.
    """

    category: str
    thing: Hashable
    mask: NDArray[np.bool_]


def chosen(category: str, used: Collection[str], where: str) -> frozenset[str]:
    """The categories to read.

    Args:
        category: a name, ALL, or '' where there is no choice to make.
        used: the categories with any label.
        where: for messages.

    Raises:
        ValueError: nothing is labelled, there is no such category, or a choice to make.
    """
    names = ', '.join(sorted(used))
    if not used:
        raise ValueError(f'{where}: expected labels, got none; nothing is outlined')
    if category == ALL:
        return frozenset(used)
    if category and category not in used:
        raise ValueError(
            f'{where}: nothing of category {category!r} is labelled; there are {names}'
        )
    if not category and len(used) > 1:
        raise ValueError(
            f'{where}: expected one category, got {len(used)}: {names}; choose one of them as '
            f"category, or '{ALL}' for all"
        )
    return frozenset([category] if category else used)


def label_of(kind: str, regions: Sequence[Region], size: tuple[int, int]) -> tuple[Label, int]:
    """The label of an image, and how many of its objects own no pixel and were left out.

    Where objects overlap, the one with fewer pixels lies in front, so none vanishes behind an
    object that contains it.
    """
    things: dict[Hashable, tuple[str, NDArray[np.bool_]]] = {}
    for region in regions:
        before = things.get(region.thing)
        mask = region.mask if before is None else before[1] | region.mask
        things[region.thing] = region.category, mask
    if kind == 'mask':
        empty = sum(not mask.any() for _, mask in things.values())
        whole = np.zeros(size, np.bool_)
        for _, mask in things.values():
            whole |= mask
        return Mask(whole), empty
    masks = [mask for _, mask in things.values()]
    areas = [int(mask.sum()) for mask in masks]
    ids = np.zeros(size, np.int32)
    for k in sorted(range(len(masks)), key=lambda k: -areas[k]):
        ids[masks[k]] = k + 1
    names = tuple(category for category, _ in things.values())
    label = Instances(ids, names, np.ones(len(names), np.float32)).present()
    return label, len(names) - len(label.categories)
