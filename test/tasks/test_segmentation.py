# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import image_degradations as degraded
import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.labels import Mask
from diception_ros.core.prompt import Point, Prompt

TASK = tasks.get('segmentation')

# Bounds on the IoU and on the score that the image gives itself. A blur lowers the score by the
# share of the rim, which is larger on a small square.
CHANNELS = {
    'nothing': (lambda rgb, rng: rgb, 1.0, 1.0),
    'eight bit': (lambda rgb, rng: degraded.eight_bit(rgb), 1.0, 1.0),
    'jpeg 70': (lambda rgb, rng: degraded.jpeg(rgb), 1.0, 0.999),
    'noise 0.05': (lambda rgb, rng: degraded.noise(rgb, rng), 1.0, 0.999),
    'blur 1': (lambda rgb, rng: degraded.blur(rgb), 0.999, 0.9),
}


def mask(*values):
    return Mask(np.array([values], np.bool_))


@pytest.mark.parametrize('name', CHANNELS)
@pytest.mark.parametrize('seed', range(4))
def test_encoded_mask_round_trip(name, seed):
    channel, iou, score = CHANNELS[name]
    rng = np.random.default_rng(seed)
    label = example(TASK, rng, 512)
    back = TASK.decode(channel(TASK.encode(label), rng))
    assert TASK.score(back, label)['iou'] >= iou
    assert back.score >= score


def test_the_thing_is_white_and_the_rest_black():
    rgb = TASK.encode(Mask(np.array([[True, False], [False, False]])))
    np.testing.assert_array_equal(rgb[..., 1], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(rgb, rgb[..., :1].repeat(3, axis=-1))


def test_of_white_things_the_threshold_is_half_of_the_channel_mean():
    white, black = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
    row = [white, white, white, black, [0.2, 0.5, 0.79], [0.2, 0.5, 0.81]]
    found = TASK.decode(np.array([row] * 6, np.float32)).values
    np.testing.assert_array_equal(found, [[True, True, True, False, False, True]] * 6)


@pytest.mark.parametrize('level', [0.9, 0.7, 0.55])
def test_mask_is_independent_of_the_brightness_of_uncertain_pixels(level):
    label = example(TASK, np.random.default_rng(7), 256)
    rgb = degraded.blur(TASK.encode(label))
    np.testing.assert_array_equal(TASK.decode(level * rgb).values, TASK.decode(rgb).values)


def test_noise_on_black_belongs_to_no_instance():
    rng = np.random.default_rng(8)
    assert not TASK.decode(degraded.noise(np.zeros((256, 256, 3), np.float32), rng)).values.any()


@pytest.mark.parametrize(('grey', 'score'), [(0.0, 0), (0.2, 0), (0.45, 0), (0.6, 0), (0.8, 1)])
def test_a_grey_image_has_no_trust_in_itself(grey, score):
    assert TASK.decode(np.full((4, 4, 3), grey, np.float32)).score == score


def test_the_score_is_the_share_that_is_surely_bright():
    grey = np.array([[0.9, 0.9, 0.9, 0.4], [0.1] * 4, [0.1] * 4, [0.1] * 4], np.float32)
    assert TASK.decode(grey[..., None].repeat(3, axis=-1)).score == 0.75


def test_text_wants_points_and_no_category():
    points = (Point(1, 2),)
    assert TASK.text(Prompt('segmentation', points=points)) == '[[image2segmentation]]'
    with pytest.raises(ValueError, match='needs 1 to 5 points'):
        TASK.text(Prompt('segmentation'))
    with pytest.raises(ValueError, match='takes no category'):
        TASK.text(Prompt('segmentation', category='dog', points=points))


@pytest.mark.parametrize(
    ('predicted', 'truth', 'iou'),
    [
        ((1, 1, 0, 0), (0, 1, 1, 0), 1 / 3),
        ((1, 1, 0, 0), (1, 1, 0, 0), 1),
        ((1, 0, 0, 0), (0, 0, 0, 0), 0),
        ((0, 0, 0, 0), (1, 0, 0, 0), 0),
        ((0, 0, 0, 0), (0, 0, 0, 0), float('nan')),
    ],
)
def test_iou_by_hand(predicted, truth, iou):
    score = TASK.score(mask(*predicted), mask(*truth))
    assert score == {'iou': pytest.approx(iou, nan_ok=True)}


def test_score_refuses_other_sizes():
    with pytest.raises(ValueError, match='one size'):
        TASK.score(mask(1, 0), mask(1))
