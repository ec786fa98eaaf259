# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random people in random postures, as joints: what the pose task is tested on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diception_ros.labels import COCO_JOINTS, Keypoints

Floats = NDArray[np.float32]
Vector = NDArray[np.float64]

# Lengths and heights as parts of the stature; body: Drillis and Contini 1966, as reprinted in
# D. A. Winter, Biomechanics and Motor Control of Human Movement, figure 4.1; what the head
# needs beyond that is our estimate, to the percent.
SHOULDER, HIP, EYE = 0.818, 0.530, 0.936
HALF_SHOULDERS, HALF_HIPS = 0.129, 0.0955
UPPER_ARM, FOREARM, THIGH, SHANK = 0.186, 0.146, 0.245, 0.246
HALF_EYES, HALF_EARS, EYES_FORWARD, NOSE_FORWARD, NOSE_DOWN = 0.019, 0.044, 0.05, 0.065, 0.022

# How often a joint of the picture has not been annotated.
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


def crowd(rng: np.random.Generator, side: int, count: int, apart: bool = True) -> Keypoints:
    """Random people in a square picture.

    Args:
        rng: where chance comes from.
        side: of the picture, pixels.
        count: how many people.
        apart: each has a part of the picture to itself, else they may stand in front of another.

    Returns:
        Keypoints with true scores; no joint lies outside the picture.
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
