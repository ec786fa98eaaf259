# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The colours that a painter meant: mode seeking in a histogram of a noisy picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

Bytes = NDArray[np.uint8]
Whole = NDArray[np.int32]
Floats = NDArray[np.float32]

# SOFT and VALLEY were chosen by a sweep over 20 and 45 instances at 768 pixels, and 25 of random
# colours, through a simulated image decoder (`painter` in bench/decode.py); the rest by eye.

# Histogram cells per channel (so a cell is 8/255 wide), and the blur of the votes in cells. With
# 1.5 cells, random colours 0.15 apart ran into one hill.
CELLS = 32
SOFT = 1.0
# Two hills are one where the pass between them reaches this part of the lower one's top.
VALLEY = 0.7
# Brightest channel of what counts as black.
BLACK = 0.15
# Largest difference of a channel among a pixel and its four neighbours that counts as flat.
FLAT = 0.16
# A pixel farther than this from every mode (a length in RGB) has none: the specks on near-black.
STRANGE = 0.5
# Smallest instance, as a part of the picture: 30 pixels of 768 x 768.
SMALLEST = 5e-5


def find(smooth: Bytes, rough: Bytes) -> Floats:
    """The colours that were meant.

    Args:
        smooth: (H, W, 3) uint8 RGB, the picture without the noise of single pixels.
        rough: (H, W) uint8, largest difference of a channel to a neighbour.

    Returns:
        (K, 3) float32 in [0, 255] RGB; black is not among them.
    """
    height, width = rough.shape
    # Averages over small blocks vote, so that the noise of single pixels does not widen the hills.
    block = max(1, round(min(height, width) / 256))
    size = (max(1, width // block), max(1, height // block))
    blocks = np.asarray(cv2.resize(smooth, size, interpolation=cv2.INTER_AREA), np.uint8)
    blocks = blocks.reshape(-1, 3)
    edges = cv2.resize(rough, size, interpolation=cv2.INTER_NEAREST).ravel()
    bright = np.maximum(np.maximum(blocks[:, 0], blocks[:, 1]), blocks[:, 2]) > BLACK * 255
    votes = blocks[(edges < FLAT * 255) & bright]
    least = max(4.0, SMALLEST * len(blocks))

    cell = _cells(votes[:, 0], votes[:, 1], votes[:, 2])
    counts = np.bincount(cell, minlength=CELLS**3).astype(np.float32).reshape((CELLS,) * 3)
    heights = ndimage.gaussian_filter(counts, SOFT, mode='constant', truncate=3)
    # A single vote blurred by one cell has the top 0.06; what is far below belongs to no hill.
    hills = watershed(-heights, mask=heights > 0.04 * least)  # type: ignore[no-untyped-call]
    hill = _without_passes(hills, heights)[hills.ravel()[cell]]
    members = np.bincount(hill, minlength=1)
    sums = np.stack([np.bincount(hill, votes[:, c]) for c in range(3)], axis=1)
    kept = np.flatnonzero(members >= least)
    kept = kept[kept > 0]
    out: Floats = (sums[kept] / members[kept, None]).astype(np.float32)
    return out


def smallest_type(count: int) -> type[np.uint8] | type[np.uint16]:
    """For numbers below `count`, one more being left over."""
    return np.uint8 if count < np.iinfo(np.uint8).max else np.uint16


def nearest_to(
    channels: tuple[Bytes, Bytes, Bytes], modes: Floats
) -> NDArray[np.uint8 | np.uint16]:
    """The nearest mode of each pixel.

    Args:
        channels: red, green and blue, each (H, W) uint8.
        modes: (K, 3) float32 in [0, 255] RGB.

    Returns:
        (H, W) uint8 or uint16, 0 unknown, 1 black, k + 2 the k-th mode.
    """
    cells = _cells(*channels)
    # A colour that every second pixel of every second line misses is rare: it stays unknown.
    step = max(1, min(cells.shape) // 384)
    used = np.flatnonzero(np.bincount(cells[::step, ::step].ravel(), minlength=CELLS**3))
    middle = np.stack(np.unravel_index(used, (CELLS,) * 3), axis=1).astype(np.float32) + 0.5
    middle *= 256 // CELLS
    targets = np.concatenate([np.zeros((1, 3), np.float32), modes])
    squares = (targets**2).sum(axis=1)[:, None] - 2 * targets @ middle.T
    nearest = squares.argmin(axis=0) + 1
    # What is like nothing that was meant is not black either.
    nearest[squares.min(axis=0) + (middle**2).sum(axis=1) > (STRANGE * 255) ** 2] = 0
    nearest[middle.max(axis=1) <= BLACK * 255] = 1
    table = np.zeros(CELLS**3, smallest_type(len(targets) + 1))
    table[used] = nearest
    return np.take(table, cells)


def _cells(red: Bytes, green: Bytes, blue: Bytes) -> NDArray[np.uint16]:
    """Number of the histogram cell of each colour (...): (...) uint16."""
    # CELLS is 2**5: five bits of each channel, in steps that make no copies in wide integers.
    cells: NDArray[np.uint16] = (red & np.uint8(0xF8)).astype(np.uint16)
    cells <<= np.uint16(5)
    cells |= green & np.uint8(0xF8)
    cells <<= np.uint16(2)
    cells |= blue >> np.uint8(3)
    return cells


def _without_passes(hills: Whole, heights: Floats) -> NDArray[np.int64]:
    """Join hills between which the pass is high.

    Args:
        hills: (CELLS, CELLS, CELLS) int32, 0 = flat land, 1..K.
        heights: (CELLS, CELLS, CELLS) float32 >= 0, votes per cell.

    Returns:
        (K + 1,) int64, the hill that each hill is a part of.
    """
    count = int(hills.max()) + 1
    tops = np.zeros(count, np.float32)
    np.maximum.at(tops, hills.ravel(), heights.ravel())
    keys, passes = [], []
    for axis in range(3):
        a, b = np.moveaxis(hills, axis, 0)[:-1], np.moveaxis(hills, axis, 0)[1:]
        border = (a != b) & (a > 0) & (b > 0)
        level = np.moveaxis(heights, axis, 0)
        passes.append(np.minimum(level[:-1][border], level[1:][border]))
        a, b = a[border], b[border]
        keys.append(np.minimum(a, b).astype(np.int64) * count + np.maximum(a, b))
    pairs, of = np.unique(np.concatenate(keys), return_inverse=True)
    highest = np.zeros(len(pairs))
    np.maximum.at(highest, of, np.concatenate(passes))

    # The highest pass first: a hill that was joined stands for its higher partner from then on.
    parent = np.arange(count)

    def root(k: int) -> int:
        while parent[k] != k:
            k = int(parent[k])
        return k

    for k in np.argsort(-highest, kind='stable'):
        low, high = sorted((root(pairs[k] // count), root(pairs[k] % count)), key=tops.__getitem__)
        if low != high and highest[k] >= VALLEY * tops[low]:
            parent[low] = high
    return np.array([root(k) for k in range(count)])
