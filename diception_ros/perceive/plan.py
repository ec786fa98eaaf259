# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the model is to be asked about a frame."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diception_ros.perceive.request import Note
from diception_ros.perceive.settings import clean_categories
from diception_ros.prompt import Prompt

if TYPE_CHECKING:
    from diception_ros.perceive.request import Request
    from diception_ros.perceive.settings import PerceptionSettings


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
        task = settings.task(name)
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
