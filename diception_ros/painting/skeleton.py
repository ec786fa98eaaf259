# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""People as red discs on coloured limbs: the palette and the painting.

Each of the 17 joints has a colour. A limb is a capsule that bears the colour of its one joint up
to its middle and of its other joint from there on, so all that meets at a joint is of the joint's
colour: one readable limb tells the types of both its ends, left and right too. Discs are pure red.
`joints` reads it back.

What is not drawn: joints of visibility 0, and the limbs that lead to them. Joints that are hidden
(visibility 1) are drawn like all others, as the annotators of COCO saw through what hides them.
The released weights were trained with red discs as well; their limb colours are not known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diception_ros.labels import COCO_LIMBS

Floats = NDArray[np.float32]

RED = (255, 0, 0)

# Bytes of each joint's colour, in the order of COCO_JOINTS. Green or blue is full in all of them,
# which red lacks: min(R, 1 - G, 1 - B) is then exactly the share of red in a mixture of a disc and
# whatever it lies on, black or limb, and a limb's hue survives its mixture with black. Those two
# faces of the colour cube are one sheet, folded where green and blue are both full. Along it go
# the joints in the order of their heights when a person stands with hanging arms, from the ankles
# (green) to the face (blue); across it, by their red, left and right, as far from the sheet's
# middle the one way as the other. So a painter who is not sure, and paints the mean of what may
# be, still tells what it knows: of a left and a right joint the part, and of two parts that it is
# between them. A random search chose the places for the largest least distance (0.39).
JOINT_COLOURS = np.array(
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

# Radius of a disc as a part of the larger side of the box around a person's joints: eyes and nose
# of a standing person are about 0.026 of the height apart, so that their discs just do not touch.
RADIUS = 0.012
# Limits of the radius: as parts of the picture, and what is left of a disc after a blur, pixels.
LEAST_PART, MOST_PART, LEAST_PIXELS = 1 / 256, 1 / 80, 2.0
# Half the width of a limb, in radii: a rim of the joint's colour shows all around its disc.
HALF_WIDTH = 1.8


def limits(side: int) -> tuple[float, float]:
    """Least and greatest radius of a disc in a picture of this side, pixels."""
    least = max(LEAST_PIXELS, side * LEAST_PART)
    return least, max(least, side * MOST_PART)


def radii(joints: Floats, side: int) -> NDArray[np.float64]:
    """Radius of the discs of each person.

    Args:
        joints: (P, 17, 2) float32, x right, y down, pixels, NaN where absent.
        side: of the picture, pixels.

    Returns:
        (P,) float64, pixels.
    """
    extent = np.zeros(len(joints))
    for k, person in enumerate(joints):
        here = person[np.isfinite(person).all(axis=1)]
        if len(here):
            extent[k] = np.ptp(here, axis=0).max()
    return np.clip(RADIUS * extent, *limits(side))


def draw(joints: Floats, side: int) -> Floats:
    """Paint people on black, the larger ones over the smaller, all discs over all limbs.

    Args:
        joints: (P, 17, 2) float32, x right, y down, pixels; NaN = absent, not drawn.
        side: of the square picture, pixels.

    Returns:
        (side, side, 3) float32 in [0, 1], RGB; edges are smooth, so that a centre keeps its
        fraction of a pixel.
    """
    canvas = np.zeros((side, side, 3), np.float32)
    sizes = radii(joints, side)
    order = np.argsort(sizes, kind='stable')
    for k in order:
        _limbs(canvas, joints[k].astype(np.float64), HALF_WIDTH * sizes[k])
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
            paint[closer] = JOINT_COLOURS[joint].astype(np.float32) / 255
    canvas[box] += cover[..., None] * (paint - canvas[box])


def _cover(distance: NDArray[np.float64], radius: float) -> Floats:
    """How much of a pixel lies within the radius, by its distance: a ramp of one pixel."""
    return np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)


def _box(
    low: NDArray[np.float64], high: NDArray[np.float64], margin: float, side: int
) -> tuple[slice, slice]:
    """Rows and columns around points (x, y), within the picture; may be empty."""
    start = np.clip(np.floor(low - margin - 1), 0, side).astype(int).tolist()
    stop = np.clip(np.ceil(high + margin + 2), 0, side).astype(int).tolist()
    return slice(start[1], stop[1]), slice(start[0], stop[0])


def _grid(box: tuple[slice, slice]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = (np.arange(part.start, part.stop, dtype=np.float64) for part in box)
    x, y = np.meshgrid(columns, rows)
    return x, y
