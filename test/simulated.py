# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The size of the images that tests of the simulation render, and where their pixels lie."""

import numpy as np

from diception_ros.core import geometry

SIZE = (96, 128)


def world(view):
    """(H, W, 3) metres, world: the points that the pixels of a view show."""
    points = geometry.back_project(view.metric_depth(), view.camera.intrinsics)
    return points @ view.camera.rotation.T + view.camera.position


def edges(view, reach=2):
    """Pixels that have another primitive or instance nearby, judged by depth, normals and ids."""
    inverse = 1 / view.depth
    edge = np.zeros(view.depth.shape, bool)
    for axis in (0, 1):
        a, b = (slice(None, -1), slice(1, None))
        one = (a, slice(None)) if axis == 0 else (slice(None), a)
        two = (b, slice(None)) if axis == 0 else (slice(None), b)
        differs = view.instance[one] != view.instance[two]
        differs |= (view.normals[one] * view.normals[two]).sum(-1) < 0.95
        differs |= abs(inverse[one] - inverse[two]) > 0.05 * inverse[one]
        edge[one] |= differs
        edge[two] |= differs
    for _ in range(reach):
        grown = edge.copy()
        grown[1:] |= edge[:-1]
        grown[:-1] |= edge[1:]
        grown[:, 1:] |= edge[:, :-1]
        grown[:, :-1] |= edge[:, 1:]
        edge = grown
    return edge
