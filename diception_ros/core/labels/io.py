# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels in files without loss: one .npz each, readable by numpy alone.

The file holds `kind`, the name of the label's class, and one array per field of that class under
the field's name; `numpy.load(path)['values']` is the disparity of a depth label. More arrays may
lie beside them, such as `uncertainty`.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels.base import Label
from diception_ros.core.labels.depth import Disparity, MetricDepth
from diception_ros.core.labels.keypoints import Keypoints
from diception_ros.core.labels.masks import ImageLabel, Instances, Mask
from diception_ros.core.labels.normals import Normals
from diception_ros.system import files, safe_load

_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Disparity, Instances, Keypoints, Mask, MetricDepth, Normals, ImageLabel)
} | {'Picture': ImageLabel}  # the name in files that were written before it was renamed


def save_npz(label: Label, path: str | Path, **more: NDArray[Any]) -> None:
    """Write a label.

    Args:
        label: any kind of label.
        path: of the file, ending in .npz.
        **more: arrays to keep beside it, under names that no field has.

    Raises:
        ValueError: the path does not end in .npz, or a name is a field's.
    """
    path = Path(path)
    if path.suffix != '.npz':
        raise ValueError(f'{path}: expected a name that ends in .npz')
    arrays = {field.name: np.asarray(getattr(label, field.name)) for field in fields(label)}  # type: ignore[arg-type]
    taken = sorted(set(more) & {'kind', *arrays})
    if taken:
        raise ValueError(f'{path}: {", ".join(taken)} is a field of {type(label).__name__}')
    everything: dict[str, Any] = {'kind': np.array(type(label).__name__), **arrays, **more}
    with files.atomic_file(path) as partial, partial.open('wb') as file:
        np.savez_compressed(file, **everything)


def load_npz(path: str | Path) -> Label:
    """Read a label that `save_npz` wrote.

    Args:
        path: of the file.

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
