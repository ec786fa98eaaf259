# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Add a point to the prompt of a running node, or remove all points.

X and Y are pixels of the camera's image, x to the right, y down. The task `segmentation` returns
the mask of the object there; it takes up to five points.
"""

from __future__ import annotations

import argparse
import sys

from diception_ros.cli import _remote
from diception_ros.core.prompt import Point


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument('x', nargs='?', type=float, metavar='X', help='pixels from the left')
    parser.add_argument('y', nargs='?', type=float, metavar='Y', help='pixels from the top')
    parser.add_argument('--clear', action='store_true', help='remove all points before')
    parser.add_argument(
        '--camera', default='', metavar='NAME', help='of several cameras (default: the only one)'
    )
    _remote.add_options(parser)


def main(args: argparse.Namespace) -> int:
    """Click; 1 when the node refuses the point."""
    if args.y is None and not (args.clear and args.x is None):
        raise ValueError('expected X and Y, or --clear')
    with _remote.connected(args) as node:
        if args.clear:
            print(node.clear_points(args.camera), file=sys.stderr)
        if args.y is None:
            return 0
        taken, words = node.click(Point(args.x, args.y), args.camera)
        print(words or 'sent; the node logged nothing about it', file=sys.stderr)
        return 0 if taken else 1
