# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads JSON, YAML, arrays and tensors of files that may come from anywhere, within limits.

All of the package reads them here (test_reads.py). Size is checked before memory is taken, depth
and what YAML's aliases stand for before anything walks through the result. All that is wrong with
a file is a ValueError that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
from pathlib import Path
from typing import Any, NamedTuple
import zipfile

import numpy as np
from numpy.typing import NDArray
import yaml

# Bytes of a JSON or YAML file. The values in memory take up to 30 times as much.
MAX_SIZE = 16 << 20
# Bytes of a file of labels; COCO's largest has 448 MB, LVIS's 1.1 GB.
MAX_LABELS_SIZE = 2 << 30
# Levels of lists and objects in each other. COCO's files have 5, ROS parameters about 10.
MAX_DEPTH = 64
# Values in a YAML file, each alias counted as all that it stands for. The metadata.yaml of a bag
# of 10 000 files has 130 000.
MAX_VALUES = 1_000_000
# Characters of a YAML value with and without quotes; the QoS profiles of a topic stand in one.
_MAX_QUOTED, _MAX_PLAIN = 1 << 20, 4096
# Bytes that the arrays of a file may have: normals (3 float32) of 150 million pixels.
MAX_ARRAYS_SIZE = 3 * 4 * 150_000_000

# What code raises that takes the parts of a value to be of the kinds that they should be; such as
# OverflowError of int(Infinity), which JSON has.
MALFORMED = (KeyError, IndexError, TypeError, AttributeError, OverflowError)

_Loader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
# What PyYAML raises for a value that does not fit its tag, such as !!bool or !!timestamp.
_YAML_ERRORS = (
    yaml.YAMLError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
    RecursionError,
)  # fmt: skip


def json_text(text: str | bytes, where: str) -> Any:
    """The value of a JSON text.

    Args:
        text: of any size; UTF-8 if bytes.
        where: for messages.

    Raises:
        ValueError: it is not JSON, or nested more than MAX_DEPTH deep.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{where}: not JSON ({error})') from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return value
    raise ValueError(f'{where}: not JSON that is read (nested more than {MAX_DEPTH} deep)')


def json_file(path: Path, limit: int = MAX_SIZE) -> Any:
    """The value of a JSON file.

    Args:
        path: of the file.
        limit: its largest size, bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or as `json_text`.
    """
    return json_text(_content(path, limit), str(path))


def json_object(path: Path, limit: int = MAX_SIZE) -> dict[str, Any]:
    """As `json_file`; ValueError also if the value is no object."""
    value = json_file(path, limit)
    if not isinstance(value, dict):
        raise ValueError(f'{path}: expected a JSON object {{...}}, got {type(value).__name__}')
    return value


def yaml_text(text: str | bytes, where: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: it is not YAML of plain values, is too large, nested more than MAX_DEPTH deep,
            or has more than MAX_VALUES values.
    """
    if len(text) > MAX_SIZE:
        raise ValueError(f'{where}: expected at most {MAX_SIZE} bytes of YAML, got more')
    try:
        _check_events(text)
        return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except _YAML_ERRORS as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{where}: not YAML that is read ({reason})') from error


def yaml_file(path: Path) -> Any:
    """The value of a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: as `yaml_text`.
    """
    return yaml_text(_content(path, MAX_SIZE), str(path))


def npz_file(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file, none of which holds Python objects.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, damaged, or declares more than MAX_ARRAYS_SIZE bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
            if total > MAX_ARRAYS_SIZE:
                raise ValueError(f'expected at most {MAX_ARRAYS_SIZE} bytes, it declares {total}')
            return {
                member.filename.removesuffix('.npy'): _array(archive, member)
                for member in archive.infolist()
            }
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile and numpy pass on what zlib, struct and ast raise
        reason = str(error) or type(error).__name__
        raise ValueError(f'{path}: not a .npz file that can be read ({reason})') from error


def npy_file(path: Path, limit: int) -> NDArray[Any]:
    """The array of a .npy file, mapped: it takes no memory until it is used.

    Args:
        path: of the file.
        limit: its largest number of values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, damaged, holds Python objects or more values.
    """
    try:
        mapped = np.load(path, mmap_mode='r', allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy passes on what zipfile, tokenize and ast raise
        reason = str(error) or type(error).__name__
        raise ValueError(f'{path}: not an array that can be read ({reason})') from error
    if not isinstance(mapped, np.ndarray):
        mapped.close()
        raise ValueError(f'{path}: expected one array (.npy), got an archive of several')
    if mapped.size > limit:
        raise ValueError(f'{path}: expected at most {limit} values, got shape {mapped.shape}')
    return mapped


@contextlib.contextmanager
def tensors_file(path: str | Path) -> Iterator[Any]:
    """Open a .safetensors file; see `safetensors.safe_open` for what it yields.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or damaged.
    """
    # Here, so that what reads no weights does not wait for it.
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt') as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f'{path}: damaged, or not a .safetensors file ({error}); copy it again'
        ) from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array; memory is taken only for what the archive holds."""
    formats: Any = np.lib.format
    with archive.open(member) as file:
        first = formats.read_magic(file) == (1, 0)
        read = formats.read_array_header_1_0 if first else formats.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError(f'{member.filename} holds Python objects')
        content = file.read()
    if min(shape, default=0) < 0:
        raise ValueError(f'{member.filename} has the shape {shape}')
    array = np.frombuffer(content, dtype, int(np.prod(shape, dtype=object)))
    return array.reshape(shape, order='F' if fortran else 'C').copy()


def _content(path: Path, limit: int) -> bytes:
    with path.open('rb') as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f'{path}: expected at most {limit} bytes, got more')
    return content


class _Extent(NamedTuple):
    """How much a value is, aliases resolved."""

    values: int = 1
    depth: int = 0


def _check_events(text: str | bytes) -> None:
    """Raise ValueError for YAML beyond the limits, before any value is built."""
    anchors: dict[str, _Extent] = {}
    opened: list[list[Any]] = [['', 0, 0]]  # of each container: anchor, values, deepest inside
    total = 0
    for event in yaml.parse(text, _Loader):
        extent = _Extent()
        if isinstance(event, yaml.AliasEvent):
            # One that is not known contains itself, or is an error of its own.
            extent = anchors.get(event.anchor, _Extent(MAX_VALUES + 1))
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append([event.anchor, 1, 0])
            if len(opened) > MAX_DEPTH + 1:
                raise ValueError(f'nested more than {MAX_DEPTH} deep')
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            name, values, depth = opened.pop()
            extent = _Extent(values, depth + 1)
            if name:
                anchors[name] = extent
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > (_MAX_QUOTED if event.style else _MAX_PLAIN):
                raise ValueError(f'a value of {len(event.value)} characters')
            if event.anchor:
                anchors[event.anchor] = extent
        else:
            continue
        opened[-1][1] += extent.values
        opened[-1][2] = max(opened[-1][2], extent.depth)
        total = max(total, opened[-1][1])
        if total > MAX_VALUES:
            raise ValueError(f'more than {MAX_VALUES} values, those of aliases included')
        if opened[-1][2] > MAX_DEPTH:
            raise ValueError(f'nested more than {MAX_DEPTH} deep')
