# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The floor plan: which footprints are free, and where furniture fits."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np

from diception_ros.sim.shapes import Place


class Footprint(NamedTuple):
    """A rectangle on the floor that something occupies, metres, world.

    Attributes:
        x: of its middle.
        y: of its middle.
        half_x: half length along its own x.
        half_y: half length along its own y.
        yaw: of its x, radians.
        low: height at which the thing begins; people and cameras fit below a high one.
        high: height at which it ends.
    """

    x: float
    y: float
    half_x: float
    half_y: float
    yaw: float
    low: float
    high: float

    def distance(self, x: float, y: float) -> float:
        """Metres from a place to the rectangle; 0 inside."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        dx, dy = x - self.x, y - self.y
        outside_x = abs(c * dx + s * dy) - self.half_x
        outside_y = abs(c * dy - s * dx) - self.half_y
        return math.hypot(max(outside_x, 0.0), max(outside_y, 0.0))

    def overlaps(self, other: Footprint, gap: float = 0.0) -> bool:
        """Whether two rectangles come closer than a gap, by the separating axes."""
        for one in (self, other):
            for turn in (0.0, math.pi / 2):
                c, s = math.cos(one.yaw + turn), math.sin(one.yaw + turn)
                apart = abs(c * (other.x - self.x) + s * (other.y - self.y))
                if apart > self.extent(c, s) + other.extent(c, s) + gap:
                    return False
        return True

    def extent(self, c: float, s: float) -> float:
        """Half its length along the direction (c, s)."""
        a, b = math.cos(self.yaw), math.sin(self.yaw)
        return self.half_x * abs(a * c + b * s) + self.half_y * abs(a * s - b * c)


@dataclass(frozen=True)
class Walls:
    """A rectangular room about the origin, metres.

    Attributes:
        half_x: half its length along x.
        half_y: half its length along y.
        height: of the ceiling.
    """

    half_x: float
    half_y: float
    height: float

    def holds(self, footprint: Footprint, margin: float = 0.0) -> bool:
        """Whether a footprint lies inside, this far from the walls."""
        return (
            abs(footprint.x) + footprint.extent(1, 0) + margin <= self.half_x + 1e-9
            and abs(footprint.y) + footprint.extent(0, 1) + margin <= self.half_y + 1e-9
        )

    def against(self, wall: int, along: float, depth: float) -> Place:
        """The place of something whose back touches a wall.

        Args:
            wall: 0 to 3: the walls at -x, +x, -y, +y.
            along: metres along the wall, 0 in its middle.
            depth: metres from the wall to the middle of the thing.
        """
        x, y = self.half_x - depth, self.half_y - depth
        return (
            Place(-x, along, 0, 0),
            Place(x, along, 0, math.pi),
            Place(along, -y, 0, math.pi / 2),
            Place(along, y, 0, -math.pi / 2),
        )[wall]

    def length(self, wall: int) -> float:
        """Half the length of a wall, metres."""
        return self.half_y if wall < 2 else self.half_x


class Plan:
    """What is free in a room while it is being furnished."""

    def __init__(self, walls: Walls) -> None:
        self.walls = walls
        self.taken: list[Footprint] = []

    def take(
        self, place: Place, half: tuple[float, float], height: float, gap: float = 0.05
    ) -> bool:
        """Take a place if it is free; False where it is not."""
        wanted = Footprint(place.x, place.y, *half, place.yaw, place.z, place.z + height)
        if not self.walls.holds(wanted) or any(wanted.overlaps(t, gap) for t in self.taken):
            return False
        self.taken.append(wanted)
        return True

    def beside_wall(
        self, rng: np.random.Generator, half: tuple[float, float], height: float, tries: int = 12
    ) -> Place | None:
        """Find and take a place with the back to a wall; None where there is none."""
        for _ in range(tries):
            wall = int(rng.integers(4))
            reach = self.walls.length(wall) - half[1] - 0.02
            along = rng.uniform(-1, 1)
            if reach < 0:
                continue
            place = self.walls.against(wall, along * reach, half[0] + 0.015)
            if self.take(place, half, height):
                return place
        return None

    def anywhere(
        self, rng: np.random.Generator, half: tuple[float, float], height: float,
        margin: float = 0.1, tries: int = 12,
    ) -> Place | None:  # fmt: skip
        """Find and take a place at any heading; None where there is none."""
        for _ in range(tries):
            x = rng.uniform(-1, 1) * (self.walls.half_x - margin)
            y = rng.uniform(-1, 1) * (self.walls.half_y - margin)
            place = Place(x, y, 0, rng.uniform(-math.pi, math.pi))
            if self.take(place, half, height, margin):
                return place
        return None
