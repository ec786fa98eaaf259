# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Furniture: what stands on the floor. Every builder draws sizes and materials at random."""

from __future__ import annotations

import math

import numpy as np

from diception_ros.simulation.assets.materials import (
    Material,
    Palette,
    flat,
    hsv,
    pick,
    seed,
    shade,
    shade_of,
)
from diception_ros.simulation.assets.primitives import SceneObject, Seat, Surface, about_y, about_z


def chair(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A chair with four legs, or an office chair on a star."""
    half, seat, back = rng.uniform(0.19, 0.24), rng.uniform(0.42, 0.48), rng.uniform(0.2, 0.3)
    obj = SceneObject('chair', (half + 0.03, half + 0.03), seat + 2 * back + 0.05)
    cover = pick(rng, palette.fabric if rng.uniform() < 0.5 else palette.wood)
    frame = pick(rng, palette.metal if rng.uniform() < 0.4 else palette.wood)
    thick = 0.018 if cover in palette.wood else 0.035
    obj.box(cover, (0, 0, seat - thick), (half, half, thick))
    obj.seats.append(Seat(0, 0, seat))
    if rng.uniform() < 0.3:
        obj.box(cover, (-half + 0.02, 0, seat + 0.08 + back), (0.03, half * 0.9, back))
        obj.box(frame, (-half, 0, seat + 0.06), (0.012, 0.03, 0.12))
        obj.cylinder(frame, (0, 0, seat / 2), 0.025, seat / 2 - 0.05)
        for k in range(5):
            turn = about_z(2 * math.pi * k / 5)
            x, y, _ = (turn @ [0.14, 0, 0]).tolist()
            obj.box(frame, (x, y, 0.06), (0.14, 0.02, 0.015), turn)
            x, y, _ = (turn @ [0.26, 0, 0]).tolist()
            obj.ellipsoid(frame, (x, y, 0.03), (0.03, 0.03, 0.03))
        return obj
    _legs(obj, frame, half - 0.02, half - 0.02, seat - 2 * thick, 0.018)
    if rng.uniform() < 0.5:
        obj.box(cover, (-half + 0.02, 0, seat + back), (0.02, half, back))
    else:
        for y in (-half + 0.018, half - 0.018):
            obj.box(frame, (-half + 0.018, y, seat + back), (0.018, 0.018, back))
        for k in range(3):
            obj.box(frame, (-half + 0.02, 0, seat + back * (0.7 + 0.5 * k)), (0.01, half, 0.035))
    return obj


def couch(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """An armchair is a narrow one; cushions, arms and perhaps pillows."""
    places = int(rng.integers(1, 4))
    seat, depth, arm = rng.uniform(0.4, 0.46), rng.uniform(0.4, 0.47), rng.uniform(0.07, 0.11)
    inner = 0.31 * places
    half = inner + 2 * arm
    obj = SceneObject('couch', (depth, half), seat + rng.uniform(0.35, 0.48))
    cover = pick(rng, palette.fabric)
    cushion = cover if rng.uniform() < 0.6 else pick(rng, palette.fabric)
    obj.box(cover, (0, 0, 0.2), (depth, half, 0.14))
    obj.box(cover, (-depth + 0.1, 0, obj.height / 2 + 0.03), (0.1, half, obj.height / 2 - 0.03))
    for side in (-1, 1):
        obj.box(cover, (0, side * (inner + arm), 0.32), (depth, arm, 0.28))
        obj.ellipsoid(cover, (0, side * (inner + arm), 0.6), (depth, arm, 0.05))
    for k in range(places):
        y = (k - (places - 1) / 2) * 0.62
        obj.box(cushion, (0.1, y, seat - 0.05), (depth - 0.1, 0.3, 0.05))
        obj.ellipsoid(cushion, (-depth + 0.24, y, seat + 0.2), (0.1, 0.3, 0.21))
        obj.seats.append(Seat(0.12, y, seat))
        if rng.uniform() < 0.3:
            middle = (-depth + 0.34, y + 0.1, seat + 0.17)
            obj.ellipsoid(pick(rng, palette.vivid), middle, (0.07, 0.2, 0.2), about_y(-0.3))
    for x in (-depth + 0.06, depth - 0.06):
        for y in (-half + 0.06, half - 0.06):
            obj.cylinder(pick(rng, palette.wood), (x, y, 0.03), 0.025, 0.03)
    return obj


def bed(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Head at the back, a blanket and pillows."""
    half, length, top = rng.uniform(0.45, 0.9), rng.uniform(0.98, 1.06), rng.uniform(0.42, 0.56)
    obj = SceneObject('bed', (length, half), rng.uniform(0.75, 1.1))
    frame = pick(rng, palette.wood)
    sheet = flat(hsv(rng.uniform(), rng.uniform(0, 0.2), rng.uniform(0.8, 1)), 0.0)
    blanket = pick(rng, palette.fabric)
    obj.box(frame, (0, 0, 0.2), (length, half, 0.08))
    _legs(obj, frame, length - 0.05, half - 0.05, 0.12, 0.04)
    obj.box(frame, (-length + 0.03, 0, obj.height / 2), (0.03, half, obj.height / 2))
    obj.box(sheet, (0.03, 0, top - 0.11), (length - 0.04, half - 0.02, 0.11))
    reach = rng.uniform(0.5, 0.72) * length
    obj.box(blanket, (length - reach, 0, top - 0.07), (reach + 0.012, half + 0.012, 0.095))
    for y in (-half / 2, half / 2) if half > 0.65 else (0.0,):
        obj.ellipsoid(sheet, (-length + 0.33, y, top + 0.04), (0.2, min(half * 0.8, 0.33), 0.085))
    obj.surfaces.append(Surface(length - reach, 0, top + 0.025, reach * 0.7, half * 0.7, 1.0))
    obj.seats.append(Seat(0.3, half - 0.3, top + 0.02))
    return obj


def dining_table(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Round on one leg, or rectangular on four."""
    return _table(rng, palette, 'dining table', (0.6, 1.0), (0.4, 0.5), (0.7, 0.78))


def desk(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A table to work at, sometimes on drawers."""
    obj = _table(rng, palette, 'desk', (0.6, 0.85), (0.3, 0.4), (0.7, 0.76), may_be_round=False)
    if rng.uniform() < 0.6:
        y, paint = obj.half[1] - 0.22, pick(rng, palette.paint)
        obj.box(paint, (0, y, 0.32), (obj.half[0] - 0.05, 0.18, 0.3))
        for k in range(3):
            drawer = shade_of(paint, 0.9)
            _front(obj, drawer, palette, obj.half[0] - 0.05, y, 0.12 + 0.2 * k, 0.17, 0.09)
    return obj


def low_table(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """In front of a couch."""
    return _table(rng, palette, 'table', (0.35, 0.6), (0.25, 0.4), (0.36, 0.48))


def bench(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A board on two sides."""
    half, height = rng.uniform(0.45, 0.8), rng.uniform(0.4, 0.47)
    obj, wood = SceneObject('bench', (0.18, half), height), pick(rng, palette.wood)
    obj.box(wood, (0, 0, height - 0.025), (0.18, half, 0.025))
    for y in (-half + 0.1, half - 0.1):
        obj.box(wood, (0, y, height / 2 - 0.025), (0.16, 0.025, height / 2 - 0.025))
    obj.seats.append(Seat(0, 0, height))
    return obj


def shelf(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A bookcase; its boards are surfaces."""
    half, depth, height = rng.uniform(0.35, 0.65), rng.uniform(0.14, 0.2), rng.uniform(0.8, 2.0)
    obj = SceneObject('shelf', (depth, half), height)
    board = pick(rng, palette.wood + palette.paint)
    obj.box(board, (-depth + 0.008, 0, height / 2), (0.008, half - 0.02, height / 2 - 0.01))
    for y in (-half + 0.012, half - 0.012):
        obj.box(board, (0, y, height / 2), (depth, 0.012, height / 2))
    floors = max(2, round(height / rng.uniform(0.3, 0.42)))
    gap = (height - 0.06) / floors
    for k in range(floors + 1):
        z = 0.04 + k * gap
        obj.box(board, (0.005, 0, z), (depth - 0.012, half - 0.022, 0.012))
        room = gap - 0.03 if k < floors else 0.4
        obj.surfaces.append(Surface(0.01, 0, z + 0.012, depth - 0.03, half - 0.05, room))
    return obj


def cabinet(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """From a bedside table to a wardrobe: doors or drawers with handles."""
    half, depth = rng.uniform(0.22, 0.7), rng.uniform(0.2, 0.3)
    height = rng.uniform(1.7, 2.1) if rng.uniform() < 0.3 else rng.uniform(0.45, 1.0)
    obj = SceneObject('cabinet', (depth + 0.03, half), height)
    body = pick(rng, palette.wood + palette.paint)
    door = body if rng.uniform() < 0.4 else pick(rng, palette.paint)
    obj.box(body, (0, 0, height / 2 + 0.03), (depth, half, height / 2 - 0.03))
    obj.box(shade_of(body, 0.5), (-0.02, 0, 0.03), (depth - 0.03, half - 0.02, 0.03))
    rows = 1 if height > 1.2 else int(rng.integers(1, 4))
    columns = 2 if half > 0.4 else 1
    tall, wide = (height - 0.1) / rows / 2, half / columns
    for r in range(rows):
        for c in range(columns):
            y = (2 * c + 1 - columns) * wide
            z = 0.08 + tall * (2 * r + 1)
            _front(obj, door, palette, depth, y, z, wide * 0.95, tall * 0.94)
    if height < 1.3:
        obj.surfaces.append(Surface(0, 0, height, depth * 0.85, half * 0.9, 0.8))
    return obj


def counter(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A kitchen worktop over doors; sink, oven and microwave are put on and into it."""
    half, depth, height = rng.uniform(0.8, 1.4), 0.3, rng.uniform(0.86, 0.92)
    obj, paint = SceneObject('counter', (depth + 0.03, half), height), pick(rng, palette.paint)
    obj.box(paint, (-0.01, 0, height / 2), (depth - 0.01, half, height / 2 - 0.035))
    obj.box(
        pick(rng, palette.wood + palette.metal), (0, 0, height - 0.02), (depth + 0.03, half, 0.02)
    )
    count = max(2, round(half / 0.28))
    for k in range(count):
        y = (2 * k + 1 - count) * half / count
        door = shade_of(paint, 0.95)
        _front(obj, door, palette, depth - 0.015, y, 0.45, half / count * 0.94, 0.36)
    obj.surfaces.append(Surface(0, 0, height, depth * 0.8, half * 0.92, 0.6))
    return obj


def refrigerator(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """Two doors, one above the other."""
    half, depth, height = rng.uniform(0.28, 0.36), rng.uniform(0.29, 0.34), rng.uniform(1.5, 1.9)
    obj = SceneObject('refrigerator', (depth + 0.05, half), height)
    tone = rng.uniform(0.6, 0.98)
    body = flat((round(tone, 3), round(tone, 3), round(tone, 3)), 0.6)
    if rng.uniform() < 0.3:
        body = pick(rng, palette.paint)
    obj.box(body, (0, 0, height / 2), (depth, half, height / 2))
    split = height * rng.uniform(0.3, 0.7)
    for low, high in ((0.06, split - 0.008), (split + 0.008, height - 0.01)):
        obj.box(
            body, (depth + 0.015, 0, (low + high) / 2), (0.015, half - 0.005, (high - low) / 2)
        )
        middle = min(max(split + (0.3 if low > split else -0.3), low + 0.15), high - 0.15)
        obj.box(palette.metal[0], (depth + 0.045, half - 0.06, middle), (0.015, 0.012, 0.13))
    return obj


def lamp(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A standard lamp."""
    height, metal = rng.uniform(1.2, 1.7), pick(rng, palette.metal)
    obj = SceneObject('lamp', (0.2, 0.2), height)
    obj.cylinder(metal, (0, 0, 0.012), 0.15, 0.012)
    obj.cylinder(metal, (0, 0, height / 2), 0.014, height / 2)
    glow = round(rng.uniform(0.2, 0.8), 2)
    cover = flat(hsv(0.11, rng.uniform(0.05, 0.4), 0.95), 0.0, glow)
    obj.cylinder(cover, (0, 0, height - 0.1), rng.uniform(0.12, 0.2), rng.uniform(0.1, 0.15))
    return obj


def plant(rng: np.random.Generator, palette: Palette) -> SceneObject:
    """A pot, and leaves on stems or a bush on a trunk."""
    pot, tall = rng.uniform(0.1, 0.18), rng.uniform(0.3, 0.9)
    obj = SceneObject('potted plant', (0.3, 0.3), 2 * pot + tall)
    green = hsv(rng.uniform(0.2, 0.4), rng.uniform(0.4, 0.9), rng.uniform(0.25, 0.65))
    leaf = Material('leaf', green, shade(green, 0.5), 0.3, seed(rng), 0.1)
    obj.cylinder(pick(rng, palette.paint), (0, 0, pot), pot, pot)
    obj.cylinder(flat((0.16, 0.1, 0.06)), (0, 0, 2 * pot), pot * 0.9, 0.006)
    if rng.uniform() < 0.5:
        obj.cylinder(pick(rng, palette.wood), (0, 0, 2 * pot + tall / 3), 0.02, tall / 3)
        for _ in range(int(rng.integers(5, 9))):
            x, y = rng.uniform(-0.15, 0.15, 2).tolist()
            z, size = 2 * pot + tall * rng.uniform(0.55, 1), rng.uniform(0.09, 0.17)
            obj.ellipsoid(leaf, (x, y, z), (size, size, size * 0.85))
        return obj
    for k in range(int(rng.integers(7, 13))):
        lean, turn = rng.uniform(0.15, 0.9), about_z(2.4 * k + rng.uniform(0, 0.5))
        size = tall * rng.uniform(0.35, 0.6)
        middle = turn @ about_y(lean) @ np.array([0, 0, size]) + np.array([0, 0, 2 * pot])
        x, y, z = middle.tolist()
        obj.ellipsoid(leaf, (x, y, z), (0.012, size * 0.28, size), turn @ about_y(lean))
    return obj


def _table(
    rng: np.random.Generator, palette: Palette, category: str, length: tuple[float, float],
    width: tuple[float, float], heights: tuple[float, float], may_be_round: bool = True,
) -> SceneObject:  # fmt: skip
    height, thick = rng.uniform(*heights), rng.uniform(0.015, 0.03)
    top = pick(rng, palette.wood + palette.paint[:1])
    frame = pick(rng, palette.wood + palette.metal)
    if may_be_round and rng.uniform() < 0.3:
        radius = rng.uniform(*width) * 1.15
        obj = SceneObject(category, (radius, radius), height)
        obj.cylinder(top, (0, 0, height - thick), radius, thick)
        obj.cylinder(frame, (0, 0, height / 2 - thick), 0.045, height / 2 - thick)
        obj.cylinder(frame, (0, 0, 0.015), radius * 0.5, 0.015)
        inside = radius * 0.65
        obj.surfaces.append(Surface(0, 0, height, inside, inside, 1.0))
        return obj
    half_x, half_y = rng.uniform(*width), rng.uniform(*length)
    obj = SceneObject(category, (half_x, half_y), height)
    obj.box(top, (0, 0, height - thick), (half_x, half_y, thick))
    leg = rng.uniform(0.02, 0.035)
    _legs(obj, frame, half_x - leg - 0.01, half_y - leg - 0.01, height - 2 * thick, leg)
    obj.surfaces.append(Surface(0, 0, height, half_x * 0.9, half_y * 0.92, 1.0))
    return obj


def _legs(
    obj: SceneObject, material: Material, x: float, y: float, height: float, half: float
) -> None:
    for a in (-x, x):
        for b in (-y, y):
            obj.box(material, (a, b, height / 2), (half, half, height / 2))


def _front(
    obj: SceneObject, material: Material, palette: Palette, x: float, y: float, z: float,
    half_y: float, half_z: float,
) -> None:  # fmt: skip
    # A door or drawer before a body that ends at x, with its handle.
    obj.box(material, (x + 0.006, y, z), (0.008, half_y, half_z))
    if half_z > half_y:
        handle = (0.008, 0.008, min(0.09, half_z * 0.5))
        obj.box(palette.metal[-1], (x + 0.024, y + half_y * 0.8, z), handle)
    else:
        handle = (0.008, min(0.09, half_y * 0.5), 0.008)
        obj.box(palette.metal[-1], (x + 0.024, y, z + half_z * 0.4), handle)
