# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Replays a bag: options, result, and the loop; output names and result table of several bags.

One thread reads, one runs the model, one makes messages and writes them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import contextlib
from dataclasses import KW_ONLY, dataclass, field, replace
import glob
import os
from pathlib import Path
import time
from typing import TYPE_CHECKING, Any, TypeVar

from diception_ros.bag_replay import checkpoint
from diception_ros.bag_replay.checkpoint import Checkpoint, ReplayWriter
from diception_ros.bags.frames import (
    Camera,
    CopiedMessage,
    FrameSelection,
    ImageFrame,
    SkippedImage,
    choose,
    frames,
)
from diception_ros.bags.mcap_writer import Writer
from diception_ros.bags.reader import ENDS, Bag, bags_in
from diception_ros.core.prompt import Point
from diception_ros.messages.encodings import decoder
from diception_ros.perception.query import FrameResult, Query
from diception_ros.system import safe_load
from diception_ros.system.engines import EngineResult

if TYPE_CHECKING:
    from diception_ros.perception.perceiver import Perceiver
    from diception_ros.tasks import Task


# Exit code of a replay whose bag is damaged.
DAMAGED = 3


def exit_code(damage: str, skipped: Mapping[str, int], frames: int, not_copied: int = 0) -> int:
    """Exit code of a replay that reached the end of its bag.

    Frames that were left out are counted by type of fault; `not_copied` is a number of topics.
    """
    return DAMAGED if damage else int(bool(skipped) or bool(not_copied) or not frames)


@dataclass(frozen=True)
class Job:
    """Options of the replay of one bag.

    Attributes:
        out: the bag that is written.
        cameras: topics of images, see `bags.frames.choose`.
        camera_infos: topics of CameraInfo, one for each camera, or none.
        depth_references: topics of depths, one for each camera, or none.
        start_s: seconds from the beginning of the bag to the first image.
        end_s: seconds from the beginning of the bag before which the last image is; None: all.
        every: the first image and every n-th after it are used.
        max_frames: images of each camera; 0 for all.
        views: whether visualization images (color, overlay) are rendered.
        copy: whether all messages of the bag are copied.
        points: prompt, pixels.
        prefix: of the topics of the results.
        batch_frames: images for which inference runs at once.
        compress: whether the written bag is compressed.
        force: replace an existing bag, and start from the beginning.
        resume: continue a replay into the same file.
        threads: of the processor for the model; 0 where the results do not depend on their number.
        backend: what runs the model; '' where that is not known.
    """

    out: Path
    _: KW_ONLY
    cameras: tuple[str, ...] = ()
    camera_infos: tuple[str, ...] = ()
    depth_references: tuple[str, ...] = ()
    start_s: float = 0.0
    end_s: float | None = None
    every: int = 1
    max_frames: int = 0
    views: bool = True
    copy: bool = False
    points: tuple[Point, ...] = ()
    prefix: str = '/perception'
    batch_frames: int = 1
    compress: bool = True
    force: bool = False
    resume: bool = False
    threads: int = 0
    backend: str = ''

    def prefix_of(self, camera: Camera) -> str:
        """What the topics of the results of a camera begin with."""
        return f'{self.prefix}/{camera.name}/' if camera.name else f'{self.prefix}/'

    def owner_of(self, topic: str, cameras: Sequence[Camera]) -> tuple[str, str] | None:
        """Prefix and name of the camera whose result a topic holds; of several the longest."""
        prefixes = [(self.prefix_of(camera), camera.name) for camera in cameras]
        fits = [(prefix, name) for prefix, name in prefixes if topic.startswith(prefix)]
        return max(fits, key=lambda fit: len(fit[0])) if fits else None

    def selection(self, bag: Bag) -> FrameSelection:
        """The images of a bag that are used."""
        zero = bag.start_ns or 0
        start = zero + round(self.start_s * 1e9) if self.start_s else None
        stop = None if self.end_s is None else zero + round(self.end_s * 1e9)
        return FrameSelection(start, stop, self.every, self.max_frames)

    def expected_frames(self, bag: Bag, cameras: Sequence[Camera]) -> int:
        """Number of frames for a progress bar; an estimate if only a part of the bag is used."""
        selection = self.selection(bag)
        first_ns, last_ns = bag.start_ns or 0, bag.end_ns or 0
        first = max(selection.start_ns or 0, first_ns)
        stop = min(selection.stop_ns or 2**63, last_ns + 1)
        share = max(0.0, min(1.0, (stop - first) / (last_ns - first_ns + 1)))
        total = 0
        for camera in cameras:
            count = -(-round(bag.topics[camera.topic].count * share) // self.every)
            total += min(count, self.max_frames) if self.max_frames else count
        return total


@dataclass
class Result:
    """Result of the replay of one bag.

    Attributes:
        cameras: whose images were used.
        frames: number of frames with results, those before a resume too.
        processed: number of frames with results of this run.
        skipped: number of frames that could not be decoded, by type of fault.
        not_copied: why a topic could not be copied, by topic.
        damage: where the bag could not be read any further, '' if it is whole.
        notes: what was logged once, by type.
        seconds: from the first image to the finished bag.
        model_s: seconds of them in the model.
        journal: file with a line for each frame, see `checkpoint.COLUMNS`.
        finished_before: the bag was finished by an earlier run, and nothing was left to do.
    """

    cameras: list[Camera] = field(default_factory=list)
    frames: int = 0
    processed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    not_copied: dict[str, str] = field(default_factory=dict)
    damage: str = ''
    notes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    model_s: float = 0.0
    journal: Path | None = None
    finished_before: bool = False

    @property
    def code(self) -> int:
        """Exit code: 0, 1 (frames or topics left out) or 3 (damaged bag)."""
        if self.finished_before:
            return 0
        return exit_code(self.damage, self.skipped, self.frames, len(self.not_copied))

    def count(self, records: Iterable[CopiedMessage], results: Collection[FrameResult]) -> None:
        """Add the results of some messages of the bag."""
        for record in records:
            if isinstance(record, SkippedImage):
                self.skipped[record.problem[0]] += 1
        self.frames += len(results)
        self.processed += len(results)
        self.model_s += sum(result.seconds.get('model', 0.0) for result in results)


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
    if bag.gap and result.notes.setdefault('parts', bag.gap) is bag.gap:
        log(bag.gap)
    outputs = [output for output in perceiver.outputs() if job.views or not output.view]
    topics = frozenset(output.topic for output in outputs)
    needed = perceiver.tasks_for_topics(topics)
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
            results = dict(zip(places, perceiver.postprocess(inferred), strict=True))
            result.count(group, results.values())
            for kind, text in _notes(group, results, len(cameras) > 1):
                if result.notes.setdefault(kind, text) is text:
                    log(text)
            output_bag.record(group, results, prefixes, reached)
            progress(len(results))

        stream = frames(
            bag, cameras, job.selection(bag), job.copy, start.messages,
            perceiver.settings.depth.tolerance_s, decoder(perceiver.settings.conversion, log),
            perceiver.settings.points.gravity_frame if perceiver.needs_gravity(topics) else '',
        )  # fmt: skip
        for group in _groups(prefetch(stream, 2 * job.batch_frames + 2), job.batch_frames):
            queries = _queries(group, topics, needed, job)
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
    topics: frozenset[str],
    needed: tuple[Task[Any], ...],
    job: Job,
) -> dict[int, Query]:
    """Queries by place in the group."""
    return {
        place: Query(
            record.camera.name, record.frame, record.header, record.info, needed, job.points,
            topics=topics, reference=record.reference, gravity=record.gravity,
        )
        for place, record in enumerate(group) if isinstance(record, ImageFrame)
    }  # fmt: skip


def _notes(
    group: Sequence[CopiedMessage], results: Mapping[int, FrameResult], several: bool
) -> Iterator[tuple[str, str]]:
    """Kind and text of what is logged; each camera of several has its own."""
    for place, record in enumerate(group):
        notes: list[tuple[str, str]] = []
        if isinstance(record, SkippedImage):
            kind, text = record.problem
            text = f'frame skipped; further ones with this fault are counted, not logged: {text}'
            notes.append((kind, text))
        if place in results:
            notes += [(note.kind, note.text) for note in results[place].notes]
        if isinstance(record, SkippedImage | ImageFrame):
            before = f'{record.camera.name}: ' if several else ''
            yield from ((before + kind, before + text) for kind, text in notes)


def prefetch(items: Iterator[ItemT], depth: int) -> Iterator[ItemT]:
    """Compute up to `depth` items in another thread while earlier ones are in use.

    Exceptions that they raise are raised here, in their turn.
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

    At most `depth` calls wait.
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


def find_bags(given: Sequence[str]) -> list[Path]:
    """The bags of a command line: bags, folders of bags, and patterns.

    Raises:
        FileNotFoundError: there is no such bag, or a pattern matches none.
        ValueError: a folder has none.
    """
    bags: list[Path] = []
    for name in given:
        matched = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else []
        for path in [name] if Path(name).exists() or not matched else matched:
            bags += bags_in(Path(path))
    return list(dict.fromkeys(bags))


def summary_path(out: Path) -> Path:
    """The file for the result of a replay as JSON."""
    return out.with_suffix('.json')


def output_names(bags: Sequence[Path]) -> list[str]:
    """Names of what is written, one for each bag: what sets it apart from the others."""
    full = [Path(os.path.abspath(bag)) for bag in bags]
    plain = [path.name.removesuffix('.zstd') for path in full]
    stems = [name.rpartition('.')[0] if name.endswith(ENDS) else name for name in plain]
    if len(set(stems)) == len(stems):
        return stems
    root = Path(os.path.commonpath([path.parent for path in full]))
    return ['_'.join(path.relative_to(root).parts) for path in full]


def results_table(done: Sequence[EngineResult]) -> str:
    """The results of all bags, in Markdown."""
    rows = [('bag', 'frames', 'seconds', 'result')]
    for each in done:
        frames = seconds = ''
        result = 'done' if each.code == 0 else each.last_line
        if each.code in (0, 1, DAMAGED) and summary_path(each.job.out).exists():
            summary = safe_load.json_object(summary_path(each.job.out))
            frames, seconds = str(summary['frames']), f'{summary["seconds"]:.1f}'
            skipped, lost = sum(summary['skipped'].values()), len(summary.get('not_copied', ()))
            if summary['damage']:
                result = summary['damage']
            elif skipped or lost:
                parts = [f'{skipped} frames left out'] * bool(skipped)
                result = ', '.join([*parts, *[f'{lost} topics not copied'] * bool(lost)])
        rows.append((str(each.job.source), frames, seconds, result))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f'| {" | ".join(map(str.ljust, row, widths))} |' for row in rows]
    rule = '|' + '|'.join('-' * (width + 2) for width in widths) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]])
