# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a replay: every answer against the truth that belongs to its frame.

Everything is read from the two bags, so that a replay that went on after it was killed is scored
as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass, field
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diception_ros.bag_replay.job import Job
from diception_ros.bags.frames import ImageFrame, MessageLookup, frames
from diception_ros.bags.reader import Bag
from diception_ros.core.geometry import Affine
from diception_ros.core.labels import Disparity, MetricDepth, resize_label
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import decode
from diception_ros.evaluation import evaluators, metrics
from diception_ros.evaluation.temporal_stability import Moment, Stability, place, warped

# One scale and shift for all frames of a camera, from sums alone.


class Affines:
    """Fits disparities to 1/depth, each task of each camera by itself, frame after frame."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], NDArray[np.float64]] = {}

    def update(self, camera: str, answers: dict[str, Any], truths: dict[str, Any]) -> None:
        """Take the pixels of a frame in."""
        for task, answer in answers.items():
            true = truths.get(task)
            if not (isinstance(answer, Disparity) and isinstance(true, MetricDepth)):
                continue
            x = resize_label(answer, true.size).values.astype(np.float64)
            y = 1 / true.values.astype(np.float64)
            # Zeros are left out, as where each frame is fitted: it may have been cut off there.
            known = np.isfinite(x) & np.isfinite(y) & (x > 0)
            x, y = x[known], y[known]
            sums = np.array([x.size, x.sum(), y.sum(), x @ x, x @ y])
            key = camera, task
            self._sums[key] = self._sums.get(key, np.zeros(5)) + sums

    def found(self) -> dict[tuple[str, str], Affine]:
        """Scale and shift (1/m) by camera and task; NaN where nothing is known."""
        found = {}
        for key, (n, x, y, xx, xy) in self._sums.items():
            variance = n * xx - x * x
            scale = (n * xy - x * y) / variance if variance > 0 else 0.0
            found[key] = Affine(float(scale), float((y - scale * x) / n) if n else float('nan'))
        return found


if TYPE_CHECKING:
    from diception_ros.bags.cameras import Camera
    from diception_ros.core.labels import Label
    from diception_ros.datasets.ground_truth import Source
    from diception_ros.perception.settings import PerceptionSettings

# Depths beyond are not judged; nearer ones than a millimetre are none.
METRES = (1e-3, math.inf)


class FrameCallback(Protocol):
    """Looks on while answers are scored, to draw them."""

    def on_frame(
        self,
        number: int,
        camera: str,
        taken: ImageFrame,
        answers: dict[str, Label],
        row: dict[str, float],
    ) -> None:
        """Called for every frame; `row` has its numbers, such as 'depth.abs_rel'."""
        ...


@dataclass
class Scores:
    """What came out.

    Attributes:
        rows: of each frame: 'camera', 'stamp_ns', 'log_ns', and numbers such as 'depth.abs_rel'.
        numbers: by camera, task and metric, of all frames.
        stability: by camera, task and metric: means over the frames.
        warped: by camera, frames that were compared with the last one by the camera's pose.
        affine: by camera, scale and shift (1/m) by which depth was scored, with `--align bag`; of
            a task that an adapter brought by CAMERA.TASK.
        missing: by camera and task, frames without a truth.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    stability: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    warped: dict[str, int] = field(default_factory=dict)
    affine: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, dict[str, int]] = field(default_factory=dict)


def score(
    path: Path,
    out: Path,
    cameras: Sequence[Camera],
    job: Job,
    asked: PerceptionSettings,
    sources: Sequence[Source],
    poses: dict[str, str],
    align: str = 'frame',
    callbacks: Sequence[FrameCallback] = (),
    progress: Callable[[int], None] = lambda frames: None,
) -> Scores:
    """Score the answers of a replay.

    Args:
        path: the bag that was replayed.
        out: the bag that was written.
        cameras: that were answered.
        job: what was replayed.
        asked: the settings that held.
        sources: where truths come from.
        poses: topics that tell where a camera is, by camera.
        align: 'frame' or 'bag': what depth is scaled and shifted by.
        callbacks: told every frame.
        progress: told of every frame.

    Raises:
        ValueError: a truth is not of the kind of the task, or not of a size that fits.
    """
    affines = None
    if align == 'bag':
        affines = Affines()
        for camera, _, answers, truths, _ in _walk(path, out, cameras, job, asked, sources, {}):
            affines.update(camera, answers, truths)
    result = Scores(
        affine={
            f'{camera}.{task}' if asked.registry.is_adapter(task) else camera: list(found)
            for (camera, task), found in affines.found().items()
        }
        if affines
        else {}
    )
    judges = {camera.name: _Judge(camera.name, asked, affines) for camera in cameras}
    for number, (camera, taken, answers, truths, pose) in enumerate(
        _walk(path, out, cameras, job, asked, sources, poses)
    ):
        row: dict[str, Any] = {
            'camera': camera,
            'stamp_ns': taken.frame.stamp_ns,
            'log_ns': taken.raw.stamp_ns,
        }
        row |= judges[camera].judge(taken, answers, truths, pose)
        result.rows.append(row)
        for callback in callbacks:
            callback.on_frame(number, camera, taken, answers, row)
        progress(1)
    for name, judge in judges.items():
        result.numbers[name] = judge.numbers()
        result.stability[name] = judge.stability()
        result.warped[name] = judge.warped
        result.missing[name] = {
            task: judge.lacking[task] for source in sources for task in [source.task]
            if source.camera in ('', name) and judge.lacking.get(task)
        }  # fmt: skip
    return result


class _Judge:
    """Gathers the numbers of one camera."""

    def __init__(self, name: str, asked: PerceptionSettings, affines: Affines | None) -> None:
        self._name, self._asked, self._affines = name, asked, affines
        self._tallies: dict[str, evaluators.Evaluator] = {}
        self._means: dict[str, metrics.MeanMetric] = {}
        self._stability = Stability()
        self._changes: dict[str, metrics.MeanMetric] = {}
        self._last: Moment | None = None
        self.warped = 0
        self.lacking: dict[str, int] = {}

    def judge(
        self, taken: ImageFrame, answers: dict[str, Any], truths: dict[str, Any], pose: Any
    ) -> dict[str, float]:
        row = {}
        for task, answer in answers.items():
            if task not in truths:
                self.lacking[task] = self.lacking.get(task, 0) + 1
                continue
            for metric, value in self._score(task, answer, truths[task]).items():
                row[f'{task}.{metric}'] = value
        frame = taken.frame
        # What an adapter calls depth may be another.
        known = [truths[task] for task in sorted(truths, key=self._asked.registry.is_adapter)]
        depth = next((one for one in known if isinstance(one, MetricDepth)), None)
        depth = depth if depth is None else resize_label(depth, frame.size)
        where = None if pose is None else place(pose, frame.frame_id)
        moment = Moment(frame, answers, where, depth)
        if self._last is not None and warped(moment, self._last):
            self.warped += 1
        for task, numbers in self._stability.update(moment).items():
            self._changes.setdefault(task, metrics.MeanMetric()).update(numbers)
            row |= {f'{task}.{metric}': value for metric, value in numbers.items()}
        self._last = moment
        return row

    def _score(self, task: str, answer: Any, true: Any) -> dict[str, float]:
        answer = resize_label(answer, true.size)
        known: Any = self._asked.registry.get(task)
        if isinstance(true, MetricDepth) and self._affines is not None:
            affine = self._affines.found()[self._name, task]
            score: dict[str, float] = known.score(
                answer, true, 'disparity', *METRES, affine=affine
            )
            self._means.setdefault(task, metrics.MeanMetric()).update(score)
            return score
        if known.takes_category:
            return self._categories(task, answer, true)
        if task not in self._tallies:
            depth = isinstance(true, MetricDepth)
            self._tallies[task] = (
                evaluators.depth_evaluator(METRES)
                if depth
                else evaluators.create(task, self._asked.registry)
            )
        question = evaluators.EvalItem(task, Prompt(task), true)
        return self._tallies[task].update(question, answer)

    def _categories(self, task: str, answer: Any, true: Any) -> dict[str, float]:
        """Of each category the intersection over union of its pixels."""
        found = {}
        for number, name in enumerate(self._asked.categories):
            mine = [k + 1 for k, one in enumerate(answer.categories) if one == name]
            said, there = np.isin(answer.ids, mine), true.ids == number + 1
            union = int((said | there).sum())
            found[f'iou_{name}'] = int((said & there).sum()) / union if union else math.nan
        known = [value for value in found.values() if not math.isnan(value)]
        found['mean_iou'] = sum(known) / len(known) if known else math.nan
        self._means.setdefault(task, metrics.MeanMetric()).update(found)
        return found

    def numbers(self) -> dict[str, dict[str, float]]:
        """Of all frames, by task."""
        return {
            **{task: tally.compute() for task, tally in self._tallies.items()},
            **{task: means.compute() for task, means in self._means.items()},
        }

    def stability(self) -> dict[str, dict[str, float]]:
        """MeanMetric over the frames, by task."""
        return {task: means.compute() for task, means in self._changes.items()}


def _walk(
    path: Path,
    out: Path,
    cameras: Sequence[Camera],
    job: Job,
    asked: PerceptionSettings,
    sources: Sequence[Source],
    poses: dict[str, str],
) -> Iterator[tuple[str, ImageFrame, dict[str, Any], dict[str, Any], Any]]:
    """Each answered frame: its camera, answers and truths by task, and the pose message."""
    topics = {one.topic for one in sources if one.topic} | set(poses.values())
    prefixes = {job.prefix_of(camera): camera.name for camera in cameras}
    tolerance_ns = round(asked.depth.tolerance_s * 1e9)
    for source in sources:
        source.begin()
    with contextlib.ExitStack() as stack:
        bag, aside, written = (stack.enter_context(Bag(one)) for one in (path, path, out))
        selection = job.selection(bag)
        lookup = MessageLookup(aside, topics, selection.start_ns)
        stream = _Answers(written, prefixes)
        for taken in frames(bag, cameras, selection, tolerance_s=asked.depth.tolerance_s):
            if not isinstance(taken, ImageFrame):
                continue
            name, frame, log_ns = taken.camera.name, taken.frame, taken.raw.stamp_ns
            messages = stream.of(name, log_ns)
            messages['size'] = frame.size
            answers, truths = {}, {}
            for task in asked.task_names:
                answer = decode.prediction_from_messages(asked.registry.get(task), messages)
                if answer is not None:
                    answers[task] = answer
            for source in sources:
                if source.camera in ('', name):
                    label = source.of(frame, log_ns, lookup, tolerance_ns, asked.categories)
                    if label is not None:
                        truths[source.task] = label
            topic = poses.get(name)
            pose = lookup.nearest(topic, frame.stamp_ns, log_ns, tolerance_ns) if topic else None
            yield name, taken, answers, truths, pose


class _Answers:
    """The messages of a written bag, frame by frame."""

    def __init__(self, bag: Bag, prefixes: dict[str, str]) -> None:
        self._bag, self._prefixes = bag, prefixes
        topics = [topic for topic in bag.topics if self._owner(topic) is not None
                  and not topic.endswith(('/color', '/overlay'))]  # fmt: skip
        self._stream = bag.messages(topics)
        self._next = next(self._stream, None) if topics else None

    def of(self, camera: str, log_ns: int) -> dict[str, Any]:
        """Messages about the next frame of a camera, by relative topic."""
        found: dict[str, Any] = {}
        while self._next is not None and self._next.stamp_ns == log_ns:
            owner = self._owner(self._next.topic)
            assert owner is not None
            prefix, name = owner
            topic = self._next.topic.removeprefix(prefix)
            if name != camera or topic in found:
                break
            found[topic] = self._bag.decode(self._next)
            self._next = next(self._stream, None)
        return found

    def _owner(self, topic: str) -> tuple[str, str] | None:
        fits = [(p, name) for p, name in self._prefixes.items() if topic.startswith(p)]
        return max(fits, key=lambda one: len(one[0])) if fits else None
