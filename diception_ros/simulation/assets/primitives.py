# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Objects as lists of primitives (boxes, ellipsoids, cylinders, capsules), and rays that hit them.

The world is in metres, z up. An object has its own frame: the origin on the floor (or table) below
its middle, x to its front, y to its left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.simulation.assets.materials import Material

Triple = tuple[float, float, float]
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
        category: a name of `diception_ros.simulation.assets`.
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
        self, material: Material, middle: Triple, half: Triple, turn: Rotation | None = None
    ) -> None:
        """Add a box of these half lengths."""
        self._add(PrimitiveType.BOX, half, middle, turn, material)

    def ellipsoid(
        self, material: Material, middle: Triple, half: Triple, turn: Rotation | None = None
    ) -> None:
        """Add an ellipsoid of these half axes."""
        self._add(PrimitiveType.ELLIPSOID, half, middle, turn, material)

    def cylinder(
        self, material: Material, middle: Triple, radius: float, half: float,
        turn: Rotation | None = None,
    ) -> None:  # fmt: skip
        """Add a cylinder along z of this half length."""
        self._add(PrimitiveType.CYLINDER, (radius, half, 0.0), middle, turn, material)

    def capsule(self, material: Material, start: Vector, end: Vector, radius: float) -> None:
        """Add a capsule whose caps are centred at two points."""
        size = (radius, float(np.linalg.norm(end - start)) / 2, 0.0)
        turn, middle = along(end - start), (start + end) / 2
        self.parts.append(Primitive(PrimitiveType.CAPSULE, size, middle, turn, material))

    def _add(
        self, kind: PrimitiveType, size: Triple, middle: Triple, turn: Rotation | None,
        material: Material,
    ) -> None:  # fmt: skip
        rotation = np.eye(3) if turn is None else turn
        self.parts.append(Primitive(kind, size, np.array(middle, float), rotation, material))

    def placed(self, place: Placement) -> list[Primitive]:
        """The primitives in the frame of the placement."""
        rotation, origin = about_z(place.yaw), np.array([place.x, place.y, place.z])
        return [
            replace(
                part,
                position=origin + rotation @ part.position,
                rotation=rotation @ part.rotation,
            )
            for part in self.parts
        ]


def coordinates(point: Vector) -> Triple:
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


# Exact intersection of rays with primitives: depth, normals, and the choice of views. Computed in
# float64 on the CPU, so the result does not depend on a graphics card.

_Floats = NDArray[np.float64]
_TINY = 1e-12  # keeps divisions finite for rays that are parallel to a face


@dataclass(frozen=True, eq=False)
class Primitives:
    """Many primitives as arrays.

    Attributes:
        kind: (N,) int64, values of `PrimitiveType`.
        size: (N, 3) float64, metres, see `PrimitiveType`.
        position: (N, 3) float64, metres, world.
        rotation: (N, 3, 3) float64, from the primitive's axes to the world's.
    """

    kind: NDArray[np.int64]
    size: _Floats
    position: _Floats
    rotation: _Floats


def first_hit(
    primitives: Primitives, origin: _Floats, directions: _Floats
) -> tuple[NDArray[np.int64], _Floats]:
    """First primitive that each ray from one point hits.

    Args:
        primitives: the primitives.
        origin: (3,) float64, metres, world; outside of all primitives.
        directions: (P, 3) float64, world, any length.

    Returns:
        (P,) int64, index of the primitive, -1 for none, and (P,) float64, the distance in lengths
        of the direction, infinite for none.
    """
    # Most rays miss a primitive: only those that enter its bounding sphere are computed.
    to = primitives.position - origin
    ahead = to @ directions.T
    square = np.einsum('pi,pi->p', directions, directions)
    passing = np.einsum('ni,ni->n', to, to)[:, None] - ahead**2 / square
    which, ray = np.nonzero(passing < _reach(primitives)[:, None] ** 2)
    distance, _, miss = intersect(primitives, which, origin, directions[ray])
    table = np.full((len(primitives.kind), len(directions)), np.inf)
    table[which, ray] = np.where(miss | (distance < 0), np.inf, distance)
    index = table.argmin(axis=0)
    nearest = table[index, np.arange(len(directions))]
    return np.where(np.isfinite(nearest), index, -1), nearest


def intersect(
    primitives: Primitives, index: NDArray[np.int64], origin: _Floats, directions: _Floats
) -> tuple[_Floats, _Floats, NDArray[np.bool_]]:
    """Intersect each ray with one given primitive.

    Args:
        primitives: the primitives.
        index: (P,) int64, the primitive that each ray is tested against.
        origin: (3,) float64, metres, world, of all rays.
        directions: (P, 3) float64, world, any length.

    Returns:
        (P,) float64, distance in lengths of the direction; (P, 3) float64, unit normal of the
        surface there, world, outward; (P,) bool, the rays that miss. A ray that misses gets the
        values of its closest approach, since a renderer may draw a rim one pixel too wide.
    """
    start = np.einsum('nij,ni->nj', primitives.rotation, origin - primitives.position)
    distance, normals = np.empty(len(index)), np.empty((len(index), 3))
    miss = np.empty(len(index), np.bool_)
    kinds = primitives.kind[index]
    for kind, enter in _INTERSECT.items():
        mine = np.flatnonzero(kinds == kind)
        if not mine.size:
            continue
        which = index[mine]
        rotation = primitives.rotation[which]
        # matmul on stacks of 3x3 calls BLAS once per ray; einsum is several times faster.
        heading = np.einsum('pij,pi->pj', rotation, directions[mine])
        t, normal, missed = enter(start[which], heading, primitives.size[which])
        distance[mine], miss[mine] = t, missed
        normals[mine] = np.einsum('pij,pj->pi', rotation, normal)
    length = np.sqrt(np.einsum('pi,pi->p', normals, normals))
    return distance, normals / np.maximum(length, _TINY)[:, None], miss


def contains(primitives: Primitives, point: _Floats) -> NDArray[np.bool_]:
    """(N,) bool: the primitives in which a point (3,), metres, world, lies."""
    local = np.einsum('nij,ni->nj', primitives.rotation, point - primitives.position)
    radius, half = primitives.size[:, 0], primitives.size[:, 1]
    beside, along = np.hypot(local[:, 0], local[:, 1]), np.abs(local[:, 2])
    return np.choose(
        primitives.kind,
        [
            (np.abs(local) < primitives.size).all(axis=1),
            ((local / np.where(primitives.size > 0, primitives.size, 1)) ** 2).sum(axis=1) < 1,
            (beside < radius) & (along < half),
            np.hypot(beside, np.maximum(along - half, 0)) < radius,
        ],
    )


def extents(primitives: Primitives) -> tuple[_Floats, _Floats]:
    """Axis-aligned boxes, world: (N, 3) float64, metres, lowest and highest coordinates."""
    turn, size = primitives.rotation, primitives.size
    tall = np.abs(turn[:, :, 2]) * size[:, 1:2]
    half = np.choose(
        primitives.kind[:, None],
        [
            np.einsum('nij,nj->ni', np.abs(turn), size),
            np.sqrt(np.einsum('nij,nj->ni', turn**2, size**2)),
            tall + size[:, :1] * np.sqrt(np.maximum(1 - turn[:, :, 2] ** 2, 0)),
            tall + size[:, :1],
        ],
    )
    return primitives.position - half, primitives.position + half


def _reach(primitives: Primitives) -> _Floats:
    # Radius of the bounding sphere of each primitive.
    a, b, c = primitives.size.T
    return np.choose(
        primitives.kind,
        [np.sqrt(a**2 + b**2 + c**2), primitives.size.max(axis=1), np.hypot(a, b), a + b],
    )


_Entry = tuple[_Floats, _Floats, NDArray[np.bool_]]


def _box(o: _Floats, d: _Floats, half: _Floats) -> _Entry:
    d = np.where(np.abs(d) < _TINY, _TINY, d)
    enter, leave = (-np.copysign(half, d) - o) / d, (np.copysign(half, d) - o) / d
    axis = enter.argmax(axis=1)
    rays = np.arange(len(o))
    normal = np.zeros_like(o)
    normal[rays, axis] = -np.sign(d[rays, axis])
    t = enter[rays, axis]
    return t, normal, t > leave.min(axis=1)


def _ellipsoid(o: _Floats, d: _Floats, half: _Floats) -> _Entry:
    t, miss = _ball(o / half, d / half)
    return t, (o + t[:, None] * d) / half**2, miss


def _ball(o: _Floats, d: _Floats) -> tuple[_Floats, NDArray[np.bool_]]:
    # Of radius 1 about the origin, in two or three dimensions.
    a = np.maximum(np.einsum('pi,pi->p', d, d), _TINY)
    b = np.einsum('pi,pi->p', o, d)
    inside = b * b - a * (np.einsum('pi,pi->p', o, o) - 1)
    return (-b - np.sqrt(np.maximum(inside, 0))) / a, inside < 0


def _cylinder(o: _Floats, d: _Floats, size: _Floats) -> _Entry:
    radius, half = size[:, :1], size[:, 1]
    side, miss = _ball(o[:, :2] / radius, d[:, :2] / radius)
    # The far side mirrors the near one about the closest approach to the axis.
    square = np.maximum(np.einsum('pi,pi->p', d[:, :2], d[:, :2]), _TINY)
    closest = -np.einsum('pi,pi->p', o[:, :2], d[:, :2]) / square
    dz = np.where(np.abs(d[:, 2]) < _TINY, _TINY, d[:, 2])
    cap, far_cap = (-np.copysign(half, dz) - o[:, 2]) / dz, (np.copysign(half, dz) - o[:, 2]) / dz
    t = np.maximum(side, cap)
    point = o + t[:, None] * d
    normal = np.where((side >= cap)[:, None], point * [1, 1, 0], [0, 0, 1] * -np.sign(dz)[:, None])
    return t, normal, miss | (t > np.minimum(2 * closest - side, far_cap))


def _capsule(o: _Floats, d: _Floats, size: _Floats) -> _Entry:
    radius, half = size[:, :1], size[:, 1]
    side, outside = _ball(o[:, :2] / radius, d[:, :2] / radius)
    beyond = outside | (np.abs(o[:, 2] + side * d[:, 2]) > half)
    t, miss, z = np.where(beyond, np.inf, side), beyond, o[:, 2] + side * d[:, 2]
    fallback = side
    for end in (-half, half):
        cap, missed = _ball((o - end[:, None] * [0, 0, 1]) / radius, d / radius)
        fallback = np.where(outside, cap, fallback)
        nearer = ~missed & (cap < t)
        t, z = np.where(nearer, cap, t), np.where(nearer, end, z)
        miss = miss & missed
    t = np.where(miss, fallback, t)
    point = o + t[:, None] * d
    point[:, 2] -= np.clip(z, -half, half)
    return t, point, miss


_INTERSECT = {
    PrimitiveType.BOX: _box,
    PrimitiveType.ELLIPSOID: _ellipsoid,
    PrimitiveType.CYLINDER: _cylinder,
    PrimitiveType.CAPSULE: _capsule,
}
