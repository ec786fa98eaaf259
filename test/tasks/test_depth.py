# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import image_degradations as degraded
import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.labels import Disparity, MetricDepth
from diception_ros.core.prompt import Point, Prompt

TASK = tasks.get('depth')
NAN = np.float32(np.nan)

# Bounds on the mean and on the 99th percentile of |decoded - encoded|, a share of the range. JPEG
# and blur smear the edges, along which the last percent lies.
# Independent noise of sigma s leaves s sqrt(2 / (3 pi)) = 0.023 in the mean of three channels.
CHANNELS = {
    'nothing': (lambda rgb, rng: rgb, 1e-6, 1e-6),
    'eight bit': (lambda rgb, rng: degraded.eight_bit(rgb), 0.0011, 0.002),
    'jpeg 70': (lambda rgb, rng: degraded.jpeg(rgb), 0.004, 0.05),
    'noise 0.05': (lambda rgb, rng: degraded.noise(rgb, rng), 0.024, 0.08),
    'blur 1': (lambda rgb, rng: degraded.blur(rgb), 0.003, 0.1),
}


def disparity(*values):
    return Disparity(np.array([values], np.float32))


def metres(*values):
    return MetricDepth(np.array([values], np.float32))


@pytest.mark.parametrize('name', CHANNELS)
@pytest.mark.parametrize('seed', range(3))
def test_encoded_depth_round_trip(name, seed):
    channel, mean, worst = CHANNELS[name]
    rng = np.random.default_rng(seed)
    label = example(TASK, rng, 512)
    back = TASK.decode(channel(TASK.encode(label), rng))
    known = label.values[label.valid]
    stretched = (known - known.min()) / np.ptp(known)
    off = np.abs(back.values[label.valid] - stretched)
    assert off.mean() < mean
    assert np.percentile(off, 99) < worst


def test_the_image_is_grey_and_near_is_white():
    rgb = TASK.encode(Disparity(np.array([[0.2, 0.4], [0.6, 0.3]], np.float32)))
    np.testing.assert_allclose(rgb[..., 0], [[0, 0.5], [1, 0.25]], atol=1e-6)
    np.testing.assert_array_equal(rgb, rgb[..., :1].repeat(3, axis=-1))


def test_unknown_pixels_are_encoded_like_their_neighbours():
    values = np.tile(np.linspace(0, 1, 8, dtype=np.float32), (8, 1))
    values[2:5, 1:3] = NAN
    rgb = TASK.encode(Disparity(values))
    assert (rgb[3, 1] == values[3, 0]).all()
    assert (rgb[3, 2] == values[3, 3]).all()


def test_constant_and_unknown_disparity_can_be_encoded():
    assert (TASK.encode(Disparity(np.full((2, 2), 0.3, np.float32))) == 0.5).all()
    assert (TASK.encode(Disparity(np.full((2, 2), NAN))) == 0).all()


def test_the_mean_of_the_channels_is_read_after_clipping():
    rgb = np.array([[[0.1, 0.2, 0.6]]], np.float32)
    np.testing.assert_allclose(TASK.decode(rgb).values, [[0.3]])
    np.testing.assert_allclose(TASK.decode(np.array([[[-1, 2, 0.5]]], np.float32)).values, [[0.5]])


def test_text_and_what_it_refuses():
    assert TASK.text(Prompt('depth')) == '[[image2depth]]'
    with pytest.raises(ValueError, match='takes no category'):
        TASK.text(Prompt('depth', category='person'))
    with pytest.raises(ValueError, match='takes no points, got 1'):
        TASK.text(Prompt('depth', points=(Point(1, 2),)))


# ---- score ---------------------------------------------------------------------------------


def test_score_by_hand_aligned_in_disparity():
    # 1/truth = prediction + error, and the error is orthogonal to the prediction and to 1: the
    # fit is scale 1, shift 0, and p/t = (1/t) / (1/p).
    truth = metres(1 / 0.29, 1 / 0.21, 1 / 0.79, 1 / 0.71)
    ratio = np.array([0.29 / 0.25, 0.21 / 0.25, 0.79 / 0.75, 0.71 / 0.75])
    score = TASK.score(disparity(0.25, 0.25, 0.75, 0.75), truth)
    p, t = np.array([4, 4, 4 / 3, 4 / 3]), truth.values[0]
    expected = {
        'abs_rel': (0.16 + 0.16 + 0.04 / 0.75 * 2) / 4,
        'delta1': 1.0,
        'delta2': 1.0,
        'delta3': 1.0,
        'rmse': np.sqrt(((p - t) ** 2).mean()),
        'log10': np.abs(np.log10(ratio)).mean(),
        'coverage': 1.0,
    }
    assert score == pytest.approx(expected, rel=1e-5)


def test_score_by_hand_aligned_in_depth():
    # scale 2, shift 1.5: predicted 1.5, 2.5, 3.5, 2.5 against 1, 2, 3, 4
    score = TASK.score(disparity(0, 0.5, 1, 0.5), metres(1, 2, 3, 4), align='depth')
    expected = {
        'abs_rel': (0.5 + 0.25 + 1 / 6 + 0.375) / 4,
        'delta1': 0.25,
        'delta2': 0.75,
        'delta3': 1.0,
        'rmse': np.sqrt(0.75),
        'log10': np.log10([1.5, 1.25, 3.5 / 3, 1.6]).mean(),
        'coverage': 1.0,
    }
    assert score == pytest.approx(expected, rel=1e-9)


def test_the_score_knows_no_scale_and_no_shift():
    rng = np.random.default_rng(0)
    inverse = rng.uniform(0.2, 1.0, 500)
    truth = metres(*(1 / inverse))
    # The smallest prediction is above 0, since the fit leaves zeros out.
    for scale, shift in ((0.9, 0.05), (0.1, 0.5), (-0.5, 0.8)):
        score = TASK.score(disparity(*(scale * inverse + shift)), truth)
        assert score['abs_rel'] < 1e-5
        assert score['delta1'] == 1


def test_zeros_of_the_prediction_are_scored_but_not_fitted():
    # Without the zero the fit is exact (scale 1, shift 0); the zero then sits at the floor 1e-3.
    score = TASK.score(disparity(0, 0.25, 0.5, 1), metres(8, 4, 2, 1))
    assert score['abs_rel'] == pytest.approx((1000 - 8) / 8 / 4)
    clipped = TASK.score(disparity(0, 0.25, 0.5, 1), metres(8, 4, 2, 1), farthest=10)
    assert clipped['abs_rel'] == pytest.approx((10 - 8) / 8 / 4)


def test_the_range_of_the_data_set_leaves_pixels_out_on_both_sides():
    # Outside pixels would spoil the fit.
    score = TASK.score(
        disparity(0.9, 0.5, 0.25, 0.7), metres(0.1, 2, 4, 50), nearest=0.5, farthest=10
    )
    assert score['abs_rel'] == pytest.approx(0, abs=1e-6)
    assert score['coverage'] == 1


def test_unknown_pixels_do_not_count_but_missing_predictions_show():
    score = TASK.score(disparity(0.5, 0.25, NAN, 0.9), metres(2, 4, 8, NAN))
    assert score['abs_rel'] == pytest.approx(0, abs=1e-6)
    assert score['coverage'] == pytest.approx(2 / 3)


@pytest.mark.parametrize('kind', [MetricDepth, Disparity])
def test_all_unknown_scores_nan(kind):
    score = TASK.score(disparity(0.5, 1), kind(np.full((1, 2), NAN)))
    assert np.isnan(list(score.values())).all()
    nothing = TASK.score(disparity(NAN, NAN), kind(np.full((1, 2), 0.5, np.float32)))
    assert nothing.pop('coverage') == 0
    assert np.isnan(list(nothing.values())).all()


def test_score_against_a_disparity_by_hand():
    # truth = 2 * prediction + error, span 1: errors 0.04 of 1
    predicted, truth = disparity(0.1, 0.1, 0.4, 0.4), disparity(0.24, 0.16, 0.84, 0.76)
    score = TASK.score(predicted, truth)
    expected = {'disparity_mae': 0.04 / 0.68, 'disparity_rmse': 0.04 / 0.68, 'coverage': 1}
    assert score == pytest.approx(expected, rel=1e-5)


def test_score_refuses_other_sizes_and_other_words():
    with pytest.raises(ValueError, match='one size'):
        TASK.score(disparity(0.5, 1), metres(1, 2, 3))
    with pytest.raises(ValueError, match="'disparity' or 'depth', got 'none'"):
        TASK.score(disparity(0.5, 1), metres(1, 2), align='none')


def test_metric_depth_cannot_be_encoded():
    metres = MetricDepth(np.ones((8, 8), np.float32))
    with pytest.raises(TypeError, match=r'encodes Disparity, got MetricDepth; geometry\.to_disp'):
        TASK.encode(metres)
