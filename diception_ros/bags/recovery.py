# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads bags that are damaged or cut off: from the beginning, in the order of the file.

An index stands at the end of a file, so what is cut off has none, and rosbags refuses it.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
import contextlib
from pathlib import Path
import sqlite3
import struct
from typing import BinaryIO, NamedTuple
import zlib

import lz4.frame

from diception_ros.bags import mcap_writer
from diception_ros.bags.mcap_writer import MAGIC, PREFIX, Cursor, zstd

# What is read from a bag, and what is said where it cannot be read any further.


class DamageError(Exception):
    """A bag could not be read beyond some place; the message says which."""


class Raw(NamedTuple):
    """One message of a bag.

    Attributes:
        topic: its name.
        kind: of the message, e.g. 'sensor_msgs/msg/Image'.
        definition: of the kind, '' where the bag does not tell.
        stamp_ns: log time, nanoseconds since the epoch.
        data: serialised, by ROS 1's rules in a bag of ROS 1 and as CDR in others.
    """

    topic: str
    kind: str
    definition: str
    stamp_ns: int
    data: bytes


class CutError(Exception):
    """The data ends, or is none, at an offset."""


def damage(path: Path, at: int, size: int, count: int, error: Exception) -> DamageError:
    """What is said of a file that cannot be read from byte `at` on."""
    return DamageError(f'{path}: damaged at byte {at} of {size}, after {count} messages ({error})')


# Decompresses as much as there is of data that may be cut off or damaged.


def _plain(packed: bytes) -> tuple[bytes, str]:
    return packed, ''


def _unzstd(packed: bytes) -> tuple[bytes, str]:
    unpack = zstd.ZstdDecompressor()
    return _piecewise(packed, unpack.decompress, (zstd.ZstdError, EOFError))


def _unlz4(packed: bytes) -> tuple[bytes, str]:
    return _piecewise(
        packed, lz4.frame.LZ4FrameDecompressor().decompress, (RuntimeError, EOFError)
    )


def _unbz2(packed: bytes) -> tuple[bytes, str]:
    return _piecewise(packed, bz2.BZ2Decompressor().decompress, (OSError, EOFError))


def _piecewise(
    packed: bytes, unpack: Callable[[bytes], bytes], errors: tuple[type[Exception], ...]
) -> tuple[bytes, str]:
    # In pieces, so that what stands before a fault comes out.
    found = []
    step = 1 << 16
    try:
        for at in range(0, len(packed), step):
            found.append(unpack(packed[at : at + step]))
    except errors as error:
        return b''.join(found), f'cannot be decompressed ({error})'
    return b''.join(found), ''


# What makes the data, and '' or what is wrong with the rest of it; by the name in the file.
MCAP: dict[str, Callable[[bytes], tuple[bytes, str]]] = {
    '': _plain,
    'zstd': _unzstd,
    'lz4': _unlz4,
}
ROS1 = {'none': _plain, 'lz4': _unlz4, 'bz2': _unbz2}


# Reads a bag of ROS 1 from its beginning.


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
                fields, data, cut = _ros1_record(file)
                code = fields['op'][0]
                problem = ''
                if code == CHUNK:
                    compression = fields['compression'].decode()
                    if compression not in ROS1:
                        raise CutError(f'a chunk is compressed by {compression!r}')
                    plain, problem = ROS1[compression](data)
                    for raw in _ros1_inside(plain, known):
                        count += 1
                        yield raw
                if cut or problem:
                    raise CutError(problem or 'a record ends too early')
            except (CutError, struct.error, UnicodeDecodeError, KeyError, IndexError) as error:
                raise damage(path, at, size, count, error) from error


def _ros1_record(file: BinaryIO) -> tuple[dict[str, bytes], bytes, bool]:
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


def _ros1_inside(plain: bytes, known: dict[int, tuple[str, str, str]]) -> Iterator[Raw]:
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


# A record that claims to be longer was never written as one.
LARGEST = 1 << 40


def scan(path: Path) -> Iterator[Raw]:
    """Read a file of a bag from its beginning.

    Args:
        path: a .mcap, .db3 or .bag file.

    Raises:
        DamageError: all that could be read has been.
        ValueError: it is no such file at all.
    """
    with path.open('rb') as file:
        start = file.read(16)
    if start.startswith(MAGIC):
        return _mcap(path)
    if start == b'SQLite format 3\0':
        return _sqlite(path)
    if start.startswith(b'#ROSBAG V2.0\n'):
        return messages(path)
    raise ValueError(f'{path}: not a bag (its first bytes are {start[:8].hex(" ") or "missing"})')


def _mcap(path: Path) -> Iterator[Raw]:
    schemas: dict[int, tuple[str, str]] = {}
    channels: dict[int, tuple[str, str, str]] = {}
    count, size = 0, path.stat().st_size
    with path.open('rb') as file:
        file.seek(len(MAGIC))
        while True:
            at = file.tell()
            try:
                code, data = _record(file, size)
                if code in (mcap_writer.DATA_END, mcap_writer.FOOTER):
                    return
                if code == mcap_writer.CHUNK:
                    for inner, body in _inside(data):
                        for raw in _understand(inner, body, schemas, channels):
                            count += 1
                            yield raw
                for raw in _understand(code, data, schemas, channels):
                    count += 1
                    yield raw
            except (CutError, struct.error, UnicodeDecodeError) as error:
                raise damage(path, at, size, count, error) from error


def _record(file: BinaryIO, size: int) -> tuple[int, bytes]:
    head = file.read(PREFIX.size)
    if len(head) < PREFIX.size:
        raise CutError('it ends there')
    code, length = PREFIX.unpack(head)
    if not 1 <= code <= 0x7F or length > LARGEST:
        raise CutError('no record begins there')
    whole = file.tell() + length <= size
    if not whole and code not in (mcap_writer.CHUNK, mcap_writer.MESSAGE):
        raise CutError('a record ends too early')
    data = file.read(length) if whole else file.read()
    if not whole and code == mcap_writer.MESSAGE:
        raise CutError('a message ends too early')
    return code, data


def _inside(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of a chunk, as many as there are of one that was cut off."""
    fields = Cursor(data)
    _, _, size, check = fields.numbers(mcap_writer.CHUNK_HEAD)
    compression, length = fields.text(), fields.u64()
    packed = fields.rest()
    cut = len(packed) < length
    if compression not in MCAP:
        raise CutError(f'a chunk is compressed by {compression!r}')
    plain, problem = MCAP[compression](packed[:length])
    if not (cut or problem) and check and zlib.crc32(plain) != check:
        # Nothing says which of the messages are right.
        raise CutError('the checksum of a chunk is wrong')
    at = 0
    while at + PREFIX.size <= len(plain):
        code, inner = PREFIX.unpack_from(plain, at)
        at += PREFIX.size
        if at + inner > len(plain):
            break
        yield code, plain[at : at + inner]
        at += inner
    if cut or problem or len(plain) != size:
        raise CutError(problem or 'a chunk ends too early')


def _understand(
    code: int,
    data: bytes,
    schemas: dict[int, tuple[str, str]],
    channels: dict[int, tuple[str, str, str]],
) -> Iterator[Raw]:
    fields = Cursor(data)
    if code == mcap_writer.SCHEMA:
        number, kind, encoding = fields.u16(), fields.text(), fields.text()
        text = fields.text()
        schemas[number] = kind, text if encoding in ('ros2msg', 'ros2idl', 'omgidl') else ''
    elif code == mcap_writer.CHANNEL:
        number, schema, topic = fields.u16(), fields.u16(), fields.text()
        channels[number] = (topic, *schemas.get(schema, ('', '')))
    elif code == mcap_writer.MESSAGE:
        number, _, stamp_ns, _ = fields.numbers(mcap_writer.STAMPS)
        if number not in channels:
            raise CutError(f'a message is on channel {number}, which was not declared')
        yield Raw(*channels[number], stamp_ns, fields.rest())


def _sqlite(path: Path) -> Iterator[Raw]:
    count, size = 0, path.stat().st_size
    topics: dict[int, tuple[str, str]] = {}
    definitions: dict[str, str] = {}
    with contextlib.closing(
        sqlite3.connect(f'{path.absolute().as_uri()}?immutable=1', uri=True)
    ) as base:
        try:
            # Without this a file that is shorter than its head says is not looked at.
            base.execute('PRAGMA writable_schema=ON')
            topics = {
                n: (name, kind)
                for n, name, kind in base.execute('SELECT id, name, type FROM topics')
            }
            with contextlib.suppress(sqlite3.OperationalError):  # a table of newer bags
                definitions = dict(
                    base.execute(
                        'SELECT topic_type, encoded_message_definition FROM message_definitions'
                    )
                )
            for number, stamp_ns, data in base.execute(
                'SELECT topic_id, timestamp, data FROM messages ORDER BY id'
            ):
                if number in topics:
                    count += 1
                    topic, kind = topics[number]
                    yield Raw(topic, kind, definitions.get(kind, ''), stamp_ns, data)
        except (sqlite3.DatabaseError, OverflowError, TypeError) as error:
            raise DamageError(
                f'{path}: damaged after {count} messages ({error}; {size} bytes)'
            ) from error
