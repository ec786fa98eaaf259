# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make a model folder of SD3 medium and the official DICEPTION checkpoint.

Needs both once, then neither: the folder carries the weights and the embeddings of every text that
the tasks use. Nothing is downloaded, and a checkpoint that is more than tensors is refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        '--sd3',
        type=Path,
        required=True,
        metavar='DIR',
        help='stable-diffusion-3-medium in the layout of diffusers',
    )
    parser.add_argument(
        '--checkpoint', type=Path, required=True, metavar='FILE', help='DICEPTION_v1.pth'
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='the model folder to make; must not exist',
    )
    parser.add_argument(
        '--dtype',
        choices=('bfloat16', 'float16', 'float32'),
        default='bfloat16',
        help='of the stored weights (default: %(default)s, as the checkpoint)',
    )
    parser.add_argument(
        '--point-order',
        choices=('xy', 'yx'),
        default='xy',
        help='which coordinate of a point the weights expect first; the official '
        'scripts contradict each other (default: %(default)s, as its inference.py '
        'does)',
    )
    parser.add_argument(
        '--with-text-encoders',
        action='store_true',
        help='copy the text encoders too (11 GB), to ask for any text',
    )
    parser.add_argument(
        '--resolution',
        type=int,
        default=768,
        metavar='S',
        help='side in pixels that the model works at (default: %(default)s)',
    )
    parser.add_argument(
        '--add',
        nargs='+',
        default=[],
        metavar='TEXT',
        help='more texts to embed, beside those of the tasks',
    )


def main(args: argparse.Namespace) -> int:
    """Convert."""
    from diception_ros import tasks
    from diception_ros.model import folder
    from diception_ros.model.convert import convert

    folder.silence_library_logging()
    convert(
        args.sd3,
        args.checkpoint,
        args.out,
        texts=list(dict.fromkeys(['', *tasks.texts(), *args.add])),
        dtype=args.dtype,
        point_order=args.point_order,
        with_text_encoders=args.with_text_encoders,
        resolution=args.resolution,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return 0
