# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Comparison of instances, for the tasks that predict them."""

from __future__ import annotations

from diception_ros.core.labels import Instances
from diception_ros.tasks import _checks

# IoU from which a predicted instance counts as the true one; COCO's AP50 uses it too.
MATCH = 0.5


def score(predicted: Instances, truth: Instances) -> dict[str, float]:
    """Compare instances of one image, whatever their categories.

    `mean_iou` is the mean over true instances of the best IoU that any predicted one has with it;
    NaN where nothing is there to be found. For the rest, predicted and true instances are matched
    one to one so that the sum of IoUs is largest (Hungarian method), and pairs from an IoU of 0.5
    on count: `precision`, their share of the predicted (NaN where none is); `recall`, their share
    of the true (NaN where none is); `f1`, twice their number by the number of predicted and true
    (NaN where both are none, so 0 where only one is). Instances without pixels do not count.

    Raises:
        ValueError: the sizes differ.
    """
    from scipy.optimize import linear_sum_assignment

    _checks.same_size(predicted, truth)
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
