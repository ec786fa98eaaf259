# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from task_examples import random_skeletons

from diception_ros import tasks
from diception_ros.core.labels import COCO_JOINTS, COCO_MIRROR, Keypoints
from diception_ros.tasks.codecs import pose_skeleton

TASK = tasks.get('pose')
SIDE = 128


def uncertain(truth, rng, jitter=2.0, swapped=0.3, there=0.8, count=25):
    """The mean of paintings of what may be: joints a little off, sides swapped, nobody at all."""
    total = np.zeros((*truth.size, 3), np.float32)
    for _ in range(count):
        joints = truth.joints + rng.normal(0, jitter, truth.joints.shape).astype(np.float32)
        swap = rng.random(len(joints)) < swapped
        joints[swap] = joints[swap][:, list(COCO_MIRROR)]
        total += pose_skeleton.encode_keypoints(
            joints[rng.random(len(joints)) < there], truth.size[0]
        )
    return total / count


def judged(seeds, **doubts):
    scores = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        truth = random_skeletons(rng, SIDE, 1)
        scores.append(TASK.score(TASK.decode(uncertain(truth, rng, **doubts)), truth))
    return {name: np.mean([one[name] for one in scores]) for name in scores[0]}


@pytest.mark.slow
def test_people_drawn_as_a_mean_of_poses_are_found():
    scores = judged(range(12))
    assert scores['pck'] > 0.6
    assert scores['oks'] > 0.5
    assert scores['precision'] > 0.5


@pytest.mark.slow
def test_left_and_right_are_distinguished_where_red_does():
    sure, not_sure = (judged(range(10), swapped=part)['pck'] for part in (0.2, 0.5))
    assert sure > not_sure + 0.05


def test_decoding_a_mirrored_image_gives_the_mirrored_person():
    rng = np.random.default_rng(3)
    rgb = uncertain(random_skeletons(rng, SIDE, 1), rng)
    found, other = TASK.decode(rgb), TASK.decode(np.ascontiguousarray(rgb[:, ::-1]))
    assert len(found.joints) == 1
    back = np.array([SIDE - 1, 0]) + np.array([-1, 1]) * other.joints
    # The left arm of who is seen in a mirror is a right arm, but colours do not know of mirrors.
    np.testing.assert_allclose(back, found.joints, atol=1e-3)
    np.testing.assert_allclose(other.scores, found.scores, atol=1e-5)


@pytest.mark.parametrize('brightness', [0.7, 1.0])
def test_pose_scores_equal_the_brightness(brightness):
    rng = np.random.default_rng(5)
    rgb = uncertain(random_skeletons(rng, SIDE, 1), rng, there=1.0)
    full, dark = TASK.decode(rgb), TASK.decode(brightness * rgb)
    # Not exactly: the darkest place of a person is the same in both.
    np.testing.assert_allclose(dark.joints, full.joints, atol=1)
    np.testing.assert_allclose(dark.scores, brightness * full.scores, atol=0.02)


@pytest.mark.slow
def test_the_last_joint_of_a_limb_is_its_end():
    short = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = random_skeletons(rng, SIDE, 1)
        found = TASK.decode(uncertain(truth, rng))
        for end, before in (('ankle', 'knee'), ('wrist', 'elbow')):
            # The middle of left and right: which is which is not the question.
            places = [
                [person[COCO_JOINTS.index(f'{side}_{name}')] for side in ('left', 'right')]
                for person in (truth.joints[0], found.joints[0])
                for name in (end, before)
            ]
            tip, root, other, _ = np.mean(places, axis=1)
            if np.linalg.norm(tip - root) > 10:
                short.append((tip - root) @ (tip - other) / ((tip - root) @ (tip - root)))
    assert len(short) > 8
    assert abs(np.nanmean(short)) < 0.15


def test_a_larger_image_of_the_same_gives_the_same_person():
    rng = np.random.default_rng(3)
    rgb = uncertain(random_skeletons(rng, SIDE, 1), rng)
    small, large = TASK.decode(rgb), TASK.decode(np.kron(rgb, np.ones((4, 4, 1), np.float32)))
    np.testing.assert_allclose((small.joints + 0.5) * 4 - 0.5, large.joints, atol=0.3)


def test_two_touching_people_stay_two():
    rng = np.random.default_rng(0)
    one = random_skeletons(rng, SIDE, 1)
    here = one.visibility[0] > 0
    extent = np.ptp(one.joints[0, here], axis=0)
    shift = np.array([1.1 * min(extent), 0], np.float32)
    truth = Keypoints(
        np.concatenate([one.joints - shift / 2, one.joints + shift / 2]),
        np.repeat(one.visibility, 2, axis=0),
        np.repeat(one.scores, 2, axis=0),
        one.untyped,
        one.size,
    )
    assert len(TASK.decode(uncertain(truth, rng)).joints) == 2


@pytest.mark.parametrize('width', [4, 30])
@pytest.mark.parametrize('color', [(0.5, 0.5, 0.5), (0.55, 0.45, 0.45), (0.0, 0.6, 0.0)])
def test_a_region_of_one_color_is_no_person(color, width):
    rgb = np.zeros((SIDE, SIDE, 3), np.float32)
    rgb[20:100, 50 : 50 + width] = color
    found = TASK.decode(rgb)
    assert len(found.joints) == len(found.untyped) == 0


def test_faint_people_in_an_image_with_clear_ones_are_found_too():
    rng = np.random.default_rng(2)
    rgb = np.zeros((2 * SIDE, 2 * SIDE, 3), np.float32)
    rgb[:SIDE, :SIDE] = TASK.encode(random_skeletons(rng, SIDE, 1))
    rgb[SIDE:, SIDE:] = uncertain(random_skeletons(rng, SIDE, 1), rng)
    found = TASK.decode(rgb)
    assert len(found.joints) == 2
    assert np.nanmax(found.joints[0]) < SIDE < np.nanmin(found.joints[1])


def test_a_face_has_its_five_joints_in_one_place():
    rng = np.random.default_rng(0)
    face = TASK.decode(uncertain(random_skeletons(rng, SIDE, 1), rng)).joints[0, :5]
    assert COCO_JOINTS[4] == 'right_ear'
    assert np.ptp(face, axis=0).max() == 0
