# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Exact intersection of rays with primitives: depth, normals, and the choice of views.

Computed in float64 on the CPU, so the result does not depend on a graphics card.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diception_ros.simulation.assets.primitives import PrimitiveType

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
    """Axis-aligned bounding boxes of the primitives, world.

    Args:
        primitives: the primitives.

    Returns:
        (N, 3) float64, metres, the lowest coordinates, and (N, 3) float64, the highest.
    """
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
