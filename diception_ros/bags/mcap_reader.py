# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads MCAP files by their index or from the beginning, up to where they are cut off.

The records are those of the `mcap` package. Its readers raise at a chunk that is cut off and
decompress without a limit, so chunks are taken apart here.
"""

from __future__ import annotations

from collections.abc import Iterator
import functools
import io
from pathlib import Path
from typing import BinaryIO
import zlib

from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.stream_reader import StreamReader

from diception_ros.bags.chunks import (
    FAULTS,
    Block,
    Channel,
    Contents,
    CutError,
    Selection,
    Unpacker,
    by_time,
    located,
    seek,
)
from diception_ros.bags.mcap_writer import END_SIZE, MAGIC, MESSAGE_HEAD, PREFIX
from diception_ros.bags.typestore import Definition, RawMessage

# A record that claims to be longer was never written as one, bytes.
MAX_RECORD = 1 << 40


class Mcap:
    """An MCAP file. Source: mcap.dev/spec."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._schemas: dict[int, Definition] = {}
        self._channels: dict[int, Channel] = {}
        self._chunks: list[records.ChunkIndex] = []

    def contents(self) -> Contents:
        """What the summary lists; CutError without one."""
        found, statistics = Contents(), None
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
            found.counts[channel] += statistics.channel_message_counts.get(number, 0)
        if statistics.message_count:
            found.span(statistics.message_start_time, statistics.message_end_time)
        return found

    def messages(self, selection: Selection, unpack: Unpacker) -> Iterator[RawMessage]:
        """The selected messages by log time."""
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
        """All messages in the order of the file, as many as there are of one that is cut off."""
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
            found = [raw for raw in self._inside(data, cut, unpack) if selection.takes(raw)]
        return sorted(found, key=lambda raw: raw.stamp_ns)

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
