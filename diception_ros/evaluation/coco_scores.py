# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation on COCO-format annotations, with the items and controls of rooms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Instances, Mask
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.coco_eval import CocoFrame, CocoSet
from diception_ros.datasets.sample import Sample
from diception_ros.evaluation import evaluators, rooms
from diception_ros.evaluation.controls import mean_targets
from diception_ros.evaluation.evaluators import (
    FIVE_POINTS,
    ONE_POINT,
    EvalCallback,
    EvalItem,
    EvaluationResult,
)
from diception_ros.evaluation.rooms import PredictFn

TASKS = ('segmentation', 'entity', 'semantic', 'pose')
# Figures of the paper, arXiv 2502.17157: points on the mean of 23 data sets (not COCO), the others
# on COCO val2017; how it chose categories and scored people it doesn't say in full.
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    ONE_POINT: {'iou': 0.471},
    FIVE_POINTS: {'iou': 0.572},
    'entity': {'ar_small': 0.121, 'ar_medium': 0.439, 'ar_large': 0.637},
    'semantic': {'ap': 0.332},
    'pose': {'ap': 0.578},
}
SHOWN = {
    ONE_POINT: {'iou': 1},
    FIVE_POINTS: {'iou': 1},
    'entity': {'ar': 1, 'ar_small': 1, 'ar_medium': 1, 'ar_large': 1, 'ap': 1, 'mean_iou': 1},
    'semantic': {'ap': 1, 'ar': 1, 'iou': 1, 'category_iou': 1, 'mean_iou': 1},
    'pose': {'ap': 1, 'ap50': 1, 'ar': 1, 'pck': 1, 'located': 1},
}


def tasks_of(found: CocoSet, task_names: Sequence[str] = TASKS) -> list[str]:
    """The tasks that a set has annotations for, of those asked."""
    return [task for task in task_names if task in TASKS and (task != 'pose' or found.has_people)]


def items_of(taken: CocoFrame, names: Sequence[str]) -> list[EvalItem]:
    """The items of one image.

    One object by one and by five points, chosen by the image's name; all entities; each category
    in the image; all people. Items without anything to find are left out, except entities and
    people: predictions there are wrong.

    Args:
        taken: the image.
        names: of items, see `evaluators.names`.
    """
    rng = np.random.default_rng(taken.seed)
    objects, items = taken.objects, []
    if len(objects.categories) and {ONE_POINT, FIVE_POINTS} & set(names):
        number = 1 + int(rng.integers(len(objects.categories)))
        mask = Mask(objects.ids == number)
        items += evaluators.mask_items(Prompt('segmentation'), mask, rng)
    if 'entity' in names:
        nameless = Instances(objects.ids, ('',) * len(objects.scores), objects.scores)
        items.append(EvalItem('entity', Prompt('entity'), nameless, crowds=taken.crowds))
    if 'semantic' in names:
        for category in dict.fromkeys(objects.categories):
            truth, crowds = (_only(entry, category) for entry in (objects, taken.crowds))
            prompt = Prompt('semantic', category)
            items.append(EvalItem('semantic', prompt, truth, crowds=crowds))
    if 'pose' in names and taken.people is not None:
        items.append(
            EvalItem(
                'pose', Prompt('pose'), taken.people, areas=taken.areas, ignored=taken.ignored
            )
        )
    return [item for item in items if item.name in names]


def _only(label: Instances, category: str) -> Instances:
    """The instances of a category, renumbered."""
    kept = [k for k, name in enumerate(label.categories) if name == category]
    number = np.zeros(len(label.categories) + 1, np.int32)
    number[[k + 1 for k in kept]] = np.arange(1, len(kept) + 1)
    return Instances(number[label.ids], (category,) * len(kept), label.scores[kept])


def mean_of_set(
    found: CocoSet, names: Sequence[str], resolution: int
) -> dict[str, NDArray[np.float32]]:
    """`controls.mean_targets` of the evaluated images themselves: there is no training split."""
    return mean_targets(_samples(found, names), resolution)


def _samples(found: CocoSet, names: Sequence[str]) -> Iterator[list[Sample]]:
    for taken in found.frames():
        # Of a mask the two items have one target.
        items = [item for item in items_of(taken, names) if item.name != FIVE_POINTS]
        yield [Sample(taken.frame, item.prompt, item.truth, name=taken.name) for item in items]


def evaluate(
    found: CocoSet,
    frames: Iterable[CocoFrame],
    predict: Mapping[str, PredictFn],
    means: Mapping[str, NDArray[np.float32]],
    names: Sequence[str],
    callbacks: Sequence[EvalCallback] = (),
) -> EvaluationResult:
    """Evaluate a model on annotated images.

    Args:
        found: the set.
        frames: its frames.
        predict: by column; at least one.
        means: see `mean_of_set`.
        names: of items, see `evaluators.names`.
        callbacks: receive the predictions of the first column.
    """

    def groups() -> Iterator[tuple[Frame, list[EvalItem]]]:
        for taken in frames:
            yield taken.frame, items_of(taken, names)

    return rooms.evaluate_items(groups(), predict, means, names, callbacks)
