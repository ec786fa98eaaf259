# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels out of arrays of numbers, such as pictures and messages hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.core.labels import (
    Disparity,
    Instances,
    Keypoints,
    Label,
    Mask,
    MetricDepth,
    Normals,
    Picture,
    io,
)
from diception_ros.core.labels.normals import unit
from diception_ros.messages import images as image_messages
from diception_ros.messages import point_clouds
from diception_ros.tasks.normal import AXES, LONGEST, SHORTEST

MILLIMETRES = np.float32(1000)
_SHOWN = 8  # of the values in a message


class RasterDecoder:
    """Reads the numbers of all pictures of a set, in which one value means one thing.

    Args:
        kind: 'mask', 'instances', 'normals' or 'depth'.
        category: the value that is the thing of a mask, as text; '' if it is the only one.

    Raises:
        ValueError: a category that is no whole number, or one for another kind than a mask.
    """

    def __init__(self, kind: str, category: str = '') -> None:
        self._kind = kind
        self._chosen: int | None = None
        self._first: tuple[int, str] | None = None
        self._only_255 = True
        if category and kind != 'mask':
            raise ValueError(
                f'category {category!r}: labels of kind {kind} that are pictures have no '
                'categories; leave it out'
            )
        if category and not category.isdecimal():
            raise ValueError(
                f'category {category!r}: masks that are pictures hold numbers; expected the '
                'number of the thing, such as 1'
            )
        if category:
            self._chosen = int(category)

    def label(self, array: NDArray[Any], where: str) -> Label:
        """The label that an array tells.

        Args:
            array: of a mask or instances (H, W) whole numbers, or three equal channels of them;
                of depth (H, W) uint16 mm or floats m; of normals (H, W, 3) uint8 as
                `docs/conventions.md` paints them, or floats in the camera optical frame.
            where: for messages.

        Raises:
            ValueError: it tells no such label.
        """
        if self._kind == 'depth':
            return _depth(array, where)
        if self._kind == 'normals':
            return _normals(array, where)
        ids = _whole(array, where, self._kind)
        return self._mask(ids, where) if self._kind == 'mask' else self._instances(ids, where)

    def finish(self, place: str) -> None:
        """Raise ValueError if the pictures together are of another kind than asked for."""
        if self._kind == 'instances' and self._first is not None and self._only_255:
            raise ValueError(
                f'{place}: expected instances, 0 for none and a number for each thing, got '
                'pictures of 0 and 255 alone, which are masks; read them as kind mask, or number '
                'the things 1, 2, ...'
            )

    def _mask(self, ids: NDArray[Any], where: str) -> Mask:
        if self._chosen is not None:
            return Mask(ids == self._chosen)
        values = [int(value) for value in np.unique(ids) if value != 0]
        if len(values) > 1:
            raise ValueError(
                f'{where}: expected 0 for the background and one other value, got '
                f'{_listed([0, *values] if (ids == 0).any() else values)}; choose the value of '
                'the thing as category, or read them as kind instances if each is a thing of its '
                'own'
            )
        if values and self._first is not None and self._first[0] != values[0]:
            raise ValueError(
                f'{where}: expected the value {self._first[0]} of {self._first[1]} for the '
                f'thing, got {values[0]}; choose one of them as category'
            )
        if values and self._first is None:
            self._first = values[0], where
        return Mask(ids != 0)

    def _instances(self, ids: NDArray[Any], where: str) -> Instances:
        values, inverse = np.unique(ids, return_inverse=True)
        if values[0] < 0:
            raise ValueError(f'{where}: expected numbers >= 0, got {values[0]}')
        first = int(values[0] == 0)
        count = len(values) - first
        if count:
            self._first = self._first or (int(values[-1]), where)
            self._only_255 = self._only_255 and values[first:].tolist() == [255]
        numbers = inverse.reshape(ids.shape).astype(np.int32) + (1 - first)
        return Instances(numbers, ('',) * count, np.ones(count, np.float32))


def _whole(array: NDArray[Any], where: str, kind: str) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[2] == 3:
        if not (array == array[..., :1]).all():
            raise ValueError(
                f'{where}: expected one number a pixel for kind {kind}, got colours; save the '
                'label as a grey or palette PNG'
            )
        array = array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in 'ui':
        raise ValueError(
            f'{where}: expected one whole number a pixel for kind {kind}, got {_said(array)}'
        )
    return array


def _depth(array: NDArray[Any], where: str) -> MetricDepth:
    if array.ndim != 2 or not (array.dtype == np.uint16 or array.dtype.kind == 'f'):
        raise ValueError(
            f'{where}: expected 16-bit whole numbers (mm, 0 unknown) or floats (m, NaN unknown) '
            f'for kind depth, one a pixel, got {_said(array)}'
        )
    metres = array.astype(np.float32)
    if array.dtype == np.uint16:
        metres = np.where(array > 0, metres / MILLIMETRES, np.float32(np.nan))
    depth: MetricDepth = _made(MetricDepth, metres, where)
    _known(depth, where)
    return depth


def _normals(array: NDArray[Any], where: str) -> Normals:
    painted = array.dtype == np.uint8
    if array.ndim != 3 or array.shape[2] != 3 or not (painted or array.dtype.kind == 'f'):
        raise ValueError(
            f'{where}: expected 8-bit RGB, (n + 1) / 2 with x right, y up, z to the viewer, or '
            'three floats a pixel in the camera optical frame, for kind normals, got '
            f'{_said(array)}'
        )
    vectors = array.astype(np.float32)
    if painted:
        vectors = (vectors / np.float32(127.5) - 1) * AXES
        length = np.linalg.norm(vectors, axis=-1, keepdims=True)
        known = (length >= SHORTEST) & (length <= LONGEST)
        normals = unit(np.where(known, vectors, np.float32(np.nan)))
    else:
        # Vectors of length 0 say that nothing is known, in the messages of this package too.
        nothing = (vectors == 0).all(axis=-1, keepdims=True)
        normals = _made(Normals, np.where(nothing, np.float32(np.nan), vectors), where)
    _known(normals, where)
    # Single ones at a grazing angle may; most cannot: what is seen faces the camera.
    if np.nanmedian(normals.vectors[..., 2]) > 0:
        expected = 'blue for what faces the camera' if painted else 'z < 0 (z points forward)'
        raise ValueError(
            f'{where}: expected normals that point to the camera, {expected}, got most of them '
            'pointing away; see docs/conventions.md'
        )
    return normals


def _made(kind: Any, values: NDArray[np.float32], where: str) -> Any:
    try:
        return kind(values)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def _known(label: Label, where: str) -> None:
    if not label.valid.any():
        raise ValueError(
            f'{where}: expected a label, got one that is unknown at every pixel; take the '
            'picture and its label out'
        )


def _listed(values: list[int]) -> str:
    more = f' and {len(values) - _SHOWN} more' if len(values) > _SHOWN else ''
    return ', '.join(map(str, values[:_SHOWN])) + more


def _said(array: NDArray[Any]) -> str:
    return f'{array.dtype} of shape {array.shape}'


# Truths in the files in which data sets come.


Size = tuple[int, int]


def png_depth(per_metre: float) -> Callable[[Sequence[Path], Size], MetricDepth]:
    """Reader of 16-bit PNG files; 0 is unknown.

    Args:
        per_metre: how much a metre is in the file.
    """

    def read(paths: Sequence[Path], size: Size) -> MetricDepth:
        array = _picture(paths[0])
        if array.dtype != np.uint16 or array.ndim != 2:
            raise ValueError(
                f'{paths[0]}: expected depth as a grey 16-bit PNG, got {array.dtype} of shape '
                f'{array.shape}'
            )
        _check_size(paths[0], array.shape, size)
        return metres(array / per_metre)

    return read


def raw_depth(paths: Sequence[Path], size: Size) -> MetricDepth:
    """Read 32-bit floats, row by row, without a header; metres, infinity is unknown."""
    content = np.fromfile(paths[0], '<f4')
    if content.size != size[0] * size[1]:
        raise ValueError(
            f'{paths[0]}: expected {size[0] * size[1]} 32-bit floats for a picture of {size} '
            f'(H, W), got {content.size}'
        )
    return metres(content.reshape(size))


def npy_depth(paths: Sequence[Path], size: Size) -> MetricDepth:
    """Read depth in metres and the mask of known pixels, two .npy files."""
    depth, mask = (_npy(path).squeeze() for path in paths)
    for path, array in zip(paths, (depth, mask), strict=True):
        _check_size(path, array.shape, size)
    return metres(np.where(mask.astype(bool), depth, np.nan))


def normals(paths: Sequence[Path], size: Size) -> Normals:
    """Read normals, by the kind of file.

    .npy: (H, W, 3) floats with x right, y up, z to the viewer, unknown where zero: Marigold's
    evaluation sets and DIODE. .png: 8 bits for [-1, 1], x right, y down, z forward, but pointing
    away from the camera, unknown where black: DSINE's evaluation sets. Vectors whose length is not
    between 0.5 and 1.5 are unknown, the others become unit vectors.
    """
    path = paths[0]
    if path.suffix == '.npy':
        vectors = _npy(path).astype(np.float64)
    else:
        array = _picture(path)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(
                f'{path}: expected normals as an 8-bit RGB PNG, got {array.dtype} of shape '
                f'{array.shape}'
            )
        rgb = array[..., ::-1].astype(np.float64)
        vectors = np.where(rgb.any(axis=-1, keepdims=True), rgb / 127.5 - 1, 0)
    if vectors.ndim != 3 or vectors.shape[2] != 3:
        raise ValueError(f'{path}: expected normals of shape (H, W, 3), got {vectors.shape}')
    _check_size(path, vectors.shape[:2], size)
    vectors = vectors * (AXES if path.suffix == '.npy' else -1)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    with np.errstate(invalid='ignore', divide='ignore'):
        known = (length > SHORTEST) & (length < LONGEST)
        unit = np.where(known, vectors / length, np.nan)
    return Normals(unit.astype(np.float32))


def normals_beside(picture: str) -> list[tuple[str, ...]]:
    """Where the normals of N_img.png or N.png lie: N_normal.npy or N_normal.png."""
    stem = picture.rsplit('.', 1)[0].removesuffix('_img')
    return [(f'{stem}_normal.npy',), (f'{stem}_normal.png',)]


def metres(array: NDArray[Any]) -> MetricDepth:
    """Depth of any array; what is not positive and finite is unknown."""
    values = array.astype(np.float32)
    with np.errstate(invalid='ignore'):
        return MetricDepth(
            np.where(np.isfinite(values) & (values > 0), values, np.float32(np.nan))
        )


def _picture(path: Path) -> NDArray[Any]:
    content = np.fromfile(path, np.uint8)
    array = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if array is None:
        raise ValueError(f'{path}: not a picture that can be read ({content.size} bytes)')
    return np.asarray(array)


def _npy(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except ValueError as error:
        raise ValueError(f'{path}: not a file of numpy ({error})') from error


def _check_size(path: Path, shape: tuple[int, ...], size: Size) -> None:
    if shape != size:
        raise ValueError(f"{path}: expected its picture's size {size} (H, W), got {shape}")


# Labels out of messages and files: true ones, and those that a replay wrote.


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
        return None if message is None else Disparity(image_messages.array_from(message))
    if issubclass(kind, Normals):
        message = messages.get(f'{task}/image')
        return None if message is None else Normals(image_messages.array_from(message))
    if issubclass(kind, Mask):
        message = messages.get(f'{task}/mask')
        return None if message is None else Mask(image_messages.array_from(message) > 0)
    if issubclass(kind, Picture):
        message = messages.get(f'{task}/image')
        return None if message is None else _truth_picture(task, image_messages.rgb_from(message))
    if issubclass(kind, Keypoints):
        cloud = messages.get(f'{task}/keypoints')
        size = messages.get('size')
        return None if cloud is None or size is None else point_clouds.keypoints_from(cloud, size)
    message = messages.get(f'{task}/instances', messages.get(f'{task}/label'))
    if message is None:
        return None
    return _instances(image_messages.array_from(message), messages.get(f'{task}/detections'))


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
        return _truth_picture(task, image_messages.rgb_from(message))
    return _label(task, kind, image_messages.array_from(message), categories)


def people_from(message: Any, size: tuple[int, int]) -> Keypoints:
    """True people of a cloud of joints, those who have any in the picture.

    Args:
        message: sensor_msgs/PointCloud2; numbers of people may be left out, as where they are
            those of all things of a scene.
        size: (H, W) of the picture, pixels.
    """
    found = point_clouds.keypoints_from(message, size)
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
        label = io.read(path)
        if not isinstance(label, (kind, MetricDepth) if issubclass(kind, Disparity) else kind):
            raise ValueError(f'{path}: expected {kind.__name__}, got {type(label).__name__}')
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
            raise ValueError(f'{what}: expected 16UC1 (mm) or 32FC1 (m), got {_truth_said(array)}')
        metres = array.astype(np.float32)
        metres = metres / np.float32(1000) if array.dtype == np.uint16 else metres
        known = np.isfinite(metres) & (metres > 0)
        return MetricDepth(np.where(known, metres, np.float32(np.nan)))
    if issubclass(kind, Normals):
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != 'f':
            raise ValueError(f'{what}: expected 32FC3, got {_truth_said(array)}')
        # Vectors of length 0 say that nothing is known.
        return unit(np.where(np.isfinite(array), array, 0).astype(np.float32))
    if issubclass(kind, Picture):
        return _truth_picture(task, array)
    if array.ndim != 2 or array.dtype.kind not in 'ui':
        raise ValueError(
            f'{what}: expected whole numbers with one channel, got {_truth_said(array)}'
        )
    if issubclass(kind, Mask):
        return Mask(array > 0)
    if not tasks.get(task).takes_category:
        return _numbered(array)
    ids = np.zeros(array.shape, np.int32)
    for number in range(len(categories)):
        ids[array == number] = number + 1
    return Instances(ids, tuple(categories), np.ones(len(categories), np.float32))


def _truth_picture(task: str, array: NDArray[Any]) -> Picture:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f'{task}: expected a picture of three colours, got {_truth_said(array)}')
    return Picture(array.astype(np.float32) / np.float32(255))


def _truth_said(array: NDArray[Any]) -> str:
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
