# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Few-shot adaptation: trains a LoRA adapter on a few labelled images and keeps its best state.

OUT/card.json, OUT/adapter.safetensors   the adapter, written at the end: its best state
OUT/labels.json                          hash and split of the training data, compared on resume
OUT/best/00000050/                       the best state so far, by its step; removed at the end
OUT/run/                                 log, validation, sheets, checkpoints: see `trainer`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
import importlib.metadata
import json
import math
import os
from pathlib import Path
import shutil
from typing import Any, NamedTuple

import numpy as np

from diception_ros import __version__
from diception_ros.core.adapter_card import CARD_FILE, WEIGHTS_FILE, Card
from diception_ros.datasets import batch
from diception_ros.datasets.batch import Prepared, Window
from diception_ros.datasets.labelled import Labelled
from diception_ros.datasets.sample import Sample, fit_label
from diception_ros.model import DiceptionPipeline, adapters, folder
from diception_ros.system import files, safe_load
from diception_ros.tasks import TaskRegistry
from diception_ros.training import from_scratch, trainer, validation
from diception_ros.training.checkpoints import load_pipeline
from diception_ros.training.samples import Preprocessor
from diception_ros.training.settings import AdaptSettings, TrainSettings
from diception_ros.training.trainer import Trainer

# Learning rates. The paper's is for SD3. For the built-in model 1e-3 is worse than 3e-3, as 1e-2
# was for an earlier one. Measurements of this and the following: docs/adaptation.md.
PAPER_LR, SMALL_LR = 2e-5, 3e-3
# With fewer images, held-out ones are missed more in training than they tell.
MIN_IMAGES_FOR_VALIDATION = 10
# Steps of a small model: with validation images (early stopping), and without. From 5 images 100
# steps reach hardly more than 50, from 50 images 500 no more than 200.
_MAX_STEPS, _MIN_STEPS_BLIND, _STEPS_PER_IMAGE = 1000, 50, 10
_PRIOR_LABELS = 50  # labels for the threshold prior, at most
# A network that predicts clean latents and samples in one step starts from pure noise alone.
_PURE_NOISE_PROB = 1.0
_VERSIONS = ('torch', 'diffusers', 'peft')

# The metric that selects the best state for each kind of label, and whether larger is better.
SELECTION_METRIC = {
    'mask': ('best_iou', True),
    'instances': ('mean_iou', True),
    'normals': ('mean_deg', False),
    'depth': ('disparity_mae', False),
    'rgb': ('mae', False),
}
_LABELS_FILE = 'labels.json'
# Names in labels.json until release 0.1.
RENAMED = {'learnt': 'train_images', 'held_back': 'validation_images'}


class FewShotDataset:
    """Random crops and flips of a few labelled images.

    Args:
        samples: to train on, without points.
        validation: held-out samples, not cropped.
        size: samples of a buffer; each image equally often.
        min_crop_scale: side of the smallest crop, as a fraction of the image's; 1: no crops.
        seed: of the crops.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        validation: Sequence[Sample],
        size: int,
        min_crop_scale: float,
        seed: int,
    ) -> None:
        self._samples, self._validation = list(samples), list(validation)
        self._size, self._scale, self._seed = size, min_crop_scale, seed

    def buffer(self, number: int, preprocessor: Preprocessor) -> Prepared:
        rng = np.random.default_rng((self._seed, number))
        drawn: list[Sample] = []
        while len(drawn) < self._size:
            drawn += [self._samples[k] for k in rng.permutation(len(self._samples))]
        return preprocessor.collate(self._augment(item, rng) for item in drawn[: self._size])

    def _augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        high, wide = sample.frame.size
        # Sides are independent: shapes are stretched a little, as the square model input does.
        height, width = (
            max(1, round(side * rng.uniform(self._scale, 1))) for side in (high, wide)
        )
        top, left = int(rng.integers(high - height + 1)), int(rng.integers(wide - width + 1))
        crop = batch.crop(sample, Window(top, left, height, width))
        return batch.flip(crop) if rng.random() < 0.5 else crop

    def validation(self) -> list[Sample]:
        return self._validation

    def close(self) -> None:
        pass


class Adaptation(NamedTuple):
    """What an adaptation trains, decided before it starts.

    Attributes:
        card: of the adapter, without metrics.
        settings: of the training run.
        train: samples to train on.
        held_out: samples for validation; may be empty.
        pipe: the model.
        registry: holds the task.
    """

    card: Card
    settings: TrainSettings
    train: list[Sample]
    held_out: list[Sample]
    pipe: DiceptionPipeline
    registry: TaskRegistry


def prepare_adaptation(
    model: str, name: str, prompt: str, kind: str, labels: Labelled, chosen: AdaptSettings
) -> Adaptation:
    """Load the model, split the data, and choose rank, learning rate and steps.

    Args:
        model: folder, or 'builtin'.
        name: of the new task.
        prompt: the text that the model reads.
        kind: of the label, see `adapter_card.KINDS`.
        labels: the training data; their prompts name the task.
        chosen: settings.

    Raises:
        FileNotFoundError, ValueError: no such model, an invalid name or prompt, a text without
            embedding, a share smaller than one rank; several processes.
    """
    processes = int(os.environ.get('WORLD_SIZE', '1'))
    if processes > 1:
        raise ValueError(
            f'an adapter is trained by one process, got {processes}; start it without accelerate '
            'and torchrun'
        )
    place = folder.resolve(model)
    pipe = load_pipeline(place)
    transformer = pipe.transformer
    total = sum(
        value.numel() for part in (transformer, pipe.point_encoder) for value in part.parameters()
    )
    is_sd3 = transformer.inner_dim >= adapters.PAPER_WIDTH
    rank = chosen.rank or (
        adapters.PAPER_RANK if is_sd3 and not chosen.share
        else adapters.choose_rank(transformer, total, chosen.share or 0.01)
    )  # fmt: skip
    parameters = rank * adapters.parameters_per_rank(transformer)
    lr = chosen.lr or (PAPER_LR if is_sd3 else SMALL_LR)
    train, held_out = split(labels.samples, chosen.val_fraction, chosen.seed)
    steps = chosen.max_steps or (
        _MAX_STEPS if held_out or is_sd3
        else min(_MAX_STEPS, max(_MIN_STEPS_BLIND, _STEPS_PER_IMAGE * len(train)))
    )  # fmt: skip
    card = Card(
        name, prompt, kind, model, folder.fingerprint(place), rank, parameters, parameters / total,
        {'sha256': labels.digest, 'train_images': len(train),
         'validation_images': len(held_out)},
        {**asdict(chosen), 'lr': lr, 'max_steps': steps}, {},
        {'diception_ros': __version__,
         **{package: importlib.metadata.version(package) for package in _VERSIONS}},
    )  # fmt: skip
    registry = TaskRegistry((card,))
    if kind == 'mask':
        side = pipe.config.resolution
        masks: list[Any] = [fit_label(item, side, registry) for item in train[:_PRIOR_LABELS]]
        card = replace(card, threshold=validation.threshold_prior(masks))
        registry = TaskRegistry((card,))
    from_scratch.add_text(pipe.prompt_table, prompt)
    predicts_sample = transformer.config.get('prediction_type') == 'sample'
    samples_per_step = chosen.batch_size * chosen.gradient_accumulation_steps
    names = {item.name for item in fields(TrainSettings)}
    shared = {key: value for key, value in asdict(chosen).items() if key in names}
    own: dict[str, Any] = {
        'model': model,
        'rank': rank,
        'frozen_bf16': chosen.bf16 and chosen.device != 'cpu',
        'source': 'labels',
        'task_weights': f'{name}=1',
        'buffer_refresh_steps': max(1, -(-chosen.buffer // samples_per_step)),
        'hflip': False,
        'max_steps': steps,
        'lr': lr,
        'pure_noise_prob': _PURE_NOISE_PROB if predicts_sample else 0.0,
        'weighting': 'sample' if predicts_sample else 'velocity',
        'log_every': chosen.validate_every,
        'save_every': chosen.validate_every,
        'keep': 1,
        'validate_every': chosen.validate_every if held_out else 0,
        'validation_samples': max(2, len(held_out)),
    }
    settings = TrainSettings(**shared | own)
    return Adaptation(card, settings, train, held_out, pipe, registry)


def split(
    samples: list[Sample], val_fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Split samples into training and validation; of fewer than ten none are held out.

    Args:
        samples: all.
        val_fraction: fraction for validation; at least two samples where it is above 0.
        seed: of the draw.
    """
    if not val_fraction or len(samples) < MIN_IMAGES_FOR_VALIDATION:
        return list(samples), []
    order = np.random.default_rng(seed).permutation(len(samples))
    count = min(len(samples) - 1, max(2, round(val_fraction * len(samples))))
    held_out = set(order[:count].tolist())
    return (
        [item for k, item in enumerate(samples) if k not in held_out],
        [item for k, item in enumerate(samples) if k in held_out],
    )


def describe(adaptation: Adaptation) -> str:
    """One line about what is trained, for people."""
    card = adaptation.card
    transformer = adaptation.pipe.transformer
    layers = f'query, key and value of {len(transformer.transformer_blocks)} blocks'
    if more := len(adapters.convolutions(adapters.layer_shapes(transformer))):
        layers += f' and {more} convolutions'
    validated = (
        f'validated on {len(adaptation.held_out)} others' if adaptation.held_out
        else 'none held out, so there will be no metrics'
    )  # fmt: skip
    return (
        f'trains {card.parameters:,} parameters, {100 * card.share:.2f} % of the model: rank '
        f'{card.rank} in {layers}; from {len(adaptation.train)} images, {validated}'
    )


def fit_adapter(
    adaptation: Adaptation,
    chosen: AdaptSettings,
    out: Path,
    resume: bool = False,
    progress: bool = True,
) -> Card:
    """Train, and write the adapter.

    Args:
        adaptation: from `prepare_adaptation`.
        chosen: settings.
        out: folder of the adapter, new or empty unless it is resumed.
        resume: go on from the last checkpoint in it.
        progress: show a progress bar.

    Returns:
        The card of the adapter, with its metrics on the held-out samples.

    Raises:
        FileExistsError: the folder is not empty, or the adapter is finished.
        FileNotFoundError: nothing to resume.
        ValueError: resumed with other data or settings.
    """
    card, run = adaptation.card, out / 'run'
    dataset = FewShotDataset(
        adaptation.train, adaptation.held_out, adaptation.settings.buffer, chosen.min_crop_scale,
        chosen.seed,
    )  # fmt: skip
    identity = {
        'task': card.name, 'prompt': card.prompt, 'kind': card.kind,
        'base_sha256': card.base_sha256, 'min_crop_scale': chosen.min_crop_scale, **card.data,
    }  # fmt: skip
    if resume:
        _check_identity(out, identity)
        # Stopped before its settings were written, it starts again.
        begin = trainer.resume if (run / 'settings.yaml').is_file() else trainer.start
    else:
        trainer.check_new(out)
        begin = trainer.start
    trained = begin(adaptation.settings, run, dataset, adaptation.pipe, adaptation.registry)
    if not resume:
        files.write_text(out / _LABELS_FILE, json.dumps(identity, indent=2) + '\n')
    best = _BestState(trained, card, out, chosen.patience)
    # One that was killed after its last validation needs no more training.
    if not best.enough:
        # Whole images, like the held-out ones; a buffer would differ after a resume.
        reference = trained.preprocessor.collate(adaptation.train)
        trainer.fit(trained, run, progress, best.should_stop, reference)
    last = best.folder if adaptation.held_out else run / 'model'
    with files.atomic_file(out / WEIGHTS_FILE) as partial:
        shutil.copyfile(last / WEIGHTS_FILE, partial)
    card = replace(card, metrics=best.metrics, threshold=best.threshold)
    card.write(out)
    for rest in (run / 'checkpoints', run / 'model', out / 'best'):
        shutil.rmtree(rest, ignore_errors=True)
    return card


class _BestState:
    """Keeps the best state, and decides on early stopping.

    Args:
        trained: the run; validations before the step of a resume are read from its log.
        card: of the adapter.
        out: its folder.
        patience: validations in a row without improvement; 0: any number.
    """

    def __init__(self, trained: Trainer, card: Card, out: Path, patience: int) -> None:
        self._trainer, self._out, self._patience = trained, out / 'best', patience
        self._task, self._threshold = card.name, card.threshold
        self._metric, self._larger = SELECTION_METRIC[card.kind]
        self._value, self._waited = float('nan'), 0
        self._step = 0
        self.metrics: dict[str, object] = {}
        metrics_by_step: dict[int, validation.Metrics] = {}
        for row in validation.read_csv(out / 'run' / 'validation.csv', trained.step):
            numbers = {name: float(row[name]) for name in validation.COLUMNS}
            metrics_by_step.setdefault(int(row['step']), {})[row['metric']] = numbers
        for step, metrics in metrics_by_step.items():
            self._update(step, metrics)

    @property
    def enough(self) -> bool:
        """Whether the patience is exhausted."""
        return bool(self._patience) and self._waited >= self._patience

    @property
    def folder(self) -> Path:
        """Folder of the best state."""
        return self._out / f'{self._step:08d}'

    @property
    def threshold(self) -> float:
        """For masks that of the best state, else that of the card."""
        thresholds: Any = self.metrics.get('threshold', {'true': self._threshold})
        return float(thresholds['true'])

    def should_stop(self, step: int, scores: validation.Scores) -> bool:
        before = self.folder
        # With the digits of the log, or a resumed run would decide otherwise.
        metrics = {
            metric: {kind: float(f'{value:.6g}') for kind, value in numbers.items()}
            for metric, numbers in scores[self._task].items()
        }
        if self._update(step, metrics):
            with files.atomic_folder(self.folder, replace=True) as partial:
                self._trainer.weights.write(partial)
            # The previous best stays: there is no checkpoint of this step yet, and a run that is
            # killed now resumes from an earlier one.
            for old in self._out.iterdir():
                if old not in (before, self.folder):
                    shutil.rmtree(old)
        return self.enough

    def _update(self, step: int, metrics: validation.Metrics) -> bool:
        value = metrics[self._metric]['true']
        gain = (value - self._value) * (1 if self._larger else -1)
        # As long as nothing could be scored (NaN), the latest state is the best that is known.
        better = math.isnan(self._value) or gain > 0
        self._waited = 0 if better else self._waited + 1
        if better:
            self._value, self._step = value, step
            self.metrics = {'step': step, **metrics}
        return better


def _check_identity(out: Path, identity: dict[str, object]) -> None:
    """Raise unless an adapter is resumed with what it was started with."""
    path = out / _LABELS_FILE
    if (out / CARD_FILE).is_file():
        raise FileExistsError(f'{out}: this adapter is finished; choose another folder')
    if not path.is_file():
        raise FileNotFoundError(
            f'{out}: nothing to go on from; begin without --resume, in a new or empty folder'
        )
    before = {
        RENAMED.get(name, name): value for name, value in safe_load.json_object(path).items()
    }
    for name, now in identity.items():
        if before.get(name) != now:
            raise ValueError(
                f'{out} was begun with another {name}: {before.get(name)!r}, now {now!r}; go on '
                'with that, or choose another folder'
            )
