# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a replay is, in a file beside what it writes; what it is killed after is done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
import json
import math
import os
from pathlib import Path
import struct
import time
from typing import TYPE_CHECKING, Any
import zipfile

import numpy as np
from numpy.typing import NDArray

from diception_ros.bags.frames import Taken
from diception_ros.bags.mcap_writer import Index, definition_of, partial_of
from diception_ros.bags.typestore import TYPES
from diception_ros.core import adapter_card as cards
from diception_ros.core import settings as declared
from diception_ros.messages.outputs import IMAGE
from diception_ros.system import files

FORMAT = 2


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """How far a replay is.

    Attributes:
        offset: length of the bag that is written, bytes, with all that belongs to it.
        journal: length of the file with a line for each frame, bytes.
        handed: messages of the bag that are done with.
        frames: that were answered.
        skipped: frames that could not be read, by kind of fault.
        notes: what was said once, by kind.
        damage: where the bag could not be read any further, known at its end.
        memory: of the Perceiver.
    """

    offset: int = 0
    journal: int = 0
    handed: int = 0
    frames: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    damage: str = ''
    memory: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def place(out: Path) -> Path:
    """Where the checkpoint of a replay into `out` is."""
    return out.with_name(f'{out.stem}.partial.state')


def write(path: Path, checkpoint: Checkpoint, about: Mapping[str, Any]) -> None:
    """Write a checkpoint in one piece.

    Args:
        path: of the file.
        checkpoint: how far the replay is.
        about: all that has to be the same for going on.
    """
    head = {
        'format': FORMAT,
        'offset': checkpoint.offset,
        'journal': checkpoint.journal,
        'handed': checkpoint.handed,
        'frames': checkpoint.frames,
        'skipped': dict(checkpoint.skipped),
        'notes': dict(checkpoint.notes),
        'damage': checkpoint.damage,
        'about': about,
    }
    arrays: dict[str, Any] = {f'memory/{name}': one for name, one in checkpoint.memory.items()}
    with files.atomic_file(path) as partial, partial.open('wb') as file:
        np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)


def read(path: Path, about: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint; inverse of `write`.

    Raises:
        ValueError: it is none, or something is not as it was; the message says what.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file['head']))
            if head['format'] != FORMAT:
                raise ValueError(
                    f'format {head["format"]} of another version; begin anew with --force'
                )
            memory = {
                name.removeprefix('memory/'): file[name]
                for name in file.files
                if name.startswith('memory/')
            }
        made = Checkpoint(
            int(head['offset']), int(head['journal']), int(head['handed']), int(head['frames']),
            dict(head['skipped']), dict(head['notes']), str(head['damage']), memory,
        )  # fmt: skip
        before = head['about']
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: no checkpoint that can be read ({error})') from error
    now = json.loads(json.dumps(about))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise ValueError(
                f'{path}: was begun with {name} = {before.get(name)!r}, and is to go on with '
                f'{now.get(name)!r}; give the same as before, or begin anew with --force'
            )
    return made


# What a replay puts into files: answers, copies, a line for each frame, and how far it is.


if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from diception_ros.bags.mcap_writer import Writer
    from diception_ros.bags.reader import Bag
    from diception_ros.messages.outputs import Output
    from diception_ros.perception.query import Answer

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
        self._state = place(out)
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
        write(self._state, here, self._about)
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


# Where a replay begins: anew, where an earlier one was, or behind its last frame.


if TYPE_CHECKING:
    from pathlib import Path

    from diception_ros.bag_replay.job import Job
    from diception_ros.bags.cameras import Camera
    from diception_ros.bags.reader import Bag
    from diception_ros.perception.perceiver import Perceiver


def about(
    bag: Bag, perceiver: Perceiver, job: Job, cameras: Sequence[Camera], model: str
) -> dict[str, Any]:
    """What has to be the same when a replay goes on."""
    return {
        **declared.values(perceiver.settings),
        # They may lie elsewhere now, but must be the same.
        'adapters': [cards.digest(folder) for folder in perceiver.settings.adapters],
        'bag': [str(bag.path.absolute()), {t.name: t.count for t in bag.topics.values()}],
        'model': model,
        'cameras': [[c.name, c.topic, c.info, c.reference] for c in cameras],
        'start': job.start_s,
        'end': job.end_s,
        'every': job.every,
        'max-frames': job.most,
        'views': job.views,
        'copy': job.copy,
        'points': [list(point) for point in job.points],
        'prefix': job.prefix,
        'batch-frames': job.batch,
        'compress': job.compress,
        'threads': job.threads,
    }


def begin(job: Job, same: Mapping[str, Any]) -> Checkpoint:
    """How far a replay is before it begins; the bag that it writes is there where that is all.

    Args:
        job: says what is written, and whether anything may be replaced or gone on with.
        same: what has to be the same, see `about`.

    Raises:
        FileExistsError: there is a bag, or a part of one, and neither may be.
        ValueError: it was begun differently.
    """
    partial, state = partial_of(job.out), place(job.out)
    there = job.out.exists()
    if job.resume and not job.force and state.exists() and partial.exists() != there:
        found = read(state, same)
        if not there or is_whole(job.out, found):
            return found
    if there and not (job.force and job.out.is_file()):
        hint = '; --force replaces it' if job.out.is_file() else ' and is no file'
        raise FileExistsError(f'{job.out} exists{hint}')
    if partial.exists() and not (job.force or job.resume):
        raise FileExistsError(
            f'{partial} is left of a replay that did not end; --resume goes on with it, --force '
            'begins anew'
        )
    state.unlink(missing_ok=True)
    return Checkpoint()


def is_whole(out: Path, found: Checkpoint) -> bool:
    """Whether a bag, and the journal beside it, are those that the last checkpoint tells of."""
    journal = journal_of(out)
    if not out.is_file() or not journal.exists() or journal.stat().st_size != found.journal:
        return False
    with out.open('rb') as file:
        try:
            index = Index.read(file, found.offset)
        except ValueError:
            return False
        file.seek(found.offset)
        return file.read() == index.ending(found.offset)


def clean(out: Path) -> None:
    """Remove what is kept beside a bag for as long as something is left to do of it."""
    # The checkpoint last: without it nobody looks for the journal.
    journal_of(out).unlink(missing_ok=True)
    place(out).unlink(missing_ok=True)
