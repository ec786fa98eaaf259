# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The files of bags: MCAP, SQLite and ROS 1, read by their index or, without one, by a scan.

A file is damaged where its bytes contradict the format, and it is read up to there. What is in it
does not matter here: topics of unknown types and encodings are read like all others.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import functools
import io
from pathlib import Path
import sqlite3
import struct
from typing import BinaryIO
import zlib

from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.stream_reader import StreamReader

from diception_ros.bags.channels import (
    FAULTS,
    Block,
    Channel,
    Contents,
    CutError,
    NotABagError,
    OfferedQos,
    Selection,
    Unpacker,
    by_time,
    located,
    qos_to_text,
    seek,
)
from diception_ros.bags.mcap_writer import END_SIZE, LIBRARY, MAGIC, MESSAGE_HEAD, PREFIX, packed
from diception_ros.bags.typestore import Definition, RawMessage

# A record that claims to be longer was never written as one, bytes.
MAX_RECORD = 1 << 40


class Format:
    """A file of a bag."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def contents(self) -> Contents:
        """What its index or its tables list; CutError without one, or if pages are missing."""
        raise NotImplementedError

    def messages(self, selection: Selection, unpack: Unpacker) -> Iterator[RawMessage]:
        """The selected messages by log time, after `contents`."""
        raise NotImplementedError

    def scan(self, unpack: Unpacker) -> Iterator[RawMessage]:
        """All messages in the order of the file, as many as there are of one that is cut off."""
        raise NotImplementedError

    def has_end(self) -> bool:
        """Whether the file has an index, or all of its pages."""
        try:
            type(self)(self.path).contents()
        except FAULTS:
            return False
        return True


class Mcap(Format):
    """An MCAP file. Source: mcap.dev/spec.

    The records are those of the `mcap` package. Its readers raise at a chunk that is cut off and
    decompress without a limit, so chunks are taken apart here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._schemas: dict[int, Definition] = {}
        self._channels: dict[int, Channel] = {}
        self._chunks: list[records.ChunkIndex] = []

    def contents(self) -> Contents:
        contents, statistics = Contents(), None
        with self.path.open('rb') as file:
            start = self._footer(file).summary_start
            if not start:
                raise CutError('it has no summary')
            seek(file, start)
            summary = file.read()
        for record in StreamReader(io.BytesIO(summary), skip_magic=True).records:
            if isinstance(record, records.Statistics):
                statistics = record
            elif isinstance(record, records.ChunkIndex):
                self._chunks.append(record)
            else:
                self._declare(record)
        if statistics is None or (statistics.message_count and not self._chunks):
            raise CutError('it has no index')
        for number, channel in self._channels.items():
            contents.counts[channel] += statistics.channel_message_counts.get(number, 0)
        if statistics.message_count:
            contents.span(statistics.message_start_time, statistics.message_end_time)
        return contents

    def messages(self, selection: Selection, unpack: Unpacker) -> Iterator[RawMessage]:
        blocks = []
        for chunk in self._chunks:
            numbers = chunk.message_index_offsets
            topics = {self._channels[n].topic for n in numbers if n in self._channels}
            wanted = selection.topics is None or not numbers or topics & {*selection.topics}
            if wanted and selection.meets(chunk.message_start_time, chunk.message_end_time):
                read = functools.partial(self._chunk, chunk.chunk_start_offset, selection, unpack)
                blocks.append(Block(chunk.message_start_time, read))
        yield from by_time(blocks)

    def scan(self, unpack: Unpacker) -> Iterator[RawMessage]:
        size = self.path.stat().st_size
        with self.path.open('rb') as file:
            file.seek(len(MAGIC))
            while True:
                at = file.tell()
                with located(at):
                    code, data, cut = _record(file, size)
                    if code in (Opcode.DATA_END, Opcode.FOOTER):
                        return
                    if code == Opcode.CHUNK:
                        yield from self._inside(data, cut, unpack)
                    else:
                        yield from self._understand(code, data)

    def has_end(self) -> bool:
        """Whether the file has a footer, and a summary that fits its checksum, or none."""
        try:
            with self.path.open('rb') as file:
                self._footer(file)
        except FAULTS:
            return False
        return True

    def _footer(self, file: BinaryIO) -> records.Footer:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - END_SIZE))
        end = file.read()
        if len(end) < END_SIZE or not end.endswith(MAGIC) or end[0] != Opcode.FOOTER:
            raise CutError('it has no end')
        footer: records.Footer = records.Footer.read(
            ReadDataStream(io.BytesIO(end[PREFIX.size :]))
        )
        if footer.summary_start and footer.summary_crc:
            seek(file, footer.summary_start)
            if zlib.crc32(file.read()[: -4 - len(MAGIC)]) != footer.summary_crc:
                raise CutError('the checksum of the summary is wrong')
        return footer

    def _chunk(self, at: int, selection: Selection, unpack: Unpacker) -> list[RawMessage]:
        with self.path.open('rb') as file, located(at):
            seek(file, at)
            code, data, cut = _record(file, self.path.stat().st_size)
            if code != Opcode.CHUNK:
                raise CutError('expected a chunk')
            messages = [raw for raw in self._inside(data, cut, unpack) if selection.takes(raw)]
        return sorted(messages, key=lambda raw: raw.stamp_ns)

    def _inside(self, data: bytes, cut: bool, unpack: Unpacker) -> Iterator[RawMessage]:
        """The messages of a chunk."""
        chunk = records.Chunk.read(ReadDataStream(io.BytesIO(data)))
        plain, problem = unpack(chunk.data, chunk.compression)
        check = chunk.uncompressed_crc
        if not (cut or problem) and check and zlib.crc32(plain) != check:
            # Which of the messages are right is unknown.
            raise CutError('the checksum of a chunk is wrong')
        at = 0
        while at + PREFIX.size <= len(plain):
            code, length = PREFIX.unpack_from(plain, at)
            at += PREFIX.size
            if at + length > len(plain):
                break
            yield from self._understand(code, plain[at : at + length])
            at += length
        if cut or problem or len(plain) != chunk.uncompressed_size:
            raise CutError(problem or 'a chunk ends too early')

    def _understand(self, code: int, data: bytes) -> Iterator[RawMessage]:
        if code == Opcode.MESSAGE:
            number, _, stamp_ns, _ = MESSAGE_HEAD.unpack_from(data)
            if number not in self._channels:
                raise CutError(f'a message is on channel {number}, which was not declared')
            yield self._channels[number].message(stamp_ns, data[MESSAGE_HEAD.size :])
        elif code == Opcode.SCHEMA:
            self._declare(records.Schema.read(ReadDataStream(io.BytesIO(data))))
        elif code == Opcode.CHANNEL:
            self._declare(records.Channel.read(ReadDataStream(io.BytesIO(data))))

    def _declare(self, record: records.McapRecord) -> None:
        if isinstance(record, records.Schema):
            self._schemas[record.id] = Definition(record.name, record.encoding, record.data)
        elif isinstance(record, records.Channel):
            definition = self._schemas.get(record.schema_id, Definition(''))
            ros1 = definition.encoding == 'ros1msg'
            encoding = record.message_encoding or ('ros1' if ros1 else 'cdr')
            offered = record.metadata.get('offered_qos_profiles', '')
            self._channels[record.id] = Channel(record.topic, definition, encoding, offered)


def _record(file: BinaryIO, size: int) -> tuple[int, bytes, bool]:
    """Code and data of a record, and whether it is cut off, which only a chunk may be."""
    head = file.read(PREFIX.size)
    if len(head) < PREFIX.size:
        raise CutError('it ends there')
    code, length = PREFIX.unpack(head)
    if not 1 <= code <= 0x7F or length > MAX_RECORD:
        raise CutError('no record begins there')
    cut = file.tell() + length > size
    if cut and code != Opcode.CHUNK:
        raise CutError(
            'a message ends too early' if code == Opcode.MESSAGE else 'a record ends too early'
        )
    return code, file.read(size if cut else length), cut


SQLITE_MAGIC, ROS1_MAGIC = b'SQLite format 3\0', b'#ROSBAG V2.0\n'
# Op codes of records of ROS 1. Source: wiki.ros.org/Bags/Format/2.0.
_ROS1_MESSAGE, _ROS1_HEADER, _ROS1_CHUNK, _ROS1_CHUNK_INFO, _ROS1_CONNECTION = 2, 3, 5, 6, 7
# Page size, change counter, number of pages, and the change for which that holds, in the header of
# a database. Source: sqlite.org/fileformat.html.
_SQLITE_HEAD = struct.Struct('>16xH6xII60xI4x')


class Ros1(Format):
    """A bag of ROS 1. Source: wiki.ros.org/Bags/Format/2.0."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._connections: dict[int, Channel] = {}
        self._chunks: list[tuple[int, int, int, set[str]]] = []  # offset, log times, topics

    def contents(self) -> Contents:
        contents, counts = Contents(), dict[int, int]()
        with self.path.open('rb') as file:
            file.readline()
            fields, _, _ = _ros1_record(file)
            (index,) = struct.unpack('<Q', fields['index_pos'])
            if not len(ROS1_MAGIC) < index <= self.path.stat().st_size:
                raise CutError('it has no index')
            expected = struct.unpack('<II', fields['conn_count'] + fields['chunk_count'])
            seek(file, index)
            for _ in range(sum(expected)):
                fields, data, cut = _ros1_record(file)
                if cut:
                    raise CutError('the index ends too early')
                if fields['op'][0] == _ROS1_CONNECTION:
                    self._connect(fields, data)
                elif fields['op'][0] == _ROS1_CHUNK_INFO:
                    entries = dict(struct.iter_unpack('<II', data))
                    for number, count in entries.items():
                        counts[number] = counts.get(number, 0) + count
                    times = _ros1_time(fields['start_time']), _ros1_time(fields['end_time'])
                    (at,) = struct.unpack('<Q', fields['chunk_pos'])
                    topics = {self._connections[number].topic for number in entries}
                    self._chunks.append((at, *times, topics))
                    if entries:
                        contents.span(*times)
        if (len(self._connections), len(self._chunks)) != expected:
            raise CutError('the index is not complete')
        for number, channel in self._connections.items():
            contents.counts[channel] += counts.get(number, 0)
        return contents

    def messages(self, selection: Selection, unpack: Unpacker) -> Iterator[RawMessage]:
        yield from by_time(
            Block(start, functools.partial(self._chunk, at, selection, unpack))
            for at, start, end, topics in self._chunks
            if selection.meets(start, end)
            and (selection.topics is None or topics & {*selection.topics})
        )

    def scan(self, unpack: Unpacker) -> Iterator[RawMessage]:
        size = self.path.stat().st_size
        with self.path.open('rb') as file:
            file.readline()
            while (at := file.tell()) != size:
                with located(at):
                    yield from self._record(file, unpack)

    def _chunk(self, at: int, selection: Selection, unpack: Unpacker) -> list[RawMessage]:
        with self.path.open('rb') as file, located(at):
            seek(file, at)
            messages = [raw for raw in self._record(file, unpack) if selection.takes(raw)]
        return sorted(messages, key=lambda raw: raw.stamp_ns)

    def _record(self, file: BinaryIO, unpack: Unpacker) -> Iterator[RawMessage]:
        fields, data, cut = _ros1_record(file)
        problem = ''
        if fields['op'][0] == _ROS1_CHUNK:
            plain, problem = unpack(data, fields['compression'].decode())
            yield from self._inside(plain)
        if cut or problem:
            raise CutError(problem or 'a record ends too early')

    def _inside(self, plain: bytes) -> Iterator[RawMessage]:
        """The messages of a chunk, as many as there are of one that was cut off."""
        file = io.BytesIO(plain)
        while file.tell() < len(plain):
            try:
                fields, data, cut = _ros1_record(file)
            except struct.error:
                return
            if cut:
                return
            (code,) = fields['op']
            if code == _ROS1_CONNECTION:
                self._connect(fields, data)
            elif code == _ROS1_MESSAGE:
                (number,) = struct.unpack('<I', fields['conn'])
                yield self._connections[number].message(_ros1_time(fields['time']), data)

    def _connect(self, fields: dict[str, bytes], data: bytes) -> None:
        (number,) = struct.unpack('<I', fields['conn'])
        header = _ros1_fields(data)
        definition = Definition(
            header['type'].decode(), 'ros1msg', header.get('message_definition', b'')
        )
        self._connections[number] = Channel(
            fields['topic'].decode(), definition, 'ros1',
            qos_to_text(OfferedQos(latched=header.get('latching') == b'1')),
        )  # fmt: skip


def _ros1_record(file: BinaryIO) -> tuple[dict[str, bytes], bytes, bool]:
    """Header and data of a record, and whether the data is cut off."""
    (length,) = struct.unpack('<I', file.read(4))
    header = _read(file, length)
    if len(header) < length:
        raise struct.error('a record ends too early')
    fields = _ros1_fields(header)
    (length,) = struct.unpack('<I', file.read(4))
    data = _read(file, length)
    return fields, data, len(data) < length


def _read(file: BinaryIO, length: int) -> bytes:
    """Up to so many bytes; Python would take memory for all of them first."""
    at = file.tell()
    left = file.seek(0, io.SEEK_END) - at
    file.seek(at)
    return file.read(min(length, left))


def _ros1_fields(data: bytes) -> dict[str, bytes]:
    fields, at = {}, 0
    while at < len(data):
        (size,) = struct.unpack_from('<I', data, at)
        name, equals, value = data[at + 4 : at + 4 + size].partition(b'=')
        if not equals:
            raise CutError('no record begins there')
        fields[name.decode()] = value
        at += 4 + size
    return fields


def _ros1_time(data: bytes) -> int:
    seconds, rest = struct.unpack('<II', data)
    return int(seconds * 10**9 + rest)


class Sqlite(Format):
    """A database of rosbag2."""

    def contents(self) -> Contents:
        with self.path.open('rb') as file:
            page, change, pages, valid = _SQLITE_HEAD.unpack(file.read(_SQLITE_HEAD.size))
        page = 65536 if page == 1 else page
        if change == valid and page * pages > self.path.stat().st_size:
            raise CutError('pages are missing')
        contents = Contents()
        with self._opened() as base:
            for number, channel in self._channels(base).items():
                count, low, high = base.execute(
                    'SELECT count(*), min(timestamp), max(timestamp) FROM messages '
                    'WHERE topic_id = ?', (number,),
                ).fetchone()  # fmt: skip
                contents.counts[channel] += count
                if count:
                    contents.span(low, high)
        return contents

    def messages(self, selection: Selection, unpack: Unpacker) -> Iterator[RawMessage]:
        return self._rows(selection)

    def scan(self, unpack: Unpacker) -> Iterator[RawMessage]:
        # Without an index, which may be cut off.
        return self._rows(None)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # Where a recorder that was killed left a log (WAL), messages or all tables are only there.
        log = self.path.with_name(f'{self.path.name}-wal')
        has_log = log.is_file() and log.stat().st_size > 0
        options = 'mode=ro&vfs=unix-none' if has_log else 'immutable=1'
        address = f'{self.path.absolute().as_uri()}?{options}'
        with contextlib.closing(sqlite3.connect(address, uri=True)) as base:
            if has_log:
                # The log's index stays in memory; otherwise SQLite leaves NAME.db3-shm beside it.
                base.execute('PRAGMA locking_mode=EXCLUSIVE')
            # Without this a file that is shorter than its header says cannot be read at all.
            base.execute('PRAGMA writable_schema=ON')
            # What a schema may name, such as functions of virtual tables, is not trusted.
            base.execute('PRAGMA trusted_schema=OFF')
            yield base

    def _channels(self, base: sqlite3.Connection) -> dict[int, Channel]:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = {row[0] for row in base.execute(tables)}
        if not {'topics', 'messages'} <= names:
            raise NotABagError('an SQLite database without the tables topics and messages')
        for name in names & {'topics', 'messages', 'message_definitions'}:
            # Generated columns and those of virtual tables can be of any size.
            if any(column[6] for column in base.execute(f'PRAGMA table_xinfo({name})')):
                raise NotABagError(f'an SQLite database with a computed column in {name}')
        definitions: dict[str, tuple[str, str]] = {}
        if 'message_definitions' in names:  # of newer bags
            definitions = {
                msgtype: (encoding, text)
                for msgtype, encoding, text in base.execute(
                    'SELECT topic_type, encoding, encoded_message_definition '
                    'FROM message_definitions'
                )
            }
        channels = {}
        columns = {row[1] for row in base.execute('PRAGMA table_info(topics)')}
        offered = 'offered_qos_profiles' if 'offered_qos_profiles' in columns else "''"
        for number, name, msgtype, encoding, text_of_qos in base.execute(
            f'SELECT id, name, type, serialization_format, {offered} FROM topics'
        ):
            # A column of SQLite may hold any type.
            if not all(isinstance(value, str) for value in (name, msgtype, encoding)):
                raise CutError('a topic has no name or type')
            kind, text = definitions.get(msgtype, ('', ''))
            if not (isinstance(kind, str) and isinstance(text, str)):
                raise CutError('a definition is no text')
            definition = Definition(msgtype, kind if text else '', text.encode())
            channels[number] = Channel(
                name, definition, encoding, text_of_qos if isinstance(text_of_qos, str) else ''
            )
        return channels

    def _rows(self, selection: Selection | None) -> Iterator[RawMessage]:
        with self._opened() as base:
            channels = self._channels(base)
            clause = 'ORDER BY id'
            if selection is not None:
                topics = selection.topics
                wanted = [n for n, c in channels.items() if topics is None or c.topic in topics]
                low = 0 if selection.start_ns is None else selection.start_ns
                high = 2**63 if selection.stop_ns is None else selection.stop_ns
                clause = (
                    f'WHERE timestamp BETWEEN {low:d} AND {high - 1:d} AND topic_id IN '
                    f'({", ".join(map(str, wanted))}) ORDER BY timestamp, id'
                )
            query = f'SELECT topic_id, timestamp, data FROM messages {clause}'
            for number, stamp_ns, data in base.execute(query):
                if not (isinstance(stamp_ns, int) and isinstance(data, bytes)):
                    raise CutError('a message is no bytes or has no time')
                if number in channels:
                    yield channels[number].message(stamp_ns, data)


def open_format(path: Path) -> Format:
    """The file of a bag at a path; NotABagError where it is none."""
    with path.open('rb') as file:
        start = file.read(len(SQLITE_MAGIC))
    if start.startswith(MAGIC):
        return Mcap(path)
    if start == SQLITE_MAGIC:
        return Sqlite(path)
    if start.startswith(ROS1_MAGIC):
        return Ros1(path)
    raise NotABagError(f'not a bag (its first bytes are {start[:8].hex(" ") or "missing"})')


def is_complete(path: Path) -> bool:
    """Whether a file was finished by `mcap_writer.Writer`, by its first record and its summary."""
    header = MAGIC + packed(records.Header('ros2', LIBRARY))
    try:
        with path.open('rb') as file:
            return file.read(len(header)) == header and Mcap(path).has_end()
    except OSError:
        return False
