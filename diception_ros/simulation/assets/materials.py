# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Materials: colours, and procedural patterns from a seed (wood, brick, tiles, pictures)."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diception_ros.simulation.assets import textures

SIDE = 128  # of a texture, pixels

_Map = NDArray[np.float64]


def _grid() -> tuple[_Map, _Map]:
    row, column = np.mgrid[:SIDE, :SIDE] / SIDE
    return column, row


def _noise(rng: np.random.Generator, cells: tuple[int, ...] = (4, 8, 16, 32)) -> _Map:
    # Value noise: random grids of several finenesses, blended smoothly; it tiles.
    total = np.zeros((SIDE, SIDE))
    for n in cells:
        grid = rng.uniform(size=(n, n))
        place = np.arange(SIDE) * n / SIDE
        low = place.astype(int)
        part = place - low
        part = part * part * (3 - 2 * part)
        high = (low + 1) % n
        left = grid[low][:, low] * (1 - part) + grid[low][:, high] * part
        right = grid[high][:, low] * (1 - part) + grid[high][:, high] * part
        total += (left * (1 - part[:, None]) + right * part[:, None]) / n**0.5
    total -= total.min()
    return np.asarray(total / total.max())


def _checker(rng: np.random.Generator) -> _Map:
    column, row = _grid()
    odd = ((column * 4).astype(int) + (row * 4).astype(int)) % 2
    return np.asarray(odd * 0.9 + 0.1 * _noise(rng))


def _brick(rng: np.random.Generator) -> _Map:
    column, row = _grid()
    course = (row * 8).astype(int)
    along = (column * 4 + 0.5 * (course % 2)) % 4
    tones = rng.uniform(size=(8, 4))[course, along.astype(int)]
    joint = (along % 1 < 0.05) | ((row * 8) % 1 < 0.1)
    return np.where(joint, -1.2, 0.7 * tones + 0.3 * _noise(rng, (16, 32)))


def _wood_pattern(rng: np.random.Generator) -> _Map:
    column, _ = _grid()
    # A whole number of rings, so that the pattern tiles.
    rings = np.sin(2 * np.pi * (5 * column + 1.4 * _noise(rng, (2, 4))))
    fine = rng.uniform(size=SIDE)[None, :]
    return np.asarray(0.35 + 0.3 * rings + 0.2 * fine + 0.15 * _noise(rng, (16, 32)))


def _plank(rng: np.random.Generator) -> _Map:
    column, row = _grid()
    board = (column * 5).astype(int)
    end = (row + rng.uniform(size=5)[board]) % 1
    tone = rng.uniform(size=(5, 2))[board, (end > 0.5).astype(int)]
    gap = ((column * 5) % 1 < 0.05) | (end % 0.5 < 0.012)
    return np.where(gap, 1.6, 0.65 * tone + 0.35 * _wood_pattern(rng))


def _stripe(rng: np.random.Generator) -> _Map:
    column, _ = _grid()
    period = 6 * column % 1
    width = rng.uniform(0.25, 0.6)
    return (period < width) * 0.9 + 0.1 * _noise(rng, (32,))


def _tile(rng: np.random.Generator) -> _Map:
    column, row = _grid()
    tone = rng.uniform(size=(4, 4))[(column * 4).astype(int), (row * 4).astype(int)]
    joint = ((column * 4) % 1 < 0.05) | ((row * 4) % 1 < 0.05)
    return np.where(joint, 1.4, 0.25 * tone + 0.15 * _noise(rng))


def _speckle(rng: np.random.Generator) -> _Map:
    return (rng.uniform(size=(SIDE, SIDE)) > 0.8) * 0.7 + 0.3 * _noise(rng)


def _leaf(rng: np.random.Generator) -> _Map:
    return np.asarray(np.clip(2.2 * _noise(rng, (8, 16, 32)) - 0.6, 0, 1))


_SHARES = {
    'noise': _noise,
    'checker': _checker,
    'brick': _brick,
    'wood': _wood_pattern,
    'plank': _plank,
    'stripe': _stripe,
    'tile': _tile,
    'speckle': _speckle,
    'leaf': _leaf,
}


def _picture(rng: np.random.Generator, first: _Map, second: _Map) -> _Map:
    # Hills before a sky, or coloured fields: what hangs on walls.
    column, row = _grid()
    colors = rng.uniform(size=(6, 3))
    out = colors[0] * (1 - row[..., None]) + colors[1] * row[..., None]
    if rng.uniform() < 0.5:
        for k in range(3):
            line = (
                0.35
                + 0.18 * k
                + 0.12 * np.sin(2 * np.pi * (column * rng.uniform(0.5, 2) + rng.uniform()))
            )
            out = np.where((row > line)[..., None], colors[2 + k] * 0.8, out)
    else:
        for k in range(4):
            x, y, size = rng.uniform(0, 1, 3)
            inside = (abs(column - x) < 0.4 * size) & (abs(row - y) < 0.3)
            out = np.where(inside[..., None], colors[2 + k], out)
    border = (abs(column - 0.5) > 0.44) | (abs(row - 0.5) > 0.44)
    return np.where(border[..., None], first, out)


def _screen(rng: np.random.Generator, first: _Map, second: _Map) -> _Map:
    # Windows with lines of text on a background.
    column, row = _grid()
    out = first * (0.6 + 0.4 * row[..., None])
    for _ in range(3):
        left, top = rng.uniform(0.02, 0.5, 2)
        wide, high = rng.uniform(0.25, 0.48, 2)
        inside = (column > left) & (column < left + wide) & (row > top) & (row < top + high)
        color = rng.uniform(0.1, 1, 3)
        text = inside & ((row * 24) % 1 > 0.5) & (column < left + 0.8 * wide)
        out = np.where(inside[..., None], color, out)
        out = np.where(text[..., None], color * 0.45, out)
    return out


def _outdoors(rng: np.random.Generator, first: _Map, second: _Map) -> _Map:
    # Sky above trees, and the bars of a window.
    column, row = _grid()
    sky = np.array([0.72, 0.86, 1.0]) * (0.75 + 0.25 * row[..., None])
    clouds = np.clip(_noise(rng, (2, 4, 8)) * 1.6 - 0.7, 0, 1)[..., None]
    out = sky * (1 - clouds) + clouds
    trees = row > 0.55 + 0.25 * (_noise(rng, (4, 8, 16)) - 0.5)
    green = np.array([0.3, 0.5, 0.25]) * (0.5 + _noise(rng, (8, 16))[..., None])
    out = np.where(trees[..., None], green, out)
    bar = (abs(column - 0.5) < 0.02) | (abs(row - 0.5) < 0.02)
    return np.where(bar[..., None], first, out)


def _dial(rng: np.random.Generator, first: _Map, second: _Map) -> _Map:
    # Marks and two hands of a clock.
    column, row = _grid()
    x, y = column - 0.5, row - 0.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x) / (2 * np.pi)
    mark = (radius > 0.36) & (radius < 0.44) & (abs((angle * 12 + 0.5) % 1 - 0.5) < 0.12)
    dark = mark
    for length in (0.22, 0.33):
        turn = 2 * np.pi * rng.uniform()
        along = x * np.cos(turn) + y * np.sin(turn)
        across = abs(x * np.sin(turn) - y * np.cos(turn))
        dark |= (along > -0.04) & (along < length) & (across < 0.018)
    return np.where(dark[..., None], second, first)


_PICTURES = {
    'picture': _picture,
    'screen': _screen,
    'outdoors': _outdoors,
    'dial': _dial,
}


Pattern = Literal[
    'flat', 'noise', 'checker', 'brick', 'wood', 'plank', 'stripe', 'tile', 'speckle', 'leaf',
    'picture', 'screen', 'outdoors', 'dial',
    'real wall', 'real floor', 'real ceiling', 'real board', 'real cloth', 'real print',
    'real paint', 'real photograph', 'real page',
]  # fmt: skip
Color = tuple[float, float, float]


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
        extent: metres of a surface that one copy of a pattern covers, for patterns that are
            painted for one surface.
        reflectance: how much of the room a floor mirrors, [0, 1].
    """

    pattern: Pattern
    first: Color
    second: Color
    scale: float = 0.5
    seed: int = 0
    shine: float = 0.1
    glow: float = 0.0
    # Not in the digest of a scene, in which plain rooms have neither.
    extent: tuple[float, float] | None = field(default=None, repr=False)
    reflectance: float = field(default=0.0, repr=False)

    @property
    def is_detailed(self) -> bool:
        """Whether the pattern is one of `diception_ros.simulation.assets.textures`."""
        return self.pattern in textures.PAINTERS

    def texture(self) -> NDArray[np.uint8]:
        """The pattern in its colours: (n, m, 3) uint8 RGB; tiles without a seam where it tiles."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        first, second = np.array(self.first), np.array(self.second)
        if self.is_detailed:
            return textures.paint(self.pattern, first, second, rng, self.extent)
        if self.pattern in _PICTURES:
            colors = _PICTURES[self.pattern](rng, first, second)
        else:
            share = _SHARES[self.pattern](rng)[..., None]
            colors = first * (1 - share) + second * share
        return np.asarray(np.clip(colors, 0, 1) * 255 + 0.5, np.uint8)


def hsv(hue: float, saturation: float, value: float) -> Color:
    """RGB of hue, saturation and value, all in [0, 1]; the hue wraps around."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(saturation, 1), min(value, 1))
    return round(red, 4), round(green, 4), round(blue, 4)


def flat(color: Color, shine: float = 0.1, glow: float = 0.0) -> Material:
    """A surface of one colour."""
    return Material('flat', color, color, shine=round(shine, 3), glow=glow)


DARK = flat((0.05, 0.05, 0.06), 0.3)  # black plastic: screens, wheels, eyes of toys


@dataclass(frozen=True)
class Palette:
    """The materials of one room, shared by its furniture.

    Attributes:
        floor: of the floor.
        walls: of the walls; the last may differ from the others.
        ceiling: of the ceiling.
        wood: boards of furniture.
        fabric: covers of couches, beds, rugs and curtains.
        paint: lacquered furniture and plastics.
        metal: legs and handles.
        vivid: strong colours of small objects.
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


def sample_palette(rng: np.random.Generator) -> Palette:
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


def shade(color: Color, factor: float) -> Color:
    """A colour made darker or lighter."""
    red, green, blue = (round(min(1.0, max(0.0, part * factor)), 4) for part in color)
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
