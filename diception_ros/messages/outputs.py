# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a task answers, as messages: which topics there are, and what goes out on them.

What is published follows from the kind of answer and from whether the task is asked about
categories, never from its name, so a new task with a known kind of answer needs nothing here. The
name is only the first part of its topics. One table, `_rows`, is behind the list of topics and
behind the messages, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import (
    Disparity,
    Instances,
    Keypoints,
    Label,
    Mask,
    MetricDepth,
    Normals,
    Picture,
)
from diception_ros.core.prompt import Prompt
from diception_ros.messages import camera_info, detections, point_clouds
from diception_ros.messages import images as image_messages
from diception_ros.messages.base import Types

IMAGE = 'sensor_msgs/msg/Image'
INFO = 'sensor_msgs/msg/CameraInfo'
CLOUD = 'sensor_msgs/msg/PointCloud2'

# Metres alone may be called depth/image (REP 118): what has no unit goes by another name.
_RELATIVE = {'depth/image': 'disparity/image'}


class TaskLike(Protocol):
    """What has to be known of a task; `tasks.Task` fits."""

    name: str
    label: type[Any]
    takes_category: bool


class Output(NamedTuple):
    """A topic that may be published.

    Attributes:
        topic: its relative name, e.g. 'normal/image'.
        kind: of its messages, e.g. 'sensor_msgs/msg/Image'.
        view: made for eyes, at some cost: only when somebody looks.
        latched: says what holds until it changes, so whoever comes later wants the last one.
    """

    topic: str
    kind: str
    view: bool = False
    latched: bool = False


# Everything known about each pixel in space: see `clouds.cloud`.
POINTS = Output('points', CLOUD)


@dataclass(frozen=True, eq=False)
class _Answer:
    types: Types
    label: Any
    header: Any
    frame: Frame
    info: Any | None
    categories: tuple[str, ...]

    def image(self, array: NDArray[Any], encoding: str) -> Any:
        return image_messages.image(self.types, array, encoding, self.header)


class _Row(NamedTuple):
    output: Output
    make: Callable[[_Answer], Any]


def declared(task: TaskLike, types: Types, kind: type[Label] | None = None) -> list[Output]:
    """All topics on which answers of a task may go out, known before any frame is seen.

    Args:
        task: the task.
        types: decides whether vision_msgs can be had.
        kind: of the answer; None: the task's own. `MetricDepth` for the metres that a disparity
            was turned into.

    Returns:
        The topics, in the order in which `from_label` hands out their messages.

    Raises:
        TypeError: nothing is published of this kind of answer.
    """
    return [row.output for row in _rows(task, kind or task.label, types)]


def from_label(
    types: Types,
    task: TaskLike,
    label: Label,
    prompt: Prompt | None,
    header: Any,
    frame: Frame,
    wanted: Collection[str],
    info: Any | None = None,
    categories: tuple[str, ...] = (),
) -> list[tuple[str, Any]]:
    """The messages that an answer becomes.

    Args:
        types: what makes the messages.
        task: the task that was asked.
        label: its answer, of the frame's size or of the model's square; of a disparity task also
            the `MetricDepth` that was made of it.
        prompt: the question; names the category where `categories` is empty.
        header: of the frame's message; goes out untouched with every message.
        frame: the picture, for what is drawn over it.
        wanted: topics; others are not made.
        info: sensor_msgs/CameraInfo of the frame; without it none goes out.
        categories: of a task that takes one, all that are asked for, in an order that stays: the
            numbers in a label map are indices into it. At most 255.

    Returns:
        Pairs of topic and message.

    Raises:
        TypeError: nothing is published of this kind of answer.
        ValueError: a category of the label is not among `categories`, or something does not fit
            into its message.
    """
    if not categories and prompt is not None and prompt.category is not None:
        categories = (prompt.category.strip(),)
    answer = _Answer(types, label, header, frame, info, categories)
    out = []
    for row in _rows(task, type(label), types):
        if row.output.topic not in wanted or (row.output.kind == INFO and info is None):
            continue
        out.append((row.output.topic, row.make(answer)))
    return out


def picture_at(frame: Frame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The frame's picture at the size (H, W) of an answer: the camera's, or the model's square.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    return frame.image if size == frame.size else images.fit(frame.image, size[0])[0]


def _rows(task: TaskLike, kind: type[Any], types: Types) -> list[_Row]:
    name = task.name
    info = _Row(Output(f'{name}/camera_info', INFO), _camera_info)
    found = _Row(Output(f'{name}/detections', detections.DETECTIONS), _detections)
    overlay = _Row(Output(f'{name}/overlay', IMAGE, view=True), _overlay)
    colour = _Row(Output(f'{name}/color', IMAGE, view=True), _colour)
    if issubclass(kind, Disparity):
        topic = _RELATIVE.get(f'{name}/image', f'{name}/image')
        rows = [_Row(Output(topic, IMAGE), _values), colour]
    elif issubclass(kind, MetricDepth):
        rows = [_Row(Output(f'{name}/image', IMAGE), _values), info]
        # Where the metres were made of a disparity, that one is drawn, and only once.
        rows += [colour] if issubclass(task.label, MetricDepth) else []
    elif issubclass(kind, Normals):
        rows = [_Row(Output(f'{name}/image', IMAGE), _normals), info, colour]
    elif issubclass(kind, Mask):
        rows = [_Row(Output(f'{name}/mask', IMAGE), _mask), info, overlay]
    elif issubclass(kind, Instances) and task.takes_category:
        rows = [
            _Row(Output(f'{name}/label', IMAGE), _classes),
            _Row(Output(f'{name}/instances', IMAGE), _ids),
            info,
            _Row(Output(f'{name}/label_info', detections.LABEL_INFO, latched=True), _label_info),
            found, colour, overlay,
        ]  # fmt: skip
    elif issubclass(kind, Instances):
        rows = [_Row(Output(f'{name}/label', IMAGE), _ids), info, found, colour, overlay]
    elif issubclass(kind, Picture):
        rows = [_Row(Output(f'{name}/image', IMAGE), _colour), info]
    elif issubclass(kind, Keypoints):
        rows = [_Row(Output(f'{name}/keypoints', CLOUD), _keypoints), found, overlay]
    else:
        raise TypeError(
            f'task {name!r}: nothing is published of a {kind.__name__}; known: Disparity, '
            'MetricDepth, Normals, Mask, Instances, Picture, Keypoints'
        )
    return [row for row in rows if types.has(row.output.kind)]


def _values(answer: _Answer) -> Any:
    return answer.image(answer.label.values, '32FC1')


def _normals(answer: _Answer) -> Any:
    return answer.image(answer.label.vectors, '32FC3')


def _mask(answer: _Answer) -> Any:
    return answer.image(answer.label.values.astype(np.uint8) * np.uint8(255), 'mono8')


def _ids(answer: _Answer) -> Any:
    if len(answer.label.scores) > 65535:
        raise ValueError(f'16UC1 numbers 65535 things, got {len(answer.label.scores)}')
    return answer.image(answer.label.ids.astype(np.uint16), '16UC1')


def _classes(answer: _Answer) -> Any:
    known = answer.categories
    if len(known) > detections.UNLABELLED:
        raise ValueError(f'a mono8 map holds at most 255 categories, got {len(known)}')
    number = {name: k for k, name in enumerate(known)}
    strange = sorted(set(answer.label.categories) - set(number))
    if strange:
        raise ValueError(
            f'expected instances of {", ".join(map(repr, known))}, got {strange[0]!r}'
        )
    table = np.array(
        [detections.UNLABELLED, *(number[name] for name in answer.label.categories)], np.uint8
    )
    return answer.image(table[answer.label.ids], 'mono8')


def _label_info(answer: _Answer) -> Any:
    return detections.label_info(answer.types, answer.categories, answer.header)


def _detections(answer: _Answer) -> Any:
    things = (
        detections.people_of(answer.label)
        if isinstance(answer.label, Keypoints)
        else detections.instances_of(answer.label)
    )
    return detections.detections(answer.types, things, answer.header)


def _keypoints(answer: _Answer) -> Any:
    return point_clouds.joint_cloud(
        answer.types, point_clouds.joints_of(answer.label), answer.header
    )


def _camera_info(answer: _Answer) -> Any:
    return camera_info.scaled(answer.types, answer.info, answer.label.size, answer.header)


def _colour(answer: _Answer) -> Any:
    return answer.image(answer.label.preview(), 'rgb8')


def _overlay(answer: _Answer) -> Any:
    picture = picture_at(answer.frame, answer.label.size)
    return answer.image(answer.label.preview(picture), 'rgb8')
