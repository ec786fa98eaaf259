# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth and normals of scenes with a floor, whose planes are known."""

import math

import numpy as np

from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import axes

SIZE = (120, 160)
LENS = Intrinsics(130.0, 128.0, 79.0, 61.0)
HEIGHT = 0.6


def rays(size=SIZE, lens=LENS):
    x, y = axes(size, lens)
    out = np.ones((*size, 3))
    out[..., 0], out[..., 1] = x, y[:, None]
    return out


def rotation(pitch=0.0, roll=0.0):
    """Of the camera; gravity in its frame is this applied to y."""
    a, b = math.radians(pitch), math.radians(roll)
    about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    about_z = np.array([[math.cos(b), -math.sin(b), 0], [math.sin(b), math.cos(b), 0], [0, 0, 1]])
    return about_z @ about_x


def scene(height=HEIGHT, pitch=0.0, roll=0.0, wall=4.0, box=None, table=None):
    """Depth and normals of a floor, a wall, and a box 0.3 m wide of a given height ahead.

    The box (distance, height) is two planes: its front and its top. A table (distance, height) is
    a level plane of 1 m from there on.
    """
    turned = rays() @ rotation(pitch, roll)  # in a level frame
    up = np.array([0.0, -1, 0])
    ahead = np.array([0.0, 0, -1])
    depth = np.full(SIZE, np.inf)
    normals = np.zeros((*SIZE, 3))
    label = np.zeros(SIZE, int)

    def put(number, z, normal, where):
        nonlocal depth, normals, label
        closer = where & (z > 0) & (z < depth)
        depth = np.where(closer, z, depth)
        normals[closer] = rotation(pitch, roll) @ normal
        label[closer] = number

    with np.errstate(divide='ignore', invalid='ignore'):
        put(1, height / turned[..., 1], up, turned[..., 1] > 0)
        put(2, wall / turned[..., 2], ahead, turned[..., 2] > 0)
        if box is not None:
            distance, tall = box
            z = distance / turned[..., 2]
            x, y = z * turned[..., 0], z * turned[..., 1]
            put(3, z, ahead, (np.abs(x) < 0.15) & (y > height - tall) & (y < height))
            z = (height - tall) / turned[..., 1]
            x, far = z * turned[..., 0], z * turned[..., 2]
            put(4, z, up, (np.abs(x) < 0.15) & (far > distance) & (far < distance + 0.3))
        if table is not None:
            distance, tall = table
            z = (height - tall) / turned[..., 1]
            far = z * turned[..., 2]
            put(5, z, up, (far > distance) & (far < distance + 1))
    return depth.astype(np.float32), normals.astype(np.float32), label
