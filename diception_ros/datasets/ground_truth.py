# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth of a task: from arrays, files and messages; of a replay, from a topic or folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.bags.frames import COMPRESSED, IMAGE
from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Label,
    Mask,
    MetricDepth,
    Normals,
    load_npz,
)
from diception_ros.datasets import decode
from diception_ros.messages import images as image_messages
from diception_ros.messages.point_clouds import keypoints_from
from diception_ros.tasks import BUILTIN, Task, TaskRegistry

if TYPE_CHECKING:
    from diception_ros.bags.frames import Camera, MessageLookup
    from diception_ros.bags.reader import Bag
    from diception_ros.core.frame import Frame

CLOUD = 'sensor_msgs/msg/PointCloud2'
SUFFIXES = ('.npz', '.npy', '.png')  # of files of ground truth
POSES = ('geometry_msgs/msg/PoseStamped', 'tf2_msgs/msg/TFMessage')


def truth_from_array(
    task: Task[Any], array: NDArray[Any], categories: Sequence[str], where: str = ''
) -> Label:
    """The true label of a task from an array.

    Args:
        task: whose label it is.
        array: of depth as `decode.depth` takes it, of normals as `decode.normals`, of a mask
            whole numbers, of entities their ids, of semantic the indices of the categories from
            0 (255 for none), of images uint8 RGB.
        categories: that were queried.
        where: for messages.

    Raises:
        ValueError: the array holds no such label.
    """
    kind = task.label
    where = f'{where}: truth of {task.name}' if where else f'truth of {task.name}'
    if issubclass(kind, Disparity):
        return decode.depth(array, where)
    if issubclass(kind, Normals):
        return decode.normals(array, where)
    if issubclass(kind, ImageLabel):
        return decode.image(array, where)
    if array.ndim != 2 or array.dtype.kind not in 'ui':
        raise ValueError(
            f'{where}: expected whole numbers with one channel, got {decode.described(array)}'
        )
    if issubclass(kind, Mask):
        return Mask(array > 0)
    if not task.takes_category:
        return decode.instances(array, where)
    ids = np.zeros(array.shape, np.int32)
    for number in range(len(categories)):
        ids[array == number] = number + 1
    return Instances(ids, tuple(categories), np.ones(len(categories), np.float32))


def truth_from_file(task: Task[Any], path: Path, categories: Sequence[str]) -> Label:
    """The true label in a file.

    Args:
        task: whose label it is.
        path: a label as `diception predict` writes it (.npz), or an array (.npy, .png) as
            `truth_from_array` takes it.
        categories: that were queried.

    Raises:
        ValueError: it is no such file.
    """
    if path.suffix != '.npz':
        try:
            array = decode.load_array(path)
        except ValueError as error:
            raise ValueError(f'truth of {task.name}: {error}') from error
        return truth_from_array(task, array, categories, str(path))
    kind = task.label
    label = load_npz(path)
    if not isinstance(label, (kind, MetricDepth) if issubclass(kind, Disparity) else kind):
        raise ValueError(f'{path}: expected {kind.__name__}, got {type(label).__name__}')
    return label


def truth_from_message(task: Task[Any], message: Any, categories: Sequence[str]) -> Label:
    """The true label in a sensor_msgs/Image or CompressedImage, see `truth_from_array`.

    Raises:
        ValueError: it holds no such label, or the task is of people (`people_from_message`).
    """
    kind = task.label
    if issubclass(kind, Keypoints):
        raise ValueError(f'{task.name}: a cloud of joints needs the size of the image')
    if issubclass(kind, Disparity) and hasattr(message, 'format'):
        return truth_from_array(task, image_messages.depth_from(message), categories)
    decoded = (
        image_messages.rgb_from if issubclass(kind, ImageLabel) else image_messages.array_from
    )
    return truth_from_array(task, decoded(message), categories)


def people_from_message(message: Any, size: tuple[int, int]) -> Keypoints:
    """True people in a cloud of joints, those with any joint in the image.

    Args:
        message: sensor_msgs/PointCloud2; ids of people may have gaps, as where they are ids of
            all objects of a scene.
        size: (H, W) of the image, pixels.
    """
    people = keypoints_from(message, size)
    return people.select(np.any(people.visibility, axis=1))


class GroundTruthSource:
    """Ground truth of one task.

    Args:
        bag: the replayed bag.
        text: 'depth=/camera/depth/image', 'depth=folder', or with the name of a camera
            'front.depth=/front/depth'.
        cameras: the replayed cameras.
        task_names: names of the replayed tasks.
        registry: holds those tasks.

    Attributes:
        task: its name.
        camera: name of the camera it belongs to; '' for all.
        topic: the topic it is on; '' for a folder.

    Raises:
        ValueError: no such task, camera, topic or folder, or a topic of another type.
    """

    def __init__(
        self,
        bag: Bag,
        text: str,
        cameras: Sequence[Camera],
        task_names: Sequence[str],
        registry: TaskRegistry = BUILTIN,
    ) -> None:
        name, _, place = text.partition('=')
        self.camera, _, self.task = name.rpartition('.')
        known = list(dict.fromkeys([*registry.names(), *task_names]))
        if not place or self.task not in known:
            raise ValueError(
                f'--truth {text!r}: expected TASK=TOPIC or TASK=FOLDER, the task being one of '
                f'{", ".join(known)}'
            )
        if self.task not in task_names:
            raise ValueError(f'--truth {text!r}: {self.task} is not among --tasks')
        if self.camera and self.camera not in [camera.name for camera in cameras]:
            raise ValueError(f'--truth {text!r}: no camera {self.camera!r} is replayed')
        if not self.camera and len(cameras) > 1:
            raise ValueError(
                f'--truth {text!r}: of {len(cameras)} cameras; give the name of one before the '
                f'task, as in {cameras[0].name}.{self.task}={place}'
            )
        self.topic = ''
        self._files: dict[int, Path] = {}
        self._ordered: list[Path] = []
        self._task = registry.get(self.task)
        kind = CLOUD if issubclass(self._task.label, Keypoints) else IMAGE
        if place in bag.topics:
            if bag.topics[place].msgtype not in (kind, COMPRESSED if kind == IMAGE else kind):
                raise ValueError(
                    f'--truth {text!r}: expected {kind}, {place} has {bag.topics[place].msgtype}'
                )
            self.topic = place
        elif Path(place).is_dir():
            self._list(Path(place))
        else:
            there = [topic.name for topic in bag.topics.values() if topic.msgtype == kind]
            raise ValueError(
                f'--truth {text!r}: neither a topic nor a folder; topics of {kind} are '
                f'{", ".join(there) or "none"}'
            )
        self._number = 0

    def _list(self, folder: Path) -> None:
        files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
        if not files:
            raise ValueError(f'{folder}: no file in it that ends in {", ".join(SUFFIXES)}')
        self._files = {int(p.stem): p for p in files if p.stem.isdigit()}
        # Stamps of this century in nanoseconds have 18 digits or more; anything else counts.
        if len(self._files) < len(files) or any(stamp < 10**17 for stamp in self._files):
            self._files, self._ordered = {}, files

    def of(
        self,
        frame: Frame,
        log_ns: int,
        lookup: MessageLookup,
        tolerance_ns: int,
        categories: Sequence[str],
    ) -> Any | None:
        """The true label of a frame; None where there is none.

        Args:
            frame: the frames, in their order.
            log_ns: log time of its message.
            lookup: of the topic.
            tolerance_ns: largest difference of the stamps.
            categories: that were queried.

        Raises:
            ValueError: it is not of the kind of the task.
        """
        if self.topic:
            message = lookup.nearest(self.topic, frame.stamp_ns, log_ns, tolerance_ns)
            if message is None:
                return None
            if issubclass(self._task.label, Keypoints):
                return people_from_message(message, frame.size)
            return truth_from_message(self._task, message, categories)
        number = self._number
        self._number += 1
        if self._ordered:
            if number >= len(self._ordered):
                return None
            return truth_from_file(self._task, self._ordered[number], categories)
        path = self._files.get(frame.stamp_ns)
        return None if path is None else truth_from_file(self._task, path, categories)

    def check(self, bag: Bag, categories: Sequence[str]) -> None:
        """Read the first label, to validate it before the long run.

        Raises:
            ValueError: it is not of the kind of the task.
        """
        if self._ordered or self._files:
            truth_from_file(self._task, [*self._ordered, *self._files.values()][0], categories)
        elif not issubclass(self._task.label, Keypoints):
            for raw in bag.messages([self.topic]):
                truth_from_message(self._task, bag.decode(raw), categories)
                break

    def begin(self) -> None:
        """Start over at the first frame."""
        self._number = 0


def poses_of(bag: Bag, cameras: Sequence[Camera], given: Sequence[str]) -> dict[str, str]:
    """Topics of the cameras' poses.

    Args:
        bag: the replayed bag.
        cameras: the replayed cameras.
        given: one topic for each camera; none: `pose` beside the images, or transforms.

    Raises:
        ValueError: not as many topics as cameras, or one without poses.
    """
    if given and len(given) != len(cameras):
        raise ValueError(f'--pose names {len(given)} topics for {len(cameras)} cameras')
    topics = {}
    for number, camera in enumerate(cameras):
        if given:
            topic = given[number]
            if topic not in bag.topics or bag.topics[topic].msgtype not in POSES:
                there = [item.name for item in bag.topics.values() if item.msgtype in POSES]
                raise ValueError(
                    f'--pose {topic}: expected one of {", ".join(POSES)}, which are on '
                    f'{", ".join(there) or "no topic"}'
                )
            topics[camera.name] = topic
            continue
        base = camera.topic.removesuffix('/compressed').rpartition('/')[0]
        for topic in (f'{base}/pose', '/tf'):
            if topic in bag.topics and bag.topics[topic].msgtype in POSES:
                topics[camera.name] = topic
                break
    return topics
