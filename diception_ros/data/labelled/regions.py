# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels out of regions that have a category and may belong together, as COCO and LabelMe say."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diception_ros.labels import Instances, Label, Mask

ALL = '*'


@dataclass(frozen=True, eq=False)
class Region:
    """Some pixels of a thing.

    Attributes:
        category: of the thing.
        thing: which one; regions with the same are one thing.
        mask: (H, W) bool.
    """

    category: str
    thing: Hashable
    mask: NDArray[np.bool_]


def chosen(category: str, used: Collection[str], where: str) -> frozenset[str]:
    """The categories that are meant.

    Args:
        category: a name, ALL, or '' where there is no choice to make.
        used: the categories of which something is labelled.
        where: for messages.

    Raises:
        ValueError: nothing is labelled, there is no such category, or a choice to make.
    """
    names = ', '.join(sorted(used))
    if not used:
        raise ValueError(f'{where}: expected labels, came none; nothing is outlined')
    if category == ALL:
        return frozenset(used)
    if category and category not in used:
        raise ValueError(
            f'{where}: nothing of category {category!r} is labelled; there are {names}'
        )
    if not category and len(used) > 1:
        raise ValueError(
            f'{where}: expected one category, came {len(used)}: {names}; choose one of them as '
            f"category, or '{ALL}' for all"
        )
    return frozenset([category] if category else used)


def label_of(kind: str, regions: Sequence[Region], size: tuple[int, int]) -> tuple[Label, int]:
    """The label of a picture, and how many things of it own no pixel and were left out.

    Where things overlap, the one with fewer pixels lies in front: none can vanish behind a thing
    that contains it.

    Args:
        kind: 'mask' or 'instances'.
        regions: of the chosen categories.
        size: (H, W) of the picture, pixels.
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
