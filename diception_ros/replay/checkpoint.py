# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a replay is, in a file beside what it writes; what it is killed after is done again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
from typing import Any
import zipfile

import numpy as np
from numpy.typing import NDArray

FORMAT = 2


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """How far a replay is.

    Attributes:
        offset: length of the bag that is written, bytes, with all that belongs to it.
        journal: length of the file with a line for each frame, bytes.
        handed: messages of the bag that are done with.
        frames: that were answered.
        skipped: frames that could not be read, by kind of fault.
        notes: what was said once, by kind.
        damage: where the bag could not be read any further, known at its end.
        memory: of the Perceiver.
    """

    offset: int = 0
    journal: int = 0
    handed: int = 0
    frames: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    damage: str = ''
    memory: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def place(out: Path) -> Path:
    """Where the checkpoint of a replay into `out` is."""
    return out.with_name(f'{out.stem}.partial.state')


def write(path: Path, checkpoint: Checkpoint, about: Mapping[str, Any]) -> None:
    """Write a checkpoint in one piece.

    Args:
        path: of the file.
        checkpoint: how far the replay is.
        about: all that has to be the same for going on.
    """
    head = {
        'format': FORMAT,
        'offset': checkpoint.offset,
        'journal': checkpoint.journal,
        'handed': checkpoint.handed,
        'frames': checkpoint.frames,
        'skipped': dict(checkpoint.skipped),
        'notes': dict(checkpoint.notes),
        'damage': checkpoint.damage,
        'about': about,
    }
    arrays: dict[str, Any] = {f'memory/{name}': one for name, one in checkpoint.memory.items()}
    new = path.with_name(path.name + '.new')
    with new.open('wb') as file:
        np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)
    os.replace(new, path)


def read(path: Path, about: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint; inverse of `write`.

    Raises:
        ValueError: it is none, or something is not as it was; the message says what.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file['head']))
            if head['format'] != FORMAT:
                raise ValueError(
                    f'format {head["format"]} of another version; begin anew with --force'
                )
            memory = {
                name.removeprefix('memory/'): file[name]
                for name in file.files
                if name.startswith('memory/')
            }
        made = Checkpoint(
            int(head['offset']), int(head['journal']), int(head['handed']), int(head['frames']),
            dict(head['skipped']), dict(head['notes']), str(head['damage']), memory,
        )  # fmt: skip
        before = head['about']
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: no checkpoint that can be read ({error})') from error
    now = json.loads(json.dumps(about))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise ValueError(
                f'{path}: was begun with {name} = {before.get(name)!r}, and is to go on with '
                f'{now.get(name)!r}; give the same as before, or begin anew with --force'
            )
    return made
