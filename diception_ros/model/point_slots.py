# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Points of prompts as the arrays that the point encoder takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.prompt import MAX_POINTS

POINT_ORDERS = ('xy', 'yx')


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
