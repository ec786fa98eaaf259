# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Metres of a disparity: where scale and shift come from, and when there are none."""

import floor_scenes
import numpy as np
import pytest

from diception_ros.bags.typestore import BagTypes
from diception_ros.core import settings
from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import ScaleShift, back_project, to_disparity, to_metric
from diception_ros.core.labels import Disparity, MetricDepth, Normals
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header
from diception_ros.perception.metric_depth import Reference, estimate_metric_depth
from diception_ros.perception.settings import DepthSettings, PerceptionSettings, PointsSettings
from diception_ros.perception.tracking import Memory

PINHOLE = Intrinsics(120, 110, 79.5, 44.5)
SIZE = (90, 160)


def scene(seed=0, near=0.6, far=7.0):
    """A room: floor, walls and a few boxes. Its depth, disparity, and what leads between them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    depth = far - (far - near) * 0.6 * rows / SIZE[0] + 0.002 * columns
    for _ in range(12):
        top, left = rng.integers(0, 70), rng.integers(0, 140)
        depth[top : top + 20, left : left + 20] = rng.uniform(near, far)
    truth = MetricDepth(depth.astype(np.float32))
    disparity, scale_shift = to_disparity(truth)
    return truth, disparity, scale_shift


def spoilt(values, rng, share=0.3, noise=0.03):
    """What a sensor makes of depths: noise, and a share that is wrong."""
    out = values * np.exp(rng.normal(0, noise, values.shape))
    wrong = rng.random(values.shape) < share
    out[wrong] = rng.uniform(0.3, 15, int(wrong.sum()))
    return out.astype(np.float32)


def metres(disparity, reference, memory=None, intrinsics=PINHOLE, **changes):
    chosen = settings.changed(
        PerceptionSettings(depth=DepthSettings(metric='aligned')),
        {name.replace('__', '.'): value for name, value in changes.items()},
    )
    return estimate_metric_depth(
        disparity, intrinsics, 'cam', reference, chosen, memory or Memory()
    )


def kinds(found):
    return [note.kind for note in found.notes]


# ---- fixed --------------------------------------------------------------------------------------


def test_fixed_scale_and_shift_are_in_inverse_metres():
    truth, disparity, scale_shift = scene()
    found = metres(
        disparity,
        None,
        depth__metric='fixed',
        depth__scale=scale_shift.scale,
        depth__shift=scale_shift.shift,
    )
    np.testing.assert_allclose(found.depth.values, truth.values, rtol=2e-5)
    assert (found.fit, found.notes) == (None, [])


def test_beyond_infinity_and_unknown_is_unknown():
    disparity = Disparity(np.array([[0, 0.25, 0.5, 1, np.nan]], np.float32))
    found = metres(disparity, None, depth__metric='fixed', depth__scale=2.0, depth__shift=-0.5)
    np.testing.assert_array_equal(
        found.depth.values, np.array([[np.nan, np.nan, 2, 1 / 1.5, np.nan]], np.float32)
    )


# ---- aligned ------------------------------------------------------------------------------------


def dense(truth, rng):
    return Reference(0, 'cam', image=spoilt(truth.values, rng))


def coarse(truth, rng):
    return Reference(0, 'cam', image=spoilt(truth.values[::2, ::2], rng))


def with_holes(truth, rng):
    values = spoilt(truth.values, rng)
    values[rng.random(SIZE) < 0.9] = np.nan
    return Reference(0, 'cam', image=values)


def sparse(truth, rng):
    points = back_project(MetricDepth(spoilt(truth.values, rng)), PINHOLE).reshape(-1, 3)
    return Reference(0, 'cam', points=points[rng.choice(len(points), 2000, replace=False)])


def message(truth, rng):
    millimetres = np.rint(1000 * spoilt(truth.values, rng)).astype(np.uint16)
    types = BagTypes()
    return image_messages.image(types, millimetres, '16UC1', make_header(types, 0, 'cam'))


@pytest.mark.parametrize('made', [dense, coarse, with_holes, sparse, message])
@pytest.mark.parametrize('seed', range(3))
def test_depth_comes_out_of_noise_and_30_percent_wrong_references(made, seed):
    truth, disparity, _ = scene(seed)
    found = metres(disparity, made(truth, np.random.default_rng(seed)))
    assert found.fit.ok, found.fit.problem
    assert found.notes == []
    error = np.abs(found.depth.values / truth.values - 1)
    assert np.nanmax(error) < 0.04
    assert np.nanmean(error) < 0.01


def test_a_disparity_that_is_wrong_in_places_is_scaled_by_the_rest():
    truth, disparity, _ = scene()
    values = disparity.values.copy()
    values[:40, :60] = 0.9  # the model took a window for a wall
    found = metres(Disparity(values), dense(truth, np.random.default_rng(0)))
    right = np.ones(SIZE, bool)
    right[:40, :60] = False
    error = np.abs(found.depth.values / truth.values - 1)[right]
    assert error.max() < 0.05


def test_without_a_reference_there_is_no_depth():
    _, disparity, _ = scene()
    found = metres(disparity, None)
    assert (found.depth, found.fit) == (None, None)
    assert kinds(found) == ['no reference']
    assert 'no depth reference within 0.05 s' in found.notes[0].text


def test_a_bad_fit_gives_no_depth_but_its_numbers():
    _, disparity, _ = scene(0)
    other, _, _ = scene(1, near=0.3, far=30)
    shuffled = np.random.default_rng(0).permutation(other.values.ravel()).reshape(SIZE)
    found = metres(disparity, Reference(0, 'cam', image=shuffled))
    assert found.depth is None
    assert not found.fit.ok
    assert kinds(found) == ['bad fit']
    assert f'{100 * found.fit.inliers:.0f} % of 14400 references are within' in found.notes[0].text


def test_references_that_cannot_be_used_are_named():
    _, disparity, _ = scene()
    types = BagTypes()
    mono = image_messages.image(
        types, np.ones(SIZE, np.uint8), 'mono8', make_header(types, 0, 'cam')
    )
    for reference, intrinsics, text in (
        (Reference(0, 'cam', points=np.ones((99, 3), np.float32)), None, 'calibrated CameraInfo'),
        (mono, PINHOLE, "got 'mono8'"),
    ):
        found = metres(disparity, reference, intrinsics=intrinsics)
        assert (found.depth, found.fit, kinds(found)) == (None, None, ['reference'])
        assert text in found.notes[0].text


def test_reference_with_other_frame_id_adds_a_note():
    truth, disparity, _ = scene()
    rng = np.random.default_rng(0)
    image = Reference(0, 'depth_optical', image=truth.values)
    points = Reference(0, 'lidar', points=sparse(truth, rng).points)
    for reference in (image, points):
        found = metres(disparity, reference)
        assert kinds(found) == ['reference frame']
        assert found.depth is not None
    known = '0 0 0.001 0 0 0 1'  # of points that were moved already
    assert kinds(metres(disparity, points, depth__reference_transform=known)) == []
    assert kinds(metres(disparity, image, depth__reference_transform=known)) == ['reference frame']


# ---- from frame to frame ------------------------------------------------------------------------


def exact(scale_shift, disparity):
    return Reference(0, 'cam', image=to_metric(disparity, scale_shift).values)


def test_smoothing_keeps_a_share_of_the_last_scale_and_shift():
    _, disparity, scale_shift = scene()
    memory, expected = Memory(), None
    for t in range(6):
        new = ScaleShift(scale_shift.scale * (1 + 0.02 * t), scale_shift.shift * (1 - 0.01 * t))
        found = metres(disparity, exact(new, disparity), memory, temporal__smooth=0.75)
        expected = (
            new
            if expected is None
            else ScaleShift(
                *(0.75 * last + 0.25 * now for last, now in zip(expected, new, strict=True))
            )
        )
        np.testing.assert_allclose(found.fit.scale_shift, expected, rtol=1e-4)
        np.testing.assert_allclose(
            found.depth.values, to_metric(disparity, expected).values, rtol=1e-4
        )
    # What is said of the fit is said of the scale that was used, which lags behind.
    assert found.fit.residual > 0.01


def test_without_smoothing_the_last_fit_has_no_influence():
    _, disparity, scale_shift = scene()
    memory = Memory()
    metres(
        disparity, exact(ScaleShift(scale_shift.scale * 1.1, scale_shift.shift), disparity), memory
    )
    found = metres(disparity, exact(scale_shift, disparity), memory)
    np.testing.assert_allclose(found.fit.scale_shift, scale_shift, rtol=1e-4)


def test_a_jump_of_the_scene_begins_smoothing_anew():
    _, disparity, scale_shift = scene()
    memory = Memory()
    far = ScaleShift(scale_shift.scale / 4, scale_shift.shift / 4)
    metres(disparity, exact(scale_shift, disparity), memory, temporal__smooth=0.9)
    found = metres(disparity, exact(far, disparity), memory, temporal__smooth=0.9)
    np.testing.assert_allclose(found.fit.scale_shift, far, rtol=1e-4)
    assert memory.scale_shift == found.fit.scale_shift


def test_a_bad_fit_leaves_no_trace():
    _, disparity, scale_shift = scene()
    memory = Memory()
    metres(disparity, exact(scale_shift, disparity), memory, temporal__smooth=0.9)
    kept = memory.scale_shift
    rng = np.random.default_rng(0)
    noise = Reference(0, 'cam', image=rng.uniform(0.3, 20, SIZE).astype(np.float32))
    assert metres(disparity, noise, memory, temporal__smooth=0.9).depth is None
    assert memory.scale_shift == kept


# ---- height -------------------------------------------------------------------------------------


def by_height(depth, normals, height=floor_scenes.HEIGHT, lens=floor_scenes.LENS, gravity=''):
    disparity, scale_shift = to_disparity(MetricDepth(depth))
    asked = PerceptionSettings(
        depth=DepthSettings(metric='height', camera_height=height),
        points=PointsSettings(gravity=gravity),
    )
    given = None if normals is None else Normals(normals)
    return estimate_metric_depth(
        disparity, lens, 'cam', None, asked, Memory(), given, asked.points.direction
    ), scale_shift


@pytest.mark.parametrize(('pitch', 'roll'), [(0, 0), (20, 0), (25, 8), (-5, -10)])
def test_height_gives_the_scale_of_a_known_scene(pitch, roll):
    depth, normals, _ = floor_scenes.scene(pitch=pitch, roll=roll, box=(1.5, 0.2))
    found, scale_shift = by_height(depth, normals)
    assert found.notes == []
    assert found.fit.scale_shift == pytest.approx(scale_shift, rel=1e-2, abs=1e-3)
    np.testing.assert_allclose(found.depth.values, depth, rtol=1e-2)


def test_height_with_known_gravity_needs_no_exact_normals():
    depth, normals, _ = floor_scenes.scene(pitch=20, box=(1.5, 0.2))
    wrong = (normals.reshape(-1, 3) @ floor_scenes.rotation(pitch=15).T).reshape(normals.shape)
    gravity = ' '.join(map(str, floor_scenes.rotation(20) @ [0.0, 1, 0]))
    found, _ = by_height(depth, wrong.astype(np.float32), gravity=gravity)
    np.testing.assert_allclose(found.depth.values, depth, rtol=1e-2)
    measured, _ = by_height(depth, wrong.astype(np.float32))
    assert np.abs(measured.depth.values / depth - 1).max() > 0.1


def test_height_is_that_above_the_floor_and_not_above_a_table():
    depth, normals, parts = floor_scenes.scene(height=1.2, pitch=20, table=(0.3, 0.7))
    assert np.count_nonzero(parts == 5) > np.count_nonzero(parts == 1)
    found, _ = by_height(depth, normals, height=1.2)
    np.testing.assert_allclose(found.depth.values, depth, rtol=1e-2)


def test_a_camera_twice_as_high_sees_everything_twice_as_far():
    depth, normals, _ = floor_scenes.scene(pitch=10)
    one, two = (by_height(depth, normals, height)[0].depth.values for height in (0.4, 0.8))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-4)


def test_metric_height_note_names_the_missing_input():
    depth, normals, parts = floor_scenes.scene(pitch=10)
    walls = np.where((parts == 1)[..., None], np.nan, normals).astype(np.float32)
    for given, kind, words in (
        ((depth, walls), 'no floor', 'no floor is seen'),
        ((depth, None), 'no normals', 'every_n.normal'),
        ((depth, normals, 0.6, None), 'no camera_info', 'CameraInfo'),
    ):
        found, _ = by_height(*given)
        assert (found.depth, found.fit) == (None, None)
        assert kinds(found) == [kind]
        assert words in found.notes[0].text
    bent = (depth * (1 + 0.5 * np.random.default_rng(0).random(floor_scenes.SIZE))).astype(
        np.float32
    )
    found, _ = by_height(bent, normals)
    assert found.depth is None
    assert kinds(found) == ['bad fit']
    assert 'bad fit to the height of the camera' in found.notes[0].text
