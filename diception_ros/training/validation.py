# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Validation during training: metrics beside two baselines, mask thresholds, logs and sheets."""

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
from diception_ros.core.images import contact_sheet
from diception_ros.core.labels import Mask
from diception_ros.core.prompt import fractions_of
from diception_ros.core.settings import PredictSettings
from diception_ros.datasets.batch import Prepared
from diception_ros.datasets.sample import Sample, fit_label
from diception_ros.evaluation.evaluators import shuffled_order
from diception_ros.model import DiceptionPipeline
from diception_ros.model.sampler import BatchedSampler, SampleRequest, StageTimer
from diception_ros.model.torch_backend import TorchBackend
from diception_ros.system.files import atomic_file
from diception_ros.training.samples import Preprocessor
from diception_ros.training.settings import TrainSettings

THRESHOLDS = np.arange(0.05, 0.96, 0.05).round(2)
# Confidence at which another threshold is called better: two standard errors, for many images.
# With one, held-out images chose worse than the prior in 6 of 11 adaptations and better in 3; the
# mean IoU of 60 other images was lower by .007.
_CONFIDENCE = 0.975

_SHEET_SAMPLES = 4  # of each task on a sheet
_CELL = 128  # pixels to which a small image is enlarged on a sheet
_BATCH = 32  # images in one forward pass, at most
_BATCH_PIXELS = _BATCH * 128**2  # likewise; at SD3's 768 px one image fills a GPU

# Prediction for the sample's own image, for another sample's image, and the mean training target.
COLUMNS = ('true', 'shuffled', 'mean')
VALIDATION_COLUMNS = ('step', 'task', 'metric', *COLUMNS)

Metrics = dict[str, dict[str, float]]  # number by metric and kind of prediction
Scores = dict[str, Metrics]  # by task


# ---- thresholds of masks ------------------------------------------------------------------------
#
# The brightness above which a pixel belongs to a mask. A network paints uncertain pixels grey, and
# of objects that cover little of an image it is rarely more than half certain: a threshold of 0.5
# would find none of them.


def threshold_prior(truths: Sequence[Mask]) -> float:
    """Choose a threshold from labels alone, where there are no predictions for held-out images.

    With calibrated pixel probabilities the best threshold is J / (1 + J), where J is the IoU that
    is reached. As J this takes what a network that ignores the image reaches: by predicting the
    mean of the other masks, or all pixels.

    Args:
        truths: masks of one size, one or more.

    Returns:
        in [0.05, 0.5]; 0.5 if all masks are empty.

    Source: Z. C. Lipton et al., "Optimal thresholding of classifiers to maximize F1 measure",
    arXiv 1402.1892: above F / 2, and F is 2 J / (1 + J).
    """
    known = [truth.values for truth in truths if truth.values.any()]
    if not known:
        return 0.5
    masks = np.stack(known)
    others = (masks.sum(axis=0, dtype=np.float32) - masks) / max(1, len(masks) - 1)  # (N, S, S)
    reached = max(
        float(np.mean((masks & above).sum(axis=(1, 2)) / (masks | above).sum(axis=(1, 2))))
        for above in (others > level for level in (-1, *THRESHOLDS))
    )
    return round(max(float(THRESHOLDS[0]), reached / (1 + reached)), 3)


def choose_threshold(
    outputs: Mapping[str, Sequence[NDArray[np.float32]]], truths: Sequence[Mask]
) -> Metrics:
    """Choose the threshold with the best IoU.

    Args:
        outputs: by kind of prediction N output images, (S, S, 3) float32 in [0, 1]; those of
            'true' decide.
        truths: N true masks, (S, S).

    Returns:
        `best_iou` by kind of prediction, all at the same threshold: mean over the images where
        either mask has a pixel, NaN if there are none; and that `threshold`: of those that are not
        significantly worse than the best, the one nearest to `threshold_prior`.

    Source: after the one-standard-error rule, L. Breiman et al., "Classification and regression
    trees", 1984, section 3.4.3; here two errors, of the paired difference, since the images are
    the same.
    """
    greys = {name: [item.mean(axis=-1) for item in some] for name, some in outputs.items()}

    def ious(name: str, threshold: float) -> NDArray[np.float64]:
        """Of each image; NaN where both masks are empty."""
        overlaps = []
        for grey, truth in zip(greys[name], truths, strict=True):
            mask = grey > threshold
            union = int((mask | truth.values).sum())
            overlaps.append(int((mask & truth.values).sum()) / union if union else np.nan)
        return np.array(overlaps)

    prior = threshold_prior(truths)
    order = sorted(THRESHOLDS.tolist(), key=lambda threshold: abs(threshold - prior))
    each = {threshold: ious('true', threshold) for threshold in order}
    top = each[max(order, key=lambda threshold: np.nan_to_num(_nanmean(each[threshold])))]
    best = next(item for item in order if not _significant(top - each[item]))
    return {
        'best_iou': {name: _nanmean(ious(name, best)) for name in greys},
        'threshold': dict.fromkeys(greys, best),
    }


def _significant(gaps: NDArray[np.float64]) -> bool:
    """Whether the mean of differences is significantly above 0; NaN is left out."""
    known = gaps[~np.isnan(gaps)]
    if len(known) < 2:
        return False
    error = float(known.std(ddof=1)) / len(known) ** 0.5
    return bool(float(known.mean()) > error * stdtrit(len(known) - 1, _CONFIDENCE))


# ---- logs ---------------------------------------------------------------------------------------


class CSVLogger:
    """A CSV file that grows by rows; each begins with a step.

    Args:
        path: of the file; of a resumed run the rows up to its step are kept.
        columns: names; the first is 'step'.
        step: steps done before.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int = 0) -> None:
        self.path, self._columns = path, list(columns)
        earlier_rows = read_csv(path, step)
        with atomic_file(path) as partial, partial.open('w', newline='') as file:
            writer = csv.DictWriter(file, self._columns, extrasaction='ignore')
            writer.writeheader()
            writer.writerows(earlier_rows)

    def add(self, **values: object) -> None:
        """Append a row; numbers have six digits, a column without a value stays empty."""
        row = {
            name: f'{value:.6g}' if isinstance(value, float) else value
            for name, value in values.items()
        }
        with self.path.open('a', newline='') as file:
            csv.DictWriter(file, self._columns).writerow(row)


def read_csv(path: Path, step: int) -> list[dict[str, str]]:
    """The rows of a `CSVLogger` up to a step; none if the file does not exist.

    A row that was cut off, as on a full disk, is left out.
    """
    if not step or not path.is_file():
        return []
    complete, _, _ = path.read_text().rpartition('\n')
    rows = csv.DictReader(complete.splitlines())
    return [row for row in rows if int(row['step']) <= step]


def csv_rows(scores: Scores) -> list[Mapping[str, object]]:
    """Scores as rows of validation.csv, without the step."""
    return [
        {'task': task, 'metric': metric, **columns}
        for task, metrics in scores.items()
        for metric, columns in metrics.items()
    ]


# ---- validation ---------------------------------------------------------------------------------


class Validator:
    """Scores a model on held-out samples, beside predictions that ignore the image.

    The loss also falls while a network learns nothing but the mean target. So each metric stands
    beside two baselines: predictions for the images of other samples (`shuffled`), and the mean of
    all training targets (`mean`).

    Args:
        samples: held-out samples.
        preprocessor: of the training.
        reference: training samples, for the mean.
        settings: seed and validation_num_inference_steps.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocessor: Preprocessor,
        reference: Prepared,
        settings: TrainSettings,
    ) -> None:
        side, self._registry = preprocessor.resolution, preprocessor.registry
        self._prepared = replace(preprocessor, hflip=False).collate(samples)
        self._samples, self._settings = list(samples), settings
        self._labels = [fit_label(sample, side, self._registry) for sample in samples]
        self._means = {}
        for task in dict.fromkeys(self._prepared.tasks):
            rows = reference.rows(task)
            if len(rows):
                mean = _mean_image(reference.targets, rows) / 255  # (3, S, S)
                self._means[task] = np.ascontiguousarray(mean.permute(1, 2, 0).numpy())

    def run(self, pipe: DiceptionPipeline, sheet: Path | None = None) -> Scores:
        """Score a model.

        Args:
            pipe: the model.
            sheet: where a contact sheet of input, target and prediction is written.

        Returns:
            number by task, metric and kind of prediction (`COLUMNS`), mean over samples;
            `image_mae` is the mean absolute error of the output image, in [0, 1]; for masks also
            the result of `choose_threshold`.
        """
        rows = list(range(len(self._samples)))
        other = shuffled_order(self._prepared.tasks)
        true = self.sample(pipe, rows, rows)
        shuffled = self.sample(pipe, rows, other)
        scores: Scores = {}
        for task, mean in self._means.items():
            mine = self._prepared.rows(task).tolist()
            outputs = {
                'true': [true[row] for row in mine],
                'shuffled': [shuffled[row] for row in mine],
                'mean': [mean] * len(mine),
            }
            columns = {
                kind: [self._score(row, image) for row, image in zip(mine, some, strict=True)]
                for kind, some in outputs.items()
            }
            scores[task] = {
                metric: {
                    kind: _nanmean(np.array([item[metric] for item in column]))
                    for kind, column in columns.items()
                }
                for metric in columns['true'][0]
            }
            if issubclass(self._registry.get(task).label, Mask):
                truths: list[Any] = [self._labels[row] for row in mine]
                scores[task] |= choose_threshold(outputs, truths)
        if sheet is not None:
            self._draw(true, sheet)
        return scores

    def sample(
        self, pipe: DiceptionPipeline, prompts: Sequence[int], shown: Sequence[int]
    ) -> NDArray[np.float32]:
        """Output images for the prompts of some samples and the images of others.

        Args:
            pipe: the model.
            prompts: N indices of samples.
            shown: N indices of samples, whose images are the inputs.

        Returns:
            (N, S, S, 3) float32 in [0, 1].
        """
        data, side = self._prepared, self._prepared.targets.shape[-1]
        settings = PredictSettings(
            num_inference_steps=self._settings.validation_num_inference_steps,
            guidance_scale=1.0,
            seed=self._settings.seed,
            processing_resolution=side,
            tta_shifts=pipe.config.shifts,  # as in prediction
            batch_size=min(_BATCH, max(1, _BATCH_PIXELS // side**2)),
        )
        inputs: dict[int, NDArray[np.uint8]] = {}
        requests = []
        for number, (row, other) in enumerate(zip(prompts, shown, strict=True)):
            place = int(data.frame[other])
            if place not in inputs:
                inputs[place] = np.ascontiguousarray(data.images[place].permute(1, 2, 0).numpy())
            sample = self._samples[row]
            points = fractions_of(sample.prompt.points, sample.frame.size)
            requests.append(
                SampleRequest(
                    number, inputs[place], data.texts[row], points, settings.seed, settings, ''
                )
            )
        timer = StageTimer(len(requests), time.perf_counter)
        sampler = BatchedSampler(TorchBackend(pipe))
        return np.stack([image for _, image in sampler.sample(requests, timer)])

    def _score(self, row: int, image: NDArray[np.float32]) -> dict[str, float]:
        task, prompt = self._registry.get(self._prepared.tasks[row]), self._samples[row].prompt
        known = self._prepared.valid[row, 0].numpy()
        target = self._prepared.targets[row].permute(1, 2, 0).numpy() / 255
        error = np.abs(image - target).mean(axis=-1)
        return {
            'image_mae': float(error[known].mean()) if known.any() else float('nan'),
            **task.score(task.decode(image, prompt), self._labels[row]),
        }

    def _draw(self, outputs: NDArray[np.float32], path: Path) -> None:
        data = self._prepared
        panels, names = [], []
        for task in self._means:
            for row in data.rows(task)[:_SHEET_SAMPLES].tolist():
                shown = data.images[data.frame[row]].permute(1, 2, 0).numpy()
                panels += [
                    images.resize(shown, len(outputs[row]))[0],
                    data.targets[row].permute(1, 2, 0).numpy(),
                    np.rint(outputs[row] * 255).astype(np.uint8),
                ]
                names += [task, 'truth', 'prediction']
        factor = max(1, round(_CELL / len(panels[0])))
        enlarged = [panel.repeat(factor, axis=0).repeat(factor, axis=1) for panel in panels]
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, contact_sheet(enlarged, names, columns=3 * _SHEET_SAMPLES))


def _mean_image(stack: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(3, S, S) mean of some of (N, 3, S, S), without converting all of them to floats."""
    total = torch.zeros(stack.shape[1:], dtype=torch.float64)
    for part in rows.split(1024):
        total += stack[part].sum(dim=0, dtype=torch.float64)
    return (total / len(rows)).float()


def _nanmean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float('nan')
