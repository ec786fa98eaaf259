# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training data sets: simulated rooms, a folder, bags, or samples in memory.

A data set provides buffers: sets of samples that are preprocessed once and kept in memory. The
content of a buffer depends on its number alone, so a resumed run loads the same one again.
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

from diception_ros.datasets import batch
from diception_ros.datasets.batch import Prepared
from diception_ros.datasets.sample import Sample, read_folder
from diception_ros.system.processes import exit_with_parent
from diception_ros.training.distributed import SINGLE, Processes
from diception_ros.training.samples import Preprocessor, take_per_task
from diception_ros.training.settings import TrainSettings


class Dataset(Protocol):
    """Provides training samples, and held-out samples for validation."""

    def buffer(self, number: int, preprocessor: Preprocessor) -> Prepared:
        """The buffer of this number, from 0; equal at every call."""
        ...

    def validation(self) -> list[Sample]:
        """Held-out samples, which are in no buffer; may be empty."""
        ...

    def close(self) -> None:
        """Stop background work; no buffer is requested any more."""
        ...


class InMemoryDataset:
    """Samples in memory; every buffer holds all of them."""

    def __init__(self, samples: Sequence[Sample], validation: Sequence[Sample] = ()) -> None:
        self._samples, self._validation = list(samples), list(validation)

    def buffer(self, number: int, preprocessor: Preprocessor) -> Prepared:
        return preprocessor.collate(self._samples)

    def validation(self) -> list[Sample]:
        return self._validation

    def close(self) -> None:
        pass


class DiskDataset:
    """Samples on disk; every buffer holds all of them, at the model's size.

    Args:
        read: iterates over the samples from the beginning.
        validation: held-out samples.
    """

    def __init__(
        self, read: Callable[[], Iterable[Sample]], validation: Sequence[Sample] = ()
    ) -> None:
        self._read, self._validation = read, list(validation)
        self._made: tuple[Preprocessor, Prepared] | None = None

    def buffer(self, number: int, preprocessor: Preprocessor) -> Prepared:
        if self._made is None or self._made[0] != preprocessor:
            self._made = preprocessor, preprocessor.collate(self._read())
        return self._made[1]

    def validation(self) -> list[Sample]:
        return self._validation

    def close(self) -> None:
        pass


class SimulatedDataset:
    """Rooms rendered on the fly; needs MuJoCo.

    The next buffer is rendered by other processes while the current one is trained on. In a
    data-parallel run each rank renders a part of the buffer, and all receive the whole.

    Args:
        settings: buffer, buffer_refresh_steps, workers, seed, aspect and cache.
        names: tasks.
        resolution: S, height of the rendered images, pixels.
        ranks: the processes of a data-parallel run.
    """

    def __init__(
        self,
        settings: TrainSettings,
        names: Sequence[str],
        resolution: int,
        ranks: Processes = SINGLE,
    ) -> None:
        self._settings, self._names, self._ranks = settings, list(names), ranks
        self._size = (resolution, round(resolution * settings.aspect))
        self._executor: ProcessPoolExecutor | None = None
        self._next: tuple[int, list[Future[dict[str, Any]]]] = (-1, [])

    def buffer(self, number: int, preprocessor: Preprocessor) -> Prepared:
        path = self._cache_path(number, preprocessor)
        # Rank 0 decides for all: while the others look, it may already write the file.
        cached = self._ranks.gather_object(path is not None and path.is_file())[0]
        if path is not None and cached:
            buffer = batch.read(path)
        else:
            buffer = self._render(number, preprocessor)
            if path is not None and self._ranks.first:
                batch.write(buffer, path)
        self._prefetch(number + 1, preprocessor)
        return buffer

    def _render(self, number: int, preprocessor: Preprocessor) -> Prepared:
        if self._settings.workers == 0:
            (job,) = self._jobs(number, preprocessor)
            mine = [_render(job)]
        else:
            at, futures = self._next
            if at != number:
                futures = self._submit(number, preprocessor)
            mine = [future.result() for future in futures]
        parts = [part for some in self._ranks.gather_object(mine) for part in some]
        return batch.join([_to_tensors(part) for part in parts])

    def _prefetch(self, number: int, preprocessor: Preprocessor) -> None:
        """Start rendering a buffer, if the run will need it."""
        path, chosen = self._cache_path(number, preprocessor), self._settings
        cached = path is not None and path.is_file()
        needed = 0 < chosen.buffer_refresh_steps * number < chosen.max_steps
        if chosen.workers and needed and not cached:
            self._next = number, self._submit(number, preprocessor)

    def validation(self) -> list[Sample]:
        from diception_ros.simulation import sample_stream

        samples = sample_stream.samples(
            self._settings.seed, self._size, self._names, split='validation', views=1
        )
        return take_per_task(samples, self._names, self._settings.validation_samples)

    def close(self) -> None:
        """Stop the rendering processes."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _cache_path(self, number: int, preprocessor: Preprocessor) -> Path | None:
        """File of a buffer; its name contains a hash of everything that determines the content."""
        if not self._settings.cache:
            return None
        # The number of workers determines the order of samples, and which are the last.
        workers = self._ranks.count * max(1, self._settings.workers)
        job = self._job(number, 0, workers, preprocessor)
        digest = hashlib.sha256(repr((job, self._settings.buffer)).encode()).hexdigest()[:16]
        return Path(self._settings.cache) / f'buffer-{number:03d}-{digest}.safetensors'

    def _submit(self, number: int, preprocessor: Preprocessor) -> list[Future[dict[str, Any]]]:
        if self._executor is None:
            # Not forked: OpenGL and torch's threads don't survive that.
            context = multiprocessing.get_context('spawn')
            self._executor = ProcessPoolExecutor(
                self._settings.workers, context, initializer=_init_worker,
                initargs=(os.getpid(), _NICENESS),
            )  # fmt: skip
        return [self._executor.submit(_render, job) for job in self._jobs(number, preprocessor)]

    def _jobs(self, number: int, preprocessor: Preprocessor) -> list[_Job]:
        """The parts of a buffer that this rank renders, one for each of its workers."""
        each = max(1, self._settings.workers)
        first, workers = self._ranks.rank * each, self._ranks.count * each
        return [self._job(number, first + k, workers, preprocessor) for k in range(each)]

    def _job(self, number: int, worker: int, workers: int, preprocessor: Preprocessor) -> _Job:
        count = -(-self._settings.buffer // workers)
        # As many scenes as there would be with one view each: scenes are endless, so a gap
        # between two buffers costs nothing, while an overlap would repeat samples.
        first = number * (self._settings.buffer // len(self._names) + 1)
        names, seed = tuple(self._names), self._settings.seed
        realism = self._settings.realism, self._settings.furniture
        return _Job(seed, self._size, names, first, worker, workers, count, preprocessor, realism)


# Of rendering processes, the lowest priority. At equal priority they slow training on the same
# cores sixfold: every thread of a step waits for the one that was preempted.
_NICENESS = 19


def _init_worker(parent: int, niceness: int) -> None:
    """Tie a rendering process to its parent, at a lower priority."""
    exit_with_parent(parent, signal.SIGKILL)
    os.nice(niceness)


@dataclass(frozen=True)
class _Job:
    """What one process renders; see `sample_stream.samples`."""

    seed: int
    size: tuple[int, int]
    names: tuple[str, ...]
    first: int
    worker: int
    workers: int
    count: int
    preprocessor: Preprocessor
    realism: tuple[str, str]  # arguments of `Realism.parse`


def _render(job: _Job) -> dict[str, Any]:
    """One process's part of a buffer, as arrays, which are cheap to send between processes."""
    from diception_ros.simulation import sample_stream
    from diception_ros.simulation.realism import Realism

    torch.set_num_threads(1)
    samples = sample_stream.samples(
        job.seed, job.size, job.names, worker=job.worker, workers=job.workers, first=job.first,
        realism=Realism.parse(job.realism[0], job.realism[1] or None),
    )  # fmt: skip
    prepared = job.preprocessor.collate(itertools.islice(samples, job.count))
    values = {field.name: getattr(prepared, field.name) for field in fields(prepared)}
    return {
        name: value.numpy() if isinstance(value, torch.Tensor) else value
        for name, value in values.items()
    }


def _to_tensors(arrays: Mapping[str, Any]) -> Prepared:
    return Prepared(
        **{
            name: value if isinstance(value, tuple) else torch.from_numpy(value)
            for name, value in arrays.items()
        }
    )


def open_dataset(
    settings: TrainSettings, names: Sequence[str], resolution: int, ranks: Processes = SINGLE
) -> Dataset:
    """The data set that the settings name.

    Args:
        settings: of the run.
        names: tasks.
        resolution: S, side of the model input, pixels.
        ranks: the processes of a data-parallel run.

    Raises:
        FileNotFoundError, ValueError: the validation data are missing or invalid. Training data
            are read with the first buffer.
    """
    if settings.source == 'simulated':
        return SimulatedDataset(settings, names, resolution, ranks)
    if settings.source == 'labels':
        raise ValueError("source is 'labels'; those are read by diception adapt")

    def read(place: str) -> Iterable[Sample]:
        if settings.source == 'bag':
            from diception_ros.simulation import sample_stream

            return sample_stream.bag_samples(Path(place), names, settings.seed, metric=True)
        return (item for item in read_folder(Path(place)) if item.prompt.task in names)

    train, held_out = settings.folder or settings.bags, settings.validation_folder
    if settings.source == 'bag':
        held_out = settings.validation_bags
    validation = (
        take_per_task(read(held_out), names, settings.validation_samples) if held_out else []
    )
    return DiskDataset(lambda: read(train), validation)
