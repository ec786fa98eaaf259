# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Record topics into a bag, like `ros2 bag record`.

Topics are recorded from their first publisher on. Ctrl-C ends it and finishes the bag;
after a kill, what was recorded is in a file that ends in .partial.mcap.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from diception_ros.system import ros_environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
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


def main(args: argparse.Namespace) -> int:
    """Record; 1 when no message was received."""
    from diception_ros.bags.mcap_writer import partial_of
    from diception_ros.node.bag_tools import record
    from diception_ros.system.processes import ended_by_signals

    if args.out.suffix != '.mcap':
        raise ValueError(f'--out is {args.out}; expected a name that ends in .mcap')
    for path in (args.out, partial_of(args.out)):
        if path.exists() and not (args.force and path.is_file()):
            hint = '; --force replaces it' if path.is_file() else ' and is no file'
            raise FileExistsError(f'{path} exists{hint}')
    with ended_by_signals() as ended:
        recording = record(
            args.out, args.topics, ended, args.seconds, args.sim_time, args.compression == 'zstd'
        )
    for topic, count in recording.counts.items():
        print(f'{count:8d} {topic}', file=sys.stderr)
    for topic, reason in recording.left_out.items():
        print(f'left out {topic}: {reason}', file=sys.stderr)
    print(f'wrote {args.out}', file=sys.stderr)
    if not sum(recording.counts.values()):
        print(
            f'nothing came on {", ".join(args.topics) or "any topic"}; is the name right and '
            'whole, does somebody publish on it, and in the same ROS_DOMAIN_ID?',
            file=sys.stderr,
        )
        return 1
    return 0
