# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples of bags with ground truth, such as `diception simulate --out FILE.mcap` writes.

A bag has answers and no questions; these are drawn as for rendered views. It needs images under
`/camera/image_raw`; what of the other topics is not there is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diception_ros.bags.reader import bags_in, read_messages
from diception_ros.core.frame import Frame
from diception_ros.core.labels import COCO_JOINTS, Instances, Keypoints, MetricDepth, Normals
from diception_ros.datasets.sample import Pose, Sample
from diception_ros.messages import base
from diception_ros.messages import images as image_messages
from diception_ros.messages.point_clouds import UNTYPED, joints_from
from diception_ros.messages.synchronizer import CameraInfoCache
from diception_ros.simulation import sample_stream
from diception_ros.simulation.assets.categories import STUFF
from diception_ros.simulation.views import select_instances
from diception_ros.system import safe_load

IMAGE, INFO, SCENE = '/camera/image_raw', '/camera/camera_info', '/camera/scene'
DEPTH, NORMALS = '/camera/depth/image', '/camera/normals/image'
INSTANCES, JOINTS, POSE = '/camera/instances/image', '/camera/joints', '/camera/pose'

# What must have been recorded for a task to be asked.
_NEEDS = {
    'depth': (DEPTH,), 'normal': (NORMALS,), 'entity': (INSTANCES, SCENE),
    'segmentation': (INSTANCES, SCENE), 'semantic': (INSTANCES, SCENE), 'pose': (JOINTS,),
}  # fmt: skip


@dataclass(frozen=True)
class SceneInfo:
    """Meaning of the ids in label maps, from one `/camera/scene` to the next.

    Attributes:
        name: of the scene.
        categories: of each instance; instance k is `categories[k - 1]`.
        stuff: the categories that are parts of the room.
    """

    name: str
    categories: tuple[str, ...] = ()
    stuff: tuple[str, ...] = STUFF


@dataclass(frozen=True, eq=False)
class RecordedView:
    """One image of a bag with its recorded labels.

    Attributes:
        name: scene and number of the image.
        info: meaning of the ids of instances.
        frame: the image.
        messages: everything with the image's stamp, by topic.
    """

    name: str
    info: SceneInfo
    frame: Frame
    messages: dict[str, Any] = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, pixels."""
        return self.frame.size

    @property
    def tasks(self) -> list[str]:
        """The tasks whose labels were recorded."""
        known = {*self.messages, *([SCENE] if self.info.categories else [])}
        return [task for task, topics in _NEEDS.items() if known.issuperset(topics)]

    def metric_depth(self) -> MetricDepth:
        """Depth, metres."""
        return MetricDepth(image_messages.array_from(self.messages[DEPTH]))

    def surface_normals(self) -> Normals:
        """Normals in the camera's optical frame."""
        return Normals(image_messages.array_from(self.messages[NORMALS]))

    def instances(self, stuff: bool = False) -> Instances:
        """All instances, in the order of the scene; the parts of the room only with `stuff`."""
        return select_instances(
            self._numbers(), self.info.categories,
            lambda name: stuff or name not in self.info.stuff,
        )  # fmt: skip

    def of_category(self, category: str) -> Instances:
        """The instances of one category that are visible."""
        return select_instances(
            self._numbers(), self.info.categories, lambda name: name == category
        )

    def keypoints(self) -> Keypoints:
        """Joints of the people, in the order of the scene."""
        joints = joints_from(self.messages[JOINTS])
        joints = joints[joints['joint'] != UNTYPED]
        numbers, person = np.unique(joints['instance'], return_inverse=True)
        shape = len(numbers), len(COCO_JOINTS)
        places = np.full((*shape, 2), np.nan, np.float32)
        visibility, scores = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
        where = person, joints['joint']
        places[where] = np.stack([joints['u'], joints['v']], axis=-1)
        visibility[where], scores[where] = joints['visibility'], joints['score']
        untyped = np.zeros((0, 2), np.float32)
        return Keypoints(places, visibility, scores, untyped, self.size)

    @property
    def has_people_without_joints(self) -> bool:
        """Whether the image shows a person of whom no joint was recorded; False if unknown."""
        if INSTANCES not in self.messages or not self.info.categories:
            return False
        shown = np.unique(self._numbers())
        names = self.info.categories
        people = {int(k) for k in shown if k and names[k - 1] == 'person'}
        return bool(people - set(joints_from(self.messages[JOINTS])['instance'].tolist()))

    def pose(self) -> Pose | None:
        """The pose of the camera, None if it was not recorded."""
        message = self.messages.get(POSE)
        if message is None:
            return None
        at, turn = message.pose.position, message.pose.orientation
        rotation = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
        return Pose(np.array([at.x, at.y, at.z]), np.asarray(rotation, np.float64))

    def _numbers(self) -> NDArray[np.int32]:
        numbers = image_messages.array_from(self.messages[INSTANCES]).astype(np.int32)
        if numbers.max() > len(self.info.categories):
            raise ValueError(
                f'{self.name}: {INSTANCES} has number {numbers.max()}, but {SCENE} names '
                f'{len(self.info.categories)} instances; record both from the beginning'
            )
        return numbers


def samples(
    path: Path, tasks: Sequence[str], seed: int = 0, *, absent: float = 0.1, stuff: bool = False,
    metric: bool = False,
) -> Iterator[Sample]:  # fmt: skip
    """Prompts and labels of the images of bags.

    Args:
        path: a bag, or a folder of bags, which are read in the order of their names.
        tasks: names of tasks; one sample of each for each image whose label was recorded.
        seed: of the prompts, which follow from it and the name of the image.
        absent: see `sample_stream.samples`.
        stuff: see `sample_stream.samples`.
        metric: see `sample_stream.samples`.

    Yields:
        Samples; those of one image share a frame.

    Raises:
        FileNotFoundError: there is no bag.
        ValueError: a bag is damaged, has no images, or its messages contradict each other.
    """
    try:
        found = sorted(bags_in(path))
    except ValueError as error:
        raise FileNotFoundError(str(error)) from error
    for bag in found:
        for view in views(bag):
            digest = hashlib.sha256(f'{seed} {view.name}'.encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], 'little'))
            known = view.tasks
            yield from sample_stream.samples_of_image(
                view, view.frame, view.pose(), [task for task in tasks if task in known], rng,
                view.name, absent=absent, stuff=stuff, metric=metric,
            )  # fmt: skip


def views(path: Path) -> Iterator[RecordedView]:
    """The images of one bag, in the order of recording.

    What belongs to an image has its stamp, and is recorded before the first message of the next.

    Raises:
        FileNotFoundError, ValueError: see `reader.read_messages`; or the bag has no images.
    """
    info, count, found = SceneInfo(path.stem), 0, False
    messages: dict[str, Any] = {}
    infos = CameraInfoCache()
    stamp: int | None = None

    def view() -> RecordedView:
        camera_info, _ = infos.match(messages[IMAGE])
        frame = image_messages.frame_from(messages[IMAGE], camera_info)
        return RecordedView(f'{info.name}/{count}', info, frame, messages)

    for raw, message in read_messages(path):
        if raw.topic == SCENE:
            # It has no header; it describes all that is recorded after it, by another camera.
            if IMAGE in messages:
                yield view()
            info, count, messages = _scene_info(path, message.data), 0, {}
            infos.clear()
        elif raw.topic in (IMAGE, INFO, DEPTH, NORMALS, INSTANCES, JOINTS, POSE):
            stamp_ns = base.stamp_ns(message.header)
            if stamp_ns != stamp:
                if IMAGE in messages:
                    yield view()
                    count += 1
                messages, stamp = {}, stamp_ns
            messages[raw.topic] = message
            if raw.topic == INFO:
                infos.add_info(message)
            found = found or raw.topic == IMAGE
    if IMAGE in messages:
        yield view()
    if not found:
        raise ValueError(f'{path}: no images; expected some under {IMAGE}')


def _scene_info(path: Path, text: str) -> SceneInfo:
    try:
        told = safe_load.json_text(text, SCENE)
        instances = told['instances']
        names = tuple(str(instances[str(k)]) for k in range(1, len(instances) + 1))
        return SceneInfo(str(told['scene']), names, tuple(map(str, told['stuff'])))
    except (ValueError, *safe_load.MALFORMED) as error:
        raise ValueError(
            f'{path}: {SCENE} is not what `diception simulate` writes ({error!r})'
        ) from error
