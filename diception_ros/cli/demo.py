# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Show the main job: a camera, the node and a recorder as three processes of real ROS 2.

Without BAG the camera is that of a robot that drives through a simulated room (needs MuJoCo and
EGL or OSMesa). The node answers what it can in real time; then it is told what was received,
processed and dropped, whether every answer has its picture's header, and how good the answers
are. OUT gets the bags, a contact sheet, and the page of `diception replay` over all pictures.
Ctrl-C ends everything.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from diception_ros import tasks

    parser.add_argument(
        'bag', nargs='?', type=Path, metavar='BAG', help='a recording with pictures of a camera'
    )
    parser.add_argument(
        '--camera', metavar='TOPIC', help='of the pictures, where BAG has several (default: guess)'
    )
    parser.add_argument(
        '--seconds', type=float, default=10.0, metavar='S',
        help='how much of BAG is used (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--model', default='builtin', metavar='DIR',
        help="model folder, or 'builtin' (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        '--device', default='cpu', metavar='D', help='cpu, cuda or cuda:N (default: %(default)s)'
    )
    parser.add_argument(
        '--tasks', nargs='+', choices=tasks.names(), default=tasks.names(), metavar='TASK',
        help=f'some of {", ".join(tasks.names())} (default: all)',
    )  # fmt: skip
    parser.add_argument(
        '--out', type=Path, default=Path('demo_output'), metavar='DIR',
        help='folder for what comes out; what is in it is replaced (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--gl', choices=('egl', 'osmesa'),
        help='OpenGL library (default: that in MUJOCO_GL, or egl)',
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Show; 1 when an answer has a header of no picture, or there is no answer."""
    # Half the cores for the network: a thread of it that has to wait for a core stalls all. With
    # one other busy process on two cores, one thread was 14 times as fast as two.
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) // 2)))
    # Importing torch takes seconds, on a busy machine many.
    print('diception demo: importing libraries', file=sys.stderr, flush=True)
    from diception_ros.workflows import demo

    return demo.show(args)
