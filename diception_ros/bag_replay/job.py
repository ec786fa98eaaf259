# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The replay of one bag: its options and its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from diception_ros.bags.cameras import Camera
from diception_ros.bags.frames import CopiedMessage, FrameSelection, SkippedImage
from diception_ros.bags.reader import Bag
from diception_ros.core.prompt import Point
from diception_ros.perception.query import FrameResult

# Exit code of a replay whose bag is damaged.
DAMAGED = 3


def exit_code(damage: str, skipped: Mapping[str, int], frames: int, not_copied: int = 0) -> int:
    """Exit code of a replay that reached the end of its bag.

    Args:
        damage: where the bag could not be read any further, or ''.
        skipped: frames that were left out, by type of fault.
        frames: number of frames with results.
        not_copied: topics that could not be copied.
    """
    return DAMAGED if damage else int(bool(skipped) or bool(not_copied) or not frames)


@dataclass(frozen=True)
class Job:
    """Options of the replay of one bag.

    Attributes:
        out: the bag that is written.
        cameras: topics of images, see `cameras.choose`.
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
        found = [(self.prefix_of(camera), camera.name) for camera in cameras]
        fits = [(prefix, name) for prefix, name in found if topic.startswith(prefix)]
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
        answered: number of frames with results of this run.
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
    answered: int = 0
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

    def count(self, records: Iterable[CopiedMessage], answers: Collection[FrameResult]) -> None:
        """Add the results of some messages of the bag."""
        for record in records:
            if isinstance(record, SkippedImage):
                self.skipped[record.problem[0]] += 1
        self.frames += len(answers)
        self.answered += len(answers)
        self.model_s += sum(answer.seconds.get('model', 0.0) for answer in answers)
