# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras in a room: single views, and smooth paths of a robot or a handheld camera.

Views are accepted or rejected by ray casting on the CPU before anything is rendered, so every
machine gets the same views.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Intrinsics
from diception_ros.simulation.assets.primitives import (
    about_x,
    about_y,
    about_z,
    contains,
    first_hit,
)
from diception_ros.simulation.scenes import Scene

CameraRig = Literal['robot', 'hand']

# Rays that decide on a view, along the longer side of the image.
_RAYS = 16
# What a view must show, chosen from contact sheets: objects, and space around them.
_MIN_THINGS, _MIN_SHARE, _MOST_OF_ONE, _NEAREST = 4, 0.1, 0.5, 0.4
_TRIES = 60
# Of the cameras of `Realism`: a desk from above is nearer than a room, and a box may fill half of
# the image.
_FreeKind = Literal['robot', 'hand', 'near', 'above']
_FREE: dict[CameraRig, tuple[_FreeKind, ...]] = {
    'robot': ('robot', 'robot', 'robot'),
    'hand': ('hand', 'hand', 'hand', 'near', 'near', 'above'),
}
_NEAREST_FREE, _MOST_OF_ONE_FREE, _MOST_ROLL = 0.15, 0.85, math.radians(25)
# Of close-ups: field of view, half a thing's extent by half the image's, least share of the image.
_CLOSE_FOV_DEG, _CLOSE_FILL, _CLOSE_SHARE = (22.0, 70.0), (0.4, 1.3), 0.05
_TURN_RATE, _PEAK = 0.9, 1.5  # rad/s; highest speed of `_interpolate` relative to its mean

# From a body whose x is ahead, y left and z up to the optical frame, as a rotation's columns.
_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """A pinhole camera in the room.

    Attributes:
        position: (3,) float64, metres, world.
        rotation: (3, 3) float64, from the optical frame (x right, y down, z ahead) to the world.
        intrinsics: pixel centres at whole numbers.
        size: (H, W), pixels.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    intrinsics: Intrinsics
    size: tuple[int, int]

    def scaled(self, factor: float) -> PinholeCamera:
        """The same camera with more pixels, or fewer: every pixel becomes factor x factor ones."""
        k, (height, width) = self.intrinsics, self.size
        lens = Intrinsics(
            k.fx * factor, k.fy * factor, (k.cx + 0.5) * factor - 0.5, (k.cy + 0.5) * factor - 0.5
        )
        size = (round(height * factor), round(width * factor))
        return PinholeCamera(self.position, self.rotation, lens, size)

    def rays(self, step: int = 1) -> NDArray[np.float64]:
        """Directions of the pixels, of every step-th one: (h * w, 3) float64, world.

        Their z in the optical frame is 1, so a distance in lengths of the ray is a depth.
        """
        height, width = self.size
        start = (step - 1) // 2
        x = (np.arange(start, width, step) - self.intrinsics.cx) / self.intrinsics.fx
        y = (np.arange(start, height, step) - self.intrinsics.cy) / self.intrinsics.fy
        rays = np.ones((len(y), len(x), 3))
        rays[..., 0], rays[..., 1] = x, y[:, None]
        return np.asarray(rays.reshape(-1, 3) @ self.rotation.T)

    def project(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project points into the image.

        Args:
            points: (..., 3) float64, metres, world.

        Returns:
            (..., 2) float64 pixels, x right, y down, NaN behind the camera; and (...) float64,
            metres along the optical axis.
        """
        local = (points - self.position) @ self.rotation
        z = local[..., 2]
        ahead = np.where(z > 1e-6, z, np.nan)
        k = self.intrinsics
        pixels = np.stack(
            [k.fx * local[..., 0] / ahead + k.cx, k.fy * local[..., 1] / ahead + k.cy], axis=-1
        )
        return pixels, z


class Viewpoint(NamedTuple):
    """Camera pose: metres in the world, radians (yaw left, pitch down, roll right)."""

    x: float
    y: float
    z: float
    yaw: float
    pitch: float
    roll: float


def sample_rig(rng: np.random.Generator) -> CameraRig:
    """Draw a robot or a handheld camera, with equal probability."""
    return 'robot' if rng.uniform() < 0.5 else 'hand'


def sample_view(
    rng: np.random.Generator, scene: Scene, size: tuple[int, int], rig: CameraRig | None = None
) -> PinholeCamera | None:
    """Draw a camera with a good view; None if many tries found none, as in too full a room.

    'robot' is low and level, 'hand' is held by a person; None draws one of them.
    """
    if scene.realism.closeups:
        return _closeup(rng, scene, size)
    if scene.realism.cameras:
        return _free_view(rng, scene, size, rig)
    rig = rig or sample_rig(rng)
    intrinsics = _sample_intrinsics(rng, size)
    for _ in range(_TRIES):
        camera = _camera(_sample_viewpoint(rng, scene, rig), intrinsics, size)
        if is_clear(scene, camera.position) and is_good_view(scene, camera):
            return camera
    return None


def sample_path(
    rng: np.random.Generator, scene: Scene, size: tuple[int, int], rig: CameraRig, count: int,
    rate: float,
) -> list[PinholeCamera] | None:  # fmt: skip
    """Draw a smooth camera path through the room.

    The camera moves in straight lines between good views, accelerates and brakes gently, and stops
    for an instant at each. A robot moves at up to 0.4 m/s, a person at up to 0.7 m/s; both turn at
    no more than 0.9 rad/s.

    Returns:
        `count` cameras, `rate` of them per second; None if no path was found.
    """
    intrinsics, speed = _sample_intrinsics(rng, size), 0.4 if rig == 'robot' else 0.7
    viewpoints: list[Viewpoint] = []
    times = [0.0]
    for _ in range(_TRIES):
        viewpoint = _sample_viewpoint(rng, scene, rig)
        if viewpoints:
            viewpoint = _next_viewpoint(viewpoints[-1], viewpoint, scene, rig)
        camera = _camera(viewpoint, intrinsics, size)
        if not (is_clear(scene, camera.position) and is_good_view(scene, camera)):
            continue
        if viewpoints:
            last = viewpoints[-1]
            ways = [_interpolate(last, viewpoint, t / 8) for t in range(9)]
            if not all(is_clear(scene, np.array(way[:3])) for way in ways):
                continue
            seconds = max(
                _PEAK * math.dist(last[:3], viewpoint[:3]) / speed,
                _PEAK * abs(viewpoint.yaw - last.yaw) / _TURN_RATE,
                0.5,
            )
            times.append(times[-1] + seconds)
        viewpoints.append(viewpoint)
        if times[-1] >= count / rate:
            return [
                _camera(_at_time(viewpoints, times, k / rate), intrinsics, size)
                for k in range(count)
            ]
    return None


def is_clear(scene: Scene, position: NDArray[np.float64], gap: float = 0.2) -> bool:
    """Whether a camera at a position keeps a gap, metres, to walls and furniture."""
    x, y, z = position.tolist()
    walls = scene.walls
    if abs(x) > walls.half_x - gap or abs(y) > walls.half_y - gap or z > walls.height - gap:
        return False
    return all(
        obstacle.distance(x, y) > gap or obstacle.high + gap / 2 < z
        for obstacle in scene.obstacles
    )


def is_good_view(scene: Scene, camera: PinholeCamera) -> bool:
    """Whether a view is good: several objects, none of which fills it, nothing too close."""
    seen, depth = _shown(scene, camera)
    if depth.min() < _NEAREST or np.median(depth) < 1.0:
        return False
    things = seen[scene.is_thing]
    return bool(
        (things > 0).sum() >= _MIN_THINGS
        and things.sum() >= _MIN_SHARE
        and things.max() <= _MOST_OF_ONE
    )


def _free_view(
    rng: np.random.Generator, scene: Scene, size: tuple[int, int], rig: CameraRig | None
) -> PinholeCamera | None:
    # A robot keeps its kinds of views, a hand has all others.
    kinds: tuple[_FreeKind, ...] = _FREE[rig] if rig else _FREE['robot'] + _FREE['hand']
    lens = _sample_intrinsics(rng, size)
    for _ in range(_TRIES):
        kind = kinds[int(rng.integers(len(kinds)))]
        viewpoint = _free_stance(rng, scene, kind)
        camera = _camera(viewpoint, lens, size)
        gap = 0.12 if kind in ('near', 'above') else 0.2
        if is_clear(scene, camera.position, gap) and _is_free_good(scene, camera):
            return camera
    return None


def _closeup(
    rng: np.random.Generator, scene: Scene, size: tuple[int, int]
) -> PinholeCamera | None:
    # As people take photographs: of one thing, large, mostly from about its own height.
    things = np.flatnonzero(scene.is_thing)
    (shapes, instance), u = scene.solids, rng.uniform
    for _ in range(_TRIES):
        target = int(things[int(rng.integers(len(things)))])
        mine = instance == target
        reach = shapes.size[mine].max(axis=1, keepdims=True)
        low, high = ((shapes.position[mine] + reach * side) for side in (-1, 1))
        low, high = low.min(axis=0), high.max(axis=0)
        half = math.tan(math.radians(u(*_CLOSE_FOV_DEG)) / 2)
        far = max(0.2, float(np.linalg.norm(high - low)) / 2 / half / u(*_CLOSE_FILL))
        raised = u(-0.12, 0.45) if u() < 0.7 else u(0.3, 1.4)
        around, roll = u(-math.pi, math.pi), 0.05 * rng.standard_normal()
        ahead = math.cos(raised) * math.cos(around), math.cos(raised) * math.sin(around)
        x, y, z = (low + high) / 2 + far * np.array([*ahead, math.sin(raised)])
        turned, tilted = half * u(-0.35, 0.35), half * u(-0.25, 0.25)
        viewpoint = Viewpoint(x, y, z, around + math.pi + turned, raised + tilted, roll)
        camera = _camera(viewpoint, _intrinsics(half, size), size)
        if (
            z > 0.05 and is_clear(scene, camera.position, 0.1)
            and _is_free_good(scene, camera, target)
        ):  # fmt: skip
            return camera
    return None


def _is_free_good(scene: Scene, camera: PinholeCamera, target: int = 0) -> bool:
    # Something to see, and not only one surface; things may fill the image and be close. Of a
    # close-up, the thing that it is of.
    seen, depth = _shown(scene, camera)
    if depth.min() < _NEAREST_FREE or contains(scene.primitives, camera.position).any():
        return False
    if target:
        return bool(seen[target] >= _CLOSE_SHARE and seen.max() <= _MOST_OF_ONE_FREE)
    things = seen[scene.is_thing]
    return bool((things > 0).any() and (seen > 0).sum() >= 3 and seen.max() <= _MOST_OF_ONE_FREE)


def _shown(scene: Scene, camera: PinholeCamera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the image of each instance, by some rays, and depths, 0 where nothing is hit."""
    shapes, instance = scene.solids
    step = max(1, min(max(camera.size) // _RAYS, min(camera.size)))
    index, depth = first_hit(shapes, camera.position, camera.rays(step))
    seen = np.bincount(instance[index], minlength=len(scene.categories) + 1) / len(index)
    return seen, np.where(index < 0, 0, depth)


def _free_stance(rng: np.random.Generator, scene: Scene, kind: _FreeKind) -> Viewpoint:
    walls, u = scene.walls, rng.uniform
    tilted = u(-_MOST_ROLL, _MOST_ROLL)
    roll = tilted if u() < (0.25 if kind == 'robot' else 0.5) else 0.05 * rng.standard_normal()
    if kind in ('near', 'above'):
        things = np.flatnonzero(scene.is_thing)
        shapes, instance = scene.solids
        mine = instance == things[int(rng.integers(len(things)))]
        target = shapes.position[mine].mean(axis=0)
        far = u(0.3, 1.6) if kind == 'near' else u(0.5, 1.6)
        raised = u(0.05, 1.2) if kind == 'near' else u(1.0, math.pi / 2)
        around = u(-math.pi, math.pi)
        x = float(target[0]) + far * math.cos(raised) * math.cos(around)
        y = float(target[1]) + far * math.cos(raised) * math.sin(around)
        z = min(float(target[2]) + far * math.sin(raised), walls.height - 0.2)
        pitch = min(math.pi / 2, max(-0.6, raised + u(-0.25, 0.25)))
        return Viewpoint(x, y, max(z, 0.1), around + math.pi + u(-0.25, 0.25), pitch, roll)
    x, y = u(-1, 1) * (walls.half_x - 0.2), u(-1, 1) * (walls.half_y - 0.2)
    if kind == 'robot':
        return Viewpoint(x, y, u(0.1, 1.4), u(-math.pi, math.pi), u(-0.25, 0.5), roll)
    viewpoint = _sample_viewpoint(rng, scene, 'hand')
    z = min(u(0.6, 2.0), walls.height - 0.25)
    return Viewpoint(x, y, z, u(-math.pi, math.pi) if u() < 0.4 else viewpoint.yaw,
                  viewpoint.pitch + u(-0.15, 0.35), roll)  # fmt: skip


def _sample_intrinsics(rng: np.random.Generator, size: tuple[int, int]) -> Intrinsics:
    # Field of view along the longer side: 45 to 100 degrees.
    return _intrinsics(math.tan(math.radians(rng.uniform(45, 100)) / 2), size)


def _intrinsics(half: float, size: tuple[int, int]) -> Intrinsics:
    # `half`: tangent of half the field of view along the longer side.
    (height, width), focal = size, max(size) / 2 / half
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2)


def _camera(viewpoint: Viewpoint, intrinsics: Intrinsics, size: tuple[int, int]) -> PinholeCamera:
    turn = about_z(viewpoint.yaw) @ about_y(viewpoint.pitch) @ about_x(viewpoint.roll)
    return PinholeCamera(
        np.array(viewpoint[:3]).round(6), (turn @ _OPTICAL).round(9), intrinsics, size
    )


def _sample_viewpoint(rng: np.random.Generator, scene: Scene, rig: CameraRig) -> Viewpoint:
    walls = scene.walls
    x, y = rng.uniform(-1, 1) * (walls.half_x - 0.25), rng.uniform(-1, 1) * (walls.half_y - 0.25)
    # Look at a person, at an object, or across the room.
    what = rng.uniform()
    if scene.bodies and what < 0.5:
        joints = scene.bodies[int(rng.integers(len(scene.bodies)))].joints
        target = joints[[5, 6, 11, 12]].mean(axis=0)
    elif scene.obstacles and what < 0.85:
        obstacle = scene.obstacles[int(rng.integers(len(scene.obstacles)))]
        target = np.array([obstacle.x, obstacle.y, obstacle.high * 0.6])
    else:
        target = np.array([0.0, 0.0, 0.8])
    yaw = math.atan2(target[1] - y, target[0] - x) + rng.uniform(-0.35, 0.35)
    if rig == 'robot':
        z, pitch, roll = rng.uniform(0.3, 1.2), rng.uniform(-0.12, 0.1), rng.uniform(-0.01, 0.01)
        return Viewpoint(x, y, z, yaw, pitch, roll)
    z = min(rng.uniform(1.1, 1.75), walls.height - 0.4)
    down = math.atan2(z - float(target[2]), max(0.5, math.hypot(target[0] - x, target[1] - y)))
    pitch = min(0.7, max(-0.3, down + rng.uniform(-0.2, 0.15)))
    return Viewpoint(x, y, z, yaw, pitch, rng.uniform(-0.12, 0.12))


def _next_viewpoint(last: Viewpoint, aim: Viewpoint, scene: Scene, rig: CameraRig) -> Viewpoint:
    # The next viewpoint of a path: not too far, at the height of the rig, by the shorter turn.
    far = math.dist(last[:2], aim[:2])
    share = min(1.0, 1.2 / max(far, 1e-6))
    turn = (aim.yaw - last.yaw + math.pi) % (2 * math.pi) - math.pi
    turn = min(1.0, max(-1.0, turn))
    z = last.z if rig == 'robot' else last.z + min(0.15, max(-0.15, aim.z - last.z))
    pitch, roll = (last.pitch, last.roll) if rig == 'robot' else (aim.pitch, aim.roll)
    return Viewpoint(last.x + share * (aim.x - last.x), last.y + share * (aim.y - last.y), z,
                  last.yaw + turn, pitch, roll)  # fmt: skip


def _at_time(viewpoints: list[Viewpoint], times: list[float], time: float) -> Viewpoint:
    leg = min(max(int(np.searchsorted(times, time, side='right')) - 1, 0), len(times) - 2)
    share = min(1.0, (time - times[leg]) / (times[leg + 1] - times[leg]))
    return _interpolate(viewpoints[leg], viewpoints[leg + 1], share)


def _interpolate(start: Viewpoint, end: Viewpoint, share: float) -> Viewpoint:
    # Starts and ends at rest, so the velocity is continuous, and in a straight line: the segment
    # that was checked for obstacles is the one that is driven.
    ease = share * share * (3 - 2 * share)
    return Viewpoint(*(a + (b - a) * ease for a, b in zip(start, end, strict=True)))
