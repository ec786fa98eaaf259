# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets show every image, whole."""

import numpy as np
import pytest

from diception_ros.core.contact_sheet import contact_sheet

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]


@pytest.mark.parametrize('size', [(1, 1), (40, 300), (300, 40), (480, 640)])
@pytest.mark.parametrize('columns', [0, 1, 2, 5])
def test_every_image_is_there(size, columns):
    images = [np.full((*size, 3), colour, np.uint8) for colour in COLOURS]
    sheet = contact_sheet(images, [f'image {i}' for i in range(5)], columns)
    assert sheet.dtype == np.uint8
    for colour in COLOURS:
        assert (sheet == colour).all(axis=-1).sum() == size[0] * size[1]


def test_large_images_are_shrunk():
    sheet = contact_sheet([np.full((1080, 1920, 3), 200, np.uint8)] * 2, ['a', 'b'], 2)
    assert sheet.shape[1] < 1400


def test_images_of_several_sizes_are_refused():
    with pytest.raises(ValueError, match='images of one size'):
        contact_sheet([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)], ['a', 'b'])
    with pytest.raises(ValueError, match='0 names for 1 images'):
        contact_sheet([np.zeros((2, 2, 3), np.uint8)], [])
