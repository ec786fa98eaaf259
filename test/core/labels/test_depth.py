# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Disparity and metric depth."""

from __future__ import annotations

import numpy as np
import pytest

from diception_ros.core.images import ResizeTransform
from diception_ros.core.labels import Disparity, MetricDepth
from diception_ros.core.labels.visualize import SPECTRAL


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
