# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The records of an MCAP file, as bytes.

rosbags writes MCAP, too, but a file that it did not finish cannot be opened again, neither to go
on nor to be read. So what has to survive the loss of power is laid out here.

Source: the MCAP specification, mcap.dev/spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import struct
import sys
from typing import Any, NamedTuple

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ['MAGIC', 'Chunk', 'zstd']

MAGIC = b'\x89MCAP0\r\n'

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, DATA_END, SUMMARY_OFFSET = 0x0B, 0x0F, 0x0E

# Before each file of a definition in IDL.
IDL_RULE = '=' * 80 + '\n'
# Op code and length of the rest.
PREFIX = struct.Struct('<BQ')
# Channel, sequence number, log time and publish time of a message.
STAMPS = struct.Struct('<HIQQ')
# First and last log time, size before compression and its checksum.
CHUNK_HEAD = struct.Struct('<QQQI')
_U16, _U32, _U64 = struct.Struct('<H'), struct.Struct('<I'), struct.Struct('<Q')


class Chunk(NamedTuple):
    """What the index says of a chunk.

    Attributes:
        start_ns: first log time.
        end_ns: last log time.
        offset: of its record in the file.
        length: of its record.
        places: offsets of the records after it that index its messages, by channel.
        places_length: of all these records.
        compression: 'zstd' or ''.
        compressed: bytes.
        size: bytes before compression.
    """

    start_ns: int
    end_ns: int
    offset: int
    length: int
    places: Mapping[int, int]
    places_length: int
    compression: str
    compressed: int
    size: int


def record(code: int, *parts: bytes) -> bytes:
    """A record of any kind."""
    return b''.join([PREFIX.pack(code, sum(map(len, parts))), *parts])


def text(words: str) -> bytes:
    """A string with its length before it."""
    data = words.encode()
    return _U32.pack(len(data)) + data


def header() -> bytes:
    """The first record: what the messages are of, and who wrote it."""
    return record(HEADER, text('ros2'), text('diception_ros'))


def is_idl(definition: str) -> bool:
    """Whether a definition of messages is in IDL rather than in the language of .msg files."""
    return definition.startswith(IDL_RULE + 'IDL: ')


def schema(number: int, kind: str, definition: str) -> bytes:
    """Definition of a type of message, in the language of .msg files or of IDL."""
    encoding = 'ros2idl' if is_idl(definition) else 'ros2msg'
    return record(SCHEMA, _U16.pack(number), text(kind), text(encoding), text(definition))


def channel(number: int, schema_number: int, topic: str, qos: str) -> bytes:
    """A topic."""
    about = text('offered_qos_profiles') + text(qos)
    return record(
        CHANNEL, _U16.pack(number), _U16.pack(schema_number), text(topic), text('cdr'),
        _U32.pack(len(about)), about,
    )  # fmt: skip


def message_head(number: int, stamp_ns: int, length: int) -> bytes:
    """What stands before a message of `length` bytes, logged and published at one time."""
    stamps = STAMPS.pack(number, 0, stamp_ns, stamp_ns)
    return PREFIX.pack(MESSAGE, len(stamps) + length) + stamps


def chunk_head(numbers: tuple[int, int, int, int], compression: str, length: int) -> bytes:
    """What stands before the `length` bytes of a chunk; the numbers are those of CHUNK_HEAD."""
    fields = CHUNK_HEAD.pack(*numbers) + text(compression) + _U64.pack(length)
    return PREFIX.pack(CHUNK, len(fields) + length) + fields


def message_index(number: int, entries: Sequence[tuple[int, int]]) -> bytes:
    """Log times and offsets, in the chunk before compression, of the messages of a channel."""
    packed = b''.join(_U64.pack(stamp) + _U64.pack(offset) for stamp, offset in entries)
    return record(MESSAGE_INDEX, _U16.pack(number), _U32.pack(len(packed)), packed)


def chunk_index(chunk: Chunk) -> bytes:
    """Where a chunk is."""
    places = b''.join(_U16.pack(n) + _U64.pack(at) for n, at in chunk.places.items())
    return record(
        CHUNK_INDEX, struct.pack('<QQQQ', *chunk[:4]), _U32.pack(len(places)), places,
        _U64.pack(chunk.places_length), text(chunk.compression),
        struct.pack('<QQ', chunk.compressed, chunk.size),
    )  # fmt: skip


def statistics(counts: Mapping[int, int], schemas: int, chunks: Sequence[Chunk]) -> bytes:
    """How much there is of everything; `counts` are messages by channel."""
    times = [(one.start_ns, one.end_ns) for one in chunks]
    each = b''.join(_U16.pack(number) + _U64.pack(n) for number, n in sorted(counts.items()))
    return record(
        STATISTICS,
        struct.pack('<QHIIII', sum(counts.values()), schemas, len(counts), 0, 0, len(chunks)),
        struct.pack('<QQ', min(t[0] for t in times), max(t[1] for t in times))
        if times else bytes(16),
        _U32.pack(len(each)), each,
    )  # fmt: skip


def summary_offset(code: int, start: int, length: int) -> bytes:
    """Where the records of one kind are in the summary."""
    return record(SUMMARY_OFFSET, struct.pack('<BQQ', code, start, length))


class Cursor:
    """Reads the fields of one record, one after the other.

    Args:
        data: the record without code and length.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def numbers(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Some numbers; struct.error where the record is too short."""
        found = layout.unpack_from(self._data, self._at)
        self._at += layout.size
        return found

    def u16(self) -> int:
        """A number of two bytes."""
        return int(self.numbers(_U16)[0])

    def u64(self) -> int:
        """A number of eight bytes."""
        return int(self.numbers(_U64)[0])

    def block(self) -> bytes:
        """Bytes with their length before them; struct.error where some are missing."""
        (length,) = self.numbers(_U32)
        end = self._at + length
        if end > len(self._data):
            raise struct.error(f'expected {length} bytes, came {len(self._data) - self._at}')
        found, self._at = self._data[self._at : end], end
        return found

    def text(self) -> str:
        """A string; UnicodeDecodeError where it is none."""
        return self.block().decode()

    def rest(self) -> bytes:
        """All that is left."""
        return self._data[self._at :]
