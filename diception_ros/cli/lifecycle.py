# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Get the lifecycle state of a running node, or change it, like `ros2 lifecycle`.

  diception lifecycle set deactivate
Transitions: configure loads the model, activate accepts images, deactivate stops that, cleanup
frees the model, shutdown ends the node.
"""

from __future__ import annotations

import argparse

from diception_ros.cli import _remote

TRANSITIONS = ('configure', 'activate', 'deactivate', 'cleanup', 'shutdown')
# Seconds in which a transition ends; loading the real weights from a slow disk takes minutes.
_LONGEST_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    each = actions.add_parser('get', help='print the state', description='print the state')
    _remote.add_options(each)
    each = actions.add_parser('set', help='change the state', description='change the state')
    each.add_argument('transition', choices=TRANSITIONS, metavar='TRANSITION',
                      help=', '.join(TRANSITIONS))  # fmt: skip
    _remote.add_options(each)


def main(args: argparse.Namespace) -> int:
    """Ask or change."""
    with _remote.connected(args) as node:
        if args.action == 'set':
            node.change_state(args.transition, _LONGEST_S)
            if args.transition == 'shutdown':
                print('finalized')
                return 0
        print(node.state())
    return 0
