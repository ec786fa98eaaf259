# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads .safetensors files without torch: where each tensor lies, and its values.

Source: the format as its authors describe it (huggingface.co/docs/safetensors): the length of the
header in 8 bytes, the header as JSON, then the values of all tensors, little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.model.component_configs import read_json
from diception_ros.system import safe_load

# Components whose weights determine results; the prompt table may grow without making another
# model.
PARTS = ('vae', 'point_encoder', 'transformer', 'image_encoder')
_MAX_HEADER = 100_000_000  # bytes; Source: the limit of the safetensors library
# By the format's names; bfloat16, which numpy lacks, is the upper half of float32.
_DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2'}


class TensorPlace(NamedTuple):
    """Where a tensor lies.

    Attributes:
        file: the .safetensors file.
        dtype: as the format names it, such as 'F16'.
        shape: of the tensor.
        offset: of its first byte, from the beginning of the file.
        length: bytes.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def tensor_places(file: Path) -> dict[str, TensorPlace]:
    """Where each tensor of a file lies, by name.

    Raises:
        ValueError: the file is damaged, or not a .safetensors file.
    """
    stat = file.stat()
    return dict(_places(file, stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=32)
def _places(file: Path, size: int, _mtime: int) -> Mapping[str, TensorPlace]:
    header, begin = _header(file)
    places = {}
    try:
        for name, about in header.items():
            if name == '__metadata__':
                continue
            first, last = map(int, about['data_offsets'])
            shape = tuple(map(int, about['shape']))
            if not 0 <= first <= last <= size - begin or min(shape, default=0) < 0:
                raise ValueError(f'tensor {name} lies outside of the file')
            places[name] = TensorPlace(
                file, str(about['dtype']), shape, begin + first, last - first
            )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f'{file}: damaged, or not a .safetensors file ({error})') from error
    return places


def read_metadata(file: Path) -> dict[str, Any]:
    """The texts that a file holds beside its tensors.

    Raises:
        ValueError: the file is damaged, or not a .safetensors file.
    """
    metadata = _header(file)[0].get('__metadata__', {})
    if not isinstance(metadata, dict):
        raise ValueError(f'{file}: damaged, or not a .safetensors file (its texts are no object)')
    return metadata


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The header, and the offset of what follows it."""
    with file.open('rb') as stream:
        length = int.from_bytes(stream.read(8), 'little')
        content = stream.read(length) if length <= _MAX_HEADER else b''
    try:
        header = safe_load.json_text(content, 'its header')
    except ValueError as error:
        raise ValueError(f'{file}: damaged, or not a .safetensors file ({error})') from error
    if not isinstance(header, dict):
        raise ValueError(f'{file}: damaged, or not a .safetensors file (its header is no object)')
    return header, 8 + length


def read_array(place: TensorPlace, row: int | None = None) -> NDArray[np.floating[Any]]:
    """Read a tensor, or one row of it.

    Args:
        place: where it lies.
        row: index of its first axis; None: all.

    Returns:
        the values in the file's precision; bfloat16 as float32.

    Raises:
        ValueError: the tensor does not hold floating point numbers, or its length is not what its
            shape takes.
    """
    if place.dtype not in _DTYPES:
        raise ValueError(f'{place.file}: a tensor of {place.dtype}; expected {", ".join(_DTYPES)}')
    dtype, shape, offset = np.dtype(_DTYPES[place.dtype]), place.shape, place.offset
    if place.length != math.prod(shape) * dtype.itemsize:
        raise ValueError(f'{place.file}: damaged: {place.length} bytes for the shape {shape}')
    if row is not None:
        shape = shape[1:]
        offset += row * math.prod(shape) * dtype.itemsize
    count = math.prod(shape)
    values = np.fromfile(place.file, dtype, count, offset=offset).reshape(shape)
    if place.dtype == 'BF16':
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def weight_files(folder: Path) -> list[Path]:
    """Files of the weights that determine results.

    Raises:
        FileNotFoundError: the folder holds no weights.
    """
    files = [path for part in PARTS for path in sorted((folder / part).glob('*.safetensors'))]
    if not files:
        raise FileNotFoundError(f'{folder}: no weights (*.safetensors) in it')
    return files


def layout_hash(folder: Path) -> str:
    """SHA-256 of everything about a model folder that a graph of its networks depends on.

    That is the configuration of each network, and name, type, shape and offset of each tensor in
    the files of weights. Values are not part of it: a graph reads them from the files.

    Raises:
        FileNotFoundError: the folder holds no weights, or a configuration is missing.
        ValueError: a file is damaged.
    """
    digest = hashlib.sha256()
    for part in PARTS:
        if not (folder / part).is_dir():
            continue
        config = read_json(folder / part / 'config.json')
        config = {key: value for key, value in config.items() if not key.startswith('_')}
        digest.update(f'{part} {json.dumps(config, sort_keys=True)}\n'.encode())
    for file in weight_files(folder):
        name = file.relative_to(folder).as_posix()
        for tensor, place in sorted(tensor_places(file).items()):
            digest.update(f'{name} {tensor} {place[1:]}\n'.encode())
    return digest.hexdigest()
