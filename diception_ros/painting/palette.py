# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Colours for instances: far from black and from one another, and told by what can be seen.

Black means background. The official model was trained on random colours, and `colours` reads any.
What we paint for training is not random: red grows with x, green with y, blue with smallness of
the instance, so that a model can learn the colour of a thing from its place within few steps, and
the same label always gives the same picture. The wish is then moved to a lattice of colours, one
for each instance, so that two instances at one place still differ clearly.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

# Four values per channel are 1/3 apart: above six times the noise sigma 0.05 that a picture may
# carry. 56 of the 64 colours are left when the dark ones are taken out; more instances than that
# get a finer lattice (98 colours 1/4 apart, 189 colours 1/5 apart, ...).
LEVELS = 4

# The brightest channel of each colour is at least this. `colours` calls 0.15 black, and the
# blurred rim of an instance against black passes through all darker versions of its colour.
BRIGHT = 0.6


def lattice(count: int) -> NDArray[np.float32]:
    """At least `count` colours, evenly spaced and none of them dark.

    Args:
        count: how many are needed.

    Returns:
        (K, 3) float32 in [0, 1] RGB, K >= count: all colours of a cubic lattice whose brightest
        channel reaches `BRIGHT`; the coarsest such lattice from `LEVELS` on.
    """
    for levels in itertools.count(LEVELS):
        steps = np.arange(levels, dtype=np.float32) / np.float32(levels - 1)
        cube = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), axis=-1).reshape(-1, 3)
        colours: NDArray[np.float32] = cube[cube.max(axis=1) >= BRIGHT]
        if len(colours) >= count:
            break
    return colours


def paint(ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Paint instances on black, each in a colour that follows from its place and size.

    The colour wished for is red = x and green = y of the centroid as fractions of the picture,
    blue = 1 - 2 * sqrt(area / picture), at least 0. Of all ways to give each instance a colour of
    its own from `lattice`, the one with the least sum of squared distances to the wishes is taken.
    Which number an instance bears in `ids` plays no part.

    Args:
        ids: (H, W) int32, 0 = background, 1..N the instances; numbers may be left out.

    Returns:
        (H, W, 3) float32 in [0, 1], RGB.
    """
    height, width = ids.shape
    areas = np.bincount(ids.ravel())
    areas[0] = 0
    present = np.flatnonzero(areas)
    rows, columns = np.nonzero(ids)
    of = ids[rows, columns]
    y = np.bincount(of, rows + 0.5, len(areas))[present] / areas[present] / height
    x = np.bincount(of, columns + 0.5, len(areas))[present] / areas[present] / width
    share = areas[present] / (height * width)
    wish = np.stack([x, y, np.maximum(0, 1 - 2 * np.sqrt(share))], axis=1)

    # In an order that can be seen too, because the solver settles ties by it.
    order = np.lexsort((x, y, share))
    colours = lattice(len(present))
    distances = ((wish[order, None] - colours[None]) ** 2).sum(axis=2)
    chosen = linear_sum_assignment(distances)[1]
    table = np.zeros((len(areas), 3), np.float32)
    table[present[order]] = colours[chosen]
    out: NDArray[np.float32] = table[ids]
    return out
