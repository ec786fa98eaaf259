# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The filter that makes neighbouring blocks of an image overlap, see `pca`."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray


@functools.cache
def overlap(length: int, block: int) -> NDArray[np.float64]:
    """The orthonormal matrix that turns a block transform into a lapped one.

    Applied to a line of pixels before it is cut into blocks, it mixes the half blocks on both
    sides of each border; the transposed one undoes that. The rims of the line stay as they are.

    Args:
        length: of the line, pixels; a multiple of the block.
        block: pixels, even.

    Returns:
        (length, length) float64, not to be changed.

    Source: T. D. Tran, J. Liang, C. Tu, "Lapped transform via time-domain pre- and
    post-filtering", IEEE Transactions on Signal Processing 51(6), 2003: the filter that makes the
    type-II fast lapped orthogonal transform.
    """
    half = block // 2
    n = np.arange(half, dtype=np.float64)
    # DCT-IV and DCT-II
    fourth = math.sqrt(2 / half) * np.cos(math.pi / half * (n[:, None] + 0.5) * (n + 0.5))
    scale = np.full((half, 1), math.sqrt(2 / half))
    scale[0] = math.sqrt(1 / half)
    second = scale * np.cos(math.pi / half * n[:, None] * (n + 0.5))
    turn = np.flip(second.T @ fourth)  # (half, half)
    one, zero = np.eye(half), np.zeros((half, half))
    mirror = one[::-1]
    butterfly = np.block([[one, mirror], [mirror, -one]])
    mix = butterfly @ np.block([[one, zero], [zero, turn]]) @ butterfly / 2  # (block, block)
    matrix = np.eye(length)
    for border in range(block, length, block):
        around = slice(border - half, border + half)
        matrix[around, around] = mix
    return matrix
