# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of depth and normals on RGB-D frames, beside baselines that ignore the image.

Controls, all aligned as the model is: `constant` (one depth; normals that face the camera), `ramp`
(nearer below, by rows; normals face the camera above and up from a floor below), `mean` of the
model's own predictions, and `other`, its prediction for another image, of another source where
there is one. Numbers are computed by source and averaged over the sources, so that the longest
recording does not decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Disparity, Label, MetricDepth, Normals, resize_label, unit
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.rgbd import RgbdFrame, RgbdSource, in_turn, plane_normals
from diception_ros.evaluation import evaluators
from diception_ros.evaluation.evaluators import EvalCallback, EvalItem, Evaluator, PredictFn

TASKS = ('depth', 'normal')
BASELINES = ('constant', 'ramp', 'mean', 'other')
# Shown in the table, the main metric first; +1 where more is better.
SHOWN = {
    'depth': {'abs_rel': -1, 'delta1': 1, 'row_free_corr': 1, 'win_rate': 0},
    'normal': {'mean_deg': -1, 'median_deg': -1, 'within_30': 1, 'win_rate': 0},
}
# (H, W) at which the predictions are kept for `mean` and `other`.
GRID = (192, 256)
# Share of an image, from below, that the ramp of normals takes for floor.
FLOOR_SHARE = 0.5

Numbers = dict[str, dict[str, dict[str, float]]]


@dataclass(eq=False)
class RgbdResult:
    """Numbers on RGB-D frames.

    Attributes:
        columns: number of inference steps each, then BASELINES.
        numbers: by task, metric and column, means of the sources.
        sources: the same of each source.
        frames: frames of each source.
    """

    columns: tuple[str, ...]
    numbers: Numbers = field(default_factory=dict)
    sources: dict[str, Numbers] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)


def evaluate(
    sources: Sequence[RgbdSource],
    predict: Mapping[str, PredictFn],
    callbacks: Sequence[EvalCallback] = (),
    each: Any = lambda frames, total: frames,
) -> RgbdResult:
    """Evaluate a model on all frames of the sources.

    The metrics are those of the tasks; also `row_free_corr`, the correlation of predicted and true
    disparity once the mean of each row is subtracted from both (0 for any function of the row),
    and `win_rate`, the share of images in which the model's first column has the better
    `abs_rel` or `mean_deg`.

    Raises:
        ValueError: a file of a source is damaged.
    """
    total = sum(source.count for source in sources)
    first, columns = next(iter(predict)), (*predict, *BASELINES)
    scores = {
        source.name: {task: {c: _evaluator(task) for c in columns} for task in TASKS}
        for source in sources
    }
    mains: dict[tuple[str, str], list[float]] = {}
    better: dict[tuple[str, str, str], list[bool]] = {}
    small: list[dict[str, Label]] = []
    owners: list[str] = []
    for number, (source, rgbd_frame) in enumerate(each(in_turn(sources), total)):
        items = _items(rgbd_frame)
        for column, entry in predict.items():
            labels = entry(rgbd_frame.frame, [item.prompt for item in items])
            for item, label in zip(items, labels, strict=True):
                score = scores[source.name][item.name][column].update(item, label)
                if column != first:
                    continue
                mains.setdefault((source.name, item.name), []).append(_main(item.name, score))
                for callback in callbacks:
                    callback.on_prediction(number, rgbd_frame.frame, item, label, score)
            if column == first:
                small.append({i.name: _small(x) for i, x in zip(items, labels, strict=True)})
                owners.append(source.name)
    means = {task: _mean([labels[task] for labels in small]) for task in TASKS} if small else {}
    done = dict.fromkeys(scores, 0)
    for number, (source, rgbd_frame) in enumerate(in_turn(sources)):
        other = small[_other(number, owners)]
        for item in _items(rgbd_frame):
            baselines = {
                'constant': _constant(item.name), 'ramp': _ramp(item.name),
                'mean': means[item.name], 'other': other[item.name],
            }  # fmt: skip
            main = mains[source.name, item.name][done[source.name]]
            for column, label in baselines.items():
                evaluator = scores[source.name][item.name][column]
                score = evaluator.update(item, resize_label(label, item.truth.size))
                theirs = _main(item.name, score)
                if not np.isnan([main, theirs]).any():
                    key = source.name, item.name, column
                    better.setdefault(key, []).append(main < theirs)
        done[source.name] += 1
    result = RgbdResult(columns, frames=done)
    for name, by_task in scores.items():
        result.sources[name] = {}
        for task, by_column in by_task.items():
            numbers = evaluators.by_metric(by_column)
            shares = {c: better.get((name, task, c), []) for c in columns}
            numbers['win_rate'] = {
                c: float(np.mean(share)) if share else float('nan') for c, share in shares.items()
            }
            result.sources[name][task] = numbers
    result.numbers = _means_of_sources(list(result.sources.values()), columns)
    return result


def _items(taken: RgbdFrame) -> list[EvalItem]:
    assert taken.frame.intrinsics is not None
    normals = plane_normals(taken.depth, taken.frame.intrinsics)
    return [
        EvalItem('depth', Prompt('depth'), taken.depth),
        EvalItem('normal', Prompt('normal'), normals),
    ]


def _evaluator(task: str) -> Evaluator:
    if task == 'normal':
        return evaluators.normals_evaluator()
    return evaluators.depth_evaluator(evaluators.ANY_METRES, more=_row_free)


def _row_free(predicted: Disparity, truth: MetricDepth) -> dict[str, float]:
    return {'row_free_corr': row_free_correlation(predicted.values, 1 / truth.values)}


def row_free_correlation(predicted: NDArray[Any], truth: NDArray[Any]) -> float:
    """Correlation of two maps (H, W) once each row's mean is subtracted.

    NaN pixels are left out. 0 where one of them is constant along every row, or nothing is
    predicted; NaN where nothing of the truth is known.
    """
    known = np.isfinite(predicted) & np.isfinite(truth)
    if not np.isfinite(truth).any():
        return float('nan')
    count = known.sum(axis=1, keepdims=True)
    residuals = []
    for values in (predicted, truth):
        filled = np.where(known, values, 0).astype(np.float64)
        mean = filled.sum(axis=1, keepdims=True) / np.maximum(count, 1)
        residuals.append((filled - mean)[known])
    a, b = residuals
    power = float(a @ a) * float(b @ b)
    # Rounding leaves 1e-12 of a constant row.
    return float(a @ b) / power**0.5 if power > 1e-16 else 0.0


def _main(task: str, score: Mapping[str, float]) -> float:
    return score[next(iter(SHOWN[task]))]


def _small(label: Any) -> Any:
    return resize_label(label, GRID)


def _mean(labels: Sequence[Any]) -> Any:
    """The mean of predictions; unknown pixels are left out."""
    if isinstance(labels[0], Normals):
        vectors = np.nan_to_num(np.stack([label.vectors for label in labels]))
        return unit(vectors.mean(axis=0))
    stack = np.stack([label.values for label in labels])
    return Disparity(np.nan_to_num(stack).mean(axis=0))


def _other(number: int, owners: Sequence[str]) -> int:
    """Index of another image: half the list away, of another source where there is one."""
    count = len(owners)
    order = [(number + count // 2 + k) % count for k in range(count)]
    return next((k for k in order if owners[k] != owners[number]), order[0])


def _constant(task: str) -> Label:
    if task == 'depth':
        return Disparity(np.full(GRID, 0.5, np.float32))
    return Normals(np.broadcast_to(np.array([0, 0, -1], np.float32), (*GRID, 3)).copy())


def _ramp(task: str) -> Label:
    height, width = GRID
    if task == 'depth':
        rows = np.linspace(0, 1, height, dtype=np.float32)
        return Disparity(np.repeat(rows[:, None], width, axis=1))
    vectors = np.zeros((*GRID, 3), np.float32)
    floor = round(height * (1 - FLOOR_SHARE))
    vectors[:floor, :, 2] = -1
    vectors[floor:, :, 1] = -1  # y points down
    return Normals(vectors)


def _means_of_sources(found: Sequence[Numbers], columns: Sequence[str]) -> Numbers:
    numbers: Numbers = {}
    for task in TASKS:
        metrics = list(dict.fromkeys(metric for item in found for metric in item[task]))
        numbers[task] = {}
        for metric in metrics:
            numbers[task][metric] = {}
            for column in columns:
                values = [item[task].get(metric, {}).get(column, np.nan) for item in found]
                known = [value for value in values if not np.isnan(value)]
                counted = metric in ('images', 'skipped')
                mean = sum(known) / (1 if counted else len(known)) if known else float('nan')
                numbers[task][metric][column] = mean
    return numbers
