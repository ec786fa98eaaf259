# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells: log.csv, validation.csv and contact sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
from dataclasses import replace
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
import torch

from diception_ros.core import images
from diception_ros.core.contact_sheet import contact_sheet
from diception_ros.core.labels import Mask
from diception_ros.datasets.batch import Prepared, fit_label
from diception_ros.datasets.sample import Sample
from diception_ros.model import DiceptionPipeline
from diception_ros.model.sampler import Clock, Job, Painter, Way
from diception_ros.system.files import atomic_file
from diception_ros.training.samples import Form
from diception_ros.training.settings import TrainSettings

# How bright a pixel must be to belong to a mask: what held-out pictures say, else a guess.
#
# A network that is not sure paints grey. Of things that cover little of a picture it is rarely
# more than half sure, so at a half it would find none of them.


TRIED = np.arange(0.05, 0.96, 0.05).round(2)
# How sure it must be that another threshold is better: two standard errors, of many pictures. With
# one, pictures that were held back chose worse than the guess in 6 of 11 adaptations and better in
# 3; on the mean the IoU of 60 others was lower by .007.
_SURE = 0.975

Numbers = dict[str, dict[str, float]]


def guess(truths: Sequence[Mask]) -> float:
    """A threshold from labels alone, where no answers are at hand that were not learnt.

    Whoever knows how likely each pixel belongs does best with those above J / (1 + J), where J is
    the IoU that they reach. The J that is sure is that of a network that does not look: the mean
    of the other masks tells a mask, or all pixels do.

    Args:
        truths: masks of one size, one or more.

    Returns:
        in [0.05, 0.5]; a half where no mask has a pixel.

    Source: Z. C. Lipton et al., "Optimal thresholding of classifiers to maximize F1 measure",
    arXiv 1402.1892: above F / 2, and F is 2 J / (1 + J).
    """
    known = [one.values for one in truths if one.values.any()]
    if not known:
        return 0.5
    masks = np.stack(known)
    others = (masks.sum(axis=0, dtype=np.float32) - masks) / max(1, len(masks) - 1)  # (N, S, S)
    reached = max(
        float(np.mean((masks & found).sum(axis=(1, 2)) / (masks | found).sum(axis=(1, 2))))
        for found in (others > level for level in (-1, *TRIED))
    )
    return round(max(float(TRIED[0]), reached / (1 + reached)), 3)


def choose(
    painted: Mapping[str, Sequence[NDArray[np.float32]]], truths: Sequence[Mask]
) -> Numbers:
    """The threshold at which answers overlap the truth best, and how well.

    Args:
        painted: by kind of answer N pictures, (S, S, 3) float32 in [0, 1]; those of 'true' choose.
        truths: N true masks, (S, S).

    Returns:
        `best_iou`, mean over pictures of which one of both masks has a pixel (NaN: there is none),
        by kind of answer, all at the same threshold; and that `threshold`: the one nearest to
        `guess` of those that are no worse than the best by more than chance among so few pictures.

    Source: after the rule of one standard error, L. Breiman et al., "Classification and
    regression trees", 1984, section 3.4.3; here two, and of the difference, since the pictures
    are the same.
    """
    greys = {name: [one.mean(axis=-1) for one in some] for name, some in painted.items()}

    def ious(name: str, threshold: float) -> NDArray[np.float64]:
        """Of each picture; NaN where neither mask has a pixel."""
        found = []
        for grey, truth in zip(greys[name], truths, strict=True):
            mask = grey > threshold
            union = int((mask | truth.values).sum())
            found.append(int((mask & truth.values).sum()) / union if union else np.nan)
        return np.array(found)

    start = guess(truths)
    order = sorted(TRIED.tolist(), key=lambda one: abs(one - start))
    each = {one: ious('true', one) for one in order}
    top = each[max(order, key=lambda one: np.nan_to_num(_mean_label(each[one])))]
    best = next(one for one in order if not _behind(top - each[one]))
    return {
        'best_iou': {name: _mean_label(ious(name, best)) for name in greys},
        'threshold': dict.fromkeys(greys, best),
    }


def _mean_label(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float('nan')


def _behind(gaps: NDArray[np.float64]) -> bool:
    """Whether gaps to the best are more than chance. NaN says nothing."""
    known = gaps[~np.isnan(gaps)]
    if len(known) < 2:
        return False
    mean = float(known.mean())
    error = float(known.std(ddof=1)) / len(known) ** 0.5
    return bool(mean > error * stdtrit(len(known) - 1, _SURE))


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
        with atomic_file(path) as partial, partial.open('w', newline='') as file:
            writer = csv.DictWriter(file, self._columns, extrasaction='ignore')
            writer.writeheader()
            writer.writerows(kept)

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
        self._prepared = replace(form, mirrored=False).prepare(samples)
        self._samples, self._registry = list(samples), form.registry
        self._labels = [fit_label(sample, form.resolution, form.registry) for sample in samples]
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
            if issubclass(self._registry.get(task).label, Mask):
                painted = (
                    [true[row] for row in rows],
                    [shuffled[row] for row in rows],
                    [mean] * len(rows),
                )
                truths: list[Any] = [self._labels[row] for row in rows]
                pictures = dict(zip(ANSWERS, painted, strict=True))
                scores[task] |= choose(pictures, truths)
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
            num_inference_steps=self._settings.validation_steps,
            guidance_scale=1.0,
            reuse_last_velocity=False,
            tta_shifts=pipe.config.shifts,  # as those who use the model will see it
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
        task, prompt = self._registry.get(self._prepared.tasks[row]), self._samples[row].prompt
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
