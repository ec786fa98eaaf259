# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Train a model: a new small one, or a model folder that continues to learn.

OUT gets the settings, log.csv, validation.csv (metrics beside those of a model that sees the wrong
image and of the mean image), contact sheets, checkpoints, and at the end OUT/model, which
`diception predict --model` takes. Several GPUs: `accelerate launch -m diception_ros train ...`.
docs/training.md has details.
"""

from __future__ import annotations

import argparse
import sys

from diception_ros.core import settings
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.train import TrainConfig, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from diception_ros.training.settings import table

    settings.add_arguments(parser, TrainConfig)
    # argparse reads a percent sign as the beginning of a name.
    parser.epilog = f'settings:\n{table()}'.replace('%', '%%')


def main(args: argparse.Namespace) -> int:
    """Train."""
    result = train(settings.from_arguments(TrainConfig, args), ConsoleProgress())
    if result.first:
        print(f'wrote {result.model}', file=sys.stderr)
    return 0
