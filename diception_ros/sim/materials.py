# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What surfaces look like: colours, and patterns painted by a seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diception_ros.sim import patterns

Pattern = Literal[
    'flat', 'noise', 'checker', 'brick', 'wood', 'plank', 'stripe', 'tile', 'speckle', 'leaf',
    'picture', 'screen', 'outdoors', 'dial',
]  # fmt: skip
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """One kind of surface.

    Attributes:
        pattern: what is painted; 'flat' is one colour.
        first: RGB in [0, 1], the ground.
        second: RGB in [0, 1], what is painted on it.
        scale: metres that one copy of the pattern covers; 0 stretches one copy over a face.
        seed: of the pattern.
        shine: strength of highlights, [0, 1].
        glow: light that it gives by itself, [0, 1], as lamps, screens and windows do.
    """

    pattern: Pattern
    first: Colour
    second: Colour
    scale: float = 0.5
    seed: int = 0
    shine: float = 0.1
    glow: float = 0.0

    def texture(self) -> NDArray[np.uint8]:
        """The pattern in its colours: (n, n, 3) uint8 RGB; tiles without a seam where it tiles."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        return patterns.paint(self.pattern, np.array(self.first), np.array(self.second), rng)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB of hue, saturation and value, all in [0, 1]; the hue wraps around."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(saturation, 1), min(value, 1))
    return round(red, 4), round(green, 4), round(blue, 4)


def flat(colour: Colour, shine: float = 0.1, glow: float = 0.0) -> Material:
    """A surface of one colour."""
    return Material('flat', colour, colour, shine=round(shine, 3), glow=glow)


DARK = flat((0.05, 0.05, 0.06), 0.3)  # black plastic: screens, wheels, eyes of toys


@dataclass(frozen=True)
class Palette:
    """The materials of one room, so that its furniture looks chosen by one person.

    Attributes:
        floor: of the floor.
        walls: of the walls; the last may differ from the others.
        ceiling: of the ceiling.
        wood: boards of furniture.
        fabric: covers of couches, beds, rugs and curtains.
        paint: lacquered furniture and plastics.
        metal: legs and handles.
        vivid: strong colours of small things.
        clothes: of people.
    """

    floor: Material
    walls: tuple[Material, ...]
    ceiling: Material
    wood: tuple[Material, ...]
    fabric: tuple[Material, ...]
    paint: tuple[Material, ...]
    metal: tuple[Material, ...]
    vivid: tuple[Material, ...]
    clothes: tuple[Material, ...]


def palette(rng: np.random.Generator) -> Palette:
    """Draw the materials of a room."""
    wood = tuple(_wood(rng) for _ in range(2))
    fabric = tuple(
        _patterned(rng, ('noise', 'stripe', 'checker', 'flat', 'speckle'), 0.15, 0.7, (0.2, 0.9))
        for _ in range(4)
    )
    paint = tuple(
        flat(hsv(rng.uniform(), rng.uniform(0, 0.55) ** 1.5, rng.uniform(0.25, 0.98)), 0.35)
        for _ in range(4)
    )
    metal = tuple(
        flat((v, v, round(v * 1.03, 4)), 0.8) for v in rng.uniform(0.12, 0.8, 2).round(3).tolist()
    )
    vivid = tuple(
        flat(hsv(rng.uniform(), rng.uniform(0.45, 1), rng.uniform(0.35, 1)), 0.4) for _ in range(8)
    )
    clothes = tuple(
        _patterned(rng, ('flat', 'flat', 'stripe', 'checker', 'noise'), 0.05, 0.2, (0.1, 0.95))
        for _ in range(6)
    )
    walls = (_wall(rng), _wall(rng)) if rng.uniform() < 0.4 else (_wall(rng),)
    tone = round(rng.uniform(0.78, 1), 4)
    white = (tone, tone, round(tone * rng.uniform(0.93, 1), 4))
    # It glows a little: light that comes up from the floor is not simulated.
    ceiling = flat(white, 0.0, round(rng.uniform(0.1, 0.3), 3))
    return Palette(
        _floor(rng), walls, ceiling, wood, fabric, paint, metal, vivid, clothes,
    )  # fmt: skip


def pick(rng: np.random.Generator, options: tuple[Material, ...]) -> Material:
    """One of several materials."""
    return options[int(rng.integers(len(options)))]


def shade(colour: Colour, factor: float) -> Colour:
    """A colour made darker or lighter."""
    red, green, blue = (round(min(1.0, max(0.0, part * factor)), 4) for part in colour)
    return red, green, blue


def shade_of(material: Material, factor: float) -> Material:
    """A material's ground in plain, darker or lighter."""
    return flat(shade(material.first, factor), material.shine)


def seed(rng: np.random.Generator) -> int:
    """A seed for a pattern."""
    return int(rng.integers(1 << 31))


def _patterned(
    rng: np.random.Generator,
    kinds: tuple[Pattern, ...],
    finest: float,
    coarsest: float,
    values: tuple[float, float],
) -> Material:
    first = hsv(rng.uniform(), rng.uniform(0, 0.85), rng.uniform(*values))
    second = shade(first, rng.uniform(0.45, 1.5))
    pattern = kinds[int(rng.integers(len(kinds)))]
    scale = round(rng.uniform(finest, coarsest), 3)
    return Material(pattern, first, second, scale, seed(rng), shine=0.03)


def _wood(rng: np.random.Generator) -> Material:
    first = hsv(rng.uniform(0.045, 0.105), rng.uniform(0.25, 0.75), rng.uniform(0.3, 0.9))
    return Material(
        'wood', first, shade(first, rng.uniform(0.6, 0.85)), round(rng.uniform(0.4, 0.9), 3),
        seed(rng), shine=0.2,
    )  # fmt: skip


def _wall(rng: np.random.Generator) -> Material:
    kinds: tuple[Pattern, ...] = ('flat', 'flat', 'noise', 'noise', 'stripe', 'brick', 'speckle')
    pattern = kinds[int(rng.integers(len(kinds)))]
    first = hsv(rng.uniform(), rng.uniform(0, 0.6) ** 1.6, rng.uniform(0.55, 0.98))
    if pattern == 'brick':
        first = hsv(rng.uniform(0.0, 0.08), rng.uniform(0.2, 0.6), rng.uniform(0.45, 0.8))
    second = shade(first, rng.uniform(0.8, 0.95))
    scale = round(rng.uniform(0.6, 1.1), 3)
    return Material(pattern, first, second, scale, seed(rng), shine=0.02)


def _floor(rng: np.random.Generator) -> Material:
    kinds: tuple[Pattern, ...] = ('plank', 'plank', 'tile', 'checker', 'noise', 'speckle')
    pattern = kinds[int(rng.integers(len(kinds)))]
    if pattern == 'plank':
        first = hsv(rng.uniform(0.04, 0.11), rng.uniform(0.2, 0.65), rng.uniform(0.35, 0.9))
    else:
        first = hsv(rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.3, 0.9))
    second = shade(first, rng.uniform(0.55, 0.88))
    shine = 0.25 if pattern in ('tile', 'checker', 'plank') else 0.0
    return Material(pattern, first, second, round(rng.uniform(0.7, 1.5), 3), seed(rng), shine)
