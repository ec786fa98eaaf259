# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI, depth: Eigen's test split in the benchmark's crop.

The model sees the crop of 352 x 1216 pixels; what counts lies in Eigen's part of it.

Source: the evaluation of Marigold and GenPercept, and their kitti_eigen_split_test.tar.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diception_ros.evaluate.protocols import Protocol, Size, _read

HEIGHT, WIDTH = 352, 1216
TOP, BOTTOM, LEFT, RIGHT = 0.3324324, 0.91351351, 0.0359477, 0.96405229


def benchmark_crop(size: Size) -> tuple[slice, slice]:
    """The lowest 352 rows and the middle 1216 columns.

    Raises:
        ValueError: the picture is smaller.
    """
    top, left = size[0] - HEIGHT, (size[1] - WIDTH) // 2
    if top < 0 or left < 0:
        raise ValueError(
            f'kitti: expected pictures of at least ({HEIGHT}, {WIDTH}) pixels (H, W), came {size}'
        )
    return slice(top, top + HEIGHT), slice(left, left + WIDTH)


def eigen_crop(size: Size) -> NDArray[np.bool_]:
    """(H, W) bool, Eigen's part of what the model sees."""
    height, width = size
    inside = np.zeros(size, np.bool_)
    rows = slice(int(TOP * height), int(BOTTOM * height))
    inside[rows, int(LEFT * width) : int(RIGHT * width)] = True
    return inside


def _truths(picture: str) -> list[tuple[str, ...]]:
    # DATE/DRIVE/image_02/data/N.png -> DRIVE/proj_depth/groundtruth/image_02/N.png
    _, drive, camera, _, name = picture.split('/')
    return [(f'{drive}/proj_depth/groundtruth/{camera}/{name}',)]


PROTOCOL = Protocol(
    name='kitti',
    task='depth',
    layout='DATE/DRIVE/image_02/data/N.png with DRIVE/proj_depth/groundtruth/image_02/N.png '
    '(16 bits, 1/256 metre)',
    pattern='*/*_sync/image_02/data/*.png',
    truths=_truths,
    read=_read.png_depth(256),
    images=652,
    partial=True,  # 45 of the split's 697 pictures have none
    metres=(1e-5, 80.0),
    window=benchmark_crop,
    counted=eigen_crop,
    published={'abs_rel': 0.069, 'delta1': 0.949},
)
