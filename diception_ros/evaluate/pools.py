# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers of a data set, gathered one pair of labels at a time.

What each number means is told where `diception_ros.evaluate.metrics` takes all pairs at once.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from diception_ros.evaluate import detection
from diception_ros.labels import Instances, Keypoints, Normals
from diception_ros.tasks.normal import WITHIN, angles_deg

# Width of the bins from which the pooled median is read, degrees: two hundred million angles of a
# data set would fill a gigabyte, their histogram at a thousandth of a degree a megabyte.
BIN_DEG = 1e-3

_NAN = float('nan')


class Means:
    """See `metrics.mean_over_images`."""

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = defaultdict(list)
        self._images = self._skipped = 0

    def add(self, score: dict[str, float]) -> None:
        """Count what `score` of a task returned for one image."""
        counted = {name: value for name, value in score.items() if not np.isnan(value)}
        told = bool(counted.keys() - {'coverage'})
        self._images, self._skipped = self._images + told, self._skipped + (not told)
        for name in score:
            self._columns[name] += [counted[name]] if name in counted else []

    def result(self) -> dict[str, float]:
        """The means, and how many images took part."""
        means = {n: float(np.mean(c)) if c else _NAN for n, c in self._columns.items()}
        return {**means, 'images': self._images, 'skipped': self._skipped}


class Angles:
    """See `metrics.normals`."""

    def __init__(self) -> None:
        self._bins = np.zeros(round(180 / BIN_DEG) + 1, np.int64)
        self._below = dict.fromkeys(WITHIN, 0)
        self._total, self._known, self._images, self._skipped = 0.0, 0, 0, 0

    def add(self, predicted: Normals, truth: Normals) -> None:
        """Count the pixels of one image; ValueError if the sizes differ."""
        angles = angles_deg(predicted, truth)
        self._images += angles.size > 0
        self._skipped += angles.size == 0
        self._known += int(truth.valid.sum())
        self._total += float(angles.sum())
        self._bins += np.bincount((angles / BIN_DEG).astype(np.int64), minlength=len(self._bins))
        for name, limit in WITHIN.items():
            self._below[name] += int((angles < limit).sum())

    def result(self) -> dict[str, float]:
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


class Things:
    """See `metrics.instances`."""

    def __init__(self, by_category: bool = False) -> None:
        self._by_category = by_category
        self._recorder = detection.Recorder()

    def add(self, predicted: Instances, truth: Instances) -> None:
        """Write down the instances of one image; ValueError if the sizes differ."""
        self._recorder.add_instances(predicted, truth, self._by_category)

    def result(self) -> dict[str, float]:
        """COCO's numbers of all images so far."""
        recorder = self._recorder
        found = detection.evaluate(recorder, 'segm', most=100)
        return {
            **{name: found[name] for name in ('ap', 'ap50', 'ap75', 'ar')},
            **{name: found[name] for name in ('ar_small', 'ar_medium', 'ar_large')},
            'images': recorder.images - recorder.empty,
            'skipped': recorder.empty,
            'instances': len(recorder.truths),
        }


class People:
    """See `metrics.keypoints`."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._recorder = detection.Recorder()
        self._right = self._labelled = 0

    def add(
        self, predicted: Keypoints, truth: Keypoints, areas: NDArray[np.float64] | None = None
    ) -> None:
        """Write down the people of one image; ValueError if sizes differ or areas do not fit."""
        self._recorder.add_keypoints(predicted, truth, areas)
        right, labelled = detection.right_joints(predicted, truth, self._alpha)
        self._right, self._labelled = self._right + right, self._labelled + labelled

    def result(self) -> dict[str, float]:
        """COCO's numbers and PCK of all images so far."""
        recorder = self._recorder
        found = detection.evaluate(recorder, 'keypoints', most=20)
        return {
            **{name: found[name] for name in ('ap', 'ap50', 'ap75', 'ar')},
            'pck': self._right / self._labelled if self._labelled else _NAN,
            'images': recorder.images - recorder.empty,
            'skipped': recorder.empty,
            'people': len(recorder.truths),
            'ignored': sum(person['num_keypoints'] == 0 for person in recorder.truths),
        }


class Foreground:
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

    def add(self, predicted: Instances, truth: Instances, category: str) -> float:
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

    def result(self) -> dict[str, float]:
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
