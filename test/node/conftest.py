# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS domain that no other run of the tests is in, nor any demo."""

import pytest

from diception_ros.system import ros_environment

pytest.importorskip('rclpy', reason='rclpy is not installed')


def pytest_collection_modifyitems(items):
    """Tests that start nodes are slow."""
    for item in items:
        if item.path.parent.name == 'node' and 'domain' in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope='session')
def domain():
    """A number that stays ours until this process ends, whoever else tests on this machine."""
    with ros_environment.domain() as number:
        yield number


@pytest.fixture
def peer(domain):
    from nodes import Peer

    with Peer(domain) as made:
        yield made
