# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes keypoints of people from an output image: red discs, limbs between them, grouping.

1. `pose_skeleton` finds the discs of the joints.
2. The ring around a disc is compared with the palette of `pose_skeleton`: which joints may it be?
3. Two discs whose types a limb joins are joined where the pixels between them have the one colour
   in the first half and the other in the second half.
4. Joined discs are a person, best limbs first; no person has two joints of one type.

Discs that no limb joins come back as points without a type: a network with other limb colours
than ours still tells where joints are. Where colours are but hardly a disc is clear, the network
was not sure: see `decode_low_confidence`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import COCO_JOINTS, COCO_LIMBS, COCO_MIRROR, Keypoints
from diception_ros.tasks.codecs.pose_skeleton import (
    JOINT_COLORS,
    Bytes,
    Discs,
    Floats,
    Vectors,
    find_discs,
)

Indices = NDArray[np.int64]

# MIN_LIMB_SHARE was chosen by the sweeps described in `pose_skeleton`; MAX_PIECE_JOINTS and
# MAX_PIECE_GAP were varied without gain; the rest by eye.

# Farthest a pixel may be from a colour of the palette, as a length in RGB; half of the 0.39
# between the palette's nearest two, and a little for those that have no such neighbour.
MAX_PALETTE_DISTANCE = 0.25
# A pixel with more than this part of red in its colour shows a disc.
DISC_RED_SHARE = 0.5
# Darkest limb: on the edge to black half of the colour is left.
MIN_LIMB_BRIGHTNESS = 0.4
# Radii of the rings, in radii of the disc: the inner ones lie in the rim that a limb shows around
# its disc, the outer ones cross the limbs alone, where no disc shines through.
RING_RADII = np.array([1.3, 1.7, 2.2, 2.8])
# Least part of the ring around a disc in a type's colour for the disc to be of that type perhaps.
MIN_RING_SHARE = 0.15
# Least part of the pixels between two discs that have the right colours. A limb half of which is
# hidden behind another person is still followed.
MIN_LIMB_SHARE = 0.4
# A piece of at most this many joints (a face) may belong to a larger one that is at most this
# part of its extent away; a disc without a limb may where this much of its ring is of one type.
MAX_PIECE_JOINTS, MAX_PIECE_GAP, SURE_RING_SHARE = 5, 0.5, 0.5
# A person of so many joints, and a disc where red is so much ahead, are clearly drawn.
CLEAR_JOINTS, CLEAR_REDNESS = 5, 0.7
# A limb of which no pixel shows between two discs that touch counts as this well followed.
COVERED_LIMB_SHARE = 0.6


@dataclass(frozen=True)
class _Limbs:
    """Candidates for limbs, E of them.

    Attributes:
        discs: (E, 2) int64, the two discs.
        types: (E, 2) int64, the joint that each would be.
        scores: (E,) float64 in [0, 1], how much of what lies between them has the right colours.
        lengths: (E,) float64, pixels.
    """

    discs: Indices
    types: Indices
    scores: Vectors
    lengths: Vectors


def decode_keypoints(rgb: Floats) -> Keypoints:
    """Read people off an output image; the module's text says how.

    Args:
        rgb: (H, W, 3) float32 RGB, finite, nominally in [0, 1]; what lies outside counts as
            0 or 1.

    Returns:
        Keypoints; first the people whose joints are discs, in the order of falling number of
        joints. Found joints have visibility 2, because a disc does not say whether the joint was
        hidden. The score of a joint is the mean of the part of its ring in its colour and of its
        best limb's score; without discs it is how bright it is drawn.
    """
    size = rgb.shape[0], rgb.shape[1]
    # As one channel, because OpenCV multiplies only the first of three by a number; it saturates.
    flat = np.ascontiguousarray(rgb, np.float32).reshape(size[0], -1)
    image = cv2.multiply(flat, 255.0, dtype=cv2.CV_8U).reshape(rgb.shape)  # type: ignore[call-overload]
    discs = find_discs(image)
    rings = _rings(image, discs)
    limbs = _follow(image, discs, rings)
    person, kind, trust = _assemble(limbs, rings)
    person, kind, trust = _adopt(discs, rings, person, kind, trust)
    complete = (person >= 0) & (np.bincount(person + 1)[person + 1] >= CLEAR_JOINTS)
    clear = complete | (discs.clear > CLEAR_REDNESS)
    more, faint, replaced = decode_low_confidence(image, discs.centres, clear)
    rest = ~replaced
    people, scores = _gather(discs.centres[rest], person[rest], kind[rest], trust[rest])
    places = np.concatenate([people, more])
    return Keypoints(
        places,
        np.where(np.isfinite(places[..., 0]), 2, 0).astype(np.uint8),
        np.clip(np.concatenate([scores, faint]), 0, 1),
        discs.centres[rest & (person < 0)].astype(np.float32),
        size,
    )


def _classify(image: Bytes, x: Vectors, y: Vectors) -> Indices:
    """What is drawn at some places.

    Args:
        image: (H, W, 3) uint8 RGB.
        x: (...) float64, pixels; y alike. Outside of the image counts as background.
        y: (...) float64, pixels.

    Returns:
        (...) int64: 0..16 the joint in whose colour it is, -1 another colour, -2 red (a disc
        hides what is there), -3 background.
    """
    columns, rows = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    height, width = image.shape[:2]
    outside = (columns < 0) | (rows < 0) | (columns >= width) | (rows >= height)
    colors = image[rows.clip(0, height - 1), columns.clip(0, width - 1)].astype(np.float32) / 255
    top = colors[..., 1:].max(axis=-1)
    redness = np.minimum(colors[..., 0], 1 - top)
    # No colour of the palette has any redness, so what there is comes from a disc's soft edge and
    # can be taken off; and green or blue is full in all, which undoes a mixture with black.
    colors[..., 0] -= redness
    hue = (colors / np.maximum(top, 0.05)[..., None]).reshape(-1, 3)
    palette = JOINT_COLORS.astype(np.float32) / 255
    distance = (hue**2).sum(axis=1)[:, None] - 2 * hue @ palette.T + (palette**2).sum(axis=1)
    nearest = distance.argmin(axis=1)
    far = distance[np.arange(len(hue)), nearest] > MAX_PALETTE_DISTANCE**2
    out = np.where(far, -1, nearest).reshape(x.shape)
    out[(top + redness < MIN_LIMB_BRIGHTNESS) | outside] = -3
    out[redness > DISC_RED_SHARE * (top + redness)] = -2
    return out


def _rings(image: Bytes, discs: Discs) -> Vectors:
    """Part of the ring around each disc in each joint's colour: (M, 17) float64 in [0, 1]."""
    kinds = len(COCO_JOINTS)
    if not len(discs.radii):
        return np.zeros((0, kinds))
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    reach = discs.radii[:, None] * RING_RADII + 0.5
    x = discs.centres[:, 0, None, None] + reach[..., None] * np.cos(angles)
    y = discs.centres[:, 1, None, None] + reach[..., None] * np.sin(angles)
    seen = _classify(image, x, y).reshape(len(x), -1)
    # A place that is nearer to another disc tells about that one.
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    from scipy.spatial import cKDTree

    nearest = cKDTree(discs.centres).query(places)[1].reshape(seen.shape)
    seen[nearest != np.arange(len(seen))[:, None]] = -3
    counts = np.stack([(seen == kind).sum(axis=1) for kind in range(kinds)], axis=1)
    readable = (seen >= -1).sum(axis=1)
    out: Vectors = counts / np.maximum(readable, 4)[:, None]
    return out


def _follow(image: Bytes, discs: Discs, rings: Vectors) -> _Limbs:
    """Try every pair of discs whose rings allow a limb of COCO between them."""
    pairs, types = [], []
    for a, b in COCO_LIMBS:
        first, second = (
            np.flatnonzero(rings[:, a] > MIN_RING_SHARE),
            np.flatnonzero(rings[:, b] > MIN_RING_SHARE),
        )
        i, j = (grid.ravel() for grid in np.meshgrid(first, second, indexing='ij'))
        apart = i != j
        pairs.append(np.stack([i[apart], j[apart]], axis=1))
        types.append(np.tile([a, b], (int(apart.sum()), 1)))
    discs_of, types_of = np.concatenate(pairs), np.concatenate(types)
    start, stop = discs.centres[discs_of[:, 0]], discs.centres[discs_of[:, 1]]
    along = stop - start
    lengths = np.maximum(np.linalg.norm(along, axis=1), 1e-6)
    radius = discs.radii[discs_of].min(axis=1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / lengths[:, None]

    # Three lines: the middle, and one on each side that passes the discs where they are wide.
    parts = (np.arange(24) + 0.5) / 24
    offsets = np.array([-1.0, 0.0, 1.0])
    shift = across[:, None] * (radius[:, None] * offsets)[..., None]
    place = start[:, None, None] + along[:, None, None] * parts[:, None] + shift[:, :, None]
    seen = _classify(image, place[..., 0], place[..., 1])
    first_half = (parts < 0.5)[None, None]
    wanted = np.where(first_half, types_of[:, 0, None, None], types_of[:, 1, None, None])
    # The change of colour in the middle is soft; a disc on the way hides what is under it.
    counts = (seen != -2) & (np.abs(parts - 0.5) > 0.05)[None, None]
    right = (seen == wanted) & counts
    halves = []
    for half in (first_half, ~first_half):
        shown = (counts & half).sum(axis=(1, 2))
        good = (right & half).sum(axis=(1, 2))
        halves.append(np.where(shown >= 3, good / np.maximum(shown, 1), np.nan))
    # Both halves must be followed: the one alone would join any two of a colour.
    scores = np.fmin(halves[0], halves[1])
    scores = np.where(np.isnan(scores), COVERED_LIMB_SHARE, scores)
    touching = lengths < 3 * radius
    plausible = (scores >= MIN_LIMB_SHARE) & (touching | ~np.isnan(halves[0] + halves[1]))
    return _Limbs(discs_of[plausible], types_of[plausible], scores[plausible], lengths[plausible])


def _assemble(limbs: _Limbs, rings: Vectors) -> tuple[Indices, Indices, Vectors]:
    """Put people together, best limbs first.

    Returns:
        (M,) int64 the person of each disc, -1 none; (M,) int64 its joint, -1 none; and (M,)
        float64 in [0, 1], trust in that.
    """
    person = np.full(len(rings), -1, np.int64)
    kind = np.full(len(rings), -1, np.int64)
    best = np.zeros(len(rings))
    members: dict[int, set[int]] = {}
    # Of two limbs followed equally well the shorter is more likely one person's.
    order = np.lexsort((limbs.lengths, -np.round(limbs.scores, 1)))
    for e in order.tolist():
        discs, types = limbs.discs[e].tolist(), limbs.types[e].tolist()
        if any(kind[d] not in (-1, t) for d, t in zip(discs, types)):  # noqa: B905 - two and two
            continue
        groups = [members.get(int(person[d]), {d}) for d in discs]
        if person[discs[0]] != person[discs[1]] or person[discs[0]] < 0:
            claimed = [
                {types[k]} | {int(kind[d]) for d in groups[k] if kind[d] >= 0} for k in (0, 1)
            ]
            if claimed[0] & claimed[1]:
                continue
            union = groups[0] | groups[1]
            members[e] = union
            person[list(union)] = e
        kind[discs] = types
        best[discs] = np.maximum(best[discs], limbs.scores[e])
    trust = np.where(kind >= 0, (best + rings[np.arange(len(rings)), kind]) / 2, 0)
    return person, kind, trust


def _adopt(
    discs: Discs, rings: Vectors, person: Indices, kind: Indices, trust: Vectors
) -> tuple[Indices, Indices, Vectors]:
    """Give limbs that hang in the air to people who lack them.

    Where the joint between them is absent or hidden, a shank, an arm, a face or a single joint is
    by itself. It goes to the nearest person who has none of its joints and is larger, within
    `MAX_PIECE_GAP` of that one's extent. Arguments and results are those of `_assemble`.
    """
    person, kind, trust = person.copy(), kind.copy(), trust.copy()
    names, counts = np.unique(person[person >= 0], return_counts=True)
    pieces = [np.flatnonzero(person == name) for name in names[np.argsort(counts, kind='stable')]]
    bodies = [piece for piece in pieces if len(piece) > MAX_PIECE_JOINTS]
    sure = (person < 0) & (rings.max(axis=1, initial=0) > SURE_RING_SHARE)
    pieces = [np.array([d]) for d in np.flatnonzero(sure)] + pieces
    kind[sure] = rings[sure].argmax(axis=1)
    for piece in pieces:
        if len(piece) > MAX_PIECE_JOINTS:
            continue
        best, nearest = -1, np.inf
        for body in bodies:
            of = np.flatnonzero(person == person[body[0]])
            if set(kind[of].tolist()) & set(kind[piece].tolist()):
                continue
            gaps = discs.centres[piece][:, None] - discs.centres[of][None]
            gap = float(np.linalg.norm(gaps, axis=2).min())
            if gap < min(nearest, MAX_PIECE_GAP * float(np.ptp(discs.centres[of], axis=0).max())):
                best, nearest = int(person[of[0]]), gap
        if best >= 0:
            person[piece] = best
            alone = piece[trust[piece] == 0]
            trust[alone] = rings[alone, kind[alone]] / 2
    kind[person < 0] = -1
    return person, kind, trust


def _gather(
    centres: Vectors, person: Indices, kind: Indices, trust: Vectors
) -> tuple[Floats, Floats]:
    """Joints (P, 17, 2) and scores (P, 17) by person, most joints first."""
    names, counts = np.unique(person[person >= 0], return_counts=True)
    names = names[np.argsort(-counts, kind='stable')]
    shape = len(names), len(COCO_JOINTS)
    joints = np.full((*shape, 2), np.nan, np.float32)
    scores = np.zeros(shape, np.float32)
    for row, name in enumerate(names):
        of = np.flatnonzero(person == name)
        joints[row, kind[of]] = centres[of]
        scores[row, kind[of]] = trust[of]
    return joints, scores


# People whom a network was not sure about: no discs, and colours that run into one another.
#
# A network that predicts in one step draws the mean of all that may be there. Then a disc that may
# be here or there is no disc any more, and what is left of left and right is little. But the
# palette of `pose_skeleton` goes along the body, so a pixel still tells the height on the body to
# be expected there, and that is enough to say about where each joint is. How red the colours are
# tells the sides, where they tell anything.


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


def _along(colors: Vectors) -> Vectors:
    """Place of colours along the palette, (...) of (..., 3): 0 pure green to 2 pure blue."""
    green, blue = colors[..., 1], colors[..., 2]
    top = np.maximum(np.maximum(green, blue), 1e-6)
    return np.asarray(np.where(blue <= green, blue / top, 2 - green / top))


def _parts() -> tuple[tuple[tuple[int, ...], ...], Vectors]:
    """Joints of each part of the body in the order of the palette, and the parts' places."""
    places = _along(JOINT_COLORS / 255)
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
    occupied = np.zeros(small.shape[:2], np.bool_)
    occupied[rows[clear], columns[clear]] = True
    for region in _regions(small, occupied):
        person = _person(small, region)
        if person is not None:
            people.append((person[0] + 0.5) * zoom - 0.5)
            scores.append(person[1])
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
    regions = []
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
                regions += _by_heads(rgb, region)
    return regions


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
    colors = rgb[region].astype(np.float64)
    cover = np.maximum(colors[:, 1:].max(axis=1), 1e-3)
    along = _along(colors).clip(_PLACES[0], _PLACES[-1])
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
    red = colors[:, 0] / cover
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
        scores[mine] = weights[part] @ colors.max(axis=1)
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
