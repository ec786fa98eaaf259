# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Play, node and record as processes of real ROS 2; the diagnostics of the node."""

import os

import pytest
from recordings import BEGIN, MAKE, recorded, write

from diception_ros.live_demo import run, verify
from diception_ros.system import ros_environment


def diagnostics_with(*counts):
    """(topic, message, log time) of diagnostics, one each second."""
    for k, values in enumerate(counts):
        pairs = [
            MAKE.make('diagnostic_msgs/msg/KeyValue', key=name, value=str(value))
            for name, value in values.items()
        ]
        make = MAKE.make
        status = [
            make('diagnostic_msgs/msg/DiagnosticStatus', level=0, name=name, message='',
                 hardware_id='', values=values)
            for name, values in (('/perception: camera', []), ('/perception', pairs))
        ]  # fmt: skip
        header = make('std_msgs/msg/Header', stamp=make('builtin_interfaces/msg/Time', sec=k,
                      nanosec=0), frame_id='')  # fmt: skip
        message = make('diagnostic_msgs/msg/DiagnosticArray', header=header, status=status)
        yield '/diagnostics', message, BEGIN + k * 10**9


def test_the_last_diagnostics_of_the_node_count(tmp_path):
    first = {'received': 3, 'processed': 1, 'dropped': 1, 'failed': 0, 'waiting': 1}
    last = {**first, 'processed': 2, 'waiting': 0, 'state': 'active'}
    found = run.last_counts(write(tmp_path / 'a', diagnostics_with(first, last)))
    assert (found.received, found.processed, found.dropped) == (3, 2, 1)
    assert (found.failed, found.waiting, found.times) == (0, 0, 2)
    assert found.values['state'] == 'active'
    assert run.last_counts(tmp_path / 'nothing.mcap') is None
    assert run.last_counts(write(tmp_path / 'b', recorded(2))) is None


def test_no_two_share_a_domain():
    with ros_environment.domain() as one, ros_environment.domain() as other:
        assert one != other
        assert {one, other} <= set(range(10, 100))
    with ros_environment.domain() as again:
        assert again == one


@pytest.mark.parametrize(('distro', 'name'), [
    ('humble', 'ROS_LOCALHOST_ONLY'), ('jazzy', 'ROS_AUTOMATIC_DISCOVERY_RANGE'),
    ('kilted', 'ROS_AUTOMATIC_DISCOVERY_RANGE'),
])  # fmt: skip
def test_the_processes_talk_to_each_other_alone(monkeypatch, distro, name):
    monkeypatch.setenv('ROS_DISTRO', distro)
    known = ('ROS_LOCALHOST_ONLY', 'ROS_AUTOMATIC_DISCOVERY_RANGE')
    for variable in (*ros_environment.VARIABLES, *known):
        monkeypatch.delenv(variable, raising=False)
    found = ros_environment.variables(42)
    new = {key: found[key] for key in found.keys() - os.environ.keys()}
    assert set(new) - {'ROS_DOMAIN_ID'} == {name, ros_environment.variable(distro)}
    assert found['ROS_DOMAIN_ID'] == '42'


@pytest.mark.ros
def test_every_result_of_a_live_node_has_the_header_of_its_image(tmp_path, tiny_folder):
    pytest.importorskip('rclpy')
    played = run.read_drive(write(tmp_path / 'drive', recorded(12)))
    words, seconds = [], []
    wishes = run.LiveOptions(str(tiny_folder), 'cpu', ('depth', 'entity'), 0.75, 8)
    counts = run.run(played, wishes, tmp_path / 'live.mcap', words.append, seconds.append)
    # Best effort, depth 1: on a busy machine one may overtake another before the node takes it.
    assert 0 < counts.received <= 8
    # An image that the node takes after the demo has seen that none waits is still waiting in the
    # last diagnostics; its results may be recorded or not.
    assert counts.received == counts.processed + counts.dropped + counts.waiting
    assert counts.failed == 0
    headers = run.headers(played, wishes.seconds)
    assert len(headers) == 8  # of the twelve
    found = verify.check(tmp_path / 'live.mcap', headers)
    assert 0 < counts.processed <= found.complete
    assert found.complete <= found.frames <= counts.processed + counts.waiting
    assert not found.unmatched
    assert any('configuring, 1 of 3' in word for word in words)
    assert sum(seconds) > 0.5  # of the 0.75 that are played


@pytest.mark.ros
def test_demo_reports_a_node_that_cannot_be_configured(tmp_path):
    pytest.importorskip('rclpy')
    played = run.read_drive(write(tmp_path / 'drive', recorded(2)))
    wishes = run.LiveOptions(
        'builtin', '5', ('depth',), 60.0, 2
    )  # refused before torch is imported
    with pytest.raises(ChildProcessError, match='cannot configure: device is 5; expected a text'):
        run.run(played, wishes, tmp_path / 'live.mcap', lambda text: None, lambda more: None)
