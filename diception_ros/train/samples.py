# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples: which are taken, and in what form they are learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import itertools

from diception_ros.data import batch
from diception_ros.data.batch import Prepared
from diception_ros.data.sample import Sample
from diception_ros.model import DiceptionPointEncoder

# A task that is met this rarely in validation scenes is left with what was found.
_PATIENCE = 40


@dataclass(frozen=True)
class Form:
    """How samples are prepared.

    Attributes:
        resolution: S, side of the model's square, pixels.
        point_order: of the model's point encoder.
        mirrored: keep each sample a second time, left-right mirrored.
    """

    resolution: int
    point_order: str
    mirrored: bool

    def prepare(self, samples: Iterable[Sample]) -> Prepared:
        """Prepare samples in this form."""
        # A point encoder of no size: what counts is the order in which it packs.
        packer = DiceptionPointEncoder(1, 1, 1, self.point_order)
        return batch.prepare(samples, self.resolution, packer.pack, self.mirrored)


def gather(samples: Iterable[Sample], names: Sequence[str], each: int) -> list[Sample]:
    """The first samples of each task.

    Args:
        samples: perhaps without end.
        names: of the tasks.
        each: how many of each; fewer where a task hardly comes.
    """
    kept: dict[str, list[Sample]] = {name: [] for name in names}
    for sample in itertools.islice(samples, _PATIENCE * each * len(names)):
        mine = kept.get(sample.prompt.task)
        if mine is not None and len(mine) < each:
            mine.append(sample)
        if all(len(found) == each for found in kept.values()):
            break
    return [sample for found in kept.values() for sample in found]
