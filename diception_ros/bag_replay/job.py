# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A replay job and its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diception_ros.bags.cameras import Camera
from diception_ros.bags.frames import Choice, Taken
from diception_ros.bags.reader import Bag
from diception_ros.core.prompt import Point
from diception_ros.perception.query import Answer

# Exit code of the process of a bag that was damaged.
DAMAGED = 3


def code_of(damage: str, skipped: Mapping[str, int], frames: int) -> int:
    """Exit code of the process of a bag that came to its end.

    Args:
        damage: where the bag could not be read any further, or ''.
        skipped: frames that were left out.
        frames: that were answered.
    """
    return DAMAGED if damage else int(bool(skipped) or not frames)


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
