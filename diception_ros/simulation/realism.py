# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that make simulated rooms look more like real ones; all are off by default.

Textures and light are applied here to the parts of a plain room. Cameras are in
`diception_ros.simulation.cameras`, furniture models in `diception_ros.simulation.assets.meshes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import math

import numpy as np

from diception_ros.simulation.assets.materials import (
    Color,
    Material,
    Pattern,
    hsv,
    seed,
    shade,
)
from diception_ros.simulation.assets.primitives import Primitive
from diception_ros.simulation.layout import Walls
from diception_ros.simulation.rooms import Light, rounded

# Of these, paint is print: letters, photographs, bands.
_PRINTED = ('book', 'box', 'bottle', 'suitcase', 'backpack', 'cup', 'sports ball', 'rug', 'bowl')
_WOVEN: tuple[Pattern, ...] = ('noise', 'stripe', 'checker', 'speckle')
_CLOTH_SHINE = 0.03  # which `materials.sample_palette` gives to fabric and clothes, plain ones too
_SURFACES: dict[str, Pattern] = {
    'floor': 'real floor', 'wall': 'real wall', 'ceiling': 'real ceiling',
}  # fmt: skip
_ALL = ('cameras', 'textures', 'lighting', 'reflections', 'meshes')
_SHARES = (*_ALL, 'closeups')  # at the end: each draws its own number of `sample`
_SHELL_THICK = 0.05  # metres; thinner parts of walls are skirting boards


@dataclass(frozen=True)
class Realism:
    """What is added to the plain rooms: the share of rooms, [0, 1], that each setting is on in.

    With all of them 0, rooms are what they are without it. Each setting draws from random numbers
    of its own: switching one on changes nothing that another one draws. Labels are always exact.

    Attributes:
        cameras: cameras roll by up to 25 degrees, look down as far as straight down, come close to
            things and tables, and start 0.1 m above the floor.
        textures: walls, floor, ceiling and furniture carry detail that is no geometry: prints,
            tiles, grain, pictures, posters, text, painted shadows, dirt.
        lighting: lamps are coloured, dim or glaring, or shine from one side.
        reflections: shiny floors mirror the room.
        meshes: furniture models stand among the furniture of primitives, if there is a folder.
        closeups: every view is of one thing, which fills much of the image, as in photographs that
            people take; in place of `cameras`.
        furniture: that folder, see `diception_ros.simulation.assets.meshes`; None for none.

    Raises:
        ValueError: a share outside [0, 1].
    """

    cameras: float = 0.0
    textures: float = 0.0
    lighting: float = 0.0
    reflections: float = 0.0
    meshes: float = 1.0
    closeups: float = 0.0
    furniture: str | None = None

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'realism: expected {name} in [0, 1], got {getattr(self, name)}')

    @property
    def is_plain(self) -> bool:
        """Whether every setting is off."""
        return not (
            self.cameras or self.textures or self.lighting or self.reflections or self.closeups
            or self.furniture
        )  # fmt: skip

    @classmethod
    def parse(cls, text: str, furniture: str | None = None) -> Realism:
        """Settings from names with optional shares, such as 'cameras,textures:0.8'.

        Args:
            text: names of settings, separated by commas; 'all' for all but closeups;
                '' for none.
            furniture: folder of furniture models.

        Raises:
            ValueError: an unknown name, or no share.
        """
        shares: dict[str, float] = {}
        for item in filter(None, (part.strip() for part in text.split(','))):
            name, _, share = item.partition(':')
            if name not in (*_SHARES, 'all'):
                raise ValueError(
                    f'realism: expected some of {", ".join(_SHARES)}, or all, got {name}'
                )
            try:
                value = float(share) if share else 1.0
            except ValueError:
                raise ValueError(f'realism: expected {name}:SHARE, got {item}') from None
            shares.update(dict.fromkeys(_ALL if name == 'all' else (name,), value))
        return cls(**shares, furniture=furniture)

    def sample(self, rng: np.random.Generator) -> Realism:
        """Settings of one room: each share becomes 0 or 1."""
        luck = rng.uniform(size=len(_SHARES))
        one = {k: float(u < getattr(self, k)) for k, u in zip(_SHARES, luck, strict=True)}
        return Realism(**one, furniture=self.furniture if one['meshes'] else None)


PLAIN = Realism()


def apply_textures(
    rng: np.random.Generator, parts: Sequence[Primitive], categories: Sequence[str]
) -> list[Primitive]:
    """Give parts of these categories other materials; their geometry and order stay.

    What had one material before still has one, but walls, floor and ceiling are all different.
    """
    known: dict[tuple[Material, str], Material] = {}
    out = []
    for part, category in zip(parts, categories, strict=True):
        if category in _SURFACES and min(part.size) > _SHELL_THICK:
            material = _shell(rng, part, category)
        else:
            key = (part.material, 'person' if category == 'person' else _group(category))
            if key not in known:
                known[key] = _thing(rng, part.material, category)
            material = known[key]
        out.append(replace(part, material=material))
    return out


def apply_reflections(
    rng: np.random.Generator, parts: Sequence[Primitive], categories: Sequence[str]
) -> list[Primitive]:
    """Make the floor a mirror, faint in most rooms and strong in few."""
    strength = round(float(rng.uniform(0, 1)) ** 2 * 0.5, 3) if rng.uniform() < 0.6 else 0.0
    return [
        replace(part, material=replace(part.material, reflectance=strength))
        if category == 'floor' else part
        for part, category in zip(parts, categories, strict=True)
    ]  # fmt: skip


def apply_lighting(
    rng: np.random.Generator, room: Walls, lamps: Sequence[Light],
    ambient: tuple[float, float, float],
) -> tuple[tuple[Light, ...], tuple[float, float, float]]:  # fmt: skip
    """Light of any colour and strength; sometimes from a side, as through a window.

    Returns:
        Lamps and ambient light; the first lamp casts shadows, as before.
    """
    u = rng.uniform
    # Warm as a bulb to cold as a cloudy sky; now and then a colour.
    warm = u(-0.25, 0.45) if u() < 0.6 else u(-0.1, 0.1)
    tint = np.array([1 + warm, 1.0, 1 - warm])
    if u() < 0.12:
        tint = tint * np.array(hsv(u(), u(0.2, 0.6), 1.0))
    draw = u()
    level = u(0.35, 0.7) if draw < 0.15 else u(1.9, 3.2) if draw > 0.75 else u(1.0, 1.9)
    key = u(0.7, 1.8)  # of the lamp with shadows against all others
    out = []
    for k, lamp in enumerate(lamps):
        color = np.array(lamp.colour) * tint * level * (key if lamp.shadow else 1 / key)
        lamp = replace(lamp, colour=rounded(color))
        if k == 0 and u() < 0.45:
            # A low light at one wall that shines across the room: long shadows, dark sides.
            wall, along = int(rng.integers(4)), u(-0.7, 0.7)
            place = room.against(wall, along * room.length(wall), 0.15)
            ahead = (math.cos(place.yaw), math.sin(place.yaw), u(-0.9, -0.25))
            lamp = replace(
                lamp, position=rounded((place.x, place.y, min(room.height - 0.2, u(1.2, 2.3)))),
                direction=rounded(ahead), colour=rounded(color * u(1.0, 1.8)),
            )  # fmt: skip
        out.append(lamp)
    fill = level**0.7 * u(0.5, 1.2)
    return tuple(out), rounded(np.array(ambient) * fill * (0.5 + 0.5 * tint))


def _shell(rng: np.random.Generator, part: Primitive, category: str) -> Material:
    old = part.material
    first, second = old.first, old.second
    if rng.uniform() < 0.6:
        first = _sober(rng, category)
        second = shade(first, rng.uniform(0.35, 1.4))
    x, y, _ = (2 * length for length in part.size)
    return Material(
        _SURFACES[category], first, second, 0.0, seed(rng), old.shine, old.glow, extent=(x, y)
    )


def _sober(rng: np.random.Generator, category: str) -> Color:
    # Walls are white more often than pink, floors brown or grey.
    if category == 'floor' and rng.uniform() < 0.5:
        return hsv(rng.uniform(0.03, 0.12), rng.uniform(0.15, 0.6), rng.uniform(0.25, 0.85))
    low = 0.3 if category == 'floor' else 0.6
    return hsv(rng.uniform(0, 1), rng.uniform(0, 0.3) ** 1.5, rng.uniform(low, 1))


def _group(category: str) -> str:
    return 'print' if category in _PRINTED else ''


def _thing(rng: np.random.Generator, old: Material, category: str) -> Material:
    luck, pattern = rng.uniform(), old.pattern
    new: Callable[..., Material] = lambda name, scale: Material(  # noqa: E731
        name, old.first, shade(old.first, rng.uniform(0.4, 1.5)), scale, seed(rng), old.shine,
        old.glow,
    )  # fmt: skip
    if pattern in ('picture', 'screen'):
        return new('real photograph' if luck < 0.6 else 'real page', 0.0)
    if old.glow or pattern in ('outdoors', 'dial', 'leaf'):
        return old
    if pattern in _WOVEN or (pattern == 'flat' and old.shine == _CLOTH_SHINE):
        return new('real cloth', old.scale) if luck < 0.85 else old
    if category == 'person' or max(old.first) < 0.1:
        return old
    if pattern == 'wood':
        return replace(new('real board', old.scale), second=old.second) if luck < 0.8 else old
    if category in _PRINTED:
        return new('real print', 0.0) if luck < 0.7 else old
    return new('real paint', 0.0) if luck < 0.7 else old
