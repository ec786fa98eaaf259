# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps of pixels: one `Mask`, `Instances` that do not overlap, or an `ImageLabel`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import base, visualize
from diception_ros.core.labels.base import Label, check_image, check_size, freeze


@dataclass(frozen=True, eq=False)
class Mask(Label):
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
        freeze(self, 'values', np.bool_, ('H', 'W'))
        if not 0 <= self.score <= 1:
            raise ValueError(f'Mask.score: expected [0, 1], got {self.score}')

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def resized(self, size: tuple[int, int]) -> Mask:
        return Mask(base.nearest(self.values, size), self.score)

    def flip(self) -> Mask:
        return Mask(np.ascontiguousarray(self.values[:, ::-1]), self.score)

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The mask in translucent colour with an outline."""
        check_image(self, image)
        return visualize.draw_regions(self.values.astype(np.int32), image)


@dataclass(frozen=True, eq=False)
class Instances(Label):
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

    ids: NDArray[np.int32]
    categories: tuple[str, ...]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        ids = freeze(self, 'ids', np.int32, ('H', 'W'))
        scores = freeze(self, 'scores', np.float32, ('N',))
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
    def size(self) -> tuple[int, int]:
        return self.ids.shape[0], self.ids.shape[1]

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
        return Instances(base.nearest(self.ids, size), self.categories, self.scores)

    def flip(self) -> Instances:
        return Instances(np.ascontiguousarray(self.ids[:, ::-1]), self.categories, self.scores)

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """One translucent colour per instance, with outlines and the categories written on."""
        check_image(self, image)
        canvas = visualize.draw_regions(self.ids, image)
        visualize.draw_texts(canvas, self.ids, self.categories)
        return canvas


@dataclass(frozen=True, eq=False)
class ImageLabel(Label):
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
        values = freeze(self, 'values', np.float32, ('H', 'W', 3))
        # Written so that NaN fails.
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f'ImageLabel.values: expected values in [0, 1], got {values.min():.4g} to '
                f'{values.max():.4g}'
            )

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def flip(self) -> ImageLabel:
        return ImageLabel(self.values[:, ::-1])

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The values in eight bits; covers the image."""
        check_image(self, image)
        return np.rint(self.values * 255).astype(np.uint8)

    def resized(self, size: tuple[int, int]) -> ImageLabel:
        # The weights of a blend sum to one only up to rounding.
        return ImageLabel(np.clip(base.linear(self.values, size), 0, 1))
