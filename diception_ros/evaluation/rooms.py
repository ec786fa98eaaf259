# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Judging a model on simulated rooms, beside what an answer that saw nothing would score.

A metric by itself says little: floors are near at the bottom of almost every picture. So each one
stands beside two controls on the same questions: `shuffled`, what the model answers when the
picture is that of another room, and `mean`, the mean of the pictures that should be painted for
rooms of the training split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import itertools

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Label, resize_label
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.sample import Sample
from diception_ros.evaluation import evaluators
from diception_ros.evaluation.evaluators import (
    EvalCallback,
    EvalItem,
    EvaluationResult,
    Evaluator,
)
from diception_ros.simulation import sample_stream, scenes
from diception_ros.simulation.scenes import Split
from diception_ros.tasks import BUILTIN, TaskRegistry

SHUFFLED, MEAN = 'shuffled', 'mean'

# Views of each room whose targets make the mean: loading a room costs three of them.
_MEAN_VIEWS = 4
# Purpose of `scenes.generator` that no other part uses: the five points.
_POINTS = 2**16

# Everything that is asked about one frame, answered in the order of the prompts.
PredictFn = Callable[[Frame, Sequence[Prompt]], Sequence[Label]]


def views(
    seed: int, size: tuple[int, int], split: Split, count: int, each: int = 1,
    backend: str | None = None,
) -> Iterator[tuple[list[Sample], np.random.Generator]]:  # fmt: skip
    """Render views of rooms, each with every question that the simulation has an answer for.

    Args:
        seed: of the rooms.
        size: (H, W), pixels.
        split: which rooms.
        count: of views.
        each: views of one room.
        backend: OpenGL library, see `sim.gl.context`.

    Yields:
        The samples of one view, and a source of chance that belongs to it.
    """
    # Always all tasks: what is asked for one must not depend on which others are.
    samples = sample_stream.samples(
        seed, size, split=split, views=each, metric=True, backend=backend
    )
    found = itertools.groupby(samples, key=lambda sample: sample.name.rsplit('/', 1)[0])
    for name, mine in itertools.islice(found, count):
        _, _, scene, view = name.split('/')
        rng = scenes.generator(seed, int(scene), split, _POINTS + int(view))
        yield list(mine), rng


def mean_pictures(
    groups: Iterable[Sequence[Sample]], resolution: int, registry: TaskRegistry = BUILTIN
) -> dict[str, NDArray[np.float32]]:
    """The mean of what should be painted, for each task.

    Args:
        groups: samples, of the training split.
        resolution: S, side of the model's square, pixels.
        registry: holds the samples' tasks.

    Returns:
        (S, S, 3) float32 in [0, 1] by name of task.
    """
    from diception_ros.datasets.batch import fit_label  # loads torch

    totals: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for sample in itertools.chain.from_iterable(groups):
        name = sample.prompt.task
        picture = registry.get(name).encode(fit_label(sample, resolution, registry))
        if name not in totals:
            totals[name], counts[name] = np.zeros(picture.shape), 0
        totals[name] += picture
        counts[name] += 1
    return {name: (total / counts[name]).astype(np.float32) for name, total in totals.items()}


def mean_of_rooms(
    seed: int, size: tuple[int, int], resolution: int, rooms: int, backend: str | None = None
) -> dict[str, NDArray[np.float32]]:
    """`mean_pictures` of the first rooms of the training split."""
    found = views(seed, size, 'train', rooms * _MEAN_VIEWS, _MEAN_VIEWS, backend)
    return mean_pictures((samples for samples, _ in found), resolution)


def evaluate(
    groups: Iterable[tuple[Sequence[Sample], np.random.Generator]],
    answers: Mapping[str, PredictFn],
    means: Mapping[str, NDArray[np.float32]],
    asked: Sequence[str],
    callbacks: Sequence[EvalCallback] = (),
    registry: TaskRegistry = BUILTIN,
) -> EvaluationResult:
    """Ask about every view and add up.

    The shuffled answers are worked out at the first number of steps alone: they see the wrong
    picture, whatever the steps. The picture is the next view's, and the first view's for the last.

    Args:
        groups: the samples of each view, and its source of chance; all views of one size where
            questions have points.
        answers: by column, such as '1' for one step; at least one.
        means: see `mean_pictures`; tasks without one have no control of that kind.
        asked: names of tasks; samples of others are left out.
        callbacks: see `EvalCallback`.
        registry: holds the tasks.

    Raises:
        ValueError: a task is not known, or its answers cannot be judged.
    """
    first, *others = answers
    columns = (*answers, SHUFFLED, MEAN)
    kinds = evaluators.names(asked)
    tallies = {
        kind: {column: evaluators.create(kind, registry) for column in columns} for kind in kinds
    }
    constant = Constant(means, registry)
    opening: Frame | None = None
    waiting: list[EvalItem] = []
    frames = 0
    for number, (samples, rng) in enumerate(groups):
        mine = [one for one in evaluators.build_items(samples, rng) if one.name in tallies]
        frame = samples[0].frame
        opening, frames = opening or frame, number + 1
        # Together, so that the picture is encoded once and the batch is large.
        found = answers[first](frame, [one.prompt for one in (*mine, *waiting)])
        for question, label in zip(mine, found[: len(mine)], strict=True):
            score = tallies[question.name][first].update(question, label)
            for callback in callbacks:
                callback.on_prediction(number, frame, question, label, score)
            answer = constant.answer(question.prompt, frame.size)
            if answer is not None:
                tallies[question.name][MEAN].update(question, answer)
        _count(waiting, found[len(mine) :], tallies, SHUFFLED)
        for column in others:
            prompts = [one.prompt for one in mine]
            _count(mine, answers[column](frame, prompts), tallies, column)
        waiting = mine
    if opening is not None and frames > 1:
        found = answers[first](opening, [one.prompt for one in waiting])
        _count(waiting, found, tallies, SHUFFLED)
    return _sum_up(tallies, columns, frames)


def _count(
    asked: Sequence[EvalItem],
    found: Sequence[Label],
    tallies: Mapping[str, Mapping[str, Evaluator]],
    column: str,
) -> None:
    for question, label in zip(asked, found, strict=True):
        # The answer to another picture may be of its size.
        tallies[question.name][column].update(question, resize_label(label, question.truth.size))


def _sum_up(
    tallies: Mapping[str, Mapping[str, Evaluator]], columns: tuple[str, ...], frames: int
) -> EvaluationResult:
    verdict = EvaluationResult(columns, {}, frames=frames)
    for kind, mine in tallies.items():
        results = {column: tally.compute() for column, tally in mine.items()}
        verdict.numbers[kind] = {
            metric: {column: results[column].get(metric, float('nan')) for column in columns}
            for metric in results[columns[0]]
        }
        categories = getattr(mine[columns[0]], 'categories', None)
        if categories is not None:
            verdict.categories = categories()
    return verdict


class Constant:
    """Answers that are read from the mean pictures.

    Args:
        means: see `mean_pictures`.
    """

    def __init__(
        self, means: Mapping[str, NDArray[np.float32]], registry: TaskRegistry = BUILTIN
    ) -> None:
        self._means, self._registry = means, registry
        self._read: dict[tuple[str, str | None, tuple[int, int]], Label] = {}

    def answer(self, prompt: Prompt, size: tuple[int, int]) -> Label | None:
        """What the mean picture says; None where there is none."""
        picture = self._means.get(prompt.task)
        if picture is None:
            return None
        key = prompt.task, prompt.category, size
        if key not in self._read:
            label = self._registry.get(prompt.task).decode(picture, prompt)
            self._read[key] = label.to_image_size(images.Fit(size, len(picture)))
        return self._read[key]
