# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked about a view with known answers, and which numbers are made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.core.frame import Frame
from diception_ros.core.labels import (
    Disparity,
    Instances,
    Label,
    Mask,
    MetricDepth,
    Normals,
    Picture,
)
from diception_ros.core.prompt import MAX_POINTS, Point, Prompt
from diception_ros.datasets.sample import Sample
from diception_ros.evaluation import metrics
from diception_ros.tasks import BUILTIN, Task, TaskRegistry, depth
from diception_ros.tasks.normal import angles_deg
from diception_ros.tasks.pose import RIGHT

# How the tasks of adapters are judged: by what their answers are, whatever they are called.


# The kind of question whose numbers suit each kind of answer.
_LIKE: dict[type, str] = {
    Mask: 'segmentation',
    Instances: 'entity',
    Normals: 'normal',
    Disparity: 'depth',
    Picture: 'rgb',
}


def metric_family(question: str, registry: TaskRegistry = BUILTIN) -> str:
    """The kind of question whose numbers and directions hold for one.

    Args:
        question: its name.
        registry: holds its task.

    Returns:
        The name itself, but for a task that an adapter brought: 'segmentation', 'entity',
        'normal', 'depth' or 'rgb'.
    """
    if not registry.is_adapter(question):
        return question
    return _LIKE[registry.get(question).label]


ONE_POINT, FIVE_POINTS = 'segmentation_1', 'segmentation_5'

# Of a simulated room the longest diagonal is 10.4 m, so every pixel counts; an answer is clipped
# to the range, as the protocols of the data sets do.
ROOM_METRES = (1e-3, 12.0)
# Of labels that may be of anywhere; nearer ones than a millimetre are none.
ANY_METRES = (1e-3, float('inf'))


@dataclass(frozen=True, eq=False)
class EvalItem:
    """One question about a view.

    Attributes:
        name: of the kind of question: the task's name, or which points a mask is asked with.
        prompt: what is asked.
        truth: the true answer.
    """

    name: str
    prompt: Prompt
    truth: Label


class Evaluator(Protocol):
    """Gathers the numbers of one kind of question."""

    def update(self, question: EvalItem, predicted: Any) -> dict[str, float]:
        """Count one answer; returns the numbers of this answer alone."""
        ...

    def compute(self) -> dict[str, float]:
        """The numbers of all answers so far, NaN where nothing could be counted."""
        ...


def names(asked: Iterable[str]) -> list[str]:
    """The kinds of question for some tasks, in the order of reports."""
    order = ['depth', 'normal', ONE_POINT, FIVE_POINTS, 'entity', 'semantic', 'pose']
    wanted = set(asked)
    known = [name for name in order if task_of(name) in wanted]
    return known + sorted(wanted - {task_of(name) for name in order})


def task_of(name: str) -> str:
    """The task of a kind of question."""
    return 'segmentation' if name in (ONE_POINT, FIVE_POINTS) else name


def build_items(samples: Sequence[Sample], rng: np.random.Generator) -> list[EvalItem]:
    """Questions about one view.

    A mask is asked for twice: with one point, the pixel of the thing that is farthest from its
    outline and the rim of the picture, where Segment Anything's evaluation puts its first point;
    and with five different pixels of it at random, all at once, as the paper does.

    Args:
        samples: of one view.
        rng: where chance comes from; used for masks alone.
    """
    out = []
    for sample in samples:
        if isinstance(sample.label, Mask) and sample.prompt.points:
            rows, columns = np.nonzero(sample.label.values)
            if not len(rows):
                continue
            picked = rng.choice(len(rows), min(MAX_POINTS, len(rows)), replace=False)
            five = tuple(Point(float(columns[k]), float(rows[k])) for k in picked)
            one = (innermost(sample.label.values),)
            for name, points in ((ONE_POINT, one), (FIVE_POINTS, five)):
                prompt = Prompt(sample.prompt.task, sample.prompt.category, points)
                out.append(EvalItem(name, prompt, sample.label))
        else:
            out.append(EvalItem(sample.prompt.task, sample.prompt, sample.label))
    return out


def innermost(mask: NDArray[np.bool_]) -> Point:
    """The pixel of a mask that is farthest from all that is not the mask.

    Args:
        mask: (H, W) bool, at least one True; beyond the rim of the picture nothing is.

    Returns:
        The first such pixel, row by row.

    Source: Segment Anything, evaluation of single clicks.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    # Squared, they are whole numbers: OpenCV 5's last bit depends on where the mask lies.
    distance = np.rint(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) ** 2)
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return Point(float(column) - 1, float(row) - 1)


def create(name: str, registry: TaskRegistry = BUILTIN) -> Evaluator:
    """A fresh evaluator for a kind of question, whose task a registry holds."""
    special: dict[str, Callable[[], Evaluator]] = {
        'depth': DepthEvaluator,
        'normal': NormalsEvaluator,
        'entity': _EntityEvaluator,
        'semantic': _SemanticEvaluator,
        'pose': _PoseEvaluator,
    }
    kind = metric_family(name, registry)
    if kind == 'depth' != name:
        return DepthEvaluator(ANY_METRES)
    return special[kind]() if kind in special else _TaskScoreEvaluator(registry.get(task_of(name)))


class _TaskScoreEvaluator:
    """The numbers of the task's own `score`, every picture counting the same."""

    def __init__(self, task: Task[Any]) -> None:
        self._task = task
        self._means = metrics.MeanMetric()

    def update(self, question: EvalItem, predicted: Any) -> dict[str, float]:
        score = self._task.score(predicted, question.truth)
        self._means.update(score)
        return score

    def compute(self) -> dict[str, float]:
        return self._means.compute()


class DepthEvaluator:
    """Errors after aligning each picture, in disparity, and for comparison in depth.

    Args:
        metres: truths outside are unknown, and predictions are clipped to them.
        fitted: of the size (H, W), the pixels by which scale and shift are fitted; None for all.
    """

    def __init__(
        self,
        metres: tuple[float, float] = ROOM_METRES,
        fitted: Callable[[tuple[int, int]], NDArray[np.bool_] | None] = lambda size: None,
    ) -> None:
        self._metres, self._fitted = metres, fitted
        self._means = metrics.MeanMetric()

    def update(self, question: EvalItem, predicted: Any) -> dict[str, float]:
        """See `Evaluator`; the two numbers after an alignment in depth end in `_in_depth`."""
        task, truth = depth.Depth(), question.truth
        if isinstance(truth, MetricDepth):
            more = (*self._metres, self._fitted(truth.size))
            score = task.score(predicted, truth, 'disparity', *more)
            other = task.score(predicted, truth, 'depth', *more)
            score |= {f'{number}_in_depth': other[number] for number in ('abs_rel', 'delta1')}
        else:
            score = task.score(predicted, truth)  # type: ignore[arg-type]
        self._means.update(score)
        return score

    def compute(self) -> dict[str, float]:
        """See `Evaluator`."""
        return self._means.compute()


class NormalsEvaluator(_TaskScoreEvaluator):
    """AngularError, the pixels of all pictures pooled.

    Args:
        check_axes: whether to tell, too, what the mean angle would be if the truth's x, y or z
            pointed the other way.
    """

    def __init__(self, check_axes: bool = False) -> None:
        super().__init__(tasks.get('normal'))
        self._angles = metrics.AngularError()
        self._mirrored = {name: [0.0, 0] for name in 'xyz' if check_axes}

    def update(self, question: EvalItem, predicted: Any) -> dict[str, float]:
        """See `Evaluator`."""
        truth: Any = question.truth
        self._angles.update(predicted, truth)
        for name, sums in self._mirrored.items():
            signs = np.where(np.array(list('xyz')) == name, -1, 1).astype(np.float32)
            angles = angles_deg(predicted, Normals(truth.vectors * signs))
            sums[0] += float(angles.sum())
            sums[1] += angles.size
        return super().update(question, predicted)

    def compute(self) -> dict[str, float]:
        """See `Evaluator`."""
        means = {
            f'mean_deg_{name}': total / count if count else float('nan')
            for name, (total, count) in self._mirrored.items()
        }
        return {**self._angles.compute(), **means}


class _EntityEvaluator(_TaskScoreEvaluator):
    """COCO's recall and precision whatever the category, and the task's own numbers."""

    def __init__(self) -> None:
        super().__init__(tasks.get('entity'))
        self._things = metrics.InstanceAP()

    def update(self, question: EvalItem, predicted: Any) -> dict[str, float]:
        self._things.update(predicted, question.truth)  # type: ignore[arg-type]
        return super().update(question, predicted)

    def compute(self) -> dict[str, float]:
        return {**super().compute(), **self._things.compute()}


class _SemanticEvaluator(_TaskScoreEvaluator):
    """Pixels of the category; COCO's numbers, a mean over categories; the task's own."""

    def __init__(self) -> None:
        super().__init__(tasks.get('semantic'))
        self._things = metrics.InstanceAP(by_category=True)
        self._pixels = metrics.CategoryIoU()

    def update(self, question: EvalItem, predicted: Any) -> dict[str, float]:
        self._things.update(predicted, question.truth)  # type: ignore[arg-type]
        category = (question.prompt.category or '').strip()
        iou = self._pixels.update(predicted, question.truth, category)  # type: ignore[arg-type]
        return {'iou': iou, **super().update(question, predicted)}

    def compute(self) -> dict[str, float]:
        return {**super().compute(), **self._things.compute(), **self._pixels.compute()}

    def categories(self) -> dict[str, float]:
        """Intersection over union of each category."""
        return self._pixels.categories()


class _PoseEvaluator(_TaskScoreEvaluator):
    """COCO's numbers, and the joints within a tenth of the person's box, pooled."""

    def __init__(self) -> None:
        super().__init__(tasks.get('pose'))
        self._people = metrics.KeypointAP(RIGHT)

    def update(self, question: EvalItem, predicted: Any) -> dict[str, float]:
        self._people.update(predicted, question.truth)  # type: ignore[arg-type]
        return super().update(question, predicted)

    def compute(self) -> dict[str, float]:
        return {**super().compute(), **self._people.compute()}


# What an evaluation says, and who may look on.


class EvalCallback(Protocol):
    """Looks on while a model is judged, to draw or to write down."""

    def on_prediction(
        self,
        number: int,
        frame: Frame,
        question: EvalItem,
        predicted: Label,
        score: Mapping[str, float],
    ) -> None:
        """Called for every answer of the first column; `number` is the frame's."""
        ...


@dataclass(eq=False)
class EvaluationResult:
    """The numbers of one evaluation.

    Attributes:
        columns: what answered, such as each number of steps as a text, then 'shuffled' and 'mean'.
        numbers: by kind of question, metric and column.
        categories: IoU of each category of the semantic task, at the first number of steps.
        frames: how many pictures were asked about.
    """

    columns: tuple[str, ...]
    numbers: dict[str, dict[str, dict[str, float]]]
    categories: dict[str, float] = field(default_factory=dict)
    frames: int = 0
