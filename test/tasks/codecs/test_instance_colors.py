# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import image_degradations as degraded
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from task_examples import random_instances

from diception_ros.tasks.codecs.instance_colors import (
    MIN_BRIGHTNESS,
    decode_instances,
    encode_instances,
    lattice,
)


def agreement(found, true):
    """Mean over true instances of the best IoU, and how many instances too many were found."""
    best = []
    for k in range(1, true.max() + 1):
        mask = true == k
        others = np.unique(found[mask])
        best.append(max((mask & (found == o)).sum() / (mask | (found == o)).sum() for o in others))
    return np.mean(best), int(found.max() - true.max())


def disc(side, x, y, radius):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - y, columns - x) <= radius


# ---- painting ------------------------------------------------------------------------------


@pytest.mark.parametrize(('count', 'apart'), [(1, 1 / 3), (56, 1 / 3), (57, 1 / 4), (120, 1 / 5)])
def test_the_lattice_is_bright_and_as_coarse_as_it_can_be(count, apart):
    colors = lattice(count)
    assert len(colors) >= count
    assert pdist(colors).min() == pytest.approx(apart, abs=1e-6)
    assert colors.max(axis=1).min() >= MIN_BRIGHTNESS


def test_each_instance_has_a_color_of_its_own_and_nothing_is_black():
    ids = np.zeros((64, 64), np.int32)
    ids.reshape(8, 8, 8, 8)[:, 1:7, :, 1:7] = np.arange(1, 65).reshape(8, 1, 8, 1)
    rgb = encode_instances(ids)
    assert (rgb[ids == 0] == 0).all()
    colors = np.array([rgb[ids == k][0] for k in range(1, 65)])
    assert pdist(colors).min() >= 0.249
    for k in range(1, 65):
        assert (rgb[ids == k] == colors[k - 1]).all()


def test_colors_follow_from_what_is_seen_not_from_the_numbers():
    # A grid of equal things on a line has ties that only the order can settle.
    ids = np.zeros((64, 64), np.int32)
    ids.reshape(8, 8, 8, 8)[:, 1:7, :, 1:7] = np.arange(1, 65).reshape(8, 1, 8, 1)
    numbers = np.random.default_rng(0).permutation(80)[:65] + 1
    other = np.where(ids > 0, numbers[ids], 0).astype(np.int32)
    np.testing.assert_array_equal(encode_instances(other), encode_instances(ids))


def test_red_grows_to_the_right_and_green_downward():
    ids = np.zeros((100, 100), np.int32)
    ids[5:15, 5:15], ids[5:15, 85:95], ids[85:95, 5:15] = 1, 2, 3
    rgb = encode_instances(ids)
    assert rgb[10, 90, 0] > rgb[10, 10, 0] + 0.5
    assert rgb[90, 10, 1] > rgb[10, 10, 1] + 0.5


# ---- reading -------------------------------------------------------------------------------

# Least mean IoU of 20 instances, and how many may be counted too many or too few.
CHANNELS = {
    'nothing': (lambda rgb, rng: rgb, 0.99, 0),
    'eight bit': (lambda rgb, rng: degraded.eight_bit(rgb), 0.99, 0),
    'jpeg 70': (lambda rgb, rng: degraded.jpeg(rgb), 0.96, 1),
    'noise 0.05': (lambda rgb, rng: degraded.noise(rgb, rng), 0.98, 0),
    'blur 1': (lambda rgb, rng: degraded.blur(rgb), 0.97, 1),
    'all': (
        lambda rgb, rng: degraded.eight_bit(degraded.noise(degraded.blur(rgb), rng)),
        0.95,
        1,
    ),
}


@pytest.mark.parametrize('name', CHANNELS)
@pytest.mark.parametrize('seed', range(3))
def test_twenty_instances_round_trip(name, seed):
    channel, least, miscount = CHANNELS[name]
    rng = np.random.default_rng(seed)
    true = random_instances(rng, 768, 24).ids
    found, scores = decode_instances(channel(encode_instances(true), rng))
    iou, more = agreement(found, true)
    assert iou >= least
    assert abs(more) <= miscount
    assert len(scores) == found.max()


@pytest.mark.parametrize(
    ('side', 'count', 'least'), [(64, 6, 0.97), (128, 10, 0.98), (256, 20, 0.98)]
)
@pytest.mark.parametrize('seed', range(3))
def test_small_images_round_trip(side, count, least, seed):
    rng = np.random.default_rng(seed)
    true = random_instances(rng, side, count).ids
    iou, more = agreement(decode_instances(encode_instances(true))[0], true)
    assert iou >= least
    assert more == 0


def test_blurred_rims_go_to_the_nearer_color():
    # Half of the pixels of so small things are rim; what lies next to them in place is not enough.
    ious = []
    for seed in range(3):
        true = random_instances(np.random.default_rng(seed), 64, 6).ids
        iou, more = agreement(decode_instances(degraded.blur(encode_instances(true)))[0], true)
        assert more == 0
        ious.append(iou)
    assert np.mean(ious) >= 0.965


def test_fluctuations_that_neighbours_share_are_no_instances():
    ious, miscounts = [], 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        true = random_instances(rng, 384, 20).ids
        rgb = degraded.blur(encode_instances(true))
        grain = degraded.blur(rng.normal(0, 1, rgb.shape).astype(np.float32), 1.5)
        found, _ = decode_instances(np.clip(rgb + 0.05 * grain / grain.std(), 0, 1))
        iou, more = agreement(found, true)
        ious.append(iou)
        miscounts += abs(more)
    assert np.mean(ious) >= 0.95
    assert miscounts <= 3


@pytest.mark.parametrize('side', [16, 33, 1536])
def test_two_things_at_the_least_and_at_the_greatest_size(side):
    true = np.zeros((side, side), np.int32)
    true[side // 8 : side // 2, side // 8 : side // 2] = 1
    true[side // 2 : side - 1, side // 4 : side - 1] = 2
    iou, more = agreement(decode_instances(encode_instances(true))[0], true)
    assert iou >= 0.95
    assert more == 0


@pytest.mark.parametrize('seed', range(3))
def test_decoding_accepts_any_instance_colors(seed):
    rng = np.random.default_rng(seed)
    true = random_instances(rng, 512, 15).ids
    colors = np.zeros((1, 3))
    while len(colors) <= true.max():
        new = rng.random(3)
        if np.linalg.norm(colors - new, axis=1).min() > 0.3:
            colors = np.vstack([colors, new])
    rgb = colors[true].astype(np.float32)
    iou, more = agreement(decode_instances(degraded.noise(rgb, rng))[0], true)
    assert iou >= 0.97
    assert more == 0


@pytest.mark.parametrize('sigma', [0.8, 1.0, 2.0])
def test_the_rim_between_two_colors_is_no_instance(sigma):
    # Magenta into green passes grey, white into black passes grey: grey is there too, elsewhere.
    true = np.zeros((300, 300), np.int32)
    true[30:150, 30:150], true[30:150, 150:270], true[200:270, 30:270] = 1, 2, 3
    colors = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0], [0.5, 0.5, 0.5]], np.float32)
    rgb = degraded.blur(colors[true], sigma)
    iou, more = agreement(decode_instances(rgb)[0], true)
    assert more == 0
    assert iou > 0.97


def test_an_object_behind_a_post_is_one_instance():
    true = np.zeros((256, 256), np.int32)
    true[80:180, 30:220] = 1
    true[20:240, 110:140] = 2
    rgb = degraded.noise(encode_instances(true), np.random.default_rng(0))
    iou, more = agreement(decode_instances(rgb)[0], true)
    assert more == 0
    assert iou > 0.97


@pytest.mark.parametrize('drift', [0.15, 0.25])
def test_color_drift_within_an_instance_does_not_split_it(drift):
    true = np.where(disc(256, 128, 128, 90), 1, 0).astype(np.int32)
    rgb = np.array([[0, 0, 0], [0.6, 0.6, 0.3]], np.float32)[true]
    rgb += drift * np.linspace(-1, 1, 256, dtype=np.float32)[None, :, None] * (true > 0)[..., None]
    found, _ = decode_instances(degraded.noise(rgb, np.random.default_rng(0)))
    iou, more = agreement(found, true)
    assert more == 0
    assert iou > 0.97


def halves(apart, ramp):
    """Two even halves of a bar whose colours are `apart`, changing within `ramp` pixels."""
    part = np.clip((np.arange(256) - 127.5) / ramp + 0.5, 0, 1)
    rgb = np.zeros((256, 256, 3), np.float32)
    rgb[60:200, 20:236] = (0.8, 0.3, 0.5)
    rgb[60:200, 20:236, 1] += (apart * part[20:236]).astype(np.float32)
    return rgb


# The colours have a mode each, so that seeking modes does not join them; touching, they are one
# thing if alike, or if the change is slow; two if it is a step, or too large to be a drift.
@pytest.mark.parametrize(
    ('apart', 'ramp', 'count'),
    [(0.12, 1, 1), (0.2, 1, 2), (0.25, 1, 2), (0.2, 40, 1), (0.25, 40, 1), (0.4, 40, 2)],
)
@pytest.mark.parametrize('sigma', [0, 0.03])
def test_halves_that_touch_are_one_thing_unless_there_is_a_step(apart, ramp, count, sigma):
    rgb = degraded.noise(halves(apart, ramp), np.random.default_rng(0), sigma)
    found, _ = decode_instances(rgb)
    assert found.max() == count
    assert found[130, 40] > 0
    assert (found[130, 40] == found[130, 220]) == (count == 1)


def test_similar_colors_apart_are_two_instances_above_the_limit_and_one_below():
    true = np.zeros((256, 256), np.int32)
    true[50:110, 50:110], true[150:210, 150:210] = 1, 2
    for apart, count in ((0.12, 2), (0.04, 1)):
        colors = np.array([[0, 0, 0], [0.8, 0.3, 0.5], [0.8, 0.3, 0.5 + apart]], np.float32)
        assert decode_instances(colors[true])[0].max() == count


def test_specks_and_near_black_are_background():
    rng = np.random.default_rng(0)
    rgb = np.full((768, 768, 3), 0.1, np.float32)
    for x, y in rng.integers(20, 748, (50, 2)):
        rgb[y : y + 2, x : x + 2] = (1, 0.5, 0)
    rgb[300:400, 300:400] = (0, 1, 0)
    rgb[350:354, 350:354] = (1, 0, 1)
    found, scores = decode_instances(rgb)
    assert found.max() == 1
    assert len(scores) == 1
    assert (found[300:400, 300:400] == 1).all()


def test_nothing_is_found_in_black_and_everything_in_one_color():
    assert decode_instances(np.zeros((32, 32, 3), np.float32))[0].max() == 0
    noisy = degraded.noise(np.zeros((256, 256, 3), np.float32), np.random.default_rng(0))
    assert decode_instances(noisy)[0].max() == 0
    assert (decode_instances(np.full((32, 32, 3), 0.7, np.float32))[0] == 1).all()


def test_values_outside_the_range_count_as_its_ends():
    true = random_instances(np.random.default_rng(1), 256, 8).ids
    rgb = encode_instances(true)
    found, scores = decode_instances(rgb)
    again, scores_again = decode_instances(np.where(rgb == 0, -3, np.where(rgb == 1, 5, rgb)))
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(scores_again, scores)


def test_scores_fall_with_size_and_with_spread():
    true = np.zeros((256, 256), np.int32)
    true[20:120, 20:120], true[150:160, 20:30], true[20:120, 150:250] = 1, 2, 3
    rgb = encode_instances(true)
    rgb[20:120, 150:250] += np.random.default_rng(0).normal(0, 0.1, (100, 100, 3))
    found, scores = decode_instances(rgb)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) <= 0).all()
    large, small, spread = (scores[found[y, x] - 1] for y, x in ((70, 70), (155, 25), (70, 200)))
    assert large > 0.95
    assert large > small + 0.02
    # What the filter leaves of noise of 0.1 is 0.04; exp(-(0.04 / SPREAD)^2) is 0.93.
    assert 0.85 < spread < 0.96


def test_decoding_is_deterministic():
    rng = np.random.default_rng(0)
    rgb = degraded.noise(encode_instances(random_instances(rng, 384, 20).ids), rng)
    first, second = decode_instances(rgb), decode_instances(rgb.copy())
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_the_image_that_is_read_stays_as_it_was():
    rgb = encode_instances(random_instances(np.random.default_rng(0), 128, 5).ids)
    before = rgb.copy()
    decode_instances(rgb)
    np.testing.assert_array_equal(rgb, before)
