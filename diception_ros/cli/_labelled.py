# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception evaluate` does with adapters: judge their tasks on somebody's own labels."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import sys
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from diception_ros import card as cards
from diception_ros import tasks
from diception_ros.card import Card
from diception_ros.cli import _evaluation, _labels
from diception_ros.data.labelled.reading import FEW, Labelled
from diception_ros.data.sample import Sample
from diception_ros.evaluate import report, rooms
from diception_ros.evaluate.gallery import Gallery
from diception_ros.evaluate.verdict import Verdict
from diception_ros.frame import Frame
from diception_ros.labels import Label
from diception_ros.predict import Predictor
from diception_ros.prompt import Prompt
from diception_ros.question import Question
from diception_ros.settings import PredictSettings


def on_labels(args: argparse.Namespace) -> int:
    """Judge the tasks of adapters on labels, and print and write what came out."""
    brought = [cards.read(folder) for folder in args.adapters]
    for card in brought:
        tasks.add(card)
    names = [card.name for card in brought]
    _evaluation.check_counted(names)
    labels = [_labels.read(args, card.kind, card.name) for card in brought]
    groups = _together(labels)
    # Loads torch, and the model.
    predictor, chosen, about = _evaluation.load(args)
    predictor.adapt(args.adapters)
    for text in _doubts(args, brought, labels):
        print(f'{args.data}: {text}', file=sys.stderr)
    start = time.monotonic()
    means = rooms.mean_pictures(groups, predictor.resolution)
    gallery = Gallery(names)
    with _evaluation.witnesses(args, gallery) as witnesses:
        verdict = rooms.judge(
            ((samples, np.random.default_rng(0)) for samples in tqdm(groups, unit='picture')),
            {str(one.steps): _asker(predictor, one) for one in chosen},
            means,
            names,
            witnesses,
        )
    seconds = time.monotonic() - start
    if args.out is not None:
        content = _content(args, brought, labels, verdict, seconds)
        report.write_json(args.out / 'metrics.json', {'kind': 'labels', **about, **content})
        gallery.write(args.out)
    _evaluation.tell(args, verdict, f'pictures of {args.data}', seconds)
    return 0


def _together(labels: Sequence[Labelled]) -> list[list[Sample]]:
    """The samples of each picture."""
    found = [list(samples) for samples in zip(*(one.samples for one in labels), strict=True)]
    for samples in found:
        if len({one.name for one in samples}) > 1:
            raise ValueError(
                f'the adapters are judged on the same pictures, came '
                f'{" and ".join(one.name for one in samples)}; give those of other pictures alone'
            )
    return found


def _learnt(card: Card, labels: Labelled) -> bool:
    """Whether an adapter learnt from these labels."""
    return card.data.get('sha256') == labels.digest


def _doubts(
    args: argparse.Namespace, brought: Sequence[Card], labels: Sequence[Labelled]
) -> list[str]:
    """What has to be known to read the numbers."""
    count = len(labels[0].samples)
    # What adapt says of few pictures is about learning.
    found = [text for one in labels for text in one.warnings if 'pictures are few' not in text]
    if count < FEW:
        found.append(
            f'{count} pictures are few: the numbers say little, and the mean picture, which is '
            'made of their labels, knows much of each'
        )
    found += [
        f'{card.name} learnt from these very labels ({card.data.get("learnt")} of {count}, and '
        'was chosen by the others), so the numbers say little of other pictures'
        for card, one in zip(brought, labels, strict=True)
        if _learnt(card, one)
    ]
    return list(dict.fromkeys(found))


def _content(
    args: argparse.Namespace,
    brought: Sequence[Card],
    labels: Sequence[Labelled],
    verdict: Verdict,
    seconds: float,
) -> dict[str, Any]:
    return {
        'adapters': [
            {
                'task': card.name,
                'kind': card.kind,
                'folder': str(folder),
                'sha256': cards.digest(folder),
                'labels_sha256': one.digest,
                'learnt_from_them': _learnt(card, one),
            }
            for folder, card, one in zip(args.adapters, brought, labels, strict=True)
        ],
        'labels': {
            'place': str(args.data),
            'category': args.category,
            'pictures': [sample.name for sample in labels[0].samples],
        },
        'columns': verdict.columns,
        'numbers': verdict.numbers,
        'seconds': round(seconds, 1),
    }


def _asker(predictor: Predictor, settings: PredictSettings) -> rooms.Answer:
    def answer(frame: Frame, prompts: Sequence[Prompt]) -> list[Label]:
        found = predictor.ask([Question(frame, prompt, settings) for prompt in prompts])
        return [prediction.label for prediction in found]

    return answer
