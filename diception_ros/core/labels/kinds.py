# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of labels, and files that hold them.

`Disparity` has no unit, `MetricDepth` has metres: different types, so that relative depth is never
treated as metric. Only `core.geometry` converts one to the other, with a scale and a shift that
must come from somewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import visualize
from diception_ros.core.labels.label import Label, MapLabel, check_size, linear, validated_array
from diception_ros.system import files, safe_load

# Float32 unit vectors are off by 1e-7; 8-bit or float16 files by up to 5e-3.
UNIT_TOLERANCE = 1e-2


class _DepthMap(MapLabel):
    """A map of one number a pixel, NaN where unknown."""

    values: NDArray[np.float32]

    @property
    def valid(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.values)

    def _checked_range(self) -> tuple[np.float32, np.float32]:
        values = validated_array(self, 'values', np.float32, ('H', 'W'))
        return np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)


@dataclass(frozen=True, eq=False)
class Disparity(_DepthMap):
    """Inverse depth up to an unknown scale and shift.

    Attributes:
        values: (H, W) float32 in [0, 1], no unit, 1 = nearest, 0 = farthest, NaN = unknown.

    Raises:
        ValueError: wrong dtype or shape, or a value outside [0, 1].
    """

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        low, high = self._checked_range()
        if low < 0 or high > 1:
            raise ValueError(
                f'Disparity.values: expected [0, 1] or NaN, got {low:.6g} to {high:.6g}'
            )

    def resized(self, size: tuple[int, int]) -> Disparity:
        # The weights of a blend sum to one only up to rounding.
        return Disparity(np.clip(linear(self.values, size), 0, 1))

    def _drawn(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Spectral colours, far red to near blue, unknown grey; covers the image."""
        return visualize.spectral(self.values)


@dataclass(frozen=True, eq=False)
class MetricDepth(_DepthMap):
    """Depth in metres.

    Attributes:
        values: (H, W) float32 > 0, metres along the optical axis (z of the camera optical frame,
            not the length of the ray), NaN = unknown.

    Raises:
        ValueError: wrong dtype or shape, or a depth that is not positive and finite.
    """

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        low, high = self._checked_range()
        if low <= 0 or np.isinf(high):
            raise ValueError(
                'MetricDepth.values: expected metres > 0, finite, or NaN where unknown, '
                f'got {low:.6g} to {high:.6g}'
            )

    def resized(self, size: tuple[int, int]) -> MetricDepth:
        # 1/z is blended: on a plane it is linear in the pixel coordinates, z is not.
        inverse = linear(np.float32(1) / self.values, size)
        return MetricDepth(np.float32(1) / inverse)

    def _drawn(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Spectral colours of 1/depth, far red to near blue, unknown grey; covers the image.

        The colours span the 2nd to the 98th percentile, so that one stray pixel does not decide.
        """
        inverse = np.float32(1) / self.values
        if not self.valid.any():
            return visualize.spectral(inverse)
        low, high = np.nanpercentile(inverse, [2, 98])
        stretched = (inverse - low) / max(high - low, 1e-12)
        return visualize.spectral(np.clip(stretched, 0, 1).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Normals(MapLabel):
    """Surface normals.

    Attributes:
        vectors: (H, W, 3) float32, unit length, camera optical frame (x right, y down,
            z forward), pointing to the camera (so z is mostly negative); all three NaN = unknown.

    Raises:
        ValueError: wrong dtype or shape, a vector that is not of unit length, or one that is
            unknown only in part.
    """

    array_name = 'vectors'

    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        vectors = validated_array(self, 'vectors', np.float32, ('H', 'W', 3))
        planes = [vectors[..., axis] for axis in range(3)]
        off = np.abs(_length(planes) - 1)
        # Channel by channel: numpy reduces a last axis of three six times more slowly.
        x, y, z = map(np.isnan, planes)
        if not np.array_equal(np.isnan(off), x & y & z):
            raise ValueError('Normals.vectors: expected NaN in all three components or in none')
        off = np.fmax.reduce(off, axis=None)
        if off > UNIT_TOLERANCE:
            raise ValueError(
                f'Normals.vectors: expected unit vectors, got a length off by {off:.4g}'
            )

    @property
    def valid(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.vectors[..., 0])

    def resized(self, size: tuple[int, int]) -> Normals:
        return unit(linear(self.vectors, size))

    def flip(self) -> Normals:
        """The mirrored scene: the map is mirrored, and x is negated."""
        return Normals(self.vectors[:, ::-1] * np.array([-1, 1, 1], np.float32))

    def _drawn(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """The usual normal colours, facing the camera = lilac, unknown black; covers the image."""
        return visualize.normal_colors(self.vectors)


# Shorter vectors are taken to have no direction.
_MIN_NORMAL_LENGTH = 1e-3


def unit(vectors: NDArray[np.float32]) -> Normals:
    """Scale vectors to unit length; those of length below 1e-3 become unknown.

    Args:
        vectors: (H, W, 3) float32, camera optical frame, any length; NaN = unknown.
    """
    import cv2

    planes = [np.asarray(plane, np.float32) for plane in cv2.split(vectors)]
    length = _length(planes)
    length[~(length >= _MIN_NORMAL_LENGTH)] = np.nan
    for plane in planes:
        plane /= length
    return Normals(np.asarray(cv2.merge(planes), np.float32))


def _length(planes: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(H, W) lengths of vectors whose components are given one by one."""
    x, y, z = planes
    out: NDArray[np.float32] = x * x
    out += y * y
    out += z * z
    return np.sqrt(out, out=out)


@dataclass(frozen=True, eq=False)
class Mask(MapLabel):
    """The pixels of one object.

    Attributes:
        values: (H, W) bool, True = inside.
        score: confidence, [0, 1]; 1 for ground truth.

    Raises:
        ValueError: wrong dtype or shape, or a score outside [0, 1].
    """

    values: NDArray[np.bool_]
    score: float = 1.0

    def __post_init__(self) -> None:
        validated_array(self, 'values', np.bool_, ('H', 'W'))
        if not 0 <= self.score <= 1:
            raise ValueError(f'Mask.score: expected [0, 1], got {self.score}')

    def resized(self, size: tuple[int, int]) -> Mask:
        return self.resized_nearest(size)

    def _drawn(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """The mask in translucent colour with an outline."""
        return visualize.draw_regions(self.values.astype(np.int32), image)


@dataclass(frozen=True, eq=False)
class Instances(MapLabel):
    """Separate objects, each pixel belonging to at most one of them.

    An instance may own no pixel: an object of two pixels can fall between the samples when a label
    is resized. It keeps its id, category and score then, so that id k is the same object before
    and after; `present` drops such instances.

    Attributes:
        ids: (H, W) int32, 0 = background, k = the k-th instance, 1..N.
        categories: N names, '' where the label has no categories.
        scores: (N,) float32 in [0, 1], confidence; 1 for ground truth.

    Raises:
        TypeError: categories is not a tuple of strings.
        ValueError: wrong dtype or shape, an id outside 0..N, numbers of scores and categories that
            differ, or a score outside [0, 1].
    """

    array_name = 'ids'

    ids: NDArray[np.int32]
    categories: tuple[str, ...]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        ids = validated_array(self, 'ids', np.int32, ('H', 'W'))
        scores = validated_array(self, 'scores', np.float32, ('N',))
        names = self.categories
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise TypeError(f'Instances.categories: expected a tuple of str, got {names!r}')
        if len(names) != len(scores):
            raise ValueError(
                'Instances: expected one category and one score per instance, '
                f'got {len(names)} categories and {len(scores)} scores'
            )
        if ids.min() < 0 or ids.max() > len(scores):
            raise ValueError(
                f'Instances.ids: expected 0 to {len(scores)}, the number of instances, '
                f'got {ids.min()} to {ids.max()}'
            )
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(f'Instances.scores: expected [0, 1], got {scores}')

    @property
    def areas(self) -> NDArray[np.int64]:
        """(N,) int64, pixels of each instance; 0 where it owns none."""
        return np.bincount(self.ids.ravel(), minlength=len(self.scores) + 1)[1:]

    @property
    def boxes(self) -> NDArray[np.int32]:
        """(N, 4) int32 x0, y0, x1, y1, pixels: columns x0 <= i < x1, rows y0 <= j < y1.

        So `ids[y0:y1, x0:x1]` is the box, x1 - x0 its width as in COCO, and (x0 + x1 - 1) / 2 the
        x of its middle. An instance without pixels has the box 0, 0, 0, 0.
        """
        from scipy.ndimage import find_objects

        boxes = np.zeros((len(self.scores), 4), np.int32)
        for k, place in enumerate(find_objects(self.ids)):
            if place is not None:
                rows, columns = place
                boxes[k] = columns.start, rows.start, columns.stop, rows.stop
        return boxes

    def masks(self) -> NDArray[np.bool_]:
        """(N, H, W) bool: the pixels of each instance."""
        each = np.arange(1, len(self.scores) + 1, dtype=np.int32)
        out: NDArray[np.bool_] = self.ids[None] == each[:, None, None]
        return out

    def iou(self, other: Instances) -> NDArray[np.float64]:
        """(N, M) float64: intersection over union of each instance with each of another label.

        That of instances without pixels is 0.

        Raises:
            ValueError: the labels differ in size.
        """
        check_size(other, self.size, 'other label')
        rows, columns = len(self.scores) + 1, len(other.scores) + 1
        pairs = self.ids.ravel().astype(np.int64) * columns + other.ids.ravel()
        table = np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)
        both = table[1:, 1:]
        either = table.sum(axis=1)[1:, None] + table.sum(axis=0)[None, 1:] - both
        return np.asarray(both / np.maximum(either, 1), np.float64)

    def present(self) -> Instances:
        """The instances that own at least one pixel, renumbered in their order."""
        return self.select(self.areas > 0)

    def select(self, keep: NDArray[np.bool_]) -> Instances:
        """The instances k with `keep[k - 1]`, (N,) bool, renumbered in their order."""
        if keep.all():
            return self
        number = np.zeros(len(keep) + 1, np.int32)
        number[1:] = np.cumsum(keep) * keep
        names = tuple(self.categories[k] for k in np.flatnonzero(keep))
        return Instances(number[self.ids], names, self.scores[keep])

    def resized(self, size: tuple[int, int]) -> Instances:
        return self.resized_nearest(size)

    def crop(self, rows: slice, columns: slice) -> Instances:
        return super().crop(rows, columns).present()

    def _drawn(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """One translucent colour per instance, with outlines and the categories written on."""
        canvas = visualize.draw_regions(self.ids, image)
        visualize.draw_texts(canvas, self.ids, self.categories)
        return canvas


@dataclass(frozen=True, eq=False)
class ImageLabel(MapLabel):
    """An image that is the result itself, such as the same view in better light.

    Attributes:
        values: (H, W, 3) float32 in [0, 1], RGB; all of it known.

    Raises:
        ValueError: wrong dtype or shape, or values outside [0, 1].
    """

    values: NDArray[np.float32]

    @classmethod
    def from_image(cls, image: NDArray[np.uint8]) -> ImageLabel:
        """The label that shows an image, (H, W, 3) uint8 RGB."""
        return cls(image.astype(np.float32) / np.float32(255))

    def __post_init__(self) -> None:
        values = validated_array(self, 'values', np.float32, ('H', 'W', 3))
        # Written so that NaN fails.
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f'ImageLabel.values: expected values in [0, 1], got {values.min():.4g} to '
                f'{values.max():.4g}'
            )

    def resized(self, size: tuple[int, int]) -> ImageLabel:
        # The weights of a blend sum to one only up to rounding.
        return ImageLabel(np.clip(linear(self.values, size), 0, 1))

    def _drawn(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """The values in eight bits; covers the image."""
        return np.rint(self.values * 255).astype(np.uint8)


# The 17 joints of COCO in their order; left and right are the person's own.
COCO_JOINTS = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip',
    'left_knee', 'right_knee', 'left_ankle', 'right_ankle',
)  # fmt: skip

# The 19 limbs of COCO's skeleton, as pairs of indices into COCO_JOINTS.
COCO_LIMBS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip

# Index of the same joint on the other side of the body.
COCO_MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)

# Side of the body of each joint: 0 middle, 1 left, 2 right.
SIDES = tuple(
    1 if name.startswith('left_') else 2 if name.startswith('right_') else 0
    for name in COCO_JOINTS
)


@dataclass(frozen=True, eq=False)
class Keypoints(Label):
    """Joints of people, and points that are joints of an unknown type.

    Attributes:
        joints: (P, 17, 2) float32, x right, y down, pixels; the joints of each person in the order
            of COCO_JOINTS; NaN exactly where `visibility` is 0. May lie outside the image.
        visibility: (P, 17) uint8, COCO's: 0 not labelled or not found, 1 there but hidden,
            2 visible.
        scores: (P, 17) float32 in [0, 1], confidence; 1 for ground truth, 0 where absent.
        untyped: (M, 2) float32, x right, y down, pixels: joints of unknown type and person.
        size: (H, W) of the image, pixels.

    Raises:
        ValueError: wrong dtype or shape, numbers of people that differ, a visibility above 2, a
            joint that is NaN but visible or the reverse, a score outside [0, 1], a point that is
            not finite.
    """

    joints: NDArray[np.float32]
    visibility: NDArray[np.uint8]
    scores: NDArray[np.float32]
    untyped: NDArray[np.float32]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(COCO_JOINTS)
        joints = validated_array(self, 'joints', np.float32, ('P', count, 2))
        visibility = validated_array(self, 'visibility', np.uint8, (len(joints), count))
        scores = validated_array(self, 'scores', np.float32, (len(joints), count))
        untyped = validated_array(self, 'untyped', np.float32, ('M', 2))
        if min(self.size) < 1:
            raise ValueError(f'Keypoints.size: expected at least 1 pixel, got {self.size}')
        if visibility.size and visibility.max() > 2:
            raise ValueError(f'Keypoints.visibility: expected 0, 1 or 2, got {visibility.max()}')
        absent = visibility == 0
        here = np.isfinite(joints).all(axis=-1)
        if not (np.isnan(joints[absent]).all() and here[~absent].all()):
            raise ValueError(
                'Keypoints.joints: expected NaN where visibility is 0 and finite pixels elsewhere'
            )
        if not ((scores >= 0) & (scores <= 1)).all() or scores[absent].any():
            raise ValueError(
                'Keypoints.scores: expected [0, 1], and 0 where visibility is 0, '
                f'got {scores.min():.4g} to {scores.max():.4g}'
            )
        if not np.isfinite(untyped).all():
            raise ValueError('Keypoints.untyped: expected finite pixels')

    def select(self, keep: NDArray[np.bool_]) -> Keypoints:
        """The people for which `keep`, (P,) bool, is True; untyped points stay."""
        joints, visibility, scores = self.joints[keep], self.visibility[keep], self.scores[keep]
        return replace(self, joints=joints, visibility=visibility, scores=scores)

    def resized(self, size: tuple[int, int]) -> Keypoints:
        scale = np.array([size[1] / self.size[1], size[0] / self.size[0]])

        def moved(points: NDArray[Any]) -> NDArray[np.float32]:
            return np.asarray((points.astype(np.float64) + 0.5) * scale - 0.5, np.float32)

        return Keypoints(
            moved(self.joints), self.visibility, self.scores, moved(self.untyped), size
        )

    def resized_nearest(self, size: tuple[int, int]) -> Keypoints:
        return self.resized(size)

    def flip(self) -> Keypoints:
        """The mirrored scene, in which a left wrist has become a right one."""
        other = list(COCO_MIRROR)
        sign, shift = np.array([-1, 1]), np.array([self.size[1] - 1, 0])
        return Keypoints(
            (self.joints[:, other] * sign + shift).astype(np.float32),
            self.visibility[:, other],
            self.scores[:, other],
            (self.untyped * sign + shift).astype(np.float32),
            self.size,
        )

    def crop(self, rows: slice, columns: slice) -> Keypoints:
        """The part's people with at least one joint in it; other joints count as not labelled."""
        height, width = self.size
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        size = bottom - top, right - left
        origin, end = np.array([left, top], np.float32), np.array(size[::-1]) - 0.5

        def is_inside(points: NDArray[np.float32]) -> NDArray[np.bool_]:
            both = (points >= -0.5) & (points < end)  # False where NaN
            return np.asarray(both.all(axis=-1), np.bool_)

        joints, untyped = self.joints - origin, self.untyped - origin
        inside = is_inside(joints)
        people = Keypoints(
            np.where(inside[..., None], joints, np.float32(np.nan)),
            np.where(inside, self.visibility, np.uint8(0)),
            np.where(inside, self.scores, np.float32(0)),
            untyped[is_inside(untyped)],
            size,
        )
        return people.select(np.asarray(inside.any(axis=-1), np.bool_))

    def _drawn(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Skeletons: left side blue, right side orange, middle white; hidden joints hollow.

        Points of unknown type are white rings.
        """
        canvas = visualize.backdrop(self.size, image)
        seen = self.visibility == 2
        for person, visible in zip(self.joints, seen, strict=True):
            visualize.draw_skeleton(canvas, person, visible, COCO_LIMBS, SIDES)
        visualize.draw_points(canvas, self.untyped)
        return canvas


_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Disparity, Instances, Keypoints, Mask, MetricDepth, Normals, ImageLabel)
} | {'Picture': ImageLabel}  # the name in files that were written before it was renamed


def save_npz(label: Label, path: str | Path, **more: NDArray[Any]) -> None:
    """Write a label into a file without loss, readable by numpy alone.

    The file holds `kind`, the name of the label's class, and one array per field of that class
    under the field's name; `numpy.load(path)['values']` is the disparity of a depth label.

    Args:
        label: any kind of label.
        path: of the file, ending in .npz.
        **more: arrays to keep beside it, such as `uncertainty`, under names that no field has.

    Raises:
        ValueError: the path does not end in .npz, or a name is a field's.
    """
    path = Path(path)
    if path.suffix != '.npz':
        raise ValueError(f'{path}: expected a name that ends in .npz')
    arrays = {field.name: np.asarray(getattr(label, field.name)) for field in fields(label)}  # type: ignore[arg-type]
    duplicates = sorted(set(more) & {'kind', *arrays})
    if duplicates:
        raise ValueError(f'{path}: {", ".join(duplicates)} is a field of {type(label).__name__}')
    everything: dict[str, Any] = {'kind': np.array(type(label).__name__), **arrays, **more}
    with files.atomic_file(path) as partial, partial.open('wb') as file:
        np.savez_compressed(file, **everything)


def load_npz(path: str | Path) -> Label:
    """Read a label that `save_npz` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no label, or its arrays do not make one.
    """
    path = Path(path)
    arrays = safe_load.npz_file(path)
    kind = _KINDS.get(str(arrays.get('kind')))
    if kind is None:
        raise ValueError(
            f'{path}: kind is {arrays.get("kind")!s}; expected one of {", ".join(_KINDS)}'
        )
    missing = [field.name for field in fields(kind) if field.name not in arrays]
    if missing:
        raise ValueError(f'{path}: a {kind.__name__} without {", ".join(missing)}')
    label: Label = kind(**{field.name: _value(field.name, arrays) for field in fields(kind)})
    return label


def _value(name: str, arrays: dict[str, NDArray[Any]]) -> Any:
    # The fields that are no arrays in memory.
    value = arrays[name]
    if name == 'categories':
        return tuple(str(item) for item in value)
    if name == 'size':
        return int(value[0]), int(value[1])
    return float(value) if value.ndim == 0 else value
