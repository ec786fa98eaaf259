# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Teach a model a new task with about 50 labelled images and 1 % of its parameters.

OUT becomes an adapter: a file of a few megabytes and a card. `predict`, `replay` and `evaluate`
take it with --adapters OUT, the node in its parameter `adapters`; the model itself stays as it is.
Labels: a folder with images/ and labels/, COCO or LabelMe JSON, or a bag. docs/adaptation.md has
details.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from diception_ros.core import settings
from diception_ros.system.progress import ConsoleProgress
from diception_ros.training.settings import AdaptSettings
from diception_ros.workflows.adapt import AdaptConfig, LabelSource, adapt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    others = [
        item.name for kind in (LabelSource, AdaptSettings) for item in settings.declared(kind)
    ]
    settings.add_arguments(parser, AdaptConfig, others)
    settings.add_arguments(parser.add_argument_group('what it learns from'), LabelSource)
    settings.add_arguments(parser.add_argument_group('how it learns'), AdaptSettings)


def main(args: argparse.Namespace) -> int:
    """Adapt."""
    config = settings.from_arguments(AdaptConfig, args)
    result = adapt(config, ConsoleProgress())
    _print_metrics(result.card)
    print(
        f'wrote {result.adapter}; try it: diception predict IMAGE --model {config.model} '
        f'--adapters {result.adapter} --tasks {result.card.name} --out results',
        file=sys.stderr,
    )
    return 0


def _print_metrics(card: Any) -> None:
    if not card.metrics:
        print('no images were held back, so its quality is unknown')
        return
    print(f'at step {card.metrics["step"]}, on {card.data["held_back"]} images held back:')
    for metric, numbers in card.metrics.items():
        if metric not in ('step', 'threshold'):
            print(
                f'  {metric:12} {numbers["true"]:.3f}  (wrong image '
                f'{numbers["shuffled"]:.3f}, mean image {numbers["mean"]:.3f})'
            )
    if 'threshold' in card.metrics:
        print(f'  best threshold for a pixel of the mask: {card.threshold:g}')
