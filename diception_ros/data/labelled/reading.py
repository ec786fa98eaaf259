# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading of labels in any format, and what holds for all of them."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from pathlib import Path

import numpy as np

from diception_ros.data.labelled import formats
from diception_ros.data.labelled.item import KINDS, Item, Wanted, check_sizes
from diception_ros.data.sample import Sample
from diception_ros.labels import Instances, Mask
from diception_ros.prompt import Prompt

# One to learn from and one to see whether it was learnt.
LEAST = 2
# From here on something can be expected; of the issue that this was written for.
FEW = 8


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with somebody's own labels.

    Attributes:
        samples: in the order of their names, which are files or stamps.
        digest: SHA-256, hexadecimal, of the pictures' and labels' bytes, the kind and the
            category; it does not depend on where they lie.
        warnings: sentences for people.
    """

    samples: list[Sample]
    digest: str
    warnings: tuple[str, ...]


def read(
    place: Path, kind: str, task: str, *, category: str = '', image_topic: str = '',
    label_topic: str = '',
) -> Labelled:  # fmt: skip
    """Read labels; which format they are in is found out by looking.

    Args:
        place: a folder or a file.
        kind: one of KINDS.
        task: name of the task that the samples ask.
        category: which is meant, '*' for all, where the format tells categories apart; of masks
            that are pictures the number of the thing. '' where there is no choice to make.
        image_topic: of a bag; '' where there is no choice to make.
        label_topic: likewise.

    Raises:
        FileNotFoundError: the place, a picture or a label is not there.
        ValueError: a file is not what it should be; the message names it and says what to do.
    """
    if kind not in KINDS:
        raise ValueError(f'kind {kind!r}: expected one of {", ".join(KINDS)}')
    if not place.exists():
        raise FileNotFoundError(f'{place}: no such file or folder; {formats.EXPECTED}')
    if kind == 'rgb' and category:
        raise ValueError(f'category {category!r}: labels of kind rgb have none; leave it out')
    items, notes = formats.items(place, Wanted(kind, category, image_topic, label_topic))
    if len(items) < LEAST:
        raise ValueError(
            f'{place}: expected at least {LEAST} labelled pictures, one to learn from and one to '
            f'check with, came {len(items)}; label more'
        )
    items.sort(key=lambda item: item.name)
    for item in items:
        check_sizes(item.frame.size, item.label.size, f'the picture {item.name}', item.where)
    notes += _of_one_class(place, items)
    if len(items) < FEW:
        notes.append(
            f'{len(items)} labelled pictures are few: expect answers that suit these pictures and '
            'often fail on others, and a validation that says little; label at least '
            f'{FEW}, better 50.'
        )
    samples = [Sample(item.frame, Prompt(task), item.label, name=item.name) for item in items]
    return Labelled(samples, _digest(kind, category, items), tuple(notes))


def _of_one_class(place: Path, items: list[Item]) -> list[str]:
    """What is to be said of empty labels.

    Raises:
        ValueError: no picture tells anything apart.
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
            f'{place}: one class only: in none of {len(items)} pictures anything is labelled '
            f'(the first is {items[0].where}); nothing can be learnt from that'
        )
    if all(ids.min() == ids.max() and ids.min() > 0 for ids in maps):
        raise ValueError(
            f'{place}: one class only: in all of {len(items)} pictures every pixel is the thing '
            f'(the first is {items[0].where}); nothing can be learnt from that; is the background '
            'another value than 0?'
        )
    if not empty:
        return []
    names = ', '.join(item.name for item in empty[:3]) + (', ...' if len(empty) > 3 else '')
    return [
        f'{len(empty)} of {len(items)} pictures show nothing of what is labelled ({names}); that '
        'is right where it is not to be seen, and wrong where its label was forgotten.'
    ]


def _digest(kind: str, category: str, items: list[Item]) -> str:
    digest = hashlib.sha256()
    for part in (kind.encode(), category.encode(), *(c for item in items for c in item.content)):
        # With their lengths, so that no two lists of parts make the same bytes.
        digest.update(len(part).to_bytes(8, 'big'))
        digest.update(part)
    return digest.hexdigest()
