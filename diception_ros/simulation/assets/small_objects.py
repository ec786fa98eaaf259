# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small objects: what stands on tables, boards and floors."""

from __future__ import annotations

from itertools import pairwise
import math

import numpy as np

from diception_ros.simulation.assets.materials import (
    DARK,
    Material,
    Palette,
    flat,
    hsv,
    pick,
    seed,
    shade,
    shade_of,
)
from diception_ros.simulation.assets.primitives import SceneObject, about_y, about_z, coordinates


def bottle(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Body, shoulder, neck, cap and label."""
    radius, half = rng.uniform(0.028, 0.042), rng.uniform(0.07, 0.11)
    obj, glass = SceneObject('bottle', (radius, radius), 2.9 * half), pick(rng, palette.vivid)
    obj.cylinder(glass, (0, 0, half), radius, half)
    obj.ellipsoid(glass, (0, 0, 2 * half), (radius, radius, radius * 1.1))
    obj.cylinder(glass, (0, 0, 2.35 * half), radius * 0.38, half * 0.45)
    obj.cylinder(pick(rng, palette.vivid), (0, 0, 2.8 * half), radius * 0.45, half * 0.1)
    obj.cylinder(pick(rng, palette.paint), (0, 0, half), radius * 1.02, half * 0.4)
    return obj


def cup(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """With a handle, and something dark in it."""
    radius, half = rng.uniform(0.035, 0.048), rng.uniform(0.04, 0.055)
    obj = SceneObject('cup', (radius + 0.03, radius), 2 * half)
    china = pick(rng, palette.paint + palette.vivid)
    obj.cylinder(china, (0, 0, half), radius, half)
    obj.cylinder(flat((0.12, 0.07, 0.04)), (0, 0, 2 * half), radius * 0.85, 0.002)
    points = [
        np.array([radius * 0.9 + dx, 0, half + dz])
        for dx, dz in ((0, 0.022), (0.025, 0.018), (0.025, -0.018), (0, -0.022))
    ]
    for start, end in pairwise(points):
        obj.capsule(china, start, end, 0.005)
    return obj


def wine_glass(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Foot, stem and bowl."""
    radius, stem = rng.uniform(0.03, 0.04), rng.uniform(0.07, 0.1)
    glass = flat(
        hsv(rng.uniform(0.45, 0.65), rng.uniform(0.05, 0.25), rng.uniform(0.65, 0.95)), 0.9
    )
    obj = SceneObject('wine glass', (radius, radius), stem + 2.6 * radius)
    obj.cylinder(glass, (0, 0, 0.003), radius, 0.003)
    obj.cylinder(glass, (0, 0, stem / 2), 0.005, stem / 2)
    obj.ellipsoid(glass, (0, 0, stem + radius * 1.2), (radius, radius, radius * 1.4))
    return obj


def bowl(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Steps of growing radius, dark inside."""
    radius, height = rng.uniform(0.08, 0.14), rng.uniform(0.06, 0.09)
    obj = SceneObject('bowl', (radius, radius), height)
    china = pick(rng, palette.paint + palette.vivid)
    for k, share in enumerate((0.5, 0.76, 0.92, 1.0)):
        obj.cylinder(china, (0, 0, height * (2 * k + 1) / 8), radius * share, height / 8)
    obj.cylinder(shade_of(china, 0.6), (0, 0, height), radius * 0.9, 0.002)
    return obj


def fruit(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """An apple or an orange."""
    radius, is_apple = rng.uniform(0.034, 0.045), rng.uniform() < 0.5
    hue = rng.uniform(-0.03, 0.3) if is_apple else rng.uniform(0.06, 0.09)
    skin = flat(hsv(hue, rng.uniform(0.7, 0.95), rng.uniform(0.6, 0.95)), 0.5)
    obj = SceneObject('apple' if is_apple else 'orange', (radius, radius), 2 * radius)
    obj.ellipsoid(skin, (0, 0, radius * 0.93), (radius, radius, radius * 0.93))
    if is_apple:
        obj.cylinder(flat((0.25, 0.16, 0.08)), (0, 0, radius * 1.95), 0.003, 0.012)
    return obj


def book(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Lying, with pages between its covers."""
    half_x = rng.uniform(0.06, 0.09)
    half_y = rng.uniform(0.09, 0.13)
    half_z = rng.uniform(0.008, 0.025)
    obj, cover = SceneObject('book', (half_x, half_y), 2 * half_z), pick(rng, palette.vivid)
    pages = (half_x - 0.003, half_y - 0.004, half_z * 0.85)
    obj.box(flat((0.92, 0.9, 0.84), 0.0), (0.002, 0, half_z), pages)
    for z in (half_z * 0.12, half_z * 1.88):
        obj.box(cover, (0, 0, z), (half_x, half_y, half_z * 0.12))
    obj.box(cover, (-half_x + 0.002, 0, half_z), (0.002, half_y, half_z))
    return obj


def standing_book(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Its back to the front, as in a bookcase."""
    half_x = rng.uniform(0.07, 0.1)
    half_y = rng.uniform(0.01, 0.028)
    half_z = rng.uniform(0.09, 0.13)
    obj = SceneObject('book', (half_x, half_y), 2 * half_z)
    cover = pick(rng, palette.vivid + palette.paint)
    obj.box(cover, (0, 0, half_z), (half_x, half_y, half_z))
    pages = (half_x * 0.6, half_y * 0.8, half_z * 0.505)
    obj.box(flat((0.93, 0.91, 0.85), 0.0), (0.0, 0, half_z * 1.5), pages)
    title = (half_x, 0, half_z * rng.uniform(1.1, 1.5))
    obj.box(shade_of(cover, 1.6), title, (0.001, half_y, half_z * 0.1))
    return obj


def laptop(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Open, its screen to the front (so that somebody at the front can use it)."""
    half, depth, tilt = rng.uniform(0.15, 0.18), rng.uniform(0.1, 0.12), rng.uniform(0.05, 0.5)
    body = pick(rng, palette.metal)
    obj = SceneObject('laptop', (depth + 0.03, half), 2 * depth)
    obj.box(body, (0, 0, 0.008), (depth, half, 0.008))
    obj.box(DARK, (-0.03, 0, 0.0165), (depth * 0.5, half * 0.9, 0.001))
    lid, screen = np.array([0, 0, depth]), np.array([0.006, 0, depth])
    turn, hinge = about_y(-tilt), np.array([-depth, 0, 0.012])
    obj.box(body, coordinates(hinge + turn @ lid), (0.005, half, depth), turn)
    middle = coordinates(hinge + turn @ screen)
    obj.box(_screen(rng), middle, (0.002, half * 0.94, depth * 0.92), turn)
    return obj


def monitor(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A screen on a foot: COCO calls it tv."""
    half = rng.uniform(0.25, 0.55)
    tall = half * 0.6
    obj = SceneObject('tv', (0.11, half), 2 * tall + 0.12)
    obj.box(DARK, (0, 0, 0.008), (0.1, half * 0.4, 0.008))
    obj.box(DARK, (-0.03, 0, 0.09), (0.012, 0.03, 0.08))
    obj.box(DARK, (0, 0, 0.1 + tall), (0.018, half, tall))
    obj.box(_screen(rng), (0.018, 0, 0.1 + tall), (0.003, half - 0.012, tall - 0.012))
    return obj


def keyboard(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A board with rows of keys."""
    body = pick(rng, palette.metal)
    obj = SceneObject('keyboard', (0.07, 0.21), 0.02)
    obj.box(body, (0, 0, 0.008), (0.065, 0.21, 0.008))
    for k in range(4):
        obj.box(shade_of(body, 0.5), (-0.042 + 0.028 * k, 0, 0.017), (0.011, 0.2, 0.002))
    return obj


def mouse(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Of a computer."""
    obj = SceneObject('mouse', (0.05, 0.03), 0.035)
    obj.ellipsoid(pick(rng, palette.metal), (0, 0, 0.012), (0.05, 0.03, 0.022))
    return obj


def phone(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Lying on its back."""
    obj = SceneObject('cell phone', (0.075, 0.037), 0.01)
    obj.box(DARK, (0, 0, 0.004), (0.075, 0.037, 0.004))
    obj.box(_screen(rng), (0, 0, 0.0085), (0.068, 0.033, 0.001))
    return obj


def vase(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A belly, a neck, perhaps flowers."""
    radius, half = rng.uniform(0.05, 0.08), rng.uniform(0.08, 0.13)
    obj = SceneObject('vase', (radius, radius), 2.6 * half)
    china = pick(rng, palette.vivid + palette.paint)
    obj.ellipsoid(china, (0, 0, half * 0.95), (radius, radius, half * 0.95))
    obj.cylinder(china, (0, 0, half * 1.9), radius * 0.4, half * 0.3)
    obj.cylinder(china, (0, 0, 0.01), radius * 0.6, 0.01)
    if rng.uniform() < 0.6:
        stem = flat(hsv(0.33, 0.6, 0.4))
        for _ in range(int(rng.integers(2, 6))):
            x, y = rng.uniform(-0.07, 0.07, 2).tolist()
            top = np.array([x, y, 2.2 * half + rng.uniform(0.06, 0.16)])
            obj.capsule(stem, np.array([0, 0, 2 * half]), top, 0.004)
            obj.ellipsoid(pick(rng, palette.vivid), coordinates(top), (0.03, 0.03, 0.022))
    return obj


def small_plant(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """For a table or a window sill."""
    obj, radius = SceneObject('potted plant', (0.1, 0.1), 0.3), rng.uniform(0.05, 0.07)
    green = hsv(rng.uniform(0.22, 0.4), rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.6))
    leaf = Material('leaf', green, shade(green, 0.55), 0.2, seed(rng), 0.1)
    obj.cylinder(pick(rng, palette.vivid), (0, 0, radius), radius, radius)
    for k in range(int(rng.integers(5, 9))):
        turn, lean = about_z(2.4 * k), about_y(rng.uniform(0.1, 0.9))
        middle = turn @ lean @ np.array([0, 0, 0.09]) + np.array([0, 0, 2 * radius])
        obj.ellipsoid(leaf, coordinates(middle), (0.008, 0.028, 0.09), turn @ lean)
    return obj


def table_lamp(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A foot and a shade."""
    obj, metal = SceneObject('lamp', (0.11, 0.11), 0.42), pick(rng, palette.metal + palette.vivid)
    obj.ellipsoid(metal, (0, 0, 0.09), (0.06, 0.06, 0.09))
    obj.cylinder(metal, (0, 0, 0.22), 0.01, 0.06)
    glow = round(rng.uniform(0.2, 0.8), 2)
    cover = flat(hsv(0.11, rng.uniform(0.1, 0.4), 0.95), 0.0, glow)
    obj.cylinder(cover, (0, 0, 0.33), 0.11, 0.085)
    return obj


def microwave(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A dark window beside its knobs."""
    body = pick(rng, palette.metal + palette.paint)
    obj = SceneObject('microwave', (0.18, 0.25), 0.28)
    obj.box(body, (0, 0, 0.14), (0.17, 0.25, 0.135))
    obj.box(DARK, (0.171, -0.06, 0.14), (0.004, 0.17, 0.105))
    obj.box(palette.metal[0], (0.185, 0.1, 0.14), (0.01, 0.008, 0.09))
    for k in range(3):
        obj.cylinder(DARK, (0.172, 0.18, 0.07 + 0.07 * k), 0.018, 0.008, about_y(math.pi / 2))
    return obj


def sink(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A steel rim, a dark basin and a tap."""
    steel = flat((0.75, 0.76, 0.78), 0.9)
    obj = SceneObject('sink', (0.2, 0.26), 0.25)
    obj.box(steel, (0, 0, 0.004), (0.2, 0.26, 0.004))
    obj.box(flat((0.32, 0.33, 0.35), 0.6), (0.03, 0, 0.0085), (0.14, 0.22, 0.001))
    corners = [np.array([-0.16, 0, z]) for z in (0.0, 0.22)]
    corners += [np.array([0.0, 0, 0.24]), np.array([0.02, 0, 0.17])]
    for start, end in pairwise(corners):
        obj.capsule(steel, start, end, 0.012)
    return obj


def oven(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Stands alone: plates on top, a window in its door."""
    body = pick(rng, palette.metal + palette.paint)
    obj = SceneObject('oven', (0.32, 0.3), 0.9)
    obj.box(body, (0, 0, 0.45), (0.3, 0.3, 0.45))
    obj.box(DARK, (0.302, 0, 0.42), (0.006, 0.23, 0.16))
    obj.box(palette.metal[0], (0.325, 0, 0.63), (0.012, 0.24, 0.012))
    for k in range(4):
        obj.cylinder(DARK, (0.305, -0.2 + 0.13 * k, 0.78), 0.025, 0.012, about_y(math.pi / 2))
        obj.cylinder(DARK, (0.13 - 0.26 * (k % 2), 0.13 - 0.26 * (k // 2), 0.9), 0.09, 0.008)
    return obj


def _screen(rng: np.random.Generator) -> Material:
    if rng.uniform() < 0.35:
        return flat((0.03, 0.03, 0.04), 0.8)
    first = hsv(rng.uniform(), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.9))
    return Material('screen', first, first, 0.0, seed(rng), 0.3, 0.6)


# Objects on the floor: parcels, balls, toys, luggage.


def box(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A parcel with tape over it."""
    x, y, z = rng.uniform(0.08, 0.28), rng.uniform(0.08, 0.28), rng.uniform(0.06, 0.22)
    card = flat(hsv(rng.uniform(0.06, 0.1), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.8)), 0.0)
    obj = SceneObject('box', (x, y), 2 * z)
    obj.box(card if rng.uniform() < 0.6 else pick(rng, palette.paint), (0, 0, z), (x, y, z))
    obj.box(shade_of(card, 1.25), (0, 0, z), (x * 1.003, 0.025, z * 1.003))
    return obj


def ball(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A sports ball with a pattern."""
    radius, first = rng.uniform(0.08, 0.15), pick(rng, palette.vivid).first
    other = pick(rng, palette.vivid + palette.paint).first
    skin = Material(
        'checker' if rng.uniform() < 0.6 else 'stripe', first, other, 0.0, seed(rng), 0.4
    )
    obj = SceneObject('sports ball', (radius, radius), 2 * radius)
    obj.ellipsoid(skin, (0, 0, radius), (radius, radius, radius))
    return obj


def teddy(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Sits, its arms stretched out."""
    size = rng.uniform(0.8, 1.8)
    brown = hsv(rng.uniform(0.04, 0.11), rng.uniform(0.3, 0.7), rng.uniform(0.35, 0.8))
    fur = Material('noise', brown, shade(brown, 0.8), 0.1, seed(rng), 0.0)
    light = flat(shade(brown, 1.35))
    obj = SceneObject('teddy bear', (0.12 * size, 0.1 * size), 0.33 * size)

    def blob(
        material: Material, x: float, y: float, z: float, a: float, b: float, c: float
    ) -> None:
        obj.ellipsoid(material, (x * size, y * size, z * size), (a * size, b * size, c * size))

    blob(fur, 0, 0, 0.1, 0.075, 0.08, 0.1)
    blob(light, 0.03, 0, 0.1, 0.055, 0.055, 0.07)
    blob(fur, 0.01, 0, 0.24, 0.065, 0.07, 0.065)
    blob(light, 0.065, 0, 0.225, 0.03, 0.03, 0.025)
    blob(DARK, 0.093, 0, 0.232, 0.008, 0.01, 0.007)
    for side in (-1, 1):
        blob(fur, 0, side * 0.055, 0.295, 0.015, 0.028, 0.028)
        blob(DARK, 0.066, side * 0.025, 0.255, 0.008, 0.008, 0.008)
        blob(fur, 0.1, side * 0.06, 0.035, 0.075, 0.035, 0.035)
        blob(fur, 0.05, side * 0.09, 0.13, 0.065, 0.028, 0.028)
    return obj


def backpack(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Stands on the floor, pocket to the front."""
    cloth, other = pick(rng, palette.vivid), pick(rng, palette.vivid)
    obj = SceneObject('backpack', (0.17, 0.16), 0.48)
    obj.ellipsoid(cloth, (-0.02, 0, 0.2), (0.11, 0.16, 0.26))
    obj.box(cloth, (-0.02, 0, 0.17), (0.09, 0.15, 0.17))
    obj.ellipsoid(other, (0.09, 0, 0.14), (0.06, 0.12, 0.12))
    for y in (-0.09, 0.09):
        obj.capsule(other, np.array([-0.11, y, 0.1]), np.array([-0.11, y, 0.4]), 0.018)
    obj.capsule(other, np.array([-0.05, -0.04, 0.46]), np.array([-0.05, 0.04, 0.46]), 0.012)
    return obj


def suitcase(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """With ribs, wheels and a handle that is pulled out."""
    half, tall = rng.uniform(0.17, 0.24), rng.uniform(0.25, 0.35)
    shell = pick(rng, palette.vivid + palette.paint)
    obj = SceneObject('suitcase', (0.13, half), 2 * tall + 0.3)
    obj.box(shell, (0, 0, tall + 0.05), (0.11, half, tall))
    for k in range(-2, 3):
        rib = (0.112, k * half * 0.38, tall + 0.05)
        obj.box(shade_of(shell, 0.75), rib, (0.008, half * 0.06, tall * 0.9))
    for side in (-1, 1):
        obj.ellipsoid(DARK, (0, side * half * 0.8, 0.03), (0.03, 0.02, 0.03))
        obj.cylinder(palette.metal[0], (-0.07, side * 0.07, 2 * tall + 0.15), 0.008, 0.13)
    left, right = (np.array([-0.07, y, 2 * tall + 0.28]) for y in (-0.08, 0.08))
    obj.capsule(DARK, left, right, 0.013)
    return obj
