# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write a model folder with random weights, to try commands before the real weights are there.

The folder has everything a real one has, in 1.5 MB, and answers in milliseconds. Its answers are
noise: nothing was learnt.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='the folder to make; must not exist'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of the weights (default: %(default)s)'
    )


def main(args: argparse.Namespace) -> int:
    """Write the folder."""
    from diception_ros import tasks
    from diception_ros.model import folder
    from diception_ros.model.tiny import tiny_pipeline

    folder.silence_library_logging()
    if args.out.exists():
        raise ValueError(f'{args.out}: exists already; give another folder or remove it')
    pipe = tiny_pipeline(args.seed)
    pipe.get_embeddings(['', *tasks.texts()])
    pipe.save_pretrained(args.out)
    print(f'wrote {args.out}: random weights, its answers mean nothing', file=sys.stderr)
    return 0
