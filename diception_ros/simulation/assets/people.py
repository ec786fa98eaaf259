# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""People: bodies of capsules and ellipsoids in plausible poses, with 17 joints."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.simulation.assets.materials import Material, Palette, flat, hsv, pick
from diception_ros.simulation.assets.primitives import (
    Rotation,
    SceneObject,
    Triple,
    about_x,
    about_y,
    about_z,
    along,
    coordinates,
)

Posture = Literal['stand', 'walk', 'sit', 'reach', 'bend']
_SIDES = ((1, 0), (-1, 1))  # y of the person's left and right, and their offsets in COCO's order

# Lengths as shares of the body's height.
# Source: Drillis and Contini, Body Segment Parameters (1966), rounded.
_ANKLE, _SHIN, _THIGH, _TORSO = 0.045, 0.245, 0.245, 0.285
_SEATED = 0.062  # from a seat up to the hip joints
_HIP, _SHOULDER, _UPPER_ARM, _FOREARM, _HEAD = 0.052, 0.112, 0.17, 0.152, 0.115


class Limb(NamedTuple):
    """Angles of an arm or a leg, radians: forward, sideways from the body, and of its joint."""

    forward: float
    aside: float
    bend: float


@dataclass(frozen=True, eq=False)
class JointAngles:
    """The angles of a body, radians; arms and legs as (left, right)."""

    lean: float
    head: tuple[float, float]  # turned to the left, bowed
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]


@dataclass(frozen=True, eq=False)
class Person:
    """A person in their own frame: on the floor, facing x.

    Attributes:
        obj: what they look like.
        joints: (17, 3) float64, metres, in the order of COCO_JOINTS.
        flesh: (17,) float64, metres: largest depth of the skin in front of a joint.
    """

    obj: SceneObject
    joints: NDArray[np.float64]
    flesh: NDArray[np.float64]


def person(
    rng: np.random.Generator, palette: Palette, posture: Posture, seat: float = 0.45
) -> Person:
    """Draw a person.

    Returns:
        The person; the lowest foot stands on the floor, or the body sits at the height of the seat
        above the origin.
    """
    height = rng.uniform(1.5, 1.92)
    pose = _joint_angles(rng, posture, seat / height)
    hips = _THIGH + _SHIN + _ANKLE if posture != 'sit' else seat / height + _SEATED
    joints = _skeleton(height, hips, pose)
    if posture != 'sit':
        joints[:, 2] -= joints[15:, 2].min() - _ANKLE * height
    half = 0.2 if posture != 'walk' else 0.35
    obj = SceneObject('person', (half, 0.28), float(joints[:5, 2].max()) + 0.12)
    _dress(obj, rng, palette, joints, pose, height)
    flesh = np.array([0.03] * 5 + [0.075] * 2 + [0.06] * 2 + [0.055] * 2 + [0.12] * 2 + [0.08] * 4)
    return Person(obj, joints, flesh * height / 1.75)


def _joint_angles(rng: np.random.Generator, posture: Posture, seat: float) -> JointAngles:
    u = rng.uniform
    head = (u(-0.7, 0.7), u(-0.15, 0.4))
    lean = {'walk': u(0.0, 0.12), 'bend': u(0.6, 1.1), 'sit': u(-0.15, 0.25)}.get(
        posture, u(-0.04, 0.1)
    )
    if posture == 'walk':
        stride = u(0.3, 0.6) * (1 if u() < 0.5 else -1)
        legs = tuple(
            Limb(a * stride, u(0, 0.05), u(0.05, 0.2) if a * stride > 0 else u(0.2, 0.9))
            for a, _ in _SIDES
        )
        arms = tuple(
            Limb(-a * stride * u(0.6, 1.1), u(0.06, 0.2), u(0.15, 0.8)) for a, _ in _SIDES
        )
        return JointAngles(lean, head, _two(arms), _two(legs))
    if posture == 'sit':
        # The knee is bent so that the foot comes down to the floor, or hangs.
        thigh = u(1.38, 1.55)
        drop = (seat + _SEATED - _THIGH * math.cos(thigh) - _ANKLE) / _SHIN
        slope = math.acos(min(0.98, max(-1, drop)))
        legs = tuple(
            Limb(thigh, u(0.05, 0.22), thigh + (slope if u() < 0.5 else -slope)) for _ in _SIDES
        )
        arms = tuple(
            Limb(u(0.3, 0.8), u(0.05, 0.25), u(0.6, 1.4)) if u() < 0.75 else _arm(rng, 'reach')
            for _ in _SIDES
        )
        return JointAngles(lean, head, _two(arms), _two(legs))
    hip = lean + u(-0.08, 0.12) if posture == 'bend' else u(-0.06, 0.1)
    legs = tuple(Limb(hip * 0.35 + u(-0.08, 0.08), u(0.02, 0.14), u(0, 0.25)) for _ in _SIDES)
    active = int(rng.integers(3))  # left, right or both
    arms = tuple(
        _arm(rng, posture if posture != 'stand' and active in (2, k) else 'stand')
        for _, k in _SIDES
    )
    return JointAngles(lean, head, _two(arms), _two(legs))


def _arm(rng: np.random.Generator, posture: Posture) -> Limb:
    u = rng.uniform
    if posture == 'reach':
        if u() < 0.5:
            return Limb(u(1.0, 1.7), u(0, 0.4), u(0.05, 0.7))  # to something before them
        return Limb(u(2.2, 2.9), u(0.05, 0.5), u(0.1, 0.9))  # to something high, or a wave
    if posture == 'bend':
        return Limb(u(0.9, 1.5), u(0, 0.2), u(0.05, 0.5))
    if u() < 0.3:
        return Limb(u(0.2, 0.6), u(0.05, 0.2), u(1.2, 1.9))  # holds something
    return Limb(u(-0.15, 0.15), u(0.06, 0.2), u(0.08, 0.4))


def _two(limbs: tuple[Limb, ...]) -> tuple[Limb, Limb]:
    left, right = limbs
    return left, right


def _skeleton(height: float, hips: float, pose: JointAngles) -> NDArray[np.float64]:
    # Joints for a body of this height whose hips are at hips * height; z up, x forward.
    joints = np.zeros((17, 3))
    middle = np.array([0, 0, hips * height])
    trunk = about_y(pose.lean)
    neck = middle + trunk @ [0, 0, _TORSO * height]
    face = trunk @ about_y(-0.8 * pose.lean) @ about_z(pose.head[0]) @ about_y(pose.head[1])
    centre = (
        neck
        + trunk @ [0, 0, 0.035 * height]
        + face @ [0.012 * height, 0, _HEAD * height - 0.035 * height]
    )
    joints[0] = centre + face @ [0.062 * height, 0, -0.012 * height]
    for side, k in _SIDES:
        joints[1 + k] = centre + face @ [0.05 * height, side * 0.02 * height, 0.008 * height]
        joints[3 + k] = centre + face @ [0.0, side * 0.046 * height, -0.004 * height]
        joints[5 + k] = neck + trunk @ [0, side * _SHOULDER * height, -0.012 * height]
        joints[11 + k] = middle + np.array([0, side * _HIP * height, 0])
        arm, leg = pose.arms[k], pose.legs[k]
        upper = trunk @ about_x(side * arm.aside) @ about_y(-arm.forward)
        joints[7 + k] = joints[5 + k] + upper @ [0, 0, -_UPPER_ARM * height]
        lower = upper @ about_z(side * -0.35) @ about_y(-arm.bend)
        joints[9 + k] = joints[7 + k] + lower @ [0, 0, -_FOREARM * height]
        thigh = about_x(side * leg.aside) @ about_y(-leg.forward)
        joints[13 + k] = joints[11 + k] + thigh @ [0, 0, -_THIGH * height]
        joints[15 + k] = joints[13 + k] + thigh @ about_y(leg.bend) @ [0, 0, -_SHIN * height]
    return joints


def _dress(
    obj: SceneObject, rng: np.random.Generator, palette: Palette, joints: NDArray[np.float64],
    pose: JointAngles, height: float,
) -> None:  # fmt: skip
    h = height
    skin = flat(hsv(rng.uniform(0.04, 0.08), rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.95)), 0.15)
    shirt, trousers = pick(rng, palette.clothes), pick(rng, palette.clothes)
    shoes = flat(hsv(rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.05, 0.9)), 0.3)
    sleeves = shirt if rng.uniform() < 0.55 else skin
    stockings = trousers if rng.uniform() < 0.85 else skin
    trunk, build = about_y(pose.lean), rng.uniform(0.9, 1.15)
    hips = (joints[11] + joints[12]) / 2

    def on_trunk(x: float, z: float) -> Triple:
        return coordinates(hips + trunk @ np.array([x * h, 0, z * h]))

    for cloth, x, z, (depth, width, tall) in (
        (trousers, 0, 0.015, (0.066, 0.096, 0.085)),
        (shirt, 0.002, 0.115, (0.066, 0.093, 0.13)),
        (shirt, 0, 0.185, (0.068, 0.106, 0.12)),
    ):
        half = (depth * h * build, width * h * build, tall * h)
        obj.ellipsoid(cloth, on_trunk(x, z), half, trunk)
    obj.capsule(shirt, joints[5], joints[6], 0.04 * h)
    for k in (0, 1):
        obj.capsule(shirt, joints[5 + k], joints[7 + k], 0.03 * h * build)
        obj.capsule(sleeves, joints[7 + k], joints[9 + k], 0.024 * h)
        reach = joints[9 + k] - joints[7 + k]
        hand = joints[9 + k] + reach * (0.045 * h / np.linalg.norm(reach))
        obj.ellipsoid(skin, coordinates(hand), (0.02 * h, 0.026 * h, 0.05 * h), along(reach))
        obj.capsule(trousers, joints[11 + k], joints[13 + k], 0.045 * h * build)
        obj.capsule(stockings, joints[13 + k], joints[15 + k], 0.032 * h)
        down = joints[15 + k] - joints[13 + k]
        down = down / np.linalg.norm(down)
        # A foot is square to the shin, but not turned below the floor.
        ahead = np.cross([0, 1, 0], down) * -1
        heel = joints[15 + k] + down * 0.018 * h - ahead * 0.01 * h
        toe = heel + ahead * 0.085 * h
        heel[2], toe[2] = max(heel[2], 0.027 * h), max(toe[2], 0.024 * h)
        obj.capsule(shoes, heel, toe, 0.026 * h)
    _head(obj, rng, joints, pose, trunk, skin, h)


def _head(
    obj: SceneObject, rng: np.random.Generator, joints: NDArray[np.float64], pose: JointAngles,
    trunk: Rotation, skin: Material, h: float,
) -> None:  # fmt: skip
    face = trunk @ about_y(-0.8 * pose.lean) @ about_z(pose.head[0]) @ about_y(pose.head[1])
    centre = joints[0] - face @ [0.062 * h, 0, -0.012 * h]
    neck = (joints[5] + joints[6]) / 2

    def part(material: Material, middle: Triple, half: Triple) -> None:
        place = coordinates(centre + face @ np.array([share * h for share in middle]))
        x, y, z = half
        obj.ellipsoid(material, place, (x * h, y * h, z * h), face)

    hair = flat(hsv(rng.uniform(0.03, 0.12), rng.uniform(0, 0.7), rng.uniform(0.04, 0.75)), 0.2)
    obj.capsule(skin, neck, centre - face @ [0.01 * h, 0, 0.02 * h], 0.03 * h)
    part(skin, (0, 0, 0), (0.056, 0.045, 0.067))
    part(skin, (0.058, 0, -0.012), (0.011, 0.008, 0.012))
    style = rng.uniform()
    if style > 0.08:
        part(hair, (-0.012, 0, 0.018), (0.055, 0.049, 0.06))
    if style > 0.6:
        part(hair, (-0.035, 0, -0.03), (0.03, 0.047, 0.09))
    part(flat((0.6, 0.25, 0.22), 0.1), (0.05, 0, -0.034), (0.006, 0.014, 0.004))
    for side in (1, -1):
        part(skin, (0, side * 0.044, -0.004), (0.01, 0.006, 0.016))
        part(flat((0.96, 0.96, 0.95), 0.4), (0.046, side * 0.02, 0.008), (0.008, 0.01, 0.007))
        part(flat((0.08, 0.06, 0.05), 0.6), (0.0525, side * 0.02, 0.008), (0.004, 0.005, 0.005))
        part(hair, (0.05, side * 0.02, 0.021), (0.006, 0.012, 0.0025))
