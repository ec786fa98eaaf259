# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads bags that are damaged or cut off: from the beginning, in the order of the file.

An index stands at the end of a file, so what is cut off has none, and rosbags refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import sqlite3
import struct
from typing import BinaryIO
import zlib

from diception_ros.replay import records, scan_ros1, unpack
from diception_ros.replay.damage import CutError, DamageError, Raw, damage
from diception_ros.replay.records import MAGIC, PREFIX, Cursor

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
        return scan_ros1.messages(path)
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
                if code in (records.DATA_END, records.FOOTER):
                    return
                if code == records.CHUNK:
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
    if not whole and code not in (records.CHUNK, records.MESSAGE):
        raise CutError('a record ends too early')
    data = file.read(length) if whole else file.read()
    if not whole and code == records.MESSAGE:
        raise CutError('a message ends too early')
    return code, data


def _inside(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of a chunk, as many as there are of one that was cut off."""
    fields = Cursor(data)
    _, _, size, check = fields.numbers(records.CHUNK_HEAD)
    compression, length = fields.text(), fields.u64()
    packed = fields.rest()
    cut = len(packed) < length
    if compression not in unpack.MCAP:
        raise CutError(f'a chunk is compressed by {compression!r}')
    plain, problem = unpack.MCAP[compression](packed[:length])
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
    if code == records.SCHEMA:
        number, kind, encoding = fields.u16(), fields.text(), fields.text()
        text = fields.text()
        schemas[number] = kind, text if encoding in ('ros2msg', 'ros2idl', 'omgidl') else ''
    elif code == records.CHANNEL:
        number, schema, topic = fields.u16(), fields.u16(), fields.text()
        channels[number] = (topic, *schemas.get(schema, ('', '')))
    elif code == records.MESSAGE:
        number, _, stamp_ns, _ = fields.numbers(records.STAMPS)
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
