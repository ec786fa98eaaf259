# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Print the messages of a topic as YAML, like `ros2 topic echo`.

A TOPIC without a leading / is one of the node, such as depth/image. Long arrays are cut. Ctrl-C
ends it.
"""

from __future__ import annotations

import argparse

import yaml

from diception_ros.cli import _remote
from diception_ros.system.processes import ended_by_signals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument('topic', metavar='TOPIC', help='such as semantic/label, /diagnostics')
    parser.add_argument(
        '--count', type=int, default=0, metavar='N', help='end after N messages; 0: never'
    )
    parser.add_argument('--once', action='store_const', const=1, dest='count', help='--count 1')
    parser.add_argument('--full', action='store_true', help='print whole arrays and texts')
    _remote.add_options(parser)


def main(args: argparse.Namespace) -> int:
    """Echo."""
    from diception_ros.node.client import as_plain

    with ended_by_signals() as ended, _remote.connected(args) as remote:
        for message in remote.messages(args.topic, args.count, ended.is_set):
            text = yaml.safe_dump(as_plain(message, args.full), sort_keys=False, width=2**16)
            print(f'{text}---', flush=True)
    return 0
