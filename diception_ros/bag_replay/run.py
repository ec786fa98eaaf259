# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One bag in, one bag out: a thread reads, one has the model, one makes messages and writes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
import time
from typing import TYPE_CHECKING, Any, TypeVar

from diception_ros.bag_replay import checkpoint
from diception_ros.bag_replay.checkpoint import Recorder, journal_of
from diception_ros.bag_replay.job import Job, Result, choice_of, prefix_of
from diception_ros.bags.cameras import choose
from diception_ros.bags.frames import Taken, frames
from diception_ros.bags.mcap_writer import Writer
from diception_ros.perception.query import Request

# Threads that work before and behind the model, so that it does not wait.


if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

ItemT = TypeVar('ItemT')
_END: Any = object()


def ahead(items: Iterator[ItemT], depth: int) -> Iterator[ItemT]:
    """The items, worked out by another thread while the last ones are in use.

    Args:
        items: what they raise is raised here, in their turn.
        depth: so many at most are kept.
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
            for one in waiting:
                one.cancel()


class Behind:
    """Does things in their order in another thread, and none after one that failed; in a `with`.

    Args:
        depth: so many at most wait.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='writer')
        return self

    def do(self, what: Callable[..., None], *arguments: Any) -> None:
        """Let it be done soon; raises what earlier things raised."""
        while len(self._waiting) >= self._depth or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._do, what, *arguments))

    def _do(self, what: Callable[..., None], *arguments: Any) -> None:
        if self._failed:
            return
        try:
            what(*arguments)
        except BaseException:
            self._failed = True
            raise

    def wait(self) -> None:
        """Until all is done; raises what was raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error nothing more is done: what comes later must not stand without it.
        if kind is not None:
            for one in self._waiting:
                one.cancel()
        self._pool.shutdown(wait=True)


if TYPE_CHECKING:
    from diception_ros.bag_replay.checkpoint import Checkpoint
    from diception_ros.bags.reader import Bag
    from diception_ros.perception.perceiver import Asked, Perceiver
    from diception_ros.perception.query import Answer

ADVICE = 'Make room, and go on with --resume'
# Copied messages that are kept until a batch of pictures is full, bytes.
COPIED = 8 << 20


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
    about = checkpoint.about(bag, perceiver, job, cameras, model)
    begin = checkpoint.begin(job, about)
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
            perceiver.settings.depth.tolerance_s,
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
