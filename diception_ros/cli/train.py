# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Teach a model: a new small one, or a model folder that goes on learning.

OUT gets the settings, log.csv, validation.csv (metrics beside those of a model that sees the wrong
picture and of the mean picture), contact sheets, checkpoints, and in the end OUT/model, which
`diception predict --model` takes. Several GPUs: `accelerate launch -m diception_ros train ...`.
docs/training.md says more.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from diception_ros.training import settings

    parser.add_argument(
        '--config',
        type=Path,
        metavar='FILE',
        help='YAML file of settings, such as config/train.yaml; with --resume those of the run, '
        'where left out',
    )
    parser.add_argument(
        '--set',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME=VALUE',
        help='settings that replace those of the file',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder of the run')
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint in DIR'
    )
    # argparse reads a percent sign as the beginning of a name.
    parser.epilog = f'settings:\n{settings.table()}'.replace('%', '%%')


def main(args: argparse.Namespace) -> int:
    """Train."""
    from diception_ros.model import folder
    from diception_ros.training import checkpoints, distributed, settings, trainer

    if args.config is None and not args.resume:
        raise ValueError('give --config FILE, such as config/train.yaml, or --resume')
    folder.silence_library_logging()
    try:
        if args.resume:
            found = checkpoints.folders(args.out)
            file = args.config or (found[-1] / 'settings.yaml' if found else None)
            chosen = settings.read(file, args.set) if file else None
            had = settings.read(found[-1] / 'settings.yaml') if found else None
            runner = trainer.resume(chosen, args.out, None)
            note = trainer.stretched(had, runner.settings, runner.step) if had else ''
            if note and runner.processes.first:
                print(f'{args.out}: {note}', file=sys.stderr)
        else:
            runner = trainer.begin(settings.read(args.config, args.set), args.out)
        together = runner.processes.count
        if together > 1 and runner.processes.first:
            print(f'{together} processes learn together', file=sys.stderr)
        model = trainer.run(runner, args.out)
    finally:
        distributed.leave()
    if runner.processes.first:
        print(f'wrote {model}', file=sys.stderr)
    return 0
