# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes one .mcap file so that it can be killed at any moment and go on where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
import os
from pathlib import Path
import struct
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
import zlib

import numpy as np

from diception_ros.system import files

# The records of an MCAP file, as bytes.
#
# rosbags writes MCAP, too, but a file that it did not finish cannot be opened again, neither to go
# on nor to be read. So what has to survive the loss of power is laid out here.
#
# Source: the MCAP specification, mcap.dev/spec.


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


def schema_record(number: int, kind: str, definition: str) -> bytes:
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
            raise struct.error(f'expected {length} bytes, got {len(self._data) - self._at}')
        found, self._at = self._data[self._at : end], end
        return found

    def text(self) -> str:
        """A string; UnicodeDecodeError where it is none."""
        return self.block().decode()

    def rest(self) -> bytes:
        """All that is left."""
        return self._data[self._at :]


# What an MCAP file holds and where: kept while it is written, or read again from what was.


# What the node offers; of what is said once, the last message is kept for those who come later.
QOS = """\
- history: keep_last
  depth: {depth}
  reliability: reliable
  durability: {durability}
  deadline: {{sec: 9223372036, nsec: 854775807}}
  lifespan: {{sec: 9223372036, nsec: 854775807}}
  liveliness: automatic
  liveliness_lease_duration: {{sec: 9223372036, nsec: 854775807}}
  avoid_ros_namespace_conventions: false"""


class Index:
    """Topics and chunks of one file, as its summary tells them."""

    def __init__(self) -> None:
        self._schemas: dict[str, tuple[int, bytes]] = {}
        self._channels: dict[str, tuple[int, bytes]] = {}
        self._chunks: list[Chunk] = []
        self._counts: dict[int, int] = {}

    def add(self, topic: str, kind: str, definition: str, latched: bool) -> list[bytes]:
        """Take a topic in; the records that declare it, none where it is known.

        Args, Raises: as `writer.Writer.add`.
        """
        new = []
        if kind not in self._schemas:
            number = len(self._schemas) + 1
            self._schemas[kind] = number, schema_record(number, kind, definition)
            new.append(self._schemas[kind][1])
        schema = self._schemas[kind][0]
        if topic in self._channels:
            known = Cursor(self._channels[topic][1][PREFIX.size + 2 :]).u16()
            if known != schema:
                raise ValueError(f'topic {topic} has messages of two kinds, one of them {kind}')
            return new
        number = len(self._channels) + 1
        qos = QOS.format(
            depth=1 if latched else 10, durability='transient_local' if latched else 'volatile'
        )
        self._channels[topic] = number, channel(number, schema, topic, qos)
        self._counts[number] = 0
        return [*new, self._channels[topic][1]]

    def channel(self, topic: str) -> int:
        """The number of a topic that was added."""
        return self._channels[topic][0]

    def add_chunk(self, chunk: Chunk, messages: Mapping[int, int]) -> None:
        """Take a chunk in that has so many messages of each channel."""
        self._chunks.append(chunk)
        for number, count in messages.items():
            self._counts[number] += count

    def ending(self, at: int) -> bytes:
        """All that stands behind the last chunk of a finished file.

        Args:
            at: where that begins.
        """
        data_end = record(DATA_END, bytes(4))
        start = place = at + len(data_end)
        parts = [
            (SCHEMA, b''.join(one for _, one in self._schemas.values())),
            (CHANNEL, b''.join(one for _, one in self._channels.values())),
            (CHUNK_INDEX, b''.join(map(chunk_index, self._chunks))),
            (STATISTICS,
             statistics(self._counts, len(self._schemas), self._chunks)),
        ]  # fmt: skip
        offsets = b''
        for code, part in parts:
            if part:
                offsets += summary_offset(code, place, len(part))
            place += len(part)
        summary = b''.join(part for _, part in parts) + offsets
        footer = PREFIX.pack(FOOTER, 20) + struct.pack('<QQ', start, place)
        check = struct.pack('<I', zlib.crc32(summary + footer))
        return data_end + summary + footer + check + MAGIC

    @classmethod
    def read(cls, file: BinaryIO, end: int) -> Index:
        """What was taken in while a file was written.

        Args:
            file: written as far as `end`, which is behind a chunk.
            end: where reading ends.

        Raises:
            ValueError: it is no such file; the message says what is wrong.
        """
        index = cls()
        file.seek(len(MAGIC))
        try:
            while file.tell() < end:
                index._read_record(file, end)
        except (struct.error, UnicodeDecodeError, IndexError, KeyError) as error:
            raise ValueError(str(error)) from error
        return index

    def _read_record(self, file: BinaryIO, limit: int) -> None:
        start = file.tell()
        code, length = PREFIX.unpack(file.read(PREFIX.size))
        end = start + PREFIX.size + length
        if end > limit:
            raise struct.error(f'a record at {start} goes beyond {limit}')
        # Of a chunk the head is enough.
        data = file.read(min(length, 256) if code == CHUNK else length)
        fields = Cursor(data)
        whole = PREFIX.pack(code, length) + data
        if code == SCHEMA:
            number, kind = fields.u16(), fields.text()
            self._schemas[kind] = number, whole
        elif code == CHANNEL:
            number, _, topic = fields.u16(), fields.u16(), fields.text()
            self._channels[topic] = number, whole
            self._counts[number] = 0
        elif code == CHUNK:
            low, high, size, _ = fields.numbers(CHUNK_HEAD)
            name, packed = fields.text(), fields.u64()
            self._chunks.append(Chunk(low, high, start, end - start, {}, 0, name, packed, size))
        elif code == MESSAGE_INDEX:
            number, last = fields.u16(), self._chunks[-1]
            self._counts[number] += len(fields.block()) // 16
            self._chunks[-1] = last._replace(
                places={**last.places, number: start},
                places_length=end - last.offset - last.length,
            )
        file.seek(end)


if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

# Of zstd: on depth and label maps 1 is as small as 3, and twice as fast.
LEVEL = 1
# Parts of a message that are longer are copied by numpy, bytes: below, calling it takes as long.
LONG = 1 << 14


def partial_of(path: Path) -> Path:
    """Where a file is while it is not finished: 'out.mcap' is 'out.partial.mcap' until then."""
    return path.with_name(f'{path.stem}.partial{path.suffix}')


class Writer:
    """Writes an .mcap file, chunk by chunk; use it in a `with`.

    What was flushed is in `out.partial.mcap`, a file that tools for MCAP read even if it has no
    end. `finish` gives it one and its name. What leaves the `with` otherwise keeps the partial
    file, with an index if there is room for it.

    Args:
        path: of the finished file.
        at: where a partial file is to go on: all after this offset is dropped. 0: begin anew.
        compress: chunks by zstd.
        advice: what is said where there is no room.

    Raises:
        ValueError: the partial file is shorter, or not such a file.
        BlockingIOError: another process writes it.
    """

    def __init__(
        self, path: Path, at: int = 0, compress: bool = True, advice: str = 'Make room'
    ) -> None:
        self.path, self.partial, self._advice = path, partial_of(path), advice
        self._compress = compress
        self._index = Index()
        self._head: list[bytes] = []  # records that stand before the next chunk
        self._body: list[bytes | memoryview] = []  # of the next chunk, not copied: it is large
        self._room = np.empty(0, np.uint8)  # where the body is put together, kept for the next one
        self._size = 0
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._times: tuple[int, int] | None = None
        self._finished = False
        self._file: BinaryIO
        # Not emptied before it is clear that nobody else writes it.
        self._file = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666), 'r+b')
        try:
            files.lock(self._file, f'{self.partial}: another replay writes it; wait for its end')
            if at:
                self._recover(at)
            else:
                self._file.truncate(0)
                self._append(MAGIC + header())
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def add(self, topic: str, kind: str, definition: str, latched: bool = False) -> None:
        """Declare a topic; nothing happens where it is there already.

        Args:
            topic: its name.
            kind: of its messages.
            definition: of that kind, the text of the .msg file with all that it needs.
            latched: the last message holds until the next.

        Raises:
            ValueError: the topic has messages of another kind.
        """
        self._head += self._index.add(topic, kind, definition, latched)

    def write(
        self, topic: str, data: bytes | memoryview, stamp_ns: int, rest: bytes | memoryview = b''
    ) -> None:
        """Write a message.

        Args:
            topic: that was added.
            data: the message, CDR; must not change before the next flush.
            stamp_ns: log time, nanoseconds since the epoch.
            rest: of the message, behind `data`, where it lies elsewhere; must not change either.
        """
        number = self._index.channel(topic)
        self._places.setdefault(number, []).append((stamp_ns, self._size))
        length = len(data) + len(rest)
        head = message_head(number, stamp_ns, length)
        self._body += [head, data, rest]
        self._size += len(head) + length
        low, high = self._times or (stamp_ns, stamp_ns)
        self._times = min(low, stamp_ns), max(high, stamp_ns)

    @property
    def waiting(self) -> int:
        """Bytes that were written and not flushed."""
        return self._size

    def flush(self) -> int:
        """Put all that was written into the file; returns how long the file is then.

        Raises:
            OSError: there is no room; the file ends with what was flushed before.
        """
        data: list[bytes | memoryview] = [*self._head]
        chunk = None
        at = self._end + sum(map(len, data))
        if self._times is not None:
            body = self._joined()
            packed = zstd.compress(body, LEVEL) if self._compress else body
            name = 'zstd' if self._compress else ''
            head = chunk_head((*self._times, len(body), zlib.crc32(body)), name, len(packed))
            data += [head, packed]
            length = len(head) + len(packed)
            places, first = {}, at + length
            end = first
            for number, entries in self._places.items():
                places[number] = end
                data.append(message_index(number, entries))
                end += len(data[-1])
            chunk = Chunk(
                *self._times, at, length, places, end - first, name, len(packed), len(body)
            )
        self._append(*data)
        if chunk is not None:
            self._index.add_chunk(chunk, {n: len(each) for n, each in self._places.items()})
        self._head, self._body, self._places, self._times = [], [], {}, None
        self._size = 0
        return self._end

    def sync(self) -> None:
        """Wait until what was flushed is on the disk.

        Raises:
            OSError: there is no room.
        """
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Complete the file and give it its name.

        Raises:
            OSError: there is no room.
        """
        self.flush()
        self._seal()
        self.sync()
        self._file.close()
        self.partial.replace(self.path)
        self._finished = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._finished:
            # Without an index it can still be read from its beginning.
            with contextlib.suppress(OSError):
                self._seal()
            with contextlib.suppress(OSError):
                self._file.close()

    def _append(self, *data: bytes | memoryview) -> None:
        end = self._file.tell()
        try:
            self._file.writelines(data)
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # what is in Python's buffer may fail once more
                self._file.close()
            os.truncate(self.partial, end)
            self._file = self.partial.open('r+b')
            self._file.seek(end)
            raise OSError(
                error.errno,
                f'{error.strerror} while writing {self.partial}; what was finished is in it. '
                f'{self._advice}',
            ) from error
        self._end = end + sum(map(len, data))

    def _seal(self) -> None:
        """Write the summary behind what was flushed."""
        end = self._file.tell()
        self._append(self._index.ending(end))
        # What is written next replaces it.
        self._file.seek(end)

    def _joined(self) -> memoryview:
        """The body of the next chunk in one piece, until the next call."""
        if len(self._room) < self._size:
            self._room = np.empty(self._size, np.uint8)
        room: memoryview = self._room.data
        at = 0
        for part in self._body:
            end = at + len(part)
            if len(part) > LONG:
                # By numpy, which lets other threads run meanwhile.
                self._room[at:end] = np.frombuffer(part, np.uint8)
            else:
                room[at:end] = part
            at = end
        return room[:at]

    def _recover(self, at: int) -> None:
        if os.fstat(self._file.fileno()).st_size < at:
            raise ValueError(f'{self.partial}: shorter than it was; begin anew with --force')
        self._file.truncate(at)
        self._end = at
        try:
            self._index = Index.read(self._file, at)
        except ValueError as error:
            raise ValueError(f'{self.partial}: not as it was left ({error})') from error
        self._file.seek(at)


def definition_of(store: Any, kind: str) -> str:
    """The text that defines a kind of message, with all that it needs."""
    found = store.generate_msgdef(kind, ros_version=2)[0]
    return str(found)
