# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs of the networks that every backend makes with numpy: noise, points, overlap of blocks."""

from __future__ import annotations

from collections.abc import Sequence
import functools
import math

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.prompt import MAX_POINTS

POINT_ORDERS = ('xy', 'yx')
# The Box-Muller transform takes numbers in groups: half of them radii, half of them angles.
_GROUP = 16


def standard_normal(seed: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Draw from the normal distribution as `torch.randn` does on a CPU, up to rounding.

    So a seed means what it means to torch, and to the official scripts on a CPU.

    Args:
        seed: as for `torch.Generator.manual_seed`; its lower 32 bits count.
        shape: at least 16 numbers, a multiple of 16 or not.

    Returns:
        of this shape, float32, read-only (cached).

    Source: ATen/native/cpu/DistributionTemplates.h of torch (normal_fill), whose generator is
    MT19937 seeded as by its authors.
    """
    return _draw(seed % 2**32, tuple(shape))


@functools.lru_cache(maxsize=16)
def _draw(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    count = math.prod(shape)
    if count < _GROUP:
        raise ValueError(f'noise of {shape}: expected at least {_GROUP} numbers')
    source = np.random.RandomState(seed)

    def uniform(number: int) -> NDArray[np.float32]:
        bits = source.randint(0, 2**32, number, np.uint32)
        return (bits & (2**24 - 1)).astype(np.float32) * np.float32(2**-24)

    whole, rest = divmod(count, _GROUP)
    drawn = _normal(uniform(count)[: whole * _GROUP])
    if rest:
        # The last group is drawn anew, over the end of the one before.
        drawn = np.concatenate([drawn[: count - _GROUP], _normal(uniform(_GROUP))])
    noise = drawn.reshape(shape)
    noise.flags.writeable = False
    return noise


def _normal(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    groups = uniform.reshape(-1, 2, _GROUP // 2)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - groups[:, :1]))
    angle = np.float32(2 * math.pi) * groups[:, 1:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def pack_points(
    points: Sequence[Sequence[tuple[float, float]]] | None, batch: int, order: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pack points into the arrays that the network takes.

    Args:
        points: for each of the `batch` prompts at most five (x, y) in [0, 1], x to the right and y
            down, as a share of the image; None for no points at all.
        batch: number of prompts, N.
        order: of a point's coordinates in the arrays, one of POINT_ORDERS.

    Returns:
        (N, 5, 2) float32 coordinates, zero where unused; (N, 5) bool, True where a point was
        given.

    Raises:
        ValueError: another number of lists than prompts, more than five points, a point outside
            the image.
    """
    coordinates = np.zeros((batch, MAX_POINTS, 2), np.float32)
    given = np.zeros((batch, MAX_POINTS), np.bool_)
    if points is None:
        return coordinates, given
    if len(points) != batch:
        raise ValueError(f'points holds {len(points)} lists for {batch} prompts; give one each')
    for i, mine in enumerate(points):
        if len(mine) > MAX_POINTS:
            # Upstream: keeps the first five without a message.
            raise ValueError(
                f'prompt {i} has {len(mine)} points; the model takes at most {MAX_POINTS}'
            )
        for j, (x, y) in enumerate(mine):
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise ValueError(
                    f'point {j} of prompt {i} is ({x}, {y}); expected x and y in [0, 1], '
                    'as a share of the image'
                )
            coordinates[i, j] = (x, y) if order == 'xy' else (y, x)
            given[i, j] = True
    return coordinates, given


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
