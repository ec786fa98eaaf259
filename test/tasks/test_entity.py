# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.labels import Instances
from diception_ros.core.prompt import Point, Prompt

TASK = tasks.get('entity')


def instances(*rows):
    ids = np.array(rows, np.int32)
    return Instances(ids, ('',) * int(ids.max()), np.ones(ids.max(), np.float32))


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('size', [128, 512])
def test_decode_undoes_encode(seed, size):
    label = example(TASK, np.random.default_rng(seed), size)
    score = TASK.score(TASK.decode(TASK.encode(label)), label)
    assert score['mean_iou'] > 0.98
    assert score['f1'] == 1


def test_categories_are_empty():
    label = example(TASK, np.random.default_rng(0), 256)
    assert set(TASK.decode(TASK.encode(label)).categories) == {''}


def test_encoding_rejects_other_shapes_than_squares():
    with pytest.raises(ValueError, match='use to_model_size first'):
        TASK.encode(instances([0, 1, 1]))


def test_text_and_what_it_refuses():
    assert TASK.text(Prompt('entity')) == '[[image2entity]]'
    with pytest.raises(ValueError, match='takes no category'):
        TASK.text(Prompt('entity', category='person'))
    with pytest.raises(ValueError, match='takes no points'):
        TASK.text(Prompt('entity', points=(Point(1, 2),)))


# ---- score ---------------------------------------------------------------------------------


def test_score_by_hand():
    truth = instances([1, 1, 1, 1], [2, 2, 0, 0], [3, 0, 0, 0])
    found = instances([1, 1, 1, 0], [2, 2, 2, 2], [0, 0, 0, 0])
    # IoU 3/4, 2/4, nothing for the third; both pairs count as matched.
    score = TASK.score(found, truth)
    assert score['mean_iou'] == pytest.approx((3 / 4 + 2 / 4) / 3)
    assert score['precision'] == 1
    assert score['recall'] == pytest.approx(2 / 3)
    assert score['f1'] == pytest.approx(4 / 5)


def test_one_prediction_matches_one_truth_only():
    # The one found thing has IoU 1/2 with both; it cannot be both.
    score = TASK.score(instances([1, 1, 1, 1]), instances([1, 1, 2, 2]))
    assert score['mean_iou'] == 0.5
    assert score['precision'] == 1
    assert score['recall'] == 0.5


def test_score_where_something_is_empty():
    nothing, thing = instances([0, 0]), instances([1, 0])
    score = TASK.score(nothing, nothing)
    assert all(math.isnan(value) for value in score.values())
    score = TASK.score(nothing, thing)
    assert score['mean_iou'] == score['recall'] == score['f1'] == 0
    assert math.isnan(score['precision'])
    score = TASK.score(thing, nothing)
    assert score['precision'] == score['f1'] == 0
    assert math.isnan(score['recall'])
    assert math.isnan(score['mean_iou'])


def test_instances_without_pixels_do_not_count():
    ghost = Instances(np.array([[1, 0]], np.int32), ('', ''), np.ones(2, np.float32))
    assert TASK.score(ghost, instances([1, 0]))['f1'] == 1
    assert TASK.score(instances([1, 0]), ghost)['f1'] == 1


def test_score_refuses_two_sizes():
    with pytest.raises(ValueError, match='one size'):
        TASK.score(instances([1, 0]), instances([1, 0, 0]))


# ---- example -------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(5))
def test_examples_have_no_slivers(seed):
    label = example(TASK, np.random.default_rng(seed), 256)
    assert len(label.scores) == label.ids.max()
    assert (label.areas >= 30).all()
