# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Surface normals."""

from __future__ import annotations

import numpy as np
import pytest

from diception_ros.core.labels import Normals


def test_normals_refuse_other_lengths_and_half_unknown_vectors():
    with pytest.raises(ValueError, match=r'expected unit vectors, got a length off by 1'):
        Normals(np.full((1, 1, 3), [0, 0, -2], np.float32))
    with pytest.raises(ValueError, match='in all three components or in none'):
        Normals(np.full((1, 1, 3), [np.nan, 0, -1], np.float32))


def test_the_usual_colours_of_normals():
    axes = np.array([[[0, 0, -1], [1, 0, 0], [0, -1, 0], [np.nan] * 3]], np.float32)
    image = Normals(axes).preview()
    np.testing.assert_array_equal(
        image[0], [(128, 128, 255), (255, 128, 128), (128, 255, 128), (0, 0, 0)]
    )
