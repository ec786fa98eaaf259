# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random valid labels of every kind, to test tasks, labels and messages."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.geometry import to_disparity
from diception_ros.core.labels import (
    COCO_JOINTS,
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Mask,
    MetricDepth,
    Normals,
)


def example(task, rng, size=768):
    """A random valid label of a task, (size, size) pixels; by its kind of label alone."""
    if issubclass(task.label, Instances):
        most = 10 if task.takes_category else 20
        count = int(rng.integers(1, max(3, min(most, size // 16)) + 1))
        return random_instances(rng, size, count, 'person' if task.takes_category else '')
    if issubclass(task.label, Keypoints):
        return random_skeletons(rng, size, int(rng.integers(1, 5)) if size >= 384 else 1)
    return {Disparity: _disparity, Normals: _normals, Mask: _mask, ImageLabel: _image}[task.label](
        rng, size
    )


def _disparity(rng, size):
    """A room with balls and a hole of unknown pixels."""
    room = scene(rng, size)
    depth = np.where(room.unknown, np.float32(np.nan), room.depth)
    return to_disparity(MetricDepth(depth))[0]


def _normals(rng, size):
    """A room with balls and a hole of unknown pixels."""
    room = scene(rng, size)
    return Normals(np.where(room.unknown[..., None], np.float32(np.nan), room.normals))


def _mask(rng, size):
    """A star-shaped blob with a smooth outline and perhaps a hole."""
    rows, columns = np.mgrid[:size, :size]
    x, y = rng.uniform(0.3, 0.7, 2) * size
    angle = np.arctan2(rows - y, columns - x)
    radius = rng.uniform(0.12, 0.28) * size * np.ones_like(angle)
    for wave in range(2, 6):
        radius *= 1 + rng.uniform(0, 0.12) * np.sin(wave * angle + rng.uniform(0, 2 * np.pi))
    distance = np.hypot(rows - y, columns - x)
    hole = rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0
    return Mask((distance < radius) & (distance >= hole * radius))


def _image(rng, size):
    """Two colours that blend into each other."""
    ends = rng.uniform(0, 1, (2, 3)).astype(np.float32)
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    share = (ramp[:, None] * rng.uniform(0.2, 0.8) + ramp * rng.uniform(0, 0.2))[..., None]
    return ImageLabel((ends[0] * (1 - share) + ends[1] * share).astype(np.float32))


def random_instances(
    rng: np.random.Generator, size: int, count: int, category: str = ''
) -> Instances:
    """Ellipses, polygons and boxes in front of one another.

    What is hidden by others may come apart, and leaves the label where less than 30 pixels or
    2e-4 of the image are left, or where two thirds of them lie on the rim.

    Args:
        rng: where chance comes from.
        size: side of the image, pixels.
        count: how many are laid down; fewer may be left.
        category: of all of them.
    """
    ids = np.zeros((size, size), np.int32)
    for k in range(count):
        radius = np.exp(rng.uniform(np.log(max(0.03 * size, 5)), np.log(max(0.2 * size, 6))))
        ids[_shape(rng, size, radius) > 0] = k + 1
    areas = np.bincount(ids.ravel(), minlength=count + 1)
    window = np.ones((3, 3), np.uint8)
    floats = ids.astype(np.float32)
    inside = cv2.erode(floats, window) == cv2.dilate(floats, window)
    kept = (areas >= max(30, 2e-4 * size**2)) & (
        np.bincount(ids[inside], minlength=count + 1) >= areas / 3
    )
    kept[0] = False
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    left = int(kept.sum())
    return Instances(number[ids], (category,) * left, np.ones(left, np.float32))


def _shape(rng: np.random.Generator, size: int, radius: float) -> NDArray[np.uint8]:
    mask = np.zeros((size, size), np.uint8)
    x, y = rng.uniform(0.05, 0.95, 2) * size
    kind = rng.integers(3)
    if kind == 0:
        axes = (round(radius), max(2, round(radius * rng.uniform(0.4, 1))))
        cv2.ellipse(mask, (round(x), round(y)), axes, rng.uniform(0, 180), 0, 360, 1, -1)
        return mask
    if kind == 1:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        reach = radius * rng.uniform(0.5, 1.1, 7)
        corners = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
    else:
        half = np.array([radius, radius * rng.uniform(0.3, 1.5)])
        turn = rng.uniform(0, np.pi / 2)
        axes_ = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
        corners = np.array([x, y]) + (signs * half) @ axes_
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask


Floats = NDArray[np.float32]
Vector = NDArray[np.float64]

# Lengths and heights as parts of the stature; body: Drillis and Contini 1966, as reprinted in
# D. A. Winter, Biomechanics and Motor Control of Human Movement, figure 4.1; what the head
# needs beyond that is our estimate, to the percent.
SHOULDER, HIP, EYE = 0.818, 0.530, 0.936
HALF_SHOULDERS, HALF_HIPS = 0.129, 0.0955
UPPER_ARM, FOREARM, THIGH, SHANK = 0.186, 0.146, 0.245, 0.246
HALF_EYES, HALF_EARS, EYES_FORWARD, NOSE_FORWARD, NOSE_DOWN = 0.019, 0.044, 0.05, 0.065, 0.022

# How often a joint of the image has not been annotated.
ABSENT = 0.04
FACE = [COCO_JOINTS.index(name) for name in ('nose', 'left_eye', 'right_eye')]


def person(rng: np.random.Generator) -> tuple[Vector, NDArray[np.uint8]]:
    """One posture, of stature 1, seen from far away.

    Returns:
        (17, 2) float64, x right, y down, in statures; and (17,) uint8 visibility: the joints of
        the far side may be hidden, those of a face that looks away are absent.
    """
    # Most people face the camera more or less; some are seen from the side or from behind.
    yaw = rng.normal(0, 0.5) if rng.random() < 0.7 else rng.uniform(-np.pi, np.pi)
    left, front = _turned(yaw)
    up = np.array([0.0, -1.0, 0.0])
    places = dict.fromkeys(COCO_JOINTS, np.zeros(3))
    stoop = _unit(up + rng.uniform(-0.1, 0.3) * front + rng.normal(0, 0.08) * left)
    chest = HIP * up + (SHOULDER - HIP) * stoop
    for name, sign in (('left', 1), ('right', -1)):
        shoulder = chest + sign * HALF_SHOULDERS * left
        # Arms hang or are raised by any angle, outward or forward; elbows bend forward and up.
        upper = _swing(rng.uniform(0.1, 2.2), rng.uniform(-0.4, 1.6), sign * left, front, up)
        lower = _unit(upper + rng.uniform(0, 1.4) * (front + rng.uniform(-0.3, 1) * up))
        hip = HIP * up + sign * HALF_HIPS * left
        thigh = _swing(rng.uniform(0, 0.7), rng.uniform(-0.5, 1.9), sign * left, front, up)
        shank = _unit(thigh - rng.uniform(0, 0.8) * front)
        places[f'{name}_shoulder'], places[f'{name}_hip'] = shoulder, hip
        places[f'{name}_elbow'] = shoulder + UPPER_ARM * upper
        places[f'{name}_wrist'] = places[f'{name}_elbow'] + FOREARM * lower
        places[f'{name}_knee'] = hip + THIGH * thigh
        places[f'{name}_ankle'] = places[f'{name}_knee'] + SHANK * shank
    look = yaw + rng.normal(0, 0.35)
    left, front = _turned(look)
    head = chest + (EYE - SHOULDER) * stoop
    places['nose'] = head + NOSE_FORWARD * front - NOSE_DOWN * up
    for name, sign in (('left', 1), ('right', -1)):
        places[f'{name}_eye'] = head + EYES_FORWARD * front + sign * HALF_EYES * left
        places[f'{name}_ear'] = head + sign * HALF_EARS * left - 0.01 * up

    visibility = np.full(len(COCO_JOINTS), 2, np.uint8)
    if np.cos(look) < -0.2:
        visibility[FACE] = 0
    if abs(np.sin(yaw)) > 0.8:
        far = 'right' if np.sin(yaw) > 0 else 'left'
        hidden = [k for k, name in enumerate(COCO_JOINTS) if name.startswith(far)]
        visibility[hidden] = np.minimum(visibility[hidden], 1)
    tilt = rng.normal(0, 0.12)
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    joints = np.stack([places[name][:2] for name in COCO_JOINTS]) @ turn.T
    return joints, visibility


def _turned(yaw: float) -> tuple[Vector, Vector]:
    """To the person's left and to its front, in x right, y down, z away from the camera.

    At 0 it faces the camera: its left is our right.
    """
    left = np.array([np.cos(yaw), 0, np.sin(yaw)])
    front = np.array([np.sin(yaw), 0, -np.cos(yaw)])
    return left, front


def _swing(angle: float, forward: float, out: Vector, front: Vector, up: Vector) -> Vector:
    """A direction that is `angle` away from down, towards the side (`forward` 0) or the front."""
    towards = np.cos(forward) * out + np.sin(forward) * front
    direction: Vector = -np.cos(angle) * up + np.sin(angle) * towards
    return direction


def _unit(vector: Vector) -> Vector:
    out: Vector = vector / np.linalg.norm(vector)
    return out


def random_skeletons(
    rng: np.random.Generator, side: int, count: int, apart: bool = True
) -> Keypoints:
    """Random people in a square image.

    Args:
        rng: where chance comes from.
        side: of the image, pixels.
        count: how many people.
        apart: each has a part of the image to itself, else they may stand in front of another.

    Returns:
        Keypoints with true scores; no joint lies outside the image.
    """
    joints = np.full((count, len(COCO_JOINTS), 2), np.nan, np.float32)
    visibility = np.zeros((count, len(COCO_JOINTS)), np.uint8)
    columns = {1: 1, 2: 2, 3: 3}.get(count, int(np.ceil(np.sqrt(count))))
    rows = -(-count // columns)
    for k in range(count):
        shape, seen = person(rng)
        if apart:
            corner = np.array([k % columns * side / columns, k // columns * side / rows])
            room = np.array([side / columns, side / rows])
        else:
            corner, room = np.zeros(2), np.full(2, float(side))
        low, extent = shape.min(axis=0), np.ptp(shape, axis=0)
        # The margin leaves room for the discs and rims of two neighbours.
        scale = ((room - 0.05 * side) / extent).min() * rng.uniform(
            *((0.7, 1) if apart else (0.4, 0.9))
        )
        start = corner + 0.025 * side + rng.random(2) * (room - 0.05 * side - scale * extent)
        joints[k] = start + scale * (shape - low)
        visibility[k] = seen
    visibility[rng.random(visibility.shape) < ABSENT] = 0
    joints[visibility == 0] = np.nan
    scores = (visibility > 0).astype(np.float32)
    return Keypoints(joints, visibility, scores, np.zeros((0, 2), np.float32), (side, side))


class Scene(NamedTuple):
    """What a camera sees.

    Attributes:
        depth: (S, S) float32 > 0, metres along the optical axis.
        normals: (S, S, 3) float32 unit, camera optical frame, pointing to the camera.
        unknown: (S, S) bool: pixels for which a sensor would have no prediction.
    """

    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    unknown: NDArray[np.bool_]


def scene(rng: np.random.Generator, size: int) -> Scene:
    """Look at five tilted walls and three to eight balls, with a hole in the prediction.

    Args:
        rng: source of all randomness.
        size: S, side of the image, pixels.

    Returns:
        The scene, 1 to about 12 m deep.
    """
    focal = size * rng.uniform(0.6, 1.1)
    axis = (np.arange(size) - (size - 1) / 2) / focal
    rays = np.ones((size, size, 3))  # (S, S, 3), z = 1, so lengths along a ray are depths
    rays[..., 0], rays[..., 1] = axis, axis[:, None]

    outward = np.array([[0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], float)
    outward += rng.normal(0, 0.15, outward.shape)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    distance = rng.uniform([5, 2, 2, 1, 1.5], [9, 4, 4, 2, 3])
    towards = rays @ outward.T  # (S, S, 5)
    # The camera is inside: a wall is hit where the ray goes its way, and the nearest hit counts.
    reach = np.where(towards > 1e-3, distance / np.maximum(towards, 1e-3), np.inf)
    depth = reach.min(axis=-1)
    normals = -outward[reach.argmin(axis=-1)]

    for _ in range(rng.integers(3, 9)):
        radius = rng.uniform(0.15, 0.8)
        z = rng.uniform(1.2 + radius, 5)
        centre = np.array([*rng.uniform(-0.45, 0.45, 2) * z * size / focal, z])
        square, along = (rays**2).sum(axis=-1), rays @ centre
        inside = along**2 - square * (centre @ centre - radius**2)
        hit = (along - np.sqrt(np.maximum(inside, 0))) / square
        front = (inside > 0) & (hit < depth)
        depth = np.where(front, hit, depth)
        facing = (hit[..., None] * rays - centre) / radius
        normals = np.where(front[..., None], facing, normals)

    column, row, radius = *rng.integers(0, size, 2), size * rng.uniform(0.02, 0.15)
    rows, columns = np.ogrid[:size, :size]
    unknown = (columns - column) ** 2 + (rows - row) ** 2 < radius**2
    return Scene(depth.astype(np.float32), normals.astype(np.float32), unknown)
