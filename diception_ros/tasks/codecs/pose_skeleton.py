# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Encodes keypoints as an image: red discs at the joints, on limbs in the colours of the joints.

Each of the 17 joints has a colour. A limb is a capsule, each half in the colour of its nearer
joint, so one visible limb identifies both its joints, left or right included. Discs are pure red.
`pose_decode` decodes such images.

Joints of visibility 0 and their limbs are not drawn. Occluded joints (visibility 1) are drawn like
visible ones, since COCO's annotators estimated where they are.
The released weights were trained with red discs as well; their limb colours are not known.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import COCO_LIMBS

Floats = NDArray[np.float32]

RED = (255, 0, 0)

# RGB bytes of each joint's colour, in the order of COCO_JOINTS. Green or blue is 255 in all of
# them, and 0 in the red of discs: min(R, 1 - G, 1 - B) is then exactly the fraction of red in a
# mixture of a disc with its background, black or limb, and a limb's hue survives a mixture with
# black. These two faces of the colour cube form one sheet, folded where green and blue are both
# 255. Along the sheet the joints are in the order of their heights in a standing person, from the
# ankles (green) to the face (blue); across it, left and right joints have red symmetric about the
# middle. So the mean colour that an uncertain network draws is still meaningful: the mean of a
# left and a right joint identifies the joint without its side, the mean of two neighbouring joints
# lies between them. A random search chose the colours for the largest minimum distance (0.39).
JOINT_COLORS = np.array(
    [
        (128, 8, 255),  # nose
        (76, 103, 255), (179, 103, 255),  # eyes, left and right
        (15, 15, 255), (240, 15, 255),  # ears
        (4, 174, 255), (251, 174, 255),  # shoulders
        (77, 253, 255), (178, 253, 255),  # elbows
        (0, 255, 191), (255, 255, 191),  # wrists
        (77, 255, 127), (178, 255, 127),  # hips
        (0, 255, 64), (255, 255, 64),  # knees
        (77, 255, 0), (178, 255, 0),  # ankles
    ],
    np.uint8,
)  # fmt: skip

# Radius of a disc as a fraction of the larger side of the box around a person's joints: eyes and
# nose of a standing person are about 0.026 of the height apart, so their discs do not touch.
DISC_RADIUS = 0.012
# Limits of the radius: as fractions of the image, and in pixels, so that a disc survives a blur.
MIN_RADIUS_SHARE, MAX_RADIUS_SHARE, MIN_RADIUS_PIXELS = 1 / 256, 1 / 80, 2.0
# Half the width of a limb, in radii: a rim of the joint's colour shows all around its disc.
LIMB_HALF_WIDTH = 1.8


def limits(side: int) -> tuple[float, float]:
    """Minimum and maximum radius of a disc in an image of this side, pixels."""
    least = max(MIN_RADIUS_PIXELS, side * MIN_RADIUS_SHARE)
    return least, max(least, side * MAX_RADIUS_SHARE)


def radii(joints: Floats, side: int) -> NDArray[np.float64]:
    """Radius of the discs of persons (P, 17, 2), (P,) float64 pixels, in an image of this side."""
    extent = np.zeros(len(joints))
    for k, person in enumerate(joints):
        here = person[np.isfinite(person).all(axis=1)]
        if len(here):
            extent[k] = np.ptp(here, axis=0).max()
    return np.clip(DISC_RADIUS * extent, *limits(side))


def encode_keypoints(joints: Floats, side: int) -> Floats:
    """Draw skeletons on black, larger ones over smaller ones, all discs over all limbs.

    Args:
        joints: (P, 17, 2) float32, x right, y down, pixels; NaN = absent, not drawn.
        side: of the square image, pixels.

    Returns:
        (side, side, 3) float32 in [0, 1], RGB; edges are smooth, so that a centre keeps its
        fraction of a pixel.
    """
    canvas = np.zeros((side, side, 3), np.float32)
    sizes = radii(joints, side)
    order = np.argsort(sizes, kind='stable')
    for k in order:
        _limbs(canvas, joints[k].astype(np.float64), LIMB_HALF_WIDTH * sizes[k])
    red = np.array(RED, np.float32) / 255
    for k in order:
        for centre in joints[k][np.isfinite(joints[k]).all(axis=1)].astype(np.float64):
            box = _box(centre, centre, sizes[k], side)
            x, y = _grid(box)
            cover = _cover(np.hypot(x - centre[0], y - centre[1]), sizes[k])
            canvas[box] += cover[..., None] * (red - canvas[box])
    return canvas


def _limbs(canvas: Floats, person: NDArray[np.float64], half: float) -> None:
    side = len(canvas)
    here = [bool(np.isfinite(joint).all()) for joint in person]
    limbs = [(a, b) for a, b in COCO_LIMBS if here[a] and here[b]]
    if not limbs:
        return
    ends = person[list({joint for limb in limbs for joint in limb})]
    box = _box(ends.min(axis=0), ends.max(axis=0), half, side)
    x, y = _grid(box)
    cover = np.zeros(x.shape, np.float32)
    # Where limbs of one person overlap, the nearest joint decides, whatever the order of limbs.
    nearest = np.full(x.shape, np.inf)
    paint = np.zeros((*x.shape, 3), np.float32)
    for a, b in limbs:
        along = person[b] - person[a]
        length = max(float(along @ along), 1e-9)
        part = ((x - person[a][0]) * along[0] + (y - person[a][1]) * along[1]) / length
        part = np.clip(part, 0, 1)
        off = np.hypot(x - person[a][0] - part * along[0], y - person[a][1] - part * along[1])
        shade = _cover(off, half)
        np.maximum(cover, shade, out=cover)
        for joint, mine in ((a, np.less_equal(part, 0.5)), (b, np.greater(part, 0.5))):
            distance = np.hypot(x - person[joint][0], y - person[joint][1])
            closer = mine & (shade > 0) & (distance < nearest)
            nearest[closer] = distance[closer]
            paint[closer] = JOINT_COLORS[joint].astype(np.float32) / 255
    canvas[box] += cover[..., None] * (paint - canvas[box])


def _cover(distance: NDArray[np.float64], radius: float) -> Floats:
    """How much of a pixel lies within the radius, by its distance: a ramp of one pixel."""
    return np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)


def _box(
    low: NDArray[np.float64], high: NDArray[np.float64], margin: float, side: int
) -> tuple[slice, slice]:
    """Rows and columns around points (x, y), within the image; may be empty."""
    start = np.clip(np.floor(low - margin - 1), 0, side).astype(int).tolist()
    stop = np.clip(np.ceil(high + margin + 2), 0, side).astype(int).tolist()
    return slice(start[1], stop[1]), slice(start[0], stop[0])


def _grid(box: tuple[slice, slice]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = (np.arange(part.start, part.stop, dtype=np.float64) for part in box)
    x, y = np.meshgrid(columns, rows)
    return x, y


# The red discs of an output image, which are people's joints.
#
# Redness min(R, 1 - G, 1 - B) has a blob wherever discs are; a blob that is not round is taken
# apart into the discs that cover it.


Bytes = NDArray[np.uint8]
Vectors = NDArray[np.float64]

# MIN_REDNESS, MAX_SIDE_DIFFERENCE and MIN_FILL_SHARE were chosen by sweeps over 1 to 4 random
# people at 768 and 256 pixels, clean and through blur and noise; MIN_OWN_SHARE by eye.

# A pixel of at least this redness is part of a disc.
MIN_REDNESS = 0.45
# And somewhere in a disc red is ahead of green and blue by this much, which it is in no grey.
# The least through JPEG and blur at 128 and 256 pixels was 0.27.
MIN_RED_MARGIN = 0.25
# A blob is one disc where the sides of its box differ by less than this part, plus one pixel, and
# where it fills this part of its box (a disc fills 0.785).
MAX_SIDE_DIFFERENCE, MIN_FILL_SHARE = 0.12, 0.74
# A disc in a blob must cover this part of itself that no other disc of the blob covers.
MIN_OWN_SHARE = 0.2


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


def find_discs(image: Bytes) -> Discs:
    """Find the discs in a uint8 RGB image, those that overlap each by itself."""
    redness, ahead = (cv2.GaussianBlur(each, (3, 3), 0) for each in _redness(image))
    level = MIN_REDNESS * 255
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
        if most < MIN_RED_MARGIN:
            continue
        patch[(mine != 0) & (mine != k)] = 0
        even = abs(width - height) <= MAX_SIDE_DIFFERENCE * max(width, height) + 1
        if even and area >= MIN_FILL_SHARE * width * height:
            patch_discs = [_centroid(patch)]
        else:
            patch_discs = _take_apart(patch)
            if len(patch_discs) == 1:
                patch_discs = [_centroid(patch)]
        for x, y, radius in patch_discs:
            centres.append((x + columns.start, y + rows.start))
            radii.append(radius)
            clear.append(most)
    return Discs(
        np.array(centres, np.float64).reshape(-1, 2),
        np.array(radii, np.float64),
        np.array(clear, np.float64),
    )


def _redness(image: Bytes) -> tuple[Bytes, Bytes]:
    """Redness, and by how much red is ahead of green and blue, both (H, W) uint8."""
    red, green, blue = cv2.split(image)
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
    inside = (large > MIN_REDNESS).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV 5 gives one or another last bit for the same input, by where it lies in memory; the
    # square is a whole number.
    depth = np.sqrt(np.rint(depth * depth))
    peak = (depth >= cv2.dilate(depth, np.ones((5, 5), np.uint8))) & (depth > zoom)
    rows, columns = np.nonzero(peak)
    left = inside.copy()
    discs: list[tuple[float, float, float]] = []
    for k in np.argsort(-depth[peak], kind='stable'):
        x, y, radius = int(columns[k]), int(rows[k]), float(depth[rows[k], columns[k]])
        disc = np.zeros_like(inside)
        cv2.circle(disc, (x, y), round(radius), 1, -1)
        # Nothing smaller than half of the largest: what remains of a disc's rim is no disc.
        if discs and radius < 0.5 * discs[0][2] * zoom:
            break
        if (disc & left).sum() < MIN_OWN_SHARE * disc.sum():
            continue
        left[disc > 0] = 0
        discs.append(((x + 0.5) / zoom - 0.5, (y + 0.5) / zoom - 0.5, radius / zoom))
    return discs
