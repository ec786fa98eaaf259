# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Score a model on simulated rooms that it never saw, or on a data set of the paper.

Without DATASET: rooms. Every number stands beside two baselines on the same prompts: what the
model predicts for another room (shuffled), and the mean of the correct output images (mean). Needs
mujoco and pycocotools.

With --adapters and --data: the tasks that diception adapt taught, on labels that they were not
trained on, beside the same two baselines.

With DATASET and --protocol: a folder in its usual layout, scored as in the paper. --predictions
scores what `diception predict` wrote earlier, without loading a model.

A table goes to stdout; OUT gets metrics.json, answers.csv, first.png and worst.png.
docs/evaluation.md explains each number.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from diception_ros.cli import _document
from diception_ros.core import settings
from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.adapt import LabelSource
from diception_ros.workflows.evaluate import evaluate
from diception_ros.workflows.evaluate_config import EvaluateConfig, RoomSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        'dataset',
        nargs='?',
        type=Path,
        metavar='DATASET',
        help='folder of a data set, or a bag with depth (protocol rgbd)',
    )
    settings.add_arguments(parser, EvaluateConfig, only=('model', 'out'))
    group = parser.add_argument_group('data sets')
    settings.add_arguments(
        group, EvaluateConfig, only=('protocol', 'list', 'predictions', 'jobs', 'engine')
    )
    group = parser.add_argument_group('adapters')
    settings.add_arguments(group, EvaluateConfig, only=('adapters',))
    settings.add_arguments(group, LabelSource)
    group = parser.add_argument_group('rooms')
    settings.add_arguments(group, RoomSettings)
    for action in group._group_actions:  # so that `main` sees which were given
        action.default = argparse.SUPPRESS
    group = parser.add_argument_group('how the model predicts')
    settings.add_arguments(group, EvaluateConfig, only=('compared_steps',))
    settings.add_arguments(group, ComputeSettings)
    settings.add_arguments(group, PredictSettings, ('num_inference_steps',))
    _document.add_option(parser)


def main(args: argparse.Namespace) -> int:
    """Evaluate."""
    for option in settings.declared(RoomSettings) if args.dataset is not None else ():
        if option.name in vars(args):  # also where it was given its default
            raise ValueError(f'{option.option} is for rooms, without DATASET')
    config = settings.from_arguments(EvaluateConfig, args)
    with _document.printed(args) as document:
        result = evaluate(config, ConsoleProgress())
        document |= {
            'summary': result.summary,
            'frames': result.frames,
            'columns': result.columns,
            'numbers': result.numbers,
            'out': config.out,
        }
    if not args.json:
        print(result.table)
    print(result.summary + (f'; wrote {config.out}' if config.out else ''), file=sys.stderr)
    return 0
