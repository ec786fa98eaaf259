# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes one .mcap file so that it can be killed at any moment and go on where it was."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
import struct
from typing import TYPE_CHECKING, Any, BinaryIO
import zlib

from diception_ros import locks
from diception_ros.replay import records
from diception_ros.replay.records import Chunk, zstd

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

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
# Of zstd: on depth and label maps 1 is as small as 3, and twice as fast.
LEVEL = 1


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
        self._schemas: dict[str, tuple[int, bytes]] = {}
        self._channels: dict[str, tuple[int, bytes]] = {}
        self._chunks: list[Chunk] = []
        self._counts: dict[int, int] = {}
        self._head: list[bytes] = []  # records that stand before the next chunk
        self._body: list[bytes | memoryview] = []  # of the next chunk, not copied: it is large
        self._size = 0
        self._index: dict[int, list[tuple[int, int]]] = {}
        self._times: tuple[int, int] | None = None
        self._finished = False
        self._file: BinaryIO
        # Not emptied before it is clear that nobody else writes it.
        self._file = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666), 'r+b')
        try:
            locks.take(self._file, f'{self.partial}: another replay writes it; wait for its end')
            if at:
                self._recover(at)
            else:
                self._file.truncate(0)
                self._append(records.MAGIC + records.header())
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
        if kind not in self._schemas:
            number = len(self._schemas) + 1
            self._schemas[kind] = number, records.schema(number, kind, definition)
            self._head.append(self._schemas[kind][1])
        schema = self._schemas[kind][0]
        if topic in self._channels:
            known = records.Cursor(self._channels[topic][1][records.PREFIX.size + 2 :]).u16()
            if known != schema:
                raise ValueError(f'topic {topic} has messages of two kinds, one of them {kind}')
            return
        number = len(self._channels) + 1
        qos = QOS.format(
            depth=1 if latched else 10, durability='transient_local' if latched else 'volatile'
        )
        self._channels[topic] = number, records.channel(number, schema, topic, qos)
        self._counts[number] = 0
        self._head.append(self._channels[topic][1])

    def write(self, topic: str, data: bytes | memoryview, stamp_ns: int) -> None:
        """Write a message.

        Args:
            topic: that was added.
            data: the message, CDR; must not change afterwards.
            stamp_ns: log time, nanoseconds since the epoch.
        """
        number = self._channels[topic][0]
        self._index.setdefault(number, []).append((stamp_ns, self._size))
        head = records.message_head(number, stamp_ns, len(data))
        self._body += [head, data]
        self._size += len(head) + len(data)
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
        data, chunk = [*self._head], None
        at = self._end + sum(map(len, data))
        if self._times is not None:
            body = b''.join(self._body)
            packed = zstd.compress(body, LEVEL) if self._compress else body
            name = 'zstd' if self._compress else ''
            head = records.chunk_head(
                (*self._times, len(body), zlib.crc32(body)), name, len(packed)
            )
            data += [head, packed]
            length = len(head) + len(packed)
            places, first = {}, at + length
            end = first
            for number, entries in self._index.items():
                places[number] = end
                data.append(records.message_index(number, entries))
                end += len(data[-1])
            chunk = Chunk(
                *self._times, at, length, places, end - first, name, len(packed), len(body)
            )
        self._append(*data)
        if chunk is not None:
            self._chunks.append(chunk)
            for number, entries in self._index.items():
                self._counts[number] += len(entries)
        self._head, self._body, self._index, self._times = [], [], {}, None
        self._size = 0
        return self._end

    def finish(self) -> None:
        """Complete the file and give it its name.

        Raises:
            OSError: there is no room.
        """
        self.flush()
        self._seal()
        os.fsync(self._file.fileno())
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

    def _append(self, *data: bytes) -> None:
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
        data_end = records.record(records.DATA_END, bytes(4))
        start = at = end + len(data_end)
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
                offsets += records.summary_offset(code, at, len(part))
            at += len(part)
        summary = b''.join(part for _, part in parts) + offsets
        footer = records.PREFIX.pack(records.FOOTER, 20) + struct.pack('<QQ', start, at)
        check = struct.pack('<I', zlib.crc32(summary + footer))
        self._append(data_end + summary + footer + check + records.MAGIC)
        # What is written next replaces it.
        self._file.seek(end)

    def _recover(self, at: int) -> None:
        if os.fstat(self._file.fileno()).st_size < at:
            raise ValueError(f'{self.partial}: shorter than it was; begin anew with --force')
        self._file.truncate(at)
        self._end = at
        self._file.seek(len(records.MAGIC))
        try:
            while self._file.tell() < at:
                self._recover_record(at)
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f'{self.partial}: not as it was left ({error})') from error
        self._file.seek(at)

    def _recover_record(self, at: int) -> None:
        start = self._file.tell()
        code, length = records.PREFIX.unpack(self._file.read(records.PREFIX.size))
        end = start + records.PREFIX.size + length
        if end > at:
            raise struct.error(f'a record at {start} goes beyond {at}')
        # Of a chunk the head is enough.
        data = self._file.read(min(length, 256) if code == records.CHUNK else length)
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
        self._file.seek(end)


def definition_of(store: Any, kind: str) -> str:
    """The text that defines a kind of message, with all that it needs."""
    found = store.generate_msgdef(kind, ros_version=2)[0]
    return str(found)
