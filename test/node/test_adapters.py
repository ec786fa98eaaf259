# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters in the running node: their topics appear and vanish, other tasks are unaffected."""

import array
import itertools
import time

from adapter_fixtures import write_adapter
from nodes import PATIENCE, REAL, Running, header, image, info, rgb_array, values
import pytest
from sensor_msgs.msg import CameraInfo, Image

from diception_ros.model.folder import resolve

BASE = ('disparity/image', 'normal/image', 'normal/camera_info')
FLOOR = ('floor/mask', 'floor/overlay', 'floor/camera_info')
GLOW = ('glow/image', 'glow/camera_info')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Adapters of the built-in model, some of which do not suit."""
    place, builtin = tmp_path_factory.mktemp('adapters'), resolve('builtin')

    def made(folder, name, **more):
        return str(write_adapter(place / folder, builtin, name, **more))

    (place / 'none').mkdir()
    return {
        'floor': made('floor', 'floor', seed=1),
        'glow': made('glow', 'glow', kind='rgb', seed=2),
        'again': made('again', 'floor', kind='depth', seed=3),
        'entity': made('entity', 'entity'),
        'disparity': made('disparity', 'disparity', kind='depth'),
        'foreign': made('foreign', 'floor', kind='depth', base_sha256='0' * 64),
        'none': str(place / 'none'),
    }


class Asking:
    """Publishes images, and collects the predictions of each."""

    def __init__(self, peer):
        self._peer, self._numbers = peer, itertools.count()
        self._camera = peer.publisher('/image', Image)
        self._infos = peer.publisher('/camera_info', CameraInfo)
        self._heard = {}

    def listen(self, *topics):
        for topic in topics:
            name = f'/perception/{topic}'
            kind = CameraInfo if topic.endswith('camera_info') else Image
            self._heard[topic] = self._peer.listen(name, kind)

    def deafen(self):
        for one in self._heard.values():
            self._peer.node.destroy_subscription(one)
        self._heard = {}

    def predictions(self, topics):
        """By topic the prediction to one image, all of them with its header; as plain values."""
        peer = self._peer
        peer.connect(*(f'/perception/{topic}' for topic in topics))
        peer.got.clear()
        end = time.monotonic() + PATIENCE
        sent = []
        # Some are left out while the node is at work, or has not seen yet who listens.
        while time.monotonic() < end:
            sent.append(header(next(self._numbers)))
            self._infos.publish(info(sent[-1]))
            self._camera.publish(image(rgb_array(7), header=sent[-1]))
            peer.spin(0.3)
            for head in sent:
                found = {
                    topic: content(message)
                    for topic in topics
                    for message in peer.got[f'/perception/{topic}']
                    if message.header == head
                }
                if len(found) == len(topics):
                    return found
        raise AssertionError(f'no frame with all of {topics}')


def content(message):
    """All of a message but its header."""
    names = [name for name in message.get_fields_and_field_types() if name != 'header']
    found = {name: getattr(message, name) for name in names}
    return {
        name: bytes(value) if isinstance(value, array.array) and name == 'data' else str(value)
        for name, value in found.items()
    }


def test_adapters_can_be_changed_and_base_tasks_stay_equal(domain, peer, folders, tmp_path):
    path = tmp_path / 'given.yaml'
    path.write_text(
        '/**:\n  ros__parameters:\n    tasks: [depth, normal]\n'
        f'    adapters: ["{folders["floor"]}"]\n'
    )
    with Running(domain, command=REAL, more=['--params-file', str(path)]) as node:
        node.wait_for('active: ')
        ask = Asking(peer)
        # Lazy: the base is not asked while only the adapter's topic is listened to.
        ask.listen(*FLOOR[:1])
        ask.predictions(FLOOR[:1])
        found = peer.diagnostics(lambda found: 'floor_ms_p50' in values(found['/perception']))
        reported = values(found['/perception'])
        assert reported['tasks'] == 'depth, normal, floor'
        assert 'depth_ms_p50' not in reported
        ask.listen(*FLOOR[1:], *BASE)
        one = ask.predictions((*BASE, *FLOOR))
        assert one['floor/mask']['encoding'] == 'mono8'

        assert peer.set(adapters=['']) == ''
        for topic in FLOOR:
            peer.until(lambda t=topic: not peer.node.count_publishers(f'/perception/{t}'), topic)
        without = ask.predictions(BASE)

        assert peer.set(adapters=[folders['glow'], folders['floor']]) == ''
        ask.listen(*GLOW)
        both = ask.predictions((*BASE, *FLOOR, *GLOW))
        assert both['glow/image']['encoding'] == 'rgb8'

        for topic in BASE:
            assert one[topic] == without[topic] == both[topic], topic
        for topic in FLOOR:
            assert one[topic] == both[topic], topic

        before = peer.get('adapters')
        for given, reason in (
            (['floor', 'again'], "two adapters bring a task 'floor'"),
            (['floor', 'floor'], "two adapters bring a task 'floor'"),
            (['entity'], "a new task cannot be called 'entity'"),
            (['disparity'], 'depth and disparity both have a topic disparity/image'),
            (['foreign'], 'not for '),
            (['glow', 'none'], 'no card.json in it'),
            (['floor', 'nowhere'], 'no such folder'),
        ):
            assert reason in peer.set(adapters=[folders.get(name, name) for name in given])
            assert peer.get('adapters') == before
        assert 'which an adapter brings' in peer.set(tasks=['depth', 'floor'])
        assert ask.predictions((*BASE, *FLOOR, *GLOW)) == both

        # Another of the same name takes its place at once.
        assert peer.set(adapters=[folders['again']]) == ''
        ask.listen('floor/image')
        assert ask.predictions((*BASE, 'floor/image'))['floor/image']['encoding'] == '32FC1'
        assert 'tasks is empty' in peer.set(tasks=[], adapters=[])
        assert peer.set(adapters=[]) == ''
        assert ask.predictions(BASE) == without
        failed = values(peer.diagnostics()['/perception'])['failed']
        assert failed == '0'


def test_invalid_adapter_is_reported_and_can_be_fixed(domain, peer, folders):
    with Running(domain, {'adapters': f'["{folders["foreign"]}"]'}, command=REAL) as node:
        node.wait_for('cannot configure: adapter')
        node.wait_for('waiting for a correction')
        assert peer.set(adapters=[folders['floor']], tasks=['depth']) == ''
        assert peer.change('configure')
        assert peer.change('activate')
        peer.until(lambda: peer.node.count_publishers('/perception/floor/mask'), 'no topic')
