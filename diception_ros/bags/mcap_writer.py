# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes MCAP files so that a killed writer can be resumed.

The records are those of the `mcap` package (mcap.dev/spec). Its own writer cannot continue a file,
and copies every message twice; so chunks and the summary are put together here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import io
import os
from pathlib import Path
import struct
from typing import Any, BinaryIO, NamedTuple
import zlib

from mcap import records
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.exceptions import McapError
from mcap.opcode import Opcode
import numpy as np

from diception_ros.bags.channels import OfferedQos, qos_to_text, zstd
from diception_ros.bags.typestore import TYPES, Definition, definition_of
from diception_ros.system import files

MAGIC = b'\x89MCAP0\r\n'
LIBRARY = 'diception_ros'
# Op code and length of a record.
PREFIX = struct.Struct('<BQ')
# Channel, sequence number, log time and publish time of a message.
MESSAGE_HEAD = struct.Struct('<HIQQ')
# First and last log time, size before compression and its checksum.
CHUNK_HEAD = struct.Struct('<QQQI')
_U32, _U64 = struct.Struct('<I'), struct.Struct('<Q')
# Footer record and magic at the end of a finished file.
END_SIZE = PREFIX.size + 20 + len(MAGIC)
# Bytes of a chunk record that hold its head; the name of a compression is short.
CHUNK_HEAD_SIZE = 256
# Level of zstd: on depth and label maps 1 is as small as 3, and twice as fast.
LEVEL = 1
# Parts of a message that are longer are copied by numpy, bytes: below, calling it takes as long.
LONG = 1 << 14
# Bytes after which `write_message` flushes; what rosbag2 writes at a time.
CHUNK = 1 << 20


class Declared(NamedTuple):
    """A schema or a channel in a file.

    Attributes:
        number: its id.
        data: its record.
        schema: of a channel, the id of its schema; 0 of a schema.
    """

    number: int
    data: bytes
    schema: int = 0


class Index:
    """Topics and chunks of one file, as its summary lists them."""

    def __init__(self) -> None:
        self._schemas: dict[Definition, Declared] = {}
        self._channels: dict[str, Declared] = {}
        self._chunks: list[records.ChunkIndex] = []
        self._counts: dict[int, int] = {}

    def add(self, topic: str, definition: Definition, offered: str, encoding: str) -> list[bytes]:
        """Add a topic; returns the records that declare it, none if it is known.

        Raises:
            ValueError: the topic has messages of another type.
        """
        known = self._channels.get(topic)
        if known is not None:
            before = {schema.number: each.name for each, schema in self._schemas.items()}
            if before[known.schema] != definition.name:
                raise ValueError(
                    f'topic {topic} has messages of two kinds, one of them {definition.name}'
                )
            return []
        new = []
        schema = self._schemas.get(definition)
        if schema is None:
            number = len(self._schemas) + 1
            record = records.Schema(number, definition.data, definition.encoding, definition.name)
            schema = self._schemas[definition] = Declared(number, packed(record))
            new.append(schema.data)
        number = len(self._channels) + 1
        metadata = {'offered_qos_profiles': offered} if encoding == 'cdr' else {}
        channel = records.Channel(number, topic, encoding, metadata, schema.number)
        self._channels[topic] = Declared(number, packed(channel), schema.number)
        self._counts[number] = 0
        return [*new, self._channels[topic].data]

    def channel(self, topic: str) -> int:
        """The id of the channel of a topic that was added."""
        return self._channels[topic].number

    def add_chunk(self, chunk: records.ChunkIndex, counts: Mapping[int, int]) -> None:
        """Add a chunk with so many messages of each channel."""
        self._chunks.append(chunk)
        for number, count in counts.items():
            self._counts[number] += count

    def ending(self, at: int) -> bytes:
        """All that stands behind the last chunk of a finished file, from the offset `at`."""
        data_end = packed(records.DataEnd(0))
        starts = [chunk.message_start_time for chunk in self._chunks]
        ends = [chunk.message_end_time for chunk in self._chunks]
        statistics = records.Statistics(
            attachment_count=0, channel_count=len(self._channels),
            channel_message_counts=dict(sorted(self._counts.items())),
            chunk_count=len(self._chunks), message_count=sum(self._counts.values()),
            message_end_time=max(ends, default=0), message_start_time=min(starts, default=0),
            metadata_count=0, schema_count=len(self._schemas),
        )  # fmt: skip
        start = place = at + len(data_end)
        parts = [
            (Opcode.SCHEMA, b''.join(each.data for each in self._schemas.values())),
            (Opcode.CHANNEL, b''.join(each.data for each in self._channels.values())),
            (Opcode.CHUNK_INDEX, b''.join(map(packed, self._chunks))),
            (Opcode.STATISTICS, packed(statistics)),
        ]
        offsets = b''
        for code, part in parts:
            if part:
                offsets += packed(records.SummaryOffset(code, place, len(part)))
            place += len(part)
        summary = b''.join(part for _, part in parts) + offsets
        footer = packed(records.Footer(start, place, 0))[: -_U32.size]
        return data_end + summary + footer + _U32.pack(zlib.crc32(summary + footer)) + MAGIC

    @classmethod
    def read(cls, file: BinaryIO, end: int) -> Index:
        """Topics and chunks of a file that was written as far as `end`, which is behind a chunk.

        Raises:
            ValueError: it is no such file; the message names the fault.
        """
        index = cls()
        file.seek(len(MAGIC))
        try:
            while file.tell() < end:
                index._read_record(file, end)
        except (McapError, struct.error, UnicodeDecodeError, IndexError, KeyError) as error:
            raise ValueError(str(error)) from error
        return index

    def _read_record(self, file: BinaryIO, limit: int) -> None:
        start = file.tell()
        code, length = PREFIX.unpack(file.read(PREFIX.size))
        end = start + PREFIX.size + length
        if end > limit:
            raise struct.error(f'a record at {start} goes beyond {limit}')
        data = file.read(min(length, CHUNK_HEAD_SIZE) if code == Opcode.CHUNK else length)
        stream, whole = ReadDataStream(io.BytesIO(data)), PREFIX.pack(code, length) + data
        if code == Opcode.SCHEMA:
            schema = records.Schema.read(stream)
            definition = Definition(schema.name, schema.encoding, schema.data)
            self._schemas[definition] = Declared(schema.id, whole)
        elif code == Opcode.CHANNEL:
            channel = records.Channel.read(stream)
            self._channels[channel.topic] = Declared(channel.id, whole, channel.schema_id)
            self._counts[channel.id] = 0
        elif code == Opcode.CHUNK:
            low, high, size, _ = CHUNK_HEAD.unpack(stream.read(CHUNK_HEAD.size))
            name, length = stream.read_prefixed_string(), stream.read8()
            self._chunks.append(
                records.ChunkIndex(end - start, start, name, length, high, 0, {}, low, size)
            )
        elif code == Opcode.MESSAGE_INDEX:
            entry, last = records.MessageIndex.read(stream), self._chunks[-1]
            self._counts[entry.channel_id] += len(entry.records)
            last.message_index_offsets[entry.channel_id] = start
            last.message_index_length = end - last.chunk_start_offset - last.chunk_length
        file.seek(end)


class Writer(contextlib.AbstractContextManager['Writer']):
    """Writes an MCAP file, chunk by chunk; use it in a `with`.

    What was flushed is in `out.partial.mcap`, a file that tools for MCAP read even without an end.
    `finish` completes it and gives it its name. If the `with` is left otherwise, the partial file
    stays, with an index if there is room for it.

    Args:
        path: of the finished file.
        at: offset in the partial file at which to resume; what stands behind is dropped. 0: begin
            a new file.
        compress: chunks by zstd.
        advice: appended to the error if there is no room.

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
        # Not emptied before it is clear that no other process writes it.
        self._file = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666), 'r+b')
        try:
            files.lock(self._file, f'{self.partial}: another process writes it; wait for its end')
            if at:
                self._recover(at)
            else:
                self._file.truncate(0)
                self._append(MAGIC + packed(records.Header('ros2', LIBRARY)))
        except BaseException:
            self._file.close()
            raise

    def add(
        self,
        topic: str,
        msgtype: str,
        definition: str | Definition,
        offered: str = '',
        encoding: str = 'cdr',
    ) -> None:
        """Declare a topic; does nothing if it is declared.

        Args:
            topic: its name.
            msgtype: of its messages.
            definition: of that type, with all that it needs; a text in the language of .msg files
                or of IDL.
            offered: quality of service of its publishers, see `qos_to_text`; '' is the default.
            encoding: of the messages.

        Raises:
            ValueError: the topic has messages of another type.
        """
        if isinstance(definition, str):
            definition = Definition.of_text(msgtype, definition)
        offered = offered or qos_to_text(OfferedQos())
        self._head += self._index.add(topic, definition, offered, encoding)

    def write(
        self, topic: str, data: bytes | memoryview, stamp_ns: int, rest: bytes | memoryview = b''
    ) -> None:
        """Write a message to a topic that was added; the log time is nanoseconds since the epoch.

        `data` and `rest`, which is behind it where it lies elsewhere, must not change before the
        next flush.
        """
        number = self._index.channel(topic)
        self._places.setdefault(number, []).append((stamp_ns, self._size))
        length = MESSAGE_HEAD.size + len(data) + len(rest)
        head = PREFIX.pack(Opcode.MESSAGE, length)
        head += MESSAGE_HEAD.pack(number, 0, stamp_ns, stamp_ns)
        self._body += [head, data, rest]
        self._size += PREFIX.size + length
        low, high = self._times or (stamp_ns, stamp_ns)
        self._times = min(low, stamp_ns), max(high, stamp_ns)

    def write_message(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Declare the topic and write a message of `TYPES`; flushes when a chunk is full."""
        msgtype = message.__msgtype__
        self.add(topic, msgtype, definition_of(TYPES, msgtype))
        self.write(topic, TYPES.serialize_cdr(message, msgtype), stamp_ns)
        if self.waiting >= CHUNK:
            self.flush()

    @property
    def waiting(self) -> int:
        """Bytes that were written and not flushed."""
        return self._size

    def flush(self) -> int:
        """Put all that was written into the file; returns the length of the file.

        Raises:
            OSError: there is no room; the file ends with what was flushed before.
        """
        data: list[bytes | memoryview] = [*self._head]
        chunk = None
        at = self._end + sum(map(len, data))
        if self._times is not None:
            body = self._joined()
            content = zstd.compress(body, LEVEL) if self._compress else body
            name = 'zstd' if self._compress else ''
            head = CHUNK_HEAD.pack(*self._times, len(body), zlib.crc32(body))
            head += _U32.pack(len(name)) + name.encode() + _U64.pack(len(content))
            head = PREFIX.pack(Opcode.CHUNK, len(head) + len(content)) + head
            data += [head, content]
            length = len(head) + len(content)
            offsets, end = {}, at + length
            for number, entries in self._places.items():
                offsets[number] = end
                data.append(packed(records.MessageIndex(number, entries)))
                end += len(data[-1])
            low, high = self._times
            chunk = records.ChunkIndex(
                length, at, name, len(content), high, end - at - length, offsets, low, len(body)
            )
        self._append(*data)
        if chunk is not None:
            self._index.add_chunk(chunk, {n: len(each) for n, each in self._places.items()})
        self._head, self._body, self._places, self._times = [], [], {}, None
        self._size = 0
        return self._end

    def sync(self) -> None:
        """Wait until what was flushed is on the disk; OSError if there is no room."""
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Complete the file and give it its name; OSError if there is no room."""
        self.flush()
        self._seal()
        self.sync()
        self._file.close()
        self.partial.replace(self.path)
        self._finished = True

    def __exit__(self, *_: object) -> None:
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
        """The body of the next chunk in one piece, valid until the next call."""
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


@contextlib.contextmanager
def create(path: Path, force: bool = False) -> Iterator[Writer]:
    """Write a new bag; it appears under its name when the `with` ends without an error.

    After an error nothing is left of it.

    Args:
        path: of the file, ending in .mcap.
        force: replace an existing file.

    Raises:
        ValueError: the name does not end in .mcap.
        FileExistsError: something exists under the name, and `force` is not given or it is no
            file.
        BlockingIOError: another process writes it.
    """
    if path.suffix != '.mcap':
        raise ValueError(f'{path}: expected a name that ends in .mcap')
    if path.exists() and not (force and path.is_file()):
        hint = '; --force replaces it' if path.is_file() else ' and is no file'
        raise FileExistsError(f'{path} exists{hint}')
    with Writer(path) as writer:
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.partial.unlink(missing_ok=True)
            raise


def partial_of(path: Path) -> Path:
    """Name of a file until it is finished: 'out.partial.mcap' of 'out.mcap'."""
    return path.with_name(f'{path.stem}.partial{path.suffix}')


def packed(record: records.McapRecord) -> bytes:
    """A record as bytes."""
    builder: Any = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())
