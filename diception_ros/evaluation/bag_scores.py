# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a replay: predictions against the ground truth, and temporal consistency.

Everything is read from the two bags, so that a resumed replay is scored like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass, field
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.bag_replay.run import Job
from diception_ros.bags.frames import ImageFrame, MessageLookup, frames
from diception_ros.bags.reader import Bag
from diception_ros.core import geometry
from diception_ros.core.frame import Frame, Transform
from diception_ros.core.geometry import ScaleShift, ScaleShiftMoments
from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Label,
    Mask,
    MetricDepth,
    Normals,
    resize_label,
)
from diception_ros.core.prompt import Prompt
from diception_ros.evaluation import evaluators, metrics
from diception_ros.messages.outputs import to_label
from diception_ros.messages.poses import pose_of

if TYPE_CHECKING:
    from diception_ros.bags.frames import Camera
    from diception_ros.datasets.ground_truth import GroundTruthSource
    from diception_ros.perception.settings import PerceptionSettings

# Range of depths that are scored, metres.
METRES = (1e-3, math.inf)


class ScaleShiftFitter:
    """Fits disparity to 1/depth by one scale and shift for all frames of a camera and task."""

    def __init__(self) -> None:
        self._moments: dict[tuple[str, str], ScaleShiftMoments] = {}

    def update(self, camera: str, predictions: dict[str, Any], truths: dict[str, Any]) -> None:
        """Add the pixels of a frame."""
        for task, prediction in predictions.items():
            true = truths.get(task)
            if not (isinstance(prediction, Disparity) and isinstance(true, MetricDepth)):
                continue
            x = resize_label(prediction, true.size).values
            y = 1 / true.values.astype(np.float64)
            # Zeros are left out, as where each frame is fitted: they may have been clipped.
            known = np.isfinite(x) & np.isfinite(y) & (x > 0)
            moments = self._moments.setdefault((camera, task), ScaleShiftMoments())
            moments.update(x[known], y[known])

    def compute(self) -> dict[tuple[str, str], ScaleShift]:
        """Scale and shift (1/m) by camera and task; NaN where nothing is known."""
        return {key: moments.fit() for key, moments in self._moments.items()}


class FrameCallback(Protocol):
    """Called while predictions are scored, to draw them."""

    def on_frame(
        self,
        number: int,
        camera: str,
        taken: ImageFrame,
        predictions: dict[str, Label],
        truths: dict[str, Label],
        row: dict[str, float],
    ) -> None:
        """Called for every frame with predictions and truths by task.

        `row` has its metrics, such as 'depth.abs_rel'.
        """
        ...


@dataclass
class Scores:
    """Metrics of a replay.

    Attributes:
        rows: of each frame: 'camera', 'stamp_ns', 'log_ns', and metrics such as 'depth.abs_rel'.
        numbers: by camera, task and metric, of all frames.
        stability: by camera, task and metric: means over the frames.
        warped: by camera, frames that were compared with the last one by the camera's pose.
        scale_shift: by camera, scale and shift (1/m) by which depth was scored, with `--align
            bag`; of an adapter's task by CAMERA.TASK.
        missing: by camera and task, frames without ground truth.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    stability: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    warped: dict[str, int] = field(default_factory=dict)
    scale_shift: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, dict[str, int]] = field(default_factory=dict)


class _ScoredFrame(NamedTuple):
    """A frame with predictions and truths by task, and the message with the camera's pose."""

    record: ImageFrame
    predictions: dict[str, Any]
    truths: dict[str, Any]
    pose: Any


def score(
    path: Path,
    out: Path,
    cameras: Sequence[Camera],
    job: Job,
    perception: PerceptionSettings,
    sources: Sequence[GroundTruthSource],
    poses: dict[str, str],
    align: str = 'frame',
    callbacks: Sequence[FrameCallback] = (),
    progress: Callable[[int], None] = lambda frames: None,
) -> Scores:
    """Score the predictions of a replay.

    `poses` are topics with the pose of a camera, by camera. Depth is scaled and shifted for each
    frame or for the whole bag, as `align` says. `progress` gets the number of further frames.

    Raises:
        ValueError: a truth is not of the type of the task, or its size does not fit.
    """
    walk = functools.partial(_walk, path, out, cameras, job, perception, sources)
    scale_shifts: dict[tuple[str, str], ScaleShift] = {}
    if align == 'bag':
        fitter = ScaleShiftFitter()
        for frame in walk({}):
            fitter.update(frame.record.camera.name, frame.predictions, frame.truths)
        scale_shifts = fitter.compute()
    result = Scores(
        scale_shift={
            f'{camera}.{task}' if perception.registry.is_adapter(task) else camera: list(
                scale_shift
            )
            for (camera, task), scale_shift in scale_shifts.items()
        }
    )
    scorers = {
        camera.name: _CameraScorer(camera.name, perception, scale_shifts) for camera in cameras
    }
    for number, frame in enumerate(walk(poses)):
        camera = frame.record.camera.name
        row: dict[str, Any] = {
            'camera': camera,
            'stamp_ns': frame.record.frame.stamp_ns,
            'log_ns': frame.record.raw.stamp_ns,
            **scorers[camera].update(frame),
        }
        result.rows.append(row)
        for callback in callbacks:
            callback.on_frame(number, camera, frame.record, frame.predictions, frame.truths, row)
        progress(1)
    for name, scorer in scorers.items():
        result.numbers[name] = scorer.compute()
        result.stability[name] = {task: m.compute() for task, m in scorer.changes.items()}
        result.warped[name] = scorer.warped
        result.missing[name] = {
            source.task: scorer.missing[source.task] for source in sources
            if source.camera in ('', name) and scorer.missing.get(source.task)
        }  # fmt: skip
    return result


class _CameraScorer:
    """Accumulates the metrics of one camera.

    Attributes:
        changes: change from frame to frame, by task.
        warped: frames that were compared with the last one by the camera's pose.
        missing: frames without ground truth, by task.
    """

    def __init__(
        self,
        name: str,
        perception: PerceptionSettings,
        scale_shifts: dict[tuple[str, str], ScaleShift],
    ) -> None:
        self._name, self._perception, self._scale_shifts = name, perception, scale_shifts
        self._evaluators: dict[str, evaluators.Evaluator] = {}
        self._means: dict[str, metrics.MeanMetric] = {}
        self._stability = TemporalConsistency()
        self._last: FrameState | None = None
        self.changes: dict[str, metrics.MeanMetric] = {}
        self.warped = 0
        self.missing: dict[str, int] = {}

    def update(self, scored: _ScoredFrame) -> dict[str, float]:
        """Add a frame; returns its metrics, such as 'depth.abs_rel'."""
        row, truths, frame = dict[str, float](), scored.truths, scored.record.frame
        for task, prediction in scored.predictions.items():
            if task not in truths:
                self.missing[task] = self.missing.get(task, 0) + 1
                continue
            values = self._score(task, prediction, truths[task])
            row |= {f'{task}.{metric}': value for metric, value in values.items()}
        # An adapter's task may call something else depth.
        known = [truths[task] for task in sorted(truths, key=self._perception.registry.is_adapter)]
        depth = next((true for true in known if isinstance(true, MetricDepth)), None)
        depth = depth if depth is None else resize_label(depth, frame.size)
        where = None if scored.pose is None else pose_of(scored.pose, frame.frame_id)
        moment = FrameState(frame, scored.predictions, where, depth)
        if self._last is not None and is_warped(moment, self._last):
            self.warped += 1
        for task, values in self._stability.update(moment).items():
            self.changes.setdefault(task, metrics.MeanMetric()).update(values)
            row |= {f'{task}.{metric}': value for metric, value in values.items()}
        self._last = moment
        return row

    def compute(self) -> dict[str, dict[str, float]]:
        """Metrics of all frames, by task."""
        return {
            **{task: evaluator.compute() for task, evaluator in self._evaluators.items()},
            **{task: mean.compute() for task, mean in self._means.items()},
        }

    def _score(self, task: str, prediction: Any, true: Any) -> dict[str, float]:
        prediction = resize_label(prediction, true.size)
        known: Any = self._perception.registry.get(task)
        depth = isinstance(true, MetricDepth)
        scale_shift = self._scale_shifts.get((self._name, task))
        if depth and scale_shift is not None:
            values = known.score(prediction, true, 'disparity', *METRES, scale_shift=scale_shift)
        elif not depth and known.takes_category:
            values = self._category_iou(prediction, true)
        else:
            if task not in self._evaluators:
                self._evaluators[task] = (
                    evaluators.depth_evaluator(METRES)
                    if depth
                    else evaluators.create(task, self._perception.registry)
                )
            item = evaluators.EvalItem(task, Prompt(task), true)
            return self._evaluators[task].update(item, prediction)
        self._means.setdefault(task, metrics.MeanMetric()).update(values)
        return dict(values)

    def _category_iou(self, prediction: Any, true: Any) -> dict[str, float]:
        """Intersection over union of the pixels of each category, and their mean."""
        iou = {}
        for number, name in enumerate(self._perception.categories):
            ids = [k + 1 for k, category in enumerate(prediction.categories) if category == name]
            predicted, actual = np.isin(prediction.ids, ids), true.ids == number + 1
            union = int((predicted | actual).sum())
            iou[f'iou_{name}'] = int((predicted & actual).sum()) / union if union else math.nan
        known = [value for value in iou.values() if not math.isnan(value)]
        iou['mean_iou'] = sum(known) / len(known) if known else math.nan
        return iou


def _walk(
    path: Path,
    out: Path,
    cameras: Sequence[Camera],
    job: Job,
    perception: PerceptionSettings,
    sources: Sequence[GroundTruthSource],
    poses: dict[str, str],
) -> Iterator[_ScoredFrame]:
    """The frames of a replay in order."""
    topics = {source.topic for source in sources if source.topic} | set(poses.values())
    tolerance_ns = round(perception.depth.tolerance_s * 1e9)
    for source in sources:
        source.begin()
    with contextlib.ExitStack() as stack:
        bag, aside, written = (stack.enter_context(Bag(each)) for each in (path, path, out))
        selection = job.selection(bag)
        lookup = MessageLookup(aside, topics, selection.start_ns)
        results = _ResultMessages(written, job, cameras)
        for record in frames(bag, cameras, selection, tolerance_s=perception.depth.tolerance_s):
            if not isinstance(record, ImageFrame):
                continue
            name, frame, log_ns = record.camera.name, record.frame, record.raw.stamp_ns
            messages = {**results.next(name, log_ns), 'size': frame.size}
            predictions, truths = {}, {}
            for task in perception.task_names:
                prediction = to_label(perception.registry.get(task), messages)
                if prediction is not None:
                    predictions[task] = prediction
            for source in sources:
                if source.camera in ('', name):
                    label = source.of(frame, log_ns, lookup, tolerance_ns, perception.categories)
                    if label is not None:
                        truths[source.task] = label
            topic = poses.get(name)
            pose = lookup.nearest(topic, frame.stamp_ns, log_ns, tolerance_ns) if topic else None
            yield _ScoredFrame(record, predictions, truths, pose)


class _ResultMessages:
    """The messages of a written bag, frame by frame."""

    def __init__(self, bag: Bag, job: Job, cameras: Sequence[Camera]) -> None:
        self._bag = bag
        owners = {topic: job.owner_of(topic, cameras) for topic in bag.topics}
        self._owners = {topic: owner for topic, owner in owners.items() if owner is not None}
        topics = [topic for topic in self._owners if not topic.endswith(('/color', '/overlay'))]
        self._stream = bag.messages(topics)
        self._next = next(self._stream, None) if topics else None

    def next(self, camera: str, log_ns: int) -> dict[str, Any]:
        """Messages of the next frame of a camera, by relative topic."""
        messages: dict[str, Any] = {}
        while self._next is not None and self._next.stamp_ns == log_ns:
            prefix, name = self._owners[self._next.topic]
            topic = self._next.topic.removeprefix(prefix)
            if name != camera or topic in messages:
                break
            messages[topic] = self._bag.decode(self._next)
            self._next = next(self._stream, None)
        return messages


# Temporal consistency: how much results change from frame to frame where the scene does not.
#
# Where camera poses and depths are known, each pixel is projected into the frame before: changes
# by the camera's motion do not count, and pixels that are hidden there are left out. Without them
# the pixels are compared in place, if their colour stayed the same.


# Shades of 256 by which a pixel may differ and still show the same point: twice the noise of an
# 8-bit camera in a room, after the blur.
SAME_COLOR = 6
# Share of the depth by which a pixel may differ and still be the same point.
SAME_PLACE = 0.05


@dataclass(frozen=True, eq=False)
class FrameState:
    """One frame with its results.

    Attributes:
        frame: the frame.
        predictions: predictions by task, of the frame's size.
        pose: of the camera in the world, None where it is unknown.
        depth: metres, of the frame's size; None where unknown.
    """

    frame: Frame
    predictions: dict[str, Any]
    pose: Transform | None = None
    depth: MetricDepth | None = None


class TemporalConsistency:
    """Compares each frame of a camera with the one before."""

    def __init__(self) -> None:
        self._last: FrameState | None = None

    def update(self, now: FrameState) -> dict[str, dict[str, float]]:
        """Numbers of a frame by task, see `_compare`; none for the first."""
        last, self._last = self._last, now
        if last is None or last.frame.size != now.frame.size:
            return {}
        here, there = _pairs(last, now)
        share = len(here) / (now.frame.size[0] * now.frame.size[1])
        stability = {}
        for task, label in now.predictions.items():
            before = last.predictions.get(task)
            if before is None or isinstance(label, Keypoints):
                continue
            numbers = _compare(task, before, label, last, now, here, there)
            if numbers:
                stability[task] = {**numbers, 'compared': share}
        return stability


def is_warped(now: FrameState, last: FrameState) -> bool:
    """Whether pixels can be projected into the frame before, rather than compared in place."""
    return None not in (now.pose, last.pose, now.depth, now.frame.intrinsics)


def _pairs(last: FrameState, now: FrameState) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat indices of pixels that show the same point, (N,) in this frame and in the last."""
    height, width = now.frame.size
    everywhere = np.arange(height * width)
    if not is_warped(now, last):
        colors = [cv2.GaussianBlur(item.frame.image, (5, 5), 0) for item in (last, now)]
        off = np.abs(colors[0].astype(np.int16) - colors[1]).max(axis=-1).ravel()
        same = everywhere[off <= SAME_COLOR]
        return same, same
    assert now.depth is not None
    assert now.frame.intrinsics is not None
    points = geometry.back_project(now.depth, now.frame.intrinsics).reshape(-1, 3)
    moved = _move(points.astype(np.float64), now, last)
    pinhole = last.frame.intrinsics or now.frame.intrinsics
    with np.errstate(invalid='ignore', divide='ignore'):
        column = moved[:, 0] / moved[:, 2] * pinhole.fx + pinhole.cx
        row = moved[:, 1] / moved[:, 2] * pinhole.fy + pinhole.cy
        inside = (moved[:, 2] > 0) & (row >= 0) & (row <= height - 1)
        inside &= (column >= 0) & (column <= width - 1)
    here = everywhere[inside]
    there = (np.rint(row[inside]) * width + np.rint(column[inside])).astype(np.int64)
    if last.depth is not None:
        seen = last.depth.values.ravel()[there]
        visible = np.abs(seen / moved[here, 2] - 1) < SAME_PLACE
        here, there = here[visible], there[visible]
    return here, there


def _move(points: NDArray[np.float64], now: FrameState, last: FrameState) -> NDArray[np.float64]:
    assert now.pose is not None
    assert last.pose is not None
    world = points @ now.pose.rotation.T + now.pose.translation
    return np.asarray((world - last.pose.translation) @ last.pose.rotation, np.float64)


def _compare(
    task: str,
    before: Any,
    label: Any,
    last: FrameState,
    now: FrameState,
    here: NDArray[np.int64],
    there: NDArray[np.int64],
) -> dict[str, float]:
    """The number of one task.

    `change`: of a disparity and of an image the mean difference; `change_depth`: where places
    are compared, the mean relative difference of a disparity's depths, each frame scaled and
    shifted to suit what is known;
    `change_deg`: of normals the mean angle; `label_consistency`: of instances and masks the share
    of pixels that stayed what they were.
    """
    size = now.frame.size
    before, label = resize_label(before, size), resize_label(label, size)
    if not len(here):
        return {}
    if isinstance(label, Disparity):
        if is_warped(now, last):
            return _depth_change(before, label, last, now, here, there)
        old, new = before.values.ravel()[there], label.values.ravel()[here]
        return {'change': float(np.nanmean(np.abs(new - old)))}
    if isinstance(label, Normals):
        old, new = before.vectors.reshape(-1, 3)[there], label.vectors.reshape(-1, 3)[here]
        if is_warped(now, last):
            assert now.pose is not None
            assert last.pose is not None
            turn = now.pose.rotation.T @ last.pose.rotation
            old = old @ turn.T.astype(np.float32)
        cosine = np.clip(np.einsum('nc,nc->n', old, new), -1, 1)
        known = np.isfinite(cosine)
        mean = float(np.degrees(np.arccos(cosine[known])).mean()) if known.any() else float('nan')
        return {'change_deg': mean}
    if isinstance(label, Mask):
        return {
            'label_consistency': float(
                (before.values.ravel()[there] == label.values.ravel()[here]).mean()
            )
        }
    if isinstance(label, Instances):
        return {
            'label_consistency': float(
                (before.ids.ravel()[there] == label.ids.ravel()[here]).mean()
            )
        }
    if isinstance(label, ImageLabel):
        old, new = before.values.reshape(-1, 3)[there], label.values.reshape(-1, 3)[here]
        return {'change': float(np.abs(new - old).mean())}
    return {}


def _depth_change(
    before: Disparity,
    label: Disparity,
    last: FrameState,
    now: FrameState,
    here: NDArray[np.int64],
    there: NDArray[np.int64],
) -> dict[str, float]:
    assert now.depth is not None
    assert now.frame.intrinsics is not None
    if last.depth is None:
        return {}
    new, old = (
        geometry.to_metric(item, geometry.fit_scale_shift(item.values, 1 / depth.values))
        for item, depth in ((label, now.depth), (before, last.depth))
    )
    points = geometry.back_project(new, now.frame.intrinsics).reshape(-1, 3)[here]
    expected = _move(points.astype(np.float64), now, last)[:, 2]
    with np.errstate(divide='ignore', invalid='ignore'):
        off = np.abs(old.values.ravel()[there] / expected - 1)
    known = np.isfinite(off) & (expected > 0)
    return {'change_depth': float(off[known].mean()) if known.any() else float('nan')}
