# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames refuse what is no image; pinholes follow the image that is resized or mirrored."""

from __future__ import annotations

import numpy as np
import pytest

from diception_ros.core.frame import Frame, Intrinsics
from diception_ros.core.images import ResizeTransform


def project(intrinsics: Intrinsics, point: tuple[float, float, float]) -> np.ndarray:
    x, y, z = point
    return np.array([intrinsics.fx * x / z + intrinsics.cx, intrinsics.fy * y / z + intrinsics.cy])


def test_a_frame_keeps_the_image_read_only_and_the_caller_keeps_his():
    image = np.zeros((4, 6, 3), np.uint8)
    frame = Frame(image, stamp_ns=5, frame_id='camera')
    assert frame.size == (4, 6)
    assert frame.intrinsics is None
    with pytest.raises(ValueError, match='read-only'):
        frame.image[0, 0] = 1
    image[0, 0] = 1  # still his


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((0, 6, 3), np.uint8),
    ],
)
def test_a_frame_refuses_what_is_no_rgb_image(image):
    with pytest.raises(ValueError, match=r'expected \(H, W, 3\) uint8 RGB, got'):
        Frame(image)


def test_a_frame_refuses_a_negative_stamp():
    with pytest.raises(ValueError, match='stamp_ns'):
        Frame(np.zeros((1, 1, 3), np.uint8), stamp_ns=-1)


@pytest.mark.parametrize('wrong', [{'fx': 0.0}, {'fy': -1.0}, {'cx': float('nan')}])
def test_intrinsics_refuse_what_is_no_pinhole(wrong):
    with pytest.raises(ValueError, match='Intrinsics'):
        Intrinsics(**{'fx': 1.0, 'fy': 1.0, 'cx': 0.0, 'cy': 0.0, **wrong})


@pytest.mark.parametrize('camera', [(480, 640), (1000, 30)])
def test_a_point_in_space_projects_to_the_same_place_of_the_resized_image(camera):
    fit = ResizeTransform(camera, 768)
    pinhole = Intrinsics(500, 510, 310.2, 233.7)
    point = (0.3, -0.2, 1.7)
    moved = fit.to_model(project(pinhole, point))
    np.testing.assert_allclose(project(pinhole.to_model(fit), point), moved, atol=1e-9)


def test_intrinsics_come_back_from_the_model_and_from_two_flips():
    fit = ResizeTransform((480, 640), 768)
    pinhole = Intrinsics(500, 510, 310.2, 233.7)
    for other in (pinhole.to_model(fit).to_image(fit), pinhole.flip(640).flip(640)):
        np.testing.assert_allclose(
            [other.fx, other.fy, other.cx, other.cy], [500, 510, 310.2, 233.7], rtol=1e-12
        )


def test_a_mirrored_point_projects_to_the_mirrored_pixel():
    pinhole = Intrinsics(500, 510, 310.2, 233.7)
    x, y = project(pinhole, (0.3, -0.2, 1.7))
    mirrored = project(pinhole.flip(640), (-0.3, -0.2, 1.7))
    np.testing.assert_allclose(mirrored, [639 - x, y], atol=1e-9)
