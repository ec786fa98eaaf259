# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joints of people."""

from __future__ import annotations

from kinds import (
    keypoints,
)
import numpy as np
import pytest

from diception_ros.core.images import ResizeTransform
from diception_ros.core.labels import COCO_JOINTS, COCO_LIMBS, Keypoints


def test_a_flip_mirrors_x_and_swaps_the_sides_of_the_body():
    label = keypoints((48, 65), np.random.default_rng(0))
    flipped = label.flip()
    for joint, name in enumerate(COCO_JOINTS):
        side = {'left': 'right', 'right': 'left'}.get(name.split('_')[0])
        other = COCO_JOINTS.index(f'{side}_{name.split("_")[1]}') if side else joint
        moved = label.joints[:, joint] * [-1, 1] + [64, 0]
        np.testing.assert_allclose(flipped.joints[:, other], moved, atol=1e-5)
        np.testing.assert_array_equal(flipped.visibility[:, other], label.visibility[:, joint])
        np.testing.assert_array_equal(flipped.scores[:, other], label.scores[:, joint])
    np.testing.assert_allclose(flipped.untyped, label.untyped * [-1, 1] + [64, 0], atol=1e-5)


def test_limbs_never_run_from_one_side_to_the_other_except_across():
    assert len(COCO_JOINTS) == 17
    assert len(set(map(frozenset, COCO_LIMBS))) == 19
    for a, b in COCO_LIMBS:
        one, other = COCO_JOINTS[a].split('_'), COCO_JOINTS[b].split('_')
        assert one[0] == other[0] or one[-1] == other[-1] or 'nose' in (one[0], other[0])


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'joints': np.zeros((1, 16, 2), np.float32)}, r'\(P, 17, 2\)'),
        ({'visibility': np.zeros((1, 17), np.uint8)}, 'NaN where visibility is 0'),
        ({'visibility': np.full((1, 17), 3, np.uint8)}, 'expected 0, 1 or 2, got 3'),
        ({'visibility': np.full((2, 17), 2, np.uint8)}, r'shape \(1, 17\)'),
        ({'joints': np.full((1, 17, 2), np.nan, np.float32)}, 'finite pixels elsewhere'),
        ({'scores': np.full((1, 17), 1.5, np.float32)}, r'expected \[0, 1\]'),
        ({'untyped': np.full((1, 2), np.inf, np.float32)}, 'untyped'),
        ({'size': (0, 5)}, 'size'),
    ],
)
def test_keypoints_refuse_what_does_not_fit_together(wrong, message):
    right = {
        'joints': np.zeros((1, 17, 2), np.float32),
        'visibility': np.full((1, 17), 2, np.uint8),
        'scores': np.ones((1, 17), np.float32),
        'untyped': np.zeros((0, 2), np.float32),
        'size': (4, 5),
    }
    Keypoints(**right)
    with pytest.raises(ValueError, match=message):
        Keypoints(**{**right, **wrong})


def test_no_people_at_all():
    empty = keypoints((9, 9), np.random.default_rng(0), people=0)
    assert empty.flip().joints.shape == (0, 17, 2)
    assert empty.to_model_size(ResizeTransform((9, 9), 30)).size == (30, 30)


def test_the_preview_draws_left_blue_right_orange_and_only_there():
    joints = np.full((1, 17, 2), np.nan, np.float32)
    seen = np.zeros((1, 17), np.uint8)
    for name, place in {'left_elbow': (20, 20), 'left_wrist': (20, 60),
                        'right_elbow': (70, 20), 'right_wrist': (70, 60)}.items():  # fmt: skip
        joints[0, COCO_JOINTS.index(name)] = place
        seen[0, COCO_JOINTS.index(name)] = 2
    label = Keypoints(joints, seen, (seen / 2).astype('f4'), np.zeros((0, 2), 'f4'), (90, 90))
    image = label.preview().astype(int)
    assert image[40, 20, 2] > image[40, 20, 0]
    assert image[40, 70, 0] > image[40, 70, 2]
    assert (image[:, 40:50] == 40).all()
