# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a bag of ROS 1 from its beginning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import struct
from typing import BinaryIO

from diception_ros.replay import unpack
from diception_ros.replay.damage import CutError, Raw, damage

# Kinds of records that are looked at.
MESSAGE, CHUNK, CONNECTION = 2, 5, 7


def messages(path: Path) -> Iterator[Raw]:
    """All messages, in the order of the file; see `scan.scan`."""
    known: dict[int, tuple[str, str, str]] = {}
    count, size = 0, path.stat().st_size
    with path.open('rb') as file:
        file.readline()
        while True:
            at = file.tell()
            if at == size:
                return
            try:
                fields, data, cut = _record(file)
                code = fields['op'][0]
                problem = ''
                if code == CHUNK:
                    compression = fields['compression'].decode()
                    if compression not in unpack.ROS1:
                        raise CutError(f'a chunk is compressed by {compression!r}')
                    plain, problem = unpack.ROS1[compression](data)
                    for raw in _inside(plain, known):
                        count += 1
                        yield raw
                if cut or problem:
                    raise CutError(problem or 'a record ends too early')
            except (CutError, struct.error, UnicodeDecodeError, KeyError, IndexError) as error:
                raise damage(path, at, size, count, error) from error


def _record(file: BinaryIO) -> tuple[dict[str, bytes], bytes, bool]:
    (length,) = struct.unpack('<I', file.read(4))
    fields = _fields(file.read(length), length)
    (length,) = struct.unpack('<I', file.read(4))
    data = file.read(length)
    return fields, data, len(data) < length


def _fields(data: bytes, length: int) -> dict[str, bytes]:
    if len(data) < length:
        raise CutError('a record ends too early')
    fields, at = {}, 0
    while at < length:
        (size,) = struct.unpack_from('<I', data, at)
        name, equals, value = data[at + 4 : at + 4 + size].partition(b'=')
        if not equals:
            raise CutError('no record begins there')
        fields[name.decode()] = value
        at += 4 + size
    return fields


def _inside(plain: bytes, known: dict[int, tuple[str, str, str]]) -> Iterator[Raw]:
    """The messages of a chunk, as many as there are of one that was cut off."""
    at = 0
    while at + 4 <= len(plain):
        (length,) = struct.unpack_from('<I', plain, at)
        start = at + 4 + length
        if start + 4 > len(plain):
            return
        fields = _fields(plain[at + 4 : start], length)
        (length,) = struct.unpack_from('<I', plain, start)
        at = start + 4 + length
        if at > len(plain):
            return
        data = plain[start + 4 : at]
        (code,) = fields['op']
        if code == CONNECTION:
            (number,) = struct.unpack('<I', fields['conn'])
            more = _fields(data, len(data))
            known[number] = (
                fields['topic'].decode(), _kind(more['type'].decode()),
                more['message_definition'].decode(),
            )  # fmt: skip
        elif code == MESSAGE:
            (number,) = struct.unpack('<I', fields['conn'])
            seconds, rest = struct.unpack('<II', fields['time'])
            yield Raw(*known[number], seconds * 10**9 + rest, data)


def _kind(name: str) -> str:
    package, _, word = name.partition('/')
    return f'{package}/msg/{word}'
