# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cycle spinning: the mean of the output images of slightly shifted inputs.

A transformer generates an image token by token, and a small one treats the border of a token a
little differently from its middle, which shows as a grid. In an input that is shifted by half a
token the borders lie where the middles were; the mean of several such outputs, shifted back, has
no grid, and a smaller error than each of them.

Source: R. R. Coifman, D. L. Donoho, "Translation-invariant de-noising", 1995.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Offset = tuple[int, int]  # pixels, down and right: position of the shifted image's corner
NO_SHIFT: Offset = (0, 0)

# The weight of a shifted output falls to 0 over so many pixels at its border, so that the mean has
# no edge there.
_FADE = 4


def check(count: int, token: int) -> None:
    """Raise ValueError for more shifts than a token has pixels, `token` along a side."""
    if count > token:
        raise ValueError(
            f'tta_shifts is {count}; a token of this model is {token} pixels wide, and there '
            'are no more shifts than that'
        )


def offsets(count: int, token: int) -> list[Offset]:
    """Offsets of the shifted inputs, along the falling diagonal, starting with no shift.

    Along each axis they are spread evenly over a token, so that few are enough.

    Args:
        count: N, from 1 to `token`.
        token: width, pixels.

    Returns:
        N different offsets, none longer than half a token along an axis.
    """
    steps = [round(number * token / count) for number in range(count)]
    half = token // 2
    return [(-_wrapped(step, half, token), _wrapped(step, half, token)) for step in steps]


def _wrapped(step: int, half: int, token: int) -> int:
    return step - token if step > half else step


def shift(image: NDArray[np.uint8], offset: Offset) -> NDArray[np.uint8]:
    """Shift an image; beyond its border it is mirrored.

    Args:
        image: (S, S, 3) uint8.
        offset: see `Offset`; shorter than S.

    Returns:
        (S, S, 3) uint8.
    """
    if offset == NO_SHIFT:
        return image
    down, right = offset
    size = image.shape[0]
    margin = max(abs(down), abs(right))
    wide = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    return np.asarray(wide[margin + down :, margin + right :][:size, :size], np.uint8)


def shift_points(
    points: Sequence[tuple[float, float]], offset: Offset, size: int
) -> list[tuple[float, float]] | None:
    """Points in the shifted image; None if one lies outside of it.

    Args:
        points: (x, y) in [0, 1], shares of the image's side.
        offset: see `Offset`.
        size: S, pixels.
    """
    if offset == NO_SHIFT:
        return list(points)
    down, right = offset
    moved = [(x - right / size, y - down / size) for x, y in points]
    return moved if all(0 <= share < 1 for point in moved for share in point) else None


def blend(outputs: Sequence[NDArray[np.float32]], shifts: Sequence[Offset]) -> NDArray[np.float32]:
    """Shift output images back and take their weighted mean.

    Args:
        outputs: N images, (S, S, 3) float32.
        shifts: N offsets of their inputs, NO_SHIFT among them.

    Returns:
        (S, S, 3) float32; the image itself if it is the only one.
    """
    if len(outputs) == 1:
        return outputs[0]
    size = outputs[0].shape[0]
    total = np.zeros_like(outputs[0])
    weights = np.zeros((size, size, 1), np.float32)
    for output, (down, right) in zip(outputs, shifts, strict=True):
        rows, columns = _overlap(down, size), _overlap(right, size)
        weight = np.outer(_weights(down, size), _weights(right, size))[rows, columns, None]
        own = output[_overlap(-down, size), _overlap(-right, size)]
        total[rows, columns] += weight * own
        weights[rows, columns] += weight
    return total / weights


def _overlap(offset: int, size: int) -> slice:
    """Rows of the image that are also in the shifted one."""
    return slice(max(offset, 0), size + min(offset, 0))


def _weights(offset: int, size: int) -> NDArray[np.float32]:
    """(S,) weights of the rows of a shifted output, by their position in the image itself."""
    if not offset:
        return np.ones(size, np.float32)
    centres = np.arange(size, dtype=np.float32) + 0.5
    inside = centres - offset if offset > 0 else size + offset - centres
    return np.clip(inside / _FADE, 0, 1)
