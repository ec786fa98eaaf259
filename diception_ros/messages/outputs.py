# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Converts labels to messages and back; the topics of each task.

What is published follows from the kind of label and from whether the task takes a category, never
from the task's name, so a new task with a known kind of label needs nothing here. The name is only
the first part of its topics. One table, `_table`, gives the list of topics and the messages, so
they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
import functools
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Label,
    Mask,
    MetricDepth,
    Normals,
)
from diception_ros.messages import Types, camera_info, make_header, point_clouds
from diception_ros.messages import images as image_messages

IMAGE = 'sensor_msgs/msg/Image'
INFO = 'sensor_msgs/msg/CameraInfo'
CLOUD = 'sensor_msgs/msg/PointCloud2'
DETECTIONS = 'vision_msgs/msg/Detection2DArray'
LABEL_INFO = 'vision_msgs/msg/LabelInfo'
# Class of an unlabelled pixel; by the rule of vision_msgs the largest number of the map's type.
UNLABELLED = 255

# Metres alone may be called depth/image (REP 118): what has no unit goes by another name.
_RELATIVE = {'depth/image': 'disparity/image'}


# Which content (see `_table`) holds all of a label; of others it is 'values'.
_CONTENTS: dict[type, str] = {
    Normals: 'normals',
    Mask: 'mask',
    Instances: 'ids',
    ImageLabel: 'color',
    Keypoints: 'keypoints',
}


class TaskLike(Protocol):
    """What is needed of a task; `tasks.Task` has it."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> type[Any]: ...
    @property
    def takes_category(self) -> bool: ...


class Output(NamedTuple):
    """A topic that may be published.

    Attributes:
        topic: its relative name, e.g. 'normal/image'.
        kind: of its messages, e.g. 'sensor_msgs/msg/Image'.
        view: an image for people, only made while it has a subscriber.
        latched: tells of the settings, not of a frame: published when it changes, see
            `from_settings`; a late subscriber gets the last one.
    """

    topic: str
    kind: str
    view: bool = False
    latched: bool = False


# Everything known about each pixel in space: see `point_clouds.cloud`.
POINTS = Output('points', CLOUD)
# The nearest obstacle of each direction: see `core.cloud.scan`.
SCAN = Output('scan', 'sensor_msgs/msg/LaserScan')


def declared(task: TaskLike, types: Types, kind: type[Label] | None = None) -> list[Output]:
    """All topics of a task, known before any frame arrives.

    Those of `from_label` in their order, and the latched of `from_settings`. A `kind` of label
    other than the task's is `MetricDepth`, for the metres that a disparity is converted to.

    Raises:
        TypeError: this kind of label is not published.
    """
    return [output for output, _ in _rows(task, kind or task.label) if types.has(output.kind)]


def from_label(
    types: Types,
    task: TaskLike,
    label: Label,
    header: Any,
    frame: Frame,
    topics: Collection[str],
    info: Any | None = None,
    categories: tuple[str, ...] = (),
) -> list[tuple[str, Any]]:
    """The messages of a label.

    Args:
        types: makes messages.
        task: that was predicted.
        label: of the frame's size or of the network's output size; of a disparity task also the
            `MetricDepth` that it was converted to.
        header: of the frame's message; used unchanged in every message.
        frame: the image, for overlays.
        topics: relative names; no other message is made.
        info: sensor_msgs/CameraInfo of the frame; without it none is made.
        categories: of a task that takes one, all that were segmented, in a fixed order: the
            numbers in a label map are indices into it. At most 255.

    Returns:
        Pairs of topic and message.

    Raises:
        TypeError: this kind of label is not published.
        ValueError: a category of the label is not among `categories`, or a value does not fit
            into its message.
    """

    def image(array: NDArray[Any], encoding: str) -> Any:
        return image_messages.image(types, array, encoding, header)

    any_label: Any = label
    makers: dict[str, Callable[[], Any]] = {
        'values': lambda: image(any_label.values, '32FC1'),
        'normals': lambda: image(any_label.vectors, '32FC3'),
        'mask': lambda: image(any_label.values.astype(np.uint8) * np.uint8(255), 'mono8'),
        'ids': lambda: image(_ids(any_label), '16UC1'),
        'classes': lambda: image(class_map(any_label, categories), 'mono8'),
        'confidence': lambda: image(_confidence(any_label), 'mono8'),
        'detections': lambda: detection_array(types, _detected(label), header),
        'keypoints': lambda: point_clouds.joint_cloud(
            types, point_clouds.joints_of(any_label), header
        ),
        'camera_info': lambda: camera_info.scaled(types, info, label.size, header),
        'color': lambda: image(label.preview(), 'rgb8'),
        'overlay': lambda: image(label.preview(image_at(frame, label.size)), 'rgb8'),
    }
    return [
        (output.topic, makers[content]())
        for output, content in _rows(task, type(label))
        if output.topic in topics
        and not output.latched
        and types.has(output.kind)
        and (info is not None or content != 'camera_info')
    ]


def to_label(
    task: TaskLike, messages: Mapping[str, Any], categories: Sequence[str] = ()
) -> Label | None:
    """The label in the messages of one frame, as `from_label` made them.

    Args:
        task: that was predicted.
        messages: by topic relative to the node, such as 'normal/image'; 'size' is (H, W).
        categories: those given to `from_label`.

    Returns:
        None where the messages do not hold it: the task did not run, or only metres are there.
    """
    kind = task.label
    topics = {content: output.topic for output, content in _rows(task, kind)}
    message = messages.get(topics[_CONTENTS.get(kind, 'values')])
    if message is None:
        return None
    if kind is Keypoints:
        size = messages.get('size')
        return None if size is None else point_clouds.keypoints_from(message, size)
    if kind is ImageLabel:
        return ImageLabel.from_image(image_messages.rgb_from(message))
    array = image_messages.array_from(message)
    if kind is Mask:
        return Mask(array > 0)
    if kind is not Instances:
        label: Label = kind(array)
        return label
    ids = array.astype(np.int32)
    count = int(ids.max())
    names, scores = [''] * count, np.ones(count, np.float32)
    detections = messages.get(topics['detections'])
    if detections is not None:
        for detection in detections.detections:
            number, best = int(detection.id), detection.results[0].hypothesis
            names[number - 1], scores[number - 1] = best.class_id, best.score
        return Instances(ids, tuple(names), scores)
    # Without vision_msgs there are no detections; the maps hold the same for each pixel.
    numbers, pixels = np.unique(ids[ids > 0], return_index=True)
    known = [key for key in ('classes', 'confidence') if topics.get(key) in messages]
    maps = {key: image_messages.array_from(messages[topics[key]])[ids > 0] for key in known}
    for number, pixel in zip(numbers.tolist(), pixels.tolist(), strict=True):
        if 'classes' in maps and maps['classes'][pixel] < len(categories):
            names[number - 1] = categories[maps['classes'][pixel]]
        if 'confidence' in maps:
            scores[number - 1] = maps['confidence'][pixel] / 255
    return Instances(ids, tuple(names), scores)


def from_settings(
    types: Types, task: TaskLike, categories: tuple[str, ...]
) -> list[tuple[str, Any]]:
    """Topics and latched messages of a task, which hold until the settings change.

    They belong to no frame, so their header is empty: the same settings give the same bytes.
    `categories` are those given to `from_label`.
    """
    header = make_header(types, 0, '')
    return [
        (output.topic, label_info(types, categories, header))
        for output in declared(task, types)
        if output.latched
    ]


def image_at(frame: Frame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The frame's image, uint8 RGB, at a label's size (H, W): the frame's or the network's."""
    return frame.image if size == frame.size else images.resize(frame.image, size[0])[0]


def _rows(task: TaskLike, kind: Any) -> tuple[tuple[Output, str], ...]:
    label: Any = task.label  # mypy does not take type[Any] for hashable
    return _table(task.name, label, task.takes_category, kind)


@functools.cache
def _table(
    name: str, task_label: type[Label], takes_category: bool, kind: type[Label]
) -> tuple[tuple[Output, str], ...]:
    """The topics of a task for a kind of label, and what each holds (see `from_label`)."""

    def row(end: str, content: str, message: str = IMAGE, **more: bool) -> tuple[Output, str]:
        return Output(f'{name}/{end}', message, **more), content

    info = row('camera_info', 'camera_info', INFO)
    detections = row('detections', 'detections', DETECTIONS)
    color = row('color', 'color', view=True)
    overlay = row('overlay', 'overlay', view=True)
    if issubclass(kind, Disparity):
        topic = _RELATIVE.get(f'{name}/image', f'{name}/image')
        return (Output(topic, IMAGE), 'values'), color
    if issubclass(kind, MetricDepth):
        # Metres that were converted from a disparity have no view of their own.
        views = (color,) if issubclass(task_label, MetricDepth) else ()
        return row('image', 'values'), info, *views
    if issubclass(kind, Normals):
        return row('image', 'normals'), info, color
    if issubclass(kind, Mask):
        return row('mask', 'mask'), info, overlay
    if issubclass(kind, Instances):
        confidence = row('confidence', 'confidence')
        if not takes_category:
            return row('label', 'ids'), confidence, info, detections, color, overlay
        names = row('label_info', 'label_info', LABEL_INFO, latched=True)
        ids = row('instances', 'ids')
        return row('label', 'classes'), confidence, ids, info, names, detections, color, overlay
    if issubclass(kind, ImageLabel):
        return row('image', 'color'), info
    if issubclass(kind, Keypoints):
        return row('keypoints', 'keypoints', CLOUD), detections, overlay
    raise TypeError(
        f'task {name!r}: a {kind.__name__} is not published; known: Disparity, MetricDepth, '
        'Normals, Mask, Instances, ImageLabel, Keypoints'
    )


def _ids(label: Instances) -> NDArray[np.uint16]:
    if len(label.scores) > 65535:
        raise ValueError(f'16UC1 numbers 65535 instances, got {len(label.scores)}')
    return label.ids.astype(np.uint16)


def class_map(label: Instances, categories: tuple[str, ...]) -> NDArray[np.uint8]:
    """Category of each pixel, (H, W) uint8: index into `categories`, 255 where there is none.

    Raises:
        ValueError: a category of the label is not among them, or they are more than 255.
    """
    if len(categories) > UNLABELLED:
        raise ValueError(f'a mono8 map holds at most 255 categories, got {len(categories)}')
    number = {name: k for k, name in enumerate(categories)}
    unknown = sorted(set(label.categories) - set(number))
    if unknown:
        raise ValueError(
            f'expected instances of {", ".join(map(repr, categories))}, got {unknown[0]!r}'
        )
    numbers = [UNLABELLED, *(number[name] for name in label.categories)]
    return np.array(numbers, np.uint8)[label.ids]


def _confidence(label: Instances) -> NDArray[np.uint8]:
    """The score of each pixel's instance as 0..255; 0 where there is none."""
    scores = np.append(np.float32(0), label.scores)
    return np.rint(scores * 255).astype(np.uint8)[label.ids]


def _detected(label: Any) -> list[Detection]:
    return _people_of(label) if isinstance(label, Keypoints) else _instances_of(label)


class Detection(NamedTuple):
    """One object or person in an image.

    Attributes:
        number: the same as in the label map or in the cloud of joints.
        category: its category, '' if the task has none.
        score: confidence, [0, 1].
        low: x and y of the upper left corner, pixels (centres at whole numbers).
        high: x and y of the lower right corner.
    """

    number: int
    category: str
    score: float
    low: tuple[float, float]
    high: tuple[float, float]


def _instances_of(label: Instances) -> list[Detection]:
    """The instances that have pixels; boxes enclose whole pixels."""
    return [
        Detection(number, label.categories[number - 1], float(label.scores[number - 1]),
                  (x0 - 0.5, y0 - 0.5), (x1 - 0.5, y1 - 0.5))
        for number, (x0, y0, x1, y1) in enumerate(label.boxes.tolist(), 1)
        if x1 > x0
    ]  # fmt: skip


def _people_of(label: Keypoints) -> list[Detection]:
    """Persons with at least one joint; boxes enclose the joints, scores are their mean."""
    people = []
    rows = zip(label.joints, label.scores, label.visibility > 0, strict=True)
    for number, (joints, scores, here) in enumerate(rows, 1):
        if here.any():
            low, high = joints[here].min(axis=0).tolist(), joints[here].max(axis=0).tolist()
            score = float(scores[here].mean())
            people.append(Detection(number, 'person', score, tuple(low), tuple(high)))
    return people


def detection_array(types: Types, objects: Sequence[Detection], header: Any) -> Any:
    """Make a vision_msgs/Detection2DArray; `id` is the number, `class_id` the category."""
    no_pose = types.make(
        'geometry_msgs/msg/PoseWithCovariance', covariance=np.zeros(36, np.float64),
        pose=types.make(
            'geometry_msgs/msg/Pose',
            position=types.make('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0),
            orientation=types.make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0),
        ),
    )  # fmt: skip
    detections = []
    for item in objects:
        (x0, y0), (x1, y1) = item.low, item.high
        middle = types.make('vision_msgs/msg/Point2D', x=(x0 + x1) / 2, y=(y0 + y1) / 2)
        centre = types.make('vision_msgs/msg/Pose2D', position=middle, theta=0.0)
        box = types.make(
            'vision_msgs/msg/BoundingBox2D', center=centre, size_x=x1 - x0, size_y=y1 - y0
        )
        hypothesis = types.make(
            'vision_msgs/msg/ObjectHypothesis', class_id=item.category, score=item.score
        )
        result = types.make(
            'vision_msgs/msg/ObjectHypothesisWithPose', hypothesis=hypothesis, pose=no_pose
        )
        detections.append(types.make(
            'vision_msgs/msg/Detection2D', header=header, results=[result], bbox=box,
            id=str(item.number),
        ))  # fmt: skip
    return types.make(DETECTIONS, header=header, detections=detections)


def label_info(types: Types, categories: Sequence[str], header: Any) -> Any:
    """Make a vision_msgs/LabelInfo of a mono8 map: 0 is the first category, 255 unlabelled."""
    names = [*enumerate(categories), (UNLABELLED, 'UNLABELED')]
    classes = [
        types.make('vision_msgs/msg/VisionClass', class_id=number, class_name=name)
        for number, name in names
    ]
    # The threshold is 0: nothing in the map was cut off by a score.
    return types.make(LABEL_INFO, header=header, class_map=classes, threshold=0.0)
