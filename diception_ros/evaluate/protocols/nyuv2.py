# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""NYUv2, depth: the labelled test set in Eigen's crop.

Source: the evaluation of Marigold and GenPercept, and their nyu_labeled_extracted.tar.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diception_ros.evaluate.protocols import Protocol, Size, _read

ROWS, COLUMNS = slice(45, 471), slice(41, 601)  # of 480 x 640 pixels


def eigen_crop(size: Size) -> NDArray[np.bool_]:
    """(H, W) bool, Eigen's crop.

    Raises:
        ValueError: the picture is not 640 x 480, for which the crop is given.
    """
    if size != (480, 640):
        raise ValueError(f'nyuv2: expected pictures of (480, 640) pixels (H, W), came {size}')
    inside = np.zeros(size, np.bool_)
    inside[ROWS, COLUMNS] = True
    return inside


PROTOCOL = Protocol(
    name='nyuv2',
    task='depth',
    layout='test/SCENE/rgb_NNNN.png with test/SCENE/depth_NNNN.png (16 bits, millimetres)',
    pattern='test/*/rgb_*.png',
    truths=lambda picture: [(picture.replace('/rgb_', '/depth_'),)],
    read=_read.png_depth(1000),
    images=654,
    metres=(1e-3, 10.0),
    counted=eigen_crop,
    published={'abs_rel': 0.061, 'delta1': 0.960},
)
