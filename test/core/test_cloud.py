# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Filters of the cloud, the ground plane and the scan in scenes whose geometry is known."""

from dataclasses import replace
import math

from floor_scenes import HEIGHT, LENS, SIZE, rotation, scene
import numpy as np
import pytest

from diception_ros.core import cloud
from diception_ros.core.cloud import CloudFilter
from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import axes, back_project
from diception_ros.core.labels import MetricDepth

KEEP = CloudFilter()


def test_without_filters_all_known_points_stay():
    depth, normals, _ = scene()
    depth[3:5, 7] = np.nan
    found = cloud.select(depth, LENS, KEEP, normals)
    np.testing.assert_array_equal(found.keep, ~np.isnan(depth))
    assert found.counts == {'stride': 0, 'unknown': 2, 'kept': depth.size - 2}
    assert found.organized


EVERY = CloudFilter(
    range_min=0.9, range_max=3.5, stride=2, voxel=0.03, edge_filter=True, ground='drop'
)


@pytest.mark.parametrize('seed', range(6))
def test_counts_add_up_to_the_pixels(seed):
    rng = np.random.default_rng(seed)
    depth, normals, _ = scene(pitch=10, box=(1.5, 0.2))
    depth[rng.uniform(size=SIZE) < 0.1] = np.nan
    depth *= rng.uniform(0.97, 1.03, SIZE).astype(np.float32)
    chosen = replace(
        EVERY, stride=int(rng.integers(1, 5)), ground=str(rng.choice(['drop', 'only', 'keep']))
    )
    allowed = rng.uniform(size=SIZE) < 0.5
    found = cloud.select(depth, LENS, chosen, normals, allowed)
    assert sum(found.counts.values()) == depth.size
    assert found.counts['kept'] == np.count_nonzero(found.keep) > 0
    assert all(count >= 0 for count in found.counts.values())


def test_filters_keep_only_points_that_satisfy_them():
    depth, normals, _ = scene(pitch=10, box=(1.5, 0.2))
    allowed = np.random.default_rng(0).uniform(size=SIZE) < 0.5
    found = cloud.select(depth, LENS, EVERY, normals, allowed)
    pixels = cloud.grid(EVERY.stride)
    points = back_project(MetricDepth(depth), LENS)[pixels][found.keep]
    distance = np.linalg.norm(points, axis=1)
    assert distance.min() >= 0.9 - 1e-6
    assert distance.max() <= 3.5 + 1e-6
    assert allowed[pixels][found.keep].all()
    assert (points @ found.plane.normal + found.plane.height >= EVERY.ground_height - 1e-6).all()
    voxels = np.floor(points / np.float32(EVERY.voxel))
    assert len(np.unique(voxels, axis=0)) == len(points)


def test_filters_are_idempotent():
    """What is kept once is kept again, where the neighbours are not looked at."""
    depth, normals, _ = scene(pitch=10, box=(1.5, 0.2))
    chosen = replace(EVERY, stride=1, edge_filter=False, ground='keep')
    first = cloud.select(depth, LENS, chosen, normals)
    again = cloud.select(np.where(first.keep, depth, np.nan), LENS, chosen, normals)
    np.testing.assert_array_equal(again.keep, first.keep)


def test_ground_only_and_drop_are_complements():
    depth, normals, _ = scene(pitch=10, box=(1.5, 0.2))
    drop, only = (
        cloud.select(depth, LENS, replace(KEEP, ground=word), normals) for word in ('drop', 'only')
    )
    assert drop.plane.height == only.plane.height
    np.testing.assert_array_equal(drop.keep ^ only.keep, ~np.isnan(depth))


def test_every_voxel_with_a_point_keeps_one():
    depth, normals, _ = scene(box=(1.5, 0.2))
    whole = back_project(MetricDepth(depth), LENS).reshape(-1, 3)
    for side in (0.05, 0.001):  # the second is not laid out in memory
        found = cloud.select(depth, LENS, replace(KEEP, voxel=side), normals)
        assert not found.organized
        every = np.unique(np.floor(whole / np.float32(side)), axis=0)
        assert found.counts['kept'] == len(every)


@pytest.mark.parametrize('with_normals', [True, False])
@pytest.mark.parametrize(('pitch', 'roll'), [(0, 0), (15, 0), (25, 8), (-5, -10)])
def test_ground_plane_of_a_known_scene(pitch, roll, with_normals):
    depth, normals, label = scene(pitch=pitch, roll=roll, box=(1.5, 0.2))
    plane = cloud.find_ground(depth, LENS, None, normals if with_normals else None)
    up = rotation(pitch, roll) @ np.array([0.0, -1, 0])
    assert math.degrees(math.acos(min(1, plane.normal @ up))) < 1
    assert plane.height == pytest.approx(HEIGHT, rel=0.01)
    height = cloud.heights(depth, LENS, plane)
    assert np.abs(height[label == 1]).max() < 0.03
    assert height[label == 4] == pytest.approx(0.2, abs=0.03)


def test_gravity_may_be_given_for_a_camera_that_looks_down():
    depth, normals, _ = scene(pitch=70)
    gravity = tuple(rotation(70) @ np.array([0.0, 1, 0]))
    assert cloud.find_ground(depth, LENS, None, normals) is None
    assert cloud.find_ground(depth, LENS, gravity, normals).height == pytest.approx(HEIGHT)


def test_given_gravity_is_not_measured_again():
    """Normals of a network may be off by 20 degrees together; gravity of a mount is not."""
    _, normals, _ = scene(pitch=10)
    wrong = (normals.reshape(-1, 3) @ rotation(pitch=20).T).astype(np.float32)
    up, mask = cloud.up_normals(wrong, (0, 2, 0))
    np.testing.assert_array_equal(up, [0, -1, 0])
    measured, _ = cloud.up_normals(wrong)
    np.testing.assert_allclose(measured, rotation(30) @ [0, -1, 0], atol=1e-5)
    assert np.count_nonzero(mask) == np.count_nonzero(normals[..., 1] < -0.9)


def test_a_wall_alone_has_no_ground():
    depth = np.full(SIZE, 1.0, np.float32)
    normals = np.zeros((*SIZE, 3), np.float32)
    normals[..., 2] = -1
    for vectors in (normals, None):
        assert cloud.find_ground(depth, LENS, None, vectors) is None
    found = cloud.select(depth, LENS, replace(KEEP, ground='drop'), normals)
    assert found.plane is None
    assert found.keep.all()
    found = cloud.select(depth, LENS, replace(KEEP, ground='only'), normals)
    assert not found.keep.any()


def test_the_lowest_level_is_the_ground():
    """A table in front fills more of the image than the floor behind it."""
    depth, normals, label = scene(height=1.2, pitch=20, table=(0.3, 0.7))
    assert np.count_nonzero(label == 5) > np.count_nonzero(label == 1) > 500
    plane = cloud.find_ground(depth, LENS, None, normals)
    assert plane.height == pytest.approx(1.2, rel=0.01)


def test_a_table_without_floor_is_no_ground_for_a_known_height():
    depth, normals, label = scene(height=1.2, pitch=20, table=(0.3, 0.7))
    normals[label == 1] = np.nan
    assert cloud.find_ground(depth, LENS, None, normals).height == pytest.approx(0.5, rel=0.01)
    assert cloud.find_ground(depth, LENS, None, normals, 1.2) is None


def blurred(depth, width):
    """A depth image whose inverse is blurred along the rows, as a network blurs an edge."""
    padded = np.pad(1 / depth, ((0, 0), (width // 2, width // 2)), mode='edge')
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    return (1 / windows.mean(axis=-1)).astype(np.float32)


def test_edge_filter_drops_what_hangs_between_two_surfaces():
    sharp = np.full(SIZE, 3.0, np.float32)
    sharp[:, 60:100] = 1.5
    depth = blurred(sharp, 7)
    apart = np.minimum(np.abs(depth - 3.0) / 3.0, np.abs(depth - 1.5) / 1.5)
    hanging = apart > 0.06
    lens = Intrinsics(500.0, 500.0, 79.0, 61.0)
    found = cloud.flying(depth, lens, 85, 0.05)
    assert np.count_nonzero(hanging) > 500
    assert found[hanging].mean() > 0.99
    assert not found[np.abs(depth - sharp) < 1e-6].any()


def test_edge_filter_keeps_sharp_edges_thin_objects_and_slanted_planes():
    lens = Intrinsics(500.0, 500.0, 79.0, 61.0)
    thin = np.full(SIZE, 3.0, np.float32)
    thin[:, 60] = 1.5
    assert not cloud.flying(thin, lens, 85, 0.05).any()
    # A floor up to where it is seen at 85 degrees.
    _, y = axes(SIZE, lens)
    floor = np.where(y > 0.1, 0.5 / np.maximum(y, 1e-9), np.nan).astype(np.float32)
    depth = np.repeat(floor[:, None], SIZE[1], axis=1)
    normals = np.zeros((*SIZE, 3), np.float32)
    normals[..., 1] = -1
    assert not cloud.flying(depth, lens, 85, 0.05, normals).any()
    assert cloud.flying(depth, lens, 60, 0.05, normals)[~np.isnan(depth)].any()


def test_scan_of_a_known_box():
    depth, normals, label = scene(box=(1.5, 0.2), wall=4.0)
    plane = cloud.find_ground(depth, LENS, None, normals)
    obstacle = cloud.heights(depth, LENS, plane) > 0.05
    found = cloud.scan(depth, LENS, obstacle, 0.1, 10.0)
    angles = found.angle_min + found.angle_increment * np.arange(len(found.ranges))
    assert not np.isnan(found.ranges).any()
    inside = np.abs(1.5 * np.tan(angles)) < 0.15 - 0.02
    outside = np.abs(1.5 * np.tan(angles)) > 0.15 + 0.02
    assert inside.sum() > 10
    np.testing.assert_allclose((found.ranges * np.cos(angles))[inside], 1.5, rtol=0.01)
    np.testing.assert_allclose((found.ranges * np.cos(angles))[outside], 4.0, rtol=0.02)
    # Left is positive: a box on the left of the image is at positive angles.
    left = obstacle & (label == 3) & (np.arange(SIZE[1]) < 79)
    ranges = cloud.scan(depth, LENS, left, 0.1, 10.0).ranges
    assert (angles[np.isfinite(ranges)] > -found.angle_increment).all()


def test_scan_distinguishes_near_far_and_unknown():
    depth = np.full(SIZE, 2.0, np.float32)
    depth[:, :20] = np.nan
    depth[:, 20:40] = 0.2
    depth[:, 40:60] = 8.0
    obstacle = np.ones(SIZE, bool)
    obstacle[:, 60:80] = False
    lens = Intrinsics(2000.0, 2000.0, 79.0, 61.0)  # as many ranges as columns
    ranges = cloud.scan(depth, lens, obstacle & ~np.isnan(depth), 0.5, 5.0).ranges[::-1]
    assert len(ranges) == SIZE[1]
    assert np.isnan(ranges[:20]).all()
    assert (ranges[20:40] == -np.inf).all()
    assert (ranges[40:80] == np.inf).all()
    np.testing.assert_allclose(ranges[80:], 2.0, rtol=1e-2)


def test_wide_images_leave_no_direction_without_a_column():
    for width in (3, 64, 640):
        lens = Intrinsics(width / 2, width / 2, width / 2 - 0.5, 1.0)
        found = cloud.scan(np.ones((2, width), np.float32), lens, np.ones((2, width), bool), 0, 9)
        assert np.isfinite(found.ranges).all()
        assert len(found.ranges) <= width
