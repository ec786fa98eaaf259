# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run's samples come from: simulated rooms, a folder, bags, or a list.

A source hands out pools, lots of samples that are prepared once and stay in memory. A pool follows
from its number alone, so a run that goes on has only to ask for the same one again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, fields
import hashlib
import itertools
import multiprocessing
import os
from pathlib import Path
import signal
from typing import Any, Protocol

import torch

from diception_ros.datasets import batch, folder
from diception_ros.datasets.batch import Prepared
from diception_ros.datasets.sample import Sample
from diception_ros.system import processes
from diception_ros.training.distributed import ALONE, Processes
from diception_ros.training.samples import Form, gather
from diception_ros.training.settings import TrainSettings

# Simulated rooms as a source: pools that other processes render; needs MuJoCo.


class Simulated:
    """Rooms rendered on the fly; needs MuJoCo.

    The next pool is rendered in other processes while this one is learnt from. Where several
    processes learn together, each has a part of the pool rendered, and all get the whole.

    Args:
        settings: pool, refresh, workers, seed, aspect and the resolution.
        names: of the tasks.
        resolution: S, height of the rendered pictures, pixels.
        processes: that learn together.
    """

    def __init__(
        self,
        settings: TrainSettings,
        names: Sequence[str],
        resolution: int,
        processes: Processes = ALONE,
    ) -> None:
        self._settings, self._names = settings, list(names)
        self._processes = processes
        self._size = (resolution, round(resolution * settings.aspect))
        self._executor: ProcessPoolExecutor | None = None
        self._coming: tuple[int, list[Future[dict[str, Any]]]] = (-1, [])

    def pool(self, number: int, form: Form) -> Prepared:
        path = self._kept(number, form)
        # The first one's word holds for all: while they look, it may already write.
        there = self._processes.collect(path is not None and path.is_file())[0]
        if path is not None and there:
            pool = batch.read(path)
        else:
            pool = self._rendered(number, form)
            if path is not None and self._processes.first:
                batch.write(pool, path)
        self._look_ahead(number + 1, form)
        return pool

    def _rendered(self, number: int, form: Form) -> Prepared:
        if self._settings.workers == 0:
            (job,) = self._jobs(number, form)
            mine = [_render(job)]
        else:
            at, lots = self._coming
            mine = [lot.result() for lot in (lots if at == number else self._submit(number, form))]
        parts = [part for one in self._processes.collect(mine) for part in one]
        return batch.join([_unpacked(part) for part in parts])

    def _look_ahead(self, number: int, form: Form) -> None:
        """Have a pool rendered by others, if it is one that will be asked for."""
        path = self._kept(number, form)
        there = path is not None and path.is_file()
        chosen = self._settings
        if chosen.workers and not there and 0 < chosen.refresh * number < chosen.steps:
            self._coming = number, self._submit(number, form)

    def validation(self) -> list[Sample]:
        from diception_ros.simulation import sample_stream

        wanted = self._settings.validation_samples
        samples = sample_stream.samples(
            self._settings.seed, self._size, self._names, split='validation', views=1
        )
        return gather(samples, self._names, wanted)

    def close(self) -> None:
        """Stop the other processes."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _kept(self, number: int, form: Form) -> Path | None:
        """Where a pool lies on disk; what decides its content is in its name."""
        if not self._settings.cache:
            return None
        # How many render decides in which order samples come, and which are the last.
        everyone = self._processes.count * max(1, self._settings.workers)
        job = self._job(number, 0, everyone, form)
        digest = hashlib.sha256(repr((job, self._settings.pool)).encode()).hexdigest()[:16]
        return Path(self._settings.cache) / f'pool-{number:03d}-{digest}.safetensors'

    def _submit(self, number: int, form: Form) -> list[Future[dict[str, Any]]]:
        workers = self._settings.workers
        if self._executor is None:
            # Not forked: OpenGL and torch's threads don't survive that.
            context = multiprocessing.get_context('spawn')
            self._executor = ProcessPoolExecutor(
                workers, context, initializer=_give_way, initargs=(os.getpid(),)
            )
        return [self._executor.submit(_render, job) for job in self._jobs(number, form)]

    def _jobs(self, number: int, form: Form) -> list[_Job]:
        """What this process has rendered, one for each of its workers."""
        each = max(1, self._settings.workers)
        first, everyone = self._processes.rank * each, self._processes.count * each
        return [self._job(number, first + k, everyone, form) for k in range(each)]

    def _job(self, number: int, worker: int, workers: int, form: Form) -> _Job:
        count = -(-self._settings.pool // workers)
        # As many scenes as there would be with one view each: scenes are endless, so a gap
        # between two pools costs nothing, while an overlap would repeat samples.
        first = number * (self._settings.pool // len(self._names) + 1)
        seed = self._settings.seed
        return _Job(seed, self._size, tuple(self._names), first, worker, workers, count, form)


def _give_way(parent: int) -> None:
    """Of a process that renders: it ends with the training, and takes what that leaves.

    As an equal on the training's own cores it slows it sixfold: each of its threads waits for the
    one that was put off.
    """
    processes.exit_with_parent(parent, signal.SIGKILL)
    os.nice(19)


@dataclass(frozen=True)
class _Job:
    """What one process renders."""

    seed: int
    size: tuple[int, int]
    names: tuple[str, ...]
    first: int
    worker: int
    workers: int
    count: int
    form: Form


def _render(job: _Job) -> dict[str, Any]:
    """One process's part of a pool, as arrays, which travel between processes as they are."""
    from diception_ros.simulation import sample_stream

    torch.set_num_threads(1)
    samples = sample_stream.samples(
        job.seed, job.size, job.names, worker=job.worker, workers=job.workers, first=job.first
    )
    prepared = job.form.prepare(itertools.islice(samples, job.count))
    values = {one.name: getattr(prepared, one.name) for one in fields(prepared)}
    return {
        name: value.numpy() if isinstance(value, torch.Tensor) else value
        for name, value in values.items()
    }


def _unpacked(arrays: Mapping[str, Any]) -> Prepared:
    return Prepared(
        **{
            name: value if isinstance(value, tuple) else torch.from_numpy(value)
            for name, value in arrays.items()
        }
    )


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
            from diception_ros.simulation import bag_reader

            return bag_reader.samples(Path(place), names, settings.seed, metric=True)
        return (one for one in folder.read(Path(place)) if one.prompt.task in names)

    learnt, judged = settings.folder or settings.bags, settings.validation_folder
    if settings.source == 'bag':
        judged = settings.validation_bags
    held = gather(read(judged), names, settings.validation_samples) if judged else []
    return Stored(lambda: read(learnt), held)
