# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a replay puts into files: answers, copies, a line for each frame, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
import math
import os
import struct
import time
from typing import TYPE_CHECKING, Any

from diception_ros.data.bag import TYPES
from diception_ros.messages.outputs import IMAGE
from diception_ros.replay import checkpoint
from diception_ros.replay.frames import Taken
from diception_ros.replay.writer import definition_of

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from diception_ros.messages.outputs import Output
    from diception_ros.perceive.perceiver import Answer
    from diception_ros.replay.bags import Bag
    from diception_ros.replay.checkpoint import Checkpoint
    from diception_ros.replay.writer import Writer

# Messages are put into the file when there are so many bytes of them, or so many frames: the first
# is what rosbags writes at a time, the second is what may have to be done again.
CHUNK, CHUNK_FRAMES = 1 << 20, 16
# How far a replay is, is saved no more often, seconds: as long as the disk takes for it 50 times.
SAVE_S = 0.25
# Columns of the journal; times in seconds.
COLUMNS = 'camera,stamp_ns,log_ns,model_s,messages_s\n'
_LENGTH = struct.Struct('=I')


def journal_of(out: Path) -> Path:
    """Where the journal of a replay into `out` is until somebody wants it."""
    return out.with_name(f'{out.stem}.partial.csv')


class Recorder:
    """Writes what came of the frames of one bag; use it in a `with`.

    Args:
        bag: the messages to copy are of.
        writer: of the bag that is written.
        out: that bag.
        about: what has to be the same for going on.
        begin: how far the replay is.
        say: told what people should read.
    """

    def __init__(
        self,
        bag: Bag,
        writer: Writer,
        out: Path,
        about: Mapping[str, Any],
        begin: Checkpoint,
        say: Callable[[str], None],
    ) -> None:
        self._bag, self._writer, self._about, self._say = bag, writer, about, say
        self._state = checkpoint.place(out)
        self._handed = begin.handed
        self._unsaved = 0
        self._saved = -math.inf
        self._left_out: set[str] = set()
        journal = journal_of(out)
        if begin.journal and journal.exists():
            self._journal = journal.open('r+')
            self._journal.truncate(begin.journal)
            self._journal.seek(begin.journal)
        else:
            self._journal = journal.open('w')
            self._journal.write(COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.close()

    def declare(self, topic: str, output: Output) -> None:
        """Let there be a topic for answers."""
        self._writer.add(topic, output.kind, definition_of(TYPES, output.kind), output.latched)

    def record(
        self,
        group: Sequence[Taken],
        answers: Mapping[int, Answer],
        prefixes: Mapping[str, str],
        now: Checkpoint,
    ) -> None:
        """Write what came of some messages of the bag.

        Args:
            group: the messages.
            answers: by place in the group.
            prefixes: of the topics of answers, by camera.
            now: how far the replay is after them, as far as the model knows.

        Raises:
            OSError: there is no room.
        """
        for place, taken in enumerate(group):
            self._handed += 1
            raw = taken.raw
            if taken.copied:
                self._copy(taken)
            answer = answers.get(place)
            if answer is None or taken.camera is None or taken.frame is None:
                continue
            for topic, message in answer.messages:
                data, rest = _serialised(message)
                self._writer.write(prefixes[taken.camera.name] + topic, data, raw.stamp_ns, rest)
            seconds = answer.seconds
            self._journal.write(
                f'{taken.camera.name},{taken.frame.stamp_ns},{raw.stamp_ns},'
                f'{seconds.get("model", 0.0):.6f},{seconds.get("messages", 0.0):.6f}\n'
            )
        self._unsaved += len(answers)
        if self._writer.waiting >= CHUNK or self._unsaved >= CHUNK_FRAMES:
            offset = self._writer.flush()
            self._unsaved = 0
            if time.monotonic() - self._saved >= SAVE_S:
                self._save(now, offset)

    def finish(self, now: Checkpoint) -> None:
        """Give the bag its end and its name.

        Args:
            now: how far the replay is, as `record`; it stays beside the bag.

        Raises:
            OSError: there is no room.
        """
        self._save(now, self._writer.flush())
        self._writer.finish()

    def _save(self, now: Checkpoint, offset: int) -> None:
        # What it tells of must be there, whatever happens to the power. And the disk works while
        # the model does, not when all is done.
        self._writer.sync()
        self._journal.flush()
        os.fsync(self._journal.fileno())
        here = replace(now, offset=offset, handed=self._handed, journal=self._journal.tell())
        checkpoint.write(self._state, here, self._about)
        self._saved = time.monotonic()

    def _copy(self, taken: Taken) -> None:
        raw = taken.raw
        if raw.topic in self._left_out:
            return
        try:
            definition, data = self._bag.cdr(raw)
        except ValueError as error:
            self._left_out.add(raw.topic)
            self._say(f'not copied: {error}')
            return
        self._writer.add(raw.topic, raw.kind, definition)
        self._writer.write(raw.topic, data, raw.stamp_ns)


def _serialised(message: Any) -> tuple[memoryview, memoryview]:
    """A message as CDR in two parts; the second is the data of a picture, which is not copied."""
    kind = message.__msgtype__
    if kind != IMAGE:
        return TYPES.serialize_cdr(message, kind), memoryview(b'')
    data = message.data
    # The data are the last field, behind their length: with a picture of one byte the rest of the
    # message is the same.
    head = bytearray(TYPES.serialize_cdr(replace(message, data=data[:1]), kind)[:-1])
    _LENGTH.pack_into(head, len(head) - _LENGTH.size, len(data))
    return memoryview(head), memoryview(data)
