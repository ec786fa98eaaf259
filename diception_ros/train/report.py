# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells: log.csv, validation.csv and contact sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import os
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros import images, tasks
from diception_ros.data.batch import Prepared, fit_label
from diception_ros.data.sample import Sample
from diception_ros.labels import Mask
from diception_ros.model import DiceptionPipeline
from diception_ros.model.painter import Job, Painter, Way
from diception_ros.sheet import contact_sheet
from diception_ros.stages import Clock
from diception_ros.train import thresholds
from diception_ros.train.samples import Form
from diception_ros.train.settings import TrainSettings

_SHOWN = 4  # samples of each task on a sheet
_CELL = 128  # pixels that a small picture is blown up to on a sheet
_AT_ONCE = 32  # answers in one pass, at most
_PIXELS_AT_ONCE = _AT_ONCE * 128**2  # likewise; of SD3's size at 768 px one answer fills a GPU
ANSWERS = ('true', 'shuffled', 'mean')
VALIDATION_COLUMNS = ('step', 'task', 'metric', *ANSWERS)

# Numbers by metric and kind of answer; and those by task.
Metrics = dict[str, dict[str, float]]
Scores = dict[str, Metrics]


class Table:
    """A CSV file that grows by lines; each begins with a step.

    Args:
        path: of the file; lines of a run that stopped are kept up to the step it goes on from.
        columns: names; the first is 'step'.
        step: steps done before.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int = 0) -> None:
        self.path, self._columns = path, list(columns)
        kept = read_table(path, step)
        partial = path.with_name(path.name + '.partial')
        with partial.open('w', newline='') as file:
            writer = csv.DictWriter(file, self._columns, extrasaction='ignore')
            writer.writeheader()
            writer.writerows(kept)
        os.replace(partial, path)

    def add(self, **values: object) -> None:
        """Add a line; numbers keep six digits, a column without a value stays empty."""
        line = {
            name: f'{value:.6g}' if isinstance(value, float) else value
            for name, value in values.items()
        }
        with self.path.open('a', newline='') as file:
            csv.DictWriter(file, self._columns).writerow(line)


def read_table(path: Path, step: int) -> list[dict[str, str]]:
    """The lines of a `Table` up to a step; none where there is no file.

    A line that was cut off, as on a full disk, is none.
    """
    if not step or not path.is_file():
        return []
    whole, _, _ = path.read_text().rpartition('\n')
    lines = csv.DictReader(whole.splitlines())
    return [line for line in lines if int(line['step']) <= step]


class Validation:
    """Held-out samples, and what an answer that knows nothing of the picture would score on them.

    A loss falls convincingly while a network learns the mean picture and nothing else. So every
    metric stands beside two others: of the answers to other samples' pictures (`shuffled`), and of
    the mean of all targets that were learnt from (`mean`).

    Args:
        samples: held-out.
        form: how they are prepared.
        learnt: what is learnt from, for the mean.
        settings: seed and denoising steps.
    """

    def __init__(
        self, samples: Sequence[Sample], form: Form, learnt: Prepared, settings: TrainSettings
    ) -> None:
        self._prepared = Form(form.resolution, form.point_order, False).prepare(samples)
        self._samples = list(samples)
        self._labels = [fit_label(sample, form.resolution) for sample in samples]
        self._settings = settings
        self._means = {}
        for task in dict.fromkeys(self._prepared.tasks):
            rows = learnt.rows(task)
            if len(rows):
                mean = _mean(learnt.targets, rows) / 255  # (3, S, S)
                self._means[task] = np.ascontiguousarray(mean.permute(1, 2, 0).numpy())

    def run(self, pipe: DiceptionPipeline, sheet: Path | None = None) -> Scores:
        """Judge a model.

        Args:
            pipe: the model.
            sheet: where a picture of input, truth and answer is written.

        Returns:
            number by task, metric and kind of answer (`ANSWERS`), mean over samples; `picture_mae`
            is the mean absolute error of the painted picture, in [0, 1]; of masks also what
            `thresholds.choose` says.
        """
        everything = range(len(self._samples))
        # Of the same task, so that only the picture is wrong, not the question.
        other = {
            row: int(mine[(k + 1) % len(mine)])
            for mine in (self._prepared.rows(task).tolist() for task in self._means)
            for k, row in enumerate(mine)
        }
        true = self.paint(pipe, [*everything], [*everything])
        shuffled = self.paint(pipe, [*everything], [other.get(row, row) for row in everything])
        scores: Scores = {}
        for task, mean in self._means.items():
            rows = self._prepared.rows(task).tolist()
            columns = [
                [self._score(row, picture) for row, picture in pairs]
                for pairs in (
                    [(row, true[row]) for row in rows],
                    [(row, shuffled[row]) for row in rows],
                    [(row, mean) for row in rows],
                )
            ]
            scores[task] = {
                metric: {
                    answer: _nanmean([one[metric] for one in column])
                    for answer, column in zip(ANSWERS, columns, strict=True)
                }
                for metric in columns[0][0]
            }
            if issubclass(tasks.get(task).label, Mask):
                painted = (
                    [true[row] for row in rows],
                    [shuffled[row] for row in rows],
                    [mean] * len(rows),
                )
                truths: list[Any] = [self._labels[row] for row in rows]
                pictures = dict(zip(ANSWERS, painted, strict=True))
                scores[task] |= thresholds.choose(pictures, truths)
        if sheet is not None:
            self._draw(true, sheet)
        return scores

    def paint(
        self, pipe: DiceptionPipeline, questions: Sequence[int], pictures: Sequence[int]
    ) -> NDArray[np.float32]:
        """Answers to the questions of some samples about the pictures of others.

        Args:
            pipe: the model.
            questions: N numbers of samples.
            pictures: N numbers of samples.

        Returns:
            (N, S, S, 3) float32 in [0, 1].
        """
        data, side = self._prepared, self._prepared.images.shape[-1]
        at_once = min(_AT_ONCE, max(1, _PIXELS_AT_ONCE // side**2))
        way = Way(
            side=side,
            steps=self._settings.validation_steps,
            guidance=1.0,
            reuse_last_velocity=False,
            shifts=pipe.config.shifts,  # as those who use the model will see it
            batch_size=at_once,
            adapter='',
        )
        jobs, squares = [], {}
        for number, (row, shown) in enumerate(zip(questions, pictures, strict=True)):
            key = (int(data.frame[shown]), side)
            if key not in squares:
                squares[key] = np.ascontiguousarray(data.images[key[0]].permute(1, 2, 0).numpy())
            sample, text = self._samples[row], data.texts[row]
            points = sample.prompt.shares(sample.frame.size)
            jobs.append(Job(number, text, points, self._settings.seed, way, key))
        clock = Clock(len(jobs), time.perf_counter)
        return np.stack([picture for _, picture in Painter(pipe).paint(jobs, squares, clock)])

    def _score(self, row: int, picture: NDArray[np.float32]) -> dict[str, float]:
        task, prompt = tasks.get(self._prepared.tasks[row]), self._samples[row].prompt
        known = self._prepared.valid[row, 0].numpy()
        truth = self._prepared.targets[row].permute(1, 2, 0).numpy() / 255
        error = np.abs(picture - truth).mean(axis=-1)
        return {
            'picture_mae': float(error[known].mean()) if known.any() else float('nan'),
            **task.score(task.decode(picture, prompt), self._labels[row]),
        }

    def _draw(self, painted: NDArray[np.float32], path: Path) -> None:
        data = self._prepared
        pictures, names = [], []
        for task in self._means:
            for row in data.rows(task)[:_SHOWN].tolist():
                pictures += [
                    data.images[data.frame[row]].permute(1, 2, 0).numpy(),
                    data.targets[row].permute(1, 2, 0).numpy(),
                    np.rint(painted[row] * 255).astype(np.uint8),
                ]
                names += [task, 'truth', 'answer']
        times = max(1, round(_CELL / len(pictures[0])))
        enlarged = [picture.repeat(times, axis=0).repeat(times, axis=1) for picture in pictures]
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, contact_sheet(enlarged, names, columns=3 * _SHOWN))


def lines(scores: Scores) -> list[Mapping[str, object]]:
    """Scores as lines of validation.csv, without the step."""
    return [
        {'task': task, 'metric': metric, **columns}
        for task, metrics in scores.items()
        for metric, columns in metrics.items()
    ]


def _mean(pictures: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(3, S, S) mean of some of (N, 3, S, S), without a copy of them all as floats."""
    total = torch.zeros(pictures.shape[1:], dtype=torch.float64)
    for part in rows.split(1024):
        total += pictures[part].sum(dim=0, dtype=torch.float64)
    return (total / len(rows)).float()


def _nanmean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float('nan')
