# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets of results: the first of an evaluation, some of a replay, the worst of both."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.images import contact_sheet
from diception_ros.core.labels import Disparity, Label, resize_label, visualize
from diception_ros.evaluation.evaluators import EvalItem
from diception_ros.reporting.tables import main_metric
from diception_ros.tasks import BUILTIN, TaskRegistry

if TYPE_CHECKING:
    from diception_ros.bags.frames import ImageFrame

Rgb = NDArray[np.uint8]
ContentT = TypeVar('ContentT')

# Pixels: an image with a shorter side is enlarged before it is drawn upon, a wider one is shrunk.
_SIDE, _WIDEST = 240, 360
_BLANK = 24  # grey of the sheet
# Images shown of each kind.
_FIRST, _WORST = 6, 6
# Of the report: the longer side, so that two images fit beside each other on a small screen.
REPORT_SIDE, JPEG_QUALITY = 480, 82
HISTOGRAM_BINS = 40


class WorstResults(Generic[ContentT]):
    """Keeps the worst `limit` results of each name; of equal ones the earlier."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[str, list[tuple[float, int, ContentT]]] = {}

    def accepts(self, name: str, value: float, direction: int) -> bool:
        """Whether a result is among the worst so far; NaN never is.

        The direction is 1 where more is better, -1 where less is.
        """
        worst = self._kept.setdefault(name, [])
        badness = -value * direction
        worse = any(badness > result[0] for result in worst)
        return not math.isnan(badness) and (len(worst) < self._limit or worse)

    def add(self, name: str, value: float, direction: int, number: int, content: ContentT) -> None:
        """Keep a result that is accepted; `number` is the frame's."""
        worst = self._kept[name]
        worst.append((-value * direction, number, content))
        worst.sort(key=lambda result: (-result[0], result[1]))
        del worst[self._limit :]

    def of(self, name: str) -> list[tuple[int, ContentT]]:
        """Numbers of frames and contents, the worst first."""
        return [(number, content) for _, number, content in self._kept.get(name, [])]

    def names(self) -> list[str]:
        """The names in the order in which they came."""
        return list(self._kept)


class QualitativeResults:
    """Collects inputs, truths and predictions of an evaluation.

    Shown are all items of the `first` images, and the `worst` results of each name.
    """

    def __init__(
        self,
        names: Sequence[str],
        first: int = _FIRST,
        worst: int = _WORST,
        registry: TaskRegistry = BUILTIN,
    ) -> None:
        self._names, self._first, self._registry = list(names), first, registry
        # By number of the frame, then by name: drawings, and the metric in words.
        self._opening: dict[int, dict[str, tuple[list[Rgb], str]]] = {}
        self._worst: WorstResults[tuple[list[Rgb], str]] = WorstResults(worst)

    def on_prediction(
        self,
        number: int,
        frame: Frame,
        item: EvalItem,
        predicted: Label,
        score: Mapping[str, float],
    ) -> None:
        """See `EvalCallback`."""
        ranking = main_metric(item.name, self._registry)
        if ranking is None:
            return
        metric, direction = ranking
        value = score.get(metric, math.nan)
        bad = self._worst.accepts(item.name, value, direction)
        if not bad and number >= self._first:
            return
        drawn = draw_prediction(frame, item, predicted), f'{metric} {value:.3g}'
        if number < self._first:
            self._opening.setdefault(number, {})[item.name] = drawn
        if bad:
            self._worst.add(item.name, value, direction, number, drawn)

    def write(self, folder: Path) -> None:
        """Write first.png and worst.png; nothing where there was no prediction."""
        cells: list[Rgb] = []
        titles: list[str] = []
        for number, drawn in sorted(self._opening.items()):
            some = next(iter(drawn.values()))[0][0]
            blank = [np.full_like(some, _BLANK)] * 3
            shown = [drawn.get(name, (blank, 'not asked')) for name in self._names]
            cells += [some, *(three[1] for three, _ in shown)]
            titles += [f'#{number}', *self._names]
            cells += [blank[0], *(three[2] for three, _ in shown)]
            titles += ['predictions', *(text for _, text in shown)]
        _write_sheet(folder / 'first.png', cells, titles, 1 + len(self._names))
        cells, titles = [], []
        for name in self._names:
            for number, (three, text) in self._worst.of(name):
                cells += three
                titles += [f'#{number} {name}', 'truth', text]
        _write_sheet(folder / 'worst.png', cells, titles, 6)


def _write_sheet(path: Path, cells: Sequence[Rgb], titles: Sequence[str], columns: int) -> None:
    """Write cells of any sizes, grey at their right and below; nothing where there are none."""
    if not cells:
        return
    height, width = (max(cell.shape[axis] for cell in cells) for axis in (0, 1))
    padded = []
    for cell in cells:
        full = np.full((height, width, 3), _BLANK, np.uint8)
        full[: cell.shape[0], : cell.shape[1]] = cell
        padded.append(full)
    images.write(path, contact_sheet(padded, titles, columns))


def draw_prediction(frame: Frame, item: EvalItem, predicted: Label) -> list[Rgb]:
    """Input, truth and prediction, drawn at one size that is large enough to look at.

    The points of a query, or its category, are drawn on the truth.
    """
    height, width = frame.size
    times = max(1, math.ceil(_SIDE / min(height, width)))
    size = height * times, width * times
    image = np.asarray(
        cv2.resize(frame.image, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8
    )
    truth, result = (resize_label(label, size).preview(image) for label in (item.truth, predicted))
    if item.prompt.points:
        points = (np.array(item.prompt.points, np.float32) + 0.5) * times - 0.5
        visualize.draw_points(truth, points.astype(np.float32))
    if item.prompt.category:
        place = (4, size[0] - 8)
        for color, thick in (((0, 0, 0), 4), ((255, 255, 0), 1)):
            cv2.putText(truth, images.drawable(item.prompt.category), place,
                        cv2.FONT_HERSHEY_SIMPLEX, 0.6, color, thick, cv2.LINE_AA)  # fmt: skip
    return [_shrunk(drawn, _WIDEST / width / times) for drawn in (image, truth, result)]


def _shrunk(image: Rgb, factor: float) -> Rgb:
    """An image made smaller; the same where the factor is 1 or more."""
    if factor >= 1:
        return image
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class ResultImage:
    """A frame and a result, for the report of a replay.

    Attributes:
        number: of the frame.
        camera: its name.
        task: of the result.
        words: its main metric, such as 'abs_rel 0.123'.
        image: of the camera, a data URI.
        prediction: the result drawn, a data URI of the same size.
        truth: the ground truth drawn, a data URI of the same size; '' without one.
    """

    number: int
    camera: str
    task: str
    words: str
    image: str
    prediction: str
    truth: str = ''


class ReportImages:
    """Collects images while the results of a replay are scored.

    Shown are some frames, evenly spread over the `total`, and the worst frames of each task.

    Attributes:
        registry: holds the tasks.
        spread: images spread over the bag.
        values: of each disparity task, how often its values are in each of HISTOGRAM_BINS bins of
            [0, 1], of all frames.
    """

    def __init__(self, total: int, registry: TaskRegistry = BUILTIN) -> None:
        self.registry = registry
        self.spread: list[ResultImage] = []
        self.values: dict[str, NDArray[np.int64]] = {}
        self._every = max(1, math.ceil(total / _FIRST))
        self._worst: WorstResults[ResultImage] = WorstResults(_WORST)

    def on_frame(
        self,
        number: int,
        camera: str,
        taken: ImageFrame,
        predictions: dict[str, Any],
        truths: dict[str, Any],
        row: dict[str, float],
    ) -> None:
        """See `bag_scores.FrameCallback`."""
        frame = taken.frame
        for task, prediction in predictions.items():
            if isinstance(prediction, Disparity):
                counts = np.histogram(prediction.values, HISTOGRAM_BINS, (0, 1))[0]
                self.values[task] = self.values.get(task, np.zeros_like(counts)) + counts
            metric, direction = main_metric(task, self.registry) or ('iou', 1)
            if self.registry.get(task).takes_category:
                metric = 'mean_iou'
            value = row.get(f'{task}.{metric}', math.nan)
            bad = self._worst.accepts(task, value, direction)
            shown = number % self._every == 0
            if not (bad or shown):
                continue
            words = '' if math.isnan(value) else f'{metric} {value:.4g}'
            uris = [
                data_uri(resize_label(label, frame.size).preview(frame.image))
                for label in (prediction, truths.get(task))
                if label is not None
            ]
            result = ResultImage(number, camera, task, words, data_uri(frame.image), *uris)
            if shown:
                self.spread.append(result)
            if bad:
                self._worst.add(task, value, direction, number, result)

    def worst(self) -> list[ResultImage]:
        """The worst results of each task, the worst first."""
        names = self._worst.names()
        return [result for name in names for _, result in self._worst.of(name)]


def data_uri(image: Rgb) -> str:
    """An image as a small JPEG inside a page."""
    small = _shrunk(image, REPORT_SIDE / max(image.shape[:2]))
    bgr = np.ascontiguousarray(small[..., ::-1])
    data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()
