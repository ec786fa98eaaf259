# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Teach a model a new task with about 50 labelled pictures and 1 % of its parameters.

OUT becomes an adapter: a file of a few megabytes and a card. `predict`, `replay` and `evaluate`
take it with --adapter OUT, the node in its parameter `adapters`; the model itself stays as it is.
Labels: a folder with images/ and labels/, COCO or LabelMe JSON, or a bag. docs/adaptation.md says
more.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from diception_ros.cli import _labels
from diception_ros.core import settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from diception_ros.core.adapter_card import KINDS
    from diception_ros.training.settings import AdaptSettings

    parser.add_argument(
        '--model', default='builtin', metavar='DIR',
        help="model folder, or 'builtin' (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        '--task', required=True, metavar='NAME',
        help='what the new task is called: small letters, digits and _',
    )  # fmt: skip
    parser.add_argument(
        '--prompt', metavar='TEXT',
        help="what the network is told (default: '[[image2segmentation]] NAME')",
    )  # fmt: skip
    parser.add_argument('--kind', required=True, choices=KINDS, help='what the answer is')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder of the adapter'
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint in DIR'
    )
    data = parser.add_argument_group('what it learns from')
    data.add_argument(
        '--data', type=Path, required=True, metavar='LABELS',
        help='folder with images/ and labels/, COCO or LabelMe JSON, or a bag',
    )  # fmt: skip
    _labels.add_choices(data)
    settings.add_arguments(parser.add_argument_group('how it learns'), AdaptSettings)


def main(args: argparse.Namespace) -> int:
    """Adapt."""
    from diception_ros.training.settings import AdaptSettings

    chosen = settings.from_arguments(AdaptSettings, args)
    labels = _labels.read(args, args.kind, args.task)
    for text in labels.warnings:
        print(f'{args.data}: {text}', file=sys.stderr)
    from diception_ros.model import folder
    from diception_ros.training.adapt import describe, learn, make_plan

    folder.silence_library_logging()
    prompt = args.prompt
    if prompt is None:
        prompt = f'[[image2segmentation]] {args.task}'
    what = make_plan(args.model, args.task, prompt, args.kind, labels, chosen)
    print(describe(what), file=sys.stderr)
    card = learn(what, chosen, args.out, args.resume)
    _tell(args, card)
    return 0


def _tell(args: argparse.Namespace, card: Any) -> None:
    if card.metrics:
        print(f'at step {card.metrics["step"]}, on {card.data["held_back"]} pictures held back:')
        for metric, numbers in card.metrics.items():
            if metric not in ('step', 'threshold'):
                print(
                    f'  {metric:12} {numbers["true"]:.3f}  (wrong picture '
                    f'{numbers["shuffled"]:.3f}, mean picture {numbers["mean"]:.3f})'
                )
        if 'threshold' in card.metrics:
            print(f'  at best where a pixel belongs to it that is above {card.threshold:g}')
    else:
        print('nothing was held back, so nobody knows how good it is')
    print(
        f'wrote {args.out}; try it: diception predict IMAGE --model {args.model} --adapter '
        f'{args.out} --task {card.name} --out answers',
        file=sys.stderr,
    )
