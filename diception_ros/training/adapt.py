# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Learns an adapter, and keeps its best state.

OUT/card.json, OUT/adapter.safetensors   the adapter, at the end: its best state
OUT/labels.json                          what it learns from, so that a resume has the same
OUT/best/00000050/                       the best state so far, by its step; gone at the end
OUT/run/                                 log, validation, contact sheets, checkpoints: see `run`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
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
from diception_ros.datasets.batch import Prepared, Window, fit_label
from diception_ros.datasets.labelled import Labelled
from diception_ros.datasets.sample import Sample
from diception_ros.model import DiceptionPipeline, adapters, folder
from diception_ros.model.folder import fingerprint
from diception_ros.system import files
from diception_ros.tasks import TaskRegistry
from diception_ros.training import checkpoints, from_scratch, trainer, validation
from diception_ros.training.checkpoints import load_pipeline
from diception_ros.training.samples import Form
from diception_ros.training.settings import AdaptSettings, TrainSettings
from diception_ros.training.trainer import Runner

# A few labelled pictures as a source: each pool shows other parts of them, mirrored or not.


class FewShot:
    """Draws parts of pictures.

    Args:
        samples: to learn from, without points.
        validation: to be judged by, whole.
        size: samples of a pool, every picture as often as another.
        smallest: side of the smallest part, as a share of the picture's; 1: always all of it.
        seed: of the draw.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        validation: Sequence[Sample],
        size: int,
        smallest: float,
        seed: int,
    ) -> None:
        self._samples, self._validation = list(samples), list(validation)
        self._size, self._smallest, self._seed = size, smallest, seed

    def pool(self, number: int, form: Form) -> Prepared:
        rng = np.random.default_rng((self._seed, number))
        drawn: list[Sample] = []
        while len(drawn) < self._size:
            drawn += [self._samples[k] for k in rng.permutation(len(self._samples))]
        return form.prepare(self._changed(one, rng) for one in drawn[: self._size])

    def _changed(self, sample: Sample, rng: np.random.Generator) -> Sample:
        high, wide = sample.frame.size
        # Sides apart, so that shapes are stretched a little, as the model's square stretches them.
        height, width = (
            max(1, round(side * rng.uniform(self._smallest, 1))) for side in (high, wide)
        )
        window = Window(
            int(rng.integers(high - height + 1)),
            int(rng.integers(wide - width + 1)),
            height,
            width,
        )
        part = batch.crop(sample, window)
        return batch.flip(part) if rng.random() < 0.5 else part

    def validation(self) -> list[Sample]:
        return self._validation

    def close(self) -> None:
        pass


# What will be learnt, and from what: decided before it begins.


# Learning rates. The paper's is for SD3. For the built-in model 1e-3 is worse than 3e-3, and 1e-2
# was on an earlier one. Figures of this and of what follows: docs/adaptation.md.
PAPER_LR, SMALL_LR = 2e-5, 3e-3
# Below, those held back are missed more by what learns than they tell.
FEWEST_TO_HOLD_BACK = 10
# Steps of a small model: while pictures held back say when it is enough, and where none do. From 5
# floors 100 steps reach hardly more than 50, from 50 floors 500 no more than 200.
_MOST_STEPS, _STEPS_BLIND, _STEPS_EACH = 1000, 50, 10
# Labels that a threshold is guessed from, at most.
_GUESS = 50
# Of a network that predicts clean latents and answers in one step: all from noise alone.
_SHARE_AT_NOISE = 1.0
_VERSIONS = ('torch', 'diffusers', 'peft')


class Plan(NamedTuple):
    """What will be learnt, known before it begins.

    Attributes:
        card: of the adapter, without metrics.
        settings: of the training run.
        learnt: samples to learn from.
        held: samples to be judged by; may be none.
        pipe: the model.
        registry: holds the task.
    """

    card: Card
    settings: TrainSettings
    learnt: list[Sample]
    held: list[Sample]
    pipe: DiceptionPipeline
    registry: TaskRegistry


def make_plan(
    model: str, name: str, prompt: str, kind: str, labels: Labelled, chosen: AdaptSettings
) -> Plan:
    """Decide what is learnt, and from what.

    Args:
        model: folder, or 'builtin'.
        name: of the task.
        prompt: the text that the model reads.
        kind: of the answer, see `card.KINDS`.
        labels: what to learn from; their prompts name the task.
        chosen: how.

    Raises:
        FileNotFoundError, ValueError: no such model, a name or prompt that cannot be, a text
            without embedding, a share that no rank has; several processes.
    """
    together = int(os.environ.get('WORLD_SIZE', '1'))
    if together > 1:
        raise ValueError(
            f'an adapter is learnt by one process, got {together}; start it without accelerate '
            'and torchrun'
        )
    place = folder.resolve(model)
    pipe = load_pipeline(place)
    transformer = pipe.transformer
    whole = sum(
        value.numel() for part in (transformer, pipe.point_encoder) for value in part.parameters()
    )
    real = transformer.inner_dim >= adapters.PAPER_WIDTH
    rank = chosen.rank or (
        adapters.PAPER_RANK if real and not chosen.share
        else adapters.choose_rank(transformer, whole, chosen.share or 0.01)
    )  # fmt: skip
    parameters = rank * adapters.parameters_per_rank(transformer)
    lr = chosen.lr or (PAPER_LR if real else SMALL_LR)
    learnt, held = split(labels.samples, chosen.held_back, chosen.seed)
    steps = chosen.steps or (
        _MOST_STEPS if held or real
        else min(_MOST_STEPS, max(_STEPS_BLIND, _STEPS_EACH * len(learnt)))
    )  # fmt: skip
    card = Card(
        name, prompt, kind, model, fingerprint(place), rank, parameters, parameters / whole,
        {'sha256': labels.digest, 'learnt': len(learnt), 'held_back': len(held)},
        {**asdict(chosen), 'lr': lr, 'steps': steps}, {},
        {'diception_ros': __version__,
         **{one: importlib.metadata.version(one) for one in _VERSIONS}},
    )  # fmt: skip
    registry = TaskRegistry((card,))
    if kind == 'mask':
        side = pipe.config.resolution
        truths: list[Any] = [fit_label(one, side, registry) for one in learnt[:_GUESS]]
        card = replace(card, threshold=validation.guess(truths))
        registry = TaskRegistry((card,))
    from_scratch.add_text(pipe.prompt_table, prompt)
    sample = transformer.config.get('prediction_type') == 'sample'
    steps_of_pool = max(1, -(-chosen.pool // (chosen.batch_size * chosen.accumulate)))
    settings = TrainSettings(
        model=model,
        rank=rank,
        frozen_bf16=chosen.bf16 and chosen.device != 'cpu',
        source='labels',
        shares=f'{name}=1',
        pool=chosen.pool,
        refresh=steps_of_pool,
        mirrored=False,
        photometric=chosen.photometric,
        steps=steps,
        batch_size=chosen.batch_size,
        accumulate=chosen.accumulate,
        lr=lr,
        ema=chosen.ema,
        share_at_noise=_SHARE_AT_NOISE if sample else 0.0,
        weighting='sample' if sample else 'velocity',
        dropout=chosen.dropout,
        seed=chosen.seed,
        device=chosen.device,
        bf16=chosen.bf16,
        checkpointing=chosen.checkpointing,
        log_every=chosen.validate_every,
        save_every=chosen.validate_every,
        keep=1,
        validate_every=chosen.validate_every if held else 0,
        validation_samples=max(2, len(held)),
        validation_steps=chosen.validation_steps,
    )
    return Plan(card, settings, learnt, held, pipe, registry)


def split(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Samples to learn from, and samples to be judged by: none of fewer than ten.

    Args:
        samples: all.
        share: that is held back; at least two samples where it is above 0.
        seed: of the draw.
    """
    if not share or len(samples) < FEWEST_TO_HOLD_BACK:
        return list(samples), []
    order = np.random.default_rng(seed).permutation(len(samples))
    count = min(len(samples) - 1, max(2, round(share * len(samples))))
    held = set(order[:count].tolist())
    return (
        [one for k, one in enumerate(samples) if k not in held],
        [one for k, one in enumerate(samples) if k in held],
    )


def describe(what: Plan) -> str:
    """One line about what is learnt, for people."""
    card = what.card
    blocks = len(what.pipe.transformer.transformer_blocks)
    judged = (
        f'judged by {len(what.held)} others' if what.held
        else 'none held back, so nothing will tell how good it is'
    )  # fmt: skip
    return (
        f'learns {card.parameters:,} numbers, {100 * card.share:.2f} % of the model: rank '
        f'{card.rank} in query, key and value of {blocks} blocks; from {len(what.learnt)} '
        f'pictures, {judged}'
    )


# Which number says how good an answer of each kind is, and whether more is better.
MAIN = {
    'mask': ('best_iou', True),
    'instances': ('mean_iou', True),
    'normals': ('mean_deg', False),
    'depth': ('disparity_mae', False),
    'rgb': ('mae', False),
}
_LABELS_FILE = 'labels.json'


def learn(
    what: Plan, chosen: AdaptSettings, out: Path, resume: bool = False, progress: bool = True
) -> Card:
    """Learn, and write the adapter.

    Args:
        what: from `make_plan`.
        chosen: how.
        out: folder of the adapter, new or empty unless it goes on.
        resume: go on from the last checkpoint in it.
        progress: show a bar.

    Returns:
        The adapter's card, with its metrics on what was held back.

    Raises:
        FileExistsError: there is something in the folder, or the adapter is finished.
        FileNotFoundError: nothing to go on from.
        ValueError: it is to go on with something else than it began with.
    """
    source = FewShot(what.learnt, what.held, what.settings.pool, chosen.smallest, chosen.seed)
    story = {'task': what.card.name, 'prompt': what.card.prompt, 'kind': what.card.kind,
             'base_sha256': what.card.base_sha256, 'smallest': chosen.smallest,
             **what.card.data}  # fmt: skip
    if resume:
        _same(out, story)
    if resume and checkpoints.folders(out / 'run'):
        runner = trainer.resume(what.settings, out / 'run', source, what.pipe, what.registry)
    else:
        if resume:
            # It was stopped before its first checkpoint, so it goes on from the beginning.
            shutil.rmtree(out / 'run', ignore_errors=True)
        elif out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FileExistsError(
                f'{out} exists and is not empty; choose another folder, or --resume to go on'
            )
        runner = trainer.begin(what.settings, out / 'run', source, what.pipe, what.registry)
        (out / _LABELS_FILE).write_text(json.dumps(story, indent=2) + '\n')
    best = _Best(runner, what.card, out, chosen.patience)
    # One that was killed after its last validation has nothing more to learn.
    if not best.enough:
        # Whole pictures, like those that it is judged by; a pool would be another after a resume.
        trainer.run(runner, out / 'run', progress, best.watch, runner.form.prepare(what.learnt))
    last = best.state if what.held else out / 'run' / 'model'
    shutil.copyfile(last / WEIGHTS_FILE, out / WEIGHTS_FILE)
    card = replace(what.card, metrics=best.metrics, threshold=best.threshold)
    card.write(out)
    for rest in (out / 'run' / 'checkpoints', out / 'run' / 'model', out / 'best'):
        shutil.rmtree(rest, ignore_errors=True)
    return card


class _Best:
    """Keeps the best state, and says when it has not become better for long.

    Args:
        runner: the run; what was found before the step at which it goes on is read from its table.
        card: of the adapter.
        out: its folder.
        patience: validations in a row that may be no better; 0: any number.
    """

    def __init__(self, runner: Runner, card: Card, out: Path, patience: int) -> None:
        self._runner, self._place, self._patience = runner, out / 'best', patience
        self._task, self._threshold = card.name, card.threshold
        self._metric, self._more = MAIN[card.kind]
        self._value, self._waited = float('nan'), 0
        self._step = 0
        self.metrics: dict[str, object] = {}
        found: dict[int, validation.Metrics] = {}
        for line in validation.read_table(out / 'run' / 'validation.csv', runner.step):
            numbers = {name: float(line[name]) for name in validation.ANSWERS}
            found.setdefault(int(line['step']), {})[line['metric']] = numbers
        for step, metrics in found.items():
            self._see(step, metrics)

    @property
    def enough(self) -> bool:
        """Whether it has not become better for long."""
        return bool(self._patience) and self._waited >= self._patience

    @property
    def state(self) -> Path:
        """Folder of the best state."""
        return self._place / f'{self._step:08d}'

    @property
    def threshold(self) -> float:
        """Of masks the best state's, else what the card had."""
        found: Any = self.metrics.get('threshold', {'true': self._threshold})
        return float(found['true'])

    def watch(self, step: int, scores: validation.Scores) -> bool:
        before = self.state
        # With the digits that the table has, or a run that goes on would decide otherwise.
        metrics = {
            metric: {answer: float(f'{value:.6g}') for answer, value in numbers.items()}
            for metric, numbers in scores[self._task].items()
        }
        if self._see(step, metrics):
            with files.atomic_folder(self.state, replace=True) as partial:
                self._runner.weights.write(partial)
            # The one before stays: there is no checkpoint of this step yet, and a run that is
            # killed now goes on from the one before.
            for old in self._place.iterdir():
                if old not in (before, self.state):
                    shutil.rmtree(old)
        return self.enough

    def _see(self, step: int, metrics: validation.Metrics) -> bool:
        value = metrics[self._metric]['true']
        gain = (value - self._value) * (1 if self._more else -1)
        # As long as nothing could be scored (NaN), the latest state is the best that is known.
        better = math.isnan(self._value) or gain > 0
        self._waited = 0 if better else self._waited + 1
        if better:
            self._value, self._step = value, step
            self.metrics = {'step': step, **metrics}
        return better


def _same(out: Path, story: dict[str, object]) -> None:
    """Raise unless an adapter goes on with what it began with."""
    path = out / _LABELS_FILE
    if (out / CARD_FILE).is_file():
        raise FileExistsError(f'{out}: this adapter is finished; choose another folder')
    if not path.is_file():
        raise FileNotFoundError(
            f'{out}: nothing to go on from; begin without --resume, in a new or empty folder'
        )
    had = json.loads(path.read_text())
    for name, now in story.items():
        if had.get(name) != now:
            raise ValueError(
                f'{out} was begun with another {name}: {had.get(name)!r}, now {now!r}; go on with '
                'that, or choose another folder'
            )
