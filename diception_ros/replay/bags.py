# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of every kind, as one stream of messages; damaged ones up to the damage.

Of a bag's folder the files themselves are looked at: its metadata.yaml may be missing, and says
nothing that is not in them, but for their order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
import contextlib
import functools
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from diception_ros.data.bag import TYPES
from diception_ros.replay import records, ros1
from diception_ros.replay.damage import DamageError, Raw
from diception_ros.replay.parts import (
    FAULTS,
    CutFile,
    Topic,
    WholeFile,
    files_of,
    unpacked,
    whole_pages,
)
from diception_ros.replay.scratch import Scratch


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
            scratch = stack.enter_context(Scratch())
            self._parts = [self._open(stack, file, scratch) for file in files_of(path)]
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
        return ros1.modern(message, raw.kind) if old else message

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
        self, stack: contextlib.ExitStack, file: Path, scratch: Scratch
    ) -> WholeFile | CutFile:
        plain, fault = file, None
        if file.suffix == '.zstd':
            plain = scratch.folder / file.stem
            fault = unpacked(file, plain)
        if fault is None:
            try:
                reader = AnyReader([plain], default_typestore=TYPES)
                return WholeFile(file, stack.enter_context(reader))
            except FAULTS:
                pass  # what is wrong is found again, and its place with it
        if plain.suffix == '.db3':
            plain = whole_pages(plain, scratch)
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
    read = _from_idl if records.is_idl(definition) else get_types_from_msg
    try:
        store.register(read(definition, kind))
    except FAULTS as error:
        raise ValueError(f'no definition of {kind} ({error})') from error
    return store


def _from_idl(definition: str, kind: str) -> Any:
    """As `get_types_from_msg`; IDL names the kind itself."""
    types: dict[str, Any] = {}
    for part in definition.split(records.IDL_RULE)[1:]:
        types.update(get_types_from_idl(part.split('\n', 1)[1]))
    return types
