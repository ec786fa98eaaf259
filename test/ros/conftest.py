# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS domain that no other run of the tests is in."""

import fcntl
import os
from pathlib import Path
import tempfile

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

# Ports of these lie below those that Linux gives to programs by itself.
DOMAINS = range(10, 100)


@pytest.fixture(scope='session')
def domain():
    """A number that stays ours until this process ends, whoever else tests on this machine."""
    for step in range(len(DOMAINS)):
        number = DOMAINS[(os.getpid() + step) % len(DOMAINS)]
        path = Path(tempfile.gettempdir()) / f'diception_ros_domain_{number}.lock'
        try:
            file = path.open('a')
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # taken, or of another user
            continue
        yield number
        file.close()
        return
    pytest.skip('every ROS domain is taken by another test run')


@pytest.fixture
def peer(domain):
    from nodes import Peer

    with Peer(domain) as made:
        yield made
