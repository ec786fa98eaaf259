# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels on their way between the camera and the model."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from random_labels import (
    SQUARE,
    assert_same,
    contents,
    disparity,
    keypoints,
    metric,
    normals,
)

from diception_ros.core.images import ResizeTransform
from diception_ros.core.labels import Disparity, Instances, Keypoints, Mask, MetricDepth, Normals
from diception_ros.core.labels.label import linear, nearest

sides = st.integers(1, 90)


@given(st.tuples(sides, sides), st.tuples(sides, sides))
@settings(max_examples=60, deadline=None)
def test_nearest_picks_the_pixel_under_the_centre(old, new):
    values = np.arange(old[0] * old[1]).reshape(old)
    row = np.floor((np.arange(new[0]) + 0.5) * old[0] / new[0] + 1e-9).astype(int)
    column = np.floor((np.arange(new[1]) + 0.5) * old[1] / new[1] + 1e-9).astype(int)
    np.testing.assert_array_equal(nearest(values, new), values[np.ix_(row, column)])


@given(st.tuples(sides, sides), st.integers(90, 200))
@settings(max_examples=40, deadline=None)
def test_masks_that_grew_come_back_exactly(camera, resolution):
    rng, fit = np.random.default_rng(0), ResizeTransform(camera, resolution)
    ids = rng.integers(0, 5, camera).astype(np.int32)
    label = Instances(ids, ('', '', 'x', ''), np.ones(4, np.float32))
    assert_same(label.to_model_size(fit).to_image_size(fit), label)


@given(st.tuples(st.integers(8, 90), st.integers(8, 90)), st.integers(8, 90))
@settings(max_examples=60, deadline=None)
def test_maps_stay_in_step_with_points(camera, resolution):
    # Two ramps show their own coordinates, so a resized map tells where its pixels came from.
    fit = ResizeTransform(camera, resolution)
    ramps = np.stack(np.meshgrid(*map(np.arange, camera[::-1])), axis=-1).astype(np.float32)
    there = np.stack(np.meshgrid(*[np.arange(resolution)] * 2), axis=-1)
    origin = fit.to_image(there)
    # Beyond the outermost centres there is nothing to blend with.
    inner = ((origin >= 0) & (origin <= np.array(camera[::-1]) - 1)).all(axis=-1)
    blended = linear(ramps, fit.model)
    for axis in (0, 1):  # averaging whole pixels shifts by up to a twelfth of one
        off = np.abs(blended - origin)[..., axis][inner]
        assert off.max(initial=0) <= (0.1 if resolution < camera[1 - axis] else 1e-4)
    picked = nearest(ramps, fit.model)
    assert np.abs(picked - origin).max() <= 0.5 + 1e-5


@pytest.mark.parametrize('camera', [(480, 640), (97, 400)])
def test_masks_stay_in_step_with_keypoints(camera):
    fit = ResizeTransform(camera, 256)
    box = np.zeros(camera, np.bool_)
    box[20:71, 30:91] = True
    corners = np.array([[29.5, 19.5], [90.5, 70.5]])
    joints = np.full((1, 17, 2), np.nan, np.float32)
    joints[0, :2] = corners
    seen = np.zeros((1, 17), np.uint8)
    seen[0, :2] = 2
    points = Keypoints(joints, seen, (seen / 2).astype(np.float32), np.zeros((0, 2), 'f4'), camera)
    rows, columns = np.nonzero(Mask(box).to_model_size(fit).values)
    edges = [[columns.min() - 0.5, rows.min() - 0.5], [columns.max() + 0.5, rows.max() + 0.5]]
    np.testing.assert_allclose(points.to_model_size(fit).joints[0, :2], edges, atol=0.501)


@pytest.mark.parametrize('kind', [disparity, metric, normals])
@pytest.mark.parametrize('camera', [(48, 64), (64, 48), (150, 40), (33, 200)])
def test_smooth_maps_come_back_from_the_square(kind, camera):
    fit = ResizeTransform(camera, SQUARE)
    label = kind(camera, np.random.default_rng(0))
    back = label.to_model_size(fit).to_image_size(fit)
    name = 'vectors' if kind is normals else 'values'
    off = np.abs(contents(back)[name] - contents(label)[name])
    scale = 5 if kind is metric else 1
    assert off.mean() < 0.01 * scale
    assert off.max() < 0.06 * scale


def test_keypoints_come_back_from_the_square():
    fit = ResizeTransform((333, 1200), SQUARE)
    label = keypoints((333, 1200), np.random.default_rng(0))
    assert_same(label.to_model_size(fit).to_image_size(fit), label, atol=1e-3)


def test_shrinking_averages_rather_than_picks():
    # One row in four is bright: blending two neighbours would see all of it or nothing. The
    # portrait shrinks along one side while it grows along the other.
    for camera in ((256, 256), (256, 32)):
        fine = np.zeros(camera, np.float32)
        fine[::4] = 1
        small = Disparity(fine).to_model_size(ResizeTransform(camera, 64)).values
        np.testing.assert_allclose(small, 0.25, atol=1e-6)


@pytest.mark.parametrize('size', [(20, 20), (200, 30), (150, 150)])
def test_unknown_pixels_do_not_leak_into_known_ones(size):
    values = np.full((60, 60), 0.25, np.float32)
    values[20:40, 20:40] = np.nan
    out = linear(values, size)
    np.testing.assert_allclose(out[~np.isnan(out)], 0.25, atol=1e-6)
    # The hole of a third of each side is right to one pixel of the result.
    assert abs(np.isnan(out).mean() ** 0.5 - 1 / 3) < 1 / min(size)


def test_depth_of_a_tilted_plane_is_exact_between_pixels():
    u = np.arange(40, dtype=np.float32)
    depth = MetricDepth(np.tile(1 / (0.1 + 0.01 * u), (10, 1)))
    fit = ResizeTransform((10, 40), 160)
    fine = depth.to_model_size(fit).values[80]
    x = fit.to_image(np.stack([np.arange(160), np.zeros(160)], axis=1))[:, 0]
    inner = (x >= 0) & (x <= 39)
    np.testing.assert_allclose(fine[inner], 1 / (0.1 + 0.01 * x[inner]), rtol=1e-4)


def test_resized_normals_have_unit_length_even_across_an_edge():
    vectors = np.zeros((8, 8, 3), np.float32)
    vectors[:, :4], vectors[:, 4:] = [1, 0, 0], [0, 0, -1]
    out = Normals(vectors).to_model_size(ResizeTransform((8, 8), 37)).vectors
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), 1, atol=1e-5)


def test_opposite_normals_cancel_to_unknown():
    vectors = np.zeros((1, 2, 3), np.float32)
    vectors[0] = [[1, 0, 0], [-1, 0, 0]]
    assert not Normals(vectors).to_model_size(ResizeTransform((1, 2), 1)).valid.any()
