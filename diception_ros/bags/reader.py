# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of every kind, as one stream of messages; damaged ones up to the damage.

Of a bag's folder the files themselves are looked at: its metadata.yaml may be missing, and says
nothing that is not in them, but for their order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
import contextlib
from dataclasses import dataclass
import functools
from pathlib import Path
import struct
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import ReaderError as ReaderError1
from rosbags.rosbag2 import ReaderError as ReaderError2
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
import yaml

from diception_ros.bags import mcap_writer, typestore
from diception_ros.bags.mcap_writer import zstd
from diception_ros.bags.recovery import DamageError, Raw, scan
from diception_ros.bags.typestore import TYPES
from diception_ros.system.files import TempFolder

# The files of a bag: whole ones through rosbags, others from their beginning.


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


def whole_pages(file: Path, temp: TempFolder) -> Path:
    """A database without a last page that is cut off, which SQLite would fill with zeros."""
    with file.open('rb') as source:
        head = source.read(18)
        page = int.from_bytes(head[16:18], 'big')
        page = 65536 if page == 1 else page
        size = file.stat().st_size
        if page < 512 or size % page == 0 or size < page:
            return file
        copy = temp.folder / f'whole_{file.name}'
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


class Bag:
    """A bag that is read; use it in a `with`.

    Args:
        path: a .mcap, .db3 or .bag file, one of the first two with .zstd behind it, or a folder
            of such files.

    Attributes:
        topics: by name.
        start_ns: first log time, None in an empty bag.
        end_ns: last log time.
        damage: where the bag could not be read any further; None while all is well. Known from
            the beginning where a file is cut off, and else when `messages` came to the place.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no bag.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f'{path}: no such bag')
        self.path = path
        self.damage: DamageError | None = None
        self._stack = contextlib.ExitStack()
        self.topics: dict[str, Topic] = {}
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        with contextlib.ExitStack() as stack:
            temp = stack.enter_context(TempFolder())
            self._parts = [self._open(stack, file, temp) for file in files_of(path)]
            # By time: rosbag2 counts without zeros in front, so bag_10 is named before bag_9.
            self._parts.sort(key=lambda part: part.start_ns)
            self._stack = stack.pop_all()
        for part in self._parts:
            self._learn(part)

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[Raw]:
        """Messages in the order of their log times, as the bag has it.

        Args:
            topics: of these; None for all.
            start_ns: from this log time on.
            stop_ns: before this log time.
        """
        for part in self._parts:
            count, last = 0, None
            try:
                for raw in part.read(topics, start_ns, stop_ns):
                    yield raw
                    count, last = count + 1, raw.stamp_ns
            except DamageError as damage:
                self.damage = damage
                return
            except FAULTS as error:
                self.damage = DamageError(
                    f'{part.file}: damaged after {count} messages'
                    + (f', the last logged at {last / 1e9:.9f}' if last is not None else '')
                    + f' ({error or type(error).__name__})'
                )
                return

    def decode(self, raw: Raw) -> Any:
        """The message, with the fields that it has in ROS 2.

        Raises:
            ValueError: the data is not of the kind.
        """
        old = self._parts[0].ros1
        if not raw.definition and (raw.kind not in TYPES.types or old):
            raise ValueError(f'topic {raw.topic} has no definition of {raw.kind}')
        try:
            store = _store(raw.kind, raw.definition) if raw.definition else TYPES
        except ValueError as error:
            raise ValueError(f'topic {raw.topic}: {error}') from error
        read = store.deserialize_ros1 if old else store.deserialize_cdr
        try:
            message = read(raw.data, raw.kind)
        except FAULTS as error:
            raise ValueError(
                f'topic {raw.topic}: a {raw.kind} that cannot be read ({error})'
            ) from error
        return typestore.modern(message, raw.kind) if old else message

    def cdr(self, raw: Raw) -> tuple[str, bytes]:
        """Definition and data with which a message can be copied into a bag of ROS 2.

        Raises:
            ValueError: nothing tells what the message is made of.
        """
        if not self._parts[0].ros1 and raw.definition:
            return raw.definition, raw.data
        if raw.kind not in TYPES.types:
            raise ValueError(f'topic {raw.topic} has no definition of {raw.kind}')
        definition = TYPES.generate_msgdef(raw.kind, ros_version=2)[0]
        if not self._parts[0].ros1:
            return definition, raw.data
        return definition, bytes(TYPES.serialize_cdr(self.decode(raw), raw.kind))

    def _open(
        self, stack: contextlib.ExitStack, file: Path, temp: TempFolder
    ) -> WholeFile | CutFile:
        plain, fault = file, None
        if file.suffix == '.zstd':
            plain = temp.folder / file.stem
            fault = unpacked(file, plain)
        if fault is None:
            try:
                reader = AnyReader([plain], default_typestore=TYPES)
                return WholeFile(file, stack.enter_context(reader))
            except FAULTS:
                pass  # what is wrong is found again, and its place with it
        if plain.suffix == '.db3':
            plain = whole_pages(plain, temp)
        part = CutFile(file, plain, fault)
        if self.damage is None:
            self.damage = part.damage
        return part

    def _learn(self, part: WholeFile | CutFile) -> None:
        for topic in part.topics.values():
            before = self.topics.get(topic.name)
            if before is not None and before.kind != topic.kind:
                raise ValueError(
                    f'{self.path}: topic {topic.name} has messages of two kinds, {before.kind} '
                    f'and {topic.kind}'
                )
            count = topic.count + (before.count if before else 0)
            self.topics[topic.name] = Topic(topic.name, topic.kind, count, topic.definition)
        if any(topic.count for topic in part.topics.values()):
            times = [t for t in (self.start_ns, part.start_ns) if t is not None]
            self.start_ns = min(times)
            self.end_ns = max(self.end_ns or 0, part.end_ns)


@functools.lru_cache(maxsize=256)
def _store(kind: str, definition: str) -> Any:
    """What reads messages of a kind; kept, since its code is made when it is first used.

    Raises:
        ValueError: the definition is none.
    """
    store: Any = get_typestore(Stores.EMPTY)
    read = _from_idl if mcap_writer.is_idl(definition) else get_types_from_msg
    try:
        store.register(read(definition, kind))
    except FAULTS as error:
        raise ValueError(f'no definition of {kind} ({error})') from error
    return store


def _from_idl(definition: str, kind: str) -> Any:
    """As `get_types_from_msg`; IDL names the kind itself."""
    types: dict[str, Any] = {}
    for part in definition.split(mcap_writer.IDL_RULE)[1:]:
        types.update(get_types_from_idl(part.split('\n', 1)[1]))
    return types
