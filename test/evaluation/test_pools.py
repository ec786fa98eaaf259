# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers that are gathered one pair at a time; what `metrics` makes of them is tested there."""

import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.core.labels import Instances
from diception_ros.evaluation import metrics


def things(ids, count=None):
    ids = np.array(ids, np.int32)
    count = int(ids.max()) if count is None else count
    return Instances(ids, ('',) * count, np.ones(count, np.float32))


def test_results_can_be_asked_for_in_between():
    rng = np.random.default_rng(0)
    task = tasks.get('normal')
    pairs = [(task.example(rng, 32), task.example(rng, 32)) for _ in range(3)]
    angles = metrics.AngularError()
    for k, pair in enumerate(pairs, 1):
        angles.update(*pair)
        assert angles.compute() == metrics.normals(pairs[:k])


def test_foreground_by_hand():
    pixels = metrics.CategoryIoU()
    # Which instance a pixel belongs to does not matter: 2 of 4 pixels agree.
    assert pixels.update(things([[1, 1, 1, 0]]), things([[0, 1, 2, 2]]), 'cup') == 0.5
    assert pixels.update(things([[1, 1, 1, 1]]), things([[1, 1, 1, 1]]), 'cup') == 1
    assert pixels.update(things([[0, 0, 0, 0]], 1), things([[0, 1, 0, 0]]), 'dog') == 0
    found = pixels.compute()
    assert found['iou'] == pytest.approx((0.5 + 1 + 0) / 3)
    assert pixels.categories() == {'cup': 6 / 8, 'dog': 0}
    assert found['category_iou'] == pytest.approx((6 / 8 + 0) / 2)
    assert np.isnan(found['absent_right'])


def test_an_absent_category_is_right_when_nothing_is_found():
    pixels, nothing = metrics.CategoryIoU(), things([[0, 0]])
    assert np.isnan(pixels.update(nothing, nothing, 'cup'))
    assert np.isnan(pixels.update(nothing, nothing, 'dog'))
    assert np.isnan(pixels.update(things([[0, 1]]), nothing, 'cup'))
    found = pixels.compute()
    assert found['absent_right'] == pytest.approx(2 / 3)
    assert np.isnan([found['iou'], found['category_iou']]).all()
    assert found['categories'] == 0
    # What is found where nothing is costs the category, but not the questions that had an answer.
    pixels.update(things([[1, 0]]), things([[1, 0]]), 'cup')
    assert pixels.compute()['iou'] == 1
    assert pixels.categories() == {'cup': 0.5}
