# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets of the paper: one file each, found by listing this folder.

A protocol says where pictures and truths lie in the folder that people have, which part of a
picture the model sees, and which pixels count. Files that begin with an underscore are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import difflib
import importlib
from pathlib import Path
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The command line lists the protocols and must not wait for what they need.
    import numpy as np
    from numpy.typing import NDArray

    from diception_ros.labels import MetricDepth, Normals

Size = tuple[int, int]  # (H, W), pixels


@dataclass(frozen=True)
class Protocol:
    """How a data set is read and judged.

    Attributes:
        name: of the file, and the word on the command line.
        task: 'depth' or 'normal'.
        layout: what the folder holds, for people.
        pattern: glob of the pictures in the folder.
        truths: of a picture's path in the folder, the paths of the files of its truth; several
            choices, of which the first that is complete is taken.
        read: of these files, and the picture's size, the truth of the whole picture.
        images: in the paper's table.
        partial: whether pictures without truth are normal, and left out.
        metres: pixels of the truth at or beyond these two are unknown, and predictions are clipped
            to them.
        fit_side: longer side of the grid of pixels by which scale and shift are fitted; 0 for all.
        window: rows and columns of the part that the model sees; None for the whole picture.
        counted: (H, W) bool, the pixels of that part that count; None for all.
        published: what the paper's table says, by metric.
    """

    name: str
    task: str
    layout: str
    pattern: str
    truths: Callable[[str], Sequence[tuple[str, ...]]]
    read: Callable[[Sequence[Path], Size], MetricDepth | Normals]
    images: int
    partial: bool = False
    metres: tuple[float, float] = (0.0, float('inf'))
    fit_side: int = 0
    window: Callable[[Size], tuple[slice, slice]] | None = None
    counted: Callable[[Size], NDArray[np.bool_]] | None = None
    published: Mapping[str, float] = field(default_factory=dict)


def names() -> list[str]:
    """Names of all protocols, in alphabetical order; loads none of them."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith('_'))


def get(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean {close[0]!r}? ' if close else ''
        raise ValueError(f'no protocol {name!r}; {hint}known: {", ".join(known)}')
    found: Protocol = importlib.import_module(f'{__name__}.{name}').PROTOCOL
    return found


def normals_table(
    mean: float, median: float, within_11_25: float, within_22_5: float, within_30: float
) -> dict[str, float]:
    """A line of the paper's table of normals, which tells shares in percent."""
    return {
        'mean_deg': mean,
        'median_deg': median,
        'within_11_25': within_11_25 / 100,
        'within_22_5': within_22_5 / 100,
        'within_30': within_30 / 100,
    }
