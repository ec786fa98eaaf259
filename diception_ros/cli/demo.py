# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrate the node: a camera, the node and a recorder as three processes of real ROS 2.

Without BAG the camera is that of a robot that drives through a simulated room (needs MuJoCo and
EGL or OSMesa). The node processes what it can in real time. Then the demo prints what was
received, processed and dropped, whether every result has the header of its image, and how good the
results are. OUT gets the bags, a contact sheet, and the page of `diception replay` over all
images. Ctrl-C ends everything.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diception_ros.core import settings
from diception_ros.system import ros_environment
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.demo import DemoConfig, demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        'bag', nargs='?', type=Path, metavar='BAG', help='a recording with images of a camera'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('demo_output'), metavar='DIR',
        help='folder for the results; what is in it is replaced (default: %(default)s)',
    )  # fmt: skip
    settings.add_arguments(parser, DemoConfig, ('bag', 'out'))
    ros_environment.add_option(parser)


def main(args: argparse.Namespace) -> int:
    """Demonstrate; 1 when a result has a header of no image."""
    result = demo(settings.from_arguments(DemoConfig, args), ConsoleProgress())
    if result.table:
        print(result.table)
    return int(bool(result.unmatched))
