# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The size of the pictures that tests of the simulation render, and where their pixels lie."""

from diception_ros.core import geometry

SIZE = (96, 128)


def world(view):
    """(H, W, 3) metres, world: the points that the pixels of a view show."""
    points = geometry.back_project(view.metric_depth(), view.camera.intrinsics)
    return points @ view.camera.rotation.T + view.camera.position
