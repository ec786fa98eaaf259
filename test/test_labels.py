# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from diception_ros.images import Fit
from diception_ros.labels import (
    COCO_JOINTS,
    COCO_LIMBS,
    Disparity,
    Instances,
    Keypoints,
    Mask,
    MetricDepth,
    Normals,
)
from diception_ros.labels.draw import SPECTRAL
from diception_ros.labels.resample import linear, nearest

CAMERAS = [(48, 64), (64, 48), (150, 40), (33, 200), (1, 1)]
SQUARE = 64
sides = st.integers(1, 90)


def disparity(size, rng):
    rows, columns = np.mgrid[: size[0], : size[1]]
    wave = np.sin(rows / size[0] * rng.uniform(2, 5)) * np.cos(columns / size[1] * 3)
    return Disparity(((wave + 1) / 2).astype(np.float32))


def metric(size, rng):
    return MetricDepth(1 + 5 * disparity(size, rng).values)


def normals(size, rng):
    tilt = disparity(size, rng).values[..., None] * rng.normal(0, 0.5, 3)
    vectors = (tilt - np.array([0, 0, 1])).astype(np.float32)
    return Normals(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def mask(size, rng):
    return Mask(disparity(size, rng).values > 0.5, score=0.75)


def instances(size, rng):
    ids = (disparity(size, rng).values * 4).astype(np.int32)
    return Instances(ids, tuple('abcd'), rng.random(4).astype(np.float32))


def keypoints(size, rng, people=3):
    joints = (rng.random((people, 17, 2)) * (size[1], size[0]) - 0.5).astype(np.float32)
    visibility = rng.integers(0, 3, (people, 17)).astype(np.uint8)
    joints[visibility == 0] = np.nan
    scores = np.where(visibility > 0, rng.random((people, 17)), 0).astype(np.float32)
    untyped = (rng.random((2, 2)) * (size[1], size[0]) - 0.5).astype(np.float32)
    return Keypoints(joints, visibility, scores, untyped, size)


KINDS = [disparity, metric, normals, mask, instances, keypoints]


def contents(label):
    return {name: getattr(label, name) for name in label.__dataclass_fields__}


def assert_same(one, other, **tolerance):
    assert type(one) is type(other)
    for name, value in contents(one).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(contents(other)[name], value, **tolerance)
        else:
            assert contents(other)[name] == value


# ---- every kind ----------------------------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('camera', CAMERAS)
def test_every_label_has_the_size_it_was_brought_to(kind, camera):
    fit = Fit(camera, SQUARE)
    label = kind(camera, np.random.default_rng(0))
    square = label.to_model(fit)
    assert label.size == camera
    assert square.size == fit.model
    assert square.to_camera(fit).size == camera
    for one in (label, square):
        assert one.valid.shape == one.size
        assert one.valid.dtype == np.bool_


@pytest.mark.parametrize('kind', KINDS)
def test_every_label_comes_back_from_two_flips(kind):
    label = kind((48, 65), np.random.default_rng(0))
    assert_same(label.flip().flip(), label, atol=1e-5)


@pytest.mark.parametrize('kind', [k for k in KINDS if k is not keypoints])
def test_every_map_is_mirrored_and_only_that(kind):
    label = kind((48, 65), np.random.default_rng(0))
    for name, value in contents(label).items():
        if isinstance(value, np.ndarray) and value.shape[:2] == label.size:
            sign = [-1, 1, 1] if kind is normals else 1
            np.testing.assert_array_equal(contents(label.flip())[name], value[:, ::-1] * sign)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('camera', CAMERAS)
def test_flipping_and_resizing_can_be_swapped(kind, camera):
    fit = Fit(camera, SQUARE)
    label = kind(camera, np.random.default_rng(1))
    one, other = label.to_model(fit).flip(), label.flip().to_model(fit)
    if kind in (mask, instances):  # a tie between two pixels goes to the right one in both
        name = 'values' if kind is mask else 'ids'
        assert np.mean(contents(one)[name] != contents(other)[name]) <= 0.04
    else:
        assert_same(one, other, atol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_every_label_refuses_the_size_of_the_other_side(kind):
    rng, fit = np.random.default_rng(0), Fit((48, 80), SQUARE)
    with pytest.raises(ValueError, match=r'size of the camera picture, \(48, 80\).*came \(64, 64'):
        kind((64, 64), rng).to_model(fit)
    with pytest.raises(ValueError, match=r'size of the model square, \(64, 64\).*came \(48, 80'):
        kind((48, 80), rng).to_camera(fit)


@pytest.mark.parametrize('kind', KINDS)
def test_every_label_is_read_only_and_does_not_lock_the_callers_array(kind):
    label = kind((4, 5), np.random.default_rng(0))
    arrays = {name: v for name, v in contents(label).items() if isinstance(v, np.ndarray)}
    for array in arrays.values():
        with pytest.raises(ValueError, match='read-only'):
            array[...] = 0
    mine = {name: array.copy() for name, array in arrays.items()}
    type(label)(**{**contents(label), **mine})
    assert all(array.flags.writeable for array in mine.values())


@pytest.mark.parametrize('kind', KINDS)
def test_every_preview_is_a_picture_of_the_label_and_leaves_the_image_alone(kind):
    label = kind((48, 65), np.random.default_rng(0))
    image = np.random.default_rng(1).integers(0, 256, (48, 65, 3), np.uint8)
    before = image.copy()
    for picture in (label.preview(), label.preview(image)):
        assert picture.shape == (48, 65, 3)
        assert picture.dtype == np.uint8
        assert np.ptp(picture) > 0
    np.testing.assert_array_equal(image, before)
    with pytest.raises(ValueError, match='preview'):
        label.preview(image[1:])


# ---- resizing ------------------------------------------------------------------------------


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
    rng, fit = np.random.default_rng(0), Fit(camera, resolution)
    ids = rng.integers(0, 5, camera).astype(np.int32)
    label = Instances(ids, ('', '', 'x', ''), np.ones(4, np.float32))
    assert_same(label.to_model(fit).to_camera(fit), label)


@given(st.tuples(st.integers(8, 90), st.integers(8, 90)), st.integers(8, 90))
@settings(max_examples=60, deadline=None)
def test_maps_stay_in_step_with_points(camera, resolution):
    # Two ramps show their own coordinates, so a resized map tells where its pixels came from.
    fit = Fit(camera, resolution)
    ramps = np.stack(np.meshgrid(*map(np.arange, camera[::-1])), axis=-1).astype(np.float32)
    there = np.stack(np.meshgrid(*[np.arange(resolution)] * 2), axis=-1)
    origin = fit.to_camera(there)
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
    fit = Fit(camera, 256)
    box = np.zeros(camera, np.bool_)
    box[20:71, 30:91] = True
    corners = np.array([[29.5, 19.5], [90.5, 70.5]])
    joints = np.full((1, 17, 2), np.nan, np.float32)
    joints[0, :2] = corners
    seen = np.zeros((1, 17), np.uint8)
    seen[0, :2] = 2
    points = Keypoints(joints, seen, (seen / 2).astype(np.float32), np.zeros((0, 2), 'f4'), camera)
    rows, columns = np.nonzero(Mask(box).to_model(fit).values)
    edges = [[columns.min() - 0.5, rows.min() - 0.5], [columns.max() + 0.5, rows.max() + 0.5]]
    np.testing.assert_allclose(points.to_model(fit).joints[0, :2], edges, atol=0.501)


@pytest.mark.parametrize('kind', [disparity, metric, normals])
@pytest.mark.parametrize('camera', [(48, 64), (64, 48), (150, 40), (33, 200)])
def test_smooth_maps_come_back_from_the_square(kind, camera):
    fit = Fit(camera, SQUARE)
    label = kind(camera, np.random.default_rng(0))
    back = label.to_model(fit).to_camera(fit)
    name = 'vectors' if kind is normals else 'values'
    off = np.abs(contents(back)[name] - contents(label)[name])
    scale = 5 if kind is metric else 1
    assert off.mean() < 0.01 * scale
    assert off.max() < 0.06 * scale


def test_keypoints_come_back_from_the_square():
    fit = Fit((333, 1200), SQUARE)
    label = keypoints((333, 1200), np.random.default_rng(0))
    assert_same(label.to_model(fit).to_camera(fit), label, atol=1e-3)


def test_shrinking_averages_rather_than_picks():
    # One row in four is bright: blending two neighbours would see all of it or nothing. The
    # portrait shrinks along one side while it grows along the other.
    for camera in ((256, 256), (256, 32)):
        fine = np.zeros(camera, np.float32)
        fine[::4] = 1
        small = Disparity(fine).to_model(Fit(camera, 64)).values
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
    fit = Fit((10, 40), 160)
    fine = depth.to_model(fit).values[80]
    x = fit.to_camera(np.stack([np.arange(160), np.zeros(160)], axis=1))[:, 0]
    inner = (x >= 0) & (x <= 39)
    np.testing.assert_allclose(fine[inner], 1 / (0.1 + 0.01 * x[inner]), rtol=1e-4)


def test_resized_normals_have_unit_length_even_across_an_edge():
    vectors = np.zeros((8, 8, 3), np.float32)
    vectors[:, :4], vectors[:, 4:] = [1, 0, 0], [0, 0, -1]
    out = Normals(vectors).to_model(Fit((8, 8), 37)).vectors
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), 1, atol=1e-5)


def test_opposite_normals_cancel_to_unknown():
    vectors = np.zeros((1, 2, 3), np.float32)
    vectors[0] = [[1, 0, 0], [-1, 0, 0]]
    assert not Normals(vectors).to_model(Fit((1, 2), 1)).valid.any()


# ---- depth ---------------------------------------------------------------------------------


@pytest.mark.parametrize('wrong', [-0.01, 1.01, np.inf])
def test_disparity_refuses_what_is_not_in_zero_to_one(wrong):
    with pytest.raises(ValueError, match=r'expected \[0, 1\] or NaN, came'):
        Disparity(np.array([[0.5, wrong]], np.float32))


@pytest.mark.parametrize('wrong', [0, -1, np.inf])
def test_metric_depth_refuses_what_is_no_distance(wrong):
    with pytest.raises(ValueError, match='expected metres > 0'):
        MetricDepth(np.array([[0.5, wrong]], np.float32))


@pytest.mark.parametrize('kind', [Disparity, MetricDepth])
@pytest.mark.parametrize(
    'values', [np.ones((2, 2)), np.ones(4, np.float32), np.ones((0, 2), np.float32)]
)
def test_depth_refuses_other_dtypes_and_shapes(kind, values):
    with pytest.raises(ValueError, match=r'expected float32 of shape \(H, W\), came'):
        kind(values)


@pytest.mark.parametrize('kind', [Disparity, MetricDepth])
def test_depth_may_be_all_unknown(kind):
    label = kind(np.full((3, 4), np.nan, np.float32))
    assert not label.valid.any()
    assert not label.to_model(Fit((3, 4), 8)).valid.any()
    assert (label.preview() == 96).all()


def test_lists_are_refused():
    with pytest.raises(TypeError, match='came list'):
        Disparity([[0.5]])


def test_the_preview_is_red_far_and_blue_near_as_in_the_official_pictures():
    picture = Disparity(np.array([[0, 0.5, 1, np.nan]], np.float32)).preview()
    np.testing.assert_array_equal(
        picture[0], [(158, 1, 66), (255, 255, 190), (94, 79, 162), (96, 96, 96)]
    )
    shades = Disparity(np.linspace(0, 1, 6, dtype=np.float32)[None]).preview()
    np.testing.assert_array_equal(shades[0], SPECTRAL[::2])
    shades = Disparity(np.linspace(0.1, 0.9, 5, dtype=np.float32)[None]).preview()
    np.testing.assert_allclose(shades[0], SPECTRAL[1::2], atol=2)
    metres = MetricDepth(np.array([[10, 1]], np.float32)).preview()
    assert metres[0, 0, 0] > metres[0, 0, 2]
    assert metres[0, 1, 2] > metres[0, 1, 0]


# ---- normals -------------------------------------------------------------------------------


def test_normals_refuse_other_lengths_and_half_unknown_vectors():
    with pytest.raises(ValueError, match=r'expected unit vectors, came a length that is off by 1'):
        Normals(np.full((1, 1, 3), [0, 0, -2], np.float32))
    with pytest.raises(ValueError, match='in all three components or in none'):
        Normals(np.full((1, 1, 3), [np.nan, 0, -1], np.float32))


def test_the_usual_colours_of_normals():
    axes = np.array([[[0, 0, -1], [1, 0, 0], [0, -1, 0], [np.nan] * 3]], np.float32)
    picture = Normals(axes).preview()
    np.testing.assert_array_equal(
        picture[0], [(128, 128, 255), (255, 128, 128), (128, 255, 128), (0, 0, 0)]
    )


# ---- masks and instances -------------------------------------------------------------------


@pytest.mark.parametrize('score', [-0.1, 1.1, float('nan')])
def test_a_mask_refuses_a_score_outside_zero_to_one(score):
    with pytest.raises(ValueError, match='score'):
        Mask(np.ones((2, 2), np.bool_), score)


@pytest.mark.parametrize(
    ('wrong', 'error', 'message'),
    [
        ({'ids': np.full((2, 2), 3, np.int32)}, ValueError, 'expected 0 to 2'),
        ({'ids': np.full((2, 2), -1, np.int32)}, ValueError, 'came -1'),
        ({'ids': np.zeros((2, 2), np.int64)}, ValueError, 'expected int32'),
        ({'categories': ('a',)}, ValueError, '1 categories and 2 scores'),
        ({'categories': ['a', 'b']}, TypeError, 'tuple of str'),
        ({'scores': np.array([0.5, 1.5], np.float32)}, ValueError, r'expected \[0, 1\]'),
        ({'scores': np.array([0.5, np.nan], np.float32)}, ValueError, r'expected \[0, 1\]'),
    ],
)
def test_instances_refuse_what_does_not_fit_together(wrong, error, message):
    right = {
        'ids': np.zeros((2, 2), np.int32),
        'categories': ('a', 'b'),
        'scores': np.ones(2, np.float32),
    }
    with pytest.raises(error, match=message):
        Instances(**{**right, **wrong})


def test_boxes_areas_and_masks_of_instances():
    ids = np.zeros((5, 8), np.int32)
    ids[1:3, 2:6], ids[4, 7] = 1, 3
    label = Instances(ids, ('a', 'b', 'c'), np.ones(3, np.float32))
    np.testing.assert_array_equal(label.areas, [8, 0, 1])
    np.testing.assert_array_equal(label.boxes, [(2, 1, 6, 3), (0, 0, 0, 0), (7, 4, 8, 5)])
    x0, y0, x1, y1 = label.boxes[0]
    assert (ids[y0:y1, x0:x1] == 1).all()
    np.testing.assert_array_equal(label.masks()[2], ids == 3)
    assert label.masks().shape == (3, 5, 8)


def test_no_instances_at_all():
    label = Instances(np.zeros((5, 8), np.int32), (), np.zeros(0, np.float32))
    assert label.boxes.shape == (0, 4)
    assert label.masks().shape == (0, 5, 8)
    assert label.present().categories == ()
    assert (label.preview() == 40).all()


def test_an_instance_that_is_too_small_for_the_square_keeps_its_place():
    ids = np.ones((64, 64), np.int32)
    ids[0, 0], ids[20:40, 20:40] = 2, 3
    scores = np.array([0.1, 0.2, 0.3], np.float32)
    label = Instances(ids, ('floor', 'ant', 'cat'), scores).to_model(Fit((64, 64), 16))
    assert label.categories == ('floor', 'ant', 'cat')
    np.testing.assert_array_equal(label.areas > 0, [True, False, True])
    rest = label.present()
    assert rest.categories == ('floor', 'cat')
    np.testing.assert_array_equal(rest.scores, scores[[0, 2]])
    np.testing.assert_array_equal(rest.ids, np.where(label.ids == 3, 2, label.ids))


def test_the_preview_tints_the_inside_and_draws_the_rim_white():
    values = np.zeros((40, 40), np.bool_)
    values[10:30, 10:30] = True
    image = np.full((40, 40, 3), 100, np.uint8)
    picture = Mask(values).preview(image)
    assert (picture[~values] == 100).all()
    assert (picture[10, 10:30] == 255).all()
    assert (picture[10:30, 29] == 255).all()
    inside = picture[12:28, 12:28]
    assert (inside == inside[0, 0]).all()
    assert np.ptp(inside[0, 0]) > 50


def test_the_preview_writes_the_category_into_the_instance():
    ids = np.zeros((60, 90), np.int32)
    ids[5:55, 5:85] = 1
    named = Instances(ids, ('cat',), np.ones(1, np.float32)).preview()
    bare = Instances(ids, ('',), np.ones(1, np.float32)).preview()
    rows, columns = np.nonzero((named != bare).any(axis=-1))
    assert rows.size > 50
    # In the middle, give or take half the text.
    assert abs(rows.mean() - 30) < 6
    assert abs(columns.mean() - 45) < 25


def test_resizing_never_invents_an_id():
    rng = np.random.default_rng(0)
    ids = rng.choice([0, 7, 30], (50, 70)).astype(np.int32)
    label = Instances(ids, ('',) * 30, np.ones(30, np.float32))
    for side in (13, 50, 177):
        assert set(np.unique(label.to_model(Fit((50, 70), side)).ids)) <= {0, 7, 30}


# ---- keypoints -----------------------------------------------------------------------------


def test_a_flip_mirrors_x_and_swaps_the_sides_of_the_body():
    label = keypoints((48, 65), np.random.default_rng(0))
    flipped = label.flip()
    for joint, name in enumerate(COCO_JOINTS):
        side = {'left': 'right', 'right': 'left'}.get(name.split('_')[0])
        other = COCO_JOINTS.index(f'{side}_{name.split("_")[1]}') if side else joint
        moved = label.joints[:, joint] * [-1, 1] + [64, 0]
        np.testing.assert_allclose(flipped.joints[:, other], moved, atol=1e-5)
        np.testing.assert_array_equal(flipped.visibility[:, other], label.visibility[:, joint])
        np.testing.assert_array_equal(flipped.scores[:, other], label.scores[:, joint])
    np.testing.assert_allclose(flipped.untyped, label.untyped * [-1, 1] + [64, 0], atol=1e-5)


def test_limbs_never_run_from_one_side_to_the_other_except_across():
    assert len(COCO_JOINTS) == 17
    assert len(set(map(frozenset, COCO_LIMBS))) == 19
    for a, b in COCO_LIMBS:
        one, other = COCO_JOINTS[a].split('_'), COCO_JOINTS[b].split('_')
        assert one[0] == other[0] or one[-1] == other[-1] or 'nose' in (one[0], other[0])


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'joints': np.zeros((1, 16, 2), np.float32)}, r'\(P, 17, 2\)'),
        ({'visibility': np.zeros((1, 17), np.uint8)}, 'NaN where visibility is 0'),
        ({'visibility': np.full((1, 17), 3, np.uint8)}, 'expected 0, 1 or 2, came 3'),
        ({'visibility': np.full((2, 17), 2, np.uint8)}, r'shape \(1, 17\)'),
        ({'joints': np.full((1, 17, 2), np.nan, np.float32)}, 'finite pixels elsewhere'),
        ({'scores': np.full((1, 17), 1.5, np.float32)}, r'expected \[0, 1\]'),
        ({'untyped': np.full((1, 2), np.inf, np.float32)}, 'untyped'),
        ({'size': (0, 5)}, 'size'),
    ],
)
def test_keypoints_refuse_what_does_not_fit_together(wrong, message):
    right = {
        'joints': np.zeros((1, 17, 2), np.float32),
        'visibility': np.full((1, 17), 2, np.uint8),
        'scores': np.ones((1, 17), np.float32),
        'untyped': np.zeros((0, 2), np.float32),
        'size': (4, 5),
    }
    Keypoints(**right)
    with pytest.raises(ValueError, match=message):
        Keypoints(**{**right, **wrong})


def test_no_people_at_all():
    empty = keypoints((9, 9), np.random.default_rng(0), people=0)
    assert empty.flip().joints.shape == (0, 17, 2)
    assert empty.to_model(Fit((9, 9), 30)).size == (30, 30)


def test_the_preview_draws_left_blue_right_orange_and_only_there():
    joints = np.full((1, 17, 2), np.nan, np.float32)
    seen = np.zeros((1, 17), np.uint8)
    for name, place in {'left_elbow': (20, 20), 'left_wrist': (20, 60),
                        'right_elbow': (70, 20), 'right_wrist': (70, 60)}.items():  # fmt: skip
        joints[0, COCO_JOINTS.index(name)] = place
        seen[0, COCO_JOINTS.index(name)] = 2
    label = Keypoints(joints, seen, (seen / 2).astype('f4'), np.zeros((0, 2), 'f4'), (90, 90))
    picture = label.preview().astype(int)
    assert picture[40, 20, 2] > picture[40, 20, 0]
    assert picture[40, 70, 0] > picture[40, 70, 2]
    assert (picture[:, 40:50] == 40).all()
