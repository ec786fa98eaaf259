# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of every format as one stream of messages; damaged ones up to the damage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
import contextlib
from dataclasses import dataclass
import functools
from pathlib import Path
import re
from typing import Any

from diception_ros.bags import typestore
from diception_ros.bags.channels import (
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
    file_limit,
    zstd,
)
from diception_ros.bags.formats import SQLITE_MAGIC, open_format
from diception_ros.bags.typestore import Definition, RawMessage
from diception_ros.system import safe_load
from diception_ros.system.files import TempFolder

# Ends of the names of the files of bags; with .zstd behind them they are compressed.
ENDS = ('.mcap', '.db3', '.bag')
# Name of a part of a split bag: that of its folder or the one that rosbag2 gives, and a number.
_PART = re.compile('(.*)_([0-9]+)')
# Larger numbers behind a name are dates.
LARGEST_PART = 9999
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: its name.
        msgtype: of its decoded messages, e.g. 'sensor_msgs/msg/Image'; several types are joined
            with ' and '.
        count: number of messages.
        definition: of the type in the bag.
        encoding: of the messages, see `RawMessage`.
        qos: what its publishers offered, see `RawMessage`.
    """

    name: str
    msgtype: str
    count: int
    definition: Definition
    encoding: str
    qos: str = ''


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
            self._format = open_format(path)
            try:
                self.contents = self._format.contents()
                self._indexed = True
            except NotABagError:
                raise
            except FAULTS:
                self._indexed = False
                self._format = open_format(path)  # without what it read of an index
                self._scan_contents()
        except NotABagError as error:
            raise ValueError(f'{self.name}: {error}') from error

    def read(self, selection: Selection) -> Iterator[RawMessage]:
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
        """All messages in the order of the file, without its index; DamageError as `read`."""
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


class Bag(contextlib.AbstractContextManager['Bag']):
    """A bag that is read; use it in a `with`.

    Args:
        path: a .mcap, .db3 or .bag file, one of them with .zstd behind it, or a folder of files of
            one bag. The metadata.yaml of a folder says which files belong to it; without one all
            do.

    Attributes:
        topics: by name.
        start_ns: first log time, None in an empty bag.
        end_ns: last log time.
        gap: which parts of a split recording are missing between others; '' if none.
        damage: where the bag could not be read any further; None while all is well. Known from
            the beginning where a file is cut off, and else when `messages` reached the place.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no bag.
    """

    decode = staticmethod(typestore.decode)

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f'{path}: no such bag')
        self.path = path
        self.damage: DamageError | None = None
        self.topics: dict[str, Topic] = {}
        with contextlib.ExitStack() as stack:
            temp = stack.enter_context(TempFolder())
            files = files_of(path)
            self.gap = _gap(files)
            self._files = [_open(file, temp) for file in files]
            self._stack = stack.pop_all()
        for file in self._files:
            self.damage = self.damage or file.damage
            self._add(file.contents)
        contents = [file.contents for file in self._files]
        spans = [each for each in contents if each.start_ns <= each.end_ns]
        self.start_ns = min((span.start_ns for span in spans), default=None)
        self.end_ns = max((span.end_ns for span in spans), default=None)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """Messages of some topics (None: all) by log time, from `start_ns` and before `stop_ns`.

        Files without an index are read in their order, which is nearly that of time.
        """
        selection = Selection(topics, start_ns, stop_ns)
        blocks = (
            Block(file.contents.start_ns, functools.partial(file.read, selection))
            for file in self._files
        )
        try:
            yield from by_time(blocks)
        except DamageError as damage:
            self.damage = damage

    def _add(self, contents: Contents) -> None:
        for channel, count in contents.counts.items():
            msgtype, before = channel.definition.msgtype, self.topics.get(channel.topic)
            offered = '' if channel.qos.strip() == '[]' else channel.qos
            if before is not None:
                count += before.count
                types = before.msgtype.split(' and ')
                msgtype = before.msgtype if msgtype in types else f'{before.msgtype} and {msgtype}'
                # Both are lists of YAML.
                offered = before.qos if offered in before.qos else f'{before.qos}\n{offered}'
            self.topics[channel.topic] = Topic(
                channel.topic, msgtype, count, channel.definition, channel.encoding, offered
            )


def read_messages(path: Path, topics: Collection[str] = ()) -> Iterator[tuple[RawMessage, Any]]:
    """All messages of a bag (or of some topics) that has to be whole, with what they decode to.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no bag or damaged, a topic is missing, or a message cannot be decoded.
    """
    with Bag(path) as bag:
        missing = sorted(set(topics) - set(bag.topics))
        if missing:
            raise ValueError(
                f'{path}: no topic {missing[0]!r}; there are {", ".join(sorted(bag.topics))}'
            )
        for raw in bag.messages(topics or None):
            try:
                message = bag.decode(raw)
            except ValueError as error:
                raise ValueError(f'{path}: {error}') from error
            yield raw, message
        if bag.damage:
            raise ValueError(str(bag.damage))


def bags_in(path: Path) -> list[Path]:
    """The bags at a path: itself, or those in a folder, by name.

    A folder with a metadata.yaml is one bag, and so is one whose files are the parts of a split
    recording: NAME_0.mcap, NAME_1.mcap and so on in a folder NAME, or with the names that rosbag2
    gives by default.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: there is no bag in the folder.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such bag, there is no bag file and no folder of bags')
    if not path.is_dir() or (path / 'metadata.yaml').exists():
        return [path]
    files = sorted(file for file in path.iterdir() if _is_part(file))
    if len(files) > 1 and all(
        (match := _PART.fullmatch(_stem(file)))
        and (match[1] == path.resolve().name or match[1].startswith('rosbag2_'))
        for file in files
    ):
        return [path]
    folders = sorted(file.parent for file in path.glob('*/metadata.yaml'))
    parts = sorted(
        folder for folder in path.iterdir()
        if folder.is_dir() and folder not in folders and not folder.name.startswith('.')
        and any(_is_part(file) for file in folder.iterdir()) and bags_in(folder) == [folder]
    )  # fmt: skip
    if not (files or folders or parts):
        raise ValueError(f'{path}: no bags in it')
    return [*sorted([*folders, *parts]), *files]


def files_of(path: Path) -> list[Path]:
    """The files of a bag.

    Raises:
        ValueError: it has none, a file is none of a bag, or its metadata.yaml names one that is
            missing or outside of the folder.
    """
    if path.is_file():
        if not _is_part(path):
            raise ValueError(f'{path}: not a bag; expected a name that ends in {", ".join(ENDS)}')
        return [path]
    if not path.is_dir():
        raise ValueError(f'{path}: neither a file nor a folder; expected a bag')
    listed = []
    for name in _listed(path / 'metadata.yaml'):
        if name.is_absolute() or '..' in name.parts:
            raise ValueError(
                f'{path}: metadata.yaml names {name}, which is not in the folder; expected the '
                'names of files beside it'
            )
        # Before version 4 the name of the folder stood in front.
        file = next((f for f in (path / name, path / name.name) if f.exists()), None)
        if file is None:
            there = ', '.join(sorted(file.name for file in path.iterdir() if _is_part(file)))
            raise ValueError(
                f'{path}: metadata.yaml names {name.name}, which is not there'
                + (f'; to read what is there ({there}), remove metadata.yaml' if there else '')
            )
        listed.append(file)
    parts = listed or sorted(file for file in path.iterdir() if _is_part(file))
    if not parts:
        raise ValueError(f'{path}: no bag, there is no file in it that ends in {", ".join(ENDS)}')
    return parts


def _gap(files: Sequence[Path]) -> str:
    """Which parts of a split recording are missing between others, '' if none is known to be."""
    parts = [match for file in files if (match := _PART.fullmatch(_stem(file)))]
    if len(parts) < len(files) or len({match[1] for match in parts}) != 1:
        return ''
    # The first ones may be gone on purpose (ros2 bag record --max-bag-files).
    have = {int(match[2]) for match in parts}
    last = min(max(have), LARGEST_PART)
    gone = [number for number in range(min(have), last) if number not in have]
    if not gone or max(have) > LARGEST_PART:
        return ''
    name = parts[0][1]
    return f'{len(gone)} of its parts are not there: {name}_{gone[0]}' + (
        f' to {name}_{gone[-1]}' if len(gone) > 1 else ''
    )


def _listed(metadata: Path) -> list[Path]:
    """The files that a metadata.yaml names; none where it is missing or cannot be understood."""
    try:
        content = safe_load.yaml_file(metadata)
        names = content['rosbag2_bagfile_information']['relative_file_paths']
        return [Path(str(name)) for name in names]
    except (OSError, KeyError, TypeError, ValueError):
        return []


def _is_part(path: Path) -> bool:
    name = path.name.removesuffix('.zstd')
    return path.is_file() and name.endswith(ENDS) and not name.startswith('.')


def _stem(path: Path) -> str:
    return path.name.removesuffix('.zstd').rpartition('.')[0]


def _open(file: Path, temp: TempFolder) -> Storage:
    plain, fault = file, None
    if file.suffix == '.zstd':
        plain = temp.folder / file.stem
        fault = _decompress(file, plain)
    return Storage(_whole_pages(plain, temp), file, fault)


def _decompress(file: Path, plain: Path) -> DamageError | None:
    """Decompress a file as far as it goes."""
    limit = file_limit(file.stat().st_size)
    with zstd.open(file, 'rb') as packed, plain.open('wb') as out:
        try:
            while block := packed.read(1 << 20):
                out.write(block)
                if out.tell() > limit:
                    return DamageError(
                        f'{file}: refused, it unpacks to more than {limit} bytes; a recording '
                        'does not shrink so much'
                    )
        except (zstd.ZstdError, EOFError) as error:
            return DamageError(f'{file}: damaged after {out.tell()} bytes, decompressed ({error})')
    return None


def _whole_pages(file: Path, temp: TempFolder) -> Path:
    """A database without a last page that is cut off, which SQLite would fill with zeros."""
    with file.open('rb') as source:
        head = source.read(18)
        page = int.from_bytes(head[16:18], 'big')
        page = 65536 if page == 1 else page
        size = file.stat().st_size
        if not head.startswith(SQLITE_MAGIC) or page < 512 or size % page == 0 or size < page:
            return file
        copy = temp.folder / f'whole_{file.name}'
        source.seek(0)
        with copy.open('wb') as target:
            left = size - size % page
            while left:
                left -= target.write(source.read(min(left, 1 << 20)))
    return copy
