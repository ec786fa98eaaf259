# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The room: floor, walls, ceiling, objects on the walls, and lights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
import math

import numpy as np

from diception_ros.simulation.assets.materials import Material, Palette, flat, hsv, pick, seed
from diception_ros.simulation.assets.primitives import Placement, Rotation, SceneObject, about_y
from diception_ros.simulation.layout import FloorPlan, Footprint, Walls

_THICK = 0.1  # half thickness of walls, metres


@dataclass(frozen=True)
class Light:
    """A lamp under the ceiling, or the sun through the windows.

    Attributes:
        position: metres, world.
        direction: of its light, world.
        colour: RGB, strength included.
        shadow: whether it casts shadows.
        parallel: whether its rays are parallel, like the sun's.
    """

    # The digest of a scene holds the names of these fields, so they stay as they are.
    position: tuple[float, float, float]
    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    shadow: bool
    parallel: bool = False


def sample_walls(rng: np.random.Generator) -> Walls:
    """Draw the size of a room: 3 x 3 to 7 x 7 metres, 2.4 to 3.2 high."""
    return Walls(rng.uniform(1.5, 3.5), rng.uniform(1.5, 3.5), rng.uniform(2.4, 3.2))


def room_shell(room: Walls, palette: Palette) -> Iterator[tuple[SceneObject, Placement]]:
    """Floor, ceiling, four walls and their skirting boards."""
    x, y, height = room.half_x, room.half_y, room.height
    origin = Placement(0, 0, 0, 0)
    floor = SceneObject('floor', (x, y), 0)
    floor.box(palette.floor, (0, 0, -_THICK), (x + 2 * _THICK, y + 2 * _THICK, _THICK))
    yield floor, origin
    ceiling = SceneObject('ceiling', (x, y), 0)
    ceiling.box(palette.ceiling, (0, 0, height + _THICK), (x + 2 * _THICK, y + 2 * _THICK, _THICK))
    yield ceiling, origin
    board = palette.wood[0]
    for wall in range(4):
        half = room.length(wall)
        obj = SceneObject('wall', (_THICK, half), height)
        # The long way of a pattern lies: its x runs along the wall, its y up.
        obj.box(
            palette.walls[wall % len(palette.walls)],
            (-_THICK, 0, height / 2),
            (half + 2 * _THICK, height / 2, _THICK),
            UPRIGHT,
        )
        obj.box(board, (0.006, 0, 0.04), (0.006, half, 0.04))
        yield obj, room.against(wall, 0, 0)


# From a frame whose z points to the front to one whose x does: for pictures and walls.
UPRIGHT: Rotation = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])


def place_on_walls(
    rng: np.random.Generator, palette: Palette, plan: FloorPlan
) -> Iterator[tuple[SceneObject, Placement]]:
    """Place a door, windows, pictures, a clock and a TV where no tall furniture stands."""
    hung: list[Footprint] = []
    makers = [_door] + [_window] * int(rng.integers(0, 3)) + [_picture] * int(rng.integers(0, 4))
    makers += [_clock] if rng.uniform() < 0.4 else []
    makers += [_wall_tv] if rng.uniform() < 0.3 else []
    for make in makers:
        obj, low = make(rng, palette)
        for _ in range(8):
            wall = int(rng.integers(4))
            reach = plan.walls.length(wall) - obj.half[1] - 0.05
            along = rng.uniform(-1, 1)
            if reach < 0:
                continue
            place = plan.walls.against(wall, along * reach, 0.0)._replace(z=low)
            # Objects up to 0.3 m in front would hide it, or block the door.
            front = Footprint(place.x, place.y, 0.3, obj.half[1], place.yaw, low, low + obj.height)
            if all(
                not front.overlaps(other, 0.03) or other.high < low or other.low > front.high
                for other in (*plan.reserved, *hung)
            ):
                hung.append(front)
                yield obj, place
                break


def sample_lights(
    rng: np.random.Generator, room: Walls
) -> tuple[tuple[Light, ...], tuple[float, float, float]]:
    """Draw one to three ceiling lamps, sometimes the sun, and ambient light."""
    count, total = int(rng.integers(1, 4)), rng.uniform(0.6, 1.0)
    warmth = rng.uniform(-0.1, 0.14)
    out = []
    for k in range(count):
        x, y = (rng.uniform(-0.6, 0.6) * room.half_x, rng.uniform(-0.6, 0.6) * room.half_y)
        place = (round(x, 4), round(y, 4), round(room.height - rng.uniform(0.05, 0.3), 4))
        tilt = rng.uniform(-0.2, 0.2, 2).round(4).tolist()
        # The first lamp is a cone that casts shadows, and a glow about it that does not.
        for share, shadow in ((0.65, True), (0.35, False)) if k == 0 else ((1.0, False),):
            strength = share * total / count
            color = (strength * (1 + warmth), strength, strength * (1 - warmth))
            out.append(Light(place, (tilt[0], tilt[1], -1.0), rounded(color), shadow))
    if rng.uniform() < 0.3:
        angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.45)
        out.append(
            Light((0.0, 0.0, round(room.height, 4)),
                  (round(math.cos(angle), 4), round(math.sin(angle), 4), -1.2),
                  rounded((strength, strength * 0.95, strength * 0.85)),
                  shadow=False, parallel=True)
        )  # fmt: skip
    level = rng.uniform(0.22, 0.45)
    return tuple(out), rounded((level, level, level * rng.uniform(0.95, 1.15)))


def rounded(vector: Iterable[float]) -> tuple[float, float, float]:
    """Three numbers to four digits, which are equal on all machines."""
    x, y, z = (round(float(part), 4) for part in vector)
    return x, y, z


_Hung = tuple[SceneObject, float]  # and the height, metres, of its lower end


def _panel(
    obj: SceneObject, material: Material, x: float, y: float, z: float, half_x: float,
    half_y: float, half_z: float,
) -> None:  # fmt: skip
    # A board parallel to the wall whose texture stands upright.
    obj.box(material, (x, y, z), (half_y, half_z, half_x), UPRIGHT)


def _door(rng: np.random.Generator, palette: Palette) -> _Hung:
    half, height = rng.uniform(0.38, 0.46), rng.uniform(1.95, 2.1)
    obj = SceneObject('door', (0.05, half + 0.06), height + 0.06)
    leaf = pick(rng, palette.paint + palette.wood)
    frame = pick(rng, palette.paint)
    _panel(obj, leaf, 0.015, 0, height / 2, 0.015, half, height / 2)
    for side in (-1, 1):
        _panel(obj, frame, 0.02, side * (half + 0.03), height / 2, 0.02, 0.03, height / 2)
    _panel(obj, frame, 0.02, 0, height + 0.03, 0.02, half + 0.06, 0.03)
    for z in (0.55, 1.45):
        _panel(obj, leaf, 0.032, 0, z, 0.006, half * 0.7, 0.35)
    start, end = (np.array([0.07, half * share, 1.02]) for share in (0.85, 0.6))
    obj.capsule(palette.metal[0], start, end, 0.012)
    obj.cylinder(palette.metal[0], (0.05, half * 0.85, 1.02), 0.01, 0.025, about_y(math.pi / 2))
    return obj, 0.0


def _window(rng: np.random.Generator, palette: Palette) -> _Hung:
    half, tall = rng.uniform(0.4, 0.8), rng.uniform(0.45, 0.65)
    obj = SceneObject('window', (0.05, half + 0.06), 2 * tall + 0.12)
    tone = flat((0.93, 0.93, 0.92), 0.2)
    pane = Material('outdoors', tone.first, tone.first, 0.0, seed(rng), 0.5, 0.85)
    _panel(obj, pane, 0.01, 0, tall + 0.06, 0.005, half, tall)
    for side in (-1, 1):
        _panel(obj, tone, 0.02, side * (half + 0.03), tall + 0.06, 0.02, 0.03, tall + 0.06)
        _panel(obj, tone, 0.02, 0, tall + 0.06 + side * (tall + 0.03), 0.02, half, 0.03)
    obj.box(tone, (0.06, 0, 0.0), (0.06, half + 0.05, 0.015))
    return obj, rng.uniform(0.85, 1.0)


def _picture(rng: np.random.Generator, palette: Palette) -> _Hung:
    half, tall = rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.4)
    obj = SceneObject('picture', (0.03, half), 2 * tall)
    white = (0.93, 0.92, 0.9)
    _panel(obj, pick(rng, palette.wood + palette.metal), 0.012, 0, tall, 0.012, half, tall)
    image = Material('picture', white, white, 0.0, seed(rng), 0.05)
    _panel(obj, image, 0.024, 0, tall, 0.002, half - 0.02, tall - 0.02)
    return obj, rng.uniform(1.15, 1.6)


def _clock(rng: np.random.Generator, palette: Palette) -> _Hung:
    radius = rng.uniform(0.13, 0.2)
    obj = SceneObject('clock', (0.04, radius), 2 * radius)
    obj.cylinder(
        pick(rng, palette.vivid + palette.metal), (0.018, 0, radius), radius, 0.018, UPRIGHT
    )
    face = Material('dial', (0.96, 0.95, 0.92), (0.05, 0.05, 0.05), 0.0, seed(rng), 0.1)
    obj.cylinder(face, (0.037, 0, radius), radius * 0.88, 0.002, UPRIGHT)
    return obj, rng.uniform(1.6, 1.9)


def _wall_tv(rng: np.random.Generator, palette: Palette) -> _Hung:
    half = rng.uniform(0.4, 0.65)
    tall = half * 0.58
    obj = SceneObject('tv', (0.05, half), 2 * tall)
    first = hsv(rng.uniform(), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.9))
    on = Material(
        'picture' if rng.uniform() < 0.5 else 'screen', first, first, 0.0, seed(rng), 0.5, 0.7
    )
    _panel(obj, flat((0.04, 0.04, 0.045), 0.5), 0.02, 0, tall, 0.02, half, tall)
    screen = on if rng.uniform() < 0.6 else flat((0.02, 0.02, 0.025), 0.9)
    _panel(obj, screen, 0.041, 0, tall, 0.002, half - 0.015, tall - 0.015)
    return obj, rng.uniform(0.9, 1.2)
