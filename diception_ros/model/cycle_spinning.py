# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers about shifted pictures, blended into one: what a token's place leaves in it fades away.

A network paints token by token, and a small one paints each a little differently at its rim and in
its middle, which shows as a grid. In a picture that is shifted by half a token the rims lie where
the middles were; the mean of several such answers, shifted back, has no grid, and is nearer to the
truth than each of them.

Source: R. R. Coifman, D. L. Donoho, "Translation-invariant de-noising", 1995: cycle spinning.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Offset = tuple[int, int]  # pixels, down and right: where the shifted picture's corner lies
HOME: Offset = (0, 0)

# What is painted at the rim of a shifted picture counts less over so many pixels, lest it ends in
# an edge.
_RIM = 4


def check(count: int, token: int) -> None:
    """Raise ValueError for more shifted pictures than a token has pixels, `token` along a side."""
    if count > token:
        raise ValueError(
            f'tta_shifts is {count}; a token of this model is {token} pixels wide, and there '
            'are no more shifts than that'
        )


def offsets(count: int, token: int) -> list[Offset]:
    """Where the shifted pictures lie: one at home, the others along the falling diagonal.

    Along each axis they are spread evenly over a token, so as few as there can be.

    Args:
        count: N, of pictures, from 1 to `token`.
        token: width, pixels.

    Returns:
        N different offsets, home first, none longer than half a token along an axis.
    """
    steps = [round(number * token / count) for number in range(count)]
    half = token // 2
    return [(-_wrapped(step, half, token), _wrapped(step, half, token)) for step in steps]


def _wrapped(step: int, half: int, token: int) -> int:
    return step - token if step > half else step


def shifted(square: NDArray[np.uint8], offset: Offset) -> NDArray[np.uint8]:
    """What a camera would see that looks a few pixels beside; mirrored where nothing is known.

    Args:
        square: (S, S, 3) uint8.
        offset: see `Offset`; shorter than S.

    Returns:
        (S, S, 3) uint8.
    """
    if offset == HOME:
        return square
    down, right = offset
    size = square.shape[0]
    room = max(abs(down), abs(right))
    wide = cv2.copyMakeBorder(square, room, room, room, room, cv2.BORDER_REFLECT_101)
    return np.asarray(wide[room + down :, room + right :][:size, :size], np.uint8)


def shifted_points(
    points: Sequence[tuple[float, float]], offset: Offset, size: int
) -> list[tuple[float, float]] | None:
    """Points in the shifted picture; None where one lies outside of it.

    Args:
        points: (x, y) in [0, 1], shares of the square.
        offset: see `Offset`.
        size: S, pixels.
    """
    if offset == HOME:
        return list(points)
    down, right = offset
    moved = [(x - right / size, y - down / size) for x, y in points]
    return moved if all(0 <= share < 1 for point in moved for share in point) else None


def blend(
    pictures: Sequence[NDArray[np.float32]], places: Sequence[Offset]
) -> NDArray[np.float32]:
    """Shift pictures back and take their mean.

    Args:
        pictures: N of (S, S, 3) float32.
        places: N offsets that they were painted with; the home one is among them.

    Returns:
        (S, S, 3) float32; the picture itself where it is alone.
    """
    if len(pictures) == 1:
        return pictures[0]
    size = pictures[0].shape[0]
    total = np.zeros_like(pictures[0])
    weights = np.zeros((size, size, 1), np.float32)
    for picture, (down, right) in zip(pictures, places, strict=True):
        rows, columns = _seen(down, size), _seen(right, size)
        weight = np.outer(_weights(down, size), _weights(right, size))[rows, columns, None]
        own = picture[_seen(-down, size), _seen(-right, size)]
        total[rows, columns] += weight * own
        weights[rows, columns] += weight
    return total / weights


def _seen(offset: int, size: int) -> slice:
    """Rows of the picture that are also in the shifted one."""
    return slice(max(offset, 0), size + min(offset, 0))


def _weights(offset: int, size: int) -> NDArray[np.float32]:
    """(S,) what rows of a shifted picture count, by where they are in the picture itself."""
    if not offset:
        return np.ones(size, np.float32)
    centres = np.arange(size, dtype=np.float32) + 0.5
    inside = centres - offset if offset > 0 else size + offset - centres
    return np.clip(inside / _RIM, 0, 1)
