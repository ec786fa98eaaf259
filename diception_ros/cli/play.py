# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publish the messages of a bag at their times, like `ros2 bag play`.

Plays rosbag2 and bags of ROS 1 through rclpy, with /clock. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from diception_ros.system import ros_environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument('bag', type=Path, metavar='BAG', help='bag: file or folder')
    parser.add_argument(
        '--rate', type=float, default=1.0, metavar='R', help='speed factor (default: 1)'
    )
    parser.add_argument('--loop', action='store_true', help='start again at the end')
    parser.add_argument(
        '--clock', action=argparse.BooleanOptionalAction, default=True,
        help='publish /clock (default: yes)',
    )  # fmt: skip
    parser.add_argument(
        '--topics', nargs='+', default=[], metavar='TOPIC', help='topics to play (default: all)'
    )
    parser.add_argument(
        '--start', type=float, default=0.0, metavar='S', help='seconds after the beginning'
    )
    parser.add_argument('--end', type=float, metavar='S', help='seconds after the beginning')
    parser.add_argument(
        '--delay', type=float, default=1.0, metavar='S',
        help='before the first message, for the discovery of subscribers (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--listeners', type=float, default=0.0, metavar='S',
        help='before that, wait at most S seconds until every topic has a subscriber; 0: do not '
        'wait (default: 0)',
    )  # fmt: skip
    ros_environment.add_option(parser)


def main(args: argparse.Namespace) -> int:
    """Play."""
    from diception_ros.node.bag_tools import PlayOptions, play
    from diception_ros.system.processes import ended_by_signals

    options = PlayOptions(
        args.rate, args.loop, args.clock, tuple(args.topics), args.start, args.end, args.delay,
        args.listeners,
    )  # fmt: skip
    with ended_by_signals() as ended:
        published = play(args.bag, options, ended)
    print(f'published {published} messages', file=sys.stderr)
    return 0
