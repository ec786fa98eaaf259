# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Encodes instances as an image, one colour each on black, and decodes such images.

The model draws each instance in a colour that it chooses, and not evenly: an image of 64 colours
has 200 000 after the image decoder. `decode_instances` takes these steps, without settings per
image:

1. Mode seeking: pixels in flat surroundings vote in a colour histogram; its peaks are the colours
   of the instances. Peaks without a valley between them are merged.
2. Every pixel gets the nearest of these colours. A connected region of one colour, eroded, is a
   core. The mixed colours at the border of two instances have no core, or one with a gradient.
3. Adjacent cores are merged if their colours are close or there is no step between them (the
   network's colour drifted). Then all cores of one colour are one instance, however far apart: an
   instance behind a post has one colour on both sides. Two separate instances of one colour are
   decoded as one, since nothing in the image distinguishes the two cases.
4. Each pixel outside of cores is assigned, by its colour, to one of the instances beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
import itertools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Whole = NDArray[np.int32]
Floats = NDArray[np.float32]

# Colours of instances: far from black and from each other, and predictable from the image.
#
# Black is background. The official model was trained on random colours, and `decode_instances`
# decodes any. Training images here are deterministic: red grows with x, green with y, blue as the
# instance gets smaller, so that a model learns the colour of an instance from its position within
# few steps, and a label always gives the same image. Each colour is then moved to a colour of a
# lattice, a different one for each instance, so that instances at one position differ clearly.


# Four values per channel are 1/3 apart: above six times the noise sigma 0.05 that an image may
# carry. 56 of the 64 colours are left when the dark ones are taken out; more instances than that
# get a finer lattice (98 colours 1/4 apart, 189 colours 1/5 apart, ...).
MIN_LATTICE_LEVELS = 4

# The brightest channel of each colour is at least this. `decode_instances` takes 0.15 for black,
# and the blurred rim of an instance on black has all darker versions of its colour.
MIN_BRIGHTNESS = 0.6


def lattice(count: int) -> NDArray[np.float32]:
    """At least `count` colours, evenly spaced and none of them dark: (K, 3) float32 in [0, 1] RGB.

    All colours of a cubic lattice whose brightest channel reaches `MIN_BRIGHTNESS`; the coarsest
    such lattice from `MIN_LATTICE_LEVELS` on.
    """
    for levels in itertools.count(MIN_LATTICE_LEVELS):
        steps = np.arange(levels, dtype=np.float32) / np.float32(levels - 1)
        cube = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), axis=-1).reshape(-1, 3)
        colors: NDArray[np.float32] = cube[cube.max(axis=1) >= MIN_BRIGHTNESS]
        if len(colors) >= count:
            break
    return colors


def encode_instances(ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Draw instances on black, each in a colour that depends on its position and size.

    The target colour is red = x and green = y of the centroid as fractions of the image,
    blue = 1 - 2 * sqrt(area / image), at least 0. Each instance gets a different colour of
    `lattice`, by the assignment with the smallest sum of squared distances to the target colours.
    The numbers in `ids` do not matter.

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
    target = np.stack([x, y, np.maximum(0, 1 - 2 * np.sqrt(share))], axis=1)

    # In an order that does not depend on the numbers either: the solver breaks ties by it.
    order = np.lexsort((x, y, share))
    colors = lattice(len(present))
    distances = ((target[order, None] - colors[None]) ** 2).sum(axis=2)
    from scipy.optimize import linear_sum_assignment

    chosen = linear_sum_assignment(distances)[1]
    table = np.zeros((len(areas), 3), np.float32)
    table[present[order]] = colors[chosen]
    out: NDArray[np.float32] = table[ids]
    return out


# Mode seeking in a histogram of a noisy image: the colours that the network meant.
#
# VOTE_BLUR_SIGMA and PASS_RATIO were chosen by a sweep over 20 and 45 instances at 768 pixels, and
# 25 of random colours, through a simulated image decoder (bench/decode.py); the rest by eye.

# Histogram cells per channel (so a cell is 8/255 wide), and the blur of the votes in cells. With
# 1.5 cells, random colours 0.15 apart ran into one hill.
HISTOGRAM_CELLS = 32
VOTE_BLUR_SIGMA = 1.0
# Two hills are one where the pass between them reaches this part of the lower one's top.
PASS_RATIO = 0.7
# Brightest channel of what counts as black.
BLACK_LEVEL = 0.15
# Largest difference of a channel among a pixel and its four neighbours that counts as flat.
FLAT_STEP = 0.16
# A pixel farther than this from every mode (a length in RGB) has none: the specks on near-black.
MAX_MODE_DISTANCE = 0.5
# Smallest instance, as a part of the image: 30 pixels of 768 x 768.
MIN_INSTANCE_SHARE = 5e-5


def find_color_modes(smooth: Bytes, rough: Bytes) -> Floats:
    """The colours that were meant: (K, 3) float32 in [0, 255] RGB, without black.

    Args:
        smooth: (H, W, 3) uint8 RGB, the image without the noise of single pixels.
        rough: (H, W) uint8, largest difference of a channel to a neighbour.
    """
    height, width = rough.shape
    # Averages over small blocks vote, so that the noise of single pixels does not widen the hills.
    block = max(1, round(min(height, width) / 256))
    size = (max(1, width // block), max(1, height // block))
    blocks = np.asarray(cv2.resize(smooth, size, interpolation=cv2.INTER_AREA), np.uint8)
    blocks = blocks.reshape(-1, 3)
    edges = cv2.resize(rough, size, interpolation=cv2.INTER_NEAREST).ravel()
    bright = np.maximum(np.maximum(blocks[:, 0], blocks[:, 1]), blocks[:, 2]) > BLACK_LEVEL * 255
    votes = blocks[(edges < FLAT_STEP * 255) & bright]
    least = max(4.0, MIN_INSTANCE_SHARE * len(blocks))

    cell = _cells(votes[:, 0], votes[:, 1], votes[:, 2])
    counts = (
        np.bincount(cell, minlength=HISTOGRAM_CELLS**3)
        .astype(np.float32)
        .reshape((HISTOGRAM_CELLS,) * 3)
    )
    # Imported where they are used, as below: a node of other tasks starts a second earlier.
    from scipy import ndimage
    from skimage.segmentation import watershed

    heights = ndimage.gaussian_filter(counts, VOTE_BLUR_SIGMA, mode='constant', truncate=3)
    # A single vote blurred by one cell has the top 0.06; what is far below belongs to no hill.
    hills = watershed(-heights, mask=heights > 0.04 * least)  # type: ignore[no-untyped-call]
    hill = _without_passes(hills, heights)[hills.ravel()[cell]]
    members = np.bincount(hill, minlength=1)
    sums = np.stack([np.bincount(hill, votes[:, c]) for c in range(3)], axis=1)
    modes = np.flatnonzero(members >= least)
    modes = modes[modes > 0]
    out: Floats = (sums[modes] / members[modes, None]).astype(np.float32)
    return out


def smallest_type(count: int) -> type[np.uint8] | type[np.uint16]:
    """For numbers below `count`, one more being left over."""
    return np.uint8 if count < np.iinfo(np.uint8).max else np.uint16


def nearest_to(
    channels: tuple[Bytes, Bytes, Bytes], modes: Floats
) -> NDArray[np.uint8 | np.uint16]:
    """The nearest mode of each pixel: (H, W), 0 unknown, 1 black, k + 2 the k-th mode.

    Args:
        channels: red, green and blue, each (H, W) uint8.
        modes: (K, 3) float32 in [0, 255] RGB.
    """
    cells = _cells(*channels)
    # A colour that every second pixel of every second line misses is rare: it stays unknown.
    step = max(1, min(cells.shape) // 384)
    used = np.flatnonzero(np.bincount(cells[::step, ::step].ravel(), minlength=HISTOGRAM_CELLS**3))
    middle = (
        np.stack(np.unravel_index(used, (HISTOGRAM_CELLS,) * 3), axis=1).astype(np.float32) + 0.5
    )
    middle *= 256 // HISTOGRAM_CELLS
    targets = np.concatenate([np.zeros((1, 3), np.float32), modes])
    squares = (targets**2).sum(axis=1)[:, None] - 2 * targets @ middle.T
    nearest = squares.argmin(axis=0) + 1
    # What is like nothing that was meant is not black either.
    nearest[squares.min(axis=0) + (middle**2).sum(axis=1) > (MAX_MODE_DISTANCE * 255) ** 2] = 0
    nearest[middle.max(axis=1) <= BLACK_LEVEL * 255] = 1
    table = np.zeros(HISTOGRAM_CELLS**3, smallest_type(len(targets) + 1))
    table[used] = nearest
    return np.take(table, cells)


def _cells(red: Bytes, green: Bytes, blue: Bytes) -> NDArray[np.uint16]:
    """Number of the histogram cell of each colour (...): (...) uint16."""
    # HISTOGRAM_CELLS is 2**5: five bits of each channel, in steps that make no copies in wide
    # integers.
    cells: NDArray[np.uint16] = (red & np.uint8(0xF8)).astype(np.uint16)
    cells <<= np.uint16(5)
    cells |= green & np.uint8(0xF8)
    cells <<= np.uint16(2)
    cells |= blue >> np.uint8(3)
    return cells


def _without_passes(hills: Whole, heights: Floats) -> NDArray[np.int64]:
    """(K + 1,) int64, the hill that each is a part of after those with a high pass were joined.

    Args:
        hills: (C, C, C) int32, 0 = flat land, 1..K.
        heights: (C, C, C) float32 >= 0, votes per cell.
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
        if low != high and highest[k] >= PASS_RATIO * tops[low]:
            parent[low] = high
    return np.array([root(k) for k in range(count)])


# Labels and owners: uint8 as long as 255 are enough, which makes every pass over them cheaper.
Few = NDArray[np.uint8 | np.uint16]

# TOUCHING_MERGE_DISTANCE was chosen by a sweep like those of the mode seeking above, FILL_WINDOWS
# by one over 64 to 768 pixels and channels like those of bench/decode.py; the rest by eye on those
# images. Distances between colours are lengths in RGB, [0, 1] per channel.

# Cores that do not touch are one instance where their colours are nearer than this, ...
MERGE_DISTANCE = 0.08
# ... those that touch where they are nearer than this, ...
TOUCHING_MERGE_DISTANCE = 0.15
# ... or where they are nearer than this, and the step across their border is below this part of
# the difference of their means. The colours that `encode_instances` chooses are 0.33 apart.
DRIFT_MERGE_DISTANCE, MAX_BORDER_STEP = 0.3, 0.5
# A core of less than this part of the image whose colour is nearer than this to a larger one
# that it touches is a fluctuation within it.
SPECK_SHARE, SPECK_DISTANCE = 3e-4, 0.28
# A pixel farther in colour than this from all instances beside it looks around more widely.
MAX_FILL_DISTANCE = 0.25
FILL_WINDOWS = (3, 5, 3, 11)
# Then rings of one pixel each grow inward. Two do for blurred edges; more only save the slower
# search for what is nearest.
FILL_RINGS = 8
# Smallest instance in pixels, which matters for the scores in small images; as a part of the
# image it is `MIN_INSTANCE_SHARE`.
MIN_INSTANCE_PIXELS = 4
# Spread of the colours within an instance (standard deviation) at which its score has fallen to
# 1/e.
SCORE_SPREAD = 0.15


@dataclass(frozen=True)
class _OutputImage:
    """The image in bytes, and what is read off each pixel once.

    Attributes:
        raw: (H, W, 3) uint8 RGB, as drawn.
        smooth: (H, W, 3) uint8 RGB, after the median filter.
        channels: the three channels of `smooth`, each (H, W) uint8.
        rough: (H, W) uint8, largest difference of a channel to a neighbour, in `smooth`.
    """

    raw: Bytes
    smooth: Bytes
    channels: tuple[Bytes, Bytes, Bytes]
    rough: Bytes


@dataclass(frozen=True)
class _Cores:
    """Connected pixels of one colour without their rim; row 0 stands for all other pixels.

    Attributes:
        index: (H, W) int32, 0 = outside of cores, 1..C the cores.
        areas: (C + 1,) int64, pixels.
        black: (C + 1,) bool, the core is background.
        colors: (C + 1, 3) float64 in [0, 255], RGB, mean of each core.
        good: (C + 1,) bool, large and flat enough to be one.
    """

    index: Whole
    areas: NDArray[np.int64]
    black: NDArray[np.bool_]
    colors: NDArray[np.float64]
    good: NDArray[np.bool_]


def decode_instances(rgb: Floats) -> tuple[Whole, Floats]:
    """Read the instances off an output image; the module's text says how.

    Args:
        rgb: (H, W, 3) float32 RGB, finite, nominally in [0, 1]; what lies outside counts as
            0 or 1.

    Returns:
        (H, W) int32 ids, 0 = background, 1..N in the order of falling scores; and (N,) float32
        scores in [0, 1]: exp(-(spread / SCORE_SPREAD)^2) * area / (area + 4 smallest areas), where
        the spread is that of the colours around their mean, away from the rim.
    """
    image = _prepare(rgb)
    meant = find_color_modes(image.smooth, image.rough)
    if not len(meant):
        return np.zeros(rgb.shape[:2], np.int32), np.zeros(0, np.float32)
    labels = nearest_to(image.channels, meant)
    cores = _cores(image, labels)
    owner, colors = _join(image, cores)
    instances = _fill(image, _look_up(owner, cores.index), colors)
    areas = _areas(instances, len(colors))
    small = areas < max(MIN_INSTANCE_PIXELS, MIN_INSTANCE_SHARE * instances.size)
    small[:2] = False
    if areas[small].any():
        # What surrounds a speck takes its pixels, so that it leaves no hole.
        left = np.where(small, 0, np.arange(len(small))).astype(instances.dtype)
        instances = _fill(image, _look_up(left, instances), colors)
        areas = _areas(instances, len(colors))
    return _number(image, instances, colors, areas)


def _look_up(table: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    """table[index]: (n,) of any type at (H, W) of whole numbers; OpenCV is faster if n <= 256."""
    if len(table) > 256:
        return np.take(table, index)
    whole = np.zeros(256, table.dtype)
    whole[: len(table)] = table
    return np.asarray(cv2.LUT(index.astype(np.uint8, copy=False), whole))


def _areas(owner: Few, count: int) -> Floats:
    """Pixels of each of `count` owners; faster than numpy's bincount."""
    return np.asarray(cv2.calcHist([owner], [0], None, [count], [0, count]), np.float32).ravel()


def _prepare(rgb: Floats) -> _OutputImage:
    # A weighted sum of one image: OpenCV's fastest conversion that saturates at both ends.
    raw = np.asarray(cv2.addWeighted(rgb, 255, rgb, 0, 0, dtype=cv2.CV_8U), np.uint8)
    smooth = np.asarray(cv2.medianBlur(raw, 3), np.uint8)
    red, green, blue = (np.asarray(channel, np.uint8) for channel in cv2.split(smooth))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    steps = [cv2.morphologyEx(c, cv2.MORPH_GRADIENT, cross) for c in (red, green, blue)]
    rough = np.asarray(cv2.max(cv2.max(steps[0], steps[1]), steps[2]), np.uint8)
    return _OutputImage(raw, smooth, (red, green, blue), rough)


def _cores(image: _OutputImage, labels: Few) -> _Cores:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = cv2.erode(labels, cross) == cv2.dilate(labels, cross)
    # Cores of two labels are never neighbours, not even at a corner: each lost its rim.
    count, index = cv2.connectedComponents(inside.view(np.uint8))
    # A sample of the pixels is enough for areas and means, and much faster.
    step = max(1, min(labels.shape) // 256)
    some = index[::step, ::step].ravel().astype(np.intp)
    samples = np.bincount(some, minlength=count)
    areas = samples * step**2
    flat = np.bincount(some, image.rough[::step, ::step].ravel() < FLAT_STEP * 255, count)
    colors = (
        np.stack(
            [np.bincount(some, image.smooth[::step, ::step, c].ravel(), count) for c in range(3)],
            axis=1,
        )
        / np.maximum(samples, 1)[:, None]
    )
    label = np.zeros(count, np.uint16)
    label[some] = labels[::step, ::step].ravel()
    least = max(1.0, 0.3 * MIN_INSTANCE_SHARE * labels.size)
    good = (samples > 0) & (label > 0) & (areas >= least) & (flat >= 0.3 * samples)
    good[0] = False
    return _Cores(index, areas, label == 1, colors, good)


def _join(image: _OutputImage, cores: _Cores) -> tuple[Few, Floats]:
    """Say which cores are one instance.

    Returns:
        (C + 1,) uint8 or uint16, 0 = none, 1 = black, k + 2 = the k-th instance; and (N + 2, 3)
        float32 in [0, 255] RGB, the colours of those.
    """
    count = len(cores.areas)
    a, b, step = _borders(image, cores)
    apart = np.linalg.norm(cores.colors[a] - cores.colors[b], axis=1) / 255
    smaller = np.where(cores.areas[a] < cores.areas[b], a, b)
    little = cores.areas[smaller] < SPECK_SHARE * cores.index.size
    # It is dropped, not joined: a speck of a mixed colour would join the two that it lies between.
    good = cores.good.copy()
    good[smaller[little & (apart < SPECK_DISTANCE)]] = False
    one = (apart < TOUCHING_MERGE_DISTANCE) | (apart < DRIFT_MERGE_DISTANCE) & (
        step < MAX_BORDER_STEP
    )
    one &= good[a] & good[b]
    one &= ~cores.black[a] & ~cores.black[b]
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(one.sum()), (a[one], b[one])), (count, count))
    group = connected_components(links, directed=False)[1]

    colorful = np.flatnonzero(good & ~cores.black)
    # An instance that is too small is dropped here, so that what surrounds it takes its pixels.
    together = np.bincount(group[colorful], cores.areas[colorful], count)
    colorful = colorful[together[group[colorful]] >= 0.3 * MIN_INSTANCE_SHARE * cores.index.size]
    used, of = np.unique(group[colorful], return_inverse=True)
    areas = cores.areas[colorful]
    means = _means(of, areas, cores.colors[colorful], len(used))
    same = np.ones(len(used), np.int64)
    if len(used) > 1:
        same = fcluster(linkage(means, 'average'), MERGE_DISTANCE * 255, 'distance').astype(
            np.int64
        )
    owner = np.zeros(count, smallest_type(int(same.max(initial=0)) + 2))
    owner[good & cores.black] = 1
    owner[colorful] = same[of] + 1
    colors = np.zeros((int(same.max(initial=0)) + 2, 3), np.float32)
    colors[2:] = _means(same[of] - 1, areas, cores.colors[colorful], len(colors) - 2)
    return owner, colors


def _means(
    of: NDArray[np.int64], weights: NDArray[np.int64], colors: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Weighted means of the colours (n, 3) of each of `count` groups: (count, 3)."""
    sums = [np.bincount(of, weights * colors[:, c], count) for c in range(3)]
    return np.stack(sums, axis=1) / np.bincount(of, weights, count)[:, None]


def _borders(
    image: _OutputImage, cores: _Cores
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Which good cores touch, and how steep the colours are where they do.

    Returns:
        (B,) int64 and (B,) int64, the two cores of each border; and (B,) float64, the step of
        colour within a few pixels across, as a part of the difference of the two means: about 1
        for two evenly drawn instances, near 0 in the middle of a gradient.
    """
    count = len(cores.areas)
    # Two pixels of rim, two of a blurred edge, and the pixel itself.
    reach = 5
    # Some of the lines across are enough.
    every = max(1, min(cores.index.shape) // 192)
    keys, steps = [], []
    for axis in (0, 1):
        index, smooth = np.moveaxis(cores.index, axis, 0), np.moveaxis(image.smooth, axis, 0)
        here = index[:-reach, ::every], index[reach:, ::every]
        at = np.nonzero((here[0] != here[1]) & (here[0] > 0) & (here[1] > 0))
        a, b = here[0][at], here[1][at]
        both_good = cores.good[a] & cores.good[b]
        at, a, b = (at[0][both_good], at[1][both_good]), a[both_good], b[both_good]
        change = smooth[reach:, ::every][at].astype(np.float64)
        change -= smooth[:-reach, ::every][at]
        apart = cores.colors[b] - cores.colors[a]
        steps.append(np.einsum('ij,ij->i', change, apart) / np.maximum(_square(apart), 1))
        keys.append(np.minimum(a, b).astype(np.int64) * count + np.maximum(a, b))
    pairs, of = np.unique(np.concatenate(keys), return_inverse=True)
    mean = np.bincount(of, np.concatenate(steps), len(pairs)) / np.bincount(of, None, len(pairs))
    return pairs // count, pairs % count, mean


def _fill(image: _OutputImage, owner: Few, colors: Floats) -> Few:
    """Let the pixels that no core covers choose; owners as given, nothing unknown.

    Args:
        image: where their colours are.
        owner: (H, W) uint8 or uint16, 0 = not known, 1 = black, 2.. the instances.
        colors: (N + 2, 3) float32 in [0, 255] RGB, what each is drawn in.
    """
    unknown = owner == 0
    at = np.flatnonzero(unknown)
    # Unknown is the least in the one and the greatest in the other.
    out, hidden = owner.copy(), owner.copy()
    hidden[unknown] = np.iinfo(owner.dtype).max
    painted = image.raw.reshape(-1, 3)[at].astype(np.float32)
    # The least and the greatest owner in a window: where more than two meet these are not all, but
    # nearly always. The later windows are for pixels that look like neither.
    # What is like nothing around (the middle of a blurred edge, a sliver of something small) then
    # goes to what lies beside it, one ring after another.
    for reach, likely in (
        *((reach, MAX_FILL_DISTANCE) for reach in FILL_WINDOWS),
        *((3, np.inf),) * FILL_RINGS,
    ):
        if not len(at):
            return out
        window = np.ones((reach, reach), np.uint8)
        one = np.asarray(cv2.dilate(out, window)).ravel()[at]
        other = np.asarray(cv2.erode(hidden, window)).ravel()[at]
        other[one == 0] = 0
        to_one, to_other = _square(painted - colors[one]), _square(painted - colors[other])
        nearer = np.where(to_other < to_one, other, one)
        sure = (np.minimum(to_one, to_other) < (likely * 255) ** 2) & (nearer > 0)
        out.ravel()[at[sure]] = hidden.ravel()[at[sure]] = nearer[sure]
        at, painted = at[~sure], painted[~sure]
    if len(at):
        # The nearest known pixel decides; it has a number by its place among the known.
        _, of = cv2.distanceTransformWithLabels(
            (out == 0).view(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
        )
        known = out.ravel()[np.flatnonzero(out)]
        out.ravel()[at] = known[of.ravel()[at] - 1] if len(known) else 1
    return out


def _square(colors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Squared lengths of colours (n, 3); a sum along so short an axis would be slow."""
    out: NDArray[np.floating] = np.einsum('ij,ij->i', colors, colors)
    return out


def _number(
    image: _OutputImage, owner: Few, colors: Floats, areas: Floats
) -> tuple[Whole, Floats]:
    """Drop what is too small, score the rest, and number it by falling score."""
    count = len(colors)
    smallest = max(MIN_INSTANCE_PIXELS, MIN_INSTANCE_SHARE * owner.size)
    step = max(1, min(owner.shape) // 192)
    some = owner[::step, ::step].ravel().astype(np.intp)
    # On the rim the colour is a mixture whatever the network meant.
    some = np.where(image.rough[::step, ::step].ravel() < FLAT_STEP * 255, some, 0)
    off = image.smooth[::step, ::step].reshape(-1, 3) - colors[some]
    samples = np.bincount(some, minlength=count)
    variance = np.bincount(some, _square(off), count) / 3 / np.maximum(samples, 1) / 255**2
    # An instance that is all rim could be anything.
    variance[samples == 0] = SCORE_SPREAD**2
    scores = np.exp(-variance / SCORE_SPREAD**2) * areas / (areas + 4 * smallest)
    scores[:2] = 0
    order = np.argsort(-scores, kind='stable')
    order = order[(areas[order] >= smallest) & (order >= 2)]
    number = np.zeros(count, np.int32)
    number[order] = np.arange(1, len(order) + 1)
    return _look_up(number, owner), scores[order].astype(np.float32)
