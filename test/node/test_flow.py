# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames through the running node: headers, counts, order, and lazy outputs."""

from copy import deepcopy
import itertools
import random
import time

from geometry_msgs.msg import Point
from nodes import PATIENCE, Running, header, image, info, rgb_array, values
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String

from diception_ros import tasks
from diception_ros.messages import outputs
from diception_ros.node.publishers import RosTypes, find
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.settings import DepthSettings, PerceptionSettings

ALL = ('depth', 'normal', 'entity', 'semantic', 'pose', 'segmentation')
EVERYTHING = {
    'tasks': f'[{", ".join(ALL)}]', 'depth.metric': 'fixed', 'depth.scale': '0.5',
    'depth.shift': '0.1', 'scan.frame': 'base',
}  # fmt: skip


def topics():
    """Every output of EVERYTHING that comes with each frame: name and kind."""
    chosen = PerceptionSettings(
        tasks=ALL, depth=DepthSettings(metric='fixed', scale=0.5, shift=0.1)
    )

    class Nobody:
        def check(self, prompts, settings, adapters=()):
            pass

    every = Perceiver(Nobody(), RosTypes(), chosen).outputs()
    return [one for one in every if not one.latched]


def test_every_output_of_300_frames_has_the_header_of_its_frame(domain, peer):
    size = (12, 16)
    found = topics()
    assert {one.topic.split('/')[0] for one in found} >= {
        'disparity', 'depth', 'normal', 'entity', 'semantic', 'pose', 'segmentation', 'points'
    }  # fmt: skip
    names = [f'/perception/{one.topic}' for one in found]
    for name, one in zip(names, found, strict=True):
        peer.listen(name, find(one.kind))
    with Running(domain, EVERYTHING) as node:
        node.wait_for('active: ')
        camera, infos = peer.publisher('/image', Image), peer.publisher('/camera_info', CameraInfo)
        click = peer.publisher('/perception/prompt/click', Point)
        peer.connect(*names)
        first = header(0)
        peer.feed(camera, image(rgb_array(size=size), header=first), lambda: peer.got[names[0]])
        click.publish(Point(x=3.0, y=4.0))
        node.wait_for('1 of 5 points')
        infos.publish(info(first, size))
        pixels = [rgb_array(k, size) for k in range(4)]

        def publish(k, head):
            infos.publish(info(head, size))
            camera.publish(image(pixels[k % 4], header=head))
            return head

        # From here on nothing may be lost; what came before may still be under way.
        early = itertools.count(1000)
        peer.drain(lambda: publish(0, header(next(early))), names)
        peer.got.clear()
        collected = {name: [] for name in names}
        for k in range(1, 301):
            head = publish(k, header(k, f'camera_{k % 7}' if k % 3 else ''))
            peer.until(lambda: all(peer.got[name] for name in names), lambda k=k: f'frame {k}')
            for name in names:
                (message,) = peer.got[name]
                if name.endswith('/scan'):  # in a frame with x ahead
                    message.header.frame_id = head.frame_id
                assert message.header == head, (name, k)
                collected[name].append(message)
                peer.got[name].clear()
        assert all(len(some) == 300 for some in collected.values())
        assert peer.diagnostics()['/perception: camera'].level == b'\0'


def test_counts_are_exact_under_overload_and_cameras_alternate(domain, peer):
    dice = random.Random(0)
    parameters = {'cameras': '[front, left]', 'tasks': '[depth, segmentation]', 'lazy': 'false'}
    names = ('/perception: camera front', '/perception: camera left')
    # Long, for this process may get little of the processor: both cameras must always wait.
    with Running(domain, parameters, environment={'ZERO_SECONDS': '0.1'}) as node:
        node.wait_for('active: ')
        cameras = [peer.publisher(f'/{name}/image', Image) for name in ('front', 'left')]
        clicks = peer.publisher('/perception/front/prompt/click', Point)
        words = peer.publisher('/perception/prompt/categories', String)
        pixels = [rgb_array(k) for k in range(4)]
        seen = replaced = 0

        def check(found):
            nonlocal seen, replaced
            sums = dict.fromkeys(('received', 'processed', 'dropped', 'failed', 'waiting'), 0)
            for name in names:
                reported = values(found[name])
                number = {key: int(reported[key]) for key in sums}
                rest = sum(number[key] for key in sums if key != 'received')
                assert number['received'] == rest, reported
                parts = ('replaced', 'overflowed', 'idle', 'stopped')
                assert number['dropped'] == sum(int(reported[f'dropped_{part}']) for part in parts)
                assert number['waiting'] <= 2
                for key in sums:
                    sums[key] += number[key]
            whole = values(found['/perception'])
            assert {key: int(whole[key]) for key in sums} == sums
            seen += 1
            replaced = int(values(found[names[0]])['dropped_replaced'])
            return True

        end, k = time.monotonic() + 6, 0
        # As long as it takes until this process, which may be slow, has overloaded the node.
        while time.monotonic() < end or (replaced <= 100 and time.monotonic() < end + 120):
            k += 1
            cameras[0].publish(image(pixels[k % 4], header=header(k)))
            if k % 5 == 0:
                cameras[1].publish(image(pixels[k % 4], header=header(k)))
            if dice.random() < 0.02:
                assert peer.set(seed=k, guidance_scale=dice.uniform(0, 5)) == ''
            if dice.random() < 0.02:
                chosen = dice.sample(ALL, dice.randint(1, 4))
                assert peer.set(tasks=chosen, max_rate_hz=dice.choice([0.0, 0.0, 500.0])) == ''
            if dice.random() < 0.05:
                clicks.publish(Point(x=dice.uniform(-9, 80), y=dice.uniform(-9, 60)))
                words.publish(String(data=dice.choice(['chair', 'a, b', '', ' , '])))
            peer.spin(0.002)
            if peer.got['/diagnostics']:
                found = {one.name: one for one in peer.got['/diagnostics'].pop(0).status}
                if names[0] in found:  # what was sent before it was configured has no cameras
                    check(found)
            elif k == 1:
                peer.diagnostics()
        last = peer.diagnostics(
            lambda found: check(found) and values(found['/perception'])['waiting'] == '0'
        )
        assert seen > 4
        front, left = (values(last[name]) for name in names)
        assert int(front['dropped_replaced']) > 100
        assert front['failed'] == left['failed'] == '0'
        # Five times as many images are no reason to be served more often than in turn, where
        # images of both wait all the time: a process that gets little time publishes too few.
        counts = [int(camera['processed']) for camera in (front, left)]
        if int(left['dropped_replaced']) > counts[1]:
            assert abs(counts[0] - counts[1]) <= max(2, min(counts) // 2)
        assert 'Traceback' not in node.text


def test_tasks_without_subscribers_do_not_run(domain, peer):
    with Running(domain, {'tasks': '[depth, normal]'}) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        message = image(rgb_array(), header=header(0))
        peer.feed(camera, message, lambda: peer.count('dropped') > 2)
        found = peer.diagnostics(lambda found: 'idle' in found['/perception'].message)
        assert '/perception/normal/image' in found['/perception'].message
        assert 'normal_ms_p50' not in values(found['/perception'])
        for topic, other in (('disparity/image', 'normal'), ('normal/color', 'depth')):
            heard = peer.listen(f'/perception/{topic}', Image)
            peer.feed(camera, message, lambda t=topic: peer.got[f'/perception/{t}'])
            if other == 'normal':
                # A result may come before its times are added.
                statuses = peer.diagnostics(
                    lambda all_: 'depth_ms_p50' in values(all_['/perception'])
                )
                assert 'normal_ms_p50' not in values(statuses['/perception'])
                peer.node.destroy_subscription(heard)
        # The subscription to normals stays until here: images that are still under way need it.
        statuses = peer.diagnostics(
            lambda found: 'normal_latency_ms_p99' in values(found['/perception'])
        )
        assert 'idle' not in statuses['/perception'].message
        # Once each time that the last subscriber goes, however many images are dropped for it.
        node.wait_alternating('idle: no', 'has a subscriber again', 'has a subscriber again')
        peer.node.destroy_subscription(heard)
        # With lazy false everything is asked, and still nothing is painted for nobody.
        assert peer.set(lazy=False) == ''
        before = peer.count('processed')
        peer.feed(camera, message, lambda: peer.count('processed') > before)


def test_max_rate_and_every_n_are_kept(domain, peer):
    parameters = {'tasks': '[depth, normal]', 'max_rate_hz': '10', 'every_n.normal': '4'}
    depth, normal = '/perception/disparity/image', '/perception/normal/image'
    peer.listen(depth, Image)
    peer.listen(normal, Image)
    with Running(domain, parameters) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        peer.connect(depth, normal)
        message = image(rgb_array(), header=header(0))
        begin = time.monotonic()
        peer.feed(camera, message, lambda: peer.got[depth])
        end = time.monotonic() + 2
        while time.monotonic() < end or len(peer.got[depth]) < 5:
            assert time.monotonic() < begin + PATIENCE
            camera.publish(message)
            peer.spin(0.02)
        # Never more than the limit since the first image; how many fewer depends on the machine.
        assert len(peer.got[depth]) <= 10 * (time.monotonic() - begin) + 2
        # The results of an image come one after the other.
        peer.until(lambda: abs(len(peer.got[normal]) - len(peer.got[depth]) / 4) <= 1)


def test_outputs_follow_the_parameter_tasks(domain, peer):
    normal = '/perception/normal/image'
    peer.listen(normal, Image)
    with Running(domain, {'tasks': '[depth]'}) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        assert not peer.node.count_publishers(normal)
        for _ in range(3):
            assert peer.set(tasks=['normal']) == ''
            assert peer.get('tasks') == ['normal']
            peer.got[normal].clear()
            peer.feed(camera, image(rgb_array(), header=header(0)), lambda: peer.got[normal])
            assert peer.set(tasks=['depth']) == ''
            peer.until(lambda: not peer.node.count_publishers(normal), 'it stays')
        assert peer.set(depth__metric='fixed', depth__scale=0.5) == ''
        peer.until(lambda: peer.node.count_publishers('/perception/points'), 'no points')


def test_policy_all_processes_every_frame_in_order(domain, peer):
    depth = '/perception/disparity/image'
    peer.listen(depth, Image)
    parameters = {'tasks': '[depth]', 'policy': 'all', 'queue_size': '50'}
    with Running(domain, parameters, environment={'ZERO_SECONDS': '0.01'}) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        peer.connect(depth)
        early = itertools.count(1000)

        def publish(k):
            head = header(k)
            camera.publish(image(rgb_array(), header=head))
            return head

        peer.drain(lambda: publish(next(early)), [depth])
        peer.got[depth].clear()
        # No more at once than the middleware keeps for the node: it is best effort.
        for count in range(8, 41, 8):
            for k in range(count - 8, count):
                publish(k)
            peer.until(
                lambda count=count: len(peer.got[depth]) == count, lambda: len(peer.got[depth])
            )
        assert [one.header.stamp.nanosec for one in peer.got[depth]] == list(range(40))
        assert peer.set(policy='latest') == (
            'policy cannot be changed while the node is configured; clean it up first: '
            'diception lifecycle set cleanup --node /perception'
        )
        for k in range(400):
            camera.publish(image(rgb_array(), header=header(k)))
            peer.spin(0.002)
        statuses = peer.diagnostics(lambda found: values(found['/perception'])['waiting'] == '0')
        assert int(values(statuses['/perception: camera'])['dropped_overflowed']) > 0


@pytest.mark.parametrize('kind', ['image', 'cloud'])
def test_metric_depth_is_published_only_after_a_good_fit(domain, peer, kind):
    import numpy as np

    from diception_ros.messages import images as image_messages

    metres, relative = '/perception/depth/image', '/perception/disparity/image'
    cloud = '/perception/points'
    peer.listen(relative, Image)
    peer.listen(metres, Image)
    peer.listen(cloud, PointCloud2)
    parameters = {
        'tasks': '[depth]', 'depth.metric': 'aligned', 'depth_reference': kind, 'policy': 'all',
        'watchdog_s': '3600.0',
    }  # fmt: skip
    with Running(domain, parameters) as node:
        node.wait_for('active: ')
        camera, infos = peer.publisher('/image', Image), peer.publisher('/camera_info', CameraInfo)
        references = peer.publisher('/depth_reference', Image if kind == 'image' else PointCloud2)
        peer.connect(metres, relative, cloud)
        name = '/perception: camera'
        head = header(0)
        peer.feed(camera, image(rgb_array(), header=head), lambda: peer.got[relative])
        assert not peer.got[metres]
        disparity = image_messages.array_from(peer.got[relative][0])
        truth = (1 / (0.4 * disparity.astype(np.float64) + 0.1)).astype(np.float32)
        for good in (True, False):
            head = header(1 if good else 10**9 - 1)
            depth = truth if good else np.random.default_rng(0).uniform(1, 9, truth.shape)
            sent = image(depth.astype(np.float32), '32FC1', head)
            if kind == 'cloud':
                sent = cloud_of(depth, head)
            peer.got[metres].clear()

            def predictions(head=head):
                # On a busy machine those of the images before may come now.
                return [one for one in peer.got[metres] if one.header == head]

            for _ in range(20):
                infos.publish(info(head))
                references.publish(sent)
                peer.spin(0.05)
                camera.publish(image(rgb_array(), header=head))
                peer.spin(0.1)
                if predictions():
                    break
            if good:
                peer.until(predictions, 'no metric depth')
                prediction = image_messages.array_from(predictions()[-1])
                assert np.nanmax(np.abs(prediction - truth)) < 1e-3
                peer.until(lambda: peer.got[cloud], 'no points')
                statuses = peer.diagnostics(lambda found: 'fit_points' in values(found[name]))
                assert float(values(statuses[name])['fit_inliers']) > 0.99
            else:
                assert not predictions()
                statuses = peer.diagnostics(lambda found: values(found[name]).get('fit_problem'))
                assert statuses[name].level == b'\x01'
                assert 'no metric depth: bad fit' in statuses[name].message
        if kind == 'image':
            # A reference that is no depth costs the metres, not the frame; then none comes at all.
            head = header(0)
            for problem in ('depth reference: ', 'no depth reference within'):
                head.stamp.sec += 2
                shown = image(rgb_array(), header=deepcopy(head))
                if problem == 'depth reference: ':
                    references.publish(shown)
                    peer.spin(0.1)
                peer.got[metres].clear()

                def relatives(head=shown.header):
                    return [one for one in peer.got[relative] if one.header == head]

                peer.feed(camera, shown, relatives)
                statuses = peer.diagnostics(
                    lambda found, problem=problem: (
                        values(found[name]).get('fit_problem', '').startswith(problem)
                    )
                )
                found = values(statuses[name])
                assert statuses[name].message.startswith(f'no metric depth: {problem}')
                assert statuses[name].level == b'\x01'
                assert found['failed'] == '0'
                assert 'fit_inliers' not in found
                assert not peer.got[metres]


def cloud_of(depth, head):
    """PointCloud2 of the pixels' points, for the pinhole of `info`."""
    import numpy as np
    from sensor_msgs.msg import PointField

    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
    cy, cx = (np.array(depth.shape) - 1) / 2
    points = np.stack([(columns - cx) / 60 * depth, (rows - cy) / 60 * depth, depth], -1)
    data = points.reshape(-1, 3).astype(np.float32)
    message = PointCloud2(header=head, height=1, width=len(data), point_step=12)
    message.fields = [
        PointField(name=name, offset=4 * k, datatype=PointField.FLOAT32, count=1)
        for k, name in enumerate('xyz')
    ]
    message.row_step, message.is_dense = 12 * len(data), True
    message.data.frombytes(data.tobytes())
    return message


def test_outputs_are_known_before_the_first_frame():
    for name in tasks.names():
        assert outputs.declared(tasks.get(name), RosTypes())
