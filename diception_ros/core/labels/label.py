# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The class Label, checks of its arrays, and resampling of maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    # Known to type checkers only: nothing has to be installed on Python 3.10.
    from typing_extensions import Self

    from diception_ros.core.images import ResizeTransform


class Label(ABC):
    """One result about one image."""

    if TYPE_CHECKING:
        # For type checkers alone: of some labels `size` is a field, and a property of the base
        # class would be taken for its default.
        @property
        def size(self) -> tuple[int, int]:
            """(H, W) of the image that the label is about, pixels."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W) bool: the pixels that count in a loss, because the label is known there.

        All of them, unless a kind of label marks pixels as unknown: a pixel outside a mask, an
        instance or a joint is known not to belong to it.
        """
        return np.ones(self.size, np.bool_)

    @abstractmethod
    def resized(self, size: tuple[int, int]) -> Self:
        """The label at another size (H, W), blended where its values may be blended.

        Depth is blended as 1/z, normals to unit length again; unknown pixels take no part.
        """

    def resized_nearest(self, size: tuple[int, int]) -> Self:
        """The label at another size (H, W) without blending, see `resize_label`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        maps = {
            name: np.ascontiguousarray(nearest(value, size))
            for name, value in values.items()
            if isinstance(value, np.ndarray) and value.shape[:2] == self.size
        }
        return replace(self, **maps)  # type: ignore[type-var]

    @abstractmethod
    def flip(self) -> Self:
        """The label of the left-right mirrored image."""

    @abstractmethod
    def crop(self, rows: slice, columns: slice) -> Self:
        """The label of a part of the image; instances and people outside of it are dropped.

        Args:
            rows: of the part, pixels, without a step.
            columns: likewise.
        """

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The label drawn for people: (H, W, 3) uint8 RGB.

        Args:
            image: (H, W, 3) uint8 RGB, the image that the label is about; labels that cover
                only a part of it are drawn over it, or over dark grey where it is None.

        Raises:
            ValueError: the image is not of the label's size.
        """
        if image is not None and (image.dtype != np.uint8 or image.shape != (*self.size, 3)):
            raise ValueError(
                f'{type(self).__name__}.preview: expected an image {(*self.size, 3)} uint8, '
                f'got {image.shape} {image.dtype}'
            )
        return self._drawn(image)

    @abstractmethod
    def _drawn(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]: ...

    def to_model_size(self, transform: ResizeTransform) -> Self:
        """The label at the model's size.

        Raises:
            ValueError: the label is not of the camera image's size.
        """
        check_size(self, transform.image_size, 'camera image')
        return self.resized(transform.model)

    def to_image_size(self, transform: ResizeTransform) -> Self:
        """The label at the size of the camera image.

        Raises:
            ValueError: the label is not of the model's size.
        """
        check_size(self, transform.model, 'model square')
        return self.resized(transform.image_size)


class MapLabel(Label):
    """A label with one array of pixels, the field `array_name`."""

    array_name: ClassVar[str] = 'values'

    @property
    def size(self) -> tuple[int, int]:
        height, width = getattr(self, self.array_name).shape[:2]
        return height, width

    def flip(self) -> Self:
        mirrored = np.ascontiguousarray(getattr(self, self.array_name)[:, ::-1])
        return replace(self, **{self.array_name: mirrored})  # type: ignore[type-var]

    def crop(self, rows: slice, columns: slice) -> Self:
        part = np.ascontiguousarray(getattr(self, self.array_name)[rows, columns])
        return replace(self, **{self.array_name: part})  # type: ignore[type-var]


LabelT = TypeVar('LabelT', bound=Label)


def resize_label(label: LabelT, size: tuple[int, int]) -> LabelT:
    """A label at another size (H, W) by picking, for scores and drawings; the aspect may change.

    Each new pixel takes the value of the old pixel that contains its centre; joints move with the
    pixels. Nothing is blended, so what is scored are values that the model predicted (or that a
    sensor measured): between two surfaces a blend would make up a depth that neither has. Where
    scores are computed, the prediction is brought to the size of the truth.
    """
    return label if label.size == size else label.resized_nearest(size)


def validated_array(
    label: Any, name: str, dtype: DTypeLike, shape: tuple[int | str, ...]
) -> NDArray[Any]:
    """Check one array of a label in its `__post_init__`, and keep a read-only view of it.

    Args:
        label: the frozen dataclass.
        name: the field.
        dtype: the only accepted dtype; a silent conversion would hide a mistaken unit.
        shape: required lengths, or a letter for a free length.

    Raises:
        TypeError: the field is not an array.
        ValueError: wrong dtype, wrong shape, or no pixels (a length named H or W is 0).
    """
    array = getattr(label, name)
    what = f'{type(label).__name__}.{name}'
    expected = f'expected {np.dtype(dtype)} of shape ({", ".join(map(str, shape))})'
    if not isinstance(array, np.ndarray):
        raise TypeError(f'{what}: {expected}, got {type(array).__name__}')
    fits = array.ndim == len(shape) and all(
        got > 0 or want not in ('H', 'W') if isinstance(want, str) else got == want
        for got, want in zip(array.shape, shape, strict=True)
    )
    if array.dtype != np.dtype(dtype) or not fits:
        raise ValueError(f'{what}: {expected}, got {array.dtype} of shape {array.shape}')
    view = array.view()
    view.flags.writeable = False
    object.__setattr__(label, name, view)
    return view


def check_size(label: Label, size: tuple[int, int], what: str) -> None:
    """Raise ValueError unless the label has this size (H, W); `what` names whose size it is."""
    if label.size != size:
        raise ValueError(
            f'{type(label).__name__}: expected the size of the {what}, {size} (H, W), '
            f'got {label.size}'
        )


# Resizing of maps. Both functions follow the pixel convention of `diception_ros.core.images`:
# pixel centres at whole numbers, x becoming (x + 0.5) s - 0.5, so maps stay aligned with points
# and keypoints.

ScalarT = TypeVar('ScalarT', bound=np.generic)


def nearest(values: NDArray[ScalarT], size: tuple[int, int]) -> NDArray[ScalarT]:
    """(H, W) or (H, W, C) at another size; a new pixel is the old one that contains its centre."""
    # Not cv2.INTER_NEAREST, which picks by the pixel's corner and so shifts by half a pixel.
    height, width = values.shape[:2]
    rows = (2 * np.arange(size[0]) + 1) * height // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * width // (2 * size[1])
    out: NDArray[ScalarT] = values[rows][:, columns]
    return out


def linear(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) or (H, W, C) float32 at another size, blended linearly, by area where a side shrinks.

    Unknown pixels (NaN in all channels) are ignored: a new pixel is the blend of the known ones
    under it, and is unknown itself where these make up less than half of its weight. Where a side
    shrinks, the result is aligned with points to a tenth of an old pixel.
    """
    known = ~np.isnan(values if values.ndim == 2 else values[..., 0])
    if known.all():
        return _blend(values, size)
    share = _blend(known.astype(np.float32), size)
    share[share < 0.5] = np.nan
    filled = values.copy()
    filled[~known] = 0
    mean = _blend(filled, size)
    # Channel by channel: numpy takes several times as long for a last axis of three.
    for plane in (mean,) if mean.ndim == 2 else np.moveaxis(mean, -1, 0):
        plane /= share
    return mean


def _blend(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    # One axis at a time, because cv2.INTER_AREA falls back to another filter as soon as one side
    # shrinks while the other grows, as with a portrait image on the square.
    width = _resize(values, (values.shape[0], size[1]))
    return _resize(width, size)


def _resize(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    import cv2

    if values.shape[:2] == size:
        return values
    shrinks = size[0] <= values.shape[0] and size[1] <= values.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    source: NDArray[Any] = np.ascontiguousarray(values)
    out: NDArray[Any] = cv2.resize(source, (size[1], size[0]), interpolation=how)
    return out
