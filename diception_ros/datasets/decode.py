# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels from arrays, files and messages: one decoder for adapt, replay and the data sets.

Depth: a value that is not positive and finite is unknown. Normals: a vector whose length is within
[0.5, 1.5] becomes a unit vector, any other is unknown; a vector of length 0 or NaN says so on
purpose. An array in which something is given, but nothing that counts, is refused: it is of
another kind or unit. Ids: 0 is the background, and so is 255 beside other ids of 8 bits below
254: Pascal VOC and its followers mark pixels so that nobody labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from diception_ros.core import images
from diception_ros.core.images import MAX_PIXELS
from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Label,
    Mask,
    MetricDepth,
    Normals,
    io,
)
from diception_ros.core.labels.normals import unit
from diception_ros.datasets.annotation import LabelledImage
from diception_ros.system import safe_load
from diception_ros.tasks import Task
from diception_ros.tasks.normal import IMAGE_TO_CAMERA_AXES, MAX_LENGTH, MIN_LENGTH

Size = tuple[int, int]  # (H, W), pixels

MILLIMETRES = 1000
_NONE = np.zeros(0, np.float32)  # scores of no instance
OPTICAL = np.ones(3, np.float32)  # x right, y down, z forward, as `Normals`
SUFFIXES = ('.npz', '.npy', '.png')  # of files of ground truth
VOID = 255  # of Pascal VOC: a pixel that nobody labelled
_MAX_ROWS = 1_000_000  # of images in one file
_MAX_LISTED = 8  # of the values in a message


# Files to arrays.


def rgb(content: bytes, where: str) -> NDArray[np.uint8]:
    """An image as viewers show it: a rotation noted in the file (EXIF) is carried out.

    Args:
        content: bytes of the file.
        where: for messages.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: it is no image, cut off, or has more than MAX_PIXELS.
    """
    # Versions of OpenCV before 4.10 fill missing rows with grey; PIL raises.
    _loaded(content, where)
    return images.decode(content, where)


def raster(content: bytes, where: str) -> NDArray[Any]:
    """The numbers in a PNG, rotated as a viewer does.

    Args:
        content: bytes of the file.
        where: for messages.

    Returns:
        (H, W) uint8 or uint16, of an image with a palette the indices into it; (H, W, 3) uint8
        of a colour image.

    Raises:
        ValueError: as `rgb`; or it is a JPEG, is partly transparent, or has 16 bits a colour.
    """
    image = _loaded(content, where)
    if image.format != 'PNG':
        raise ValueError(
            f'{where}: expected a PNG, got {image.format}; formats made for photographs change '
            'numbers, save the label as PNG'
        )
    # PIL would halve the bits silently. The depth is byte 24 of a PNG, the colour type byte 25.
    if content[24] == 16 and content[25] not in (0, 4):
        raise ValueError(f'{where}: expected 8 bits a colour, got 16')
    array = np.asarray(ImageOps.exif_transpose(image))
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.int32:  # 16 bits, as PIL before 11 opens them
        return array.astype(np.uint16)
    if image.mode in ('LA', 'RGBA', 'PA'):
        if (array[..., -1] != 255).any():
            raise ValueError(
                f'{where}: expected a label without transparency, got transparent pixels; save '
                'it as a grey or palette PNG'
            )
        array = array[..., 0] if image.mode != 'RGBA' else array[..., :3]
    return array


def load_array(path: Path) -> NDArray[Any]:
    """The numbers in a .npy file, or in a PNG as `raster` reads it.

    Args:
        path: of the file.

    Raises:
        ValueError: it is no such file, cut off, or has more than MAX_PIXELS of three numbers.
    """
    if path.suffix.lower() != '.npy':
        return raster(path.read_bytes(), str(path))
    return np.array(safe_load.npy_file(path, 3 * MAX_PIXELS))


def _loaded(content: bytes, where: str) -> Image.Image:
    image = images.opened(content, where)
    try:
        image.load()
    except Exception as error:  # Pillow's plugins raise errors of every type
        raise images.unreadable(where, len(content), error) from error
    return image


# Arrays to labels.


def depth(array: NDArray[Any], where: str, per_metre: float = MILLIMETRES) -> MetricDepth:
    """Depth from an array; what is not positive and finite is unknown.

    Args:
        array: (H, W) uint16, or floats in metres.
        where: for messages.
        per_metre: units of the whole numbers in a metre.

    Raises:
        ValueError: another dtype or shape, or finite numbers of which none is positive.
    """
    if array.ndim != 2 or not (array.dtype == np.uint16 or array.dtype.kind == 'f'):
        raise ValueError(
            f'{where}: expected 16-bit whole numbers (16UC1, 0 unknown) or floats in metres '
            f'(32FC1, 0 or NaN unknown) as depth, one a pixel, got {_described(array)}'
        )
    metres = array / np.float64(per_metre) if array.dtype == np.uint16 else array
    metres = metres.astype(np.float32)
    given = metres[np.isfinite(metres) & (metres != 0)]
    if given.size and given.max() <= 0:
        raise ValueError(
            f'{where}: expected metres > 0, or 0 or NaN where unknown, got {given.min():.4g} to '
            f'{given.max():.4g}'
        )
    with np.errstate(invalid='ignore'):
        known = np.isfinite(metres) & (metres > 0)
    return MetricDepth(np.where(known, metres, np.float32(np.nan)))


def normals(array: NDArray[Any], where: str, axes: NDArray[np.float32] | None = None) -> Normals:
    """Normals from an array; see the head of the module for lengths and unknown pixels.

    Args:
        array: (H, W, 3) floats, or uint8 for [-1, 1] of each component.
        where: for messages.
        axes: (3,) signs that lead to the camera optical frame; None: OPTICAL for floats, and for
            uint8 the usual colours (x right, y up, z to the viewer, see docs/conventions.md).

    Raises:
        ValueError: another dtype or shape, or vectors of which none is a direction.
    """
    colours = array.dtype == np.uint8
    if array.ndim != 3 or array.shape[2] != 3 or not (colours or array.dtype.kind == 'f'):
        raise ValueError(
            f'{where}: expected 8-bit RGB or three floats a pixel (32FC3) as normals, got '
            f'{_described(array)}'
        )
    if axes is None:
        axes = IMAGE_TO_CAMERA_AXES if colours else OPTICAL
    vectors = array.astype(np.float32)
    vectors = (vectors / np.float32(127.5) - 1 if colours else vectors) * axes
    with np.errstate(invalid='ignore'):
        length = np.linalg.norm(vectors, axis=-1)
        known = (length >= MIN_LENGTH) & (length <= MAX_LENGTH)
        given = length[np.isfinite(length) & (length > 0)]
    # Colours always have some length, black for unknown that of (-1, -1, -1).
    if not colours and given.size and not known.any():
        raise ValueError(
            f'{where}: expected unit vectors (lengths from {MIN_LENGTH} to {MAX_LENGTH} are '
            f'normalised, 0 or NaN is unknown), got lengths {given.min():.4g} to {given.max():.4g}'
        )
    return unit(np.where(known[..., None], vectors, np.float32(np.nan)))


def instances(array: NDArray[Any], where: str) -> Instances:
    """Instances from a map of ids, in the order of the ids; see the head of the module.

    Args:
        array: (H, W) whole numbers >= 0, or three equal channels of them.
        where: for messages.

    Raises:
        ValueError: another dtype or shape, or a negative id.
    """
    ids = _ids(array, where, 'instances')
    if has_void(ids):
        ids = np.where(ids == VOID, 0, ids)
    values, inverse = np.unique(ids, return_inverse=True)
    if values[0] < 0:
        raise ValueError(f'{where}: expected numbers >= 0, got {values[0]}')
    first = int(values[0] == 0)
    count = len(values) - first
    numbered = inverse.reshape(array.shape[:2]).astype(np.int32) + (1 - first)
    return Instances(numbered, ('',) * count, np.ones(count, np.float32))


def has_void(ids: NDArray[Any]) -> bool:
    """Whether 255 in a map of ids marks pixels that nobody labelled."""
    if ids.dtype != np.uint8 or not (ids == VOID).any():
        return False
    highest = int(ids[ids < VOID].max(initial=0))
    return 0 < highest < VOID - 1


def image(array: NDArray[Any], where: str) -> ImageLabel:
    """An image that is the label; ValueError unless the array is (H, W, 3) uint8 RGB."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f'{where}: expected an 8-bit RGB image, got {_described(array)}')
    return ImageLabel(array.astype(np.float32) / np.float32(255))


def _ids(array: NDArray[Any], where: str, kind: str) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[2] == 3:
        if not (array == array[..., :1]).all():
            raise ValueError(
                f'{where}: expected one number a pixel for kind {kind}, got colours; save the '
                'label as a grey or palette PNG'
            )
        array = array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in 'ui':
        raise ValueError(
            f'{where}: expected one whole number a pixel for kind {kind}, got {_described(array)}'
        )
    return array


def _described(array: NDArray[Any]) -> str:
    return f'{array.dtype} of shape {array.shape}'


class RasterDecoder:
    """Decodes all label images of a set, in which one value means one thing.

    Args:
        kind: 'mask', 'instances', 'normals' or 'depth'.
        category: the value of the object in a mask, as text; '' if it is the only one.

    Raises:
        ValueError: a category that is no whole number, or one for another kind than a mask.
    """

    def __init__(self, kind: str, category: str = '') -> None:
        self._kind = kind
        self._chosen: int | None = None
        self._first: tuple[int, str] | None = None
        # Where 255 marks what nobody labelled, and where it is the only value.
        self._void: list[str] = []
        self._only_255: list[str] = []
        self._others = 0
        if category and kind != 'mask':
            raise ValueError(
                f'category {category!r}: label images of kind {kind} have no categories; leave it '
                'out'
            )
        if category and not category.isdecimal():
            raise ValueError(
                f'category {category!r}: masks that are images hold numbers; expected the '
                'number of the thing, such as 1'
            )
        if category:
            self._chosen = int(category)

    def label(self, array: NDArray[Any], where: str) -> Label:
        """The label in an array.

        Args:
            array: as `depth`, `normals` or `instances` takes it; a mask is a map of ids.
            where: for messages.

        Raises:
            ValueError: it holds no such label, or is unknown at every pixel.
        """
        if self._kind == 'mask':
            return self._mask(_ids(array, where, 'mask'), where)
        if self._kind == 'instances':
            label = instances(array, where)
            if (array == VOID).any() and not has_void(_ids(array, where, 'instances')):
                self._only_255 += [where] if len(label.categories) == 1 else []
            elif (array == VOID).any():
                self._void.append(where)
            self._others += len(label.categories) > 0 and where not in self._only_255[-1:]
            return label
        found: Label = depth(array, where) if self._kind == 'depth' else normals(array, where)
        if not found.valid.any():
            raise ValueError(
                f'{where}: expected a label, got one that is unknown at every pixel; remove the '
                'image and its label'
            )
        # Single ones at a grazing angle may point away; most cannot: visible surfaces face the
        # camera.
        if isinstance(found, Normals) and np.nanmedian(found.vectors[..., 2]) > 0:
            expected = 'z < 0 (z points forward)'
            if array.dtype == np.uint8:
                expected = 'blue for what faces the camera'
            raise ValueError(
                f'{where}: expected normals that point to the camera, {expected}, got most of '
                'them pointing away; see docs/conventions.md'
            )
        return found

    def finish(
        self, items: list[LabelledImage], place: str
    ) -> tuple[list[LabelledImage], list[str]]:
        """The items as the whole set shows them, and notes for the user.

        Raises:
            ValueError: the images together are of another kind than asked for.
        """
        if self._only_255 and not self._others:
            raise ValueError(
                f'{place}: expected instances, 0 for none and a number for each thing, got '
                'images of 0 and 255 alone, which are masks; read them as kind mask, or number '
                'the things 1, 2, ...'
            )
        if not self._void:
            return items, []
        # In a set with such pixels, an image of 0 and 255 alone shows no object.
        void = set(self._only_255)
        items = [
            replace(item, label=Instances(np.zeros(item.label.size, np.int32), (), _NONE))
            if item.where in void
            else item
            for item in items
        ]
        count = len(self._void) + len(void)
        return items, [
            f'255 in {count} label images of {place} marks pixels that nobody labelled (as in '
            'Pascal VOC), it is read as background and not as an object.'
        ]

    def _mask(self, ids: NDArray[Any], where: str) -> Mask:
        if has_void(ids) and self._chosen != VOID:
            self._void.append(where)
            ids = np.where(ids == VOID, 0, ids)
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


def _listed(values: list[int]) -> str:
    more = f' and {len(values) - _MAX_LISTED} more' if len(values) > _MAX_LISTED else ''
    return ', '.join(map(str, values[:_MAX_LISTED])) + more


# Ground truth in the files of data sets; see `benchmarks`.


def png_depth(per_metre: float) -> Callable[[Sequence[Path], Size], MetricDepth]:
    """Reader of depth in 16-bit PNG files, of which a metre is `per_metre`."""

    def read(paths: Sequence[Path], size: Size) -> MetricDepth:
        array = load_array(paths[0])
        if array.dtype != np.uint16 or array.ndim != 2:
            raise ValueError(
                f'{paths[0]}: expected depth as a grey 16-bit PNG, got {_described(array)}'
            )
        _check_size(paths[0], array.shape, size)
        return depth(array, str(paths[0]), per_metre)

    return read


def raw_depth(paths: Sequence[Path], size: Size) -> MetricDepth:
    """Read 32-bit floats, row by row, without a header; metres, infinity is unknown."""
    content = np.fromfile(paths[0], '<f4')
    if content.size != size[0] * size[1]:
        raise ValueError(
            f'{paths[0]}: expected {size[0] * size[1]} 32-bit floats for an image of {size} '
            f'(H, W), got {content.size}'
        )
    return depth(content.reshape(size), str(paths[0]))


def npy_rows(path: Path) -> NDArray[Any]:
    """Many images or labels in one .npy file, (N, H, W) or (N, H, W, 3); mapped, not read.

    Raises:
        ValueError: it is no such file, or of another shape or kind.
    """
    rows = safe_load.npy_file(path, _MAX_ROWS * 3 * MAX_PIXELS)
    if rows.ndim not in (3, 4) or rows.shape[3:] not in ((), (3,)) or rows.dtype.kind not in 'fu':
        raise ValueError(
            f'{path}: expected (N, H, W) or (N, H, W, 3) of bytes or floats, got '
            f'{_described(rows)}'
        )
    return rows


def rgb_row(path: Path, row: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, one image of `npy_rows`; some copies hold its bytes as floats."""
    values = np.array(npy_rows(path)[row])
    if values.ndim != 3 or not (np.isfinite(values) & (values >= 0) & (values <= VOID)).all():
        raise ValueError(f'{path}: expected RGB values from 0 to 255, got others in image {row}')
    found: NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return found


def depth_row(path: Path, row: int, size: Size) -> MetricDepth:
    """Depth in metres, one of `npy_rows`."""
    values = np.array(npy_rows(path)[row])
    _check_size(path, values.shape, size)
    return depth(values, f'{path}, image {row}')


def npy_depth(paths: Sequence[Path], size: Size) -> MetricDepth:
    """Read depth in metres and the mask of known pixels, two .npy files."""
    metres, mask = (load_array(path).squeeze() for path in paths)
    for path, array in zip(paths, (metres, mask), strict=True):
        _check_size(path, array.shape, size)
    return depth(np.where(mask.astype(bool), metres, np.float32(np.nan)), str(paths[0]))


def benchmark_normals(paths: Sequence[Path], size: Size) -> Normals:
    """Read normals of an evaluation set, by the kind of file.

    .npy: (H, W, 3) floats with x right, y up, z to the viewer, unknown where zero: Marigold's
    evaluation sets and DIODE. .png: 8 bits for [-1, 1], x right, y down, z forward, but pointing
    away from the camera, unknown where black: DSINE's evaluation sets.
    """
    path, array = paths[0], load_array(paths[0])
    expected = 'three floats' if path.suffix == '.npy' else 'an 8-bit RGB PNG'
    kind = 'f' if path.suffix == '.npy' else 'u'
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != kind:
        raise ValueError(
            f'{path}: expected normals of shape (H, W, 3), {expected}, got {_described(array)}'
        )
    _check_size(path, array.shape[:2], size)
    return normals(array, str(path), IMAGE_TO_CAMERA_AXES if kind == 'f' else -OPTICAL)


def normals_beside(image: str) -> list[tuple[str, ...]]:
    """Where the normals of N_img.png or N.png lie: N_normal.npy or N_normal.png."""
    stem = image.rsplit('.', 1)[0].removesuffix('_img')
    return [(f'{stem}_normal.npy',), (f'{stem}_normal.png',)]


def _check_size(path: Path, shape: tuple[int, ...], size: Size) -> None:
    if shape != size:
        raise ValueError(f"{path}: expected its image's size {size} (H, W), got {shape}")


# Ground truth of a task, for replay.


def truth_from_array(
    task: Task[Any], array: NDArray[Any], categories: Sequence[str], where: str = ''
) -> Label:
    """The true label of a task from an array.

    Args:
        task: whose label it is.
        array: of depth as `depth` takes it, of normals as `normals`, of a mask whole numbers, of
            entities their ids, of semantic the indices of the categories from 0 (255 for none),
            of images uint8 RGB.
        categories: that were queried.
        where: for messages.

    Raises:
        ValueError: the array holds no such label.
    """
    kind = task.label
    where = f'{where}: truth of {task.name}' if where else f'truth of {task.name}'
    if issubclass(kind, Disparity):
        return depth(array, where)
    if issubclass(kind, Normals):
        return normals(array, where)
    if issubclass(kind, ImageLabel):
        return image(array, where)
    if array.ndim != 2 or array.dtype.kind not in 'ui':
        raise ValueError(
            f'{where}: expected whole numbers with one channel, got {_described(array)}'
        )
    if issubclass(kind, Mask):
        return Mask(array > 0)
    if not task.takes_category:
        return instances(array, where)
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
            array = load_array(path)
        except ValueError as error:
            raise ValueError(f'truth of {task.name}: {error}') from error
        return truth_from_array(task, array, categories, str(path))
    kind = task.label
    label = io.load_npz(path)
    if not isinstance(label, (kind, MetricDepth) if issubclass(kind, Disparity) else kind):
        raise ValueError(f'{path}: expected {kind.__name__}, got {type(label).__name__}')
    return label


def truth_from_message(task: Task[Any], message: Any, categories: Sequence[str]) -> Label:
    """The true label in a sensor_msgs/Image or CompressedImage, see `truth_from_array`.

    Raises:
        ValueError: it holds no such label, or the task is of people (`people_from_message`).
    """
    from diception_ros.messages import images as image_messages

    kind = task.label
    if issubclass(kind, Keypoints):
        raise ValueError(f'{task.name}: a cloud of joints needs the size of the image')
    if issubclass(kind, Disparity) and hasattr(message, 'format'):
        return truth_from_array(task, image_messages.depth_from(message), categories)
    decoded = (
        image_messages.rgb_from if issubclass(kind, ImageLabel) else image_messages.array_from
    )
    return truth_from_array(task, decoded(message), categories)


def people_from_message(message: Any, size: Size) -> Keypoints:
    """True people in a cloud of joints, those with any joint in the image.

    Args:
        message: sensor_msgs/PointCloud2; ids of people may have gaps, as where they are ids of
            all objects of a scene.
        size: (H, W) of the image, pixels.
    """
    from diception_ros.messages import point_clouds

    found = point_clouds.keypoints_from(message, size)
    seen = found.visibility.any(axis=1)
    return replace(
        found, joints=found.joints[seen], visibility=found.visibility[seen],
        scores=found.scores[seen],
    )  # fmt: skip


def prediction_from_messages(task: Task[Any], messages: Mapping[str, Any]) -> Label | None:
    """The prediction in the messages of one frame.

    Args:
        task: that was predicted.
        messages: by topic relative to the node, such as 'normal/image'; 'size' is (H, W).

    Returns:
        None where the messages do not hold it: the task did not run, or only metres are there.
    """
    from diception_ros.messages import images as image_messages
    from diception_ros.messages import point_clouds

    kind, name = task.label, task.name
    if issubclass(kind, Keypoints):
        cloud, size = messages.get(f'{name}/keypoints'), messages.get('size')
        return None if cloud is None or size is None else point_clouds.keypoints_from(cloud, size)
    topic = f'{name}/image'
    if issubclass(kind, Disparity) and name == 'depth':
        topic = 'disparity/image'
    elif issubclass(kind, Mask):
        topic = f'{name}/mask'
    elif issubclass(kind, Instances):
        topic = f'{name}/instances' if f'{name}/instances' in messages else f'{name}/label'
    message = messages.get(topic)
    if message is None:
        return None
    if issubclass(kind, ImageLabel):
        return image(image_messages.rgb_from(message), name)
    array = image_messages.array_from(message)
    if issubclass(kind, Mask):
        return Mask(array > 0)
    if issubclass(kind, Instances):
        return _detected(array, messages.get(f'{name}/detections'))
    label: Label = kind(array)
    return label


def _detected(array: NDArray[Any], detections: Any | None) -> Instances:
    """Instances with the category and score that their detections have."""
    ids = array.astype(np.int32)
    count = int(ids.max())
    names, scores = [''] * count, np.ones(count, np.float32)
    for detection in detections.detections if detections is not None else ():
        number, best = int(detection.id), detection.results[0].hypothesis
        names[number - 1], scores[number - 1] = best.class_id, best.score
    return Instances(ids, tuple(names), scores)
