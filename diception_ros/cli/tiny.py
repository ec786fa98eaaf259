# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write a model folder with random weights, to try commands before the real weights are there.

The folder has everything a real one has, in 1.5 MB, and predicts in milliseconds. Its predictions
are noise: it was not trained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from diception_ros.system import files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='the folder to make; must not exist'
    )
    parser.add_argument(
        '--seed', type=int, default=0, metavar='S', help='random seed (default: %(default)s)'
    )


def main(args: argparse.Namespace) -> int:
    """Write the folder."""
    if args.out.exists():
        raise FileExistsError(f'{args.out}: exists already; give another folder or remove it')
    from diception_ros import tasks
    from diception_ros.model import folder
    from diception_ros.model.tiny import tiny_pipeline

    folder.silence_library_logging()
    pipe = tiny_pipeline(args.seed)
    pipe.get_embeddings(['', *tasks.texts()])
    with files.atomic_folder(args.out) as partial:
        pipe.save_pretrained(partial)
    print(f'wrote {args.out}: random weights, its predictions mean nothing', file=sys.stderr)
    return 0
