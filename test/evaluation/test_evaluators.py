# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked about a view, and how answers are counted."""

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core import geometry
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity, Instances, Keypoints, Mask, MetricDepth
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets.sample import Sample
from diception_ros.evaluation import evaluators
from diception_ros.evaluation.evaluators import EvalItem

FRAME = Frame(np.zeros((32, 48, 3), np.uint8))


def sample(mask):
    rows, columns = np.nonzero(mask)
    point = Point(float(columns[0]), float(rows[0]))
    frame = Frame(np.zeros((*mask.shape, 3), np.uint8))
    return Sample(frame, Prompt('segmentation', points=(point,)), Mask(mask))


@pytest.mark.parametrize('seed', range(8))
def test_the_innermost_pixel_is_farthest_from_everything_else(seed):
    mask = example(tasks.get('segmentation'), np.random.default_rng(seed), 24).values
    if seed % 2:
        mask = mask[:, :14]  # cut off by the rim of the image
    point = evaluators.innermost(mask)
    outside = np.argwhere(~np.pad(mask, 1)) - 1

    def reach(row, column):
        return np.hypot(*(outside - (row, column)).T).min()

    inside = [reach(*place) for place in np.argwhere(mask)]
    assert mask[int(point.y), int(point.x)]
    assert reach(point.y, point.x) == pytest.approx(max(inside))


def test_x_and_y_of_the_innermost_pixel():
    mask = np.zeros((20, 40), np.bool_)
    mask[2:7, 20:31] = True
    point = evaluators.innermost(mask)
    assert point.y == 4
    assert 22 <= point.x <= 28


def test_a_mask_is_asked_for_with_one_and_with_five_points():
    mask = example(tasks.get('segmentation'), np.random.default_rng(3), 48).values
    one, five = evaluators.build_items([sample(mask)], np.random.default_rng(0))
    assert (one.name, five.name) == ('segmentation_1', 'segmentation_5')
    assert one.prompt.points == (evaluators.innermost(mask),)
    assert len(set(five.prompt.points)) == 5
    assert all(mask[int(point.y), int(point.x)] for point in five.prompt.points)
    again = evaluators.build_items([sample(mask)], np.random.default_rng(0))
    assert again[1].prompt == five.prompt
    other = evaluators.build_items([sample(mask)], np.random.default_rng(1))
    assert other[1].prompt != five.prompt


def test_a_mask_of_three_pixels_gets_three_points():
    mask = np.zeros((8, 8), np.bool_)
    mask[3, 2:5] = True
    _, five = evaluators.build_items([sample(mask)], np.random.default_rng(0))
    assert sorted(five.prompt.points) == [Point(2, 3), Point(3, 3), Point(4, 3)]


def test_kinds_of_question_have_one_order():
    assert evaluators.names(['pose', 'depth', 'segmentation']) == [
        'depth', 'segmentation_1', 'segmentation_5', 'pose',
    ]  # fmt: skip
    assert evaluators.names(['wetness', 'depth']) == ['depth', 'wetness']
    assert {evaluators.task_of(name) for name in evaluators.names(tasks.names())} == set(
        tasks.names()
    )


@pytest.mark.parametrize('name', evaluators.names(tasks.names()))
def test_the_truth_is_a_perfect_prediction(name):
    task = tasks.get(evaluators.task_of(name))
    tally = evaluators.create(name)
    rng = np.random.default_rng(1)
    for _ in range(3):
        truth = example(task, rng, 400)
        prompt = Prompt(
            task.name,
            'person' if task.takes_category else None,
            (Point(1, 1),) if task.takes_points else (),
        )
        tally.update(EvalItem(name, prompt, truth), truth)
    found = tally.compute()
    best = {'mean_deg': 0, 'median_deg': 0, 'disparity_mae': 0, 'disparity_rmse': 0}
    counts = {'images', 'skipped', 'instances', 'categories', 'people', 'ignored'}
    assert found['images'] == 3
    for metric in found.keys() - counts:
        if not np.isnan(found[metric]):
            assert found[metric] == pytest.approx(best.get(metric, 1), abs=1e-3), metric


def test_depth_is_scored_in_both_alignments():
    rng = np.random.default_rng(2)
    metres = MetricDepth(rng.uniform(1, 9, (40, 40)).astype(np.float32))
    predicted = geometry.to_disparity(metres)[0]
    tally = evaluators.create('depth')
    score = tally.update(EvalItem('depth', Prompt('depth'), metres), predicted)
    assert score['abs_rel'] == pytest.approx(0, abs=1e-5)
    assert score['abs_rel_in_depth'] > 0.05  # a disparity is not affine to depth
    other = tasks.get('depth').score(predicted, metres, 'depth', *evaluators.ROOM_METRES)
    assert tally.compute()['delta1_in_depth'] == other['delta1']


def test_predictions_beyond_the_room_are_clipped():
    metres = np.full((20, 20), 2, np.float32)
    metres[:10] = 8
    disparity = np.full((20, 20), 0.5, np.float32)
    disparity[:10] = 0.1
    disparity[0, 0] = 0  # would be behind infinity
    score = evaluators.create('depth').update(
        EvalItem('depth', Prompt('depth'), MetricDepth(metres)), Disparity(disparity)
    )
    assert score['rmse'] < (evaluators.ROOM_METRES[1] - 8) / 20 + 0.1


def test_the_alignment_in_depth_knows_the_grid_too():
    metres = MetricDepth(np.array([[1, 2, 4, 8]], np.float32))
    predicted = Disparity(np.array([[0.1, 0.2, 0.4, 0.0]], np.float32))  # affine but for the last
    chosen = np.array([[True, True, True, False]])
    tally = evaluators.depth_evaluator(fitted=lambda size: chosen)
    score = tally.update(EvalItem('depth', Prompt('depth'), metres), predicted)
    # The last pixel becomes 0 metres, cut off at the near end of the range.
    assert score['abs_rel_in_depth'] == pytest.approx((8 - evaluators.ROOM_METRES[0]) / 8 / 4)


def boxes(*places):
    ids = np.zeros((20, 40), np.int32)
    for k, (x, y) in enumerate(places, 1):
        ids[y : y + 5, x : x + 5] = k
    return ids


def test_instances_of_a_category_are_a_mean_over_categories():
    tally = evaluators.create('semantic')
    none = Instances(boxes(), (), np.zeros(0, np.float32))
    cup = Instances(boxes((0, 0)), ('cup',), np.ones(1, np.float32))
    dogs = Instances(boxes((0, 0), (10, 0), (20, 0)), ('dog',) * 3, np.ones(3, np.float32))
    tally.update(EvalItem('semantic', Prompt('semantic', 'cup'), cup), cup)
    tally.update(EvalItem('semantic', Prompt('semantic', 'dog'), dogs), none)
    assert tally.compute()['ar'] == 0.5
    assert tally.categories() == {'cup': 1, 'dog': 0}
    entities = evaluators.create('entity')
    entities.update(EvalItem('entity', Prompt('entity'), cup), cup)
    entities.update(EvalItem('entity', Prompt('entity'), dogs), none)
    assert entities.compute()['ar'] == 0.25


def person(joints, size=(300, 300)):
    count = 17
    places = np.full((1, count, 2), np.nan, np.float32)
    places[0, : len(joints)] = joints
    seen = np.where(np.isfinite(places[..., 0]), 2, 0).astype(np.uint8)
    scores = (seen > 0).astype(np.float32)
    return Keypoints(places, seen, scores, np.zeros((0, 2), np.float32), size)


def test_joints_are_right_within_a_tenth_of_the_box_and_pooled():
    four = [(50, 50), (150, 50), (50, 100), (150, 100)]  # the longer side is 100 pixels
    two = four[:2]
    near = [(x + 9, y) for x, y in four]
    far = [(x + 15, y) for x, y in two]
    tally = evaluators.create('pose')
    for truth, found in ((four, near), (two, far)):
        tally.update(EvalItem('pose', Prompt('pose'), person(truth)), person(found))
    assert tally.compute()['pck'] == pytest.approx(4 / 6)
