# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers of every single answer, in a file."""

from __future__ import annotations

from collections.abc import Mapping
import csv
import math
from pathlib import Path

from diception_ros.evaluate.questions import Question
from diception_ros.frame import Frame
from diception_ros.labels import Instances, Label, Mask


class Diary:
    """Writes the numbers of every answer into a CSV file, a line for each number.

    Of masks and instances also how much of the picture was asked for: `share`, 0 to 1.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open('w', newline='')
        self._writer = csv.writer(self._file)
        self._writer.writerow(('frame', 'question', 'category', 'metric', 'value'))

    def see(
        self,
        number: int,
        frame: Frame,
        question: Question,
        predicted: Label,
        score: Mapping[str, float],
    ) -> None:
        """See `verdict.Witness`."""
        category = question.prompt.category or ''
        truth = question.truth
        if isinstance(truth, Mask | Instances):
            asked_for = truth.values if isinstance(truth, Mask) else truth.ids > 0
            score = {**score, 'share': float(asked_for.mean())}
        for metric, value in score.items():
            told = '' if math.isnan(value) else f'{value:.6g}'
            self._writer.writerow((number, question.name, category, metric, told))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
