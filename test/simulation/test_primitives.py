# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rays meet primitives where their equations say, and normals are the gradients of those."""

from types import SimpleNamespace

import numpy as np
import pytest

from diception_ros.core.frame import Intrinsics
from diception_ros.simulation.assets.primitives import (
    Primitives,
    PrimitiveType,
    first_hit,
    intersect,
)
from diception_ros.simulation.cameras import PinholeCamera
from diception_ros.simulation.renderer import hit_geometry


def level(kind, size, p):
    """0 on the surface, > 0 outside; (P,) for points (P, 3) in the primitive's frame."""
    if kind == PrimitiveType.BOX:
        return (abs(p) - size).max(axis=1)
    if kind == PrimitiveType.ELLIPSOID:
        return np.linalg.norm(p / size, axis=1) - 1
    radius = np.hypot(p[:, 0], p[:, 1])
    if kind == PrimitiveType.CYLINDER:
        return np.maximum(radius - size[0], abs(p[:, 2]) - size[1])
    beyond = p[:, 2] - np.clip(p[:, 2], -size[1], size[1])
    return np.hypot(radius, beyond) - size[0]


@pytest.mark.parametrize('kind', list(PrimitiveType))
def test_hits_lie_on_the_surface_and_normals_are_its_gradient(kind):
    rng = np.random.default_rng(int(kind))
    size, place = np.array([0.5, 0.8, 0.3]), np.array([0.2, -0.4, 0.1])
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    one = Primitives(np.array([int(kind)]), size[None], place[None], turn[None])
    origin = place + turn @ np.array([2.0, 1.5, 2.5])
    aim = place + rng.normal(size=(3000, 3)) * 0.5
    rays = aim - origin
    t, normals, miss = intersect(one, np.zeros(len(rays), np.int64), origin, rays)
    assert 200 < miss.sum() < 2800
    local = (origin + t[:, None] * rays - place) @ turn
    assert abs(level(kind, size, local[~miss])).max() < 1e-9
    # Nothing is hit before: the way to the hit is outside, and a ray that misses stays outside.
    for share in np.linspace(0, 0.999, 40):
        before = (origin + (share * t)[:, None] * rays - place) @ turn
        assert (level(kind, size, before[~miss]) > -1e-9).all()
    for share in np.linspace(0, 3, 60):
        assert (level(kind, size, (origin + share * rays[miss] - place) @ turn) > -1e-9).all()
    step = 1e-6 * np.eye(3)
    gradient = np.stack(
        [level(kind, size, local + d) - level(kind, size, local - d) for d in step], axis=1
    )
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    cosine = ((gradient @ turn.T) * normals).sum(axis=1)[~miss]
    assert (cosine > 1 - 1e-6).mean() > 0.995  # an edge has no gradient


def test_the_nearest_of_many_is_hit_first():
    rng = np.random.default_rng(5)
    many = Primitives(
        rng.integers(0, 4, 30), rng.uniform(0.1, 0.5, (30, 3)), rng.uniform(-2, 2, (30, 3)),
        np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(30)]),
    )  # fmt: skip
    origin, rays = np.array([5.0, 0, 0]), rng.normal([-5, 0, 0], 1, (500, 3))
    index, distance = first_hit(many, origin, rays)
    every = np.full((30, 500), np.inf)
    for k in range(30):
        t, _, miss = intersect(many, np.full(500, k), origin, rays)
        every[k, ~miss & (t > 0)] = t[~miss & (t > 0)]
    np.testing.assert_allclose(distance, every.min(axis=0))
    assert (index[np.isinf(distance)] == -1).all()
    hit = np.isfinite(distance)
    assert 50 < hit.sum() < 500
    np.testing.assert_array_equal(index[hit], every.argmin(axis=0)[hit])


def test_a_normal_at_right_angles_to_its_ray_is_a_unit_vector():
    # OpenGL may draw a rim one pixel too wide; there the ray passes the ball by, and the nearest
    # point's normal may be at right angles to it to the last bit.
    kind, centre = np.array([int(PrimitiveType.ELLIPSOID)]), np.array([[2.0, 0, 5]])
    ball = Primitives(kind, np.ones((1, 3)), centre, np.eye(3)[None])
    camera = PinholeCamera(np.zeros(3), np.eye(3), Intrinsics(1, 1, 0, 0), (1, 1))
    depth, normals = hit_geometry(
        SimpleNamespace(primitives=ball), camera, np.zeros((1, 1), np.int64)
    )
    np.testing.assert_array_equal(normals, [[[-1, 0, 0]]])
    assert depth[0, 0] == 5
