# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of label checks its arrays, and comes back from files as it was."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from random_labels import keypoints
from task_examples import example

from diception_ros import tasks
from diception_ros.core.images import ResizeTransform
from diception_ros.core.labels import (
    COCO_JOINTS,
    COCO_LIMBS,
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Mask,
    MetricDepth,
    Normals,
    load_npz,
    save_npz,
)
from diception_ros.core.labels.visualize import SPECTRAL


@pytest.mark.parametrize('score', [-0.1, 1.1, float('nan')])
def test_a_mask_refuses_a_score_outside_zero_to_one(score):
    with pytest.raises(ValueError, match='score'):
        Mask(np.ones((2, 2), np.bool_), score)


@pytest.mark.parametrize(
    ('wrong', 'error', 'message'),
    [
        ({'ids': np.full((2, 2), 3, np.int32)}, ValueError, 'expected 0 to 2'),
        ({'ids': np.full((2, 2), -1, np.int32)}, ValueError, 'got -1'),
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
    label = Instances(ids, ('floor', 'ant', 'cat'), scores).to_model_size(
        ResizeTransform((64, 64), 16)
    )
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
    preview = Mask(values).preview(image)
    assert (preview[~values] == 100).all()
    assert (preview[10, 10:30] == 255).all()
    assert (preview[10:30, 29] == 255).all()
    inside = preview[12:28, 12:28]
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
        assert set(np.unique(label.to_model_size(ResizeTransform((50, 70), side)).ids)) <= {
            0,
            7,
            30,
        }


def test_iou_is_that_of_the_masks():
    rng = np.random.default_rng(0)
    one, other = (
        Instances(
            rng.integers(0, count, (9, 11), np.int32), ('',) * count, np.ones(count, np.float32)
        )
        for count in (4, 6)
    )
    found = one.iou(other)
    for i, mine in enumerate(one.masks()):
        for j, theirs in enumerate(other.masks()):
            union = (mine | theirs).sum()
            assert found[i, j] == ((mine & theirs).sum() / union if union else 0)
    # The largest number owns no pixel here.
    assert found.shape == (4, 6)
    assert not found[3].any()
    np.testing.assert_array_equal(found, other.iou(one).T)
    with pytest.raises(ValueError, match='expected the size of the other label'):
        one.iou(Instances(np.zeros((9, 12), np.int32), (), np.ones(0, np.float32)))


@pytest.mark.parametrize('wrong', [-0.01, 1.01, np.inf])
def test_disparity_refuses_what_is_not_in_zero_to_one(wrong):
    with pytest.raises(ValueError, match=r'expected \[0, 1\] or NaN, got'):
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
    with pytest.raises(ValueError, match=r'expected float32 of shape \(H, W\), got'):
        kind(values)


@pytest.mark.parametrize('kind', [Disparity, MetricDepth])
def test_depth_may_be_all_unknown(kind):
    label = kind(np.full((3, 4), np.nan, np.float32))
    assert not label.valid.any()
    assert not label.to_model_size(ResizeTransform((3, 4), 8)).valid.any()
    assert (label.preview() == 96).all()


def test_lists_are_refused():
    with pytest.raises(TypeError, match='got list'):
        Disparity([[0.5]])


def test_the_preview_is_red_far_and_blue_near_as_in_the_official_images():
    image = Disparity(np.array([[0, 0.5, 1, np.nan]], np.float32)).preview()
    np.testing.assert_array_equal(
        image[0], [(158, 1, 66), (255, 255, 190), (94, 79, 162), (96, 96, 96)]
    )
    shades = Disparity(np.linspace(0, 1, 6, dtype=np.float32)[None]).preview()
    np.testing.assert_array_equal(shades[0], SPECTRAL[::2])
    shades = Disparity(np.linspace(0.1, 0.9, 5, dtype=np.float32)[None]).preview()
    np.testing.assert_allclose(shades[0], SPECTRAL[1::2], atol=2)
    metres = MetricDepth(np.array([[10, 1]], np.float32)).preview()
    assert metres[0, 0, 0] > metres[0, 0, 2]
    assert metres[0, 1, 2] > metres[0, 1, 0]


def test_normals_refuse_other_lengths_and_half_unknown_vectors():
    with pytest.raises(ValueError, match=r'expected unit vectors, got a length off by 1'):
        Normals(np.full((1, 1, 3), [0, 0, -2], np.float32))
    with pytest.raises(ValueError, match='in all three components or in none'):
        Normals(np.full((1, 1, 3), [np.nan, 0, -1], np.float32))


def test_the_usual_colors_of_normals():
    axes = np.array([[[0, 0, -1], [1, 0, 0], [0, -1, 0], [np.nan] * 3]], np.float32)
    image = Normals(axes).preview()
    np.testing.assert_array_equal(
        image[0], [(128, 128, 255), (255, 128, 128), (128, 255, 128), (0, 0, 0)]
    )


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
        ({'visibility': np.full((1, 17), 3, np.uint8)}, 'expected 0, 1 or 2, got 3'),
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
    assert empty.to_model_size(ResizeTransform((9, 9), 30)).size == (30, 30)


def test_the_preview_draws_left_blue_right_orange_and_only_there():
    joints = np.full((1, 17, 2), np.nan, np.float32)
    seen = np.zeros((1, 17), np.uint8)
    for name, place in {'left_elbow': (20, 20), 'left_wrist': (20, 60),
                        'right_elbow': (70, 20), 'right_wrist': (70, 60)}.items():  # fmt: skip
        joints[0, COCO_JOINTS.index(name)] = place
        seen[0, COCO_JOINTS.index(name)] = 2
    label = Keypoints(joints, seen, (seen / 2).astype('f4'), np.zeros((0, 2), 'f4'), (90, 90))
    image = label.preview().astype(int)
    assert image[40, 20, 2] > image[40, 20, 0]
    assert image[40, 70, 0] > image[40, 70, 2]
    assert (image[:, 40:50] == 40).all()


def labels():
    for name in tasks.names():
        yield example(tasks.get(name), np.random.default_rng(1), 64)
    yield MetricDepth(np.array([[1.5, np.nan]], np.float32))
    yield ImageLabel(np.array([[[0, 0.25, 1], [1, 0.1, 0]]], np.float32))


@pytest.mark.parametrize('label', [*labels()], ids=lambda label: type(label).__name__)
def test_round_trip_is_exact(label, tmp_path):
    more = np.full(label.size, 0.25, np.float32)
    save_npz(label, tmp_path / 'label.npz', uncertainty=more)
    back = load_npz(tmp_path / 'label.npz')
    assert type(back) is type(label)
    for field in fields(label):
        before, after = getattr(label, field.name), getattr(back, field.name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
        else:
            assert before == after
            assert type(before) is type(after)
    with np.load(tmp_path / 'label.npz') as file:
        np.testing.assert_array_equal(file['uncertainty'], more)


def test_two_writes_are_the_same_bytes(tmp_path):
    for name in 'ab':
        save_npz(next(labels()), tmp_path / f'{name}.npz')
    assert (tmp_path / 'a.npz').read_bytes() == (tmp_path / 'b.npz').read_bytes()


def test_invalid_label_error_names_the_file(tmp_path):
    label = next(labels())
    with pytest.raises(ValueError, match=r'ends in \.npz'):
        save_npz(label, tmp_path / 'label.png')
    with pytest.raises(ValueError, match='values is a field of Disparity'):
        save_npz(label, tmp_path / 'label.npz', values=np.zeros(1))
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / 'none.npz')
    (tmp_path / 'text.npz').write_text('no label')
    with pytest.raises(ValueError, match=r'not a \.npz file'):
        load_npz(tmp_path / 'text.npz')
    np.savez(tmp_path / 'other.npz', values=np.zeros(3))
    with pytest.raises(ValueError, match='kind is None; expected one of Disparity'):
        load_npz(tmp_path / 'other.npz')
    np.savez(tmp_path / 'part.npz', kind='Mask', values=np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match='a Mask without score'):
        load_npz(tmp_path / 'part.npz')
    np.savez(tmp_path / 'evil.npz', kind='Mask', values=np.array([object()]))
    with pytest.raises(ValueError, match=r'not a \.npz file'):
        load_npz(tmp_path / 'evil.npz')


@pytest.mark.parametrize('label', [*labels()], ids=lambda label: type(label).__name__)
def test_a_part_of_the_mirrored_label_is_the_mirrored_part(label):
    height, width = label.size
    rows, columns = slice(0, max(1, height // 2)), slice(0, max(1, width // 3))
    other = slice(width - columns.stop, width)
    one, two = label.crop(rows, columns).flip(), label.flip().crop(rows, other)
    assert one.size == two.size == (rows.stop, columns.stop)
    for field in fields(label):
        before, after = getattr(one, field.name), getattr(two, field.name)
        if field.name in ('joints', 'untyped'):
            np.testing.assert_allclose(before, after, atol=1e-4)
        else:
            np.testing.assert_array_equal(before, after)


def test_joints_outside_of_a_part_are_not_labelled_there_and_people_without_any_are_dropped():
    joints = np.full((2, 17, 2), 3, np.float32)
    joints[0, 0], joints[1] = (9.4, 4), (20, 20)
    seen = np.full((2, 17), 2, np.uint8)
    untyped = np.array([[9, 9], [1, 1]], np.float32)
    people = Keypoints(joints, seen, (seen > 0).astype(np.float32), untyped, (32, 32))
    part = people.crop(slice(4, 20), slice(2, 10))
    assert part.size == (16, 8)
    assert part.visibility.tolist() == [[2] + [0] * 16]
    np.testing.assert_array_equal(part.joints[0, 0], joints[0, 0] - np.float32([2, 4]))
    assert part.untyped.tolist() == [[7, 5]]
