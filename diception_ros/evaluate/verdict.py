# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says, and who may look on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from diception_ros.evaluate.questions import Question
from diception_ros.frame import Frame
from diception_ros.labels import Label


class Witness(Protocol):
    """Looks on while a model is judged, to draw or to write down."""

    def see(
        self,
        number: int,
        frame: Frame,
        question: Question,
        predicted: Label,
        score: Mapping[str, float],
    ) -> None:
        """Called for every answer of the first column; `number` is the frame's."""
        ...


@dataclass(eq=False)
class Verdict:
    """The numbers of one evaluation.

    Attributes:
        columns: what answered, such as each number of steps as a text, then 'shuffled' and 'mean'.
        numbers: by kind of question, metric and column.
        categories: IoU of each category of the semantic task, at the first number of steps.
        frames: how many pictures were asked about.
    """

    columns: tuple[str, ...]
    numbers: dict[str, dict[str, dict[str, float]]]
    categories: dict[str, float] = field(default_factory=dict)
    frames: int = 0
