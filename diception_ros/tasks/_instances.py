# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the two tasks that answer with instances share: comparing them, and random ones."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from diception_ros.labels import Instances
from diception_ros.tasks import _check

# IoU from which a predicted instance counts as the true one; COCO's AP50 uses it too.
MATCH = 0.5


def score(predicted: Instances, truth: Instances) -> dict[str, float]:
    """Compare instances of one picture, whatever their categories.

    `mean_iou` is the mean over true instances of the best IoU that any predicted one has with it;
    NaN where nothing is there to be found. For the rest, predicted and true instances are matched
    one to one so that the sum of IoUs is largest (Hungarian method), and pairs from an IoU of 0.5
    on count: `precision`, their share of the predicted (NaN where none is); `recall`, their share
    of the true (NaN where none is); `f1`, twice their number by the number of predicted and true
    (NaN where both are none, so 0 where only one is). Instances without pixels do not count.

    Raises:
        ValueError: the sizes differ.
    """
    _check.same_size(predicted, truth)
    found, there = predicted.present(), truth.present()
    ours, theirs = len(found.scores), len(there.scores)
    nan = float('nan')
    iou = there.iou(found)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    matched = int((iou[rows, columns] >= MATCH).sum())
    return {
        'mean_iou': float(iou.max(axis=1, initial=0).mean()) if theirs else nan,
        'precision': matched / ours if ours else nan,
        'recall': matched / theirs if theirs else nan,
        'f1': 2 * matched / (ours + theirs) if ours + theirs else nan,
    }


def example(rng: np.random.Generator, size: int, count: int, category: str = '') -> Instances:
    """Ellipses, polygons and boxes in front of one another.

    What is hidden by others may come apart, and leaves the label where less than 30 pixels or
    2e-4 of the picture are left, or where two thirds of them lie on the rim.

    Args:
        rng: where chance comes from.
        size: side of the picture, pixels.
        count: how many are laid down; fewer may be left.
        category: of all of them.
    """
    ids = np.zeros((size, size), np.int32)
    for k in range(count):
        radius = np.exp(rng.uniform(np.log(max(0.03 * size, 5)), np.log(max(0.2 * size, 6))))
        ids[_shape(rng, size, radius) > 0] = k + 1
    areas = np.bincount(ids.ravel(), minlength=count + 1)
    window = np.ones((3, 3), np.uint8)
    floats = ids.astype(np.float32)
    inside = cv2.erode(floats, window) == cv2.dilate(floats, window)
    kept = (areas >= max(30, 2e-4 * size**2)) & (
        np.bincount(ids[inside], minlength=count + 1) >= areas / 3
    )
    kept[0] = False
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    left = int(kept.sum())
    return Instances(number[ids], (category,) * left, np.ones(left, np.float32))


def _shape(rng: np.random.Generator, size: int, radius: float) -> NDArray[np.uint8]:
    mask = np.zeros((size, size), np.uint8)
    x, y = rng.uniform(0.05, 0.95, 2) * size
    kind = rng.integers(3)
    if kind == 0:
        axes = (round(radius), max(2, round(radius * rng.uniform(0.4, 1))))
        cv2.ellipse(mask, (round(x), round(y)), axes, rng.uniform(0, 180), 0, 360, 1, -1)
        return mask
    if kind == 1:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        reach = radius * rng.uniform(0.5, 1.1, 7)
        corners = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
    else:
        half = np.array([radius, radius * rng.uniform(0.3, 1.5)])
        turn = rng.uniform(0, np.pi / 2)
        axes_ = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
        corners = np.array([x, y]) + (signs * half) @ axes_
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask
