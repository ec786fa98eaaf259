# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training samples (image, prompt, label) of simulated rooms, rendered endlessly or from bags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import hashlib
import itertools
from pathlib import Path

import numpy as np

from diception_ros.core.frame import Frame, Transform
from diception_ros.core.geometry import to_disparity
from diception_ros.core.labels import Label, Mask
from diception_ros.core.prompt import MAX_POINTS, Point, Prompt
from diception_ros.datasets.sample import Sample
from diception_ros.simulation import cameras, scenes
from diception_ros.simulation.assets import COCO, MODELED
from diception_ros.simulation.cameras import CameraRig
from diception_ros.simulation.realism import PLAIN, Realism
from diception_ros.simulation.renderer import Renderer
from diception_ros.simulation.scenes import Split
from diception_ros.simulation.views import GroundTruth, View, recorded_views
from diception_ros.tasks import BUILTIN

FRAME_ID = 'camera_optical'

# Purposes of `scenes.rng_for`: 0 is the scene itself, then two for each view.
CAMERA, PROMPTS = 1, 2
# And of the five points of `evaluators.mask_items`.
_POINTS = 2**16

# Rooms in a row without a sample, after which no other is expected to have one: of 60 rooms as
# 16x16 pixels each had one.
_MOST_EMPTY = 100

# An object of a prompt covers at least this fraction of the image, and this many pixels.
_MIN_SHARE, _MIN_PIXELS = 0.002, 16


def samples(
    seed: int,
    size: tuple[int, int],
    tasks: Sequence[str] | None = None,
    *,
    split: Split = 'train',
    views: int = 4,
    worker: int = 0,
    workers: int = 1,
    first: int = 0,
    rig: CameraRig | None = None,
    absent: float = 0.1,
    stuff: bool = False,
    metric: bool = False,
    backend: str | None = None,
    realism: Realism = PLAIN,
) -> Iterator[Sample]:
    """Render endless samples.

    Every view yields one sample per task. Scene, cameras and prompts depend on the seed and the
    number of the scene alone, so several processes with one seed and different workers render
    disjoint parts of what one process would render.

    Args:
        seed: of the data set.
        size: (H, W) of the frames, pixels.
        tasks: names of tasks; None for all. A view without a label for a task has no sample of it.
        split: scenes of different splits never meet.
        views: of each scene; a scene takes about as long to load as three views to render.
        worker: which process this is, 0 to workers - 1.
        workers: how many processes share the scenes.
        first: number of the first scene, to continue an earlier stream.
        rig: 'robot' or 'hand'; None for both.
        absent: fraction of category prompts for an absent category, and of views without people
            that have a pose sample.
        stuff: whether floor, walls and ceiling are entities.
        metric: depth as `MetricDepth` instead of the `Disparity` of its task.
        backend: OpenGL library, see `renderer.open_gl_context`.
        realism: what is added to the plain rooms.

    Yields:
        Samples; their names say split, seed, scene, view and task.

    Raises:
        ImportError, OSError: see `renderer.open_gl_context`.
        ValueError: an unknown task or split, a worker that is none of the workers, or a size at
            which no room has a good view.
    """
    names = BUILTIN.names() if tasks is None else list(tasks)
    for name in names:
        BUILTIN.get(name)
    numbers = scene_numbers(worker, workers, first)
    empty = 0
    with Renderer(size, backend) as renderer:
        for number in numbers:
            empty += 1
            if empty > _MOST_EMPTY:
                raise ValueError(
                    f'{_MOST_EMPTY} rooms in a row have no good view as {size[1]}x{size[0]} '
                    'pixels; expected larger images'
                )
            for k, view in enumerate(
                scene_views(renderer, seed, number, split, views, rig, realism)
            ):
                rng = scenes.rng_for(seed, number, split, PROMPTS + 2 * k)
                name = f'{view.scene.name}/{k}'
                made = make_samples(
                    view, names, rng, name, absent=absent, stuff=stuff, metric=metric
                )
                empty = 0 if made else empty
                yield from made


def room_views(
    seed: int, size: tuple[int, int], split: Split, count: int, each: int = 1,
    backend: str | None = None,
) -> Iterator[tuple[Sequence[Sample], np.random.Generator]]:  # fmt: skip
    """Render `count` views of rooms, `each` of one room, with every query whose label is known.

    Yields:
        The samples of one view, and a source of randomness that belongs to it.
    """
    # Always all tasks: the queries of one must not depend on which others are evaluated.
    stream = samples(seed, size, split=split, views=each, metric=True, backend=backend)
    rooms = itertools.groupby(stream, key=lambda sample: sample.name.rsplit('/', 1)[0])
    for name, mine in itertools.islice(rooms, count):
        _, _, scene, view = name.split('/')
        rng = scenes.rng_for(seed, int(scene), split, _POINTS + int(view))
        yield list(mine), rng


def scene_numbers(worker: int, workers: int, first: int = 0) -> Iterator[int]:
    """The endless scene numbers of one of several processes, see `samples`."""
    if not 0 <= worker < workers:
        raise ValueError(f'worker: expected 0 to {workers - 1}, got {worker}')
    return itertools.count(first + (worker - first) % workers, workers)


def scene_views(
    renderer: Renderer, seed: int, number: int, split: Split, views: int,
    rig: CameraRig | None = None, realism: Realism = PLAIN, size: tuple[int, int] | None = None,
    supersampling: int = 1,
) -> Iterator[View]:  # fmt: skip
    """Render single views of one scene; fewer than wanted where the room has no good ones.

    Views are as large as the renderer, unless a smaller size (H, W) is given; `supersampling` is
    passed to `Renderer.render`.
    """
    scene = scenes.make_scene(seed, number, split, realism)
    in_room = [
        cameras.sample_view(scenes.rng_for(seed, number, split, CAMERA + 2 * k), scene,
                     size or renderer.size, rig)
        for k in range(views)
    ]  # fmt: skip
    if any(in_room):
        renderer.load(scene)
    for camera in in_room:
        if camera is not None:
            yield renderer.render(camera, supersampling)


def make_samples(
    view: View, tasks: Sequence[str], rng: np.random.Generator, name: str, *,
    absent: float = 0.1, stuff: bool = False, metric: bool = False, stamp_ns: int = 0,
) -> list[Sample]:  # fmt: skip
    """Samples of one rendered view; see `samples_of_image`."""
    camera = view.camera
    frame = Frame(view.image, stamp_ns, FRAME_ID, camera.intrinsics)
    pose = Transform(camera.rotation, camera.position)
    return samples_of_image(
        view, frame, pose, tasks, rng, name, absent=absent, stuff=stuff, metric=metric
    )


def samples_of_image(
    truth: GroundTruth, frame: Frame, pose: Transform | None, tasks: Sequence[str],
    rng: np.random.Generator, name: str, *, absent: float = 0.1, stuff: bool = False,
    metric: bool = False,
) -> list[Sample]:  # fmt: skip
    """Samples of one image that share its frame, one for each task with a label.

    `absent`, `stuff` and `metric` are those of `samples`; the task is added to `name`.

    Raises:
        ValueError: an unknown task, or invalid ground truth; the message names view and task.
    """
    out = []
    for task in tasks:
        try:
            prompt_and_label = _make_sample(truth, task, rng, absent, stuff, metric)
        except ValueError as error:
            raise ValueError(f'{name}/{task}: {error}') from error
        if prompt_and_label is not None:
            prompt, label = prompt_and_label
            out.append(Sample(frame, prompt, label, pose, f'{name}/{task}'))
    return out


def bag_samples(
    path: Path, tasks: Sequence[str], seed: int = 0, *, absent: float = 0.1, stuff: bool = False,
    metric: bool = False,
) -> Iterator[Sample]:  # fmt: skip
    """Prompts and labels of the images of bags, as `diception simulate --out FILE.mcap` writes.

    A bag has labels and no prompts; these are drawn as for rendered views. It needs images under
    `/camera/image_raw`; a task without its topic has no samples.

    Args:
        path: a bag, or a folder of bags, which are read in the order of their names.
        tasks: names of tasks; one sample of each for each image whose label was recorded.
        seed: of the prompts, which follow from it and the name of the image.
        absent: see `samples`, as for `stuff` and `metric`.
        stuff: whether floor, walls and ceiling are entities.
        metric: depth as `MetricDepth`.

    Yields:
        Samples; those of one image share a frame.

    Raises:
        FileNotFoundError: there is no bag.
        ValueError: a bag is damaged, has no images, or its messages contradict each other.
    """
    from diception_ros.bags.reader import bags_in  # not for rendered views

    try:
        bags = sorted(bags_in(path))
    except ValueError as error:
        raise FileNotFoundError(str(error)) from error
    for bag in bags:
        for view in recorded_views(bag):
            digest = hashlib.sha256(f'{seed} {view.name}'.encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], 'little'))
            known = view.tasks
            yield from samples_of_image(
                view, view.frame, view.pose(), [task for task in tasks if task in known], rng,
                view.name, absent=absent, stuff=stuff, metric=metric,
            )  # fmt: skip


def _make_sample(
    truth: GroundTruth, task: str, rng: np.random.Generator, absent: float, stuff: bool,
    metric: bool,
) -> tuple[Prompt, Label] | None:  # fmt: skip
    if task == 'depth':
        depth = truth.metric_depth()
        return Prompt(task), depth if metric else to_disparity(depth)[0]
    if task == 'normal':
        return Prompt(task), truth.surface_normals()
    if task == 'entity':
        return Prompt(task), truth.instances(stuff)
    if task == 'pose':
        if truth.has_people_without_joints:
            return None
        people = truth.keypoints()
        return (Prompt(task), people) if len(people.joints) or rng.uniform() < absent else None
    if task == 'semantic':
        return _category(truth, rng, absent)
    if task == 'segmentation':
        return _points(truth, rng)
    raise ValueError(f'task {task!r}: the simulation has no label for it')


def _category(
    truth: GroundTruth, rng: np.random.Generator, absent: float
) -> tuple[Prompt, Label] | None:
    # Categories that COCO names: their texts are in every model folder.
    least = _least(truth)
    things = truth.instances()
    shown = set(things.categories)
    # Counted by category, so that a row of books counts as one.
    present = [
        name for name in (*COCO, *MODELED)
        if name in shown and int(truth.of_category(name).areas.sum()) >= least
    ]  # fmt: skip
    missing = [name for name in COCO if name not in shown]
    options = missing if rng.uniform() < absent or not present else present
    name = options[int(rng.integers(len(options)))]
    return Prompt('semantic', name), truth.of_category(name)


def _points(truth: GroundTruth, rng: np.random.Generator) -> tuple[Prompt, Label] | None:
    # One to five pixels of one thing, any of them.
    things = truth.instances()
    large = np.flatnonzero(things.areas >= _least(truth)) + 1
    if not large.size:
        return None
    mask = things.ids == large[int(rng.integers(len(large)))]
    rows, columns = np.nonzero(mask)
    picked = rng.integers(len(rows), size=int(rng.integers(1, MAX_POINTS + 1)))
    points = tuple(Point(float(columns[k]), float(rows[k])) for k in picked)
    return Prompt('segmentation', points=points), Mask(mask)


def _least(truth: GroundTruth) -> int:
    height, width = truth.size
    return max(_MIN_PIXELS, int(_MIN_SHARE * height * width))
