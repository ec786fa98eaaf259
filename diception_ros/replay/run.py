# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One bag in, one bag out: a thread reads, one has the model, one makes messages and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
import time
from typing import TYPE_CHECKING

from diception_ros.perceive.request import Request
from diception_ros.replay import resume
from diception_ros.replay.ahead import Behind, ahead
from diception_ros.replay.cameras import Camera, choose
from diception_ros.replay.frames import Choice, Taken, frames
from diception_ros.replay.recorder import Recorder, journal_of
from diception_ros.replay.writer import Writer

if TYPE_CHECKING:
    from diception_ros.perceive.perceiver import Answer, Asked, Perceiver
    from diception_ros.prompt import Point
    from diception_ros.replay.bags import Bag
    from diception_ros.replay.checkpoint import Checkpoint

ADVICE = 'Make room, and go on with --resume'
# Copied messages that are kept until a batch of pictures is full, bytes.
COPIED = 8 << 20


@dataclass(frozen=True)
class Job:
    """What is done with one bag.

    Attributes:
        out: the bag that is written.
        cameras, infos, references: see `cameras.choose`.
        start_s: seconds after the beginning of the bag of the first picture.
        end_s: seconds after the beginning at which the last one is before; None: the end.
        every: the first picture and every n-th after it.
        most: pictures of each camera; 0 for all.
        views: whether pictures for eyes (colour, overlay) are made, too.
        copy: whether all messages of the bag are copied.
        points: on the thing that is meant, pixels.
        prefix: of the answers' topics.
        batch: pictures that are answered at once.
        compress: the bag that is written.
        force: replace a bag that is there, and begin anew.
        resume: go on where a replay into the same file was.
        threads: of the processor for the model; 0 where the answers do not depend on them.
    """

    out: Path
    cameras: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    start_s: float = 0.0
    end_s: float | None = None
    every: int = 1
    most: int = 0
    views: bool = True
    copy: bool = False
    points: tuple[Point, ...] = ()
    prefix: str = '/perception'
    batch: int = 1
    compress: bool = True
    force: bool = False
    resume: bool = False
    threads: int = 0


@dataclass
class Result:
    """What came of a replay.

    Attributes:
        cameras: that were answered.
        frames: that were answered, those before a resume too.
        answered: those of this run.
        skipped: that could not be read, by kind of fault.
        damage: where the bag could not be read any further, '' where all is well.
        notes: what should be said once, by kind.
        seconds: from the first picture to the finished bag.
        model_s: of them in the model.
        journal: a file with a line for each frame; see `recorder.COLUMNS`.
    """

    cameras: list[Camera] = field(default_factory=list)
    frames: int = 0
    answered: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    damage: str = ''
    notes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    model_s: float = 0.0
    journal: Path | None = None

    def count(self, group: Iterable[Taken], answers: Collection[Answer]) -> None:
        """Take in what came of some messages of the bag."""
        for taken in group:
            if taken.camera is not None and taken.frame is None:
                self.skipped[taken.problem[0]] += 1
        self.frames += len(answers)
        self.answered += len(answers)
        self.model_s += sum(answer.seconds.get('model', 0.0) for answer in answers)


def replay(
    bag: Bag,
    perceiver: Perceiver,
    job: Job,
    model: str = '',
    progress: Callable[[int], None] = lambda frames: None,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Answer the pictures of a bag.

    What is kept beside the bag for whoever wants to score it, and for a resume until then, is
    removed by `resume.clean`.

    Args:
        bag: the bag.
        perceiver: fresh, with the settings that hold.
        job: what is done.
        model: name of the model; a replay goes on with the same alone.
        progress: told how many more frames are done.
        say: told what people should read.

    Returns:
        What came of it; of a bag that was finished before, without any work.

    Raises:
        FileExistsError: the bag is there, or a part of it, and neither force nor resume.
        ValueError: cameras as `choose` says; a replay is to go on differently from how it began.
        OSError: no room; what was finished is readable then.
    """
    cameras = choose(bag, job.cameras, job.infos, job.references)
    about = resume.about(bag, perceiver, job, cameras, model)
    begin = resume.begin(job, about)
    result = Result(
        cameras, begin.frames, skipped=Counter(begin.skipped), notes=dict(begin.notes),
        journal=journal_of(job.out),
    )  # fmt: skip
    if begin.frames:
        progress(begin.frames)
    if job.out.exists() and not job.force:
        result.damage = begin.damage
        return result
    if begin.memory or begin.frames:
        perceiver.go_on(begin.memory)
        say(f'goes on after {begin.frames} frames')
    outputs = [one for one in perceiver.outputs() if job.views or not one.view]
    wanted = frozenset(one.topic for one in outputs)
    needed = perceiver.needed(wanted)
    prefixes = {camera.name: prefix_of(job, camera) for camera in cameras}
    start = time.perf_counter()
    with (
        Writer(job.out, begin.offset, job.compress, ADVICE) as writer,
        Recorder(bag, writer, job.out, about, begin, say) as recorder,
        Behind(depth=4) as behind,
    ):
        for prefix in prefixes.values():
            for output in outputs:
                recorder.declare(prefix + output.topic, output)
        stream = frames(
            bag,
            cameras,
            choice_of(bag, job),
            job.copy,
            begin.handed,
            perceiver.settings.tolerance_s,
        )

        def reached() -> Checkpoint:
            return replace(
                begin, frames=result.frames, skipped=dict(result.skipped),
                memory=perceiver.state(), notes=dict(result.notes),
            )  # fmt: skip

        def tell(group: Sequence[Taken], places: Sequence[int], asked: Asked) -> None:
            answers = dict(zip(places, perceiver.tell(asked), strict=True))
            result.count(group, answers.values())
            for kind, text in _remarks(group, answers):
                if result.notes.setdefault(kind, text) is text:
                    say(text)
            recorder.record(group, answers, prefixes, reached())
            progress(len(answers))

        for group in _groups(ahead(stream, 2 * job.batch + 2), job.batch):
            requests = _requests(group, wanted, needed, job)
            behind.do(tell, group, [*requests], perceiver.ask([*requests.values()]))
        behind.wait()
        result.damage = str(bag.damage or '')
        recorder.finish(replace(reached(), damage=result.damage))
    result.seconds = time.perf_counter() - start
    return result


def expected(bag: Bag, job: Job, cameras: Sequence[Camera]) -> int:
    """About how many frames will be answered: exact but where only a part is played."""
    choice = choice_of(bag, job)
    length = (bag.end_ns or 0) - (bag.start_ns or 0) + 1
    first = max(choice.start_ns or 0, bag.start_ns or 0)
    last = min(choice.stop_ns or 2**63, (bag.end_ns or 0) + 1)
    share = max(0.0, min(1.0, (last - first) / length))
    total = 0
    for camera in cameras:
        count = -(-round(bag.topics[camera.topic].count * share) // job.every)
        total += min(count, job.most) if job.most else count
    return total


def prefix_of(job: Job, camera: Camera) -> str:
    """What the topics of a camera's answers begin with."""
    return f'{job.prefix}/{camera.name}/' if camera.name else f'{job.prefix}/'


def choice_of(bag: Bag, job: Job) -> Choice:
    """Which pictures of a bag a job is about."""
    zero = bag.start_ns or 0
    start = zero + round(job.start_s * 1e9) if job.start_s else None
    stop = None if job.end_s is None else zero + round(job.end_s * 1e9)
    return Choice(start, stop, job.every, job.most)


def _groups(items: Iterator[Taken], batch: int) -> Iterator[list[Taken]]:
    group: list[Taken] = []
    count = size = 0
    for taken in items:
        group.append(taken)
        count += taken.frame is not None
        size += len(taken.raw.data) if taken.camera is None else 0
        if count >= batch or size > COPIED:
            yield group
            group, count, size = [], 0, 0
    if group:
        yield group


def _requests(
    group: Sequence[Taken], wanted: frozenset[str], needed: tuple[str, ...], job: Job
) -> dict[int, Request]:
    """Requests by place in the group."""
    return {
        place: Request(
            taken.camera.name, taken.frame, taken.header, taken.info, needed, job.points,
            wanted=wanted, reference=taken.reference,
        )
        for place, taken in enumerate(group)
        if taken.camera is not None and taken.frame is not None
    }  # fmt: skip


def _remarks(group: Sequence[Taken], answers: Mapping[int, Answer]) -> Iterator[tuple[str, str]]:
    for place, taken in enumerate(group):
        if taken.problem[0]:
            yield (
                taken.problem[0],
                f'frame skipped, as others of this kind will be: {taken.problem[1]}',
            )
        if place in answers:
            for note in answers[place].notes:
                yield note.kind, note.text
