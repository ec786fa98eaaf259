# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The recorded answers against the truth, beside a constant picture that saw nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diception_ros.demo import answers
from diception_ros.demo.drive import Drive
from diception_ros.evaluate import questions, rooms
from diception_ros.evaluate.questions import ONE_POINT, Question
from diception_ros.labels import Instances, Label, Mask
from diception_ros.prompt import Prompt
from diception_ros.sim import recorded
from diception_ros.sim.recorded import RecordedView

MODEL, CONSTANT = 'model', 'constant picture'
# Rooms of the training split whose true pictures make the constant one; more change little.
_ROOMS = 10

Numbers = dict[str, dict[str, dict[str, float]]]


def constant(
    side: int, size: tuple[int, int], cache: Path, backend: str | None = None
) -> rooms.Constant:
    """What a model would answer that had learnt the mean picture and nothing else.

    Args:
        side: of the model's square, pixels.
        size: (H, W) of the camera's pictures, pixels.
        cache: folder that the pictures are kept in, since rendering takes time.
        backend: OpenGL library, see `sim.gl.context`.
    """
    file = cache / f'constant_{size[1]}x{size[0]}_{side}.npz'
    if not file.exists():
        means = rooms.mean_of_rooms(0, size, side, _ROOMS, backend)
        np.savez_compressed(file, **means)  # type: ignore[arg-type]
    with np.load(file) as kept:
        return rooms.Constant({name: kept[name] for name in kept.files})


def judge(drive: Drive, bag: Path, names: Sequence[str], control: rooms.Constant) -> Numbers:
    """Numbers by kind of question, metric, and who answered.

    Args:
        drive: with truth.
        bag: that was recorded.
        names: of the tasks.
        control: the constant picture.
    """
    tallies: dict[str, dict[str, questions.Tally]] = {}
    for view, messages in both(drive, bag):
        for question in ask(view, drive, names):
            found = answer(question, messages, view, drive)
            other = control.answer(question.prompt, view.size)
            if found is None or other is None:
                continue
            mine = tallies.setdefault(
                question.name, {who: questions.tally(question.name) for who in (MODEL, CONSTANT)}
            )
            mine[MODEL].add(question, found)
            mine[CONSTANT].add(question, other)
    return {
        kind: {
            metric: {who: tallies[kind][who].result()[metric] for who in (MODEL, CONSTANT)}
            for metric in tallies[kind][MODEL].result()
        }
        for kind in questions.names(names)
        if kind in tallies
    }


def both(drive: Drive, bag: Path) -> Iterator[tuple[RecordedView, Mapping[str, Any]]]:
    """Each answered picture with its truth, and the answers."""
    views = recorded.views(drive.path)
    for stamp, messages in answers.frames(bag):
        # Both are in the order of time.
        view = next((one for one in views if one.frame.stamp_ns >= stamp), None)
        if view is None:
            return
        if view.frame.stamp_ns == stamp:
            yield view, messages


def ask(view: RecordedView, drive: Drive, names: Sequence[str]) -> list[Question]:
    """What the node was asked about a picture, with the true answers."""
    known: dict[str, Callable[[], Label]] = {
        'depth': view.metric_depth,
        'normal': view.surface_normals,
        'entity': view.instances,
        'pose': view.keypoints,
    }
    found = [
        Question(name, Prompt(name), known[name]())
        for name in names
        if name in known and name in view.tasks
    ]
    if 'semantic' in names and 'semantic' in view.tasks:
        found += [
            Question('semantic', Prompt('semantic', category), view.of_category(category))
            for category in drive.categories
        ]
    if 'segmentation' in names and drive.click is not None and 'segmentation' in view.tasks:
        things = view.instances(stuff=True)
        number = things.ids[round(drive.click.y), round(drive.click.x)]
        if number:
            prompt = Prompt('segmentation', points=(drive.click,))
            found.append(Question(ONE_POINT, prompt, Mask(things.ids == number)))
    return found


def answer(
    question: Question, messages: Mapping[str, Any], view: RecordedView, drive: Drive
) -> Label | None:
    """What the node answered to a question; None where it did not."""
    prompt = question.prompt
    found = answers.label(prompt.task, messages, view.size, drive.categories)
    if isinstance(found, Instances) and prompt.category is not None:
        return answers.only(found, [prompt.category])
    return found
