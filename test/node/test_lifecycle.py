# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lifecycle of the node, and how its process ends."""

import os
from pathlib import Path
import signal

from nodes import REAL, Running, header, image, rgb_array, values
import pytest
from sensor_msgs.msg import Image

DISPARITY = '/perception/disparity/image'
# Seconds; half of the time that the model takes where a signal must not wait for it. The node ends
# within two, but a busy machine may need longer to run it.
HUNG = 120


def test_lifecycle_round_trips(domain, peer):
    peer.listen(DISPARITY, Image)
    with Running(domain, {'autostart': 'false', 'tasks': '[depth]'}) as node:
        node.wait_for('diception lifecycle set configure --node /perception')
        assert peer.state() == 'unconfigured'
        assert not peer.node.count_subscribers('/image')
        for k in range(3):
            assert peer.change('configure')
            assert peer.state() == 'inactive'
            assert not peer.node.count_publishers(DISPARITY)
            for _ in range(2):
                assert peer.change('activate')
                camera = peer.publisher('/image', Image)
                peer.connect(DISPARITY)
                peer.got[DISPARITY].clear()
                message = image(rgb_array(), header=header(k))
                peer.feed(camera, message, lambda: peer.got[DISPARITY])
                assert peer.change('deactivate')
                assert peer.state() == 'inactive'
                peer.node.destroy_publisher(camera)
            assert peer.change('cleanup')
            assert peer.state() == 'unconfigured'
        # Nothing that is not allowed: rclpy answers by failing, the node stays.
        assert not peer.change('activate')
        assert peer.change('configure')
        response = peer.start_change('shutdown')
        assert node.process.wait(HUNG) == 0
        assert 'Traceback' not in node.text
        assert not response.done() or response.result().success  # may be lost, see below


def test_counts_are_exact_after_deactivation(domain, peer):
    slow = {'ZERO_SECONDS': '0.2'}
    with Running(domain, {'tasks': '[depth]', 'lazy': 'false'}, environment=slow) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        peer.feed(camera, image(rgb_array(), header=header(0)), lambda: peer.count('received'))
        before = peer.steady('received')  # when all that was published has arrived
        for k in range(100):  # two seconds at least, so that some are replaced
            camera.publish(image(rgb_array(), header=header(k)))
            peer.spin(0.02)

        def arrived():
            return peer.count('received') + peer.count('lost', '/perception: camera')

        # Those that the middleware replaced are counted, too.
        peer.until(lambda: arrived() >= before + 100, lambda: f'{arrived()} of {before} and 100')
        for k in range(5):  # some of them are waiting, or under way and not counted
            camera.publish(image(rgb_array(), header=header(k)))
        assert peer.change('deactivate')
        found = peer.diagnostics(lambda found: '/perception' in found)
        reported = values(found['/perception'])
        assert reported['state'] == 'inactive'
        assert reported['waiting'] == '0'
        counted = [int(reported[name]) for name in ('processed', 'dropped', 'failed')]
        assert int(reported['received']) == sum(counted)
        lost = int(values(found['/perception: camera'])['lost'])
        assert 100 <= int(reported['received']) + lost - before <= 105
        assert counted[0] > 0
        assert counted[1] > 0


def test_the_node_answers_while_its_model_loads(domain, peer, tmp_path):
    loaded = tmp_path / 'loaded'
    waits = {'ZERO_LOADED': str(loaded)}
    with Running(domain, {'tasks': '[depth]'}, environment=waits) as node:
        node.wait_for('waiting for a file')
        diagnostics = peer.diagnostics(lambda found: '/perception' in found)['/perception']
        assert (diagnostics.level, diagnostics.message) == (b'\x00', 'loading: waiting for a file')
        assert peer.state() == 'unconfigured'
        assert peer.get('tasks') == ['depth']
        assert not peer.change('configure')
        assert not peer.change('activate')
        node.wait_for('configure is refused')
        assert 'while the node loads its model' in peer.set(model='zero2')
        assert peer.set(tasks=['normal']) == ''
        loaded.touch()
        # What was set while it was loading holds.
        assert '/perception/normal/image' in node.wait_for('active: ')
        assert DISPARITY not in node.text
        # A service that configures is answered when the model is loaded.
        assert peer.change('deactivate')
        assert peer.change('cleanup')
        loaded.unlink()
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.label = 'configure'
        answer = peer.client('/perception/change_state', ChangeState).call_async(request)
        node.wait_for('waiting for a file', count=2)
        assert peer.state() == 'unconfigured'
        peer.diagnostics(lambda found: found['/perception'].message.startswith('loading: '))
        assert not answer.done()
        loaded.touch()
        peer.until(answer.done)
        assert answer.result().success
        assert peer.state() == 'inactive'


def test_shutdown_while_the_model_loads_ends_the_node(domain, peer, tmp_path):
    waits = {'ZERO_LOADED': str(tmp_path / 'never')}
    with Running(domain, environment=waits) as node:
        node.wait_for('waiting for a file')
        response = peer.start_change('shutdown')
        assert node.process.wait(HUNG) == 0
        assert 'Traceback' not in node.text
        # On a busy machine Fast DDS loses the response of a node that ends.
        assert not response.done() or response.result().success


@pytest.mark.parametrize(
    ('parameters', 'says'),
    [
        ({'model': '/nowhere'}, 'cannot configure: /nowhere'),
        (
            {'num_inference_steps': '0'},
            'cannot configure: num_inference_steps is 0; expected at least 1',
        ),
        ({'tasks': '[depht]'}, "did you mean 'depth'?"),
        ({'shifts': '4'}, "parameter 'shifts' is now 'tta_shifts'"),
        (
            {'num_inference_steps': 'many'},
            "num_inference_steps is 'many'; expected a whole number",
        ),
        ({'depth.metric': 'fixed'}, "depth.metric is 'fixed' and depth.scale 0"),
    ],
)
def test_invalid_parameters_are_one_error_and_the_node_stays(domain, peer, parameters, says):
    with Running(domain, parameters) as node:
        line = node.wait_for('cannot configure')
        assert '[ERROR]' in line
        assert says in line
        assert peer.state() == 'unconfigured'
        errors = [line for line in node.lines if 'ERROR' in line or 'Traceback' in line]
        assert errors == [line]
        diagnostics = peer.diagnostics(lambda found: '/perception' in found)['/perception']
        assert diagnostics.level == b'\x02'
        assert says in diagnostics.message
        # With a corrected value it works.
        good = {
            'model': {'model': 'zero'}, 'num_inference_steps': {'num_inference_steps': 2},
            'tasks': {'tasks': ['depth']}, 'depth.metric': {'depth__metric': 'off'},
            'shifts': {'tta_shifts': 4},
        }  # fmt: skip
        assert peer.set(**good[next(iter(parameters))]) == ''
        assert peer.change('configure')
        code, seconds = node.end()
        assert code == 0
        assert seconds < HUNG


@pytest.mark.parametrize(
    'signals',
    [
        [signal.SIGINT],
        [signal.SIGINT, signal.SIGINT],
        [signal.SIGINT, signal.SIGINT, signal.SIGTERM],
        [signal.SIGTERM],
        [signal.SIGHUP],
    ],
    ids=lambda signals: '-'.join(one.name for one in signals),
)
def test_signals_end_the_node_in_the_middle_of_a_prediction(domain, peer, signals):
    # In the middle of an answer that takes longer than HUNG.
    slow = {'ZERO_SECONDS': '240' if len(signals) < 3 else '0'}
    with Running(domain, {'lazy': 'false'}, environment=slow) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        peer.feed(camera, image(rgb_array(), header=header(0)), lambda: peer.count('received'))
        used = own(node.process.pid)
        code, seconds = node.end(*signals)
        assert code == 0
        assert seconds < HUNG
        assert 'Traceback' not in node.text
        assert 'terminate' not in node.text
    assert not existing(used)


def test_a_signal_while_the_model_loads_ends_the_node(domain, tiny_folder):
    with Running(domain, {'model': tiny_folder}, REAL) as node:
        node.wait_for('configuring, 1 of 3')
        used = own(node.process.pid)
        code, seconds = node.end(signal.SIGINT, signal.SIGINT)
        assert code == 0
        assert seconds < HUNG
        assert 'Traceback' not in node.text
    assert not existing(used)


def test_closing_the_terminal_ends_the_node(domain):
    with Running(domain, terminal=True) as node:
        node.wait_for('active: ')
        node.hang_up()
        assert node.process.wait(HUNG) == 0


def test_relaunches_leave_no_shared_memory(domain):
    for k in range(6):
        with Running(domain, {'autostart': str(k % 4 == 0).lower()}) as node:
            node.wait_for('active: ' if k % 4 == 0 else 'waiting for: ')
            used = own(node.process.pid)
            assert node.end([signal.SIGINT, signal.SIGTERM][k % 2])[0] == 0
        assert not existing(used)


def own(pid):
    """Names of what a process made of Fast DDS in /dev/shm, which it alone holds a lock on.

    What is named by a port is not among them: it stays and is used again, by whoever comes next.
    """
    files = [os.readlink(file) for file in Path(f'/proc/{pid}/fd').iterdir() if file.is_symlink()]
    locks = {Path(file).name for file in files if file.startswith('/dev/shm/fast')}
    locks = {name for name in locks if name.endswith('_el') and '_port' not in name}
    assert locks, 'Fast DDS uses shared memory'
    return locks | {name.removesuffix('_el') for name in locks}


def existing(names):
    return {name for name in names if Path('/dev/shm', name).exists()}
