# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a bag: whole ones through rosbags, others from their beginning."""

from __future__ import annotations

from collections.abc import Collection, Iterator
import contextlib
from dataclasses import dataclass
from pathlib import Path
import struct

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import ReaderError as ReaderError1
from rosbags.rosbag2 import ReaderError as ReaderError2
import yaml

from diception_ros.replay.damage import DamageError, Raw
from diception_ros.replay.records import zstd
from diception_ros.replay.scan import scan
from diception_ros.replay.scratch import Scratch

ENDS = ('.mcap', '.db3', '.bag')
_ZSTD = b'\x28\xb5\x2f\xfd'
# What rosbags has been seen to raise at a damaged place.
FAULTS = (
    AnyReaderError, ReaderError1, ReaderError2, zstd.ZstdError, struct.error, EOFError, KeyError,
    IndexError, AssertionError, UnicodeDecodeError, TypeError, ValueError, RuntimeError,
    MemoryError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: its name.
        kind: of its messages, e.g. 'sensor_msgs/msg/Image'.
        count: messages.
        definition: of the kind, '' where the bag does not tell.
    """

    name: str
    kind: str
    count: int
    definition: str


class WholeFile:
    """A file that rosbags opened."""

    def __init__(self, file: Path, reader: AnyReader) -> None:
        self.file, self._reader = file, reader
        self.ros1 = not reader.is2
        self.start_ns, self.end_ns = reader.start_time, reader.end_time - 1
        self._definitions = {
            one.id: one.msgdef.data if one.msgdef.format != MessageDefinitionFormat.NONE else ''
            for one in reader.connections
        }
        self.topics: dict[str, Topic] = {}
        for one in reader.connections:
            before = self.topics.get(one.topic)
            count = one.msgcount + (before.count if before else 0)
            self.topics[one.topic] = Topic(
                one.topic, one.msgtype, count, self._definitions[one.id]
            )

    def read(
        self, topics: Collection[str] | None, start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Raw]:
        wanted = [one for one in self._reader.connections if topics is None or one.topic in topics]
        if not wanted:
            return
        for one, stamp_ns, data in self._reader.messages(wanted, start_ns, stop_ns):
            plain = zstd.decompress(data) if bytes(data[:4]) == _ZSTD else bytes(data)
            yield Raw(one.topic, one.msgtype, self._definitions[one.id], stamp_ns, plain)


class CutFile:
    """A file that has to be read from its beginning, since it is cut off or damaged."""

    def __init__(self, file: Path, plain: Path, fault: DamageError | None) -> None:
        self.file, self._plain = file, plain
        self.ros1 = plain.suffix == '.bag'
        self.topics: dict[str, Topic] = {}
        self.damage = fault
        self.start_ns, self.end_ns = 2**63 - 1, 0
        if fault is not None and not plain.stat().st_size:
            return
        try:
            for raw in self._scan():
                before = self.topics.get(raw.topic)
                count = 1 + (before.count if before else 0)
                self.topics[raw.topic] = Topic(raw.topic, raw.kind, count, raw.definition)
                self.start_ns = min(self.start_ns, raw.stamp_ns)
                self.end_ns = max(self.end_ns, raw.stamp_ns)
        except DamageError as damage:
            self.damage = fault or damage
        if self.damage is None:
            self.damage = DamageError(f'{file}: damaged behind its last message')

    def read(
        self, topics: Collection[str] | None, start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Raw]:
        for raw in self._scan() if self.topics else ():
            late = stop_ns is not None and raw.stamp_ns >= stop_ns
            early = start_ns is not None and raw.stamp_ns < start_ns
            if not (early or late) and (topics is None or raw.topic in topics):
                plain = raw.data
                if plain[:4] == _ZSTD:
                    plain = zstd.decompress(plain)
                yield raw._replace(data=plain)

    def _scan(self) -> Iterator[Raw]:
        try:
            yield from scan(self._plain)
        except DamageError as damage:
            raise DamageError(str(damage).replace(str(self._plain), str(self.file))) from damage


def files_of(path: Path) -> list[Path]:
    """The files of a bag, in their order.

    Raises:
        ValueError: it has none, or a file is none of a bag.
    """
    if path.is_file():
        if not _is_part(path):
            raise ValueError(f'{path}: not a bag; expected a name that ends in {", ".join(ENDS)}')
        return [path]
    if not path.is_dir():
        raise ValueError(f'{path}: neither a file nor a folder; expected a bag')
    found = sorted(one for one in path.iterdir() if _is_part(one))
    if not found:
        raise ValueError(f'{path}: no bag, there is no file in it that ends in {", ".join(ENDS)}')
    with contextlib.suppress(OSError, yaml.YAMLError, KeyError, TypeError):
        said = yaml.safe_load((path / 'metadata.yaml').read_text())
        names = said['rosbag2_bagfile_information']['relative_file_paths']
        listed = [path / str(name) for name in names]
        missing = [one for one in listed if not one.exists()]
        if missing:
            raise ValueError(f'{path}: metadata.yaml names {missing[0].name}, which is not there')
        return listed
    return found


def _is_part(path: Path) -> bool:
    name = path.name.removesuffix('.zstd')
    return path.is_file() and name.endswith(ENDS) and not name.startswith('.')


def whole_pages(file: Path, scratch: Scratch) -> Path:
    """A database without a last page that is cut off, which SQLite would fill with zeros."""
    with file.open('rb') as source:
        head = source.read(18)
        page = int.from_bytes(head[16:18], 'big')
        page = 65536 if page == 1 else page
        size = file.stat().st_size
        if page < 512 or size % page == 0 or size < page:
            return file
        copy = scratch.folder / f'whole_{file.name}'
        source.seek(0)
        with copy.open('wb') as target:
            left = size - size % page
            while left:
                left -= target.write(source.read(min(left, 1 << 20)))
    return copy


def unpacked(file: Path, plain: Path) -> DamageError | None:
    """Decompress a file as far as it goes."""
    with zstd.open(file, 'rb') as packed, plain.open('wb') as out:
        try:
            while block := packed.read(1 << 20):
                out.write(block)
        except (zstd.ZstdError, EOFError) as error:
            return DamageError(f'{file}: damaged after {out.tell()} bytes, decompressed ({error})')
    return None
