# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception evaluate DATASET` does; loads torch only where a model answers."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from typing import Any

from tqdm import tqdm

from diception_ros.evaluate import datasets, protocols, report
from diception_ros.evaluate.diary import Diary
from diception_ros.evaluate.gallery import Gallery
from diception_ros.evaluate.predictions import Predictions
from diception_ros.evaluate.verdict import Verdict, Witness

_PAPER = 'paper'
# The truth's axes are doubted where a mirrored one fits so much better than the one that is taken.
_DOUBT = 0.8


def on_dataset(args: argparse.Namespace) -> int:
    """Judge a model, or predictions in files, on a data set; print and write what came out."""
    protocol = protocols.get(args.protocol)
    cases, without = datasets.find(protocol, args.dataset, args.list)
    answers: dict[str, datasets.Answer]
    predictions = None
    if args.predictions is not None:
        predictions = Predictions(args.predictions, protocol, cases)
        answers = {'predictions': predictions}
        about: dict[str, Any] = {}
    else:
        from diception_ros.cli import _evaluation

        answers, about = _evaluation.on_cases(args, protocol)
    if len(cases) != protocol.images:
        print(f"{len(cases)} pictures; the paper's table is of {protocol.images}", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        witnesses: list[Witness] = []
        gallery = Gallery([protocol.task])
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            diary = Diary(args.out / 'answers.csv')
            stack.callback(diary.close)
            witnesses = [gallery, diary]
        progress = tqdm(cases, unit='picture', file=sys.stderr)
        verdict = datasets.judge(protocol, progress, answers, witnesses)
    if predictions is not None:
        about = {
            'predictions': {
                'folder': str(args.predictions),
                'cropped': predictions.cropped,
                'stories': _stories(predictions),
            }
        }
    numbers = verdict.numbers[protocol.name]
    for metric, columns in numbers.items():
        columns[_PAPER] = protocol.published.get(metric, math.nan)
    if args.out is not None:
        report.write_json(
            args.out / 'metrics.json',
            {
                'kind': 'dataset',
                **about,
                'dataset': {
                    'folder': str(args.dataset),
                    'protocol': protocol.name,
                    'list': str(args.list) if args.list else None,
                    'pictures': verdict.frames,
                    'without_truth': without,
                },
                'columns': [*verdict.columns, _PAPER],
                'numbers': verdict.numbers,
                'pictures': [case.name for case in cases],
            },
        )
        gallery.write(args.out)
    shown = {**report.SHOWN[protocol.task], **_also(protocol)}
    headings = {**report.headings(verdict.columns), _PAPER: 'paper, 28 steps, guidance 2'}
    print(
        report.markdown(
            verdict.numbers, [*verdict.columns, _PAPER], headings, {protocol.name: shown}
        )
    )
    _doubt_axes(verdict, protocol)
    if args.out is not None:
        print(f'wrote {args.out}', file=sys.stderr)
    return 0


def _also(protocol: protocols.Protocol) -> dict[str, int]:
    # The paper does not say in which space it aligned, so both are shown.
    return {'abs_rel_in_depth': -1, 'delta1_in_depth': 1} if protocol.task == 'depth' else {}


def _stories(predictions: Predictions) -> list[Any]:
    """What the files beside the predictions tell of models and settings, each once."""
    found: dict[str, Any] = {}
    for path in predictions.files():
        story = path.with_suffix('.json')
        if story.is_file():
            told = json.loads(story.read_text())
            kept = {name: told.get(name) for name in ('model', 'settings', 'versions')}
            found.setdefault(json.dumps(kept, sort_keys=True), kept)
    return list(found.values())


def _doubt_axes(verdict: Verdict, protocol: protocols.Protocol) -> None:
    numbers = verdict.numbers[protocol.name]
    axes = [axis for axis in 'xyz' if f'mean_deg_{axis}' in numbers]
    for axis in axes:
        for column in verdict.columns:
            taken, other = numbers['mean_deg'][column], numbers[f'mean_deg_{axis}'][column]
            if other < _DOUBT * taken:
                print(
                    f'{column}: the mean angle is {taken:.1f} degrees, and would be {other:.1f} '
                    f"if the truth's {axis} pointed the other way; look at first.png of --out "
                    'before you trust these numbers',
                    file=sys.stderr,
                )
