# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Objects as lists of primitives: boxes, ellipsoids, cylinders, capsules.

The world is in metres, z up. An object has its own frame: the origin on the floor (or table) below
its middle, x to its front, y to its left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.simulation.assets.materials import Material

Vector = NDArray[np.float64]  # (3,) metres
Rotation = NDArray[np.float64]  # (3, 3), columns are the axes of the inner frame


class PrimitiveType(IntEnum):
    """Type of a primitive; comments give the meaning of its three sizes, metres."""

    BOX = 0  # half lengths along x, y, z
    ELLIPSOID = 1  # half axes along x, y, z
    CYLINDER = 2  # radius, half length along z, unused
    CAPSULE = 3  # radius, half length along z without the caps, unused


@dataclass(frozen=True, eq=False)
class Primitive:
    """One primitive.

    Attributes:
        kind: which primitive.
        size: see `PrimitiveType`, metres.
        position: (3,) float64, metres, of its middle.
        rotation: (3, 3) float64, from its own axes to those of the frame that it stands in.
        material: what it looks like.
    """

    kind: PrimitiveType
    size: tuple[float, float, float]
    position: Vector
    rotation: Rotation
    material: Material


class Placement(NamedTuple):
    """Position and heading of an object in the room: metres, radians."""

    x: float
    y: float
    z: float
    yaw: float


class Surface(NamedTuple):
    """A horizontal rectangle that objects can stand on, metres, in its owner's frame.

    Attributes:
        x: of its middle.
        y: of its middle.
        z: its height.
        half_x: half length along x.
        half_y: half length along y.
        room: free height above it.
    """

    x: float
    y: float
    z: float
    half_x: float
    half_y: float
    room: float


class Seat(NamedTuple):
    """A seat facing the front: metres in its owner's frame."""

    x: float
    y: float
    z: float


@dataclass
class SceneObject:
    """One object while it is built, in its own frame.

    Attributes:
        category: a name of `diception_ros.simulation.assets.categories`.
        half: half lengths of its footprint along x and y, metres.
        height: metres.
        parts: its primitives.
        surfaces: where objects can stand on it.
        seats: where people can sit on it.
    """

    category: str
    half: tuple[float, float]
    height: float
    parts: list[Primitive] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)

    def box(
        self,
        material: Material,
        middle: tuple[float, float, float],
        half: tuple[float, float, float],
        turn: Rotation | None = None,
    ) -> None:
        """Add a box of these half lengths."""
        self._add(PrimitiveType.BOX, half, middle, turn, material)

    def ellipsoid(
        self,
        material: Material,
        middle: tuple[float, float, float],
        half: tuple[float, float, float],
        turn: Rotation | None = None,
    ) -> None:
        """Add an ellipsoid of these half axes."""
        self._add(PrimitiveType.ELLIPSOID, half, middle, turn, material)

    def cylinder(
        self,
        material: Material,
        middle: tuple[float, float, float],
        radius: float,
        half: float,
        turn: Rotation | None = None,
    ) -> None:
        """Add a cylinder along z of this half length."""
        self._add(PrimitiveType.CYLINDER, (radius, half, 0.0), middle, turn, material)

    def capsule(self, material: Material, start: Vector, end: Vector, radius: float) -> None:
        """Add a capsule whose caps are centred at two points."""
        half = float(np.linalg.norm(end - start)) / 2
        middle = (start + end) / 2
        self.parts.append(
            Primitive(
                PrimitiveType.CAPSULE, (radius, half, 0.0), middle, along(end - start), material
            )
        )

    def _add(
        self,
        kind: PrimitiveType,
        size: tuple[float, float, float],
        middle: tuple[float, float, float],
        turn: Rotation | None,
        material: Material,
    ) -> None:
        rotation = np.eye(3) if turn is None else turn
        self.parts.append(Primitive(kind, size, np.array(middle, float), rotation, material))

    def placed(self, place: Placement) -> list[Primitive]:
        """The primitives in the frame of the placement."""
        rotation, origin = about_z(place.yaw), np.array([place.x, place.y, place.z])
        return [
            Primitive(
                part.kind,
                part.size,
                origin + rotation @ part.position,
                rotation @ part.rotation,
                part.material,
            )
            for part in self.parts
        ]


def coordinates(point: Vector) -> tuple[float, float, float]:
    """x, y and z of a point, as the methods of `SceneObject` take them."""
    x, y, z = point.tolist()
    return x, y, z


def about_x(angle: float) -> Rotation:
    """Rotation about x by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle: float) -> Rotation:
    """Rotation about y by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_z(angle: float) -> Rotation:
    """Rotation about z by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def along(direction: Vector) -> Rotation:
    """A rotation that takes z to this direction; about it any."""
    z = direction / math.sqrt(float(direction @ direction))
    other = np.array([1.0, 0, 0]) if abs(z[0]) < 0.9 else np.array([0, 1.0, 0])
    x = np.cross(other, z)
    x /= math.sqrt(float(x @ x))
    return np.stack([x, np.cross(z, x), z], axis=1)
