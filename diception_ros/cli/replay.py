# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answer every picture of recorded bags, into bags with the topics of the node.

No ROS is needed. Reads rosbag2 (mcap, sqlite3, compressed, split) and bags of ROS 1; writes mcap.
Two runs write the same bytes; one that was killed goes on with --resume. With --truth the answers
are scored, with --report DIR a page shows them. docs/replay.md says more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diception_ros.core import settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from diception_ros.perception.settings import LIVE, PerceptionSettings

    parser.add_argument(
        'bags', nargs='+', metavar='BAG', help='bags, folders of bags, or patterns such as *.mcap'
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='PATH',
        help='bag that is written, ending in .mcap; of several bags the folder for them',
    )  # fmt: skip
    parser.add_argument(
        '--model', default='builtin', metavar='DIR',
        help="model folder, or 'builtin' (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        '--adapter', action='append', default=[], dest='adapters', metavar='DIR',
        help='folder that diception adapt wrote, whose task is asked, too; once for each',
    )  # fmt: skip
    reading = parser.add_argument_group('what is read')
    reading.add_argument(
        '--camera', nargs='+', default=[], metavar='[NAME=]TOPIC',
        help='topics of pictures (default: the only one)',
    )  # fmt: skip
    reading.add_argument(
        '--camera-info', nargs='+', default=[], metavar='TOPIC',
        help='of each camera (default: camera_info beside the pictures)',
    )  # fmt: skip
    reading.add_argument(
        '--depth-reference', nargs='+', default=[], metavar='TOPIC',
        help='of each camera, for --depth-metric aligned',
    )  # fmt: skip
    reading.add_argument(
        '--points', default='', metavar='X,Y;X,Y',
        help='on the thing that is meant, pixels, for segmentation',
    )  # fmt: skip
    reading.add_argument(
        '--start', type=float, default=0.0, metavar='S', help='seconds after the beginning'
    )
    reading.add_argument('--end', type=float, metavar='S', help='seconds after the beginning')
    reading.add_argument(
        '--every', type=int, default=1, metavar='N', help='every n-th picture (default: 1)'
    )
    reading.add_argument(
        '--max-frames', type=int, default=0, metavar='N', help='of each camera; 0: all'
    )
    writing = parser.add_argument_group('what is written')
    writing.add_argument('--force', action='store_true', help='replace what is there')
    writing.add_argument('--resume', action='store_true', help='go on where a replay ended')
    writing.add_argument('--copy', action='store_true', help='copy all messages of the bag, too')
    writing.add_argument(
        '--views', action=argparse.BooleanOptionalAction, default=True,
        help='pictures for eyes: colour and overlay (default: yes)',
    )  # fmt: skip
    writing.add_argument(
        '--prefix', default='/perception', metavar='NAME',
        help='of the topics, the name of the node (default: %(default)s)',
    )  # fmt: skip
    writing.add_argument(
        '--compression', choices=('zstd', 'none'), default='zstd', help='(default: zstd)'
    )
    writing.add_argument(
        '--truth', nargs='+', default=[], metavar='TASK=TOPIC',
        help='true answers: TASK=TOPIC or TASK=FOLDER; docs/replay.md says of what kind',
    )  # fmt: skip
    writing.add_argument(
        '--align', choices=('frame', 'bag'), default='frame',
        help='scale and shift by which depth is scored: of each frame, or one (default: frame)',
    )  # fmt: skip
    writing.add_argument(
        '--pose', nargs='+', default=[], metavar='TOPIC',
        help='where each camera is, PoseStamped or transforms (default: pose beside the '
        'pictures, or /tf)',
    )  # fmt: skip
    writing.add_argument(
        '--report', type=Path, metavar='DIR', help='folder for a page, metrics.json, frames.csv'
    )
    writing.add_argument(
        '--view', action='store_true', help='show the result in Rerun (pip install rerun-sdk)'
    )
    writing.add_argument(
        '--view-file', type=Path, metavar='FILE',
        help='what --view would show, into a file (.rrd) for Rerun; needs no screen',
    )  # fmt: skip
    running = parser.add_argument_group('how it runs')
    running.add_argument(
        '--batch-frames', type=int, default=0, metavar='N',
        help='pictures answered at once; 0: 1 on the CPU, else what --batch-size lets in',
    )  # fmt: skip
    running.add_argument(
        '--jobs', type=int, default=1, metavar='N', help='bags at a time (default: 1)'
    )
    running.add_argument(
        '--engine', choices=('local', 'ray'), default='local',
        help='where bags are worked on: here, or on a cluster of Ray (default: local)',
    )  # fmt: skip
    running.add_argument('--summary', type=Path, metavar='FILE', help='what came of it, as JSON')
    settings.add_arguments(running, settings.ComputeSettings)
    settings.add_arguments(
        parser.add_argument_group('what is asked, as parameters of the node'),
        PerceptionSettings,
        (*LIVE, 'adapters'),
    )


def main(args: argparse.Namespace) -> int:
    """Replay; 1 when frames or bags were left out, 3 when a bag is damaged."""
    from diception_ros.bag_replay import jobs

    bags = jobs.find(args.bags)
    if len(bags) > 1 or args.engine != 'local':
        return jobs.run(bags, args, add_arguments)
    from diception_ros.workflows import replay

    return replay.one(bags[0], args)
