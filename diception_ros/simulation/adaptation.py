# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels that the built-in model was not trained on, to try few-shot adaptation with.

floor       where a robot can drive: the floor itself, and rugs on it.
graspable   small things that stand or lie on furniture (tables, boards, worktops, beds): of a
            category that a hand lifts, no longer than half a metre. What lies on the floor is not.
shadow      cast shadows: the lamp would light the surface, which faces it, but something stands
            between, and this darkens the pixel so much that it is seen. Exact where it begins (a
            ray to the lamp), measured in how much it shows (the same view as if nothing stood in
            the way). A side turned away from the lamp is shading, not shadow. Slits, as those
            around doors and handles, are left out.
highlight   image to image: from a view in dim light to the same view in full light. Lamps are
            dimmed to one fifth; what shines by itself (windows, screens, lampshades) is not. The
            share is always the same, so that the image decides the answer: of a dark image
            alone nobody can say whether little light falls on white walls or much on grey ones.

A person who labels a few images chooses ones that show the object: a view is kept only if its mask
covers at least `MIN_MASK_SHARE` of it.
"""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import platform
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros import __version__
from diception_ros.core import images
from diception_ros.core.frame import Frame, Transform
from diception_ros.core.labels import ImageLabel, Label, Mask
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.sample import Sample
from diception_ros.simulation.assets.primitives import extents, first_hit
from diception_ros.simulation.cameras import CameraRig, PinholeCamera
from diception_ros.simulation.record import Recording
from diception_ros.simulation.renderer import LightLevels, Renderer
from diception_ros.simulation.sample_stream import FRAME_ID, scene_numbers, scene_views
from diception_ros.simulation.scenes import Scene, Split
from diception_ros.simulation.views import View
from diception_ros.system import files, safe_load

Target = Literal['floor', 'graspable', 'shadow', 'highlight']
TARGETS: tuple[Target, ...] = get_args(Target)

MIN_MASK_SHARE = 0.01  # share of the image that a mask must cover for the view to be kept

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
_SLIT = 1 / 85  # of the longer side of the image: 3 pixels of 256
_OFF = 1e-3  # metres that a ray ends before the surface, so that it does not meet itself
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_CHUNK = 4096  # rays at once: with some hundred primitives a few MB

DIM = LightLevels(caster=0.2, others=0.2, ceiling=0.2)


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
    rig: CameraRig | None = None,
    backend: str | None = None,
) -> Iterator[Sample]:
    """Render endless labelled images of `target`; views that show too little are left out.

    The other arguments are those of `sample_stream.samples`: of equal seeds, rooms and cameras are
    the same.

    Yields:
        Samples whose prompt is `Prompt(target)` and whose label is a `Mask`, or an `ImageLabel`
        for 'highlight'; their names say split, seed, scene, view and target.

    Raises:
        ImportError, OSError: see `renderer.open_gl_context`.
        ValueError: an unknown label or split, or a worker that is none of the workers.
    """
    if target not in TARGETS:
        raise ValueError(f'labels: expected one of {", ".join(TARGETS)}, got {target!r}')
    numbers = scene_numbers(worker, workers, first)
    with Renderer(size, backend) as renderer:
        for number in numbers:
            for sample in scene_samples(renderer, target, seed, number, split, views, rig):
                if sample is not None:
                    yield sample


def scene_samples(
    renderer: Renderer, target: Target, seed: int, number: int, split: Split, views: int,
    rig: CameraRig | None = None,
) -> Iterator[Sample | None]:  # fmt: skip
    """Labelled views of one scene; None for each with too small a mask."""
    for k, view in enumerate(scene_views(renderer, seed, number, split, views, rig)):
        image, label = _answer(renderer, target, view)
        if isinstance(label, Mask) and label.values.mean() < MIN_MASK_SHARE:
            yield None
            continue
        camera = view.camera
        yield Sample(
            Frame(image, 0, FRAME_ID, camera.intrinsics),
            Prompt(target),
            label,
            Transform(camera.rotation, camera.position),
            f'{view.scene.name}/{k}/{target}',
        )


def _answer(renderer: Renderer, target: Target, view: View) -> tuple[NDArray[np.uint8], Label]:
    if target == 'highlight':
        return renderer.render_image(view.camera, DIM), ImageLabel.from_image(view.image)
    if target == 'shadow':
        return view.image, shadow(view, render_unshadowed(renderer, view.camera))
    return view.image, floor(view) if target == 'floor' else graspable(view)


def floor(view: View) -> Mask:
    """Mask of where a robot can drive: floor and rugs."""
    return _of(view, np.isin(view.scene.categories, DRIVABLE))


def graspable(view: View) -> Mask:
    """Mask of small objects on furniture."""
    return _of(view, graspable_instances(view.scene))


def graspable_instances(scene: Scene) -> NDArray[np.bool_]:
    """(M,) bool: instances of categories that a hand lifts, short enough, above the floor."""
    low, high = extents(scene.primitives)
    count = len(scene.categories)
    bottom, top = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(bottom, scene.instance - 1, low)
    np.maximum.at(top, scene.instance - 1, high)
    small = (top - bottom).max(axis=1) <= LONGEST
    lifted = np.isin(scene.categories, LIFTED)
    return np.asarray(lifted & small & (bottom[:, 2] > _ABOVE_FLOOR), np.bool_)


def render_unshadowed(renderer: Renderer, camera: PinholeCamera) -> NDArray[np.uint8]:
    """Render the loaded scene as if nothing occluded the lamp that casts shadows.

    This is not the image without shadows: for that MuJoCo clips the sum of all lights, while an
    image with shadows is combined from two clipped ones, with and without the lamp.

    Returns:
        (H, W, 3) uint8, 0..255, RGB.
    """
    rest = renderer.render_image(camera, LightLevels(caster=0), shadows=False)
    lamp = renderer.render_image(camera, LightLevels(others=0, ceiling=0, glow=0), shadows=False)
    return np.asarray(np.minimum(rest.astype(np.int64) + lamp, 255), np.uint8)


def shadow(view: View, full: NDArray[np.uint8]) -> Mask:
    """Mask of cast shadows.

    Args:
        view: as it is, with shadows.
        full: (H, W, 3) uint8 RGB, the same view without, see `render_unshadowed`.
    """
    here, lit = view.image @ _LUMA, full @ _LUMA
    shows = (lit - here >= _LEVELS) & (here <= (1 - _LOSS) * lit)
    out = np.zeros(view.size, np.bool_)
    out[shows] = is_occluded(view, shows)
    return Mask(remove_slits(out))


def remove_slits(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the connected regions, (H, W) bool, that contain a square of `_SLIT` of the image."""
    side = max(2, round(_SLIT * max(mask.shape)))
    _, region = cv2.connectedComponents(mask.astype(np.uint8))
    # Where a square begins at its upper left corner.
    squares = cv2.erode(
        mask.astype(np.uint8), np.ones((side, side), np.uint8), anchor=(0, 0), borderValue=0
    )
    wide = np.unique(region[squares > 0])
    return np.isin(region, wide) & mask


def is_occluded(view: View, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(P,) bool: which of the P pixels `where`, (H, W) bool, face the lamp but are occluded."""
    camera = view.camera
    chosen = where.ravel()
    depth, normals = view.depth.ravel()[chosen], view.normals[where] @ camera.rotation.T
    points = camera.position + depth[:, None] * camera.rays()[chosen]
    lamp = np.array(next(light.position for light in view.scene.lights if light.shadow))
    rays = points + _OFF * normals - lamp
    out = np.einsum('pi,pi->p', normals, points - lamp) < 0
    for k in range(0, len(rays), _CHUNK):
        some = slice(k, k + _CHUNK)
        out[some] &= first_hit(view.scene.primitives, lamp, rays[some])[1] < 1
    return np.asarray(out, np.bool_)


def _of(view: View, wanted: NDArray[np.bool_]) -> Mask:
    return Mask(np.append(False, wanted)[view.instance])


# ---- a folder of labelled images, as from labelling by hand ----
#
# FOLDER/images/000002_01.png   view 1 of scene 2, 8-bit RGB
# FOLDER/labels/000002_01.png   its mask, 8-bit, 0 or 255; or its target image, 8-bit RGB
# FOLDER/about.json             what this is and how to make it again


FORMAT = 1
_MARK = 'about.json'

# Rooms that are tried per requested room, before giving up. Of 60 views, floor was seen
# in 58, shadows in 40 and graspable things in 20.
_PATIENCE = 20


def write_image_folder(
    recording: Recording, target: Target, out: Path, force: bool = False
) -> Iterator[int]:
    """Write images and labels, `scenes` times `views` of them.

    A view with too small a mask is left out, and further rooms are rendered until there are enough
    images.

    `rate` and `stuff` of the recording have no meaning here; `force` replaces what this wrote.

    Yields:
        The number of images written so far, after each one.

    Raises:
        FileExistsError: the folder exists.
        ImportError, OSError: see `renderer.open_gl_context`.
        ValueError: a seed below 0.
    """
    wanted = recording.scenes * recording.views
    written = skipped = number = 0
    with Renderer(recording.size, recording.backend) as renderer:
        files.create_folder(out, _is_ours(out), 'labelled images', force)
        for part in ('images', 'labels'):
            (out / part).mkdir()
        _write_about(out, recording, target, {'complete': False})
        while written < wanted and number < _PATIENCE * recording.scenes:
            samples = scene_samples(
                renderer, target, recording.seed, number, recording.split, recording.views,
                recording.rig,
            )  # fmt: skip
            for sample in samples:
                if sample is None:
                    skipped += 1
                    continue
                _write(out, sample)
                written += 1
                yield written
                if written == wanted:
                    break
            number += 1
    counts = {'images': written, 'rooms': number, 'views_left_out': skipped}
    _write_about(out, recording, target, {'complete': written == wanted, **counts})


def _is_ours(out: Path) -> bool:
    # Other tools, too, may call a file about.json.
    try:
        about = safe_load.json_file(out / _MARK)
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get('made_by') == 'diception simulate --labels'


def _write(out: Path, sample: Sample) -> None:
    *_, number, view, _ = sample.name.split('/')
    name = f'{int(number):06d}_{int(view):02d}.png'
    label = sample.label
    if isinstance(label, Mask):
        # By OpenCV: a mask has one channel, and `images.write` writes RGB.
        _, content = cv2.imencode('.png', label.values.astype(np.uint8) * 255)
        files.write_bytes(out / 'labels' / name, content.tobytes())
    else:
        images.write(out / 'labels' / name, label.preview())
    images.write(out / 'images' / name, sample.frame.image)


def _write_about(out: Path, recording: Recording, target: Target, more: dict[str, Any]) -> None:
    import mujoco

    height, width = recording.size
    rig = recording.rig or 'any'
    about = {
        'made_by': 'diception simulate --labels',
        'format': FORMAT,
        'command': f'diception simulate --labels {target} --scenes {recording.scenes} '
        f'--views {recording.views} --size {width}x{height} --seed {recording.seed} '
        f'--split {recording.split} --rig {rig} --out FOLDER',
        'labels': target,
        'kind': 'rgb' if target == 'highlight' else 'mask',
        'seed': recording.seed,
        'split': recording.split,
        'least_share': MIN_MASK_SHARE,
        'versions': {
            'diception_ros': __version__,
            'mujoco': mujoco.__version__,
            'numpy': np.__version__,
            'python': platform.python_version(),
        },
        **more,
    }
    files.write_text(out / _MARK, json.dumps(about, indent=1) + '\n')
