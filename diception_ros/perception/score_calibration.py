# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrates scores: of the predictions with a score near s, a share of about s is right.

A codec's score measures how clearly something is drawn in the output image, not how likely it is
right. How the two are related depends on the weights, so a model folder may hold a table for each
task, from scores to measured shares: a monotone map, which keeps the order of predictions.
`bench/reliability.py` fits and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Instances, Keypoints, Label, Mask
from diception_ros.system import safe_load

FILE = 'score_calibration.json'
MIN_SCORE_KEY = 'least'  # its key beside those of tasks

LabelT = TypeVar('LabelT', bound=Label)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreCalibration:
    """Tables by task; a task without one keeps its scores.

    Attributes:
        tables: (K, 2) float64 by task: a codec's score, rising, and the share that is right, not
            falling; linear between the rows, constant outside.
        min_scores: by task, the calibrated score below which an instance, or a person by the mean
            of its keypoints, is no prediction; a mask is never dropped, since a point was given.

    Raises:
        ValueError: a table of another shape or order, or numbers outside [0, 1].
    """

    tables: Mapping[str, Floats] = field(default_factory=dict)
    min_scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for task, min_score in self.min_scores.items():
            if not 0 <= min_score <= 1:
                raise ValueError(f'minimum score of {task!r}: expected [0, 1], got {min_score}')
        for task, table in self.tables.items():
            steps = np.diff(table, axis=0) if table.ndim == 2 and len(table) else None
            fits = (
                steps is not None and table.shape[1] == 2
                and ((table >= 0) & (table <= 1)).all()
                and (steps[:, 0] > 0).all() and (steps[:, 1] >= 0).all()
            )  # fmt: skip
            if not fits:
                raise ValueError(
                    f'calibration of {task!r}: expected rows of two numbers in [0, 1], scores '
                    f'rising and shares not falling, got {table.tolist()}'
                )

    @classmethod
    def load(cls, folder: Path | None) -> ScoreCalibration:
        """Read the tables of a model folder; none if it holds no file of them.

        Raises:
            ValueError: the file holds something else.
        """
        path = folder and folder / FILE
        if not path or not path.is_file():
            return cls()
        try:
            content = safe_load.json_object(path)
            min_scores = {
                task: float(share) for task, share in content.pop(MIN_SCORE_KEY, {}).items()
            }
            tables = {task: np.asarray(rows, np.float64) for task, rows in content.items()}
            return cls(tables, min_scores)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f'{path}: no tables of scores ({error})') from error

    def scores(self, task: str, scores: NDArray[Any] | float) -> NDArray[Any]:
        """A codec's scores, calibrated."""
        table = self.tables.get(task)
        return np.asarray(scores if table is None else np.interp(scores, *table.T))

    def apply(self, task: str, label: LabelT) -> LabelT:
        """The label with calibrated scores."""
        if task not in self.tables or not isinstance(label, (Mask, Instances, Keypoints)):
            return label
        if isinstance(label, Mask):
            return replace(label, score=float(self.scores(task, label.score)))
        scores = self.scores(task, label.scores).astype(np.float32)
        min_score = self.min_scores.get(task, 0.0)
        if isinstance(label, Keypoints):
            seen = label.visibility > 0
            scores = np.where(seen, scores, np.float32(0))
            mean = scores.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
            confident = mean >= min_score
            return replace(
                label, joints=label.joints[confident], visibility=label.visibility[confident],
                scores=scores[confident],
            )  # fmt: skip
        keep = np.concatenate([[True], scores >= min_score])
        ids = np.where(keep[label.ids], label.ids, np.int32(0))
        calibrated = replace(label, ids=ids, scores=scores)
        return cast(LabelT, calibrated if keep.all() else calibrated.present())


def fit(scores: Floats, right: Floats, rows: int = 8) -> Floats:
    """A table for `ScoreCalibration` from predictions whose truth is known.

    Args:
        scores: (N,) of the codec, [0, 1], N >= 1.
        right: (N,) 1 where the prediction is right, 0 elsewhere.
        rows: at most so many, of equal numbers of predictions before equal ones are pooled.

    Returns:
        (K, 2) float64.

    Source: Zadrozny and Elkan 2002 (isotonic regression by pooling adjacent violators), on bins;
    each bin's share by Laplace's rule, so that no table promises 0 or 1.
    """
    order = np.argsort(scores, kind='stable')
    parts = np.array_split(order, min(rows, len(order)))
    pooled: list[list[float]] = []  # sum of scores, right, number
    for part in parts:
        pooled.append([float(scores[part].sum()), float(right[part].sum()), float(len(part))])
        while len(pooled) > 1 and (
            _share(pooled[-2]) >= _share(pooled[-1])
            or pooled[-2][0] / pooled[-2][2] >= pooled[-1][0] / pooled[-1][2]
        ):
            last = pooled.pop()
            pooled[-1] = [a + b for a, b in zip(pooled[-1], last, strict=True)]
    return np.array([[item[0] / item[2], _share(item)] for item in pooled])


def _share(pooled: list[float]) -> float:
    return (pooled[1] + 1) / (pooled[2] + 2)


def reliability(scores: Floats, right: Floats, bins: int = 10) -> list[tuple[int, float, float]]:
    """Number of predictions, mean score and share right, of each bin of [0, 1] that has any."""
    number = np.minimum((scores * bins).astype(int), bins - 1)
    out = []
    for k in range(bins):
        mine = number == k
        if mine.any():
            out.append((int(mine.sum()), float(scores[mine].mean()), float(right[mine].mean())))
    return out


def calibration_error(scores: Floats, right: Floats, bins: int = 10) -> float:
    """Expected calibration error: mean of |score - share right| over predictions, by bins.

    Source: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", 2015. NaN without predictions.
    """
    rows = reliability(scores, right, bins)
    count = sum(number for number, _, _ in rows)
    off = sum(number * abs(score - share) for number, score, share in rows)
    return off / count if count else float('nan')
