# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes one .mcap file so that it can be killed at any moment and go on where it was."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
import zlib

import numpy as np

from diception_ros import locks
from diception_ros.replay import records
from diception_ros.replay.index import Index
from diception_ros.replay.records import Chunk, zstd

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
        head = records.message_head(number, stamp_ns, length)
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
            head = records.chunk_head(
                (*self._times, len(body), zlib.crc32(body)), name, len(packed)
            )
            data += [head, packed]
            length = len(head) + len(packed)
            places, first = {}, at + length
            end = first
            for number, entries in self._places.items():
                places[number] = end
                data.append(records.message_index(number, entries))
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
