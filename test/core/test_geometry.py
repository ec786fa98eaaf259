# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scale, shift, points and normals: known truths come out, inverses give back what went in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from surfaces import normals_from

from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import (
    MAX_REFERENCES,
    FitReport,
    ScaleShift,
    ScaleShiftMoments,
    align,
    back_project,
    evaluate_fit,
    fit_scale_shift,
    smooth,
    to_disparity,
    to_metric,
)
from diception_ros.core.labels import Disparity, MetricDepth
from diception_ros.core.settings import FitCriteria

NAN = np.float32(np.nan)
PINHOLE = Intrinsics(60, 50, 31.5, 20.0)


def plane(normal: np.ndarray, distance: float, height: int = 40, width: int = 64) -> MetricDepth:
    """Depth of the plane normal . P = distance as PINHOLE sees it."""
    x = (np.arange(width) - PINHOLE.cx) / PINHOLE.fx
    y = (np.arange(height)[:, None] - PINHOLE.cy) / PINHOLE.fy
    return MetricDepth((distance / (normal[0] * x + normal[1] * y + normal[2])).astype(np.float32))


def test_fit_scale_shift_finds_scale_and_shift_despite_holes():
    rng = np.random.default_rng(0)
    source = rng.random((20, 30)).astype(np.float32)
    target = 3 * source + 0.5
    source[3, 4], target[5, 6] = np.nan, np.nan
    np.testing.assert_allclose(fit_scale_shift(source, target), (3, 0.5), atol=1e-5)


def test_fit_scale_shift_by_hand():
    # means 0.5 and 2.5, covariance 1, variance 0.5
    source, target = np.array([0, 0.5, 1, 0.5]), np.array([1.0, 2, 3, 4])
    assert fit_scale_shift(source, target) == ScaleShift(2.0, 1.5)


def test_fit_scale_shift_uses_valid_pixels_alone():
    source, target = np.array([0.0, 1, 2]), np.array([0.0, 2, 99])
    assert fit_scale_shift(source, target, np.array([True, True, False])) == ScaleShift(2.0, 0.0)


def test_moments_of_parts_give_the_fit_of_the_whole():
    rng = np.random.default_rng(0)
    # A small spread around a large mean, where sums of squares would leave no digit.
    x = 0.7 + 1e-7 * rng.random(6000)
    y = 300 * x - 20 + 1e-9 * rng.standard_normal(6000)
    whole = fit_scale_shift(x, y)
    moments = ScaleShiftMoments()
    for part in np.split(np.arange(6000), [0, 1, 700, 5000]):
        moments.update(x[part], y[part])
    np.testing.assert_allclose(moments.fit(), whole, rtol=1e-7)
    np.testing.assert_allclose(whole, (300, -20), rtol=1e-2)


def test_fit_scale_shift_where_nothing_can_be_fitted():
    assert fit_scale_shift(np.full(3, 0.5), np.array([1.0, 2, 3])) == ScaleShift(0.0, 2.0)
    assert np.isnan(fit_scale_shift(np.full(3, np.nan), np.ones(3))).all()
    with pytest.raises(ValueError, match='one shape'):
        fit_scale_shift(np.ones(3), np.ones(4))


def test_disparity_is_one_at_the_nearest_and_zero_at_the_farthest_pixel():
    disparity, scale_shift = to_disparity(MetricDepth(np.array([[1, 2, 4]], np.float32)))
    np.testing.assert_allclose(disparity.values, [[1, 1 / 3, 0]], atol=1e-7)
    assert scale_shift == ScaleShift(0.75, 0.25)


def test_metres_come_back_from_disparity():
    values = np.random.default_rng(0).uniform(0.3, 80, (30, 40)).astype(np.float32)
    values[4:9, 3] = np.nan
    back = to_metric(*to_disparity(MetricDepth(values)))
    np.testing.assert_allclose(back.values, values, rtol=2e-5)


@pytest.mark.parametrize('value', [3.0, np.nan])
def test_constant_and_unknown_depth_round_trip(value):
    depth = MetricDepth(np.full((2, 3), value, np.float32))
    back = to_metric(*to_disparity(depth))
    np.testing.assert_allclose(back.values, depth.values, rtol=1e-6)


def test_beyond_infinity_is_unknown():
    metres = to_metric(Disparity(np.array([[0, 0.5, 1]], np.float32)), ScaleShift(1.0, -0.5))
    np.testing.assert_array_equal(metres.values, [[NAN, NAN, 2]])


def test_back_projected_points_project_to_their_pixels():
    depth = MetricDepth(np.random.default_rng(0).uniform(1, 5, (40, 64)).astype(np.float32))
    points = back_project(depth, PINHOLE)
    u = PINHOLE.fx * points[..., 0] / points[..., 2] + PINHOLE.cx
    v = PINHOLE.fy * points[..., 1] / points[..., 2] + PINHOLE.cy
    np.testing.assert_allclose(u, np.broadcast_to(np.arange(64), (40, 64)), atol=1e-4)
    np.testing.assert_allclose(v, np.broadcast_to(np.arange(40)[:, None], (40, 64)), atol=1e-4)
    np.testing.assert_array_equal(points[..., 2], depth.values)
    assert points.dtype == np.float32


@pytest.mark.parametrize('normal', [(0, 0, 1), (0.3, -0.2, 0.9), (-0.5, 0.4, 0.7)])
def test_normals_of_a_plane_are_exact_and_point_to_the_camera(normal):
    away = np.array(normal) / np.linalg.norm(normal)
    found = normals_from(plane(away, 2.5), PINHOLE)
    np.testing.assert_allclose(found.vectors, np.broadcast_to(-away, (40, 64, 3)), atol=2e-4)


def test_normals_at_an_edge_and_around_a_hole_are_those_of_the_surfaces():
    left, right = np.array([0.2, 0, 1.0]), np.array([-0.3, 0.1, 1.0])
    left, right = left / np.linalg.norm(left), right / np.linalg.norm(right)
    values = plane(left, 1.0).values.copy()
    values[:, 30:] = plane(right, 3.0).values[:, 30:]
    values[10, 10] = np.nan
    found = normals_from(MetricDepth(values), PINHOLE).vectors
    truth = np.where(np.arange(64)[None, :, None] < 30, -left, -right)
    known = ~np.isnan(values)
    np.testing.assert_allclose(found[known], np.broadcast_to(truth, found.shape)[known], atol=1e-3)
    assert np.isnan(found[10, 10]).all()


def test_a_pixel_without_neighbours_has_no_normal():
    assert not normals_from(MetricDepth(np.ones((1, 1), np.float32)), PINHOLE).valid.any()


TRUTH = ScaleShift(0.8, 0.12)  # 1/m: from 1.1 m at disparity 1 to 8.3 m at 0
DEMANDS = FitCriteria()


def depth_of(scale_shift, disparity):
    return 1 / (scale_shift.scale * disparity + scale_shift.shift)


def references(rng, count=3000, noise=0.0):
    disparity = rng.random(count)
    return disparity, depth_of(TRUTH, disparity) * np.exp(rng.normal(0, noise, count))


# What goes wrong with depth sensors, each as (true depths, chance) -> wrong depths.
WRONG = {
    'anywhere': lambda z, rng: rng.uniform(0.3, 20, len(z)),
    # A lidar that stands elsewhere sees past the edges of what is near.
    'behind': lambda z, rng: z * rng.uniform(1.3, 4, len(z)),
    'before': lambda z, rng: z * rng.uniform(0.2, 0.75, len(z)),
    'a wall': lambda z, rng: np.full(len(z), 4.0),
    'a mirror': lambda z, rng: z + 3,
    'out of range': lambda z, rng: np.full(len(z), 65.535),
}


@pytest.mark.parametrize('wrong', WRONG)
@pytest.mark.parametrize(('count', 'noise'), [(3000, 0.03), (300, 0.03), (3000, 0.08)])
def test_the_truth_comes_out_of_30_percent_wrong_references(wrong, count, noise):
    rng = np.random.default_rng(5)
    disparity, depth = references(rng, count, noise)
    bad = rng.choice(count, 3 * count // 10, replace=False)
    depth[bad] = WRONG[wrong](depth[bad], rng)
    fit = align(disparity, depth, DEMANDS)
    assert fit.ok, fit.problem
    ends = np.linspace(0, 1, 11)
    # Noise of 8 % is cut at 15 %, so wrong ones that are near have some say.
    allowed = 0.02 if noise < 0.05 else 0.06
    np.testing.assert_allclose(
        depth_of(fit.scale_shift, ends), depth_of(TRUTH, ends), rtol=allowed
    )
    assert 0.6 < fit.inliers < 0.85
    assert fit.residual == pytest.approx(noise, rel=0.4)


def test_exact_references_give_the_exact_truth():
    disparity, depth = references(np.random.default_rng(0), 500)
    fit = align(disparity, depth, DEMANDS)
    np.testing.assert_allclose(fit.scale_shift, TRUTH, rtol=1e-9)
    assert (fit.points, fit.inliers, fit.ok) == (500, 1.0, True)
    assert fit.residual < 1e-9


def test_little_noise_gives_what_least_squares_does():
    rng = np.random.default_rng(1)
    disparity, depth = references(rng, 2000, 0.002)
    np.testing.assert_allclose(
        align(disparity, depth, DEMANDS).scale_shift,
        fit_scale_shift(disparity, 1 / depth),
        rtol=1e-3,
    )


def test_many_noisy_references_are_much_better_than_one():
    """No estimate is better than 0.2 % at the far end here; the best single line is off by 0.7."""
    off = []
    for seed in range(30):
        fit = align(*references(np.random.default_rng(seed), 2000, 0.03), DEMANDS)
        off.append(depth_of(fit.scale_shift, 0) / depth_of(TRUTH, 0) - 1)
    assert np.sqrt(np.mean(np.square(off))) < 0.0035


def test_outlier_size_does_not_change_the_fit():
    rng = np.random.default_rng(2)
    disparity, depth = references(rng, 2000, 0.02)
    bad = np.arange(600)
    near, far = depth.copy(), depth.copy()
    near[bad], far[bad] = depth[bad] * 3, depth[bad] * 1000
    one, other = (align(disparity, z, DEMANDS) for z in (near, far))
    np.testing.assert_allclose(one.scale_shift, other.scale_shift, rtol=1e-6)
    assert one.inliers == other.inliers


def test_other_units_give_the_same_fit_in_those_units():
    rng = np.random.default_rng(3)
    disparity, depth = references(rng, 2000, 0.03)
    depth[:600] = rng.uniform(0.3, 20, 600)
    metres, feet = align(disparity, depth, DEMANDS), align(disparity, depth / 0.3048, DEMANDS)
    np.testing.assert_allclose(
        np.array(feet.scale_shift), np.array(metres.scale_shift) * 0.3048, rtol=1e-9
    )
    assert feet.residual == pytest.approx(metres.residual)


def test_the_order_of_references_does_not_matter_and_repeating_gives_the_same_bits():
    rng = np.random.default_rng(4)
    disparity, depth = references(rng, 2000, 0.03)
    depth[:600] = rng.uniform(0.3, 20, 600)
    first = align(disparity, depth, DEMANDS)
    assert first == align(disparity.copy(), depth.copy(), DEMANDS)
    mixed = rng.permutation(2000)
    np.testing.assert_allclose(
        align(disparity[mixed], depth[mixed], DEMANDS).scale_shift, first.scale_shift, rtol=1e-6
    )


def test_a_whole_depth_image_is_thinned_out():
    rng = np.random.default_rng(6)
    disparity, depth = references(rng, 300_000, 0.03)
    fit = align(disparity.astype(np.float32), depth.astype(np.float32), DEMANDS)
    assert fit.points == 300_000
    assert MAX_REFERENCES < 300_000
    np.testing.assert_allclose(fit.scale_shift, TRUTH, rtol=0.02)
    assert fit == align(disparity.astype(np.float32), depth.astype(np.float32), DEMANDS)


def test_unknown_ones_do_not_count():
    disparity, depth = references(np.random.default_rng(7), 400)
    gone = {0: np.nan, 1: 0.0, 2: -3.0, 3: np.inf}
    for place, value in gone.items():
        depth[place] = value
    disparity[4] = np.nan
    fit = align(disparity, depth, DEMANDS)
    assert fit.points == 395
    np.testing.assert_allclose(fit.scale_shift, TRUTH, rtol=1e-9)


def test_fit_report_measures_the_returned_fit():
    rng = np.random.default_rng(8)
    disparity, depth = references(rng, 1000, 0.05)
    fit = align(disparity, depth, DEMANDS)
    assert evaluate_fit(fit.scale_shift, disparity, depth, DEMANDS) == fit
    assert evaluate_fit(TRUTH, disparity, depth, DEMANDS).residual == pytest.approx(
        fit.residual, rel=0.02
    )
    # Twice as far: every depth is wrong by 100 %.
    double = ScaleShift(TRUTH.scale / 2, TRUTH.shift / 2)
    assert evaluate_fit(double, disparity, depth, DEMANDS).inliers == 0


def test_the_error_is_that_of_the_depth():
    disparity = np.linspace(0, 1, 100)
    criteria = FitCriteria(inlier_threshold=0.1)
    for error, inlier in ((0.099, 1), (0.101, 0), (-0.099, 1), (-0.101, 0)):
        # predicted / known - 1 is the error
        fit = evaluate_fit(TRUTH, disparity, depth_of(TRUTH, disparity) / (1 + error), criteria)
        assert fit.inliers == inlier
        if inlier:
            assert fit.residual == pytest.approx(abs(error))


# ---- fits that must not be used -----------------------------------------------------------------


def shuffled(rng):
    disparity, depth = references(rng)
    return disparity, rng.permutation(depth)


def falling(rng):
    disparity, depth = references(rng)
    return 1 - disparity, depth


def narrow(rng):
    disparity = rng.uniform(0.5, 0.55, 3000)
    return disparity, depth_of(TRUTH, disparity)


def few(rng):
    return references(rng, 49)


def mostly_wrong(rng):
    disparity, depth = references(rng)
    depth[:2100] = rng.uniform(0.3, 20, 2100)
    return disparity, depth


@pytest.mark.parametrize(
    ('case', 'problem'),
    [
        (shuffled, '% of 3000 references are within 15 %; expected 50 %'),
        (falling, 'references'),
        (narrow, 'the references span disparities 0.50 to 0.55 only; expected a span of 0.1'),
        (few, '49 references in the image; expected at least 50'),
        (mostly_wrong, '% of 3000 references are within 15 %; expected 50 %'),
    ],
)
@pytest.mark.parametrize('seed', range(3))
def test_cv_bridge_disagreement_is_logged(case, problem, seed):
    fit = align(*case(np.random.default_rng(seed)), DEMANDS)
    assert not fit.ok
    assert problem in fit.problem


def test_a_scale_that_falls_is_refused():
    disparity, depth = references(np.random.default_rng(0))
    upside_down = ScaleShift(-TRUTH.scale, TRUTH.shift + TRUTH.scale)
    fit = evaluate_fit(upside_down, 1 - disparity, depth, DEMANDS)
    assert fit.inliers == 1
    assert 'the scale is -0.8 1/m; expected more than 0' in fit.problem


@pytest.mark.parametrize('constant', ['disparity', 'depth', 'both'])
def test_what_does_not_vary_cannot_be_fitted(constant):
    disparity, depth = references(np.random.default_rng(0))
    if constant in ('disparity', 'both'):
        disparity = np.full(3000, 0.4)
    if constant in ('depth', 'both'):
        depth = np.full(3000, 2.5)
    fit = align(disparity, depth, DEMANDS)
    assert not fit.ok
    assert all(math.isnan(number) for number in fit.scale_shift) or fit.scale_shift.scale >= 0


@pytest.mark.parametrize('count', [0, 1, 2, 3])
def test_any_number_of_references_gets_a_result(count):
    fit = align(*references(np.random.default_rng(0), count), FitCriteria(min_points=3))
    assert isinstance(fit, FitReport)
    assert fit.points == count


def test_criteria_decide():
    disparity, depth = references(np.random.default_rng(0), 1000, 0.03)
    assert align(disparity, depth, DEMANDS).ok
    for criteria, problem in (
        (FitCriteria(max_residual=0.02), 'the residual is 3.1 %; expected at most 2.0 %'),
        (FitCriteria(min_points=1001), '1000 references in the image; expected at least 1001'),
        (FitCriteria(inlier_threshold=0.01, min_inliers=0.5), 'within 1 %; expected 50 %'),
    ):
        assert problem in align(disparity, depth, criteria).problem


def test_one_depth_for_each_disparity():
    with pytest.raises(ValueError, match='as many depths as disparities'):
        align(np.ones(60), np.ones(61), DEMANDS)


def test_fit_report_text_has_its_numbers():
    fit = FitReport(TRUTH, 1234, 0.714, 0.0321, '')
    assert str(fit) == '1234 references, 71 % inliers, residual 3.2 %'


# ---- between frames -----------------------------------------------------------------------------


def test_blending_blends_inverse_depth():
    last, new = ScaleShift(1.0, 0.1), ScaleShift(0.5, 0.3)
    disparity = np.linspace(0, 1, 5)
    between = 1 / depth_of(smooth(last, new, 0.25), disparity)
    np.testing.assert_allclose(
        between, 0.25 / depth_of(last, disparity) + 0.75 / depth_of(new, disparity)
    )
    assert smooth(last, new, 0.0) == new
