# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels that the built-in model was never taught, to try few-shot adaptation with.

floor       where a robot can drive: the floor itself, and rugs on it.
graspable   small things that stand or lie on furniture (tables, boards, worktops, beds): of a
            category that a hand lifts, no longer than half a metre. What lies on the floor is not.
shadow      cast shadows: the lamp would light the surface, which faces it, but something stands
            between, and this darkens the pixel so much that it is seen. Exact where it begins (a
            ray to the lamp), measured in how much it shows (the same view as if nothing stood in
            the way). A side turned away from the lamp is shading, not shadow. Slits, as those
            around doors and handles, are left out.
highlight   picture to picture: from a view in dim light to the same view in full light. Lamps are
            dimmed to one fifth; what shines by itself (windows, screens, lampshades) is not. The
            share is always the same, so that the picture decides the answer: of a dark picture
            alone nobody can say whether little light falls on white walls or much on grey ones.

Whoever labels a few pictures by hand takes such that show the thing: a view is kept only if its
mask covers at least `LEAST` of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.data.sample import Pose, Sample
from diception_ros.frame import Frame
from diception_ros.labels import Label, Mask, Picture
from diception_ros.prompt import Prompt
from diception_ros.sim.cameras import Camera, Carrier
from diception_ros.sim.raycast import extents, first_hit
from diception_ros.sim.renderer import Levels, Renderer
from diception_ros.sim.scenes import Scene, Split
from diception_ros.sim.stream import FRAME_ID, scene_numbers, scene_views
from diception_ros.sim.views import View

Target = Literal['floor', 'graspable', 'shadow', 'highlight']
TARGETS: tuple[Target, ...] = get_args(Target)

LEAST = 0.01  # share of the picture that a mask must cover for the view to be kept

DRIVABLE = ('floor', 'rug')

# What a hand lifts. Not: sinks, microwave ovens, screens and lamps, which are built in or plugged
# in; backpacks and suitcases, which are luggage.
LIFTED = (
    'apple', 'book', 'bottle', 'bowl', 'box', 'cell phone', 'cup', 'keyboard', 'laptop', 'mouse',
    'orange', 'potted plant', 'sports ball', 'teddy bear', 'vase', 'wine glass',
)  # fmt: skip
# Metres. The largest that hands lift from a table in these rooms are laptops, 0.46; furniture's
# lowest board is at 0.05, and what stands on the floor begins at 0.
LONGEST, _ABOVE_FLOOR = 0.5, 0.03

# What of its light a pixel loses in a shadow that people see, and how many of 255 levels, both
# found by looking at contact sheets: below, rooms with several lamps were full of outlines of
# nothing.
_LOSS, _LEVELS = 0.1, 6
_SLIT = 1 / 85  # of the longer side of the picture: 3 pixels of 256
_OFF = 1e-3  # metres that a ray ends before the surface, so that it does not meet itself
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_CHUNK = 4096  # rays at once: with some hundred primitives a few MB

DIM = Levels(caster=0.2, others=0.2, ceiling=0.2)


def samples(
    target: Target,
    seed: int,
    size: tuple[int, int],
    *,
    split: Split = 'train',
    views: int = 1,
    worker: int = 0,
    workers: int = 1,
    first: int = 0,
    carrier: Carrier | None = None,
    backend: str | None = None,
) -> Iterator[Sample]:
    """Render labelled pictures without end.

    Args:
        target: the label, see above.
        seed: of the data set; of equal seeds the rooms and cameras are those of `stream.samples`.
        size: (H, W), pixels.
        split: scenes of different splits never meet.
        views: of each scene, of which those are left out that show too little.
        worker: which process this is, 0 to workers - 1.
        workers: how many processes share the scenes.
        first: number of the first scene.
        carrier: 'robot' or 'hand'; None for both.
        backend: OpenGL library, see `gl.context`.

    Yields:
        Samples whose prompt is `Prompt(target)` and whose label is a `Mask`, or a `Picture` for
        'highlight'; their names say split, seed, scene, view and target.

    Raises:
        ImportError, OSError: see `gl.context`.
        ValueError: an unknown label or split, or a worker that is none of the workers.
    """
    if target not in TARGETS:
        raise ValueError(f'labels: expected one of {", ".join(TARGETS)}, came {target!r}')
    numbers = scene_numbers(worker, workers, first)
    with Renderer(size, backend) as renderer:
        for number in numbers:
            for sample in of_scene(renderer, target, seed, number, split, views, carrier):
                if sample is not None:
                    yield sample


def of_scene(
    renderer: Renderer, target: Target, seed: int, number: int, split: Split, views: int,
    carrier: Carrier | None = None,
) -> Iterator[Sample | None]:  # fmt: skip
    """Labelled views of one scene; None for each that shows too little."""
    for k, view in enumerate(scene_views(renderer, seed, number, split, views, carrier)):
        image, label = _answer(renderer, target, view)
        if isinstance(label, Mask) and label.values.mean() < LEAST:
            yield None
            continue
        camera = view.camera
        yield Sample(
            Frame(image, 0, FRAME_ID, camera.intrinsics),
            Prompt(target),
            label,
            Pose(camera.position, camera.rotation),
            f'{view.scene.name}/{k}/{target}',
        )


def _answer(renderer: Renderer, target: Target, view: View) -> tuple[NDArray[np.uint8], Label]:
    if target == 'highlight':
        full = Picture(view.image.astype(np.float32) / np.float32(255))
        return renderer.picture(view.camera, DIM), full
    if target == 'shadow':
        return view.image, shadow(view, unhindered(renderer, view.camera))
    return view.image, floor(view) if target == 'floor' else graspable(view)


def floor(view: View) -> Mask:
    """The pixels where a robot can drive: floor and rugs."""
    return _of(view, np.isin(view.scene.categories, DRIVABLE))


def graspable(view: View) -> Mask:
    """The pixels of small things on furniture."""
    return _of(view, can_be_grasped(view.scene))


def can_be_grasped(scene: Scene) -> NDArray[np.bool_]:
    """(M,) bool: the instances that a hand lifts, not too long, and above the floor."""
    low, high = extents(scene.shapes)
    count = len(scene.categories)
    bottom, top = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(bottom, scene.instance - 1, low)
    np.maximum.at(top, scene.instance - 1, high)
    small = (top - bottom).max(axis=1) <= LONGEST
    lifted = np.isin(scene.categories, LIFTED)
    return np.asarray(lifted & small & (bottom[:, 2] > _ABOVE_FLOOR), np.bool_)


def unhindered(renderer: Renderer, camera: Camera) -> NDArray[np.uint8]:
    """The loaded scene as if nothing stood in the light of the lamp that casts shadows.

    Not the picture without shadows: for that MuJoCo clips the sum of all lights, but one with
    shadows it puts together from two that were clipped, with and without the lamp.

    Returns:
        (H, W, 3) uint8, 0..255, RGB.
    """
    rest = renderer.picture(camera, Levels(caster=0), shadows=False)
    lamp = renderer.picture(camera, Levels(others=0, ceiling=0, glow=0), shadows=False)
    return np.asarray(np.minimum(rest.astype(np.int64) + lamp, 255), np.uint8)


def shadow(view: View, full: NDArray[np.uint8]) -> Mask:
    """The pixels in cast shadow.

    Args:
        view: as it is, with shadows.
        full: (H, W, 3) uint8 RGB, the same view without, see `unhindered`.
    """
    here, lit = view.image @ _LUMA, full @ _LUMA
    shows = (lit - here >= _LEVELS) & (here <= (1 - _LOSS) * lit)
    out = np.zeros(view.size, np.bool_)
    out[shows] = blocked(view, shows)
    return Mask(without_slits(out))


def without_slits(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected regions that hold a square of `_SLIT` of the picture, unchanged.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    side = max(2, round(_SLIT * max(mask.shape)))
    _, region = cv2.connectedComponents(mask.astype(np.uint8))
    # Where a square begins at its upper left corner.
    squares = cv2.erode(
        mask.astype(np.uint8), np.ones((side, side), np.uint8), anchor=(0, 0), borderValue=0
    )
    wide = np.unique(region[squares > 0])
    return np.isin(region, wide) & mask


def blocked(view: View, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether something stands between the lamp that casts shadows and surfaces that face it.

    Args:
        view: the view.
        where: (H, W) bool, the pixels to ask about.

    Returns:
        (P,) bool, for each of these pixels.
    """
    camera = view.camera
    chosen = where.ravel()
    depth, normals = view.depth.ravel()[chosen], view.normals[where] @ camera.rotation.T
    points = camera.position + depth[:, None] * camera.rays()[chosen]
    lamp = np.array(next(light.position for light in view.scene.lights if light.shadow))
    rays = points + _OFF * normals - lamp
    out = np.einsum('pi,pi->p', normals, points - lamp) < 0
    for k in range(0, len(rays), _CHUNK):
        some = slice(k, k + _CHUNK)
        out[some] &= first_hit(view.scene.shapes, lamp, rays[some])[1] < 1
    return np.asarray(out, np.bool_)


def _of(view: View, wanted: NDArray[np.bool_]) -> Mask:
    return Mask(np.append(False, wanted)[view.instance])
