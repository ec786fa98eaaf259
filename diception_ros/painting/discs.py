# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The red discs of a painted picture, which are people's joints.

Redness min(R, 1 - G, 1 - B) has a blob wherever discs are; a blob that is not round is taken apart
into the discs that cover it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.painting.skeleton import limits

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Vectors = NDArray[np.float64]

# RED_ENOUGH, ROUND and FILLS were chosen by sweeps over 1 to 4 random people at 768 and 256
# pixels, clean and through blur and noise; OWN_PART by eye.

# A pixel of at least this redness is part of a disc.
RED_ENOUGH = 0.45
# And somewhere in a disc red is ahead of green and blue by this much, which it is in no grey.
# The least through JPEG and blur at 128 and 256 pixels was 0.27.
AHEAD = 0.25
# A blob is one disc where the sides of its box differ by less than this part, plus one pixel, and
# where it fills this part of its box (a disc fills 0.785).
ROUND, FILLS = 0.12, 0.74
# A disc in a blob must cover this part of itself that no other disc of the blob covers.
OWN_PART = 0.2


@dataclass(frozen=True)
class Discs:
    """Red discs.

    Attributes:
        centres: (M, 2) float64, x right, y down, pixels.
        radii: (M,) float64, pixels.
        clear: (M,) float64 in [0, 1], by how much red is ahead of green and blue where it is most.
    """

    centres: Vectors
    radii: Vectors
    clear: Vectors


def find_discs(picture: Bytes) -> Discs:
    """Find the discs, those that overlap each by itself.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    redness, ahead = (cv2.GaussianBlur(each, (3, 3), 0) for each in _redness(picture))
    level = RED_ENOUGH * 255
    count, index, stats, _ = cv2.connectedComponentsWithStats(
        cv2.threshold(redness, level, 1, cv2.THRESH_BINARY)[1]
    )
    smallest, largest = limits(min(redness.shape))
    centres: list[tuple[float, float]] = []
    radii: list[float] = []
    clear: list[float] = []
    for k in range(1, count):
        left, top, width, height, area = stats[k].tolist()
        # Blur eats the smallest discs; what is much larger than the largest is no disc.
        if area < 0.5 * np.pi * smallest**2 or min(width, height) > 8 * largest:
            continue
        rows = slice(max(0, top - 2), top + height + 2)
        columns = slice(max(0, left - 2), left + width + 2)
        patch = redness[rows, columns].astype(np.float32) / np.float32(255)
        # The soft rim of this blob, not its neighbours.
        mine = index[rows, columns]
        most = float(ahead[rows, columns][mine == k].max()) / 255
        if most < AHEAD:
            continue
        patch[(mine != 0) & (mine != k)] = 0
        even = abs(width - height) <= ROUND * max(width, height) + 1
        if even and area >= FILLS * width * height:
            found = [_centroid(patch)]
        else:
            found = _take_apart(patch)
            if len(found) == 1:
                found = [_centroid(patch)]
        for x, y, radius in found:
            centres.append((x + columns.start, y + rows.start))
            radii.append(radius)
            clear.append(most)
    return Discs(
        np.array(centres, np.float64).reshape(-1, 2),
        np.array(radii, np.float64),
        np.array(clear, np.float64),
    )


def _redness(picture: Bytes) -> tuple[Bytes, Bytes]:
    """Redness, and by how much red is ahead of green and blue, both (H, W) uint8."""
    red, green, blue = cv2.split(picture)
    most = cv2.max(green, blue)
    redness = cv2.min(red, cv2.bitwise_not(most))
    return np.asarray(redness, np.uint8), np.asarray(cv2.subtract(red, most), np.uint8)


def _centroid(patch: Floats) -> tuple[float, float, float]:
    """Centre and radius of the disc in a patch of redness (h, w) float32 in [0, 1]."""
    # Below a tenth it is noise; the sum of redness is the area whatever the blur.
    weights = np.where(patch > 0.1, patch, 0)
    total = float(weights.sum())
    x = float(weights.sum(axis=0) @ np.arange(weights.shape[1])) / total
    y = float(weights.sum(axis=1) @ np.arange(weights.shape[0])) / total
    return x, y, float(np.sqrt(total / np.pi))


def _take_apart(patch: Floats) -> list[tuple[float, float, float]]:
    """Centres and radii of the discs whose union is the patch, (h, w) float32 in [0, 1]."""
    zoom = 4
    large = cv2.resize(patch, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    inside = (large > RED_ENOUGH).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV 5 gives one or another last bit for the same input, by where it lies in memory; the
    # square is a whole number.
    depth = np.sqrt(np.rint(depth * depth))
    peak = (depth >= cv2.dilate(depth, np.ones((5, 5), np.uint8))) & (depth > zoom)
    rows, columns = np.nonzero(peak)
    left = inside.copy()
    found: list[tuple[float, float, float]] = []
    for k in np.argsort(-depth[peak], kind='stable'):
        x, y, radius = int(columns[k]), int(rows[k]), float(depth[rows[k], columns[k]])
        disc = np.zeros_like(inside)
        cv2.circle(disc, (x, y), round(radius), 1, -1)
        # Nothing smaller than half of the largest: what remains of a disc's rim is no disc.
        if found and radius < 0.5 * found[0][2] * zoom:
            break
        if (disc & left).sum() < OWN_PART * disc.sum():
            continue
        left[disc > 0] = 0
        found.append(((x + 0.5) / zoom - 0.5, (y + 0.5) / zoom - 0.5, radius / zoom))
    return found
