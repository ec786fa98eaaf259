# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ask a model about pictures: depth, normals, masks, things, people.

With --task every answer is written to OUT/PICTURE/ as a preview (.png), as the label itself,
without loss (.npz, see diception_ros.core.labels.io), and with how it came about (.json);
sheet.png shows them side by side. With --prompt the picture that the network paints is written to
OUT as it
is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from diception_ros.core import settings
from diception_ros.core.prompt import read_points


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from diception_ros import tasks

    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE')
    parser.add_argument(
        '--model',
        default='builtin',
        metavar='DIR',
        help="model folder, or 'builtin' (default: %(default)s)",
    )
    parser.add_argument(
        '--adapter',
        action='append',
        default=[],
        metavar='DIR',
        help='folder that diception adapt wrote, whose task is asked; once for each',
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--task',
        nargs='+',
        default=[],
        metavar='TASK',
        help=f'one or more of {", ".join(tasks.names())}, or of an --adapter (default: those of '
        'all adapters)',
    )
    what.add_argument(
        '--prompt',
        metavar='TEXT',
        help="what the network is told, for example '[[image2depth]]'; for one IMAGE",
    )
    parser.add_argument(
        '--category',
        nargs='+',
        default=[],
        metavar='NAME',
        help='what to look for, for the tasks that are asked about a category',
    )
    parser.add_argument(
        '--points',
        metavar='X,Y;X,Y',
        default='',
        help='one to five pixels of the picture on the thing that is meant',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='PATH',
        help='folder for --task, picture file for --prompt',
    )
    settings.add_arguments(parser, settings.ComputeSettings, ('threads',))
    settings.add_arguments(parser, settings.PredictSettings)


def main(args: argparse.Namespace) -> int:
    """Predict; 1 when a picture could not be read."""
    from diception_ros import tasks
    from diception_ros.model import folder

    points = read_points(args.points)
    folder.silence_library_logging()
    if args.prompt is not None:
        if args.adapter:
            raise ValueError('--prompt asks the model itself; leave out --adapter')
        return paint(args, points)
    if not args.task and not args.adapter:
        raise ValueError(f'give --task, one or more of {", ".join(tasks.names())}; or --prompt')
    from diception_ros.workflows import predict

    return predict.write_all(args, points)


def paint(args: argparse.Namespace, points: Any) -> int:
    """Write the picture that the network paints, at the size of the one it was asked about."""
    if len(args.images) > 1:
        raise ValueError(f'--prompt takes one IMAGE, got {len(args.images)}')
    import numpy as np
    from PIL import Image

    from diception_ros.core import images
    from diception_ros.core.frame import Frame
    from diception_ros.perception.predictor import Predictor

    chosen = settings.from_arguments(settings.PredictSettings, args)
    compute = settings.from_arguments(settings.ComputeSettings, args)
    frame = Frame(images.read(args.images[0]))
    predictor = Predictor.load(args.model, compute, **vars(chosen))
    painted = predictor.paint(frame, args.prompt, points)
    height, width = frame.size
    whole = Image.fromarray((painted * 255).round().astype(np.uint8))
    images.write(
        args.out, np.asarray(whole.resize((width, height), Image.Resampling.LANCZOS), np.uint8)
    )
    print(f'wrote {args.out}', file=sys.stderr)
    return 0
