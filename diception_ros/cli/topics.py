# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""List the topics of this ROS domain with type, publishers and subscribers.

Like `ros2 topic list -v`. With --node only those under that node's name. Hidden topics are left
out.
"""

from __future__ import annotations

import argparse

from diception_ros.cli import _remote


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    _remote.add_options(parser)
    parser.set_defaults(node='')


def main(args: argparse.Namespace) -> int:
    """List."""
    with _remote.connected(args) as remote:
        if args.node:
            remote.wait()
        rows = [
            (topic.name, topic.msgtype, str(topic.publishers), str(topic.subscribers))
            for topic in remote.topics()
            if not args.node or topic.name.startswith(f'{remote.name}/')
        ]
    rows.insert(0, ('topic', 'type', 'publishers', 'subscribers'))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print(
            '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0
