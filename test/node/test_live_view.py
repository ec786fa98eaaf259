# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception view` shows of a running node, and what it changes there."""

import math
import time

from nodes import PATIENCE, Running, header, image, rgb_array, values
import numpy as np
import pytest
from sensor_msgs.msg import Image

from diception_ros.core.adapter_card import Card
from diception_ros.core.prompt import Point
from diception_ros.node.live_view import NodeViewer


@pytest.fixture
def viewer(domain, monkeypatch):
    """Makes viewers in the domain."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('DICEPTION_NO_SHARED_MEMORY', '1')
    return NodeViewer


def card(name):
    return Card(
        name=name, prompt=f'[[image2segmentation]] {name}', kind='mask', base='builtin',
        base_sha256='0' * 64, rank=2, parameters=10, share=0.01,
    )  # fmt: skip


def test_a_running_node_is_shown_and_changed(domain, peer, viewer, tmp_path):
    parameters = {'tasks': '[depth, semantic]', 'cameras': '[front, left]'}
    with Running(domain, parameters) as node:
        node.wait_for('active: ')
        shown = viewer('/perception')
        try:
            assert shown.title == '/perception: /front/image'
            assert (shown.cameras, shown.camera) == (['front', 'left'], 'front')
            camera = peer.publisher('/front/image', Image)

            size = (48, 64)

            def feed(condition):
                """Publish images, each with a stamp of its own, until a condition holds."""
                end = time.monotonic() + PATIENCE
                while not condition():
                    assert time.monotonic() < end, shown.snapshot.error
                    head = header(time.time_ns() % 10**9)
                    camera.publish(image(rgb_array(size=size), header=head))
                    peer.spin(0.2)

            feed(lambda: {'depth', 'semantic'} <= set(shown.snapshot.labels))
            snapshot = shown.snapshot
            assert np.array_equal(snapshot.image, rgb_array())
            assert snapshot.labels['depth'].size == snapshot.image.shape[:2]
            # Words and scores come from the maps, since vision_msgs is not installed here.
            semantic = snapshot.labels['semantic'].present()
            assert set(semantic.categories) <= {'person'}
            feed(lambda: not math.isnan(shown.snapshot.model_ms))
            # A point switches its task on, and the mask comes.
            shown.add_point(Point(3, 4))
            feed(lambda: 'segmentation' in shown.snapshot.labels)
            assert peer.get('tasks') == ['depth', 'segmentation', 'semantic']
            shown.remove_point(Point(3, 4))
            camera_of = '/perception: camera front'
            peer.diagnostics(lambda found: values(found[camera_of])['points'] == '0')
            # A refused value is shown with the reason, and undone.
            shown.set_value('num_inference_steps', 0)
            feed(lambda: 'refuses' in shown.snapshot.error)
            assert 'num_inference_steps' in shown.snapshot.error
            feed(lambda: shown.values()['num_inference_steps'] == 1)
            # What others change is followed.
            assert peer.set(tasks=['normal']) == ''
            feed(lambda: set(shown.snapshot.labels) == {'normal'})
            # The other camera, whose images are of another size.
            shown.set_camera('left')
            camera, size = peer.publisher('/left/image', Image), (24, 32)
            feed(lambda: shown.snapshot.labels and shown.snapshot.image.shape[:2] == size)
            assert shown.title == '/perception: /left/image'
            # The task of an adapter is shown as the others are, and switched.
            card('floor').write(tmp_path)
            assert peer.set(adapters=[str(tmp_path)]) == ''
            feed(lambda: {'normal', 'floor'} <= set(shown.snapshot.labels))
            assert 'floor' in shown.available_tasks()
            shown.set_active_tasks(['normal'])
            feed(lambda: set(shown.snapshot.labels) == {'normal'})
            assert 'floor' not in shown.tasks()
            shown.set_active_tasks(['floor', 'normal'])
            feed(lambda: 'floor' in shown.snapshot.labels)
        finally:
            shown.close()
    with pytest.raises(TimeoutError, match='no node /perceptio'):
        viewer('/perceptio')
