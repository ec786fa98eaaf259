# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A random room with balls, ray-cast exactly: the examples of the tasks about shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Scene(NamedTuple):
    """What a camera sees.

    Attributes:
        depth: (S, S) float32 > 0, metres along the optical axis.
        normals: (S, S, 3) float32 unit, camera optical frame, pointing to the camera.
        unknown: (S, S) bool: pixels for which a sensor would have no answer.
    """

    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    unknown: NDArray[np.bool_]


def scene(rng: np.random.Generator, size: int) -> Scene:
    """Look at five tilted walls and three to eight balls, with a hole in the answer.

    Args:
        rng: source of all randomness.
        size: S, side of the picture, pixels.

    Returns:
        The scene, 1 to about 12 m deep.
    """
    focal = size * rng.uniform(0.6, 1.1)
    axis = (np.arange(size) - (size - 1) / 2) / focal
    rays = np.ones((size, size, 3))  # (S, S, 3), z = 1, so lengths along a ray are depths
    rays[..., 0], rays[..., 1] = axis, axis[:, None]

    outward = np.array([[0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], float)
    outward += rng.normal(0, 0.15, outward.shape)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    distance = rng.uniform([5, 2, 2, 1, 1.5], [9, 4, 4, 2, 3])
    towards = rays @ outward.T  # (S, S, 5)
    # The camera is inside: a wall is hit where the ray goes its way, and the nearest hit counts.
    reach = np.where(towards > 1e-3, distance / np.maximum(towards, 1e-3), np.inf)
    depth = reach.min(axis=-1)
    normals = -outward[reach.argmin(axis=-1)]

    for _ in range(rng.integers(3, 9)):
        radius = rng.uniform(0.15, 0.8)
        z = rng.uniform(1.2 + radius, 5)
        centre = np.array([*rng.uniform(-0.45, 0.45, 2) * z * size / focal, z])
        square, along = (rays**2).sum(axis=-1), rays @ centre
        inside = along**2 - square * (centre @ centre - radius**2)
        hit = (along - np.sqrt(np.maximum(inside, 0))) / square
        front = (inside > 0) & (hit < depth)
        depth = np.where(front, hit, depth)
        facing = (hit[..., None] * rays - centre) / radius
        normals = np.where(front[..., None], facing, normals)

    column, row, radius = *rng.integers(0, size, 2), size * rng.uniform(0.02, 0.15)
    rows, columns = np.ogrid[:size, :size]
    unknown = (columns - column) ** 2 + (rows - row) ** 2 < radius**2
    return Scene(depth.astype(np.float32), normals.astype(np.float32), unknown)
