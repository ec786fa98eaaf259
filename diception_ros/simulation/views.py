# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One view with its ground truth, rendered or recorded in a bag, and the labels made from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Frame, Transform
from diception_ros.core.labels import COCO_JOINTS, Instances, Keypoints, MetricDepth, Normals
from diception_ros.messages import images as image_messages
from diception_ros.messages import stamp_of
from diception_ros.messages.point_clouds import UNTYPED, joints_from
from diception_ros.messages.poses import pose_of
from diception_ros.messages.synchronizer import CameraInfoCache
from diception_ros.simulation.assets import STUFF
from diception_ros.simulation.cameras import PinholeCamera
from diception_ros.simulation.scenes import PersonJoints, Scene
from diception_ros.system import safe_load

IMAGE, INFO, SCENE = '/camera/image_raw', '/camera/camera_info', '/camera/scene'
DEPTH, NORMALS = '/camera/depth/image', '/camera/normals/image'
INSTANCES, JOINTS, POSE = '/camera/instances/image', '/camera/joints', '/camera/pose'

# What must have been recorded for a task to be asked.
_NEEDS = {
    'depth': (DEPTH,), 'normal': (NORMALS,), 'entity': (INSTANCES, SCENE),
    'segmentation': (INSTANCES, SCENE), 'semantic': (INSTANCES, SCENE), 'pose': (JOINTS,),
}  # fmt: skip


class GroundTruth(ABC):
    """Ground-truth labels of an image: of a rendered view, or of one recorded in a bag."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, pixels."""

    @abstractmethod
    def numbered(self) -> tuple[NDArray[np.int32], tuple[str, ...], tuple[str, ...]]:
        """(H, W) number of each pixel's instance, the categories of all, and which are stuff.

        Number k, from 1, has category k - 1; 0 is none.
        """

    @abstractmethod
    def metric_depth(self) -> MetricDepth:
        """Depth, metres."""

    @abstractmethod
    def surface_normals(self) -> Normals:
        """Normals in the camera's optical frame."""

    @abstractmethod
    def keypoints(self) -> Keypoints:
        """Joints of the people that are at least partly visible, in the order of the scene."""

    @property
    @abstractmethod
    def has_people_without_joints(self) -> bool:
        """Whether the image shows somebody whose joints are not known; False if unknown."""

    def instances(self, stuff: bool = False) -> Instances:
        """The visible instances in the order of the scene; parts of the room only with `stuff`."""
        numbers, categories, parts = self.numbered()
        return _select(numbers, categories, [stuff or name not in parts for name in categories])

    def of_category(self, category: str) -> Instances:
        """The visible instances of one category."""
        numbers, categories, _ = self.numbered()
        return _select(numbers, categories, [name == category for name in categories])


def _select(
    numbers: NDArray[np.int32], categories: tuple[str, ...], wanted: Sequence[bool]
) -> Instances:
    label = Instances(numbers, categories, np.ones(len(categories), np.float32))
    return label.select((label.areas > 0) & np.array(wanted, np.bool_))


@dataclass(frozen=True, eq=False)
class View(GroundTruth):
    """A rendered view.

    Attributes:
        scene: the room.
        camera: where it was seen from.
        image: (H, W, 3) uint8, 0..255, RGB.
        depth: (H, W) float32, metres along the optical axis; NaN where nothing was hit.
        normals: (H, W, 3) float32, unit, camera optical frame, pointing to the camera, or NaN.
        instance: (H, W) int32, number of the instance in the scene, from 1; 0 where nothing was
            hit. Equal in all views of one scene.
        supersampled: (f * H, f * W, 3) uint8, the same image with f times the pixels along each
            side; None where none was drawn.
    """

    scene: Scene
    camera: PinholeCamera
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    instance: NDArray[np.int32]
    supersampled: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def metric_depth(self) -> MetricDepth:
        return MetricDepth(self.depth)

    def surface_normals(self) -> Normals:
        return Normals(self.normals)

    def category(self) -> NDArray[np.uint8]:
        """(H, W) uint8: number of the category, see `simulation.assets`."""
        return self.scene.category_numbers[self.instance].astype(np.uint8)

    def numbered(self) -> tuple[NDArray[np.int32], tuple[str, ...], tuple[str, ...]]:
        return self.instance, self.scene.categories, STUFF

    @property
    def has_people_without_joints(self) -> bool:
        known = [body.instance for body in self.scene.bodies]
        shown = np.bincount(self.instance.ravel(), minlength=len(self.scene.categories) + 1) > 0
        people = np.array([False, *(name == 'person' for name in self.scene.categories)])
        people[known] = False
        return bool((shown & people).any())

    def bodies(self) -> tuple[PersonJoints, ...]:
        """The people with at least one visible pixel."""
        present = np.bincount(self.instance.ravel(), minlength=len(self.scene.categories) + 1) > 0
        return tuple(body for body in self.scene.bodies if present[body.instance])

    def keypoints(self) -> Keypoints:
        """Joints of the people that are at least partly visible.

        A joint outside of the image has visibility 0. One inside has 2 if its pixel shows its own
        person at most the thickness of the flesh in front of the joint; otherwise an object or
        another part of the body occludes it: 1.
        """
        height, width = self.size
        bodies = self.bodies()
        joints = np.full((len(bodies), len(COCO_JOINTS), 2), np.nan, np.float32)
        visibility = np.zeros(joints.shape[:2], np.uint8)
        for k, body in enumerate(bodies):
            pixels, z = self.camera.project(body.joints)
            column, row = np.rint(np.nan_to_num(pixels, nan=-1)).astype(np.int64).T
            inside = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            column, row = column[inside], row[inside]
            in_front = z[inside] - self.depth[row, column] > body.flesh[inside]
            seen = (self.instance[row, column] == body.instance) & ~in_front
            joints[k, inside] = pixels[inside]
            visibility[k, inside] = np.where(seen, 2, 1)
        scores = (visibility > 0).astype(np.float32)
        untyped = np.zeros((0, 2), np.float32)
        return Keypoints(joints, visibility, scores, untyped, (height, width))


# Views of bags.


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
class RecordedView(GroundTruth):
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
        return self.frame.size

    @property
    def tasks(self) -> list[str]:
        """The tasks whose labels were recorded."""
        known = {*self.messages, *([SCENE] if self.info.categories else [])}
        return [task for task, topics in _NEEDS.items() if known.issuperset(topics)]

    def metric_depth(self) -> MetricDepth:
        return MetricDepth(image_messages.array_from(self.messages[DEPTH]))

    def surface_normals(self) -> Normals:
        return Normals(image_messages.array_from(self.messages[NORMALS]))

    def keypoints(self) -> Keypoints:
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
        if INSTANCES not in self.messages or not self.info.categories:
            return False
        numbers, names, _ = self.numbered()
        people = {int(k) for k in np.unique(numbers) if k and names[k - 1] == 'person'}
        return bool(people - set(joints_from(self.messages[JOINTS])['instance'].tolist()))

    def pose(self) -> Transform | None:
        """The pose of the camera, None if it was not recorded."""
        message = self.messages.get(POSE)
        return None if message is None else pose_of(message, self.frame.frame_id)

    def numbered(self) -> tuple[NDArray[np.int32], tuple[str, ...], tuple[str, ...]]:
        numbers = image_messages.array_from(self.messages[INSTANCES]).astype(np.int32)
        if numbers.max() > len(self.info.categories):
            raise ValueError(
                f'{self.name}: {INSTANCES} has number {numbers.max()}, but {SCENE} names '
                f'{len(self.info.categories)} instances; record both from the beginning'
            )
        return numbers, self.info.categories, self.info.stuff


def recorded_views(path: Path) -> Iterator[RecordedView]:
    """The images of one bag, in the order of recording.

    What belongs to an image has its stamp, and is recorded before the first message of the next.

    Raises:
        FileNotFoundError, ValueError: see `reader.read_messages`; or the bag has no images.
    """
    from diception_ros.bags.reader import read_messages  # not for rendered views

    info, count, has_images = SceneInfo(path.stem), 0, False
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
            stamp_ns = stamp_of(message.header)
            if stamp_ns != stamp:
                if IMAGE in messages:
                    yield view()
                    count += 1
                messages, stamp = {}, stamp_ns
            messages[raw.topic] = message
            if raw.topic == INFO:
                infos.add_info(message)
            has_images = has_images or raw.topic == IMAGE
    if IMAGE in messages:
        yield view()
    if not has_images:
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
