# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Perceiver: from a Query about a camera frame to messages; used by the node and by replays.

The stages of a frame, in their order. `infer`: prompts of the tasks whose turn it is, then the
network's predictions. `postprocess`: one label a task (categories combined, instance ids tracked),
metric depth, messages, and the point cloud.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.core.labels import Disparity, Instances, Label, MetricDepth, Normals
from diception_ros.core.prompt import Point, Prompt
from diception_ros.messages import camera_info, outputs
from diception_ros.perception import point_cloud
from diception_ros.perception.metric_depth import estimate_metric_depth
from diception_ros.perception.query import FrameResult, Note, Prediction, Query, cause
from diception_ros.perception.settings import (
    DEFAULT_CATEGORIES,
    DEPTH,
    PerceptionSettings,
)
from diception_ros.perception.tracking import Memory, Tracks
from diception_ros.tasks import BUILTIN

if TYPE_CHECKING:
    from diception_ros.core.frame import Intrinsics
    from diception_ros.messages import Types
    from diception_ros.messages.outputs import Output
    from diception_ros.perception.predictor import Predictor
    from diception_ros.tasks import Task


class Perceiver:
    """Processes queries with one model.

    Above the Predictor: a Predictor makes labels of images and prompts, a Perceiver messages of a
    camera's frames, with state from frame to frame.

    `process` and `reset` may be called from one thread, `check`, `change` and the other methods
    from any. `infer` and `postprocess` may have a thread each: the messages of some frames are
    then made while the model works on the next ones.

    Args:
        predictor: the model.
        types: makes messages.
        settings: what is predicted, and how.

    Raises:
        ValueError: the settings do not suit the model.
    """

    def __init__(self, predictor: Predictor, types: Types, settings: PerceptionSettings) -> None:
        self._predictor, self._types = predictor, types
        self._memories: dict[str, Memory] = {}
        # Frames of each camera that were inferred, and those of them that were postprocessed.
        self._inferred: dict[str, int] = {}
        self._processed: dict[str, int] = {}
        self.check(settings)
        self._settings = settings

    @property
    def settings(self) -> PerceptionSettings:
        """In effect for the next query."""
        return self._settings

    def outputs(self, settings: PerceptionSettings | None = None) -> list[Output]:
        """Every topic that may be published under settings, by default those in effect."""
        settings = settings or self._settings
        task_outputs = [
            item for task in settings.active_tasks for item in self._outputs_of(task, settings)
        ]
        return task_outputs + ([*point_cloud.OUTPUTS] if settings.depth.metric != 'off' else [])

    def latched(self) -> list[tuple[str, Any]]:
        """Topic and message of outputs that depend on the settings in effect, not on a frame."""
        settings = self._settings
        return [
            message
            for task in settings.active_tasks
            for message in outputs.from_settings(self._types, task, settings.categories)
        ]

    def tasks_for_topics(self, topics: frozenset[str]) -> tuple[Task[Any], ...]:
        """The tasks that topics need, in the order of the settings.

        Cloud and scan need the depth, and the first tasks with normals, with instances and with
        categories that are active; metric depth by the camera's height needs the normals. With
        `lazy: false` all active tasks are required.

        Args:
            topics: relative names of topics with subscribers.
        """
        settings = self._settings
        active = settings.active_tasks
        if not settings.live.lazy:
            return active
        cloud: set[str] = set()
        if settings.depth.metric != 'off' and not topics.isdisjoint(point_cloud.TOPICS):
            cloud = {DEPTH} | point_cloud.task_names(active)
        if settings.depth.metric == 'height' and not topics.isdisjoint(self._metric_topics()):
            cloud.update([task.name for task in active if issubclass(task.label, Normals)][:1])
        return tuple(
            task
            for task in active
            if task.name in cloud
            or any(
                item.topic in topics and not item.latched
                for item in self._outputs_of(task, settings)
            )
        )

    def needs_gravity(self, topics: frozenset[str]) -> bool:
        """Whether the direction of gravity by /tf is of use for a query.

        Args:
            topics: relative names of topics with subscribers.
        """
        return not topics.isdisjoint(self._metric_topics()) and point_cloud.needs_gravity(
            self._settings, topics
        )

    def check(self, settings: PerceptionSettings) -> None:
        """Check that the model can do what settings ask for; runs nothing, changes nothing.

        Raises:
            ValueError: the resolution does not suit the model, it has no embedding for a
                category (the message names those that it has, and the nearest), two tasks have a
                topic in common, or an adapter was made for another model.
        """
        active = settings.active_tasks
        self._check_topics(active)
        prompts = []
        for task in active:
            if task.takes_category:
                prompts += [Prompt(task.name, word) for word in settings.categories]
            else:
                points = (Point(0, 0),) if task.takes_points else ()
                prompts.append(Prompt(task.name, points=points))
        # A category that is set is checked when it is set, whether a task asks for it or not. The
        # default is not: a model without it is no fault of other settings.
        set_now = [word for word in settings.categories if word not in DEFAULT_CATEGORIES]
        takers = [name for name in BUILTIN.names() if BUILTIN.get(name).takes_category]
        if not any(task.takes_category for task in active):
            prompts += [Prompt(name, word) for name in takers for word in set_now]
        self._predictor.check(prompts, settings.predict_settings(), settings.adapters)

    def change(self, settings: PerceptionSettings) -> None:
        """Put other settings into effect from the next query on.

        Raises:
            ValueError: they do not suit the model; nothing is changed then.
        """
        self.check(settings)
        self._settings = settings

    def process(self, query: Query) -> FrameResult:
        """Process one query.

        The same frame, settings and state of the camera give the same messages, byte for byte.

        Raises:
            ValueError: a category without embedding.
            RuntimeError: out of memory on a GPU even with a batch of one.
        """
        (result,) = self.postprocess(self.infer([query]))
        return result

    # ---- stages that run the network ------------------------------------------------------------

    def infer(self, queries: Sequence[Query]) -> list[FrameResult]:
        """Predict what several queries ask for, in one go; those of a camera in frame order.

        The results are those of `process`, in turn, up to the rounding of larger batches; with
        `batch_size: 1` they are the same to the byte.

        Returns:
            Results with predictions, for `postprocess`.

        Raises:
            ValueError, RuntimeError: as `process`.
        """
        settings = self._settings
        if settings.registry != self._predictor.tasks:
            # Here and not in `change`, which another thread may call while the network runs.
            self._predictor.adapt(settings.adapters)
        results = [FrameResult(query, settings) for query in queries]
        for result in results:
            self._add_prompts(result)
        predictions = iter(
            self._predictor.infer(
                [item.query.frame for item in results for _ in item.prompts],
                [prompt for item in results for prompt in item.prompts],
                [
                    settings.predict_settings(item.query.frame.stamp_ns)
                    for item in results
                    for _ in item.prompts
                ],
                at_model_size=settings.output_size == 'model',
            )
        )
        for result in results:
            result.predictions = [next(predictions) for _ in result.prompts]
        return results

    def _add_prompts(self, result: FrameResult) -> None:
        """Prompts of the tasks whose turn it is, and notes about those that cannot be asked."""
        query, settings, notes = result.query, result.settings, result.notes
        turn = self._inferred.get(query.camera, 0)
        self._inferred[query.camera] = turn + 1
        active = settings.registry.names()
        for task in query.tasks:
            name = task.name
            # An adapter may have been removed since the frame was received.
            if name not in active or turn % settings.every_n.get(name, 1):
                continue
            if task.takes_category:
                result.prompts += [Prompt(name, category) for category in settings.categories]
            elif not task.takes_points:
                result.prompts.append(Prompt(name))
            elif not query.points:
                notes.append(Note(f'{name} without points', f'{name}: waits for a point'))
            else:
                prompt = Prompt(name, points=query.points)
                try:
                    prompt.check_inside(query.frame.size)
                except ValueError as error:
                    # The camera's images became smaller; the other tasks are not affected.
                    notes.append(Note(f'{name} outside', f'{name}: {error}; point anew'))
                else:
                    result.prompts.append(prompt)

    # ---- stages after the network ---------------------------------------------------------------

    def postprocess(self, results: Sequence[FrameResult]) -> list[FrameResult]:
        """Make messages of predictions, and update the state from frame to frame.

        Args:
            results: of `infer`, each once and in their order.

        Returns:
            The same results, completed.
        """
        for result in results:
            start = time.perf_counter()
            query, settings = result.query, result.settings
            memory = self._memories.setdefault(query.camera, Memory())
            memory.enter(query.frame, settings.temporal.reset_after_s)
            self._processed[query.camera] = self._processed.get(query.camera, 0) + 1
            if doubt := query.frame.doubt:
                result.notes.append(Note(f'image {cause(doubt)}', doubt))
            if problem := query.frame.no_intrinsics:
                text = f'CameraInfo is not used: {problem}. Only results that need it are left out'
                result.notes.append(Note(f'camera_info {cause(problem)}', text))
            labels_by_task = {task.name: _label(task, result, memory) for task in query.tasks}
            labels = {name: label for name, label in labels_by_task.items() if label is not None}
            result.labels = labels
            for task in query.tasks:
                label = labels.get(task.name)
                if label is None:
                    continue
                self._add_messages(result, task, label)
                if task.name == DEPTH and isinstance(label, Disparity):
                    result.metric_depth = self._add_metric_depth(result, task, labels, memory)
            depth = result.metric_depth
            if depth is not None:
                intrinsics = _intrinsics_at(query, depth.size)
                point_cloud.add_messages(self._types, result, depth, intrinsics, labels)
            result.seconds = _seconds(result.predictions)
            result.seconds['messages'] = time.perf_counter() - start
        return list(results)

    def _add_messages(self, result: FrameResult, task: Task[Any], label: Label) -> None:
        query, info = result.query, result.query.info
        if info is not None and not camera_info.describes(info, query.frame.size):
            info = None
        result.messages += outputs.from_label(
            self._types, task, label, query.header, query.frame, query.topics, info,
            result.settings.categories if task.takes_category else (),
        )  # fmt: skip

    def _add_metric_depth(
        self, result: FrameResult, task: Task[Any], labels: Mapping[str, Label], memory: Memory
    ) -> MetricDepth | None:
        """Metres of the disparity, if a topic that is wanted needs them."""
        query, settings = result.query, result.settings
        if settings.depth.metric == 'off' or query.topics.isdisjoint(self._metric_topics()):
            return None
        if (
            query.gravity is None
            and point_cloud.needs_floor(settings)
            and point_cloud.needs_gravity(settings, query.topics)
        ):
            result.notes.append(_no_gravity(query, settings))
        disparity = labels[task.name]
        assert isinstance(disparity, Disparity)
        estimate = estimate_metric_depth(
            disparity,
            _intrinsics_at(query, disparity.size),
            query.frame.frame_id,
            query.reference,
            settings,
            memory,
            point_cloud.normals_of(labels),
            point_cloud.gravity_of(query, settings),
        )
        result.fit, result.depth_problem = estimate.fit, estimate.problem
        result.notes += estimate.notes
        if estimate.depth is not None:
            self._add_messages(result, task, estimate.depth)
        return estimate.depth

    def _metric_topics(self) -> frozenset[str]:
        """Topics that need metric depth."""
        made = outputs.declared(BUILTIN.get(DEPTH), self._types, MetricDepth)
        return point_cloud.TOPICS.union(item.topic for item in made)

    # ---- state from frame to frame --------------------------------------------------------------

    def reset(self, camera: str | None = None) -> None:
        """Drop the state of a camera, or of all."""
        for state in (self._memories, self._inferred, self._processed):
            if camera is None:
                state.clear()
            else:
                state.pop(camera, None)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The state after the last postprocessed frames, whatever was inferred since, as arrays.

        A Perceiver with the same model and settings that loads it processes the next frames as
        this one will.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for camera, turn in self._processed.items():
            memory = self._memories[camera].state_dict() if camera in self._memories else {}
            arrays |= {f'{camera}/{name}': array for name, array in memory.items()}
            arrays[f'{camera}/turn'] = np.array(turn)
        return arrays

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over the state of another Perceiver; inverse of `state_dict`."""
        self.reset()
        cameras: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in state.items():
            camera, _, rest = name.partition('/')
            cameras.setdefault(camera, {})[rest] = array
        for camera, camera_state in cameras.items():
            self._inferred[camera] = self._processed[camera] = int(camera_state.pop('turn'))
            self._memories[camera] = Memory.from_state(camera_state)

    def _outputs_of(self, task: Task[Any], settings: PerceptionSettings) -> list[Output]:
        """The topics of a task, and those of its metric depth if that is set."""
        task_outputs = outputs.declared(task, self._types)
        if task.name == DEPTH and settings.depth.metric != 'off':
            task_outputs = task_outputs + outputs.declared(task, self._types, MetricDepth)
        return task_outputs

    def _check_topics(self, active: Sequence[Task[Any]]) -> None:
        owners: dict[str, str] = {}
        for task in active:
            for item in outputs.declared(task, self._types):
                owner = owners.setdefault(item.topic, task.name)
                if owner != task.name:
                    raise ValueError(
                        f'the tasks {owner} and {task.name} both have a topic {item.topic}; '
                        'use one of them'
                    )


def _label(task: Task[Any], result: FrameResult, memory: Memory) -> Label | None:
    """The label of a task: its predictions combined, and its instances tracked."""
    predicted: list[Any] = [
        prediction.label
        for prediction in result.predictions
        if prediction.prompt.task == task.name
    ]
    if not predicted:
        return None
    label: Label = predicted[0] if len(predicted) == 1 else combine(predicted)
    if result.settings.temporal.track_ids and isinstance(label, Instances):
        tracks = memory.tracks.setdefault(task.name, Tracks())
        label = tracks.follow(label, result.settings.temporal.min_iou)
    return label


def combine(labels: Sequence[Instances]) -> Instances:
    """Combine instances of several categories of one frame into one label.

    A pixel of several instances goes to the one with the highest score, and among equals to the
    label that comes first. An instance that loses all its pixels is left out. The others are
    numbered in the order of the labels.

    Raises:
        ValueError: no labels, or of several sizes.
    """
    sizes = {label.size for label in labels}
    if len(sizes) != 1:
        raise ValueError(f'combine: expected labels of one size, got {sorted(sizes)}')
    size = sizes.pop()
    ids, best = np.zeros(size, np.int32), np.full(size, -1, np.float32)
    before = 0
    for label in labels:
        # The background is worth less than an instance of score 0.
        score = np.concatenate([np.array([-1], np.float32), label.scores])[label.ids]
        wins = score > best
        ids[wins] = label.ids[wins] + before
        best[wins] = score[wins]
        before += len(label.scores)
    names = tuple(name for label in labels for name in label.categories)
    return Instances(ids, names, np.concatenate([label.scores for label in labels])).present()


def _intrinsics_at(query: Query, size: tuple[int, int]) -> Intrinsics | None:
    """The pinhole of the frame at the size of a label: the frame's, or the network's output."""
    frame = query.frame
    if frame.intrinsics is None or size == frame.size:
        return frame.intrinsics
    return frame.intrinsics.to_model(images.ResizeTransform(frame.size, size[0]))


def _no_gravity(query: Query, settings: PerceptionSettings) -> Note:
    text = 'the direction of gravity is estimated from the normals, which may be off by degrees'
    if settings.points.gravity_frame:
        text += (
            f': /tf and /tf_static do not connect points.gravity_frame, '
            f'{settings.points.gravity_frame!r}, with the frame of the image, '
            f'{query.frame.frame_id!r}, at its time'
        )
    return Note(
        'gravity', f'{text}; set points.gravity, or points.gravity_frame to a frame of /tf'
    )


def _seconds(predictions: Sequence[Prediction]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for prediction in predictions:
        task = prediction.prompt.task
        seconds[task] = seconds.get(task, 0.0) + sum(prediction.seconds.values())
    seconds['model'] = sum(
        item.seconds[stage] for item in predictions for stage in ('encode', 'denoise', 'decode')
    )
    return seconds
