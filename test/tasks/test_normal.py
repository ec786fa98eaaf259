# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import image_degradations as degraded
import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.labels import Normals
from diception_ros.tasks.normal import angles_deg

TASK = tasks.get('normal')

# Bounds on the mean angle in degrees. Noise of sigma 0.05 costs 7.2 degrees if nothing is done.
CHANNELS = {
    'nothing': (lambda rgb, rng: rgb, 1e-3),
    'eight bit': (lambda rgb, rng: degraded.eight_bit(rgb), 0.25),
    'jpeg 70': (lambda rgb, rng: degraded.jpeg(rgb), 2.0),
    'noise 0.05': (lambda rgb, rng: degraded.noise(rgb, rng), 1.5),
    'blur 1': (lambda rgb, rng: degraded.blur(rgb), 0.6),
}


def normals(*vectors):
    array = np.array([vectors], np.float32)
    return Normals(array / np.linalg.norm(array, axis=-1, keepdims=True))


def tilted(*angles_degrees):
    angles = np.radians(angles_degrees)
    return normals(*np.stack([np.sin(angles), 0 * angles, -np.cos(angles)], axis=1))


@pytest.mark.parametrize('name', CHANNELS)
@pytest.mark.parametrize('seed', range(2))
def test_encoded_normals_round_trip(name, seed):
    channel, mean = CHANNELS[name]
    rng = np.random.default_rng(seed)
    label = example(TASK, rng)
    back = TASK.decode(channel(TASK.encode(label), rng))
    score = TASK.score(back, label)
    assert score['mean_deg'] < mean
    # Vectors cancel on a few edges; holes stay holes but for their rim.
    assert score['coverage'] > 0.998
    assert (back.valid & ~label.valid).sum() <= 0.02 * (~label.valid).sum()


def test_noise_free_normals_are_not_smoothed():
    # A chessboard of two directions is all edges, and a filter would show.
    chess = np.indices((64, 64)).sum(axis=0) // 8 % 2
    vectors = np.where(chess[..., None] == 1, [0.6, 0, -0.8], [0, 0.6, -0.8]).astype(np.float32)
    back = TASK.decode(degraded.eight_bit(TASK.encode(Normals(vectors))))
    assert np.degrees(np.abs(back.vectors - vectors)).max() < 0.5


def test_smoothing_keeps_edges():
    vectors = np.zeros((64, 64, 3), np.float32)
    vectors[:, :32], vectors[:, 32:] = [0.8, 0, -0.6], [-0.8, 0, -0.6]
    rng = np.random.default_rng(0)
    back = TASK.decode(degraded.noise(TASK.encode(Normals(vectors)), rng))
    beside = angles_deg(back, Normals(vectors)).reshape(64, 64)[:, 31:33]
    assert beside.mean() < 10  # the two sides differ by 106 degrees


def test_the_axes_of_the_image_are_right_up_and_to_the_viewer():
    rgb = TASK.encode(Normals(np.full((2, 2, 3), [0, 0, -1], np.float32)))
    np.testing.assert_allclose(rgb[0, 0], [0.5, 0.5, 1])
    rgb = TASK.encode(Normals(np.full((2, 2, 3), [1, 0, 0], np.float32)))
    np.testing.assert_allclose(rgb[0, 0], [1, 0.5, 0.5])
    rgb = TASK.encode(Normals(np.full((2, 2, 3), [0, -1, 0], np.float32)))  # up, as of a floor
    np.testing.assert_allclose(rgb[0, 0], [0.5, 1, 0.5])
    np.testing.assert_allclose(TASK.decode(rgb).vectors[0, 0], [0, -1, 0], atol=1e-6)


@pytest.mark.parametrize('color', [(0.5, 0.5, 0.5), (0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.7)])
def test_what_is_no_direction_is_unknown(color):
    assert not TASK.decode(np.full((4, 4, 3), color, np.float32)).valid.any()


def test_unknown_normals_are_encoded_grey():
    assert (TASK.encode(Normals(np.full((2, 2, 3), np.nan, np.float32))) == 0.5).all()


def test_a_mirrored_scene_is_a_mirrored_image_with_red_inverted():
    label = example(TASK, np.random.default_rng(0), 64)
    mirrored = TASK.encode(label)[:, ::-1].copy()
    mirrored[..., 0] = 1 - mirrored[..., 0]
    np.testing.assert_allclose(TASK.encode(label.flip()), mirrored, atol=1e-6)


# ---- score ---------------------------------------------------------------------------------


def test_score_by_hand():
    score = TASK.score(tilted(0, 11, 12, 29, 89), tilted(0, 0, 0, 0, 0))
    expected = {
        'mean_deg': 28.2,
        'median_deg': 12,
        'within_11_25': 0.4,
        'within_22_5': 0.6,
        'within_30': 0.8,
        'coverage': 1,
    }
    assert score == pytest.approx(expected, abs=1e-4)


def test_angles_are_exact_at_both_ends():
    found = angles_deg(tilted(0, 0.001, 90, 180), tilted(0, 0, 0, 0))
    np.testing.assert_allclose(found, [0, 0.001, 90, 180], atol=2e-5)


def test_unknown_pixels_do_not_count_but_missing_predictions_show():
    hole = np.array(tilted(0, 10, 20, 30).vectors)
    predicted, truth = hole.copy(), np.array(tilted(0, 0, 0, 0).vectors)
    predicted[0, 3], truth[0, 2] = np.nan, np.nan
    score = TASK.score(Normals(predicted), Normals(truth))
    assert score['mean_deg'] == pytest.approx(5, abs=1e-4)
    assert score['coverage'] == pytest.approx(2 / 3)


def test_all_unknown_scores_nan():
    unknown = Normals(np.full((1, 2, 3), np.nan, np.float32))
    assert np.isnan(list(TASK.score(tilted(0, 1), unknown).values())).all()
    nothing = TASK.score(unknown, tilted(0, 1))
    assert nothing.pop('coverage') == 0
    assert np.isnan(list(nothing.values())).all()


def test_score_refuses_other_sizes():
    with pytest.raises(ValueError, match='one size'):
        TASK.score(tilted(0, 1), tilted(0))
