# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""People whom a network was not sure about: no discs, and colours that run into one another.

A network that answers in one step draws the mean of all that may be there. Then a disc that may
be here or there is no disc any more, and what is left of left and right is little. But the
palette of `pose_skeleton` goes along the body, so a pixel still tells the height on the body to
be expected there, and that is enough to say about where each joint is. How red the colours are
tells the sides, where they tell anything.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import COCO_JOINTS
from diception_ros.core.labels.keypoints import COCO_MIRROR
from diception_ros.tasks.codecs.pose_skeleton import JOINT_COLOURS, Bytes, Floats, Vectors

Flags = NDArray[np.bool_]

# The values below were varied one at a time on paintings of validation rooms by the built-in model
# (MAX_SIDE and MIN_PARTS by eye), and few changed much: `MIN_PEAK_BRIGHTNESS` at 0.25 found nobody
# more, and thrice as often somebody where nobody was.

# Side of the image that is looked at, at most, pixels.
MAX_SIDE = 256
# Darkest place of a person; and of one who is drawn brightly, as a part of the brightest.
MIN_BRIGHTNESS, MIN_RELATIVE_BRIGHTNESS = 0.15, 0.35
# Least brightness of the brightest part of a person.
MIN_PEAK_BRIGHTNESS = 0.35
# Least area of a person, as a part of the image.
MIN_AREA_SHARE = 12 / 128**2
# Least share of a person's colour that is a part's for its joints to be there.
MIN_COLOR_SHARE = 0.01
# A person shows this many parts at least: what has one colour, such as grey, is none.
MIN_PARTS = 3
# Where the colours of faces begin along the palette; the least area of a head as a part of all
# who touch; and how much a step down counts when a body is given to a head, for one aside.
FACE_START, MIN_HEAD_SHARE, DOWN_STEP_WEIGHT = 1.45, 0.01, 0.3
# What a limb that is certain spreads to each side, as a part of the extent of a person.
LIMB_MARGIN = 0.05


def _along(colours: Vectors) -> Vectors:
    """Place of colours along the palette, (...) of (..., 3): 0 pure green to 2 pure blue."""
    green, blue = colours[..., 1], colours[..., 2]
    top = np.maximum(np.maximum(green, blue), 1e-6)
    return np.asarray(np.where(blue <= green, blue / top, 2 - green / top))


def _parts() -> tuple[tuple[tuple[int, ...], ...], Vectors]:
    """Joints of each part of the body in the order of the palette, and the parts' places."""
    places = _along(JOINT_COLOURS / 255)
    pairs = [
        (k, other)
        for k, other in enumerate(COCO_MIRROR)
        if k < other and COCO_JOINTS[k] not in ('left_eye', 'left_ear')
    ]
    pairs.sort(key=lambda pair: float(places[list(pair)].mean()))
    face = tuple(range(5))
    along = [float(places[list(pair)].mean()) for pair in pairs] + [float(places[:5].min())]
    return (*pairs, face), np.array(along)


# Ankles, knees, hips, wrists, elbows, shoulders and the face. The colours of a face are the end
# of the palette, and all that lies beyond its first counts as face.
_JOINTS, _PLACES = _parts()
_FACE = len(_JOINTS) - 1
_PART = {COCO_JOINTS[joint]: part for part, joints in enumerate(_JOINTS) for joint in joints}
# The last part of a limb, and the one before it.
_ENDS = (
    (_PART['left_ankle'], _PART['left_knee']),
    (_PART['left_wrist'], _PART['left_elbow']),
)


def decode_low_confidence(
    image: Bytes, discs: Vectors, clear: Flags
) -> tuple[Floats, Floats, Flags]:
    """Find the people of whom little is drawn clearly.

    Args:
        image: (H, W, 3) uint8 RGB.
        discs: (M, 2) float64, x right, y down, pixels: the discs that were found.
        clear: (M,) bool, which of them leave no doubt. A spot of colour with such a disc in it is
            left alone: what else it shows may be limbs in the colours of another model.

    Returns:
        (P, 17, 2) float32, x right, y down, pixels, NaN where a joint is not to be seen; and
        (P, 17) float32 in [0, 1], how bright its part of the body is drawn; and (M,) bool, the
        discs that lie on these people.
    """
    # What is not sure has no detail, and looking at much of it takes time.
    zoom = max(1.0, max(image.shape[:2]) / MAX_SIDE)
    size = round(image.shape[1] / zoom), round(image.shape[0] / zoom)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small = resized.astype(np.float32) / np.float32(255)
    columns, rows = np.rint((discs + 0.5) / zoom - 0.5).astype(np.int64).T
    columns, rows = columns.clip(0, size[0] - 1), rows.clip(0, size[1] - 1)

    people, scores = [], []
    replaced = np.zeros(len(discs), np.bool_)
    taken = np.zeros(small.shape[:2], np.bool_)
    taken[rows[clear], columns[clear]] = True
    for region in _regions(small, taken):
        found = _person(small, region)
        if found is not None:
            people.append((found[0] + 0.5) * zoom - 0.5)
            scores.append(found[1])
            replaced |= region[rows, columns]
    shape = len(people), len(COCO_JOINTS)
    return (
        np.array(people, np.float32).reshape(*shape, 2),
        np.array(scores, np.float32).reshape(shape),
        replaced,
    )


def _regions(rgb: Floats, taken: Flags) -> list[Flags]:
    """Where a person may be: (H, W) bool, each."""
    red, green, blue = cv2.split(rgb)
    bright = np.asarray(cv2.max(red, cv2.max(green, blue)), np.float32)
    least = MIN_AREA_SHARE * bright.size
    count, index, stats, _ = cv2.connectedComponentsWithStats(
        (bright > MIN_BRIGHTNESS).astype(np.uint8)
    )
    known = set(index[taken].tolist())
    found = []
    for k in range(1, count):
        left, top, width, height, area = stats[k].tolist()
        if area < least or k in known:
            continue
        box = slice(top, top + height), slice(left, left + width)
        mine = index[box] == k
        brightest = float(np.quantile(bright[box][mine], 0.95))
        if brightest < MIN_PEAK_BRIGHTNESS:
            continue
        mine &= bright[box] > MIN_RELATIVE_BRIGHTNESS * brightest
        pieces, names, sizes, _ = cv2.connectedComponentsWithStats(mine.astype(np.uint8))
        for piece in range(1, pieces):
            if sizes[piece, cv2.CC_STAT_AREA] >= least:
                region = np.zeros(bright.shape, np.bool_)
                region[box] = names == piece
                found += _by_heads(rgb, region)
    return found


def _by_heads(rgb: Floats, region: Flags) -> list[Flags]:
    """Divide a region in which people touch: each place is its nearest head's."""
    faces = np.zeros(region.shape, np.uint8)
    faces[region] = _along(rgb[region].astype(np.float64)) > FACE_START
    count, _, stats, centres = cv2.connectedComponentsWithStats(faces)
    heads = [
        k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= MIN_HEAD_SHARE * region.sum()
    ]
    if len(heads) < 2:
        return [region]
    rows, columns = np.nonzero(region)
    off = np.stack([columns, rows], axis=1)[:, None] - centres[heads]
    nearest = np.hypot(off[..., 0], DOWN_STEP_WEIGHT * off[..., 1]).argmin(axis=1)
    pieces = []
    for k in range(len(heads)):
        piece = np.zeros_like(region)
        piece[rows[nearest == k], columns[nearest == k]] = True
        pieces.append(piece)
    return pieces


def _person(rgb: Floats, region: Flags) -> tuple[Vectors, Vectors] | None:
    """Joints and scores of who is drawn in a region; None where it looks like nobody."""
    rows, columns = np.nonzero(region)
    places = np.stack([columns, rows], axis=1).astype(np.float64)
    colours = rgb[region].astype(np.float64)
    cover = np.maximum(colours[:, 1:].max(axis=1), 1e-3)
    along = _along(colours).clip(_PLACES[0], _PLACES[-1])
    # Between two parts a pixel belongs to both, by how near its colour is to theirs.
    shares = np.stack([np.interp(along, _PLACES, row) for row in np.eye(len(_PLACES))])
    masses = (shares * cover).sum(axis=1)
    there = masses > MIN_COLOR_SHARE * masses.sum()
    if there.sum() < MIN_PARTS:
        return None
    weights = shares**2 * cover
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    centres = weights @ places

    axis = _axis(places, along, cover)
    aside = np.array([-axis[1], axis[0]])
    across = places @ aside
    extent = float(np.ptp(places @ axis))
    red = colours[:, 0] / cover
    # Right joints are drawn with more red than left ones: which side of the region has more?
    arms_and_legs = weights[:_FACE][there[:_FACE]]
    lean = sum(
        float(weight @ ((across - weight @ across) * (red - weight @ red)))
        for weight in arms_and_legs
    )
    joints = np.full((len(COCO_JOINTS), 2), np.nan)
    scores = np.zeros(len(COCO_JOINTS))
    for part in np.flatnonzero(there).tolist():
        mine = list(_JOINTS[part])
        scores[mine] = weights[part] @ colours.max(axis=1)
        joints[mine] = centres[part]
        if part != _FACE:
            spread = float(weights[part] @ (across - weights[part] @ across) ** 2)
            half = np.sqrt(max(0.0, spread - (LIMB_MARGIN * extent) ** 2)) * np.sign(lean)
            joints[mine] += half * np.outer([-1, 1], aside)
    for end, before in _ENDS:
        # The colour of a last joint reaches from it to the middle of its limb.
        mine, other = list(_JOINTS[end]), list(_JOINTS[before])
        if there[end] and there[before]:
            joints[mine] += (joints[mine] - joints[other]) / 3
    return joints, scores


def _axis(places: Vectors, along: Vectors, cover: Vectors) -> Vectors:
    """(2,) unit vector from the feet to the head: where the colours go up the palette."""
    weights = cover / cover.sum()
    together = (weights * (along - weights @ along)) @ (places - weights @ places)
    length = float(np.hypot(*together))
    return together / length if length > 1e-9 else np.array([0.0, -1.0])
