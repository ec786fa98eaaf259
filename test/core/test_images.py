# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The way onto the square and back, and that the image goes the same way as its points."""

from __future__ import annotations

import os

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from PIL import Image
import pytest

from diception_ros.core import images
from diception_ros.core.images import ResizeTransform, contact_sheet, resize
from diception_ros.core.labels import visualize

sides = st.integers(1, 3000)


@given(st.tuples(sides, sides), st.integers(1, 1024), st.floats(-10, 3000), st.floats(-10, 3000))
def test_points_come_back_from_the_square(camera, resolution, x, y):
    way = ResizeTransform(camera, resolution)
    point = np.array([x, y])
    np.testing.assert_allclose(way.to_image(way.to_model(point)), point, atol=1e-6)


@given(st.tuples(sides, sides), st.integers(1, 1024))
def test_the_corners_of_the_image_become_the_corners_of_the_square(camera, resolution):
    height, width = camera
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])
    moved = ResizeTransform(camera, resolution).to_model(corners)
    np.testing.assert_allclose(moved, [[-0.5, -0.5], [resolution - 0.5] * 2], atol=1e-6)


def test_scale_is_x_then_y_while_sizes_are_height_then_width():
    way = ResizeTransform((100, 200), 400)
    assert way.model == (400, 400)
    np.testing.assert_array_equal(way.scale, [2, 4])


@pytest.mark.parametrize(('height', 'width'), [(30, 50), (50, 30), (1, 1), (1, 90), (200, 7)])
def test_the_square_is_pillows_lanczos_along_x_then_along_y(height, width):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    square, way = resize(image, 48)
    along_x = Image.fromarray(image).resize((48, height), Image.Resampling.LANCZOS)
    both = along_x.resize((48, 48), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(square, np.asarray(both))
    assert way == ResizeTransform((height, width), 48)


def test_what_the_image_shows_at_a_point_the_square_shows_at_the_moved_point():
    # A ramp shows its own coordinate, so the pixels tell where they came from.
    height, width = 90, 250
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    square, way = resize(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8), 128)
    u, v = np.meshgrid(np.arange(128), np.arange(128))
    origin = way.to_image(np.stack([u, v], axis=-1))
    inner = slice(8, -8)  # the filter reaches beyond the border
    off = np.abs(square[inner, inner, :2] - origin[inner, inner])
    assert off.max() <= 1.0


def test_a_square_of_the_right_size_is_left_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(resize(image, 32)[0], image)


@pytest.mark.parametrize(
    'image',
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3), np.float32), np.zeros((5, 0, 3), np.uint8)],
)
def test_invalid_rgb_image_raises(image):
    with pytest.raises(ValueError, match='expected'):
        resize(image, 8)


def test_a_square_without_pixels_is_refused():
    with pytest.raises(ValueError, match='at least 1 pixel'):
        resize(np.zeros((5, 5, 3), np.uint8), 0)


COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]


@pytest.mark.parametrize('size', [(1, 1), (40, 300), (300, 40), (480, 640)])
@pytest.mark.parametrize('columns', [0, 1, 2, 5])
def test_all_images_are_read(size, columns):
    images = [np.full((*size, 3), color, np.uint8) for color in COLORS]
    sheet = contact_sheet(images, [f'image {i}' for i in range(5)], columns)
    assert sheet.dtype == np.uint8
    for color in COLORS:
        assert (sheet == color).all(axis=-1).sum() == size[0] * size[1]


def test_large_images_are_shrunk():
    sheet = contact_sheet([np.full((1080, 1920, 3), 200, np.uint8)] * 2, ['a', 'b'], 2)
    assert sheet.shape[1] < 1400


def test_texts_that_are_not_unicode_are_drawn_with_question_marks():
    # OpenCV's putText ends the process at what stands for a byte that is not UTF-8.
    image, ids = np.zeros((40, 60, 3), np.uint8), np.ones((40, 60), np.int32)
    drawn = []
    for text in (os.fsdecode(b'a\xff.png'), 'a?.png'):
        canvas = image.copy()
        visualize.draw_texts(canvas, ids, (text,))
        drawn.append((canvas, contact_sheet([image], [text])))
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])
    assert drawn[0][0].any()


def test_images_of_several_sizes_are_refused():
    with pytest.raises(ValueError, match='images of one size'):
        contact_sheet([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)], ['a', 'b'])
    with pytest.raises(ValueError, match='0 names for 1 images'):
        contact_sheet([np.zeros((2, 2, 3), np.uint8)], [])


@pytest.mark.parametrize('depth', [np.uint8, np.uint16])
def test_grey_and_16_bit_images_are_read(tmp_path, depth):
    ramp = np.linspace(0, np.iinfo(depth).max, 64).astype(depth).reshape(8, 8)
    cv2.imwrite(str(tmp_path / 'grey.png'), ramp)
    read = images.read(tmp_path / 'grey.png')
    assert read.dtype == np.uint8
    assert read.shape == (8, 8, 3)
    assert np.abs(read[..., 0].astype(float) - ramp / np.iinfo(depth).max * 255).max() <= 1


@pytest.mark.parametrize(('largest', 'depth', 'doubted'), [
    (4095, np.uint16, True), (65535, np.uint16, False), (0, np.uint16, False),
    (16, np.uint8, False),
])  # fmt: skip
def test_files_of_16_bits_that_use_12_are_doubted(tmp_path, largest, depth, doubted):
    for shape in ((8, 8), (8, 8, 3)):
        path = tmp_path / f'{len(shape)}.png'
        cv2.imwrite(
            str(path), np.linspace(0, largest, np.prod(shape)).astype(depth).reshape(shape)
        )
        doubt = images.doubt(path, images.read(path))
        assert bool(doubt) == doubted
        assert doubt.startswith(str(path)) == doubted


def test_image_round_trip(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    images.write(tmp_path / 'ä b.png', pixels)
    np.testing.assert_array_equal(images.read(tmp_path / 'ä b.png'), pixels)
    with pytest.raises(ValueError, match=r"no image format '\.xyz'; use \.png"):
        images.write(tmp_path / 'a.xyz', pixels)
    assert not (tmp_path / 'a.xyz').exists()
