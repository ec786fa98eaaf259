# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Judge a model on simulated rooms that it never saw, or on a data set of the paper.

Without DATASET: rooms. Every number stands beside two controls on the same questions: what the
model answers when it sees another room (shuffled), and the mean of the pictures that should be
painted (mean). Needs mujoco and pycocotools.

With --adapter and --data: the task that diception adapt taught, on labels that it did not learn
from, beside the same two controls.

With DATASET and --protocol: a folder in its usual layout, judged as in the paper. --predictions
scores what `diception predict` wrote earlier, without loading a model.

A table goes to stdout; OUT gets metrics.json, answers.csv, first.png and worst.png.
docs/evaluation.md says what each number means.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diception_ros.cli import _labels
from diception_ros.core import settings

# Of the options that only rooms have.
_ROOMS = {'scenes': 200, 'split': 'test', 'scene_seed': 0, 'mean_scenes': 50}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from diception_ros import tasks
    from diception_ros.cli.simulate import read_size
    from diception_ros.datasets import benchmarks

    parser.add_argument('dataset', nargs='?', type=Path, metavar='DATASET', help='folder')
    parser.add_argument(
        '--model',
        metavar='DIR',
        help="model folder, or 'builtin' (default: builtin)",
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder for files')
    data = parser.add_argument_group('data sets')
    data.add_argument(
        '--protocol',
        choices=benchmarks.names(),
        metavar='NAME',
        help=f'how DATASET is read and judged: {", ".join(benchmarks.names())}',
    )
    data.add_argument(
        '--list',
        type=Path,
        metavar='FILE',
        help='a picture in each line, by its path in DATASET (default: all that are there)',
    )
    data.add_argument(
        '--predictions',
        type=Path,
        metavar='DIR',
        help='score the answers in this folder, which diception predict wrote',
    )
    labels = parser.add_argument_group('adapters')
    labels.add_argument(
        '--adapter',
        action='append',
        default=[],
        dest='adapters',
        metavar='DIR',
        help='folder that diception adapt wrote, whose task is judged on --data; once for each',
    )
    labels.add_argument(
        '--data',
        type=Path,
        metavar='LABELS',
        help='folder with images/ and labels/, COCO or LabelMe JSON, or a bag, as for adapt',
    )
    _labels.add_choices(labels)
    rooms = parser.add_argument_group('rooms')
    rooms.add_argument(
        '--scenes',
        type=int,
        metavar='N',
        help=f'rooms, with one picture each (default: {_ROOMS["scenes"]})',
    )
    rooms.add_argument(
        '--split',
        choices=('train', 'validation', 'test'),
        help=f'rooms of different splits never meet (default: {_ROOMS["split"]})',
    )
    rooms.add_argument(
        '--tasks',
        nargs='+',
        choices=tasks.names(),
        metavar='TASK',
        help=f'some of {", ".join(tasks.names())} (default: all)',
    )
    rooms.add_argument(
        '--size',
        type=read_size,
        metavar='WxH',
        help="of the pictures, pixels (default: as high as the model's square, 4/3 as wide)",
    )
    rooms.add_argument(
        '--scene-seed',
        type=int,
        metavar='S',
        help=f'of the rooms (default: {_ROOMS["scene_seed"]})',
    )
    rooms.add_argument(
        '--mean-scenes',
        type=int,
        metavar='N',
        help='rooms of the training split, four pictures each, that make the mean '
        f'(default: {_ROOMS["mean_scenes"]})',
    )
    rooms.add_argument(
        '--gl',
        choices=('egl', 'osmesa'),
        help='OpenGL library (default: that in MUJOCO_GL, or egl)',
    )
    answering = parser.add_argument_group('how the model answers')
    answering.add_argument(
        '--num-inference-steps',
        type=int,
        nargs='+',
        default=[1],
        metavar='S',
        help='numbers of denoising steps to compare (default: 1; the paper: 28)',
    )
    settings.add_arguments(answering, settings.ComputeSettings, ('threads',))
    settings.add_arguments(
        answering,
        settings.PredictSettings,
        ('num_inference_steps', 'ensemble_size', 'reuse_last_velocity'),
    )
    answering.set_defaults(batch_size=16)


def main(args: argparse.Namespace) -> int:
    """Evaluate."""
    from diception_ros import tasks

    if args.predictions is not None and args.model is not None:
        raise ValueError('give --model or --predictions, not both')
    if args.adapters or args.data is not None:
        return _on_labels(args)
    if args.dataset is None:
        _refuse(args, ('protocol', 'list', 'predictions'), 'needs DATASET')
        _fill(args, {**_ROOMS, 'tasks': tasks.names(), 'model': 'builtin'})
        from diception_ros.workflows import evaluate

        return evaluate.on_rooms(args)
    if args.protocol is None:
        from diception_ros.datasets import benchmarks

        raise ValueError(f'DATASET needs --protocol, one of {", ".join(benchmarks.names())}')
    _refuse(args, (*_ROOMS, 'tasks', 'size', 'gl'), 'is for rooms, without DATASET')
    _fill(args, {'model': 'builtin'})
    from diception_ros.workflows import evaluate

    return evaluate.on_dataset(args)


def _on_labels(args: argparse.Namespace) -> int:
    if args.dataset is not None:
        raise ValueError('--adapter is judged on --data, so leave DATASET out')
    if args.data is None:
        raise ValueError(
            '--adapter needs --data LABELS, pictures with labels as for diception adapt, best '
            'some that it did not learn from'
        )
    if not args.adapters:
        raise ValueError('--data needs --adapter DIR, whose task is judged on it')
    others = ('protocol', 'list', 'predictions', *_ROOMS, 'tasks', 'size', 'gl')
    _refuse(args, others, 'does not go with --adapter')
    _fill(args, {'model': 'builtin'})
    from diception_ros.workflows import evaluate

    return evaluate.on_labels(args)


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(args, name) is not None:
            raise ValueError(f'--{name.replace("_", "-")} {why}')


def _fill(args: argparse.Namespace, defaults: dict[str, object]) -> None:
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
