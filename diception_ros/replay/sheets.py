# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for the report: some frames spread over the bag, and the worst of each task."""

from __future__ import annotations

import base64
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros import tasks
from diception_ros.evaluate.report import main_metric
from diception_ros.labels import Disparity
from diception_ros.replay.truth import resized

if TYPE_CHECKING:
    from diception_ros.replay.frames import Taken

# Pixels of the longer side: two fit beside each other on a small screen.
SIDE = 480
QUALITY = 82
BINS = 40


@dataclass(frozen=True)
class Shot:
    """A frame and an answer to it, as pictures.

    Attributes:
        number: of the frame.
        camera: its name.
        task: of the answer.
        words: what is told of it, such as 'abs_rel 0.123'.
        image: of the camera, a data URI.
        answer: drawn, a data URI of the same size.
    """

    number: int
    camera: str
    task: str
    words: str
    image: str
    answer: str


class Sheets:
    """Collects pictures while answers are scored.

    Args:
        total: frames that are expected.
        spread: how many of them are shown whatever came of them.
        worst: how many of each task are shown because they are bad.
    """

    def __init__(self, total: int, spread: int = 6, worst: int = 6) -> None:
        self._every = max(1, math.ceil(total / spread))
        self._worst = worst
        self.spread: list[Shot] = []
        self._bad: dict[str, list[tuple[float, int, Shot]]] = {}
        # Of the values of each disparity task, all frames together: shares of [0, 1].
        self.values: dict[str, NDArray[np.int64]] = {}

    def see(
        self,
        number: int,
        camera: str,
        taken: Taken,
        answers: dict[str, Any],
        row: dict[str, float],
    ) -> None:
        """See `scores.Witness`."""
        assert taken.frame is not None
        frame = taken.frame
        for task, answer in answers.items():
            if isinstance(answer, Disparity):
                counts = np.histogram(answer.values, BINS, (0, 1))[0]
                self.values[task] = self.values.get(task, np.zeros(BINS, np.int64)) + counts
            metric, direction = main_metric(task) or ('iou', 1)
            if tasks.get(task).takes_category:
                metric = 'mean_iou'
            value = row.get(f'{task}.{metric}', math.nan)
            mine = self._bad.setdefault(task, [])
            badness = -value * direction
            bad = not math.isnan(badness) and (len(mine) < self._worst or badness > mine[-1][0])
            shown = number % self._every == 0
            if not (bad or shown):
                continue
            words = '' if math.isnan(value) else f'{metric} {value:.4g}'
            picture = resized(answer, frame.size).preview(frame.image)
            shot = Shot(number, camera, task, words, uri(frame.image), uri(picture))
            if shown:
                self.spread.append(shot)
            if bad:
                mine.append((badness, number, shot))
                mine.sort(key=lambda one: (-one[0], one[1]))
                del mine[self._worst :]

    def worst(self) -> list[Shot]:
        """The worst answers of each task, the worst first."""
        return [shot for mine in self._bad.values() for _, _, shot in mine]


def uri(picture: NDArray[np.uint8]) -> str:
    """A picture, made small, that can stand in a page."""
    height, width = picture.shape[:2]
    shrink = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(small[..., ::-1])
    data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()
