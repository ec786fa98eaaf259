# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node beside another of its name, and in environments without a writable home."""

import os
from pathlib import Path
import subprocess
import sys

from nodes import Running
import pytest
import recordings

ROOT = Path(__file__).resolve().parents[2]


def test_two_nodes_of_one_name_are_reported(domain, peer):
    quiet = {'autostart': 'false'}
    with Running(domain, quiet) as first, Running(domain, quiet) as second:
        other = Running(domain, quiet, more=['-r', '__node:=other'])
        with other:
            for node in (first, second):
                line = node.wait_for('2 nodes are named /perception')
                assert '-r __node:=NAME' in line
            diagnostics = peer.diagnostics(lambda all_: all_['/perception'].level == b'\1')
            assert '2 nodes are named /perception' in diagnostics['/perception'].message
            assert 'nodes are named' not in other.text


@pytest.mark.parametrize('home', [None, '/dev/null'], ids=['no HOME', 'unwritable HOME'])
def test_the_node_starts_without_a_writable_home(domain, home, tmp_path):
    changes = {'HOME': home, 'TMPDIR': str(tmp_path)}
    with Running(domain, {'autostart': 'false'}, environment=changes) as node:
        line = node.wait_for('ROS log: ')
        assert 'ROS_LOG_DIR chooses another' in line
        node.wait_for('waiting for: diception lifecycle set configure --node /perception')
        assert 'Traceback' not in node.text
        assert node.end()[0] == 0


def test_play_and_record_start_without_a_writable_home(domain, tmp_path):
    bag = recordings.write(tmp_path / 'bag', recordings.recorded(2))
    variables = {
        **os.environ, 'HOME': '/dev/null', 'ROS_LOG_DIR': '/dev/null/log',
        'TMPDIR': str(tmp_path), 'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }  # fmt: skip
    for arguments, says in (
        (['play', bag, '--delay', '0', '--no-clock'], 'published 6 messages'),
        (['record', '/nothing', '--out', tmp_path / 'out.mcap', '--seconds', '0.5'], '/nothing'),
    ):
        done = subprocess.run(
            [sys.executable, '-m', 'diception_ros', *map(str, arguments)], cwd=ROOT,
            env=variables, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert 'Traceback' not in done.stderr
        assert '/dev/null/log is not writable, so log files go to' in done.stderr
        assert says in done.stderr
