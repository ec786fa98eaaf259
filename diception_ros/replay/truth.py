# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels out of messages and files: true ones, and those that a replay wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.labels import (
    Disparity,
    Instances,
    Keypoints,
    Label,
    Mask,
    MetricDepth,
    Normals,
    Picture,
    disk,
)
from diception_ros.labels.normals import unit
from diception_ros.messages import joints, pictures

# A pixel of none of the categories, in maps of categories.
NONE = 255
ENDS = ('.npz', '.npy', '.png')


def answer_from(task: str, messages: Mapping[str, Any], categories: Sequence[str]) -> Label | None:
    """The answer that messages of one frame tell.

    Args:
        task: its name.
        messages: by relative topic, such as 'normal/image'.
        categories: that were looked for.

    Returns:
        None where the messages do not tell: the task was not asked, or metres alone are there.
    """
    kind = tasks.get(task).label
    if issubclass(kind, Disparity):
        message = messages.get('disparity/image' if task == 'depth' else f'{task}/image')
        return None if message is None else Disparity(pictures.array_from(message))
    if issubclass(kind, Normals):
        message = messages.get(f'{task}/image')
        return None if message is None else Normals(pictures.array_from(message))
    if issubclass(kind, Mask):
        message = messages.get(f'{task}/mask')
        return None if message is None else Mask(pictures.array_from(message) > 0)
    if issubclass(kind, Picture):
        message = messages.get(f'{task}/image')
        return None if message is None else _picture(task, pictures.rgb_from(message))
    if issubclass(kind, Keypoints):
        cloud = messages.get(f'{task}/keypoints')
        size = messages.get('size')
        return None if cloud is None or size is None else joints.keypoints_from(cloud, size)
    message = messages.get(f'{task}/instances', messages.get(f'{task}/label'))
    if message is None:
        return None
    return _instances(pictures.array_from(message), messages.get(f'{task}/detections'))


def truth_from(task: str, message: Any, categories: Sequence[str]) -> Label:
    """The true label that a message tells.

    Args:
        task: its name; of depth an Image of 32FC1 (m) or 16UC1 (mm), of normals one of 32FC3, of
            a mask one of 8 bit, of entities one of their numbers, of semantic one of the numbers
            of the categories from 0 with 255 for none, of poses a cloud of joints.
        message: sensor_msgs/Image or PointCloud2.
        categories: that were looked for.

    Raises:
        ValueError: it is no such message.
    """
    kind = tasks.get(task).label
    if issubclass(kind, Keypoints):
        raise ValueError(f'{task}: a cloud of joints needs the size of the picture')
    if issubclass(kind, Picture):
        return _picture(task, pictures.rgb_from(message))
    return _label(task, kind, pictures.array_from(message), categories)


def people_from(message: Any, size: tuple[int, int]) -> Keypoints:
    """True people of a cloud of joints, those who have any in the picture.

    Args:
        message: sensor_msgs/PointCloud2; numbers of people may be left out, as where they are
            those of all things of a scene.
        size: (H, W) of the picture, pixels.
    """
    found = joints.keypoints_from(message, size)
    seen = found.visibility.any(axis=1)
    return replace(
        found, joints=found.joints[seen], visibility=found.visibility[seen],
        scores=found.scores[seen],
    )  # fmt: skip


def read(task: str, path: Path, categories: Sequence[str]) -> Label:
    """The true label in a file.

    Args:
        task: its name.
        path: a label as `diception predict` writes it (.npz), an array (.npy; depth in metres), or
            a picture (.png; depth in millimetres, 16 bit).
        categories: that were looked for.

    Raises:
        ValueError: it is no such file.
    """
    kind = tasks.get(task).label
    if path.suffix == '.npz':
        label = disk.read(path)
        if not isinstance(label, (kind, MetricDepth) if issubclass(kind, Disparity) else kind):
            raise ValueError(f'{path}: expected {kind.__name__}, came {type(label).__name__}')
        return label
    if path.suffix == '.npy':
        return _label(task, kind, np.load(path, allow_pickle=False), categories)
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError(f'{path}: not a picture that can be read')
    if issubclass(kind, Picture) and array.ndim == 3:
        array = array[..., ::-1]  # OpenCV's blue, green, red
    return _label(task, kind, array, categories)


def resized(label: Any, size: tuple[int, int]) -> Any:
    """A label at another size, by picking: nothing is blended.

    Args:
        label: any kind but people.
        size: (H, W) that is wanted, pixels.

    Raises:
        ValueError: people of another size.
    """
    if label.size == size:
        return label
    if isinstance(label, Keypoints):
        raise ValueError(f'people are of a picture of {label.size}, the truth of one of {size}')
    (high, wide), (height, width) = label.size, size
    rows = (2 * np.arange(height) + 1) * high // (2 * height)
    columns = (2 * np.arange(width) + 1) * wide // (2 * width)
    picked = np.ix_(rows, columns)
    if isinstance(label, Instances):
        ids = np.ascontiguousarray(label.ids[picked])
        return Instances(ids, label.categories, label.scores)
    if isinstance(label, Normals):
        return Normals(np.ascontiguousarray(label.vectors[picked]))
    return type(label)(np.ascontiguousarray(label.values[picked]))


def _label(task: str, kind: type[Any], array: NDArray[Any], categories: Sequence[str]) -> Label:
    what = f'truth of {task}'
    if issubclass(kind, Disparity):
        if array.ndim != 2 or array.dtype not in (np.uint16, np.float32, np.float64):
            raise ValueError(f'{what}: expected 16UC1 (mm) or 32FC1 (m), came {_said(array)}')
        metres = array.astype(np.float32)
        metres = metres / np.float32(1000) if array.dtype == np.uint16 else metres
        known = np.isfinite(metres) & (metres > 0)
        return MetricDepth(np.where(known, metres, np.float32(np.nan)))
    if issubclass(kind, Normals):
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != 'f':
            raise ValueError(f'{what}: expected 32FC3, came {_said(array)}')
        # Vectors of length 0 say that nothing is known.
        return unit(np.where(np.isfinite(array), array, 0).astype(np.float32))
    if issubclass(kind, Picture):
        return _picture(task, array)
    if array.ndim != 2 or array.dtype.kind not in 'ui':
        raise ValueError(f'{what}: expected whole numbers with one channel, came {_said(array)}')
    if issubclass(kind, Mask):
        return Mask(array > 0)
    if not tasks.get(task).takes_category:
        return _numbered(array)
    ids = np.zeros(array.shape, np.int32)
    for number in range(len(categories)):
        ids[array == number] = number + 1
    return Instances(ids, tuple(categories), np.ones(len(categories), np.float32))


def _picture(task: str, array: NDArray[Any]) -> Picture:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f'{task}: expected a picture of three colours, came {_said(array)}')
    return Picture(array.astype(np.float32) / np.float32(255))


def _said(array: NDArray[Any]) -> str:
    return f'{array.dtype} of shape {array.shape}'


def _numbered(array: NDArray[Any]) -> Instances:
    """Things of a map of numbers, of which 0 is none."""
    numbers, inverse = np.unique(array, return_inverse=True)
    first = int(numbers[0] == 0)
    ids = inverse.reshape(array.shape).astype(np.int32) + (1 - first)
    count = len(numbers) - first
    return Instances(ids, ('',) * count, np.ones(count, np.float32))


def _instances(array: NDArray[Any], detections: Any | None) -> Instances:
    ids = array.astype(np.int32)
    count = int(ids.max())
    names, scores = [''] * count, np.ones(count, np.float32)
    for one in detections.detections if detections is not None else ():
        number, said = int(one.id), one.results[0].hypothesis
        names[number - 1], scores[number - 1] = said.class_id, said.score
    return Instances(ids, tuple(names), scores)
