# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training data sets: simulated rooms, folders, bags, COCO-format images, RGB-D, or in memory.

A data set provides buffers: sets of samples that are preprocessed once and kept in memory. The
content of a buffer depends on its number alone, so a resumed run loads the same one again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
import hashlib
import itertools
import multiprocessing
import os
from pathlib import Path
import signal
from typing import Any, Protocol
import zlib

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Instances, Keypoints, Label, MetricDepth, Normals
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import batch, coco, rgbd
from diception_ros.datasets.batch import Prepared, Window
from diception_ros.datasets.coco import CocoFrame, CocoSet
from diception_ros.datasets.rgbd import RgbdSource
from diception_ros.datasets.sample import Sample, read_folder
from diception_ros.evaluation import dataset_scores, rgbd_scores
from diception_ros.simulation.views import GroundTruth
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


# Side of a crop by that of the object in it, drawn between these, and the least of an object that
# is smaller, pixels. Source: the eleventh run of bench/notes/builtin_model_runs.md.
_CROP_SCALES, _MIN_OBJECT = (1.1, 3.5), 100
# Sides of parts of RGB-D frames, as shares of the frame's, and the share of a sample's pixels
# whose label must be known. As in the thirteenth run of the same notes, which was not measured.
_RGBD_CROP_SCALES, MIN_KNOWN_SHARE = (0.45, 0.95), 0.3


class AddedDataset:
    """Images that somebody annotated, alone or added to the buffers of another data set.

    A buffer holds each image as a whole, and parts of it that are drawn anew for each buffer.

    Args:
        train: samples of the images and their parts, drawn from a seed.
        held_out: samples for validation.
        seed: of the run.
        other: whose buffers the samples join; None for none.
    """

    def __init__(
        self,
        train: Callable[[tuple[int, ...]], Iterable[Sample]],
        held_out: Callable[[], list[Sample]],
        seed: int,
        other: Dataset | None = None,
    ) -> None:
        self._train, self._held_out = train, held_out
        self._seed, self._other = seed, other

    def buffer(self, number: int, preprocessor: Preprocessor) -> Prepared:
        parts = [preprocessor.collate(self._train((self._seed, number)))]
        if self._other is not None:
            parts.insert(0, self._other.buffer(number, preprocessor))
        return batch.join(parts)

    def validation(self) -> list[Sample]:
        others = [] if self._other is None else self._other.validation()
        return [*others, *self._held_out()]

    def close(self) -> None:
        if self._other is not None:
            self._other.close()


def coco_dataset(
    settings: TrainSettings, names: Sequence[str], other: Dataset | None = None
) -> AddedDataset:
    """COCO-format images, for all tasks but depth and normals.

    Args:
        settings: coco, validation_coco, coco_crops, seed and validation_samples.
        names: tasks; those without annotations have no samples here.
        other: whose buffers the samples join; None for none.

    Raises:
        FileNotFoundError: see `coco.find_set`.
        ValueError: likewise, or no task has annotations.
    """
    found = coco.find_set(Path(settings.coco))
    _check_tasks(settings.coco, 'COCO annotations', dataset_scores.coco_tasks(found), names)
    held_out = coco.find_set(Path(settings.validation_coco)) if settings.validation_coco else None

    def validation() -> list[Sample]:
        if held_out is None:
            return []
        samples = coco_samples(held_out, names, (settings.seed,))
        return take_per_task(samples, names, settings.validation_samples)

    return AddedDataset(
        lambda seed: coco_samples(found, names, seed, settings.coco_crops),
        validation, settings.seed, other,
    )  # fmt: skip


def rgbd_dataset(
    settings: TrainSettings, names: Sequence[str], other: Dataset | None = None
) -> AddedDataset:
    """RGB-D recordings, for depth and normals.

    Args:
        settings: rgbd, validation_rgbd, rgbd_crops, seed and validation_samples.
        names: tasks; those other than depth and normal have no samples here.
        other: whose buffers the samples join; None for none.

    Raises:
        FileNotFoundError: see `rgbd.find_sources`.
        ValueError: likewise, or neither task is trained.
    """
    found = rgbd.find_sources(Path(settings.rgbd))
    _check_tasks(settings.rgbd, 'measured depth', rgbd_scores.TASKS, names)
    held_out = (
        rgbd.find_sources(Path(settings.validation_rgbd)) if settings.validation_rgbd else []
    )

    def validation() -> list[Sample]:
        samples = rgbd_samples(held_out, names, (settings.seed,))
        return take_per_task(samples, names, settings.validation_samples)

    return AddedDataset(
        lambda seed: rgbd_samples(found, names, seed, settings.rgbd_crops),
        validation, settings.seed, other,
    )  # fmt: skip


def _check_tasks(place: str, what: str, known: Sequence[str], names: Sequence[str]) -> None:
    if not set(known) & set(names):
        raise ValueError(
            f'{place}: expected a task with {what} in task_weights ({", ".join(known)}), '
            f'got {", ".join(names)}'
        )


def rgbd_samples(
    sources: Sequence[RgbdSource], names: Sequence[str], seed: tuple[int, ...], crops: int = 0
) -> Iterator[Sample]:
    """Depth and normals of RGB-D frames: of each as a whole, then of parts of it.

    Normals are those of `rgbd.plane_normals`; a source whose intrinsics are not known has none. A
    part of which less than MIN_KNOWN_SHARE is known has no sample.

    Args:
        sources: the recordings.
        names: tasks; those other than depth and normal have no samples.
        seed: of the parts, which depend on it and the frame's name.
        crops: parts of each frame.

    Raises:
        OSError, ValueError: a file cannot be read; see `datasets.rgbd`.
    """
    for source, item in rgbd.in_turn(sources):
        name = f'{source.name}/{item.name}'
        labels: dict[str, Label] = {'depth': item.depth}
        if 'normal' in names and source.intrinsics_known:
            assert item.frame.intrinsics is not None
            labels['normal'] = rgbd.plane_normals(item.depth, item.frame.intrinsics)
        whole = [
            Sample(item.frame, Prompt(task), labels[task], None, name)
            for task in rgbd_scores.TASKS
            if task in names and task in labels
        ]
        rng = np.random.default_rng((*seed, zlib.crc32(name.encode())))
        windows = [_random_window(item.frame.size, rng) for _ in range(crops)]
        parts = [batch.crop(sample, window) for window in windows for sample in whole]
        for sample in (*whole, *parts):
            if sample.label.valid.mean() >= MIN_KNOWN_SHARE:
                yield sample


def _random_window(size: tuple[int, int], rng: np.random.Generator) -> Window:
    """A part of an image, of its shape."""
    scale = rng.uniform(*_RGBD_CROP_SCALES)
    height, width = (max(1, round(scale * length)) for length in size)
    top, left = (
        int(rng.integers(whole - length + 1))
        for whole, length in zip(size, (height, width), strict=True)
    )
    return Window(top, left, height, width)


def coco_samples(
    annotated: CocoSet, names: Sequence[str], seed: tuple[int, ...], crops: int = 0
) -> Iterator[Sample]:
    """Samples of COCO-format images: of each as a whole, then of parts around its objects.

    What a crowd makes unknown has no sample: entities beside a crowd, the crowd's category, and
    people beside one without labelled joints. Objects that nobody annotated count as background.

    Args:
        annotated: the images.
        names: tasks; depth and normals have no samples.
        seed: of parts and prompts, which depend on it and the image's name.
        crops: parts of each image.

    Raises:
        FileNotFoundError, ValueError: see `CocoSet.frames`.
    """
    from diception_ros.simulation import sample_stream  # imports the renderer

    known = dataset_scores.coco_tasks(annotated)
    tasks = [name for name in names if name in known]
    for image in annotated.frames():
        rng = np.random.default_rng((*seed, image.seed))
        height, width = image.frame.size
        windows = [Window(0, 0, height, width)]
        if len(image.objects.scores):
            windows += [_object_window(image.objects, rng) for _ in range(crops)]
        for window in windows:
            part = CocoView(image, window)
            name = f'{image.name}/{window.left},{window.top},{window.width}x{window.height}'
            for sample in sample_stream.samples_of_image(part, part.frame, None, tasks, rng, name):
                if part.is_known(sample.prompt):
                    yield sample


def _object_window(objects: Instances, rng: np.random.Generator) -> Window:
    """A part of an image around one of its objects, of about the image's shape."""
    left, top, right, bottom = objects.boxes[int(rng.integers(len(objects.scores)))].tolist()
    side = max(right - left, bottom - top, _MIN_OBJECT) * rng.uniform(*_CROP_SCALES)
    scale = min(1.0, side / min(objects.size))
    height, width = (max(1, round(scale * length)) for length in objects.size)
    # The object is inside as far as it fits, anywhere.
    spans = zip((top, left), (bottom, right), (height, width), objects.size, strict=True)
    places = []
    for first, last, length, end in spans:
        bounds = sorted((first, last - length))
        low, high = (min(max(bound, 0), end - length) for bound in bounds)
        places.append(int(rng.integers(low, high + 1)))
    return Window(places[0], places[1], height, width)


class CocoView(GroundTruth):
    """A part of a COCO-format image with its annotations.

    Args:
        image: the whole.
        window: the part.

    Attributes:
        frame: the part's image.
    """

    def __init__(self, image: CocoFrame, window: Window) -> None:
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        pixels = np.ascontiguousarray(image.frame.image[rows, columns])
        self.frame = Frame(pixels, image.frame.stamp_ns, image.frame.frame_id)
        self._objects, self._crowds = (
            label.crop(rows, columns) for label in (image.objects, image.crowds)
        )
        self._people = None if image.people is None else image.people.crop(rows, columns)
        x, y, width, height = image.ignored.T
        self._has_ignored_people = bool(
            ((x < columns.stop) & (x + width > columns.start)
             & (y < rows.stop) & (y + height > rows.start)).any()
        )  # fmt: skip

    @property
    def size(self) -> tuple[int, int]:
        return self.frame.size

    def numbered(self) -> tuple[NDArray[np.int32], tuple[str, ...], tuple[str, ...]]:
        return self._objects.ids, self._objects.categories, ()

    def keypoints(self) -> Keypoints:
        if self._people is None:
            raise ValueError('expected keypoints in the annotations, got none')
        return self._people

    @property
    def has_people_without_joints(self) -> bool:
        return self._has_ignored_people

    def metric_depth(self) -> MetricDepth:
        raise ValueError('COCO annotations hold no depth')

    def surface_normals(self) -> Normals:
        raise ValueError('COCO annotations hold no normals')

    def is_known(self, prompt: Prompt) -> bool:
        """Whether no crowd hides the true answer."""
        if prompt.task == 'entity':
            return not self._crowds.categories
        return prompt.task != 'semantic' or prompt.category not in self._crowds.categories


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
    added = {'coco': coco_dataset, 'rgbd': rgbd_dataset}
    for name in sorted(added, key=lambda name: name == settings.source):
        if getattr(settings, name):
            other = None
            if settings.source != name:
                without: dict[str, Any] = {name: '', f'validation_{name}': ''}
                other = open_dataset(replace(settings, **without), names, resolution, ranks)
            return added[name](settings, names, other)
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
