# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One camera frame in, messages out: what a running node and a replay of a bag have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.core.labels import Instances, Label, MetricDepth, Normals
from diception_ros.core.prompt import Point, Prompt
from diception_ros.messages import outputs
from diception_ros.perception.publish import publish
from diception_ros.perception.query import Answer, Note, Question, Request
from diception_ros.perception.settings import DEPTH, PerceptionSettings, clean_categories
from diception_ros.perception.tracking import Memory, Tracks

# One map of things from the answers about several categories.


def combine(labels: Sequence[Instances]) -> Instances:
    """Put the things of several answers about one frame into one label.

    A pixel that several answers claim goes to the thing with the highest score, and among equals
    to the answer that comes first. A thing that so loses all its pixels is left out.

    Args:
        labels: at least one, all of one size.

    Returns:
        The things, numbered in the order of the answers.

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
        # Nothing is worth less than a thing of score 0.
        score = np.concatenate([np.array([-1], np.float32), label.scores])[label.ids]
        wins = score > best
        ids[wins] = label.ids[wins] + before
        best[wins] = score[wins]
        before += len(label.scores)
    names = tuple(name for label in labels for name in label.categories)
    return Instances(ids, names, np.concatenate([label.scores for label in labels])).present()


# What the model is to be asked about a frame.


if TYPE_CHECKING:
    from diception_ros.perception.query import Request
    from diception_ros.perception.settings import PerceptionSettings


@dataclass(frozen=True, eq=False)
class Plan:
    """What is done about one request.

    Attributes:
        request: the request.
        categories: to be looked for.
        prompts: for the model, those of a task side by side.
        notes: why tasks that were asked for are left out.
    """

    request: Request
    categories: tuple[str, ...]
    prompts: list[Prompt]
    notes: list[Note]


def make_plan(request: Request, settings: PerceptionSettings, turn: int, gone: Set[str]) -> Plan:
    """Plan a request.

    Args:
        request: says which tasks, and with which points and categories.
        settings: say whose turn it is, and what holds where the request is silent.
        turn: how many frames of the camera came before.
        gone: tasks that there are no more.
    """
    plan = Plan(request, clean_categories(request.categories) or settings.categories, [], [])
    for name in request.tasks:
        if name in gone or turn % settings.every_n.get(name, 1):
            continue
        task = settings.registry.get(name)
        if task.takes_category:
            plan.prompts.extend(Prompt(name, category) for category in plan.categories)
        elif not task.takes_points:
            plan.prompts.append(Prompt(name))
        elif not request.points:
            plan.notes.append(Note(f'{name} without points', f'{name}: waits for a point'))
        else:
            prompt = Prompt(name, points=request.points)
            try:
                prompt.check_inside(request.frame.size)
            except ValueError as error:
                # The camera's pictures became smaller; the other tasks have their answers.
                plan.notes.append(Note(f'{name} outside', f'{name}: {error}; point anew'))
                continue
            plan.prompts.append(prompt)
    return plan


if TYPE_CHECKING:
    from diception_ros.messages.base import Types
    from diception_ros.messages.outputs import Output
    from diception_ros.perception.predictor import Predictor
    from diception_ros.perception.query import Prediction
    from diception_ros.tasks import Task

__all__ = ['Answer', 'Asked', 'Note', 'Perceiver', 'Request']


@dataclass(frozen=True, eq=False)
class Asked:
    """What the model said about some requests, of which no messages are made yet.

    Attributes:
        plans: of the requests.
        predictions: of all plans, one after the other.
        settings: that held.
    """

    plans: list[Plan]
    predictions: list[Prediction]
    settings: PerceptionSettings


class Perceiver:
    """Answers requests with one model; `perceive` and `forget` from one thread, the rest from any.

    `perceive` is `ask` and then `tell`, which may be in a thread each: the messages of some frames
    are then made while the model works on the next.

    Args:
        predictor: the model.
        types: makes messages.
        settings: what is asked, and how.

    Raises:
        ValueError: the settings do not suit the model.
    """

    def __init__(self, predictor: Predictor, types: Types, settings: PerceptionSettings) -> None:
        self._predictor, self._types = predictor, types
        self._memories: dict[str, Memory] = {}
        # Frames of each camera that were asked about, and those of them that were told of.
        self._turns: dict[str, int] = {}
        self._told: dict[str, int] = {}
        # The adapters that are in, and the tasks that any of them may have brought.
        self._adapted: tuple[Any, ...] = ((), tasks.BUILTIN)
        self._brought: set[str] = set()
        self.check(settings)
        self._take(settings)

    @property
    def settings(self) -> PerceptionSettings:
        """What holds for the next request."""
        return self._settings

    def outputs(self, settings: PerceptionSettings | None = None) -> list[Output]:
        """Every topic that may come out under these settings, by default the present ones."""
        settings = settings or self._settings
        found = []
        for name in settings.asked:
            found += self._declared(name, settings)
        return found + ([outputs.POINTS] if settings.depth.metric != 'off' else [])

    def needed(self, wanted: frozenset[str]) -> tuple[str, ...]:
        """The tasks that topics need, in the order of the settings.

        The cloud needs the depth, and of the tasks that are set the first with normals and the
        first with instances. With `lazy: false` all tasks are needed.

        Args:
            wanted: relative names of the topics that somebody listens to.
        """
        settings = self._settings
        if not settings.live.lazy:
            return settings.asked
        found = {
            name
            for name in settings.asked
            if not wanted.isdisjoint(one.topic for one in self._declared(name, settings))
        }
        if settings.depth.metric != 'off' and outputs.POINTS.topic in wanted:
            found |= {DEPTH, *_beside_depth(settings)}
        return tuple(name for name in settings.asked if name in found)

    def _declared(self, name: str, settings: PerceptionSettings) -> list[Output]:
        """The topics of a task, and those of its metres where they are set."""
        task = settings.registry.get(name)
        found = outputs.declared(task, self._types)
        if name == DEPTH and settings.depth.metric != 'off':
            found += outputs.declared(task, self._types, MetricDepth)
        return found

    def check(self, settings: PerceptionSettings, categories: Sequence[str] = ()) -> None:
        """Make sure that the model can do what is asked; runs nothing, changes nothing.

        Args:
            settings: what is to hold.
            categories: that are to be looked for instead of those of the settings.

        Raises:
            ValueError: the resolution does not suit the model, it knows no embedding for a
                category (the message names those that it knows, and which is near), no task takes
                a category, two tasks have a topic in common, or an adapter was made for another
                model.
        """
        cleaned = clean_categories(tuple(categories))
        asked = [settings.registry.get(name) for name in settings.asked]
        self._check_topics(asked)
        if cleaned and not any(task.takes_category for task in asked):
            takers = [name for name in tasks.names() if tasks.get(name).takes_category]
            raise ValueError(
                f'none of the tasks {", ".join(settings.asked)} takes a category; '
                f'add {" or ".join(takers)} to tasks'
            )
        prompts = []
        for task in asked:
            if task.takes_category:
                words = dict.fromkeys([*settings.categories, *cleaned])
                prompts += [Prompt(task.name, word) for word in words]
            else:
                points = (Point(0, 0),) if task.takes_points else ()
                prompts.append(Prompt(task.name, points=points))
        self._predictor.check(prompts, settings.predicting(), settings.adapters)

    def change(self, settings: PerceptionSettings) -> None:
        """Let other settings hold from the next request on.

        Raises:
            ValueError: they do not suit the model; nothing is changed then.
        """
        self.check(settings)
        self._take(settings)

    def _take(self, settings: PerceptionSettings) -> None:
        # Before the settings: the worker may look at any moment.
        self._brought |= {card.name for card in settings.registry.cards}
        self._settings = settings

    def _check_topics(self, asked: Sequence[Task[Any]]) -> None:
        owners: dict[str, str] = {}
        for task in asked:
            for one in outputs.declared(task, self._types):
                owner = owners.setdefault(one.topic, task.name)
                if owner != task.name:
                    raise ValueError(
                        f'the tasks {owner} and {task.name} both have a topic {one.topic}; '
                        'ask one of them'
                    )

    def perceive(self, request: Request) -> Answer:
        """Answer one request.

        The same frame, settings and memory of the camera give the same messages, byte for byte.

        Raises:
            ValueError: a task that does not exist or a category without embedding.
            RuntimeError: out of memory on a GPU even for one answer at a time.
        """
        return self.perceive_all([request])[0]

    def perceive_all(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer several requests in one go, those of one camera in the order of its frames.

        The answers are those of `perceive`, in turn, up to the rounding of larger batches; with
        `batch_size: 1` they are the same to the byte.

        Raises:
            ValueError: as `perceive`.
            RuntimeError: as `perceive`.
        """
        return self.tell(self.ask(requests))

    def ask(self, requests: Sequence[Request]) -> Asked:
        """The model's part of `perceive_all`.

        Raises:
            ValueError: as `perceive`.
            RuntimeError: as `perceive`.
        """
        settings = self._settings
        if (settings.adapters, settings.registry) != self._adapted:
            # Here and not in `change`, which another thread may call while the model works.
            self._predictor.adapt(settings.adapters)
            self._adapted = settings.adapters, settings.registry
        plans = [self._plan(request, settings) for request in requests]
        questions = [
            Question(
                plan.request.frame,
                prompt,
                settings.predicting(plan.request.frame.stamp_ns),
                at_model_size=settings.output_size == 'model',
            )
            for plan in plans
            for prompt in plan.prompts
        ]
        predictions = self._predictor.ask(questions) if questions else []
        return Asked(plans, predictions, settings)

    def tell(self, asked: Asked) -> list[Answer]:
        """The rest of `perceive_all`: messages, and what is kept from frame to frame.

        Args:
            asked: of `ask`, each once and in their order.
        """
        answers, at = [], 0
        for plan in asked.plans:
            end = at + len(plan.prompts)
            answers.append(self._finish(plan, asked.predictions[at:end], asked.settings))
            at = end
        return answers

    def forget(self, camera: str | None = None) -> None:
        """Drop what is kept from frame to frame of a camera, or of all."""
        for kept in (self._memories, self._turns, self._told):
            if camera is None:
                kept.clear()
            else:
                kept.pop(camera, None)

    def state(self) -> dict[str, NDArray[Any]]:
        """What is kept from frame to frame, as arrays that stay as they are.

        It is what was kept after the last frames that `tell` told of, whatever was asked since. A
        Perceiver with the same model and settings that is given it by `go_on` answers the next
        frames as this one will.
        """
        found: dict[str, NDArray[Any]] = {}
        for camera, turn in self._told.items():
            kept = self._memories[camera].state() if camera in self._memories else {}
            found |= {f'{camera}/{name}': array for name, array in kept.items()}
            found[f'{camera}/turn'] = np.array(turn)
        return found

    def go_on(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what another Perceiver had kept; inverse of `state`."""
        self.forget()
        cameras: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in state.items():
            camera, _, rest = name.partition('/')
            cameras.setdefault(camera, {})[rest] = array
        for camera, kept in cameras.items():
            self._turns[camera] = self._told[camera] = int(kept.pop('turn'))
            self._memories[camera] = Memory.from_state(kept)

    def _plan(self, request: Request, settings: PerceptionSettings) -> Plan:
        turn = self._turns.get(request.camera, 0)
        self._turns[request.camera] = turn + 1
        # An adapter may have been taken out since the frame came.
        return make_plan(request, settings, turn, self._brought.difference(settings.asked))

    def _finish(
        self, plan: Plan, predictions: list[Prediction], settings: PerceptionSettings
    ) -> Answer:
        start = time.perf_counter()
        request = plan.request
        memory = self._memories.setdefault(request.camera, Memory())
        memory.enter(request.frame, settings.temporal.reset_after_s)
        self._told[request.camera] = self._told.get(request.camera, 0) + 1
        labels: dict[str, Label] = {}
        for name in dict.fromkeys(prompt.task for prompt in plan.prompts):
            answers: list[Any] = [one.label for one in predictions if one.prompt.task == name]
            label = answers[0] if len(answers) == 1 else combine(answers)
            if settings.temporal.track_ids and isinstance(label, Instances):
                tracks = memory.tracks.setdefault(name, Tracks())
                label = tracks.follow(label, settings.temporal.min_iou)
            labels[name] = label
        found = publish(self._types, request, labels, plan.categories, settings, memory)
        seconds = _seconds(predictions)
        seconds['messages'] = time.perf_counter() - start
        return Answer(found.messages, predictions, seconds, found.fit, plan.notes + found.notes)


def _seconds(predictions: Sequence[Prediction]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for one in predictions:
        task = one.prompt.task
        seconds[task] = seconds.get(task, 0.0) + sum(one.seconds.values())
    seconds['model'] = sum(
        one.seconds[stage] for one in predictions for stage in ('encode', 'denoise', 'decode')
    )
    return seconds


def _beside_depth(settings: PerceptionSettings) -> list[str]:
    """The tasks whose answers go into the cloud with the depth."""
    found = []
    for kind in (Normals, Instances):
        known = [
            name for name in settings.asked if issubclass(settings.registry.get(name).label, kind)
        ]
        found += known[:1]
    return found
