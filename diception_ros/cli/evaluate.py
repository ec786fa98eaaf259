# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Judge a model on simulated rooms that it never saw.

Every number stands beside two controls on the same questions: what the model answers when it
sees another room (shuffled), and the mean of the pictures that should be painted (mean). A table
goes to stdout; OUT gets metrics.json, answers.csv, first.png and worst.png. Needs
diception_ros[sim,evaluate]. docs/evaluation.md says what each number means.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from diception_ros import settings
from diception_ros.settings import setting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from diception_ros import tasks
    from diception_ros.cli.simulate import read_size

    parser.add_argument(
        '--model',
        default='builtin',
        metavar='DIR',
        help="model folder, or 'builtin' (default: %(default)s)",
    )
    parser.add_argument(
        '--scenes', type=int, default=200, metavar='N',
        help='rooms, with one picture each (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--split',
        choices=('train', 'validation', 'test'),
        default='test',
        help='rooms of different splits never meet (default: %(default)s)',
    )
    parser.add_argument(
        '--tasks',
        nargs='+',
        choices=tasks.names(),
        default=tasks.names(),
        metavar='TASK',
        help=f'some of {", ".join(tasks.names())} (default: all)',
    )
    parser.add_argument(
        '--size',
        type=read_size,
        metavar='WxH',
        help="of the pictures, pixels (default: as high as the model's square, 4/3 as wide)",
    )
    parser.add_argument(
        '--scene-seed',
        type=int,
        default=0,
        metavar='S',
        help='of the rooms (default: %(default)s)',
    )
    parser.add_argument(
        '--mean-scenes', type=int, default=50, metavar='N',
        help='rooms of the training split, four pictures each, that make the mean '
        '(default: %(default)s)',
    )  # fmt: skip
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder for files')
    parser.add_argument(
        '--gl', choices=('egl', 'osmesa'), default=None,
        help='OpenGL library (default: that in MUJOCO_GL, or egl)',
    )  # fmt: skip
    parser.add_argument(
        '--steps',
        type=int,
        nargs='+',
        default=[1],
        metavar='S',
        help='numbers of denoising steps to compare (default: 1; the paper: 28)',
    )
    settings.add_arguments(parser, _Answering)


@dataclass(frozen=True)
class _Answering:
    """How the model answers, but for the steps; the other settings of predict stay at rest."""

    device: str = setting('cpu', 'where the model runs: cpu, cuda or cuda:N')
    dtype: str = setting(
        'auto',
        'precision of the model; auto is bfloat16 on a GPU and float32 on the CPU',
        choices=('auto', 'float32', 'bfloat16', 'float16'),
    )
    guidance: float = setting(
        1.0, 'weight of the prompt over the empty prompt, 1: none; the paper: 2', low=0, high=30
    )
    seed: int = setting(42, 'of the noise that every answer starts from', low=0, high=2**63 - 1)
    batch_size: int = setting(16, 'answers that are worked out at once', low=1, high=1024)
    resolution: int = setting(
        0, "side of the model's square in pixels; 0: what the model was made for", low=0, high=4096
    )


def main(args: argparse.Namespace) -> int:
    """Evaluate."""
    from diception_ros.cli import _evaluation

    return _evaluation.on_rooms(args)
