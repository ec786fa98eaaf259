# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write a model with random weights, to try commands before the real weights are there.

--out writes a model folder with all components of a real one, text encoders included, in 7 MB;
predictions take milliseconds and are noise. --official writes stand-ins of the published files,
SD3's folder and DICEPTION_v1.pth, in 2 MB, to rehearse `diception convert`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument(
        '--out', type=Path, metavar='DIR', help='the model folder to make; must not exist'
    )
    kinds.add_argument(
        '--official',
        type=Path,
        metavar='DIR',
        help='the folder to make with sd3/ and DICEPTION_v1.pth; must not exist',
    )
    parser.add_argument('--seed', type=int, default=0, help='random seed (default: %(default)s)')


def main(args: argparse.Namespace) -> int:
    """Write the folder."""
    out = args.out or args.official
    if out.exists():
        raise ValueError(f'{out}: exists already; give another folder or remove it')
    from diception_ros import tasks
    from diception_ros.model import folder
    from diception_ros.model.tiny import RESOLUTION, tiny_pipeline, write_official
    from diception_ros.system.files import atomic_folder

    folder.silence_library_logging()
    pipe = tiny_pipeline(args.seed)
    with atomic_folder(out) as partial:
        if args.official:
            write_official(pipe, partial)
        else:
            pipe.get_embeddings(['', *tasks.texts()])
            pipe.save_pretrained(partial)
    print(f'wrote {out}: random weights, its predictions mean nothing', file=sys.stderr)
    if args.official:
        print(
            f'try it: diception convert --sd3 {out}/sd3 --checkpoint {out}/DICEPTION_v1.pth --out '
            f'MODEL --resolution {RESOLUTION}',
            file=sys.stderr,
        )
    return 0
