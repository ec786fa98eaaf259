# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Latched messages over real DDS: sent when they change, and to whoever subscribes later."""

from nodes import Running, header, image, rgb_array
import numpy as np
import pytest
import rclpy
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from diception_ros.messages import images as image_messages
from diception_ros.messages.outputs import Output
from diception_ros.node.publishers import Publishers

LATCHED = {'depth': 1, 'durability': DurabilityPolicy.TRANSIENT_LOCAL}


def test_latched_messages_go_out_when_they_change_and_reach_later_subscribers(peer):
    node = rclpy.create_node('latching', context=peer.context)
    made = Publishers(node, {'front': 'front/', 'left': 'left/'}, lambda topic, policy: None)
    text = 'std_msgs/msg/String'
    outputs = [Output('words', text, latched=True), Output('plain', text)]
    early, late = '/latching/front/words', '/latching/left/words'

    def latch(text):
        made.set_outputs(outputs, [('words', String(data=text))])

    def texts(topic):
        return [message.data for message in peer.got[topic]]

    peer.listen(early, String, **{**LATCHED, 'depth': 10})
    peer.until(lambda: peer.node.count_subscribers(early), 'the subscriber is not seen')
    latch('a')
    peer.until(lambda: texts(early) == ['a'], lambda: texts(early))
    latch('a')
    outputs.pop()  # another output goes; this one stays as it is
    latch('a')
    latch('b')
    peer.until(lambda: texts(early) == ['a', 'b'], lambda: texts(early))
    peer.listen(late, String, **LATCHED)
    peer.until(lambda: texts(late) == ['b'], lambda: texts(late))
    # A publisher that was destroyed and made again holds nothing, so the message goes out anew.
    made.set_outputs([])
    latch('b')
    peer.until(lambda: texts(early) == ['a', 'b', 'b'], lambda: texts(early))
    peer.until(lambda: texts(late) == ['b', 'b'], lambda: texts(late))
    peer.spin(0.3)
    assert (texts(early), texts(late)) == (['a', 'b', 'b'], ['b', 'b'])
    node.destroy_node()


def test_label_info_and_detections_of_real_vision_msgs(domain, peer):
    vision = pytest.importorskip('vision_msgs.msg', reason='vision_msgs is not installed')
    info, label = '/perception/semantic/label_info', '/perception/semantic/label'
    instances, found = '/perception/semantic/instances', '/perception/semantic/detections'
    parameters = {'tasks': '[depth, semantic]', 'semantic.categories': '[chair, table]'}

    def words():
        return [[one.class_name for one in each.class_map] for each in peer.got[info]]

    with Running(domain, parameters) as node:
        node.wait_for('active: ')
        # Nobody listens while it goes out and changes, and no image comes.
        assert peer.set(semantic__categories=['chair', 'cup', 'table']) == ''
        peer.listen(info, vision.LabelInfo, **{**LATCHED, 'depth': 10})
        peer.until(lambda: words() == [['chair', 'cup', 'table', 'UNLABELED']], words)
        for topic in (label, instances):
            peer.listen(topic, Image)
        peer.listen(found, vision.Detection2DArray)
        camera = peer.publisher('/image', Image)
        peer.connect(label, instances, found)
        head = header(7)
        peer.feed(
            camera, image(rgb_array(), header=head),
            lambda: peer.got[label] and peer.got[instances] and peer.got[found],
        )  # fmt: skip
        array, ids = peer.got[found][0], image_messages.array_from(peer.got[instances][0])
        assert array.header == peer.got[label][0].header == peer.got[instances][0].header == head
        assert all(one.header == head for one in array.detections)
        assert array.detections
        assert {int(one.id) for one in array.detections} == set(np.unique(ids).tolist()) - {0}
        classes = dict(enumerate(words()[0]))
        numbers = image_messages.array_from(peer.got[label][0])
        for one in array.detections:
            (number,) = np.unique(numbers[ids == int(one.id)]).tolist()
            assert one.results[0].hypothesis.class_id == classes[number]
        # Frames do not send it again; other words do, once.
        assert peer.set(semantic__categories=['cup']) == ''
        peer.until(lambda: len(words()) > 1, words)
        peer.spin(0.3)
        assert words()[1:] == [['cup', 'UNLABELED']]
