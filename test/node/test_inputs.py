# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images of every encoding, intact and damaged, through the running node."""

import array
import itertools
import random
import threading

import cv2
import floor_scenes
from nodes import PATIENCE, REAL, Running, header, image, info, rgb_array, values
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2

from diception_ros.bag_replay import run
from diception_ros.bag_replay.run import Job
from diception_ros.bags.mcap_writer import Writer
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import TYPES, BagTypes, definition_of
from diception_ros.core import settings
from diception_ros.core.prompt import Prompt
from diception_ros.core.settings import ComputeSettings
from diception_ros.messages import encodings
from diception_ros.messages import images as image_messages
from diception_ros.node import camera_input, image_subscription
from diception_ros.node.settings import NodeSettings
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.predictor import Predictor
from diception_ros.perception.settings import PerceptionSettings

LABELS = {
    'disparity/image': ('depth', None),
    'normal/image': ('normal', None),
    'entity/label': ('entity', None),
    'semantic/instances': ('semantic', 'person'),
}
LABELS_IN = {'Disparity': 'values', 'Normals': 'vectors', 'Instances': 'ids'}
QUICK = {
    'tasks': '[depth, normal, entity, semantic]',
    'num_inference_steps': '1', 'guidance_scale': '1.0',
    'temporal.track_ids': 'false',
}  # fmt: skip
KINDS = sorted({*encodings.LAYOUTS, *encodings.PLANES})


def raw(encoding, k):
    """An Image of an encoding whose rows are padded, of random bytes."""
    height, width = 24, 32
    dice = np.random.default_rng(k)
    if encoding in encodings.PLANES:
        rows, row = height * (3 if encoding == 'nv24' else 3 / 2), width
        rows = int(rows)
    else:
        layout = encodings.LAYOUTS[encoding]
        rows, row = height, width * layout.channels * (2 if layout.wide else 1)
    step = row + (0 if encoding in encodings.PLANES else 8)
    pixels = dice.integers(0, 256, (rows, step), np.uint8)
    message = image(pixels, encoding, header(k), step)
    message.height, message.width, message.is_bigendian = height, width, k % 2
    return message


def squeezed(encoding, k):
    done, data = cv2.imencode(encoding, cv2.GaussianBlur(rgb_array(k), (5, 5), 2))
    assert done
    message = CompressedImage(header=header(k), format=encoding.removeprefix('.'))
    message.data = array.array('B', data.tobytes())
    return message


@pytest.mark.parametrize(('transport', 'backend'), [('raw', 'torch'), ('compressed', 'onnx')])
def test_node_and_predictor_results_are_equal(domain, peer, tiny_folder, transport, backend):
    # The built-in model has ONNX graphs.
    model = {'torch': str(tiny_folder), 'onnx': 'builtin'}[backend]
    sent = [raw(encoding, k) for k, encoding in enumerate(KINDS)]
    if transport == 'compressed':
        sent = [squeezed(encoding, k) for k, encoding in enumerate(['.jpg', '.png'])]
    topic = {'raw': '/image', 'compressed': '/image/compressed'}[transport]
    names = {f'/perception/{name}': what for name, what in LABELS.items()}
    for name in names:
        peer.listen(name, Image)
    parameters = {**QUICK, 'model': model, 'image_transport': transport, 'backend': backend}
    with Running(domain, parameters, REAL) as node:
        node.wait_for('active: ', 3 * PATIENCE)  # torch alone may take long on a busy machine
        camera = peer.publisher(topic, type(sent[0]))
        peer.connect(*names)
        peer.feed(camera, sent[0], lambda: all(peer.got[name] for name in names))
        peer.spin(0.5)
        assert f'the model runs on {backend}' in node.text
        assert values(peer.diagnostics()['/perception'])['backend'] == backend
        # One thread, as the node's process.
        compute = ComputeSettings(backend=backend, threads=1)
        predictor = Predictor.load(model, compute, num_inference_steps=1, guidance_scale=1.0)
        for message in sent:
            for name in names:
                peer.got[name].clear()
            camera.publish(message)
            head = message.header
            peer.until(  # the results of a frame that was fed before may be under way
                lambda head=head: all(
                    peer.got[name] and peer.got[name][-1].header == head for name in names
                ),
                lambda message=message: f'{getattr(message, "encoding", "")}:\n{node.text}',
            )
            frame = image_messages.frame_from(message)
            found = predictor.predict([frame], [Prompt(*what) for what in names.values()])
            for name, prediction in zip(names, found, strict=True):
                label = prediction.label
                expected = getattr(label, LABELS_IN[type(label).__name__])
                answer = image_messages.array_from(peer.got[name][-1])
                assert answer.astype(expected.dtype).tobytes() == expected.tobytes(), name
        assert peer.count('failed') == 0
        assert 'ERROR' not in node.text


@pytest.mark.parametrize('source', ['parameter', 'tf'])
def test_node_and_replay_publish_the_same_cloud_scan_and_confidence(
    domain, peer, tmp_path, source
):
    """The messages of a bag through DDS and through a replay give equal bytes."""
    from rclpy.qos import DurabilityPolicy
    from rclpy.serialization import serialize_message

    if source == 'tf':
        tf2_msgs = pytest.importorskip('tf2_msgs.msg', reason='tf2_msgs is not installed')
        from geometry_msgs.msg import TransformStamped
    outputs = {
        'points': PointCloud2, 'scan': LaserScan, 'depth/image': Image,
        'semantic/confidence': Image, 'entity/confidence': Image,
    }  # fmt: skip
    values_of = {
        'tasks': ['depth', 'normal', 'entity', 'semantic'], 'temporal.track_ids': False,
        'depth.metric': 'fixed', 'depth.scale': 0.5, 'depth.shift': 0.1, 'points.ground': 'drop',
        'points.edge_filter': True, 'points.range_max': 5.0, 'points.stride': 2,
    }  # fmt: skip
    # A camera that looks ahead, pitched down by 10 degrees, as quaternion in base_link.
    if source == 'parameter':
        values_of['points.gravity'] = '0 0.984807753012208 0.17364817766693'
    depth, _, parts = floor_scenes.scene(pitch=10, box=(1.5, 0.2))
    pixels = np.stack([40 * parts, (60 * depth).astype(int) % 256, 200 - 30 * parts], -1)
    pixels = pixels.astype(np.uint8)
    heads = [header(k) for k in range(3)]
    sent = [(image(np.roll(pixels, k, 1), 'rgb8', head), info(head, floor_scenes.SIZE, 130.0))
            for k, head in enumerate(heads)]  # fmt: skip
    names = {f'/perception/{name}': kind for name, kind in outputs.items()}
    for name, kind in names.items():
        peer.listen(name, kind)
    parameters = {name: str(value).lower() if isinstance(value, bool) else str(value)
                  for name, value in values_of.items()}  # fmt: skip
    with Running(domain, {**parameters, 'backend': 'onnx', 'policy': 'all'}, REAL) as node:
        node.wait_for('active: ', 3 * PATIENCE)
        written = []
        if source == 'tf':
            moved = TransformStamped(child_frame_id='camera_optical')
            moved.header.frame_id = 'base_link'
            turned = moved.transform.rotation
            # Of the axes of an image to those of a robot, and 10 degrees down.
            a = np.sqrt(0.5) * np.array([np.cos(np.radians(5)), np.sin(np.radians(5))])
            turned.x, turned.y, turned.z, turned.w = map(float, (
                -(a[0] + a[1]) / np.sqrt(2), (a[0] + a[1]) / np.sqrt(2),
                -(a[0] - a[1]) / np.sqrt(2), (a[0] - a[1]) / np.sqrt(2)))  # fmt: skip
            static = tf2_msgs.TFMessage(transforms=[moved])
            written.append(('/tf_static', static))
            tf_publisher = peer.publisher('/tf_static', tf2_msgs.TFMessage,
                                  durability=DurabilityPolicy.TRANSIENT_LOCAL)  # fmt: skip
            tf_publisher.publish(static)
        camera, infos = peer.publisher('/image', Image), peer.publisher('/camera_info', CameraInfo)
        peer.connect(*names)

        def arrived(head):
            return all(
                peer.got[name] and peer.got[name][-1].header.stamp == head.stamp for name in names
            )

        numbers = itertools.count(1000)

        def publish():
            head = header(next(numbers))
            infos.publish(info(head, floor_scenes.SIZE, 130.0))
            camera.publish(image(pixels, 'rgb8', head))
            return head

        def known():
            # The transform may come later than the first images.
            publish()
            found = values(peer.diagnostics()['/perception: camera']).get('gravity')
            return found == {'parameter': 'points.gravity', 'tf': 'tf'}[source]

        peer.until(known, lambda: node.text)
        peer.drain(publish, names)  # nothing else comes among those that are compared
        live = {}
        for picture, info_message in sent:
            for name in names:
                peer.got[name].clear()
            infos.publish(info_message)
            peer.spin(0.1)
            camera.publish(picture)
            peer.until(lambda head=info_message.header: arrived(head), lambda: node.text)
            for name in names:
                live.setdefault(name, []).append(serialize_message(peer.got[name][-1]))
            written += [('/image', picture), ('/camera_info', info_message)]
        gravity = values(peer.diagnostics()['/perception: camera'])['gravity']
        assert gravity == {'parameter': 'points.gravity', 'tf': 'tf'}[source]
    bag, out = tmp_path / 'bag.mcap', tmp_path / 'out.mcap'
    with Writer(bag) as writer:
        for k, (topic, message) in enumerate(written):
            kind = f'{type(message).__module__.split(".")[0]}/msg/{type(message).__name__}'
            writer.add(topic, kind, definition_of(TYPES, kind))
            writer.write(topic, serialize_message(message), heads[0].stamp.sec * 10**9 + k)
        writer.finish()
    predictor = Predictor.load('builtin', ComputeSettings(backend='onnx', threads=1))
    chosen = settings.changed(PerceptionSettings(), values_of)
    with Bag(bag) as opened:
        run.replay(opened, Perceiver(predictor, BagTypes(), chosen), Job(out, views=False))
    replayed = {}
    with Bag(out) as opened:
        for raw_message in opened.messages():
            replayed.setdefault(raw_message.topic, []).append(bytes(raw_message.data))
    for name, messages in live.items():
        kind = f'sensor_msgs/msg/{names[name].__name__}'
        # Written anew, since the middleware leaves the bytes between fields as they were.
        for one, other in zip(messages, replayed[name], strict=True):
            message = TYPES.deserialize_cdr(one, kind)
            assert bytes(TYPES.serialize_cdr(message, kind)) == other, name


def broken(dice, k):
    """A message that contradicts itself, or an intact one with an unusable CameraInfo."""
    message = image(rgb_array(k % 5, (8, 12)), header=header(k))
    camera_info, what = None, k % 8
    if what == 0:
        message.step = dice.choice([0, 1, 35, 37, 2**32 - 1])
    elif what == 1:
        message.data = message.data[: dice.randrange(len(message.data))]
    elif what == 2:
        message.height, message.width = dice.choice([(0, 12), (8, 0), (0, 0)])
    elif what == 3:
        message.encoding = ''.join(dice.choices('abcxyz0189_%{\n', k=dice.randrange(9)))
    elif what == 4:
        message.height = dice.choice([9, 1000, 2**32 - 1])
    elif what == 5:
        message.encoding = dice.choice(['32FC1', '64FC3', 'yuv422', 'nv12', 'bayer_rggb16'])
        message.data = message.data[: dice.randrange(96)]
    elif what == 6:
        message.header.stamp.sec = -dice.randrange(1, 2**31)
    else:
        # A frame of its own, so that none of another CameraInfo will do.
        message.header.frame_id = 'broken'
        camera_info = info(message.header, (8, 12))
        broken_number = dice.choice([float('nan'), float('inf'), -5.0])
        camera_info.k[dice.choice([0, 4])] = camera_info.p[dice.choice([0, 5])] = broken_number
    return message, camera_info


def test_1600_damaged_messages_are_counted(domain, peer):
    dice = random.Random(0)
    parameters = {
        'tasks': '[depth]', 'policy': 'all', 'queue_size': '10000', 'lazy': 'false',
        'qos_overrides./image.subscription.reliability': 'reliable',
        'qos_overrides./image.subscription.history': 'keep_all',
        'qos_overrides./camera_info.subscription.reliability': 'reliable',
        'qos_overrides./camera_info.subscription.history': 'keep_all',
    }  # fmt: skip
    from rclpy.qos import HistoryPolicy

    with Running(domain, parameters) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image, history=HistoryPolicy.KEEP_ALL)
        infos = peer.publisher('/camera_info', CameraInfo, history=HistoryPolicy.KEEP_ALL)
        good = image(rgb_array(size=(8, 12)), header=header(0))
        peer.feed(camera, good, lambda: peer.count('processed'))
        done = peer.steady('processed')  # when all that was published has arrived
        assert peer.count('failed') == 0
        infos.publish(broken(dice, 7)[1])
        peer.spin(0.5)
        for k in range(1600):
            message, info_message = broken(dice, k)
            if info_message is not None:
                infos.publish(info_message)
            camera.publish(message)
            if k % 50 == 0:
                camera.publish(good)
            if k % 200 == 0:
                peer.spin(0.05)
        name = '/perception: camera'
        peer.until(lambda: peer.count('failed') + peer.count('processed') >= 1632 + done)
        # A CameraInfo that cannot be used costs no image.
        assert peer.count('failed') == 1400
        assert peer.count('processed') == done + 32 + 200
        reported = values(peer.diagnostics()[name])
        kinds = {key: int(value) for key, value in reported.items() if key.startswith('failed_')}
        assert sum(kinds.values()) == 1400
        # Known kinds one by one; of the endless unknown ones only some are reported.
        assert not [kind for kind in kinds if 'camera_info' in kind]
        assert kinds['failed_stamp'] == 200
        errors = [line for line in node.lines if '[ERROR]' in line]
        assert 5 <= len(errors) <= 40
        assert 'Traceback' not in node.text
        peer.until(lambda: values(peer.diagnostics()[name])['waiting'] == '0')
        assert node.end()[0] == 0


def test_reported_kinds_of_faults_are_bounded(domain, peer):
    with Running(domain, {'tasks': '[depth]', 'lazy': 'false', 'policy': 'all'}) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        count = itertools.count()

        def another():
            message = image(rgb_array(), f'encoding {next(count)}', header(0))
            camera.publish(message)
            peer.spin(0.005)
            return peer.count('failed') > 100

        peer.until(another)
        assert sum('[ERROR]' in line for line in node.lines) <= 30
        assert len(values(peer.diagnostics()['/perception: camera'])) < 80


def test_a_failing_model_is_an_error_and_the_node_stays(domain, peer):
    parameters = {'tasks': '[depth]', 'lazy': 'false'}
    with Running(domain, parameters, environment={'ZERO_FAILS': '1'}) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        message = image(rgb_array(), header=header(0))
        peer.feed(camera, message, lambda: peer.count('failed') > 30, slowest=0.05)
        node.wait_for('out of GPU memory')
        assert node.text.count('out of GPU memory') == 1
        diagnostics = peer.diagnostics()
        camera.publish(message)
        diagnostics = peer.diagnostics(lambda found: found['/perception: camera'].level == b'\2')
        assert 'out of GPU memory' in values(diagnostics['/perception'])['last_error']


def test_first_image_waits_for_a_camera_info_only_with_a_publisher(peer, monkeypatch):
    monkeypatch.setattr(camera_input, 'FIRST_INFO_S', 3600.0)
    camera = camera_input.CameraInput(
        peer.node, '', NodeSettings(), lambda *one: None, lambda: True, lambda *one: None
    )
    camera.open(1, False)
    head, found = header(1), []
    message = image(rgb_array(), header=head)
    assert camera.info_of(message) == (None, 'none')  # nobody does: no wait
    infos = peer.publisher('/camera_info', CameraInfo)
    peer.until(lambda: peer.node.count_publishers('/camera_info'))
    asking = threading.Thread(target=lambda: found.append(camera.info_of(message)), daemon=True)
    asking.start()
    peer.feed(infos, info(head), lambda: found)
    assert found[0][1] == 'exact'
    assert camera.info_of(image(rgb_array(), header=header(2)))[1] == 'latest'
    camera.destroy()


def test_sequence_numbers_count_what_was_replaced_and_not_what_was_lost():
    numbers = image_subscription.SequenceNumbers()
    assert numbers.skipped(b'a', 7, 0) == 0  # the first one that is seen
    assert numbers.skipped(b'a', 8, 0) == 0
    assert numbers.skipped(b'a', 12, 0) == 3
    assert numbers.skipped(b'b', 100, 0) == 0
    assert numbers.skipped(b'a', 14, 0) == 1
    assert numbers.skipped(b'b', 103, 1) == 1  # of two missing ones one is reported as lost
    assert numbers.skipped(b'b', 110, 1) == 6
    assert numbers.skipped(b'b', 110, 1) is None
    assert numbers.skipped(b'b', 104, 1) is None
