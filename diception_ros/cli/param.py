# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Get, set, list or describe the parameters of a running node, like `ros2 param`.

  diception param set tasks "[depth, normal]"
  diception param list
VALUE is YAML. docs/node.md has all parameters.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import yaml

from diception_ros.cli import _remote

if TYPE_CHECKING:
    from diception_ros.node.client import RemoteNode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    for name, about in (
        ('get', 'print the value of a parameter'),
        ('set', 'change a parameter'),
        ('list', 'print all parameters and their values, as YAML'),
        ('describe', 'print type, range and meaning'),
    ):
        each = actions.add_parser(name, help=about, description=about)
        if name != 'list':
            each.add_argument('name', metavar='NAME', help='such as depth.metric')
        if name == 'set':
            each.add_argument('value', metavar='VALUE', help='YAML, such as 2, off, [depth, pose]')
        _remote.add_options(each)


def main(args: argparse.Namespace) -> int:
    """Ask or change."""
    with _remote.connected(args) as node:
        if args.action == 'list':
            print(_yaml(node.get(node.parameter_names())))
        elif args.action == 'describe':
            print(_description(node, args.name))
        elif args.action == 'get':
            value = node.get([args.name])[args.name]
            print(value if isinstance(value, str) else _yaml(value))
        else:
            node.set({args.name: args.value})
            value = node.get([args.name])[args.name]
            print(f'{args.name}: {_yaml(value)}', file=sys.stderr)
    return 0


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=2**16)
    return text.removesuffix('...\n').rstrip()


def _description(node: RemoteNode, name: str) -> str:
    found = node.describe([name])[name]
    from rclpy.parameter import Parameter

    lines = [
        f'{name}: {found.description}',
        f'  type: {Parameter.Type(found.type).name.lower()}',
        f'  value: {_yaml(node.get([name])[name])}',
    ]
    for allowed in [*found.integer_range, *found.floating_point_range]:
        lines.append(f'  range: {allowed.from_value:g} to {allowed.to_value:g}')
    if found.additional_constraints:
        lines.append(f'  constraints: {found.additional_constraints}')
    if found.read_only:
        lines.append('  read only')
    return '\n'.join(lines)
