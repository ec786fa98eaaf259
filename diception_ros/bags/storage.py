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

from diception_ros.bags import qos
from diception_ros.bags.chunks import (
    ALL,
    FAULTS,
    Block,
    Channel,
    Contents,
    CutError,
    DamageError,
    LimitError,
    NotABagError,
    Selection,
    Unpacker,
    by_time,
    located,
    seek,
)
from diception_ros.bags.mcap_reader import Mcap
from diception_ros.bags.mcap_writer import MAGIC
from diception_ros.bags.typestore import Definition, RawMessage

SQLITE_MAGIC, ROS1_MAGIC = b'SQLite format 3\0', b'#ROSBAG V2.0\n'
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
# Op codes of records of ROS 1. Source: wiki.ros.org/Bags/Format/2.0.
_ROS1_MESSAGE, _ROS1_HEADER, _ROS1_CHUNK, _ROS1_CHUNK_INFO, _ROS1_CONNECTION = 2, 3, 5, 6, 7
# Page size, change counter, number of pages, and the change for which that holds, in the header of
# a database. Source: sqlite.org/fileformat.html.
_SQLITE_HEAD = struct.Struct('>16xH6xII60xI4x')


class _Ros1:
    """A bag of ROS 1. Source: wiki.ros.org/Bags/Format/2.0."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connections: dict[int, Channel] = {}
        self._chunks: list[tuple[int, int, int, set[str]]] = []  # offset, log times, topics

    def contents(self) -> Contents:
        """What the index lists; CutError without one."""
        found, counts = Contents(), dict[int, int]()
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
                        found.span(*times)
        if (len(self._connections), len(self._chunks)) != expected:
            raise CutError('the index is not complete')
        for number, channel in self._connections.items():
            found.counts[channel] += counts.get(number, 0)
        return found

    def messages(self, selection: Selection, unpack: Unpacker) -> Iterator[RawMessage]:
        """The selected messages by log time."""
        yield from by_time(
            Block(start, functools.partial(self._chunk, at, selection, unpack))
            for at, start, end, topics in self._chunks
            if selection.meets(start, end)
            and (selection.topics is None or topics & {*selection.topics})
        )

    def scan(self, unpack: Unpacker) -> Iterator[RawMessage]:
        """All messages in the order of the file, as many as there are of one that is cut off."""
        size = self.path.stat().st_size
        with self.path.open('rb') as file:
            file.readline()
            while (at := file.tell()) != size:
                with located(at):
                    yield from self._record(file, unpack)

    def has_end(self) -> bool:
        """Whether the file has an index."""
        try:
            _Ros1(self.path).contents()
        except FAULTS:
            return False
        return True

    def _chunk(self, at: int, selection: Selection, unpack: Unpacker) -> list[RawMessage]:
        with self.path.open('rb') as file, located(at):
            seek(file, at)
            found = [raw for raw in self._record(file, unpack) if selection.takes(raw)]
        return sorted(found, key=lambda raw: raw.stamp_ns)

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
            qos.to_text(qos.Offered(latched=header.get('latching') == b'1')),
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


class _Sqlite:
    """A database of rosbag2."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def contents(self) -> Contents:
        """What the tables hold; CutError if pages are missing."""
        with self.path.open('rb') as file:
            page, change, pages, valid = _SQLITE_HEAD.unpack(file.read(_SQLITE_HEAD.size))
        page = 65536 if page == 1 else page
        if change == valid and page * pages > self.path.stat().st_size:
            raise CutError('pages are missing')
        found = Contents()
        with self._opened() as base:
            for number, channel in self._channels(base).items():
                count, low, high = base.execute(
                    'SELECT count(*), min(timestamp), max(timestamp) FROM messages '
                    'WHERE topic_id = ?', (number,),
                ).fetchone()  # fmt: skip
                found.counts[channel] += count
                if count:
                    found.span(low, high)
        return found

    def messages(self, selection: Selection, unpack: Unpacker) -> Iterator[RawMessage]:
        """The selected messages by log time."""
        return self._rows(selection)

    def scan(self, unpack: Unpacker) -> Iterator[RawMessage]:
        """All messages in the order of the file; no index is used, which may be cut off."""
        return self._rows(None)

    def has_end(self) -> bool:
        """Whether no page is missing."""
        try:
            self.contents()
        except FAULTS:
            return False
        return True

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        address = f'{self.path.absolute().as_uri()}?immutable=1'
        with contextlib.closing(sqlite3.connect(address, uri=True)) as base:
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
        found = {}
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
            found[number] = Channel(
                name, definition, encoding, text_of_qos if isinstance(text_of_qos, str) else ''
            )
        return found

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


def _format_of(path: Path) -> Mcap | _Sqlite | _Ros1:
    with path.open('rb') as file:
        start = file.read(len(SQLITE_MAGIC))
    if start.startswith(MAGIC):
        return Mcap(path)
    if start == SQLITE_MAGIC:
        return _Sqlite(path)
    if start.startswith(ROS1_MAGIC):
        return _Ros1(path)
    raise NotABagError(f'not a bag (its first bytes are {start[:8].hex(" ") or "missing"})')


class Storage:
    """One file of a bag.

    Args:
        path: where its bytes are.
        name: of the file in messages, that of the compressed one where it was decompressed.
        fault: what is known to be wrong with it.

    Attributes:
        contents: what it holds.
        damage: where it cannot be read any further; known from the beginning if it has no index.

    Raises:
        ValueError: it is no file of a bag.
    """

    def __init__(
        self, path: Path, name: Path | None = None, fault: DamageError | None = None
    ) -> None:
        self.name, self.damage = name or path, fault
        self._size = path.stat().st_size
        self.contents = Contents()
        if fault is not None and not self._size:
            return
        try:
            self._format = _format_of(path)
            try:
                self.contents = self._format.contents()
                self._indexed = True
            except NotABagError:
                raise
            except FAULTS:
                self._indexed = False
                self._format = _format_of(path)  # without what it read of an index
                self._scan_contents()
        except NotABagError as error:
            raise ValueError(f'{self.name}: {error}') from error

    def read(self, selection: Selection = ALL) -> Iterator[RawMessage]:
        """The selected messages by log time; without an index in the order of the file.

        Raises:
            DamageError: the file cannot be read any further.
        """
        if not self.contents.counts:
            return
        if self._indexed:
            unpack = Unpacker(self._size)
            yield from self._counted(self._format.messages(selection, unpack), unpack)
        else:
            yield from filter(selection.takes, self.scan())

    def scan(self) -> Iterator[RawMessage]:
        """All messages in the order of the file, without its index.

        Raises:
            DamageError: the file cannot be read any further.
        """
        unpack = Unpacker(self._size)
        return self._counted(self._format.scan(unpack), unpack)

    def _counted(self, messages: Iterator[RawMessage], unpack: Unpacker) -> Iterator[RawMessage]:
        """The messages, unpacked; what is wrong is raised with its place."""
        count, last = 0, ''
        try:
            for raw in messages:
                if raw.data[:4] == ZSTD_MAGIC:  # rosbag2 compresses by message, too
                    data, problem = unpack(raw.data, 'zstd')
                    if problem:
                        raise CutError(problem)
                    raw = raw._replace(data=data)
                yield raw
                count, last = count + 1, f', the last logged at {raw.stamp_ns / 1e9:.9f}'
        except LimitError as error:
            raise DamageError(f'{self.name}: refused after {count} messages: {error}') from error
        except (*FAULTS, MemoryError) as error:
            at = error.at if isinstance(error, CutError) else None
            place = '' if at is None else f' at byte {at} of {self._size},'
            raise DamageError(
                f'{self.name}: damaged{place} after {count} messages{last} '
                f'({str(error) or type(error).__name__})'
            ) from error

    def _scan_contents(self) -> None:
        try:
            for raw in self.scan():
                self.contents.counts[
                    Channel(raw.topic, raw.definition, raw.encoding, raw.qos)
                ] += 1
                self.contents.span(raw.stamp_ns, raw.stamp_ns)
            if not self._format.has_end():
                raise DamageError(f'{self.name}: damaged behind its last message')
        except DamageError as damage:
            self.damage = self.damage or damage


def scan(path: Path) -> Iterator[RawMessage]:
    """All messages of a file in its order, without its index; see `Storage.scan`."""
    return Storage(path).scan()
