# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verbs of ROS: the node, its parameters, state and topics, `play` and `record`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

from diception_ros.cli.verbs import log, main, verb
from diception_ros.core import settings
from diception_ros.system import ros_environment

if TYPE_CHECKING:
    from diception_ros.node.client import RemoteNode

TRANSITIONS = ('configure', 'activate', 'deactivate', 'cleanup', 'shutdown')
# Seconds in which a transition ends; loading the real weights from a slow disk takes minutes.
_LONGEST_S = 600.0


def _node_options(parser: argparse.ArgumentParser) -> None:
    ros_environment.add_option(parser)
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[], metavar='...',
        help='parameters (-p NAME:=VALUE, --params-file FILE), remappings (-r FROM:=TO), '
        '--log-level; read by ROS',
    )  # fmt: skip


@verb(_node_options)
def node(args: argparse.Namespace) -> int:
    """Run the ROS 2 node `perception`, which publishes results for camera images.

    The same as `ros2 run diception_ros perception`. Its options are ROS arguments, for example
      diception node --ros-args -p model:=DIR -p tasks:="[depth]" -r image:=/camera/image_raw
    docs/node.md has all topics and parameters. Ctrl-C ends it.
    """
    from diception_ros.node import process

    process.run(['--ros-args', *args.ros_args] if args.ros_args else [])


def perception() -> int:
    """The executable `perception` of `ros2 run` and of launch files."""
    return main(['node', *sys.argv[1:]])


# ---- a running node -----------------------------------------------------------------------------


def _remote_options(parser: argparse.ArgumentParser) -> None:
    """Declare which node is asked, and for how long."""
    parser.add_argument(
        '--node', default='/perception', metavar='NAME', help='(default: %(default)s)'
    )
    parser.add_argument(
        '--timeout', type=float, default=5.0, metavar='S',
        help='seconds to wait for the node or a message (default: %(default)s)',
    )  # fmt: skip


@contextlib.contextmanager
def _connected(args: argparse.Namespace) -> Iterator[RemoteNode]:
    """The node that a command line names, asked from a node of this process."""
    if not args.timeout > 0:
        raise ValueError(f'--timeout is {args.timeout}; expected more than 0')
    import os

    import rclpy

    from diception_ros.node.client import RemoteNode, ros_context

    with ros_context():
        own = rclpy.create_node(f'diception_{os.getpid()}', enable_rosout=False)
        try:
            yield RemoteNode(own, args.node, args.timeout)
        finally:
            own.destroy_node()


def _click_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('x', nargs='?', type=float, metavar='X', help='pixels from the left')
    parser.add_argument('y', nargs='?', type=float, metavar='Y', help='pixels from the top')
    parser.add_argument('--clear', action='store_true', help='remove all points before')
    parser.add_argument(
        '--camera', default='', metavar='NAME', help='of several cameras (default: the only one)'
    )
    _remote_options(parser)


@verb(_click_options)
def click(args: argparse.Namespace) -> int:
    """Add a point to the prompt of a running node, or remove all points.

    X and Y are pixels of the camera's image, x to the right, y down. The task `segmentation`
    returns the mask of the object there; it takes up to five points.
    """
    from diception_ros.core.prompt import Point

    if args.y is None and not (args.clear and args.x is None):
        raise ValueError('expected X and Y, or --clear')
    with _connected(args) as remote:
        if args.clear:
            log(remote.clear_points(args.camera))
        if args.y is None:
            return 0
        accepted, words = remote.click(Point(args.x, args.y), args.camera)
        log(words or 'sent; the node logged nothing about it')
        return 0 if accepted else 1


def _echo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('topic', metavar='TOPIC', help='such as semantic/label, /diagnostics')
    parser.add_argument(
        '--count', type=int, default=0, metavar='N', help='end after N messages; 0: never'
    )
    parser.add_argument('--once', action='store_const', const=1, dest='count', help='--count 1')
    parser.add_argument('--full', action='store_true', help='print whole arrays and texts')
    _remote_options(parser)


@verb(_echo_options)
def echo(args: argparse.Namespace) -> int:
    """Print the messages of a topic as YAML, like `ros2 topic echo`.

    A TOPIC without a leading / is one of the node, such as depth/image. Long arrays are cut.
    Ctrl-C ends it.
    """
    import yaml

    from diception_ros.node.client import as_plain
    from diception_ros.system.processes import ended_by_signals

    if args.count < 0:
        raise ValueError(f'--count is {args.count}; expected 0 or more')
    with ended_by_signals() as ended, _connected(args) as remote:
        for message in remote.messages(args.topic, args.count, ended.is_set):
            text = yaml.safe_dump(as_plain(message, args.full), sort_keys=False, width=2**16)
            print(f'{text}---', flush=True)
    return 0


def _lifecycle_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    _remote_options(
        actions.add_parser('get', help='print the state', description='print the state')
    )
    each = actions.add_parser('set', help='change the state', description='change the state')
    each.add_argument('transition', choices=TRANSITIONS, metavar='TRANSITION',
                      help=', '.join(TRANSITIONS))  # fmt: skip
    _remote_options(each)


@verb(_lifecycle_options)
def lifecycle(args: argparse.Namespace) -> int:
    """Get the lifecycle state of a running node, or change it, like `ros2 lifecycle`.

      diception lifecycle set deactivate
    Transitions: configure loads the model, activate accepts images, deactivate stops that, cleanup
    frees the model, shutdown ends the node.
    """
    with _connected(args) as remote:
        if args.action == 'set':
            remote.change_state(args.transition, _LONGEST_S)
            if args.transition == 'shutdown':
                print('finalized')
                return 0
        print(remote.state())
    return 0


def _param_options(parser: argparse.ArgumentParser) -> None:
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
        _remote_options(each)


@verb(_param_options)
def param(args: argparse.Namespace) -> int:
    """Get, set, list or describe the parameters of a running node, like `ros2 param`.

      diception param set tasks "[depth, normal]"
      diception param list
    VALUE is YAML. docs/node.md has all parameters.
    """
    with _connected(args) as remote:
        if args.action == 'list':
            print(_yaml(remote.get(remote.parameter_names())))
        elif args.action == 'describe':
            print(_description(remote, args.name))
        elif args.action == 'get':
            value = remote.get([args.name])[args.name]
            print(value if isinstance(value, str) else _yaml(value))
        else:
            remote.set({args.name: args.value})
            log(f'{args.name}: {_yaml(remote.get([args.name])[args.name])}')
    return 0


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=2**16)
    return text.removesuffix('...\n').rstrip()


def _description(remote: RemoteNode, name: str) -> str:
    descriptor = remote.describe([name])[name]
    from rclpy.parameter import Parameter

    lines = [
        f'{name}: {descriptor.description}',
        f'  type: {Parameter.Type(descriptor.type).name.lower()}',
        f'  value: {_yaml(remote.get([name])[name])}',
    ]
    for allowed in [*descriptor.integer_range, *descriptor.floating_point_range]:
        lines.append(f'  range: {allowed.from_value:g} to {allowed.to_value:g}')
    if descriptor.additional_constraints:
        lines.append(f'  constraints: {descriptor.additional_constraints}')
    if descriptor.read_only:
        lines.append('  read only')
    return '\n'.join(lines)


def _topics_options(parser: argparse.ArgumentParser) -> None:
    _remote_options(parser)
    parser.set_defaults(node='')


@verb(_topics_options)
def topics(args: argparse.Namespace) -> int:
    """List the topics of this ROS domain with type, publishers and subscribers.

    Like `ros2 topic list -v`. With --node only those under that node's name. Hidden topics are
    left out.
    """
    with _connected(args) as remote:
        if args.node:
            remote.wait()
        rows = [
            (topic.name, topic.msgtype, str(topic.publishers), str(topic.subscribers))
            for topic in remote.topics()
            if not args.node or topic.name.startswith(f'{remote.name}/')
        ]
    rows.insert(0, ('topic', 'type', 'publishers', 'subscribers'))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print('  '.join(cells).rstrip())
    return 0


# ---- bags ---------------------------------------------------------------------------------------


def _play_options(parser: argparse.ArgumentParser) -> None:
    from diception_ros.node.settings import PlaySettings

    parser.add_argument('bag', type=Path, metavar='BAG', help='bag: file or folder')
    settings.add_arguments(parser, PlaySettings)
    ros_environment.add_option(parser)


@verb(_play_options)
def play(args: argparse.Namespace) -> int:
    """Publish the messages of a bag at their times, like `ros2 bag play`.

    Plays rosbag2 and bags of ROS 1 through rclpy, with /clock. Ctrl-C ends it.
    """
    from diception_ros.node import bag_tools
    from diception_ros.node.settings import PlaySettings
    from diception_ros.system.processes import ended_by_signals

    options = settings.from_arguments(PlaySettings, args)
    with ended_by_signals() as ended:
        published = bag_tools.play(args.bag, options, ended)
    log(f'published {published} messages')
    if published or ended.is_set():
        return 0
    log(f'{args.bag} has no message of these topics that can be played between --start and --end')
    return 1


def _record_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'topics', nargs='*', metavar='TOPIC', help='topics by their full names (default: all)'
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='BAG', help='bag to write, ending in .mcap'
    )
    parser.add_argument(
        '--seconds', type=float, default=0.0, metavar='S', help='stop after S seconds; 0: never'
    )
    parser.add_argument('--sim-time', action='store_true', help='take the time from /clock')
    parser.add_argument(
        '--compression', choices=('zstd', 'none'), default='zstd', help='(default: zstd)'
    )
    parser.add_argument('--force', action='store_true', help='overwrite an existing bag')
    ros_environment.add_option(parser)


@verb(_record_options)
def record(args: argparse.Namespace) -> int:
    """Record topics into a bag, like `ros2 bag record`.

    Topics are recorded from their first publisher on. Ctrl-C ends it and finishes the bag;
    after a kill, what was recorded is in a file that ends in .partial.mcap.
    """
    from diception_ros.bags.mcap_writer import partial_of
    from diception_ros.node import bag_tools
    from diception_ros.system.processes import ended_by_signals

    if args.out.suffix != '.mcap':
        raise ValueError(f'--out is {args.out}; expected a name that ends in .mcap')
    if not args.out.parent.is_dir():
        raise FileNotFoundError(f'{args.out}: {args.out.parent} is no folder; make it first')
    if not args.seconds >= 0:  # also NaN
        raise ValueError(f'--seconds is {args.seconds}; expected 0 or more')
    for topic in args.topics:
        if not topic.startswith('/'):
            raise ValueError(f'topic {topic!r}; expected a full name, which begins with /')
    partial = partial_of(args.out)
    for path in (args.out, partial):
        if path.exists() and not (args.force and path.is_file()):
            hint = '; --force replaces it' if path.is_file() else ' and is no file'
            if path == partial:
                hint = (
                    ', readable, of a recording that was killed or still runs'
                    f'{hint}; rename it to keep it'
                )
            raise FileExistsError(f'{path} exists{hint}')
    with ended_by_signals() as ended:
        recording = bag_tools.record(
            args.out, args.topics, ended, args.seconds, args.sim_time, args.compression == 'zstd'
        )
    for topic, count in recording.counts.items():
        log(f'{count:8d} {topic}')
    for topic, reason in recording.left_out.items():
        log(f'left out {topic}: {reason}')
    log(f'wrote {args.out}')
    if not sum(recording.counts.values()):
        if recording.without_time:
            log(
                f'{recording.without_time} messages were received, but nothing on /clock, whose '
                'time --sim-time takes; leave it out, or publish /clock'
            )
            return 1
        log(
            f'no message was received on {", ".join(args.topics) or "any topic"}; is the name '
            'right and complete, and has it a publisher in the same ROS_DOMAIN_ID?'
        )
        return 1
    return 0
