# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records simulated rooms: a folder of samples, or a bag as of a robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.bags import mcap_writer
from diception_ros.bags.typestore import BagTypes
from diception_ros.core.labels import COCO_JOINTS
from diception_ros.datasets.sample import create_folder, write_frame
from diception_ros.messages import camera_info, make_header, poses
from diception_ros.messages import images as image_messages
from diception_ros.messages.point_clouds import JOINT, joint_cloud
from diception_ros.simulation import cameras, sample_stream, scenes, views
from diception_ros.simulation.assets import CATEGORIES, STUFF
from diception_ros.simulation.cameras import CameraRig
from diception_ros.simulation.realism import PLAIN, Realism
from diception_ros.simulation.renderer import Renderer
from diception_ros.simulation.scenes import Scene, Split
from diception_ros.simulation.views import View

WORLD = 'map'
START_NS = 1_700_000_000_000_000_000  # of every bag: two runs write the same bytes


@dataclass(frozen=True)
class Recording:
    """What to record.

    Attributes:
        scenes: how many rooms.
        views: images of each room.
        size: (H, W) of the images, pixels.
        seed: of all randomness.
        split: scenes of different splits never meet.
        rig: what carries the camera; None samples it for every view (for every room in a bag).
        rate: images per second of a bag.
        stuff: whether floor, walls and ceiling are entities, in a folder; a bag has them all.
        backend: OpenGL library, see `renderer.open_gl_context`.
        realism: what is added to the plain rooms; paths of a bag keep the plain cameras.

    Raises:
        ValueError: a number that is not positive.
    """

    scenes: int
    views: int
    size: tuple[int, int]
    seed: int = 0
    split: Split = 'train'
    rig: CameraRig | None = None
    rate: float = 10.0
    stuff: bool = False
    backend: str | None = None
    realism: Realism = PLAIN

    def __post_init__(self) -> None:
        if min(self.scenes, self.views, *self.size) < 1 or not self.rate > 0:
            raise ValueError(
                'recording: expected at least one scene, view and pixel and a rate > 0, got '
                f'{self.scenes} scenes, {self.views} views, {self.size} (H, W), {self.rate} Hz'
            )


def to_folder(recording: Recording, out: Path, force: bool = False) -> Iterator[int]:
    """Write samples of all tasks into a folder; depth is in metres.

    Yields:
        The number of frames written, after each one.

    Raises:
        FileExistsError: see `datasets.sample.create_folder`.
        ImportError, OSError: see `renderer.open_gl_context`.
    """
    with Renderer(recording.size, recording.backend) as renderer:
        create_folder(out, force)
        written = 0
        seed, split = recording.seed, recording.split
        for number in range(recording.scenes):
            views = sample_stream.scene_views(
                renderer, seed, number, split, recording.views, recording.rig,
                recording.realism,
            )  # fmt: skip
            for k, view in enumerate(views):
                rng = scenes.rng_for(seed, number, split, sample_stream.PROMPTS + 2 * k)
                samples = sample_stream.make_samples(
                    view, tasks.names(), rng, f'{view.scene.name}/{k}',
                    stuff=recording.stuff, metric=True, stamp_ns=_stamp(written, recording.rate),
                )  # fmt: skip
                write_frame(out, written, samples)
                written += 1
                yield written


def to_bag(
    recording: Recording,
    out: Path,
    force: bool = False,
    more: Callable[[int, View], list[tuple[str, Any]]] = lambda number, view: [],
) -> Iterator[int]:
    """Write a bag as a robot records it on smooth paths through the rooms.

    `more` returns topics and messages that follow those of a view, by the number of the frame
    and the view.

    Yields:
        The number of frames written, after each one.

    Raises:
        FileExistsError: there is something already.
        ImportError, OSError: see `renderer.open_gl_context`.
        ValueError: the name does not end in .mcap.
    """
    with (
        Renderer(recording.size, recording.backend) as renderer,
        mcap_writer.create(out, force) as bag,
    ):
        written = 0
        for number in range(recording.scenes):
            scene = scenes.make_scene(recording.seed, number, recording.split, recording.realism)
            path = _camera_path(recording, scene, number)
            if path:
                renderer.load(scene)
            for k, camera in enumerate(path):
                stamp_ns = _stamp(written, recording.rate)
                view = renderer.render(camera)
                if k == 0:
                    bag.write_message(views.SCENE, scene_message(scene), stamp_ns)
                for topic, message in (*frame_messages(view, stamp_ns), *more(written, view)):
                    bag.write_message(topic, message, stamp_ns)
                written += 1
                yield written


def frame_messages(view: View, stamp_ns: int) -> list[tuple[str, Any]]:
    """All messages of one view as (topic, message), with one stamp.

    The frame is `camera_optical`, but `map` for the two messages with the pose of the camera.
    """
    camera, types = view.camera, BagTypes()
    header = make_header(types, stamp_ns, sample_stream.FRAME_ID)
    world = make_header(types, stamp_ns, WORLD)
    pose = camera.position, camera.rotation
    maps: dict[str, tuple[NDArray[Any], str]] = {
        views.IMAGE: (view.image, 'rgb8'),
        views.DEPTH: (view.depth, '32FC1'),
        views.NORMALS: (view.normals, '32FC3'),
        views.INSTANCES: (view.instance.astype(np.uint16), '16UC1'),
        '/camera/semantic/image': (view.category(), 'mono8'),
    }
    return [
        *(
            (topic, image_messages.image(types, array, encoding, header))
            for topic, (array, encoding) in maps.items()
        ),
        (views.INFO, camera_info.info(types, camera.intrinsics, camera.size, header)),
        (views.JOINTS, joint_cloud(types, joints(view), header)),
        (views.POSE, poses.pose_stamped(types, *pose, world)),
        ('/tf', poses.transform(types, *pose, world, sample_stream.FRAME_ID)),
    ]


def joints(view: View) -> Any:
    """All joints of the people in a view: (17 P,) of dtype `point_clouds.JOINT`."""
    people, bodies = view.keypoints(), view.bodies()
    out = np.zeros((len(bodies), len(COCO_JOINTS)), JOINT)
    for k, body in enumerate(bodies):
        local = (body.joints - view.camera.position) @ view.camera.rotation
        out['x'][k], out['y'][k], out['z'][k] = local.T
        out['u'][k], out['v'][k] = people.joints[k].T
        out['visibility'][k] = people.visibility[k]
        out['score'][k] = people.scores[k]
        out['joint'][k] = np.arange(len(COCO_JOINTS))
        out['instance'][k] = body.instance
    return out.ravel()


def _camera_path(recording: Recording, scene: Scene, number: int) -> list[cameras.PinholeCamera]:
    rng = scenes.rng_for(recording.seed, number, recording.split, sample_stream.CAMERA)
    rig = recording.rig or cameras.sample_rig(rng)
    return (
        cameras.sample_path(rng, scene, recording.size, rig, recording.views, recording.rate) or []
    )


def scene_message(scene: Scene) -> Any:
    """std_msgs/String: meaning of the ids in the label maps until the next such message."""
    content = {
        'scene': scene.name,
        'categories': dict(enumerate(CATEGORIES)),
        'stuff': list(STUFF),
        'instances': dict(enumerate(scene.categories, 1)),
        'joints': list(COCO_JOINTS),
    }
    return BagTypes().make('std_msgs/msg/String', data=json.dumps(content))


def _stamp(frame: int, rate: float) -> int:
    return START_NS + round(frame * 1_000_000_000 / rate)
