# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Items to evaluate (a query and its true label), their scores, and baselines beside them.

Controls are what a prediction that ignores the image would score on the same queries. A metric by
itself says little: floors are near at the bottom of almost every image. So each one stands beside
two baselines: `shuffled`, what the model predicts when the image is another one, and `mean`, the
mean of the target images of the training data. A result that does not clearly beat both ignores
the image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
import itertools
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Label,
    Mask,
    MetricDepth,
    Normals,
    resize_label,
)
from diception_ros.core.prompt import MAX_POINTS, Point, Prompt
from diception_ros.datasets.sample import Sample, fit_label
from diception_ros.evaluation import metrics
from diception_ros.system.progress import SILENT, Progress
from diception_ros.tasks import BUILTIN, TaskRegistry, depth
from diception_ros.tasks.pose import PCK_FRACTION

# The names of items whose numbers suit each kind of label, for tasks that adapters add.
_FAMILIES: dict[type, str] = {
    Mask: 'segmentation',
    Instances: 'entity',
    Normals: 'normal',
    Disparity: 'depth',
    ImageLabel: 'rgb',
}
SHUFFLED, MEAN = 'shuffled', 'mean'
ONE_POINT, FIVE_POINTS = 'segmentation_1', 'segmentation_5'

# The longest diagonal of a simulated room is 10.4 m, so every pixel counts; predictions are
# clipped to the range, as the protocols of the data sets do.
ROOM_METRES = (1e-3, 12.0)
# For labels from anywhere; no depth is below a millimetre.
ANY_METRES = (1e-3, float('inf'))
# Views of each room whose targets make the mean: loading a room costs three of them.
_MEAN_VIEWS = 4

# All queries about one frame, answered in the order of the prompts.
PredictFn = Callable[[Frame, Sequence[Prompt]], Sequence[Label]]


def metric_family(name: str, registry: TaskRegistry = BUILTIN) -> str:
    """The name whose metrics hold for an item: its own; of an adapter's task one by its label."""
    return _FAMILIES[registry.get(name).label] if registry.is_adapter(name) else name


@dataclass(frozen=True, eq=False)
class EvalItem:
    """One query about one image, and its true label.

    Attributes:
        name: the task's name, or ONE_POINT or FIVE_POINTS.
        prompt: the query.
        truth: the true label.
        crowds: of instances, regions of several objects that are not told apart.
        areas: of people, (P,) square pixels that each covers; None estimates them.
        ignored: of people, (K, 4) boxes x, y, width, height without labelled joints.
    """

    name: str
    prompt: Prompt
    truth: Label
    crowds: Instances | None = None
    areas: NDArray[np.float64] | None = None
    ignored: NDArray[np.float64] | None = None


class EvalCallback(Protocol):
    """Receives each prediction of an evaluation, to draw it or to write it down."""

    def on_prediction(
        self,
        number: int,
        frame: Frame,
        item: EvalItem,
        predicted: Label,
        score: Mapping[str, float],
    ) -> None:
        """Called for every prediction of the first column; `number` is the frame's."""
        ...


@dataclass(eq=False)
class EvaluationResult:
    """The numbers of one evaluation.

    Attributes:
        columns: what predicted, such as each number of inference steps as a text, then baselines.
        numbers: by item name, metric and column.
        categories: IoU of each category of the semantic task, of the first column.
        frames: how many images were evaluated.
    """

    columns: tuple[str, ...]
    numbers: dict[str, dict[str, dict[str, float]]]
    categories: dict[str, float] = field(default_factory=dict)
    frames: int = 0


Score = Callable[[Any, Any], dict[str, float]]
# A metric that pools all images, and what of an item its update takes beside the two labels.
Pooled = tuple[Any, Callable[[EvalItem], tuple[Any, ...]]]


class Evaluator:
    """The numbers of all items of one name.

    Args:
        score: of a predicted and a true label, the numbers of one image; averaged over images.
        pooled: metrics over all images, which take precedence.
    """

    def __init__(self, score: Score, *pooled: Pooled) -> None:
        self._score, self._pooled = score, pooled
        self._mean = metrics.MeanMetric()

    def update(self, item: EvalItem, predicted: Any) -> dict[str, float]:
        """Count one prediction; returns the numbers of this one alone.

        Raises:
            ValueError: prediction and truth differ in size.
        """
        own: dict[str, float] = {}
        for metric, more in self._pooled:
            own |= metric.update(predicted, item.truth, *more(item)) or {}
        score = self._score(predicted, item.truth)
        self._mean.update(score)
        return {**own, **score}

    def compute(self) -> dict[str, float]:
        """The numbers of all predictions so far, NaN where nothing could be counted."""
        metrics = self._mean.compute()
        for metric, _ in self._pooled:
            metrics |= metric.compute()
        return metrics

    def categories(self) -> dict[str, float]:
        """IoU of each category; empty where the items have none."""
        for metric, _ in self._pooled:
            if isinstance(metric, metrics.CategoryIoU):
                return metric.categories()
        return {}


def by_metric(columns: Mapping[str, Evaluator]) -> dict[str, dict[str, float]]:
    """The numbers of evaluators by metric and column; the first one has all metrics, else NaN."""
    results = {column: evaluator.compute() for column, evaluator in columns.items()}
    return {
        metric: {column: result.get(metric, float('nan')) for column, result in results.items()}
        for metric in next(iter(results.values()))
    }


def create(name: str, registry: TaskRegistry = BUILTIN) -> Evaluator:
    """An empty evaluator for items of a name, whose task a registry holds."""
    family = metric_family(name, registry)
    if family == 'depth':
        return depth_evaluator(ROOM_METRES if name == 'depth' else ANY_METRES)
    if family == 'normal':
        return normals_evaluator()
    pooled: dict[str, list[Pooled]] = {
        'entity': [(metrics.InstanceAP(), lambda item: (item.crowds,))],
        'semantic': [
            (metrics.InstanceAP(by_category=True), lambda item: (item.crowds,)),
            (metrics.CategoryIoU(), lambda item: ((item.prompt.category or '').strip(),)),
        ],
        'pose': [(metrics.KeypointAP(PCK_FRACTION), lambda item: (item.areas, item.ignored))],
    }
    return Evaluator(registry.get(task_of(name)).score, *pooled.get(family, []))


def depth_evaluator(
    metres: tuple[float, float] = ROOM_METRES,
    fitted: Callable[[tuple[int, int]], NDArray[np.bool_] | None] = lambda size: None,
    more: Score = lambda predicted, truth: {},
) -> Evaluator:
    """Errors after aligning each image in disparity, and after aligning in depth (`_in_depth`).

    Args:
        metres: truths outside are unknown, and predictions are clipped to them.
        fitted: of the size (H, W), the pixels by which scale and shift are fitted; None for all.
        more: further numbers of a predicted disparity and a true depth.
    """
    task = depth.TASK

    def score(predicted: Any, truth: Any) -> dict[str, float]:
        if not isinstance(truth, MetricDepth):
            return task.score(predicted, truth)
        limits = (*metres, fitted(truth.size))
        scores = task.score(predicted, truth, 'disparity', *limits) | more(predicted, truth)
        other = task.score(predicted, truth, 'depth', *limits)
        return scores | {f'{name}_in_depth': other[name] for name in ('abs_rel', 'delta1')}

    return Evaluator(score)


def normals_evaluator(check_axes: bool = False) -> Evaluator:
    """Angles, the pixels of all images pooled; see `metrics.AngularError`."""
    return Evaluator(
        tasks.get('normal').score, (metrics.AngularError(check_axes), lambda item: ())
    )


def names(task_names: Iterable[str]) -> list[str]:
    """The names of items of some tasks, in the order of reports."""
    order = ['depth', 'normal', ONE_POINT, FIVE_POINTS, 'entity', 'semantic', 'pose']
    wanted = set(task_names)
    known = [name for name in order if task_of(name) in wanted]
    return known + sorted(wanted - {task_of(name) for name in order})


def task_of(name: str) -> str:
    """The task of an item's name."""
    return 'segmentation' if name in (ONE_POINT, FIVE_POINTS) else name


def build_items(samples: Sequence[Sample], rng: np.random.Generator) -> list[EvalItem]:
    """The items of the samples of one image; `rng` is for masks alone, see `mask_items`."""
    items: list[EvalItem] = []
    for sample in samples:
        if isinstance(sample.label, Mask) and sample.prompt.points:
            items += mask_items(sample.prompt, sample.label, rng)
        else:
            items.append(EvalItem(sample.prompt.task, sample.prompt, sample.label))
    return items


def mask_items(prompt: Prompt, mask: Mask, rng: np.random.Generator) -> list[EvalItem]:
    """A mask as two items, ONE_POINT and FIVE_POINTS; none where it has no pixel.

    The one point is the pixel of the object that is farthest from its outline and the border of
    the image, where Segment Anything's evaluation puts its first point; the five are different
    pixels of it at random, all given at once, as in the paper.
    """
    rows, columns = np.nonzero(mask.values)
    if not len(rows):
        return []
    picked = rng.choice(len(rows), min(MAX_POINTS, len(rows)), replace=False)
    five = tuple(Point(float(columns[k]), float(rows[k])) for k in picked)
    one = (innermost(mask.values),)
    return [
        EvalItem(name, Prompt(prompt.task, prompt.category, points), mask)
        for name, points in ((ONE_POINT, one), (FIVE_POINTS, five))
    ]


def innermost(mask: NDArray[np.bool_]) -> Point:
    """The first pixel of a mask, row by row, that is farthest from all pixels outside.

    The mask is (H, W) bool with at least one True; beyond the image everything is outside.

    Source: Segment Anything, evaluation of single clicks.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    # Squared, they are whole numbers: OpenCV 5's last bit depends on where the mask lies.
    distance = np.rint(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) ** 2)
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return Point(float(column) - 1, float(row) - 1)


# Controls, and evaluation beside them.


def shuffled_order(groups: Sequence[Hashable]) -> list[int]:
    """For each item the index of the next one of its group, cyclically.

    With tasks as groups, only the image is wrong then, not the query.
    """
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    following = {
        row: mine[(k + 1) % len(mine)] for mine in rows.values() for k, row in enumerate(mine)
    }
    return [following[row] for row in range(len(groups))]


def mean_targets(
    groups: Iterable[Sequence[Sample]], resolution: int, registry: TaskRegistry = BUILTIN
) -> dict[str, NDArray[np.float32]]:
    """The mean target image of each task, (S, S, 3) float32 in [0, 1], S being the resolution."""
    totals: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for sample in itertools.chain.from_iterable(groups):
        name = sample.prompt.task
        target = registry.get(name).encode(fit_label(sample, resolution, registry))
        if name not in totals:
            totals[name], counts[name] = np.zeros(target.shape), 0
        totals[name] += target
        counts[name] += 1
    return {name: (total / counts[name]).astype(np.float32) for name, total in totals.items()}


class MeanBaseline:
    """Predictions decoded from mean targets, see `mean_targets`."""

    def __init__(
        self, means: Mapping[str, NDArray[np.float32]], registry: TaskRegistry = BUILTIN
    ) -> None:
        self._means, self._registry = means, registry
        self._decoded: dict[tuple[str, str | None, tuple[int, int]], Label] = {}

    def predict(self, prompt: Prompt, size: tuple[int, int]) -> Label | None:
        """The label in the mean target, at a size (H, W); None where the task has no mean."""
        target = self._means.get(prompt.task)
        if target is None:
            return None
        key = prompt.task, prompt.category, size
        if key not in self._decoded:
            label: Label = self._registry.get(prompt.task).decode(target, prompt)
            self._decoded[key] = label.to_image_size(images.ResizeTransform(size, len(target)))
        return self._decoded[key]


def mean_of_rooms(
    seed: int,
    size: tuple[int, int],
    resolution: int,
    rooms: int,
    backend: str | None = None,
    progress: Progress = SILENT,
) -> dict[str, NDArray[np.float32]]:
    """`mean_targets` of the first rooms of the training split."""
    from diception_ros.simulation import sample_stream  # loads what rooms are made of

    count = rooms * _MEAN_VIEWS
    views = sample_stream.room_views(seed, size, 'train', count, _MEAN_VIEWS, backend)
    room_views_read = progress.each(views, count, 'mean image', 'view')
    return mean_targets((samples for samples, _ in room_views_read), resolution)


def evaluate_samples(
    groups: Iterable[tuple[Sequence[Sample], np.random.Generator]],
    predict: Mapping[str, PredictFn],
    means: Mapping[str, NDArray[np.float32]],
    task_names: Sequence[str],
    callbacks: Sequence[EvalCallback] = (),
    registry: TaskRegistry = BUILTIN,
) -> EvaluationResult:
    """Evaluate the samples of each image, such as a view of a simulated room.

    Raises:
        ValueError: a task is not known, or its labels cannot be scored.
    """
    built = ((samples[0].frame, build_items(samples, rng)) for samples, rng in groups)
    return evaluate_items(built, predict, means, names(task_names), callbacks, registry)


def evaluate_items(
    groups: Iterable[tuple[Frame, Sequence[EvalItem]]],
    predict: Mapping[str, PredictFn],
    means: Mapping[str, NDArray[np.float32]],
    names: Sequence[str],
    callbacks: Sequence[EvalCallback] = (),
    registry: TaskRegistry = BUILTIN,
) -> EvaluationResult:
    """Evaluate the items of each frame, beside both baselines.

    The shuffled predictions are computed in the first column alone: they see the wrong image,
    whatever the number of steps. The image is the next frame's, and the first one's for the last.

    Args:
        groups: frames with their items.
        predict: by column; at least one.
        means: see `mean_targets`.
        names: of items, see `names`; others are dropped.
        callbacks: receive the predictions of the first column.
        registry: holds the tasks.
    """
    first, *others = predict
    columns = (*predict, SHUFFLED, MEAN)
    scores = {name: {column: create(name, registry) for column in columns} for name in names}
    baseline = MeanBaseline(means, registry)
    opening: Frame | None = None
    waiting: list[EvalItem] = []
    frames = 0
    for number, (frame, items) in enumerate(groups):
        mine = [item for item in items if item.name in scores]
        opening, frames = opening or frame, number + 1
        # Together, so that the image is encoded once and the batch is large.
        prompts = [item.prompt for item in mine] + [_on(item, frame.size) for item in waiting]
        labels = predict[first](frame, prompts)
        for item, label in zip(mine, labels[: len(mine)], strict=True):
            score = scores[item.name][first].update(item, label)
            for callback in callbacks:
                callback.on_prediction(number, frame, item, label, score)
            constant = baseline.predict(item.prompt, frame.size)
            if constant is not None:
                scores[item.name][MEAN].update(item, constant)
        _count(waiting, labels[len(mine) :], scores, SHUFFLED)
        for column in others:
            prompts = [item.prompt for item in mine]
            _count(mine, predict[column](frame, prompts), scores, column)
        waiting = mine
    if opening is not None and frames > 1:
        labels = predict[first](opening, [_on(item, opening.size) for item in waiting])
        _count(waiting, labels, scores, SHUFFLED)
    result = EvaluationResult(columns, {}, frames=frames)
    for name, mine_by_column in scores.items():
        result.numbers[name] = by_metric(mine_by_column)
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
