# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the verbs that ask a running node have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diception_ros.node.client import RemoteNode


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare which node is asked, and for how long."""
    parser.add_argument(
        '--node', default='/perception', metavar='NAME', help='(default: %(default)s)'
    )
    parser.add_argument(
        '--timeout', type=float, default=5.0, metavar='S',
        help='seconds to wait for the node or a message (default: %(default)s)',
    )  # fmt: skip


@contextlib.contextmanager
def connected(args: argparse.Namespace) -> Iterator[RemoteNode]:
    """The node that a command line names, asked from a node of this process."""
    if not args.timeout > 0:
        raise ValueError(f'--timeout is {args.timeout}; expected more than 0')
    import os

    import rclpy

    from diception_ros.node.client import RemoteNode, ros_context

    with ros_context():
        node = rclpy.create_node(f'diception_{os.getpid()}', enable_rosout=False)
        try:
            yield RemoteNode(node, args.node, args.timeout)
        finally:
            node.destroy_node()
