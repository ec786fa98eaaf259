# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers of a data set, gathered one pair of labels at a time.

What each number means is documented at the functions below that take all pairs at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Disparity, Instances, Keypoints, Label, Mask, Normals
from diception_ros.evaluation import coco_metrics
from diception_ros.tasks import Task
from diception_ros.tasks.normal import WITHIN, angles_deg

# Width of the bins from which the pooled median is read, degrees: two hundred million angles of a
# data set would fill a gigabyte, their histogram at a thousandth of a degree a megabyte.
BIN_DEG = 1e-3

_NAN = float('nan')


class MeanMetric:
    """See `metrics.mean_over_images`."""

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = defaultdict(list)
        self._images = self._skipped = 0

    def update(self, score: dict[str, float]) -> None:
        """Count what `score` of a task returned for one image."""
        counted = {name: value for name, value in score.items() if not np.isnan(value)}
        told = bool(counted.keys() - {'coverage'})
        self._images, self._skipped = self._images + told, self._skipped + (not told)
        for name in score:
            self._columns[name] += [counted[name]] if name in counted else []

    def compute(self) -> dict[str, float]:
        """The means, and how many images took part."""
        means = {n: float(np.mean(c)) if c else _NAN for n, c in self._columns.items()}
        return {**means, 'images': self._images, 'skipped': self._skipped}


class AngularError:
    """See `metrics.normals`."""

    def __init__(self) -> None:
        self._bins = np.zeros(round(180 / BIN_DEG) + 1, np.int64)
        self._below = dict.fromkeys(WITHIN, 0)
        self._total, self._known, self._images, self._skipped = 0.0, 0, 0, 0

    def update(self, predicted: Normals, truth: Normals) -> None:
        """Count the pixels of one image; ValueError if the sizes differ."""
        angles = angles_deg(predicted, truth)
        self._images += angles.size > 0
        self._skipped += angles.size == 0
        self._known += int(truth.valid.sum())
        self._total += float(angles.sum())
        self._bins += np.bincount((angles / BIN_DEG).astype(np.int64), minlength=len(self._bins))
        for name, limit in WITHIN.items():
            self._below[name] += int((angles < limit).sum())

    def compute(self) -> dict[str, float]:
        """The numbers of all pixels so far."""
        count = int(self._bins.sum())
        return {
            'mean_deg': self._total / count if count else _NAN,
            'median_deg': _median(self._bins) if count else _NAN,
            **{name: self._below[name] / count if count else _NAN for name in WITHIN},
            'coverage': count / self._known if self._known else _NAN,
            'images': self._images,
            'skipped': self._skipped,
        }


class InstanceAP:
    """See `metrics.instances`."""

    def __init__(self, by_category: bool = False) -> None:
        self._by_category = by_category
        self._recorder = coco_metrics.Recorder()

    def update(self, predicted: Instances, truth: Instances) -> None:
        """Write down the instances of one image; ValueError if the sizes differ."""
        self._recorder.add_instances(predicted, truth, self._by_category)

    def compute(self) -> dict[str, float]:
        """COCO's numbers of all images so far."""
        recorder = self._recorder
        found = coco_metrics.evaluate(recorder, 'segm', most=100)
        return {
            **{name: found[name] for name in ('ap', 'ap50', 'ap75', 'ar')},
            **{name: found[name] for name in ('ar_small', 'ar_medium', 'ar_large')},
            'images': recorder.images - recorder.empty,
            'skipped': recorder.empty,
            'instances': len(recorder.truths),
        }


class KeypointAP:
    """See `metrics.keypoints`."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._recorder = coco_metrics.Recorder()
        self._right = self._labelled = 0

    def update(
        self, predicted: Keypoints, truth: Keypoints, areas: NDArray[np.float64] | None = None
    ) -> None:
        """Write down the people of one image; ValueError if sizes differ or areas do not fit."""
        self._recorder.add_keypoints(predicted, truth, areas)
        right, labelled = coco_metrics.right_joints(predicted, truth, self._alpha)
        self._right, self._labelled = self._right + right, self._labelled + labelled

    def compute(self) -> dict[str, float]:
        """COCO's numbers and PCK of all images so far."""
        recorder = self._recorder
        found = coco_metrics.evaluate(recorder, 'keypoints', most=20)
        return {
            **{name: found[name] for name in ('ap', 'ap50', 'ap75', 'ar')},
            'pck': self._right / self._labelled if self._labelled else _NAN,
            'images': recorder.images - recorder.empty,
            'skipped': recorder.empty,
            'people': len(recorder.truths),
            'ignored': sum(person['num_keypoints'] == 0 for person in recorder.truths),
        }


class CategoryIoU:
    """Pixels of a category, whatever instance they belong to.

    `iou` is the mean over the questions whose category is in the picture of the intersection over
    union of all pixels found and all that are true. `category_iou` first adds up intersections and
    unions of all questions for one category, those for which it is absent too, and then averages
    over the categories that are somewhere in the truth. `absent_right` is the share of the
    questions for an absent category that were answered with nothing.
    """

    def __init__(self) -> None:
        self._each: list[float] = []
        self._both: dict[str, int] = defaultdict(int)
        self._either: dict[str, int] = defaultdict(int)
        self._true: dict[str, int] = defaultdict(int)
        self._absent = self._right = 0

    def update(self, predicted: Instances, truth: Instances, category: str) -> float:
        """Count one question; its IoU, NaN where the category is absent."""
        found, there = predicted.ids > 0, truth.ids > 0
        both, either = int((found & there).sum()), int((found | there).sum())
        self._both[category] += both
        self._either[category] += either
        self._true[category] += int(there.sum())
        if not there.any():
            self._absent += 1
            self._right += not found.any()
            return _NAN
        self._each.append(both / either)
        return both / either

    def categories(self) -> dict[str, float]:
        """Intersection over union of each category that is somewhere in the truth."""
        return {
            name: self._both[name] / self._either[name]
            for name in sorted(self._true)
            if self._true[name]
        }

    def compute(self) -> dict[str, float]:
        """The three numbers of all questions so far."""
        each = list(self.categories().values())
        return {
            'iou': float(np.mean(self._each)) if self._each else _NAN,
            'category_iou': float(np.mean(each)) if each else _NAN,
            'absent_right': self._right / self._absent if self._absent else _NAN,
            'categories': len(each),
        }


def _median(bins: NDArray[np.int64]) -> float:
    upto = np.cumsum(bins)
    middle = ((upto[-1] - 1) // 2, upto[-1] // 2)  # the same twice where the count is odd
    places = np.searchsorted(upto, middle, side='right')
    return float(np.mean(places + 0.5)) * BIN_DEG


# From many pairs of labels to the numbers of a data set.
#
# Every function takes pairs (predicted, truth) one after the other, so that a data set need not
# fit into memory, and returns a flat dict. A number is NaN where nothing could be counted;
# `images` says how many pairs took part and `skipped` how many had nothing to compare.


LabelT = TypeVar('LabelT', bound=Label)
Pairs = Iterable[tuple[LabelT, LabelT]]


def aggregate(task: Task[Any], pairs: Iterable[tuple[Any, Any]]) -> dict[str, float]:
    """The numbers of a data set by the protocol for the task's kind of label.

    Args:
        task: whose label decides, and whose `score` is averaged where the protocol averages
            images.
        pairs: predicted and true labels of that kind (for depth the truth may be MetricDepth).

    Returns:
        What `depth`, `normals`, `masks`, `instances` or `keypoints` returns.

    Raises:
        ValueError: there is no protocol for this kind of label, or a pair differs in size.
    """
    if task.label in (Disparity, Mask):
        return mean_over_images(task.score(*pair) for pair in pairs)
    pooled: dict[type, Callable[[Iterable[tuple[Any, Any]]], dict[str, float]]] = {
        Normals: normals,
        Instances: instances,
        Keypoints: keypoints,
    }
    if task.label not in pooled:
        raise ValueError(f'no protocol for data sets of {task.label.__name__}')
    return pooled[task.label](pairs)


def mean_over_images(scores: Iterable[dict[str, float]]) -> dict[str, float]:
    """Average each number over the images, every image counting the same.

    This is the protocol for depth (of Marigold and GenPercept) and for masks (mean IoU; for many
    data sets, the mean of these means).

    Args:
        scores: what `score` of a task returned for each image. NaN takes no part.

    Returns:
        The means by the same names; `images`, with at least one number besides `coverage`; and
        `skipped`, without.
    """
    means = MeanMetric()
    for score in scores:
        means.update(score)
    return means.compute()


def normals(pairs: Pairs[Normals]) -> dict[str, float]:
    """AngularError between normals, the pixels of all images pooled.

    Args:
        pairs: predicted and true normals.

    Returns:
        The names of the task's `score`, `images` and `skipped`. The median is exact to half a
        thousandth of a degree.

    Raises:
        ValueError: a pair differs in size.

    Source: the protocol of StableNormal and DSINE.
    """
    angles = AngularError()
    for predicted, truth in pairs:
        angles.update(predicted, truth)
    return angles.compute()


def instances(pairs: Pairs[Instances], by_category: bool = False) -> dict[str, float]:
    """Average precision and recall of instances by COCO's rules.

    Args:
        pairs: predicted and true instances. True ones that own no pixel are left out: nothing can
            find them.
        by_category: False looks at masks alone, as for entities; True matches within a category
            and averages over the categories that occur in the truth.

    Returns:
        `ap`, `ap50`, `ap75`, `ar` (at 100 per image), `ar_small` (below 32^2 pixels),
        `ar_medium`, `ar_large` (above 96^2), `images`, `skipped` (neither side has an instance)
        and `instances`, the number of true ones. An image without true instances still counts:
        what is predicted there is wrong.

    Raises:
        ValueError: a pair differs in size.
        ModuleNotFoundError: pycocotools is not installed.
    """
    things = InstanceAP(by_category)
    for predicted, truth in pairs:
        things.update(predicted, truth)
    return things.compute()


def keypoints(
    pairs: Pairs[Keypoints],
    areas: Iterable[np.ndarray[Any, np.dtype[Any]]] | None = None,
    alpha: float = 0.2,
) -> dict[str, float]:
    """Average precision of people by object keypoint similarity, and the share of right joints.

    PCK, pooled over the joints that are labelled in the truth: a joint is right if the prediction
    has it within `alpha` times the longer side of the box around the person's labelled joints;
    predicted and true people are paired so that as many joints as possible are right. Points of
    unknown type take no part in either number. KeypointAP with a single labelled joint have no box
    and take no part in PCK.

    Args:
        pairs: predicted and true keypoints.
        areas: for each pair, (P,) square pixels covered by each true person, which is the scale
            that COCO uses; None estimates it from the joints.
        alpha: tolerance of PCK.

    Returns:
        `ap`, `ap50`, `ap75`, `ar` (at 20 people per image), `pck`, `images`, `skipped` (neither
        side has a person), and `people`, the true ones, of which `ignored` have one labelled joint
        or none and no area: no scale to judge them by.

    Raises:
        ValueError: a pair differs in size, or areas do not fit the pairs or the people.
        ModuleNotFoundError: pycocotools is not installed.
    """
    people = KeypointAP(alpha)
    given = ((pair, None) for pair in pairs) if areas is None else zip(pairs, areas, strict=True)
    for (predicted, truth), area in given:
        people.update(predicted, truth, area)
    return people.compute()
