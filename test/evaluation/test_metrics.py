# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Metric accumulators against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.labels import (
    COCO_JOINTS,
    Disparity,
    Instances,
    Keypoints,
    Mask,
    MetricDepth,
    Normals,
)
from diception_ros.evaluation import metrics

NAN = float('nan')


def pooled(metric, pairs):
    for pair in pairs:
        metric.update(*pair)
    return metric.compute()


def averaged(scores):
    mean = metrics.MeanMetric()
    for score in scores:
        mean.update(score)
    return mean.compute()


def instances(pairs, by_category=False):
    return pooled(metrics.InstanceAP(by_category), pairs)


def keypoints(pairs, areas=None, alpha=0.2):
    extra = [()] * len(pairs) if areas is None else [(area,) for area in areas]
    pairs = [(*pair, *more) for pair, more in zip(pairs, extra, strict=True)]
    return pooled(metrics.KeypointAP(alpha), pairs)


def approx(expected, **tolerance):
    return pytest.approx(expected, nan_ok=True, **(tolerance or {'abs': 1e-9}))


# ---- images that count the same -------------------------------------------------------------


def test_every_image_counts_the_same_and_those_without_numbers_are_counted():
    scores = [
        {'iou': 0.5, 'coverage': 1.0},
        {'iou': 1.0, 'coverage': 0.5},
        {'iou': NAN, 'coverage': 0.0},
    ]
    expected = {'iou': 0.75, 'coverage': 0.5, 'images': 2, 'skipped': 1}
    assert averaged(scores) == approx(expected)


def test_no_images_at_all():
    assert averaged([]) == {'images': 0, 'skipped': 0}
    assert averaged([{'iou': NAN}]) == approx({'iou': NAN, 'images': 0, 'skipped': 1})


def test_depth_is_averaged_over_images():
    # The first image is predicted exactly; the second is the example by hand of test_depth.
    exact = Disparity(np.array([[0.5, 1]], np.float32)), MetricDepth(np.array([[2, 1]], 'f4'))
    off = (
        Disparity(np.array([[0.25, 0.25, 0.75, 0.75]], np.float32)),
        MetricDepth(1 / np.array([[0.29, 0.21, 0.79, 0.71]], np.float32)),
    )
    found = averaged(tasks.get('depth').score(*pair) for pair in (exact, off))
    assert found['abs_rel'] == pytest.approx((0 + (0.16 + 0.16 + 0.08 / 0.75) / 4) / 2, rel=1e-4)
    assert found['images'] == 2


def test_masks_are_averaged_over_images():
    def mask(*values):
        return Mask(np.array([values], np.bool_))

    pairs = [(mask(1, 1), mask(1, 1)), (mask(1, 1), mask(1, 0)), (mask(0, 0), mask(0, 0))]
    found = averaged(tasks.get('segmentation').score(*pair) for pair in pairs)
    assert found == {'iou': 0.75, 'images': 2, 'skipped': 1}


# ---- normals --------------------------------------------------------------------------------


def tilted(*angles_degrees):
    angles = np.radians(angles_degrees)
    vectors = np.stack([np.sin(angles), 0 * angles, -np.cos(angles)], axis=1)
    return Normals(vectors[None].astype(np.float32))


def test_normals_are_pooled_over_the_pixels_of_all_images():
    pairs = [(tilted(0, 10, 20, 40), tilted(0, 0, 0, 0)), (tilted(60), tilted(0))]
    expected = {
        'mean_deg': 26,  # the mean of the two images' means would be 38.75
        'median_deg': 20,
        'within_11_25': 0.4,
        'within_22_5': 0.6,
        'within_30': 0.6,
        'coverage': 1,
        'images': 2,
        'skipped': 0,
    }
    assert pooled(metrics.AngularError(), pairs) == approx(expected, abs=6e-4)


def test_pooled_normals_of_one_image_are_its_score():
    rng = np.random.default_rng(0)
    truth = example(tasks.get('normal'), rng, 64)
    vectors = truth.vectors + rng.normal(0, 0.3, truth.vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[5] = np.nan
    predicted = Normals(vectors.astype(np.float32))
    score = tasks.get('normal').score(predicted, truth)
    found = pooled(metrics.AngularError(), [(predicted, truth)])
    assert {name: found[name] for name in score} == approx(score, abs=6e-4)


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle():
    found = pooled(metrics.AngularError(), [(tilted(0, 10, 20, 60), tilted(0, 0, 0, 0))])
    assert found['median_deg'] == pytest.approx(15, abs=6e-4)
    assert pooled(metrics.AngularError(), [(tilted(180), tilted(0))])[
        'median_deg'
    ] == pytest.approx(180, abs=1e-3)


def test_normals_without_known_pixels_are_counted_as_skipped():
    unknown = Normals(np.full((1, 1, 3), np.nan, np.float32))
    found = pooled(metrics.AngularError(), [(tilted(5), unknown), (unknown, tilted(5))])
    assert (found['images'], found['skipped'], found['coverage']) == (0, 2, 0)
    assert np.isnan([found['mean_deg'], found['median_deg'], found['within_30']]).all()


# ---- instances ------------------------------------------------------------------------------


def squares(*boxes, names=None, scores=None, size=(200, 300)):
    ids = np.zeros(size, np.int32)
    for k, (x, y, side) in enumerate(boxes, 1):
        ids[y : y + side, x : x + side] = k
    names = ('',) * len(boxes) if names is None else names
    scores = np.ones(len(boxes)) if scores is None else scores
    return Instances(ids, names, np.array(scores, np.float32))


SMALL, MEDIUM, LARGE = (0, 0, 20), (30, 0, 50), (100, 0, 100)


def test_perfect_instances():
    truth = squares(SMALL, MEDIUM, LARGE)
    names = ('ap', 'ap50', 'ap75', 'ar', 'ar_small', 'ar_medium', 'ar_large')
    expected = {**dict.fromkeys(names, 1.0), 'images': 1, 'skipped': 0, 'instances': 3}
    assert instances([(truth, truth)]) == approx(expected)


def test_instances_that_are_missed_show_in_their_range_of_size():
    found = instances([(squares(MEDIUM, LARGE), squares(SMALL, MEDIUM, LARGE))])
    assert found['ar'] == pytest.approx(2 / 3)
    assert (found['ar_small'], found['ar_medium'], found['ar_large']) == (0, 1, 1)
    # Precision is 1 up to recall 2/3, which 67 of the 101 recall thresholds do not exceed.
    assert found['ap'] == pytest.approx(67 / 101)


def test_instance_ap_is_averaged_over_ten_iou_thresholds():
    # 72 of 100 rows: IoU 0.72 passes 0.5, 0.55, 0.6, 0.65 and 0.7.
    ids = np.zeros((200, 300), np.int32)
    ids[:72, 100:200] = 1
    part = Instances(ids, ('',), np.ones(1, np.float32))
    found = instances([(part, squares(LARGE))])
    assert (found['ar'], found['ap50'], found['ap75']) == approx((0.5, 1, 0))
    assert np.isnan(found['ar_small'])


def test_a_wrong_instance_costs_precision_by_its_score():
    truth = squares(LARGE)
    last = instances([(squares(LARGE, SMALL, scores=(0.9, 0.1)), truth)])
    first = instances([(squares(LARGE, SMALL, scores=(0.1, 0.9)), truth)])
    assert (last['ap'], first['ap']) == approx((1, 0.5))


def test_what_is_predicted_where_nothing_is_costs_precision_in_the_data_set():
    nothing = squares()
    found = instances(
        [(squares(LARGE, scores=(0.9,)), nothing), (squares(LARGE, scores=(0.5,)), squares(LARGE))]
    )
    assert found['ap'] == pytest.approx(0.5)
    assert (found['images'], found['skipped']) == (2, 0)


def test_images_do_not_borrow_instances_from_each_other():
    found = instances([(squares(LARGE), squares()), (squares(), squares(LARGE))])
    assert (found['ap'], found['ar']) == (0, 0)


def test_categories_count_only_where_asked():
    predicted = squares(MEDIUM, LARGE, names=('dog', 'cat'))
    truth = squares(MEDIUM, LARGE, names=('cat', 'cat'))
    assert instances([(predicted, truth)])['ar'] == 1
    found = instances([(predicted, truth)], by_category=True)
    assert found['ar'] == 0.5  # of cats; dogs, which are not in the truth, have no recall


def test_a_true_instance_without_pixels_is_not_asked_for():
    ids = squares(LARGE).ids
    truth = Instances(ids, ('', ''), np.ones(2, np.float32))
    found = instances([(squares(LARGE), truth)])
    assert (found['ar'], found['instances']) == (1, 1)


@pytest.mark.parametrize('pairs', [[], [(squares(), squares())]])
def test_without_instances_there_are_no_numbers(pairs):
    found = instances(pairs)
    assert np.isnan([found['ap'], found['ar'], found['ar_large']]).all()
    assert (found['images'], found['skipped']) == (0, len(pairs))


def test_instances_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match='one size'):
        instances([(squares(), squares(size=(9, 9)))])


def test_nothing_is_printed(capsys):
    instances([(squares(LARGE), squares(LARGE))])
    assert capsys.readouterr().out == ''


# ---- keypoints ------------------------------------------------------------------------------


def people(*persons, scores=None):
    """Each person a dict from the name of a joint to its place."""
    joints = np.full((len(persons), 17, 2), np.nan, np.float32)
    visibility = np.zeros((len(persons), 17), np.uint8)
    for k, person in enumerate(persons):
        for name, place in person.items():
            joints[k, COCO_JOINTS.index(name)] = place
            visibility[k, COCO_JOINTS.index(name)] = 2
    trust = np.ones(len(persons)) if scores is None else np.array(scores)
    each = ((visibility > 0) * trust[:, None]).astype(np.float32)
    return Keypoints(joints, visibility, each, np.zeros((0, 2), np.float32), (400, 400))


BODY = {'nose': (100, 50), 'left_hip': (130, 150), 'right_hip': (80, 150), 'left_knee': (140, 250)}


def moved(person, x, y):
    return {name: (a + x, b + y) for name, (a, b) in person.items()}


def test_perfect_people():
    truth = people(BODY, moved(BODY, 200, 100))
    found = keypoints([(truth, truth)])
    names = ('ap', 'ap50', 'ap75', 'ar', 'pck')
    counts = {'images': 1, 'skipped': 0, 'people': 2, 'ignored': 0}
    assert found == approx({**dict.fromkeys(names, 1.0), **counts})


def test_similarity_by_hand():
    # One joint, the nose: sigma 0.026, similarity exp(-d^2 / (2 (2 sigma)^2 area)). The distance
    # at which it is 0.72 passes the five thresholds up to 0.7.
    area = 10_000.0
    distance = np.sqrt(-np.log(0.72) * 2 * (2 * 0.026) ** 2 * area)
    truth, predicted = people({'nose': (100, 50)}), people({'nose': (100 + distance, 50)})
    found = keypoints([(predicted, truth)], areas=[np.array([area])])
    assert (found['ar'], found['ap50'], found['ap75']) == approx((0.5, 1, 0))


def test_the_scale_of_a_person_is_estimated_from_the_joints():
    # BODY spans 60 x 200: the narrow side counts as 100, and people cover 0.53 of their box.
    area = 0.53 * 100 * 200
    distance = np.sqrt(-np.log(0.72) * 2 * (2 * 0.026) ** 2 * area)
    off = {**BODY, 'nose': (100 + distance, 50)}
    # Similarity (3 + 0.72) / 4 = 0.93 passes nine of ten.
    assert keypoints([(people(off), people(BODY))])['ar'] == pytest.approx(0.9)


def test_a_joint_that_is_not_predicted_is_not_right_at_the_corner():
    truth = people({'nose': (0, 0), 'left_hip': (50, 100)})
    predicted = people({'left_hip': (50, 100)})
    found = keypoints([(predicted, truth)])
    assert found['ar'] == pytest.approx(0.1)  # similarity 0.5 passes the first of ten thresholds
    assert found['pck'] == 0.5


def test_a_person_found_twice_costs_precision():
    found = keypoints([(people(BODY, BODY, scores=(0.9, 0.2)), people(BODY))])
    assert (found['ap'], found['ar']) == approx((1, 1))
    wrong = keypoints([(people(BODY, moved(BODY, 200, 0), scores=(0.2, 0.9)), people(BODY))])
    assert wrong['ap'] == pytest.approx(0.5)


def test_right_joints_by_hand():
    # The longer side of BODY is 200: reach 40 at alpha 0.2, 20 at alpha 0.1.
    predicted = moved(BODY, 30, 0)
    predicted['nose'] = BODY['nose']
    pairs = [(people(predicted), people(BODY))]
    assert keypoints(pairs)['pck'] == 1
    assert keypoints(pairs, alpha=0.1)['pck'] == 0.25


def test_people_are_paired_so_that_most_joints_are_right():
    one, other = BODY, moved(BODY, 200, 100)
    pairs = [(people(other, one), people(one, other))]
    assert keypoints(pairs)['pck'] == 1
    assert keypoints([(people(one), people(one, other))])['pck'] == 0.5
    assert keypoints([(people(), people(one))])['pck'] == 0


def test_a_person_without_scale_is_ignored():
    truth = people(BODY, {'nose': (300, 300)})
    found = keypoints([(people(BODY), truth)])
    assert (found['ap'], found['ar'], found['people'], found['ignored']) == approx((1, 1, 2, 1))
    assert found['pck'] == 1


@pytest.mark.parametrize('pairs', [[], [(people(), people())]])
def test_without_people_there_are_no_numbers(pairs):
    found = keypoints(pairs)
    assert np.isnan([found['ap'], found['ar'], found['pck']]).all()
    assert (found['images'], found['skipped']) == (0, len(pairs))


def test_areas_must_fit_the_people():
    with pytest.raises(ValueError, match='one for each of 1 people'):
        keypoints([(people(BODY), people(BODY))], areas=[np.ones(2)])


# ---- pixels of a category --------------------------------------------------------------------


def things(ids, count=None):
    ids = np.array(ids, np.int32)
    count = int(ids.max()) if count is None else count
    return Instances(ids, ('',) * count, np.ones(count, np.float32))


def test_results_can_be_asked_for_in_between():
    rng = np.random.default_rng(0)
    task = tasks.get('normal')
    pairs = [(example(task, rng, 32), example(task, rng, 32)) for _ in range(3)]
    angles = metrics.AngularError()
    for k, pair in enumerate(pairs, 1):
        angles.update(*pair)
        assert angles.compute() == pooled(metrics.AngularError(), pairs[:k])


def test_foreground_by_hand():
    pixels = metrics.CategoryIoU()
    # Which instance a pixel belongs to does not matter: 2 of 4 pixels agree.
    assert pixels.update(things([[1, 1, 1, 0]]), things([[0, 1, 2, 2]]), 'cup')['iou'] == 0.5
    assert pixels.update(things([[1, 1, 1, 1]]), things([[1, 1, 1, 1]]), 'cup')['iou'] == 1
    assert pixels.update(things([[0, 0, 0, 0]], 1), things([[0, 1, 0, 0]]), 'dog')['iou'] == 0
    found = pixels.compute()
    assert found['iou'] == pytest.approx((0.5 + 1 + 0) / 3)
    assert pixels.categories() == {'cup': 6 / 8, 'dog': 0}
    assert found['category_iou'] == pytest.approx((6 / 8 + 0) / 2)
    assert np.isnan(found['true_negative_rate'])


def test_an_absent_category_is_right_when_nothing_is_found():
    pixels, nothing = metrics.CategoryIoU(), things([[0, 0]])
    assert np.isnan(pixels.update(nothing, nothing, 'cup')['iou'])
    assert np.isnan(pixels.update(nothing, nothing, 'dog')['iou'])
    assert np.isnan(pixels.update(things([[0, 1]]), nothing, 'cup')['iou'])
    found = pixels.compute()
    assert found['true_negative_rate'] == pytest.approx(2 / 3)
    assert np.isnan([found['iou'], found['category_iou']]).all()
    assert found['categories'] == 0
    # What is found where nothing is costs the category, but not prompts that had a prediction.
    pixels.update(things([[1, 0]]), things([[1, 0]]), 'cup')
    assert pixels.compute()['iou'] == 1
    assert pixels.categories() == {'cup': 0.5}


# ---- crowds ---------------------------------------------------------------------------------


def test_predictions_in_a_crowd_count_neither_as_right_nor_as_wrong():
    crowd = squares(MEDIUM)
    predicted = squares(MEDIUM, LARGE, scores=(0.9, 0.5))
    wrong, ignored = metrics.InstanceAP(), metrics.InstanceAP()
    wrong.update(predicted, squares(LARGE))
    ignored.update(predicted, squares(LARGE), crowd)
    assert wrong.compute()['ap'] == pytest.approx(0.5)
    found = ignored.compute()
    assert (found['ap'], found['ar'], found['instances']) == approx((1, 1, 1))


def test_people_in_a_crowd_count_neither_as_right_nor_as_wrong():
    other = moved(BODY, 200, 100)
    predicted, truth = people(other, BODY, scores=(0.9, 0.5)), people(BODY)
    wrong, ignored = metrics.KeypointAP(0.2), metrics.KeypointAP(0.2)
    wrong.update(predicted, truth)
    ignored.update(predicted, truth, None, np.array([[260.0, 140, 100, 220]]))
    assert wrong.compute()['ap'] == pytest.approx(0.5)
    found = ignored.compute()
    assert (found['ap'], found['ar'], found['people']) == approx((1, 1, 1))
