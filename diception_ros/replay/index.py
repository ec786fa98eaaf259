# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What an MCAP file holds and where: kept while it is written, or read again from what was."""

from __future__ import annotations

from collections.abc import Mapping
import struct
from typing import BinaryIO
import zlib

from diception_ros.replay import records
from diception_ros.replay.records import Chunk

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
            self._schemas[kind] = number, records.schema(number, kind, definition)
            new.append(self._schemas[kind][1])
        schema = self._schemas[kind][0]
        if topic in self._channels:
            known = records.Cursor(self._channels[topic][1][records.PREFIX.size + 2 :]).u16()
            if known != schema:
                raise ValueError(f'topic {topic} has messages of two kinds, one of them {kind}')
            return new
        number = len(self._channels) + 1
        qos = QOS.format(
            depth=1 if latched else 10, durability='transient_local' if latched else 'volatile'
        )
        self._channels[topic] = number, records.channel(number, schema, topic, qos)
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
        data_end = records.record(records.DATA_END, bytes(4))
        start = place = at + len(data_end)
        parts = [
            (records.SCHEMA, b''.join(one for _, one in self._schemas.values())),
            (records.CHANNEL, b''.join(one for _, one in self._channels.values())),
            (records.CHUNK_INDEX, b''.join(map(records.chunk_index, self._chunks))),
            (records.STATISTICS,
             records.statistics(self._counts, len(self._schemas), self._chunks)),
        ]  # fmt: skip
        offsets = b''
        for code, part in parts:
            if part:
                offsets += records.summary_offset(code, place, len(part))
            place += len(part)
        summary = b''.join(part for _, part in parts) + offsets
        footer = records.PREFIX.pack(records.FOOTER, 20) + struct.pack('<QQ', start, place)
        check = struct.pack('<I', zlib.crc32(summary + footer))
        return data_end + summary + footer + check + records.MAGIC

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
        file.seek(len(records.MAGIC))
        try:
            while file.tell() < end:
                index._read_record(file, end)
        except (struct.error, UnicodeDecodeError, IndexError, KeyError) as error:
            raise ValueError(str(error)) from error
        return index

    def _read_record(self, file: BinaryIO, limit: int) -> None:
        start = file.tell()
        code, length = records.PREFIX.unpack(file.read(records.PREFIX.size))
        end = start + records.PREFIX.size + length
        if end > limit:
            raise struct.error(f'a record at {start} goes beyond {limit}')
        # Of a chunk the head is enough.
        data = file.read(min(length, 256) if code == records.CHUNK else length)
        fields = records.Cursor(data)
        whole = records.PREFIX.pack(code, length) + data
        if code == records.SCHEMA:
            number, kind = fields.u16(), fields.text()
            self._schemas[kind] = number, whole
        elif code == records.CHANNEL:
            number, _, topic = fields.u16(), fields.u16(), fields.text()
            self._channels[topic] = number, whole
            self._counts[number] = 0
        elif code == records.CHUNK:
            low, high, size, _ = fields.numbers(records.CHUNK_HEAD)
            name, packed = fields.text(), fields.u64()
            self._chunks.append(Chunk(low, high, start, end - start, {}, 0, name, packed, size))
        elif code == records.MESSAGE_INDEX:
            number, last = fields.u16(), self._chunks[-1]
            self._counts[number] += len(fields.block()) // 16
            self._chunks[-1] = last._replace(
                places={**last.places, number: start},
                places_length=end - last.offset - last.length,
            )
        file.seek(end)
