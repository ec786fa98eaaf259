# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of an evaluation: the first views, and the worst answers to each kind of question."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.core.contact_sheet import contact_sheet
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity, Label, resize_label, visualize
from diception_ros.evaluation.evaluators import EvalItem
from diception_ros.reporting import tables
from diception_ros.reporting.tables import main_metric
from diception_ros.tasks import BUILTIN, TaskRegistry

Picture = NDArray[np.uint8]

# Pixels: a picture of a shorter side is enlarged before it is drawn upon, a wider one is shrunk.
_SIDE, _WIDEST = 240, 360
_BLANK = 24  # grey of the sheet


class QualitativeResults:
    """Collects inputs, truths and answers.

    Args:
        kinds: of question, in the order of the sheet.
        first: how many views are shown, with all their questions.
        worst: how many answers to each kind of question are shown.
        registry: holds their tasks.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        first: int = 6,
        worst: int = 6,
        registry: TaskRegistry = BUILTIN,
    ) -> None:
        self._registry = registry
        self._kinds, self._first, self._worst = list(kinds), first, worst
        # By number of the frame, then by kind of question: pictures, and the answer's number.
        self._opening: dict[int, dict[str, tuple[list[Picture], str]]] = {}
        # By kind of question: badness, number of the frame, pictures, and the answer's number.
        self._bad: dict[str, list[tuple[float, int, list[Picture], str]]] = {}

    def on_prediction(
        self,
        number: int,
        frame: Frame,
        question: EvalItem,
        predicted: Label,
        score: Mapping[str, float],
    ) -> None:
        """See `EvalCallback`."""
        ranking = tables.main_metric(question.name, self._registry)
        if ranking is None:
            return
        metric, direction = ranking
        value = score.get(metric, math.nan)
        badness = -value * direction
        mine = self._bad.setdefault(question.name, [])
        bad = not math.isnan(badness) and (
            len(mine) < self._worst or any(badness > other[0] for other in mine)
        )
        if not bad and number >= self._first:
            return
        pictures, told = draw_answer(frame, question, predicted), f'{metric} {value:.3g}'
        if number < self._first:
            self._opening.setdefault(number, {})[question.name] = pictures, told
        if bad:
            mine.append((badness, number, pictures, told))
            mine.sort(key=lambda one: (-one[0], one[1]))
            del mine[self._worst :]

    def write(self, folder: Path) -> None:
        """Write first.png and worst.png; nothing where nothing was seen."""
        pictures: list[Picture] = []
        names: list[str] = []
        for number, asked in sorted(self._opening.items()):
            some = next(iter(asked.values()))[0][0]
            blank = [np.full_like(some, _BLANK)] * 3
            shown = [asked.get(kind, (blank, 'not asked')) for kind in self._kinds]
            pictures += [some, *(three[1] for three, _ in shown)]
            names += [f'#{number}', *self._kinds]
            pictures += [blank[0], *(three[2] for three, _ in shown)]
            names += ['answers', *(told for _, told in shown)]
        if pictures:
            columns = 1 + len(self._kinds)
            sheet = contact_sheet(_of_one_size(pictures), names, columns)
            images.write(folder / 'first.png', sheet)
        pictures, names = [], []
        for kind in self._kinds:
            for _, number, three, told in self._bad.get(kind, []):
                pictures += three
                names += [f'#{number} {kind}', 'truth', told]
        if pictures:
            sheet = contact_sheet(_of_one_size(pictures), names, columns=6)
            images.write(folder / 'worst.png', sheet)


def draw_answer(frame: Frame, question: EvalItem, predicted: Label) -> list[Picture]:
    """Input, truth and answer as pictures of one size, large enough to be looked at.

    Where there are points, or a category, the truth bears them.
    """
    height, width = frame.size
    times = max(1, math.ceil(_SIDE / min(height, width)))
    size = height * times, width * times
    image = np.asarray(
        cv2.resize(frame.image, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8
    )
    truth, answer = (resize_label(one, size).preview(image) for one in (question.truth, predicted))
    if question.prompt.points:
        points = (np.array(question.prompt.points, np.float32) + 0.5) * times - 0.5
        visualize.draw_points(truth, points.astype(np.float32))
    if question.prompt.category:
        place = (4, size[0] - 8)
        for colour, thick in (((0, 0, 0), 4), ((255, 255, 0), 1)):
            cv2.putText(truth, question.prompt.category, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6,
                        colour, thick, cv2.LINE_AA)  # fmt: skip
    return [_narrow(picture) for picture in (image, truth, answer)]


def _of_one_size(pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures with grey at the right and below, up to the size of the largest."""
    height, width = (max(one.shape[axis] for one in pictures) for axis in (0, 1))
    found = []
    for one in pictures:
        padded = np.full((height, width, 3), _BLANK, np.uint8)
        padded[: one.shape[0], : one.shape[1]] = one
        found.append(padded)
    return found


def _narrow(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    if width <= _WIDEST:
        return picture
    size = _WIDEST, round(height * _WIDEST / width)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


# Pictures for the report: some frames spread over the bag, and the worst of each task.


if TYPE_CHECKING:
    from diception_ros.bags.frames import ImageFrame

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
        registry: holds the tasks.
    """

    def __init__(
        self, total: int, spread: int = 6, worst: int = 6, registry: TaskRegistry = BUILTIN
    ) -> None:
        self.registry = registry
        self._every = max(1, math.ceil(total / spread))
        self._worst = worst
        self.spread: list[Shot] = []
        self._bad: dict[str, list[tuple[float, int, Shot]]] = {}
        # Of the values of each disparity task, all frames together: shares of [0, 1].
        self.values: dict[str, NDArray[np.int64]] = {}

    def on_frame(
        self,
        number: int,
        camera: str,
        taken: ImageFrame,
        answers: dict[str, Any],
        row: dict[str, float],
    ) -> None:
        """See `bag_scores.FrameCallback`."""
        frame = taken.frame
        for task, answer in answers.items():
            if isinstance(answer, Disparity):
                counts = np.histogram(answer.values, BINS, (0, 1))[0]
                self.values[task] = self.values.get(task, np.zeros(BINS, np.int64)) + counts
            metric, direction = main_metric(task, self.registry) or ('iou', 1)
            if self.registry.get(task).takes_category:
                metric = 'mean_iou'
            value = row.get(f'{task}.{metric}', math.nan)
            mine = self._bad.setdefault(task, [])
            badness = -value * direction
            bad = not math.isnan(badness) and (len(mine) < self._worst or badness > mine[-1][0])
            shown = number % self._every == 0
            if not (bad or shown):
                continue
            words = '' if math.isnan(value) else f'{metric} {value:.4g}'
            picture = resize_label(answer, frame.size).preview(frame.image)
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
