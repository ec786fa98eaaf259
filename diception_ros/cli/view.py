# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Show images and predictions in a browser: files, a bag, a camera, or a running node.

diception view kitchen.jpg room/     image files
diception view drive.mcap            a bag
diception view --camera 0            a camera of this machine
diception view                       a running node and what it publishes

A click on an object is a point. Ctrl-C ends it. docs/viewing.md has details.
"""

from __future__ import annotations

import argparse

from diception_ros.core import settings
from diception_ros.core.settings import ComputeSettings
from diception_ros.perception.settings import LIVE, PerceptionSettings
from diception_ros.system import ros_environment
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.view import ViewConfig, view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        'sources', nargs='*', metavar='SOURCE',
        help='images, folders of images, patterns, or one bag',
    )  # fmt: skip
    settings.add_arguments(
        parser, ViewConfig,
        only=('camera', 'depth_reference', 'node', 'host', 'port', 'seconds', 'model'),
    )  # fmt: skip
    ros_environment.add_option(parser)
    settings.add_arguments(parser.add_argument_group('where it runs'), ComputeSettings)
    every_n = [item.name for item in settings.declared(PerceptionSettings) if item.key]
    settings.add_arguments(
        parser.add_argument_group('what is predicted, as parameters of the node'),
        PerceptionSettings, {*LIVE, *every_n, 'conversion', 'output_size'},
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Serve the page."""
    view(settings.from_arguments(ViewConfig, args), ConsoleProgress())
    return 0
