# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation on groups of samples, such as views of simulated rooms, beside both controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
import itertools

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Label, resize_label
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets.sample import Sample
from diception_ros.evaluation import evaluators
from diception_ros.evaluation.controls import MEAN, SHUFFLED, MeanControl, mean_targets
from diception_ros.evaluation.evaluators import (
    EvalCallback,
    EvalItem,
    EvaluationResult,
    Evaluator,
)
from diception_ros.simulation import sample_stream, scenes
from diception_ros.simulation.scenes import Split
from diception_ros.system.progress import SILENT, Progress
from diception_ros.tasks import BUILTIN, TaskRegistry

# Views of each room whose targets make the mean: loading a room costs three of them.
_MEAN_VIEWS = 4
# Purpose of `scenes.rng_for` that no other part uses: the five points.
_POINTS = 2**16

# All queries about one frame, answered in the order of the prompts.
PredictFn = Callable[[Frame, Sequence[Prompt]], Sequence[Label]]
# Items of one image: samples with a source of randomness, or the frame and its items.
Group = tuple[Sequence[Sample], np.random.Generator]


def views(
    seed: int, size: tuple[int, int], split: Split, count: int, each: int = 1,
    backend: str | None = None,
) -> Iterator[Group]:  # fmt: skip
    """Render views of rooms, each with every query that the simulation knows the label of.

    Args:
        seed: of the rooms.
        size: (H, W), pixels.
        split: which rooms.
        count: of views.
        each: views of one room.
        backend: OpenGL library, see `simulation.renderer`.

    Yields:
        The samples of one view, and a source of randomness that belongs to it.
    """
    # Always all tasks: the queries of one must not depend on which others are evaluated.
    samples = sample_stream.samples(
        seed, size, split=split, views=each, metric=True, backend=backend
    )
    found = itertools.groupby(samples, key=lambda sample: sample.name.rsplit('/', 1)[0])
    for name, mine in itertools.islice(found, count):
        _, _, scene, view = name.split('/')
        rng = scenes.rng_for(seed, int(scene), split, _POINTS + int(view))
        yield list(mine), rng


def mean_of_rooms(
    seed: int,
    size: tuple[int, int],
    resolution: int,
    rooms: int,
    backend: str | None = None,
    progress: Progress = SILENT,
) -> dict[str, NDArray[np.float32]]:
    """`controls.mean_targets` of the first rooms of the training split."""
    count = rooms * _MEAN_VIEWS
    found = progress.each(
        views(seed, size, 'train', count, _MEAN_VIEWS, backend), count, 'mean image', 'view'
    )
    return mean_targets((samples for samples, _ in found), resolution)


def evaluate(
    groups: Iterable[Group],
    predict: Mapping[str, PredictFn],
    means: Mapping[str, NDArray[np.float32]],
    task_names: Sequence[str],
    callbacks: Sequence[EvalCallback] = (),
    registry: TaskRegistry = BUILTIN,
) -> EvaluationResult:
    """Evaluate every view.

    Args:
        groups: the samples of each view, and its source of randomness.
        predict: by column, such as '1' for one inference step; at least one.
        means: see `controls.mean_targets`; tasks without one have no control of that kind.
        task_names: names of tasks; samples of others are dropped.
        callbacks: receive the predictions of the first column.
        registry: holds the tasks.

    Raises:
        ValueError: a task is not known, or its labels cannot be scored.
    """
    built = ((samples[0].frame, evaluators.build_items(samples, rng)) for samples, rng in groups)
    return evaluate_items(built, predict, means, evaluators.names(task_names), callbacks, registry)


def evaluate_items(
    groups: Iterable[tuple[Frame, Sequence[EvalItem]]],
    predict: Mapping[str, PredictFn],
    means: Mapping[str, NDArray[np.float32]],
    names: Sequence[str],
    callbacks: Sequence[EvalCallback] = (),
    registry: TaskRegistry = BUILTIN,
) -> EvaluationResult:
    """Evaluate the items of each frame, beside both controls.

    The shuffled predictions are computed in the first column alone: they see the wrong image,
    whatever the number of steps. The image is the next frame's, and the first one's for the last.

    Args:
        groups: frames with their items.
        predict: by column; at least one.
        means: see `controls.mean_targets`.
        names: of items, see `evaluators.names`; others are dropped.
        callbacks: receive the predictions of the first column.
        registry: holds the tasks.
    """
    first, *others = predict
    columns = (*predict, SHUFFLED, MEAN)
    scores = {
        name: {column: evaluators.create(name, registry) for column in columns} for name in names
    }
    control = MeanControl(means, registry)
    opening: Frame | None = None
    waiting: list[EvalItem] = []
    frames = 0
    for number, (frame, items) in enumerate(groups):
        mine = [item for item in items if item.name in scores]
        opening, frames = opening or frame, number + 1
        # Together, so that the image is encoded once and the batch is large.
        prompts = [item.prompt for item in mine] + [_on(item, frame.size) for item in waiting]
        found = predict[first](frame, prompts)
        for item, label in zip(mine, found[: len(mine)], strict=True):
            score = scores[item.name][first].update(item, label)
            for callback in callbacks:
                callback.on_prediction(number, frame, item, label, score)
            constant = control.predict(item.prompt, frame.size)
            if constant is not None:
                scores[item.name][MEAN].update(item, constant)
        _count(waiting, found[len(mine) :], scores, SHUFFLED)
        for column in others:
            prompts = [item.prompt for item in mine]
            _count(mine, predict[column](frame, prompts), scores, column)
        waiting = mine
    if opening is not None and frames > 1:
        found = predict[first](opening, [_on(item, opening.size) for item in waiting])
        _count(waiting, found, scores, SHUFFLED)
    result = EvaluationResult(columns, {}, frames=frames)
    for name, mine_by_column in scores.items():
        result.numbers[name] = evaluators.by_metric(mine_by_column)
        result.categories |= mine_by_column[first].categories()
    return result


def _on(item: EvalItem, size: tuple[int, int]) -> Prompt:
    """The prompt of an item on an image of another size: its points move with the pixels."""
    prompt, (height, width) = item.prompt, item.truth.size
    if not prompt.points or size == (height, width):
        return prompt
    across, down = size[1] / width, size[0] / height
    points = tuple(
        Point((x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5) for x, y in prompt.points
    )
    return replace(prompt, points=points)


def _count(
    items: Sequence[EvalItem],
    labels: Sequence[Label],
    scores: Mapping[str, Mapping[str, Evaluator]],
    column: str,
) -> None:
    for item, label in zip(items, labels, strict=True):
        # The prediction for another image may be of its size.
        scores[item.name][column].update(item, resize_label(label, item.truth.size))
