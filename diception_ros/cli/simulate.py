# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Render simulated rooms, with exact labels, into a folder of samples or a bag.

A folder (`--out FOLDER`) holds single views with a question and its true answer for every task; a
bag (`--out FILE.mcap`) holds what a robot would record on a smooth way through each room. With
`--labels` the folder holds pictures and one label for each, to try few-shot adaptation with. Needs
MuJoCo (pip install mujoco) and EGL or OSMesa. docs/simulation.md says what is in the files. The
same seed gives the same rooms on every machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import re
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='PATH',
        help='a folder, or a bag if it ends in .mcap',
    )
    parser.add_argument(
        '--scenes', type=int, default=4, metavar='N', help='rooms (default: %(default)s)'
    )
    parser.add_argument(
        '--views',
        type=int,
        default=10,
        metavar='K',
        help='pictures of each room (default: %(default)s)',
    )
    parser.add_argument(
        '--size',
        type=read_size,
        default=(480, 640),
        metavar='WxH',
        help='pixels (default: 640x480)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, metavar='S', help='of all randomness (default: %(default)s)'
    )
    parser.add_argument(
        '--split',
        choices=('train', 'validation', 'test'),
        default='train',
        help='scenes of different splits never meet (default: %(default)s)',
    )
    parser.add_argument(
        '--carrier',
        choices=('any', 'robot', 'hand'),
        default='any',
        help='robot: low and level; hand: held by a person (default: %(default)s)',
    )
    parser.add_argument(
        '--rate',
        type=float,
        default=10.0,
        metavar='HZ',
        help='pictures per second of a bag (default: %(default)s)',
    )
    parser.add_argument(
        '--labels',
        choices=('floor', 'graspable', 'shadow', 'highlight'),
        help='write images/ and labels/ of this, N x K pictures that show enough of it',
    )
    parser.add_argument(
        '--stuff',
        action='store_true',
        help='in a folder, floor, walls and ceiling are entities too',
    )
    parser.add_argument(
        '--gl',
        choices=('egl', 'osmesa'),
        default=None,
        help='OpenGL library (default: that in MUJOCO_GL, or egl)',
    )
    parser.add_argument('--force', action='store_true', help='replace what is at PATH')


def read_size(text: str) -> tuple[int, int]:
    """'640x480' -> (480, 640), which is (H, W)."""
    match = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)
    if match is None:
        raise argparse.ArgumentTypeError(f'expected WxH such as 640x480, got {text!r}')
    return int(match[2]), int(match[1])


def main(args: argparse.Namespace) -> int:
    """Record; 1 when some rooms had no good view."""
    from tqdm import tqdm

    from diception_ros.simulation.adaptation import to_pictures
    from diception_ros.simulation.record import Recording, to_bag, to_folder

    recording = Recording(
        args.scenes, args.views, args.size, args.seed, args.split,
        None if args.carrier == 'any' else args.carrier, args.rate, args.stuff, args.gl,
    )  # fmt: skip
    if args.out.suffix in ('.bag', '.db3'):
        raise ValueError(f'--out is {args.out}; bags are written as .mcap')
    if args.labels is not None:
        if args.out.suffix == '.mcap' or args.stuff:
            raise ValueError('--labels writes a folder of pictures: no .mcap and no --stuff')
        frames = to_pictures(recording, args.labels, args.out, args.force)
    else:
        record = to_bag if args.out.suffix == '.mcap' else to_folder
        frames = record(recording, args.out, args.force)
    wanted, written = args.scenes * args.views, 0
    with tqdm(total=wanted, unit='frame', file=sys.stderr) as progress:
        for written in frames:
            progress.update(written - progress.n)
    print(f'wrote {written} frames to {args.out}', file=sys.stderr)
    if written < wanted:
        print(
            f'{wanted - written} frames are missing: their rooms had no good view', file=sys.stderr
        )
        return 1
    return 0
