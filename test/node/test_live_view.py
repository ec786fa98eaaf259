# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception view` shows of a running node, and what it changes there."""

import math
import time

from nodes import PATIENCE, Running, header, image, rgb_array, values
import numpy as np
import pytest
from sensor_msgs.msg import Image

from diception_ros.core.prompt import Point
from diception_ros.node.live_view import NodeViewer


@pytest.fixture
def viewer(domain, monkeypatch):
    """Makes viewers in the domain."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('DICEPTION_NO_SHARED_MEMORY', '1')
    return NodeViewer


def test_a_running_node_is_shown_and_changed(domain, peer, viewer):
    with Running(domain, {'tasks': '[depth, semantic]'}) as node:
        node.wait_for('active: ')
        shown = viewer('/perception')
        try:
            assert shown.title == '/perception: /image'
            camera = peer.publisher('/image', Image)

            def feed(condition):
                """Publish images, each with a stamp of its own, until a condition holds."""
                end = time.monotonic() + PATIENCE
                while not condition():
                    assert time.monotonic() < end, shown.snapshot.error
                    camera.publish(image(rgb_array(), header=header(time.time_ns() % 10**9)))
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
            camera_of = '/perception: camera'
            peer.diagnostics(lambda found: values(found[camera_of])['points'] == '0')
            # A refused value is shown with the reason, and undone.
            shown.set_value('num_inference_steps', 0)
            feed(lambda: 'refuses' in shown.snapshot.error)
            assert 'num_inference_steps' in shown.snapshot.error
            feed(lambda: shown.values()['num_inference_steps'] == 1)
            # What others change is followed.
            assert peer.set(tasks=['normal']) == ''
            feed(lambda: set(shown.snapshot.labels) == {'normal'})
        finally:
            shown.close()
    with pytest.raises(TimeoutError, match='no node /perceptio'):
        viewer('/perceptio')
