# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Surface normals of a depth map, to compare with those that something else computed."""

import numpy as np

from diception_ros.core.labels import Normals


def normals_from(depth, intrinsics):
    """Surface normals of a depth map, exact on planes.

    The inverse depth of the plane n . P = c is (nx (u - cx)/fx + ny (v - cy)/fy + nz) / c at pixel
    (u, v): linear in the pixel, so its gradient and its value give n. Of the differences to the
    two neighbours of a pixel the smaller is taken, so that an edge does not bend the surface next
    to it.

    Args:
        depth: metres along the optical axis.
        intrinsics: pinhole of the same image.

    Returns:
        Normals that point to the camera; unknown where the depth is, or where a pixel has no known
        neighbour in its row or in its column.
    """
    height, width = depth.size
    inverse = 1 / depth.values.astype(np.float64)
    across, down = _slope(inverse, 1), _slope(inverse, 0)
    u = np.arange(width) - intrinsics.cx
    v = np.arange(height)[:, None] - intrinsics.cy
    away = np.stack(
        [across * intrinsics.fx, down * intrinsics.fy, inverse - across * u - down * v], axis=-1
    )
    # Its dot product with the pixel's ray is the inverse depth, > 0: it points from the camera.
    length = np.linalg.norm(away, axis=-1, keepdims=True)
    unknown = np.isnan(length)
    return Normals(np.where(unknown, np.nan, -away / length).astype(np.float32))


def _slope(values, axis):
    step = np.diff(values, axis=axis)
    edge = np.full_like(np.take(values, [0], axis), np.nan)
    before = np.concatenate([edge, step], axis)
    after = np.concatenate([step, edge], axis)
    use_after = np.isnan(before) | (np.abs(after) < np.abs(before))
    return np.where(use_after, after, before)
