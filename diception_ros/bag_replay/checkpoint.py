# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the results of a replay so that a killed one can be resumed.

Beside `out.partial.mcap` there are two files until all is done: `out.partial.state`, how far the
replay is, and `out.partial.csv`, the journal with a line for each frame. What was written after
the last checkpoint is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import contextlib
from dataclasses import dataclass, field, replace
import json
import math
import os
from pathlib import Path
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.bags.channels import OfferedQos, qos_to_text
from diception_ros.bags.formats import is_complete
from diception_ros.bags.frames import CopiedMessage, ImageFrame
from diception_ros.bags.mcap_writer import Index, partial_of
from diception_ros.bags.typestore import TYPES, definition_of, to_copy
from diception_ros.core import adapter_card as cards
from diception_ros.core import settings as declared
from diception_ros.messages.outputs import IMAGE
from diception_ros.system import files, safe_load

if TYPE_CHECKING:
    from diception_ros.bag_replay.run import Job
    from diception_ros.bags.frames import Camera
    from diception_ros.bags.mcap_writer import Writer
    from diception_ros.bags.reader import Bag
    from diception_ros.messages.outputs import Output
    from diception_ros.perception.perceiver import Perceiver
    from diception_ros.perception.query import FrameResult

FORMAT = 2
# Messages are written when there are so many bytes of them, which is what rosbag2 writes at a
# time, or so many frames, which bounds what a resumed replay does again.
CHUNK, CHUNK_FRAMES = 1 << 20, 16
# Seconds between checkpoints: about 50 times as long as one takes on a disk.
SAVE_S = 0.25
# Columns of the journal; times in seconds.
COLUMNS = 'camera,stamp_ns,log_ns,model_s,messages_s\n'
_LENGTH = struct.Struct('=I')


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """How far a replay is.

    Attributes:
        offset: length of the written bag, bytes.
        journal: length of the journal, bytes.
        messages: number of messages of the bag that are done.
        frames: number of frames with results.
        skipped: number of frames that could not be decoded, by type of fault.
        notes: what was logged once, by type.
        damage: where the bag could not be read any further; known at its end.
        memory: state of the Perceiver.
        not_copied: why a topic could not be copied, by topic.
    """

    offset: int = 0
    journal: int = 0
    messages: int = 0
    frames: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    damage: str = ''
    memory: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    not_copied: Mapping[str, str] = field(default_factory=dict)


def state_path(out: Path) -> Path:
    """The checkpoint of a replay into `out`."""
    return out.with_name(f'{out.stem}.partial.state')


def journal_path(out: Path) -> Path:
    """The journal of a replay into `out`."""
    return out.with_name(f'{out.stem}.partial.csv')


def remove_files(out: Path) -> None:
    """Remove checkpoint and journal, when nothing is left to do with a bag."""
    # The checkpoint last: without it nothing looks for the journal.
    journal_path(out).unlink(missing_ok=True)
    state_path(out).unlink(missing_ok=True)


def save(path: Path, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Write a checkpoint file, with the config that must be the same on resume (`config_of`)."""
    head = {
        'format': FORMAT,
        'offset': checkpoint.offset,
        'journal': checkpoint.journal,
        'handed': checkpoint.messages,
        'frames': checkpoint.frames,
        'skipped': dict(checkpoint.skipped),
        'notes': dict(checkpoint.notes),
        'damage': checkpoint.damage,
        'not_copied': dict(checkpoint.not_copied),
        'about': config,
    }
    arrays: dict[str, Any] = {f'memory/{name}': a for name, a in checkpoint.memory.items()}
    with files.atomic_file(path) as partial, partial.open('wb') as file:
        np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)


def load(path: Path, config: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint file; inverse of `save`.

    Raises:
        ValueError: it cannot be read, or the config differs; the message names the differences.
    """
    try:
        arrays = safe_load.npz_file(path)
        head = safe_load.json_text(str(arrays['head']), 'head')
        if head['format'] != FORMAT:
            raise ValueError(
                f'format {head["format"]} of another version; begin anew with --force'
            )
        memory = {
            name.removeprefix('memory/'): array
            for name, array in arrays.items()
            if name.startswith('memory/')
        }
        checkpoint = Checkpoint(
            int(head['offset']), int(head['journal']), int(head['handed']), int(head['frames']),
            dict(head['skipped']), dict(head['notes']), str(head['damage']), memory,
            dict(head.get('not_copied', {})),
        )  # fmt: skip
        before = head['about']
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f'{path}: no checkpoint that can be read ({error})') from error
    now = json.loads(json.dumps(config))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise ValueError(
                f'{path}: was begun with {name} = {before.get(name)!r}, and is to go on with '
                f'{now.get(name)!r}; give the same as before, or begin anew with --force'
            )
    return checkpoint


def config_of(
    bag: Bag, perceiver: Perceiver, job: Job, cameras: Sequence[Camera], model: str
) -> dict[str, Any]:
    """What has to be the same when a replay is resumed."""
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
        'max-frames': job.max_frames,
        'views': job.views,
        'copy': job.copy,
        'points': [list(point) for point in job.points],
        'prefix': job.prefix,
        'batch-frames': job.batch_frames,
        'compress': job.compress,
        'threads': job.threads,
        'backend': job.backend,
    }


def is_finished(job: Job) -> bool:
    """Whether a job that resumes has nothing to do: the bag is complete, its files removed."""
    state_files = (state_path(job.out), journal_path(job.out), partial_of(job.out))
    return (
        job.resume
        and not job.force
        and not any(path.exists() for path in state_files)
        and is_complete(job.out)
    )


def start_of(job: Job, config: Mapping[str, Any]) -> Checkpoint:
    """Where a replay starts: at the beginning, at a checkpoint, or behind the last frame.

    Raises:
        FileExistsError: the bag or a part of it exists, and may be neither replaced nor resumed.
        ValueError: it was begun with another config, see `config_of`.
    """
    partial, state = partial_of(job.out), state_path(job.out)
    exists = job.out.exists()
    if job.resume and not job.force and state.exists() and partial.exists() != exists:
        checkpoint = load(state, config)
        if not exists or _is_whole(job.out, checkpoint):
            return checkpoint
    if exists and not (job.force and job.out.is_file()):
        hint = '; --force replaces it' if job.out.is_file() else ' and is no file'
        raise FileExistsError(f'{job.out} exists{hint}')
    if partial.exists() and not (job.force or job.resume):
        raise FileExistsError(
            f'{partial} is left of a replay that did not end; --resume goes on with it, --force '
            'begins anew'
        )
    state.unlink(missing_ok=True)
    return Checkpoint()


def _is_whole(out: Path, checkpoint: Checkpoint) -> bool:
    """Whether a bag and the journal beside it are those of the last checkpoint."""
    journal = journal_path(out)
    if not out.is_file() or not journal.exists() or journal.stat().st_size != checkpoint.journal:
        return False
    with out.open('rb') as file:
        try:
            index = Index.read(file, checkpoint.offset)
        except ValueError:
            return False
        file.seek(checkpoint.offset)
        return file.read() == index.ending(checkpoint.offset)


class ReplayWriter(contextlib.AbstractContextManager['ReplayWriter']):
    """Writes results, copies, journal and checkpoints of one bag; use it in a `with`.

    Args:
        writer: of the bag that is written.
        out: that bag.
        config: what has to be the same on resume.
        start: how far the replay is.
        not_copied: filled with the reason for each topic that cannot be copied.
        log: called with messages for the user.
    """

    def __init__(
        self,
        writer: Writer,
        out: Path,
        config: Mapping[str, Any],
        start: Checkpoint,
        not_copied: dict[str, str],
        log: Callable[[str], None],
    ) -> None:
        self._writer, self._config, self._log = writer, config, log
        self._state = state_path(out)
        self._messages = start.messages
        self._unsaved = 0
        self._latched: list[tuple[str, Any]] = []
        self._saved_s = -math.inf
        self._not_copied = not_copied
        path = journal_path(out)
        resumed = start.journal and path.exists()
        self._journal = path.open('r+' if resumed else 'w')
        if resumed:
            self._journal.truncate(start.journal)
            self._journal.seek(start.journal)
        else:
            self._journal.write(COLUMNS)

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def declare(self, topic: str, output: Output) -> None:
        """Declare the topic of a result."""
        offered = OfferedQos(latched=True, depth=1) if output.latched else OfferedQos()
        self._writer.add(
            topic, output.kind, definition_of(TYPES, output.kind), qos_to_text(offered)
        )

    def latch(self, topic: str, message: Any) -> None:
        """Write a message that depends on the settings alone, before the first of the bag."""
        self._latched.append((topic, message))

    def record(
        self,
        group: Sequence[CopiedMessage],
        results: Mapping[int, FrameResult],
        prefixes: Mapping[str, str],
        reached: Callable[[], Checkpoint],
    ) -> None:
        """Write the results of some messages of the bag.

        Args:
            group: the messages.
            results: by place in the group.
            prefixes: of the topics of results, by camera.
            reached: returns how far the model is after them.

        Raises:
            OSError: there is no room.
        """
        if not self._messages:
            for topic, message in self._latched:
                self._writer.write(topic, _serialised(message)[0], group[0].raw.stamp_ns)
        for place, record in enumerate(group):
            self._messages += 1
            if record.copied:
                self._copy(record)
            result = results.get(place)
            if result is None or not isinstance(record, ImageFrame):
                continue
            log_ns = record.raw.stamp_ns
            for topic, message in result.messages:
                data, rest = _serialised(message)
                self._writer.write(prefixes[record.camera.name] + topic, data, log_ns, rest)
            seconds = result.seconds
            self._journal.write(
                f'{record.camera.name},{record.frame.stamp_ns},{log_ns},'
                f'{seconds.get("model", 0.0):.6f},{seconds.get("messages", 0.0):.6f}\n'
            )
        self._unsaved += len(results)
        if self._writer.waiting >= CHUNK or self._unsaved >= CHUNK_FRAMES:
            offset = self._writer.flush()
            self._unsaved = 0
            if time.monotonic() - self._saved_s >= SAVE_S:
                self._save(reached(), offset)

    def finish(self, now: Checkpoint) -> None:
        """Complete the bag and give it its name; the last checkpoint stays beside it."""
        self._save(now, self._writer.flush())
        self._writer.finish()

    def _save(self, now: Checkpoint, offset: int) -> None:
        # What the checkpoint refers to must be on the disk before, in case the power fails.
        self._writer.sync()
        self._journal.flush()
        os.fsync(self._journal.fileno())
        journal = self._journal.tell()
        save(
            self._state,
            replace(now, offset=offset, messages=self._messages, journal=journal),
            self._config,
        )
        self._saved_s = time.monotonic()

    def _copy(self, record: CopiedMessage) -> None:
        raw = record.raw
        if raw.topic in self._not_copied:
            return
        try:
            definition, data, encoding = to_copy(raw)
        except ValueError as error:
            self._not_copied[raw.topic] = str(error)
            self._log(f'not copied: {error}')
            return
        self._writer.add(raw.topic, raw.msgtype, definition, raw.qos, encoding)
        self._writer.write(raw.topic, data, raw.stamp_ns)


def _serialised(message: Any) -> tuple[memoryview, memoryview]:
    """A message as CDR in two parts; the second is the data of an image, which is not copied."""
    msgtype = message.__msgtype__
    if msgtype != IMAGE:
        return TYPES.serialize_cdr(message, msgtype), memoryview(b'')
    data = message.data
    # The data are the last field, after their length: with an image of one byte the rest of the
    # message is the same.
    head = bytearray(TYPES.serialize_cdr(replace(message, data=data[:1]), msgtype)[:-1])
    _LENGTH.pack_into(head, len(head) - _LENGTH.size, len(data))
    return memoryview(head), memoryview(data)
