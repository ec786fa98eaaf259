# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Masks and instances."""

from __future__ import annotations

import numpy as np
import pytest

from diception_ros.core.images import ResizeTransform
from diception_ros.core.labels import Instances, Mask


@pytest.mark.parametrize('score', [-0.1, 1.1, float('nan')])
def test_a_mask_refuses_a_score_outside_zero_to_one(score):
    with pytest.raises(ValueError, match='score'):
        Mask(np.ones((2, 2), np.bool_), score)


@pytest.mark.parametrize(
    ('wrong', 'error', 'message'),
    [
        ({'ids': np.full((2, 2), 3, np.int32)}, ValueError, 'expected 0 to 2'),
        ({'ids': np.full((2, 2), -1, np.int32)}, ValueError, 'got -1'),
        ({'ids': np.zeros((2, 2), np.int64)}, ValueError, 'expected int32'),
        ({'categories': ('a',)}, ValueError, '1 categories and 2 scores'),
        ({'categories': ['a', 'b']}, TypeError, 'tuple of str'),
        ({'scores': np.array([0.5, 1.5], np.float32)}, ValueError, r'expected \[0, 1\]'),
        ({'scores': np.array([0.5, np.nan], np.float32)}, ValueError, r'expected \[0, 1\]'),
    ],
)
def test_instances_refuse_what_does_not_fit_together(wrong, error, message):
    right = {
        'ids': np.zeros((2, 2), np.int32),
        'categories': ('a', 'b'),
        'scores': np.ones(2, np.float32),
    }
    with pytest.raises(error, match=message):
        Instances(**{**right, **wrong})


def test_boxes_areas_and_masks_of_instances():
    ids = np.zeros((5, 8), np.int32)
    ids[1:3, 2:6], ids[4, 7] = 1, 3
    label = Instances(ids, ('a', 'b', 'c'), np.ones(3, np.float32))
    np.testing.assert_array_equal(label.areas, [8, 0, 1])
    np.testing.assert_array_equal(label.boxes, [(2, 1, 6, 3), (0, 0, 0, 0), (7, 4, 8, 5)])
    x0, y0, x1, y1 = label.boxes[0]
    assert (ids[y0:y1, x0:x1] == 1).all()
    np.testing.assert_array_equal(label.masks()[2], ids == 3)
    assert label.masks().shape == (3, 5, 8)


def test_no_instances_at_all():
    label = Instances(np.zeros((5, 8), np.int32), (), np.zeros(0, np.float32))
    assert label.boxes.shape == (0, 4)
    assert label.masks().shape == (0, 5, 8)
    assert label.present().categories == ()
    assert (label.preview() == 40).all()


def test_an_instance_that_is_too_small_for_the_square_keeps_its_place():
    ids = np.ones((64, 64), np.int32)
    ids[0, 0], ids[20:40, 20:40] = 2, 3
    scores = np.array([0.1, 0.2, 0.3], np.float32)
    label = Instances(ids, ('floor', 'ant', 'cat'), scores).to_model_size(
        ResizeTransform((64, 64), 16)
    )
    assert label.categories == ('floor', 'ant', 'cat')
    np.testing.assert_array_equal(label.areas > 0, [True, False, True])
    rest = label.present()
    assert rest.categories == ('floor', 'cat')
    np.testing.assert_array_equal(rest.scores, scores[[0, 2]])
    np.testing.assert_array_equal(rest.ids, np.where(label.ids == 3, 2, label.ids))


def test_the_preview_tints_the_inside_and_draws_the_rim_white():
    values = np.zeros((40, 40), np.bool_)
    values[10:30, 10:30] = True
    image = np.full((40, 40, 3), 100, np.uint8)
    preview = Mask(values).preview(image)
    assert (preview[~values] == 100).all()
    assert (preview[10, 10:30] == 255).all()
    assert (preview[10:30, 29] == 255).all()
    inside = preview[12:28, 12:28]
    assert (inside == inside[0, 0]).all()
    assert np.ptp(inside[0, 0]) > 50


def test_the_preview_writes_the_category_into_the_instance():
    ids = np.zeros((60, 90), np.int32)
    ids[5:55, 5:85] = 1
    named = Instances(ids, ('cat',), np.ones(1, np.float32)).preview()
    bare = Instances(ids, ('',), np.ones(1, np.float32)).preview()
    rows, columns = np.nonzero((named != bare).any(axis=-1))
    assert rows.size > 50
    # In the middle, give or take half the text.
    assert abs(rows.mean() - 30) < 6
    assert abs(columns.mean() - 45) < 25


def test_resizing_never_invents_an_id():
    rng = np.random.default_rng(0)
    ids = rng.choice([0, 7, 30], (50, 70)).astype(np.int32)
    label = Instances(ids, ('',) * 30, np.ones(30, np.float32))
    for side in (13, 50, 177):
        assert set(np.unique(label.to_model_size(ResizeTransform((50, 70), side)).ids)) <= {
            0,
            7,
            30,
        }


def test_iou_is_that_of_the_masks():
    rng = np.random.default_rng(0)
    one, other = (
        Instances(
            rng.integers(0, count, (9, 11), np.int32), ('',) * count, np.ones(count, np.float32)
        )
        for count in (4, 6)
    )
    found = one.iou(other)
    for i, mine in enumerate(one.masks()):
        for j, theirs in enumerate(other.masks()):
            union = (mine | theirs).sum()
            assert found[i, j] == ((mine & theirs).sum() / union if union else 0)
    # The largest number owns no pixel here.
    assert found.shape == (4, 6)
    assert not found[3].any()
    np.testing.assert_array_equal(found, other.iou(one).T)
    with pytest.raises(ValueError, match='expected the size of the other label'):
        one.iou(Instances(np.zeros((9, 12), np.int32), (), np.ones(0, np.float32)))
