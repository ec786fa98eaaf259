# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Run the ROS 2 node `perception`, which publishes results for camera images.

The same as `ros2 run diception_ros perception`. Its options are ROS arguments, for example
  diception node --ros-args -p model:=DIR -p tasks:="[depth, normal]" -r image:=/camera/image_raw
docs/node.md has all topics and parameters. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import sys

from diception_ros.system import ros_environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    ros_environment.add_option(parser)
    parser.add_argument(
        '--ros-args',
        # Takes everything that follows.
        nargs=argparse.REMAINDER,
        default=[],
        metavar='...',
        help='parameters (-p NAME:=VALUE, --params-file FILE), remappings (-r FROM:=TO), '
        '--log-level; read by ROS',
    )


def main(args: argparse.Namespace) -> int:
    """Run until a signal."""
    from diception_ros.node import process

    process.run(['--ros-args', *args.ros_args] if args.ros_args else [])


def perception() -> int:
    """The executable `perception` of `ros2 run` and of launch files."""
    from diception_ros.cli.main import main as command

    return command(['node', *sys.argv[1:]])
