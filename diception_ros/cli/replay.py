# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Predict for every image of recorded bags, and write bags with the topics of the node.

No ROS is needed. Reads rosbag2 (mcap, sqlite3, compressed, split) and bags of ROS 1; writes mcap.
Two runs write the same bytes; one that was killed continues with --resume. With --truth the
results are scored, with --report DIR a page shows them. docs/replay.md has details.
"""

from __future__ import annotations

import argparse

from diception_ros.core import settings
from diception_ros.core.settings import ComputeSettings
from diception_ros.perception.settings import LIVE, PerceptionSettings
from diception_ros.system.progress import ConsoleProgress
from diception_ros.workflows.replay import ReplayConfig, replay

_GROUPS = {
    'what is read': ('cameras', 'camera_infos', 'depth_references', 'points', 'start', 'end',
                     'every', 'max_frames'),
    'what is written': ('force', 'resume', 'copy', 'views', 'prefix', 'compression', 'truth',
                        'align', 'pose', 'report', 'view', 'view_file'),
    'how it runs': ('batch_frames', 'jobs', 'engine', 'summary'),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        'bags', nargs='+', metavar='BAG', help='bags, folders of bags, or patterns such as *.mcap'
    )
    settings.add_arguments(parser, ReplayConfig, only=('out', 'model'))
    for title, names in _GROUPS.items():
        group = parser.add_argument_group(title)
        settings.add_arguments(group, ReplayConfig, only=names)
    settings.add_arguments(group, ComputeSettings)
    group = parser.add_argument_group('what is predicted, as parameters of the node')
    settings.add_arguments(group, PerceptionSettings, LIVE)


def main(args: argparse.Namespace) -> int:
    """Replay; 1 when frames or bags were left out, 3 when a bag is damaged."""
    result = replay(settings.from_arguments(ReplayConfig, args), ConsoleProgress())
    for table in result.tables:
        print(table)
    return result.code
