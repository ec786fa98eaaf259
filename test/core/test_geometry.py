# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scale, shift, points and normals: known truths come out, inverses give back what went in."""

from __future__ import annotations

import numpy as np
import pytest
from surfaces import normals_from

from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import (
    ScaleShift,
    back_project,
    fit_scale_shift,
    to_disparity,
    to_metric,
)
from diception_ros.core.labels import Disparity, MetricDepth

NAN = np.float32(np.nan)
PINHOLE = Intrinsics(60, 50, 31.5, 20.0)


def plane(normal: np.ndarray, distance: float, height: int = 40, width: int = 64) -> MetricDepth:
    """Depth of the plane normal . P = distance as PINHOLE sees it."""
    x = (np.arange(width) - PINHOLE.cx) / PINHOLE.fx
    y = (np.arange(height)[:, None] - PINHOLE.cy) / PINHOLE.fy
    return MetricDepth((distance / (normal[0] * x + normal[1] * y + normal[2])).astype(np.float32))


def test_fit_affine_finds_scale_and_shift_despite_holes():
    rng = np.random.default_rng(0)
    source = rng.random((20, 30)).astype(np.float32)
    target = 3 * source + 0.5
    source[3, 4], target[5, 6] = np.nan, np.nan
    np.testing.assert_allclose(fit_scale_shift(source, target), (3, 0.5), atol=1e-5)


def test_fit_affine_by_hand():
    # means 0.5 and 2.5, covariance 1, variance 0.5
    source, target = np.array([0, 0.5, 1, 0.5]), np.array([1.0, 2, 3, 4])
    assert fit_scale_shift(source, target) == ScaleShift(2.0, 1.5)


def test_fit_affine_uses_valid_pixels_alone():
    source, target = np.array([0.0, 1, 2]), np.array([0.0, 2, 99])
    assert fit_scale_shift(source, target, np.array([True, True, False])) == ScaleShift(2.0, 0.0)


def test_fit_affine_where_nothing_can_be_fitted():
    assert fit_scale_shift(np.full(3, 0.5), np.array([1.0, 2, 3])) == ScaleShift(0.0, 2.0)
    assert np.isnan(fit_scale_shift(np.full(3, np.nan), np.ones(3))).all()
    with pytest.raises(ValueError, match='one shape'):
        fit_scale_shift(np.ones(3), np.ones(4))


def test_disparity_is_one_at_the_nearest_and_zero_at_the_farthest_pixel():
    disparity, affine = to_disparity(MetricDepth(np.array([[1, 2, 4]], np.float32)))
    np.testing.assert_allclose(disparity.values, [[1, 1 / 3, 0]], atol=1e-7)
    assert affine == ScaleShift(0.75, 0.25)


def test_metres_come_back_from_disparity():
    values = np.random.default_rng(0).uniform(0.3, 80, (30, 40)).astype(np.float32)
    values[4:9, 3] = np.nan
    back = to_metric(*to_disparity(MetricDepth(values)))
    np.testing.assert_allclose(back.values, values, rtol=2e-5)


@pytest.mark.parametrize('value', [3.0, np.nan])
def test_a_constant_or_unknown_depth_comes_back_too(value):
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
