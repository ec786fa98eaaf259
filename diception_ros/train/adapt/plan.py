# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What will be learnt, and from what: decided before it begins."""

from __future__ import annotations

from dataclasses import asdict, replace
import importlib.metadata
import os
from typing import Any, NamedTuple

import numpy as np

from diception_ros import __version__, tasks
from diception_ros.card import Card
from diception_ros.data.batch import fit_label
from diception_ros.data.labelled import Labelled
from diception_ros.data.sample import Sample
from diception_ros.model import DiceptionPipeline, folder, lora
from diception_ros.model.fingerprint import fingerprint
from diception_ros.train import fresh, thresholds
from diception_ros.train.adapt.settings import AdaptSettings
from diception_ros.train.settings import TrainSettings
from diception_ros.train.weights import load_pipeline

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
    """

    card: Card
    settings: TrainSettings
    learnt: list[Sample]
    held: list[Sample]
    pipe: DiceptionPipeline


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
            f'an adapter is learnt by one process, came {together}; start it without accelerate '
            'and torchrun'
        )
    place = folder.resolve(model)
    pipe = load_pipeline(place)
    transformer = pipe.transformer
    whole = sum(
        value.numel() for part in (transformer, pipe.point_encoder) for value in part.parameters()
    )
    real = transformer.inner_dim >= lora.PAPER_WIDTH
    rank = chosen.rank or (
        lora.PAPER_RANK if real and not chosen.share
        else lora.choose_rank(transformer, whole, chosen.share or 0.01)
    )  # fmt: skip
    parameters = rank * lora.per_rank(transformer)
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
    tasks.add(card)
    if kind == 'mask':
        truths: list[Any] = [fit_label(one, pipe.config.resolution) for one in learnt[:_GUESS]]
        card = replace(card, threshold=thresholds.guess(truths))
        tasks.add(card)
    fresh.learn_text(pipe.prompt_table, prompt)
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
    return Plan(card, settings, learnt, held, pipe)


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
