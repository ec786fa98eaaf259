# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Merging predictions: agreement changes nothing, outliers lose, disagreement is reported."""

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core import ensembling
from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Mask,
    MetricDepth,
    Normals,
)

SIZE = 96


def label_of(name, seed=0):
    return example(tasks.get(name), np.random.default_rng(seed), SIZE)


@pytest.mark.parametrize('name', tasks.names())
def test_equal_predictions_are_the_result(name):
    label = label_of(name)
    merged, spread = ensembling.merge([label] * 3)
    assert type(merged) is type(label)
    assert spread.shape == label.size
    assert spread.dtype == np.float32
    known = np.isfinite(spread)
    assert np.abs(spread[known]).max(initial=0) < (0.1 if name == 'normal' else 1e-6)
    for score, value in tasks.get(name).score(merged, label).items():
        same = tasks.get(name).score(label, label)[score]
        assert value == pytest.approx(same, abs=0.05, nan_ok=True), score


def test_disparity_is_the_median_whatever_scale_and_shift():
    truth = np.linspace(0.2, 0.8, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    outlier = truth.copy()
    outlier[:2] = 1.0
    labels = [Disparity(values) for values in (truth, truth * 0.5 + 0.1, outlier)]
    merged, spread = ensembling.merge(labels)
    ratio = np.polyfit(truth.ravel(), merged.values.ravel(), 1)
    assert np.abs(np.polyval(ratio, truth) - merged.values).max() < 0.02
    assert spread[:2].mean() > 5 * spread[40:].mean()


def test_normals_are_the_mean_direction():
    def tilted(degrees):
        angle = np.radians(degrees)
        one = np.array([np.sin(angle), 0, -np.cos(angle)], np.float32)
        return Normals(np.tile(one, (4, 4, 1)))

    merged, spread = ensembling.merge([tilted(-10), tilted(10)])
    np.testing.assert_allclose(merged.vectors, tilted(0).vectors, atol=1e-6)
    np.testing.assert_allclose(spread, 10, atol=1e-3)
    # Unknown in one prediction: the others decide. Unknown in all, or contradicting: unknown.
    holed = tilted(10).vectors.copy()
    holed[0, 0] = np.nan
    merged, _ = ensembling.merge([Normals(holed), tilted(30)])
    np.testing.assert_allclose(merged.vectors[0, 0], tilted(30).vectors[0, 0], atol=1e-6)
    merged, spread = ensembling.merge([tilted(90), tilted(-90)])
    assert np.isnan(merged.vectors).all()
    assert np.isnan(spread).all()


def test_ensemble_masks_are_merged_by_vote():
    rows = [
        np.array([[1, 1, 1, 0]], bool),
        np.array([[1, 1, 0, 0]], bool),
        np.array([[1, 0, 0, 0]], bool),
    ]
    merged, spread = ensembling.merge([Mask(row, 0.5) for row in rows])
    np.testing.assert_array_equal(merged.values, [[True, True, False, False]])
    np.testing.assert_allclose(spread, [[0, 2 / 3, 2 / 3, 0]], atol=1e-6)
    tie, spread = ensembling.merge([Mask(rows[0]), Mask(~rows[0])])
    assert not tie.values.any()
    np.testing.assert_allclose(spread, 1)


def test_images_are_means_channel_by_channel():
    one, other = np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.float32)
    other[0, 0] = (1, 0.5, 0)
    merged, spread = ensembling.merge([ImageLabel(one), ImageLabel(other)])
    assert type(merged) is ImageLabel
    np.testing.assert_allclose(merged.values[0, 0], (0.5, 0.25, 0))
    np.testing.assert_allclose(spread, [[(0.5 + 0.25 + 0) / 3, 0], [0, 0]], atol=1e-7)
    # Rounding makes no mean of white brighter than white.
    white = ImageLabel(np.full((2, 2, 3), 1, np.float32))
    merged, spread = ensembling.merge([white] * 7)
    np.testing.assert_array_equal(merged.values, white.values)
    assert spread.max() == 0


def test_instances_are_matched_whatever_their_order():
    ids = np.zeros((20, 20), np.int32)
    ids[2:8, 2:8], ids[10:18, 10:18] = 1, 2
    names, scores = ('cup', 'bowl'), np.array([0.8, 0.6], np.float32)
    swapped = np.array([0, 2, 1])[ids].astype(np.int32)
    extra = ids.copy()
    extra[0, 12:20] = 3
    labels = [
        Instances(ids, names, scores),
        Instances(swapped, names[::-1], scores[::-1].copy()),
        Instances(extra, (*names, 'noise'), np.append(scores, np.float32(0.9))),
    ]
    merged, spread = ensembling.merge(labels)
    assert sorted(merged.categories) == ['bowl', 'cup']
    for category, place in (('cup', ids == 1), ('bowl', ids == 2)):
        number = merged.categories.index(category) + 1
        np.testing.assert_array_equal(merged.ids == number, place)
    assert spread[ids > 0].max() == 0
    assert merged.scores.tolist() == pytest.approx(
        [0.8 if name == 'cup' else 0.6 for name in merged.categories]
    )


def test_instance_that_most_predictions_lack_is_dropped():
    empty = np.zeros((10, 10), np.int32)
    one = empty.copy()
    one[2:6, 2:6] = 1
    lone = Instances(one, ('',), np.ones(1, np.float32))
    none = Instances(empty, (), np.ones(0, np.float32))
    for labels in ([lone, none, none], [none, none, lone]):
        merged, _ = ensembling.merge(labels)
        assert not merged.ids.any()
        assert merged.categories == ()


def test_joints_are_medians_and_rare_people_drop_out():
    def person(dx, count=1):
        joints = np.full((count, 17, 2), np.nan, np.float32)
        joints[:, :3] = [[30 + dx, 20], [40 + dx, 50], [30 + dx, 70]]
        joints[1:] += 400
        seen = np.isfinite(joints[..., 0])
        return Keypoints(
            joints,
            np.where(seen, 2, 0).astype(np.uint8),
            seen.astype(np.float32),
            np.zeros((0, 2), np.float32),
            (600, 600),
        )

    merged, spread = ensembling.merge([person(0), person(2), person(30, count=2)])
    assert len(merged.joints) == 1
    np.testing.assert_allclose(merged.joints[0, :3], person(2).joints[0, :3])
    assert (merged.visibility[0] == [2] * 3 + [0] * 14).all()
    assert spread[20, 32] == pytest.approx((2 + 0 + 28) / 3)
    assert np.isfinite(spread).sum() == 3


def test_ensembling_rejects_labels_that_do_not_match():
    with pytest.raises(ValueError, match='at least one'):
        ensembling.merge([])
    with pytest.raises(ValueError, match='one kind and size'):
        ensembling.merge([label_of('depth'), label_of('normal')])
    with pytest.raises(TypeError, match='MetricDepth cannot be merged'):
        ensembling.merge([MetricDepth(np.ones((2, 2), np.float32))])
