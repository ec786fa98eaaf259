# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples: which are taken, and in what form they are learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
import hashlib
import itertools

import numpy as np

from diception_ros.datasets import batch
from diception_ros.datasets.batch import Prepared
from diception_ros.datasets.sample import Sample
from diception_ros.model import DiceptionPointEncoder
from diception_ros.tasks import BUILTIN, TaskRegistry

# A task that is met this rarely in validation scenes is left with what was found.
_PATIENCE = 40


@dataclass(frozen=True)
class Form:
    """How samples are prepared.

    Attributes:
        resolution: S, side of the model's square, pixels.
        point_order: of the model's point encoder.
        mirrored: keep each sample a second time, left-right mirrored.
        registry: holds the samples' tasks.
    """

    resolution: int
    point_order: str
    mirrored: bool
    registry: TaskRegistry = BUILTIN

    def prepare(self, samples: Iterable[Sample]) -> Prepared:
        """Prepare samples in this form."""
        # A point encoder of no size: what counts is the order in which it packs.
        packer = DiceptionPointEncoder(1, 1, 1, self.point_order)
        return batch.prepare(samples, self.resolution, packer.pack, self.mirrored, self.registry)


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


# Which task each sample of a run is of, and which of its samples. Loads no torch.
#
# Both follow from the number of the sample alone, so a run that goes on has nothing to remember.


def parse(text: str, registry: TaskRegistry = BUILTIN) -> dict[str, int]:
    """Read shares such as 'depth=4 normal=4', of tasks that a registry holds.

    Raises:
        ValueError: not of that form, an unknown task, one named twice, or no sample at all.
    """
    shares: dict[str, int] = {}
    for item in text.replace(',', ' ').split():
        name, _, number = item.partition('=')
        if not number.isdecimal():
            raise ValueError(f'shares: expected task=number, such as depth=4, got {item!r}')
        if name in shares:
            raise ValueError(f'shares: task {name!r} is named twice')
        registry.get(name)
        shares[name] = int(number)
    shares = {name: share for name, share in shares.items() if share}
    if not shares:
        raise ValueError(f'shares is {text!r}; expected at least one task, such as depth=4')
    return shares


def order(shares: Mapping[str, int]) -> list[str]:
    """The tasks of one round, each as often as its share says, spread evenly.

    Any run of consecutive samples then has each task in about its share, whatever the batch size;
    a batch of the round's length, or of a multiple of it, has it exactly.

    Args:
        shares: samples of each task in a round.

    Returns:
        names of tasks, as many as the shares' sum.
    """
    total, credit = sum(shares.values()), dict.fromkeys(shares, 0)
    round_ = []
    for _ in range(total):
        for name, share in shares.items():
            credit[name] += share
        richest = max(credit, key=lambda name: credit[name])
        credit[richest] -= total
        round_.append(richest)
    return round_


class Mixture:
    """Deals samples: which task comes, and which of the task's samples.

    Each task's samples are gone through in a random order, all of them before one comes again.

    Args:
        shares: samples of each task in a round.
        seed: of the random orders.
    """

    def __init__(self, shares: Mapping[str, int], seed: int) -> None:
        self._round = order(shares)
        self._seed = seed
        self._orders: dict[str, tuple[tuple[int, int], np.ndarray[tuple[int], np.dtype[np.int64]]]]
        self._orders = {}
        # How many of its task came before each place of the round, and how many a round has.
        self._before = [self._round[:k].count(name) for k, name in enumerate(self._round)]
        self._shares = dict(shares)

    def deal(self, number: int, counts: Mapping[str, int]) -> tuple[str, int]:
        """The sample of this number.

        Args:
            number: 0 and up, counted over the whole run.
            counts: how many samples there are of each task.

        Returns:
            the task, and which of its samples, 0 to counts[task] - 1.
        """
        turn, place = divmod(number, len(self._round))
        task = self._round[place]
        nth = turn * self._shares[task] + self._before[place]
        epoch, index = divmod(nth, counts[task])
        key = (epoch, counts[task])
        if task not in self._orders or self._orders[task][0] != key:
            digest = hashlib.sha256(f'{self._seed} {task} {epoch}'.encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], 'little'))
            self._orders[task] = key, rng.permutation(counts[task])
        return task, int(self._orders[task][1][index])
