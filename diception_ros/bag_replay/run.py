# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Replays one bag: one thread reads, one runs the model, one makes messages and writes them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import contextlib
from dataclasses import replace
import time
from typing import TYPE_CHECKING, Any, TypeVar

from diception_ros.bag_replay import checkpoint
from diception_ros.bag_replay.checkpoint import Checkpoint, ReplayWriter
from diception_ros.bag_replay.job import Job, Result
from diception_ros.bags.cameras import choose
from diception_ros.bags.frames import CopiedMessage, ImageFrame, SkippedImage, frames
from diception_ros.bags.mcap_writer import Writer
from diception_ros.messages.encodings import decoder
from diception_ros.perception.query import Query

if TYPE_CHECKING:
    from diception_ros.bags.reader import Bag
    from diception_ros.perception.perceiver import Perceiver
    from diception_ros.perception.query import FrameResult
    from diception_ros.tasks import Task

ADVICE = 'Make room, and go on with --resume'
# Copied messages that are held until a batch of images is full, bytes.
COPIED = 8 << 20
# Groups of messages that may wait for the writer.
WRITE_AHEAD = 4

ItemT = TypeVar('ItemT')
_END: Any = object()


def replay(
    bag: Bag,
    perceiver: Perceiver,
    job: Job,
    model: str = '',
    progress: Callable[[int], None] = lambda frames: None,
    log: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run inference on the images of a bag, and write the results into another.

    The checkpoint and the journal beside the written bag, for a resume and for scores, are removed
    by `checkpoint.remove_files`.

    Args:
        bag: the bag.
        perceiver: fresh, with the settings to use.
        job: options.
        model: name of the model; a replay can be resumed with the same one only.
        progress: called with the number of further frames done.
        log: called with messages for the user.

    Returns:
        The result; without any work if the bag was finished before.

    Raises:
        FileExistsError: the written bag or a part of it exists, without force or resume.
        ValueError: cameras as `choose` says; resumed with other options than at the start.
        OSError: no room; what was finished is readable then.
    """
    cameras = choose(bag, job.cameras, job.camera_infos, job.depth_references)
    if checkpoint.is_finished(job):
        return Result(cameras, finished_before=True)
    config = checkpoint.config_of(bag, perceiver, job, cameras, model)
    start = checkpoint.start_of(job, config)
    result = Result(
        cameras, start.frames, skipped=Counter(start.skipped), notes=dict(start.notes),
        not_copied=dict(start.not_copied), journal=checkpoint.journal_path(job.out),
    )  # fmt: skip
    if start.frames:
        progress(start.frames)
    if job.out.exists() and not job.force:
        result.damage = start.damage
        return result
    if start.memory or start.frames:
        perceiver.load_state(start.memory)
        log(f'goes on after {start.frames} frames')
    outputs = [output for output in perceiver.outputs() if job.views or not output.view]
    wanted = frozenset(output.topic for output in outputs)
    needed = perceiver.required_tasks(wanted)
    prefixes = {camera.name: job.prefix_of(camera) for camera in cameras}
    began = time.perf_counter()

    def reached() -> Checkpoint:
        return replace(
            start, frames=result.frames, skipped=dict(result.skipped),
            memory=perceiver.state_dict(),
            notes=dict(result.notes), not_copied=dict(result.not_copied),
        )  # fmt: skip

    with (
        Writer(job.out, start.offset, job.compress, ADVICE) as writer,
        ReplayWriter(writer, job.out, config, start, result.not_copied, log) as output_bag,
        BackgroundWriter(WRITE_AHEAD) as background,
    ):
        for prefix in prefixes.values():
            for output in outputs:
                output_bag.declare(prefix + output.topic, output)
            for topic, message in perceiver.latched():
                output_bag.latch(prefix + topic, message)

        def finish(
            group: Sequence[CopiedMessage], places: Sequence[int], inferred: Sequence[FrameResult]
        ) -> None:
            answers = dict(zip(places, perceiver.postprocess(inferred), strict=True))
            result.count(group, answers.values())
            for kind, text in _notes(group, answers, len(cameras) > 1):
                if result.notes.setdefault(kind, text) is text:
                    log(text)
            output_bag.record(group, answers, prefixes, reached)
            progress(len(answers))

        stream = frames(
            bag, cameras, job.selection(bag), job.copy, start.messages,
            perceiver.settings.depth.tolerance_s, decoder(perceiver.settings.conversion, log),
            perceiver.settings.points.gravity_frame if perceiver.needs_gravity(wanted) else '',
        )  # fmt: skip
        for group in _groups(prefetch(stream, 2 * job.batch_frames + 2), job.batch_frames):
            queries = _queries(group, wanted, needed, job)
            background.submit(finish, group, [*queries], perceiver.infer([*queries.values()]))
        background.join()
        result.damage = str(bag.damage or '')
        output_bag.finish(replace(reached(), damage=result.damage))
    result.seconds = time.perf_counter() - began
    return result


def _groups(records: Iterator[CopiedMessage], batch: int) -> Iterator[list[CopiedMessage]]:
    group: list[CopiedMessage] = []
    count = size = 0
    for record in records:
        group.append(record)
        count += isinstance(record, ImageFrame)
        size += len(record.raw.data) if type(record) is CopiedMessage else 0
        if count >= batch or size > COPIED:
            yield group
            group, count, size = [], 0, 0
    if group:
        yield group


def _queries(
    group: Sequence[CopiedMessage],
    wanted: frozenset[str],
    needed: tuple[Task[Any], ...],
    job: Job,
) -> dict[int, Query]:
    """Queries by place in the group."""
    return {
        place: Query(
            record.camera.name, record.frame, record.header, record.info, needed, job.points,
            wanted=wanted, reference=record.reference, gravity=record.gravity,
        )
        for place, record in enumerate(group) if isinstance(record, ImageFrame)
    }  # fmt: skip


def _notes(
    group: Sequence[CopiedMessage], answers: Mapping[int, FrameResult], several: bool
) -> Iterator[tuple[str, str]]:
    """Kind and text of what is logged; each camera of several has its own."""
    for place, record in enumerate(group):
        notes: list[tuple[str, str]] = []
        if isinstance(record, SkippedImage):
            kind, text = record.problem
            notes.append((kind, f'frame skipped, as others of this kind will be: {text}'))
        if place in answers:
            notes += [(note.kind, note.text) for note in answers[place].notes]
        if isinstance(record, SkippedImage | ImageFrame):
            before = f'{record.camera.name}: ' if several else ''
            yield from ((before + kind, before + text) for kind, text in notes)


def prefetch(items: Iterator[ItemT], depth: int) -> Iterator[ItemT]:
    """Compute items in another thread while earlier ones are in use.

    Args:
        items: exceptions that they raise are raised here, in their turn.
        depth: largest number of items held.
    """
    with ThreadPoolExecutor(1, thread_name_prefix='reader') as pool:
        waiting: deque[Future[ItemT]] = deque()
        try:
            while True:
                while len(waiting) < depth:
                    waiting.append(pool.submit(next, items, _END))
                item = waiting.popleft().result()
                if item is _END:
                    return
                yield item
        finally:
            for future in waiting:
                future.cancel()


class BackgroundWriter(contextlib.AbstractContextManager['BackgroundWriter']):
    """Runs calls in order in another thread, and none after one that failed; use it in a `with`.

    Args:
        depth: largest number of calls that wait.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._waiting: deque[Future[None]] = deque()
        self._failed = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='writer')

    def submit(self, call: Callable[..., None], *arguments: Any) -> None:
        """Queue a call; raises what earlier calls raised."""
        while len(self._waiting) >= self._depth or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._run, call, *arguments))

    def join(self) -> None:
        """Wait for all calls; raises what they raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error nothing more is written: results must not stand without earlier ones.
        if kind is not None:
            for future in self._waiting:
                future.cancel()
        self._pool.shutdown(wait=True)

    def _run(self, call: Callable[..., None], *arguments: Any) -> None:
        if self._failed:
            return
        try:
            call(*arguments)
        except BaseException:
            self._failed = True
            raise
