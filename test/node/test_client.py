# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verbs that ask a running node, against a node in a process of its own."""

import array
import threading

from nodes import Running, header, image, rgb_array
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
import yaml

from diception_ros.cli.main import main
from diception_ros.core.prompt import Point
from diception_ros.node.client import RemoteNode, as_plain, read_value

TYPES = Parameter.Type


@pytest.fixture
def diception(domain, monkeypatch, capsys):
    """Runs a verb in the domain: its exit code, what it prints, and its errors.

    It waits for a minute, since nodes find each other slowly on a busy machine.
    """
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('DICEPTION_NO_SHARED_MEMORY', '1')

    def run(*arguments):
        patience = () if '--timeout' in arguments else ('--timeout', '60')
        code = main([*map(str, arguments), *patience])
        out, err = capsys.readouterr()
        return code, out.strip(), err.strip()

    return run


def test_parameters_lifecycle_points_and_topics_of_a_running_node(domain, peer, diception):
    label = '/perception/segmentation/mask'
    with Running(domain, {'tasks': '[depth, segmentation]'}) as node:
        node.wait_for('active: ')
        assert diception('param', 'get', 'tasks') == (0, '[depth, segmentation]', '')
        assert diception('param', 'set', 'depth.metric', 'off')[0] == 0
        assert diception('param', 'set', 'depth.scale', '2') == (0, '', 'depth.scale: 2.0')
        found = yaml.safe_load(diception('param', 'list')[1])
        assert (found['depth.scale'], found['depth.metric'], found['seed']) == (2.0, 'off', 42)
        code, out, _ = diception('param', 'describe', 'depth.scale')
        assert code == 0
        assert 'type: double\n  value: 2.0\n  range: 0 to 1e+06' in out
        code, _, err = diception('param', 'get', 'depth.metrc')
        assert (code, err) == (
            1, "diception param: /perception has no parameter 'depth.metrc'; did you mean "
            "'depth.metric'?",
        )  # fmt: skip
        code, _, err = diception('param', 'set', 'tasks', '[dpth]')
        assert code == 1
        assert "refuses: no task 'dpth'" in err
        # A point before any image, outside of it, inside, and removed again.
        code, _, err = diception('click', '3', '4')
        assert code == 1
        assert 'no image was received yet' in err
        peer.listen(label, Image)
        camera = peer.publisher('/image', Image)
        peer.connect(label)
        message = image(rgb_array(), header=header(0))
        peer.feed(camera, message, lambda: peer.count('processed') or peer.count('received'))
        code, _, err = diception('click', '300', '4')
        assert code == 1
        assert 'outside' in err
        assert diception('click', '3', '4') == (0, '', '1 of 5 points')
        assert diception('click', '5', '6') == (0, '', '2 of 5 points')
        assert diception('click', '--clear') == (0, '', '2 points removed')
        assert diception('click', '3')[2] == 'diception click: expected X and Y, or --clear'
        code, out, _ = diception('topics', '--node', '/perception')
        rows = [line.split() for line in out.splitlines()]
        assert rows[0] == ['topic', 'type', 'publishers', 'subscribers']
        assert [label, 'sensor_msgs/msg/Image', '1'] in [row[:3] for row in rows]
        assert all(row[0].startswith('/perception/') for row in rows[1:])
        assert '/image' in [line.split()[0] for line in diception('topics')[1].splitlines()]
        code, out, _ = diception('echo', '/diagnostics', '--once')
        (status, *_) = yaml.safe_load(out.removesuffix('---'))['status']
        assert (status['name'], status['level']) == ('/perception', 0)
        code, _, err = diception('echo', 'segmentation/msk', '--timeout', '1.5')
        assert code == 1
        assert '/perception/segmentation/msk has no publisher within 1.5 s' in err
        assert diception('lifecycle', 'get') == (0, 'active', '')
        assert diception('lifecycle', 'set', 'deactivate') == (0, 'inactive', '')
        code, _, err = diception('lifecycle', 'set', 'deactivate')
        assert code == 1
        assert 'is inactive and deactivate failed' in err
        code, _, err = diception(
            'param', 'get', 'tasks', '--node', 'perceptio', '--timeout', '1.5'
        )
        assert code == 1
        assert f'no node /perceptio in ROS_DOMAIN_ID {domain} after 1.5 s' in err
        # From a node that an executor spins, as a page does.
        asking = rclpy.create_node('asking', context=peer.context)
        executor = SingleThreadedExecutor(context=peer.context)
        executor.add_node(asking)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        remote = RemoteNode(asking, timeout_s=60.0)
        remote.set({'tasks': ('normal',), 'depth.scale': 3})
        assert remote.get(['tasks', 'depth.scale']) == {'tasks': ['normal'], 'depth.scale': 3.0}
        assert remote.click(Point(1.0, 2.0))[0] in (True, False)
        executor.shutdown()
        thread.join()
        asking.destroy_node()


def test_shutdown_succeeds_when_the_node_ends_without_a_response(peer, diception):
    from lifecycle_msgs.srv import ChangeState, GetState

    def end(request, response):
        raise InterruptedError

    def run():
        executor.add_node(ending)
        with pytest.raises(InterruptedError):
            executor.spin()
        ending.destroy_node()

    ending = rclpy.create_node('perception', context=peer.context)
    ending.create_service(GetState, '/perception/get_state', lambda request, response: response)
    ending.create_service(ChangeState, '/perception/change_state', end)
    executor = SingleThreadedExecutor(context=peer.context)
    thread = threading.Thread(target=run)
    thread.start()
    assert diception('lifecycle', 'set', 'shutdown') == (0, 'finalized', '')
    thread.join()
    executor.shutdown()


def test_echo_prints_latched_messages_and_cuts_long_ones(peer, diception):
    from rclpy.qos import DurabilityPolicy
    from std_msgs.msg import String

    latched = peer.node.create_publisher(
        String,
        '/words',
        rclpy.qos.QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    )
    latched.publish(String(data='a' * 300))
    code, out, _ = diception('echo', '/words', '--count', '1')
    assert (code, out) == (0, f'data: {"a" * 256}... (44 more)\n---')
    assert diception('echo', '/words', '--once', '--full')[1] == f'data: {"a" * 300}\n---'


def test_without_a_node_the_verbs_say_what_to_check(diception):
    for verb in (['param', 'list'], ['lifecycle', 'get'], ['click', '1', '2'], ['topics']):
        code, out, err = diception(*verb, '--timeout', '0.2')
        assert (code, out) == (1, '')
        assert 'Check that it runs (diception node), that ROS_DOMAIN_ID' in err
    assert '--timeout is 0' in diception('topics', '--timeout', '0')[2]


@pytest.mark.parametrize(('text', 'kind', 'value'), [
    ('2', TYPES.DOUBLE, 2.0), ('1e-3', TYPES.DOUBLE, 0.001), ('2', TYPES.INTEGER, 2),
    ('off', TYPES.STRING, 'off'), ("'off'", TYPES.STRING, 'off'), ('1', TYPES.STRING, '1'),
    ('0 0 0 0 0 0 1', TYPES.STRING, '0 0 0 0 0 0 1'), ('off', TYPES.BOOL, False),
    ('[a, off, 1]', TYPES.STRING_ARRAY, ['a', 'off', '1']), ('a', TYPES.STRING_ARRAY, ['a']),
    ('[]', TYPES.STRING_ARRAY, []), ('', TYPES.STRING_ARRAY, []), ('[1]', TYPES.NOT_SET, [1]),
])  # fmt: skip
def test_values_are_read_in_the_type_of_the_parameter(text, kind, value):
    found = read_value('p', text, kind)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(('text', 'kind', 'words'), [
    ('1.5', TYPES.INTEGER, "p is '1.5'; expected a whole number"),
    ('true', TYPES.INTEGER, 'expected a whole number'), ('1', TYPES.BOOL, 'expected true or f'),
    ('many', TYPES.DOUBLE, 'expected a number'), ('[a', TYPES.STRING_ARRAY, 'not YAML'),
])  # fmt: skip
def test_values_of_another_type_are_refused(text, kind, words):
    with pytest.raises(ValueError, match=words):
        read_value('p', text, kind)


def test_messages_as_plain_values():
    message = image(rgb_array(size=(2, 3)), header=header(7, 'cam'))
    found = as_plain(message)
    assert found['header']['frame_id'] == 'cam'
    assert found['data'][-1] == '... (2 more)'
    assert found['data'][:16] == list(message.data[:16])
    assert as_plain(message, whole=True)['data'] == list(message.data)
    assert as_plain(array.array('d', [1.5])) == [1.5]
    assert as_plain(b'\x02') == 2
