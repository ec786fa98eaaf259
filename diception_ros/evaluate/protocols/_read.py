# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Truths in the files in which data sets come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.labels import MetricDepth, Normals
from diception_ros.tasks.normal import AXES, LONGEST, SHORTEST

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
                f'{paths[0]}: expected depth as a grey 16-bit PNG, came {array.dtype} of shape '
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
            f'(H, W), came {content.size}'
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
                f'{path}: expected normals as an 8-bit RGB PNG, came {array.dtype} of shape '
                f'{array.shape}'
            )
        rgb = array[..., ::-1].astype(np.float64)
        vectors = np.where(rgb.any(axis=-1, keepdims=True), rgb / 127.5 - 1, 0)
    if vectors.ndim != 3 or vectors.shape[2] != 3:
        raise ValueError(f'{path}: expected normals of shape (H, W, 3), came {vectors.shape}')
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
        raise ValueError(f"{path}: expected its picture's size {size} (H, W), came {shape}")
