# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Laws of every kind of label."""

from __future__ import annotations

import numpy as np
import pytest
from random_labels import (
    CAMERAS,
    KINDS,
    SQUARE,
    assert_same,
    contents,
    instances,
    keypoints,
    mask,
    normals,
)

from diception_ros.core.images import ResizeTransform


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('camera', CAMERAS)
def test_resized_labels_have_the_requested_size(kind, camera):
    fit = ResizeTransform(camera, SQUARE)
    label = kind(camera, np.random.default_rng(0))
    square = label.to_model_size(fit)
    assert label.size == camera
    assert square.size == fit.model
    assert square.to_image_size(fit).size == camera
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
    fit = ResizeTransform(camera, SQUARE)
    label = kind(camera, np.random.default_rng(1))
    one, other = label.to_model_size(fit).flip(), label.flip().to_model_size(fit)
    if kind in (mask, instances):  # a tie between two pixels goes to the right one in both
        name = 'values' if kind is mask else 'ids'
        assert np.mean(contents(one)[name] != contents(other)[name]) <= 0.04
    else:
        assert_same(one, other, atol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_every_label_refuses_the_size_of_the_other_side(kind):
    rng, fit = np.random.default_rng(0), ResizeTransform((48, 80), SQUARE)
    with pytest.raises(ValueError, match=r'size of the camera image, \(48, 80\).*got \(64, 64'):
        kind((64, 64), rng).to_model_size(fit)
    with pytest.raises(ValueError, match=r'size of the model square, \(64, 64\).*got \(48, 80'):
        kind((48, 80), rng).to_image_size(fit)


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
def test_every_preview_is_an_image_of_the_label_and_leaves_the_image_alone(kind):
    label = kind((48, 65), np.random.default_rng(0))
    image = np.random.default_rng(1).integers(0, 256, (48, 65, 3), np.uint8)
    before = image.copy()
    for preview in (label.preview(), label.preview(image)):
        assert preview.shape == (48, 65, 3)
        assert preview.dtype == np.uint8
        assert np.ptp(preview) > 0
    np.testing.assert_array_equal(image, before)
    with pytest.raises(ValueError, match='preview'):
        label.preview(image[1:])
