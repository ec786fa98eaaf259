# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What lies about on the floor: parcels, balls, toys, luggage."""

from __future__ import annotations

import numpy as np

from diception_ros.sim.materials import (
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
from diception_ros.sim.shapes import Thing


def box(rng: np.random.Generator, palette: Palette) -> Thing:
    """A parcel with tape over it."""
    x, y, z = rng.uniform(0.08, 0.28), rng.uniform(0.08, 0.28), rng.uniform(0.06, 0.22)
    card = flat(hsv(rng.uniform(0.06, 0.1), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.8)), 0.0)
    thing = Thing('box', (x, y), 2 * z)
    thing.box(card if rng.uniform() < 0.6 else pick(rng, palette.paint), (0, 0, z), (x, y, z))
    thing.box(shade_of(card, 1.25), (0, 0, z), (x * 1.003, 0.025, z * 1.003))
    return thing


def ball(rng: np.random.Generator, palette: Palette) -> Thing:
    """A sports ball with a pattern."""
    radius, first = rng.uniform(0.08, 0.15), pick(rng, palette.vivid).first
    other = pick(rng, palette.vivid + palette.paint).first
    skin = Material(
        'checker' if rng.uniform() < 0.6 else 'stripe', first, other, 0.0, seed(rng), 0.4
    )
    thing = Thing('sports ball', (radius, radius), 2 * radius)
    thing.ellipsoid(skin, (0, 0, radius), (radius, radius, radius))
    return thing


def teddy(rng: np.random.Generator, palette: Palette) -> Thing:
    """Sits, its arms stretched out."""
    size = rng.uniform(0.8, 1.8)
    brown = hsv(rng.uniform(0.04, 0.11), rng.uniform(0.3, 0.7), rng.uniform(0.35, 0.8))
    fur = Material('noise', brown, shade(brown, 0.8), 0.1, seed(rng), 0.0)
    light = flat(shade(brown, 1.35))
    thing = Thing('teddy bear', (0.12 * size, 0.1 * size), 0.33 * size)

    def blob(
        material: Material, x: float, y: float, z: float, a: float, b: float, c: float
    ) -> None:
        thing.ellipsoid(material, (x * size, y * size, z * size), (a * size, b * size, c * size))

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
    return thing


def backpack(rng: np.random.Generator, palette: Palette) -> Thing:
    """Stands on the floor, pocket to the front."""
    cloth, other = pick(rng, palette.vivid), pick(rng, palette.vivid)
    thing = Thing('backpack', (0.17, 0.16), 0.48)
    thing.ellipsoid(cloth, (-0.02, 0, 0.2), (0.11, 0.16, 0.26))
    thing.box(cloth, (-0.02, 0, 0.17), (0.09, 0.15, 0.17))
    thing.ellipsoid(other, (0.09, 0, 0.14), (0.06, 0.12, 0.12))
    for y in (-0.09, 0.09):
        thing.capsule(other, np.array([-0.11, y, 0.1]), np.array([-0.11, y, 0.4]), 0.018)
    thing.capsule(other, np.array([-0.05, -0.04, 0.46]), np.array([-0.05, 0.04, 0.46]), 0.012)
    return thing


def suitcase(rng: np.random.Generator, palette: Palette) -> Thing:
    """With ribs, wheels and a handle that is pulled out."""
    half, tall = rng.uniform(0.17, 0.24), rng.uniform(0.25, 0.35)
    shell = pick(rng, palette.vivid + palette.paint)
    thing = Thing('suitcase', (0.13, half), 2 * tall + 0.3)
    thing.box(shell, (0, 0, tall + 0.05), (0.11, half, tall))
    for k in range(-2, 3):
        thing.box(
            shade_of(shell, 0.75),
            (0.112, k * half * 0.38, tall + 0.05),
            (0.008, half * 0.06, tall * 0.9),
        )
    for side in (-1, 1):
        thing.ellipsoid(DARK, (0, side * half * 0.8, 0.03), (0.03, 0.02, 0.03))
        thing.cylinder(palette.metal[0], (-0.07, side * 0.07, 2 * tall + 0.15), 0.008, 0.13)
    thing.capsule(
        DARK,
        np.array([-0.07, -0.08, 2 * tall + 0.28]),
        np.array([-0.07, 0.08, 2 * tall + 0.28]),
        0.013,
    )
    return thing
