# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Outlines and run lengths as pixels.

Labelling tools put the corner of the first pixel at (0, 0), so that its centre is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]


def polygon(points: NDArray[np.float64], size: Size) -> NDArray[np.bool_]:
    """The pixels whose centres lie in a polygon, by the even-odd rule.

    Of two polygons that share an edge, a pixel belongs to one and not to both.

    Args:
        points: (N, 2) float64 x, y, pixels from the picture's corner; need not lie inside it.
        size: (H, W), pixels.

    Returns:
        (H, W) bool.
    """
    height, width = size
    crossed = np.zeros((height, width + 1), np.bool_)
    # Centres at whole numbers, as everywhere in this package.
    places = (points - 0.5).tolist()
    for one, other in zip(places, [*places[1:], places[0]], strict=True):
        # From the upper end, so that both owners of an edge compute the same crossings.
        (x0, y0), (x1, y1) = sorted((one, other), key=lambda place: place[::-1])
        rows = np.arange(max(int(np.ceil(y0)), 0), min(int(np.ceil(y1)), height))
        if not rows.size:
            continue
        x = x0 + (rows - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(x), 0, width).astype(np.intp)
        crossed[rows, columns] ^= True
    inside: NDArray[np.bool_] = np.logical_xor.accumulate(crossed, axis=1)[:, :width]
    return inside


def circle(centre: Sequence[float], rim: Sequence[float], size: Size) -> NDArray[np.bool_]:
    """The pixels whose centres lie in a circle through `rim`; points as in `polygon`."""
    (cx, cy), (rx, ry) = centre, rim
    rows, columns = np.ogrid[: size[0], : size[1]]
    square = (columns + 0.5 - cx) ** 2 + (rows + 0.5 - cy) ** 2
    inside: NDArray[np.bool_] = square <= (rx - cx) ** 2 + (ry - cy) ** 2
    return inside


def run_lengths(counts: Any, size: Size) -> NDArray[np.bool_]:
    """The pixels of COCO's run lengths.

    Args:
        counts: whole numbers, or a text that packs them: how many pixels are outside, inside,
            outside, ... going down the columns from left to right.
        size: (H, W), pixels.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: they are no run lengths of a picture of this size.
    """
    runs = unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError('expected run lengths, whole numbers >= 0 or a text that packs them')
    if sum(runs) != size[0] * size[1]:
        raise ValueError(
            f'expected run lengths of {size[0] * size[1]} pixels ({size[1]} x {size[0]}), came '
            f'{sum(runs)}'
        )
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(size[1], size[0]).T)


def unpacked(text: str) -> list[int]:
    """The run lengths that COCO packs as text.

    Each character holds five bits, the lowest first, and in the sixth whether more follow; the
    last one's fifth bit is the sign. From the fourth on, differences to the one before the last.

    Source: `rleFrString` of the COCO API.

    Raises:
        ValueError: it is no such text.
    """
    runs: list[int] = []
    value, bits = 0, 0
    for letter in text:
        part = ord(letter) - 48
        # A run of 100 million pixels needs six letters.
        if not 0 <= part < 64 or bits > 60:
            raise ValueError(f'expected packed run lengths, came the character {letter!r}')
        value |= (part & 31) << bits
        bits += 5
        if part & 32:
            continue
        if part & 16:
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, bits = 0, 0
    if bits:
        raise ValueError('expected packed run lengths, came a text that is cut off')
    return runs
