# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Blended answers about shifted images: what the image shows stays, what tokens leave goes."""

import numpy as np
import pytest

from diception_ros.model import sampler

SIDE, TOKEN = 64, 16
COUNTS = [1, 2, 3, 4, 5, 8, 16]


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize('token', [2, 7, 8, 16])
def test_offsets_are_spread_evenly_over_a_token_along_each_axis(token):
    for count in range(1, token + 1):
        places = sampler.shift_offsets(count, token)
        assert places[0] == sampler.NO_SHIFT
        for axis in (0, 1):
            phases = sorted(place[axis] % token for place in places)
            gaps = np.diff([*phases, phases[0] + token])
            assert len(set(phases)) == count
            assert gaps.max() - gaps.min() <= 1
            assert max(abs(place[axis]) for place in places) <= token / 2


@pytest.mark.parametrize('count', COUNTS)
def test_shifted_and_blended_is_the_image_itself(count):
    places = sampler.shift_offsets(count, TOKEN)
    square = image()
    seen = [sampler.shift(square, place).astype(np.float32) for place in places]
    assert all(one.shape == square.shape for one in seen)
    np.testing.assert_allclose(sampler.blend(seen, places), square, atol=1e-4)


def test_blend_returns_a_single_image_unchanged():
    one = image().astype(np.float32)
    assert sampler.blend([one], [sampler.NO_SHIFT]) is one
    square = image()
    assert sampler.shift(square, sampler.NO_SHIFT) is square


@pytest.mark.parametrize('place', [(3, -5), (-8, 8), (0, 1)])
def test_a_shifted_image_is_cut_out_at_its_offset_and_mirrored_beyond(place):
    square = image()
    rows, columns = (np.arange(SIDE) + step for step in place)
    beyond = [
        np.where(i < 0, -i, np.where(i >= SIDE, 2 * (SIDE - 1) - i, i)) for i in (rows, columns)
    ]
    np.testing.assert_array_equal(sampler.shift(square, place), square[np.ix_(*beyond)])


@pytest.mark.parametrize('place', [(3, -5), (-8, 8), (0, 1), sampler.NO_SHIFT])
def test_a_point_stays_on_its_pixel(place):
    square = image()
    for row, column in [(0, 0), (9, 20), (40, 55), (SIDE - 1, SIDE - 1), (31, 2)]:
        share = ((column + 0.5) / SIDE, (row + 0.5) / SIDE)
        moved = sampler.shift_points([share], place, SIDE)
        inside = 0 <= row - place[0] < SIDE and 0 <= column - place[1] < SIDE
        assert (moved is not None) == inside
        if moved is not None:
            x, y = (int(value * SIDE) for value in moved[0])
            np.testing.assert_array_equal(sampler.shift(square, place)[y, x], square[row, column])


def test_one_lost_point_is_enough_to_leave_a_shifted_image_out():
    inside, rim = (0.5, 0.5), (0.01, 0.5)
    assert sampler.shift_points([inside, rim], (0, 4), SIDE) is None
    assert sampler.shift_points([inside], (0, 4), SIDE) == [(0.5 - 4 / SIDE, 0.5)]
    assert sampler.shift_points([(0.25, 0.5), (60 / SIDE, 0.5)], (0, -4), SIDE) is None
    assert sampler.shift_points([], (0, 4), SIDE) == []


@pytest.mark.parametrize('count', [2, 4, 8])
@pytest.mark.parametrize('axis', [0, 1])
def test_blend_removes_a_pattern_that_repeats_in_every_token(count, axis):
    places = sampler.shift_offsets(count, TOKEN)
    # The same in every image that is painted, wherever it lies: a wave of one token.
    wave = np.sin(2 * np.pi * (np.arange(SIDE) + 0.5) / TOKEN)
    grid = np.broadcast_to(wave if axis else wave[:, None], (SIDE, SIDE))
    painted = np.repeat(grid[..., None], 3, axis=2).astype(np.float32)
    found = sampler.blend([painted] * count, places)
    middle = slice(TOKEN, SIDE - TOKEN)  # where all of them look
    assert np.abs(painted[middle, middle]).max() > 0.9
    assert np.abs(found[middle, middle]).max() < 1e-5


def test_blend_has_no_edge_where_shifts_disagree():
    # All that is painted about shifted images is white, at home black.
    places = sampler.shift_offsets(4, TOKEN)
    painted = [
        np.full((SIDE, SIDE, 3), float(place != sampler.NO_SHIFT), np.float32) for place in places
    ]
    found = sampler.blend(painted, places)
    np.testing.assert_allclose(found[TOKEN:-TOKEN, TOKEN:-TOKEN], 0.75, atol=1e-6)
    assert max(np.abs(np.diff(found, axis=axis)).max() for axis in (0, 1)) < 0.2
