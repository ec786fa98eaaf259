# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run's samples come from: simulated rooms, a folder, bags, or a list.

A source hands out pools, lots of samples that are prepared once and stay in memory. A pool follows
from its number alone, so a run that goes on has only to ask for the same one again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from diception_ros.data import folder
from diception_ros.data.batch import Prepared
from diception_ros.data.sample import Sample
from diception_ros.train.parallel import ALONE, Processes
from diception_ros.train.rendered import Simulated
from diception_ros.train.samples import Form, gather
from diception_ros.train.settings import TrainSettings


class Source(Protocol):
    """Gives samples to learn from, and others to be judged by."""

    def pool(self, number: int, form: Form) -> Prepared:
        """The pool of this number, 0 and up; the same at every call."""
        ...

    def validation(self) -> list[Sample]:
        """Samples that are in no pool; none if there are none."""
        ...

    def close(self) -> None:
        """Stop what works in the background; no pool is asked for any more."""
        ...


class Listed:
    """Samples that are there already; every pool holds all of them.

    Args:
        samples: to learn from.
        validation: to be judged by.
    """

    def __init__(self, samples: Sequence[Sample], validation: Sequence[Sample] = ()) -> None:
        self._samples, self._validation = list(samples), list(validation)

    def pool(self, number: int, form: Form) -> Prepared:
        return form.prepare(self._samples)

    def validation(self) -> list[Sample]:
        return self._validation

    def close(self) -> None:
        pass


class Stored:
    """Samples that lie on disk; every pool holds all of them, at the model's size.

    Args:
        read: goes through them from the beginning.
        validation: to be judged by.
    """

    def __init__(
        self, read: Callable[[], Iterable[Sample]], validation: Sequence[Sample] = ()
    ) -> None:
        self._read, self._validation = read, list(validation)
        self._made: tuple[Form, Prepared] | None = None

    def pool(self, number: int, form: Form) -> Prepared:
        if self._made is None or self._made[0] != form:
            self._made = form, form.prepare(self._read())
        return self._made[1]

    def validation(self) -> list[Sample]:
        return self._validation

    def close(self) -> None:
        pass


def open_source(
    settings: TrainSettings, names: Sequence[str], resolution: int, processes: Processes = ALONE
) -> Source:
    """The source that the settings ask for.

    Args:
        settings: of the run.
        names: of the tasks.
        resolution: S, side of the model's square, pixels.
        processes: that learn together.

    Raises:
        FileNotFoundError, ValueError: the folder or the bags for validation are not there or are
            none. What is learnt from is read with the first pool.
    """
    if settings.source == 'simulated':
        return Simulated(settings, names, resolution, processes)
    if settings.source == 'labels':
        raise ValueError("source is 'labels'; those are read by diception adapt")

    def read(place: str) -> Iterable[Sample]:
        if settings.source == 'bag':
            from diception_ros.sim import recorded

            return recorded.samples(Path(place), names, settings.seed, metric=True)
        return (one for one in folder.read(Path(place)) if one.prompt.task in names)

    learnt, judged = settings.folder or settings.bags, settings.validation_folder
    if settings.source == 'bag':
        judged = settings.validation_bags
    held = gather(read(judged), names, settings.validation_samples) if judged else []
    return Stored(lambda: read(learnt), held)
