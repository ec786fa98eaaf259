# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the node logs when cameras, QoS or clocks are wrong."""

import signal
import time

from builtin_interfaces.msg import Time
from nodes import Running, header, image, rgb_array, values
import pytest
from rclpy.qos import ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from diception_ros.node import diagnostics
from diception_ros.node.diagnostics import (
    KINDS,
    Log,
    Publisher,
    Rate,
    Subscribed,
    Timings,
    Watchdog,
    explain,
    loss_hint,
)
from diception_ros.system import ros_environment

CAMERA = '/perception: camera'
WATCH = {'tasks': '[depth]', 'lazy': 'false', 'watchdog_s': '0.5'}


def test_a_camera_that_stops_and_returns_is_logged_once(domain, peer):
    with Running(domain, WATCH) as node:
        node.wait_for('no images on /image for')
        assert 'it has no publisher. Is the camera running' in node.text
        camera = peer.publisher('/image', Image)
        message = image(rgb_array(), header=header(0))
        for k in (1, 2):
            # On a busy machine half a second may pass between two images: a silence too.
            peer.feed(camera, message, lambda k=k: node.count('arrive again') >= k, slowest=0.1)
            peer.got['/diagnostics'].clear()
            peer.feed(
                camera, message, lambda: peer.status_with(CAMERA, 'images arrive'), slowest=0.1
            )
            assert peer.status_with(CAMERA, 'images arrive').level == b'\0'
            statuses = peer.diagnostics(lambda found: found[CAMERA].level == b'\1')
            assert 'it has 1 publisher (/peer)' in statuses[CAMERA].message
            assert values(statuses[CAMERA])['publishers'] == '1'
            # Stock Fast DDS may lose images; the hint names the profile.
            assert 'fastdds_shm.xml' in statuses[CAMERA].message
            for _ in range(5):
                peer.diagnostics(lambda found: found[CAMERA].level == b'\1')
            node.wait_alternating('no images on', 'arrive again', 'no images on')


def test_images_on_another_topic_are_suggested(domain, peer):
    peer.publisher('/camera/image', Image, wait=False)
    with Running(domain, WATCH, more=['-r', 'image:=/camra/image']) as node:
        statuses = peer.diagnostics(lambda all_: 'but there are' in all_[CAMERA].message)
        message = statuses[CAMERA].message
        assert 'but there are images on /camera/image. ' in message  # and none of its own
        assert message.endswith('-r image:=/camera/image')
        assert node.end(signal.SIGTERM)[0] == 0


def test_the_fast_dds_profile_is_not_suggested_where_it_is_set(domain, peer):
    profile = {'FASTDDS_DEFAULT_PROFILES_FILE': 'config/fastdds_shm.xml'}
    with Running(domain, WATCH, environment=profile) as node:
        node.wait_for('no images on /image for')
        peer.publisher('/image', Image)
        statuses = peer.diagnostics(lambda found: '1 publisher' in found[CAMERA].message)
        assert 'fastdds_shm.xml' not in statuses[CAMERA].message
        assert node.end(signal.SIGTERM)[0] == 0


def test_incompatible_qos_and_types_are_reported_with_topic_and_policy(domain, peer):
    demand = {**WATCH, 'qos_overrides./image.subscription.reliability': 'reliable'}
    with Running(domain, demand) as node:
        node.wait_for('active: ')
        camera = peer.publisher(
            '/image', Image, wait=False, reliability=ReliabilityPolicy.BEST_EFFORT
        )
        line = node.wait_for('has an incompatible reliability')
        assert '/image' in line
        assert 'qos_overrides./image.' in line
        statuses = peer.diagnostics(lambda found: found['/perception'].level == b'\1')
        assert 'reliability of /image' in statuses['/perception'].message
        statuses = peer.diagnostics(lambda found: 'best_effort' in found[CAMERA].message)
        peer.node.destroy_publisher(camera)
        peer.publisher('/image', CompressedImage, wait=False)
        peer.diagnostics(lambda found: 'set image_transport to raw' in found[CAMERA].message)


def test_simulated_time_may_pause_and_jump_back(domain, peer):
    # The first frame of a camera is asked about normals, and then none: so what it knows shows.
    parameters = {
        **WATCH, 'use_sim_time': 'true', 'tasks': '[depth, normal]', 'every_n.normal': '10000',
    }  # fmt: skip
    normal = '/perception/normal/image'
    peer.listen(normal, Image)
    with Running(domain, parameters) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        clock = peer.publisher('/clock', Clock)
        peer.connect(normal)

        def show(seconds, stamp, back=''):
            """Let the clock be somewhere, and an image come with a stamp.

            Args:
                seconds: of the clock.
                stamp: of the image, in seconds.
                back: by how many seconds the node is to notice that time jumped back.
            """
            clock.publish(Clock(clock=Time(sec=seconds)))
            peer.spin(0.02)
            if back:  # or the image might be processed before
                node.wait_for(f'time jumped back by {back} s')
            before = peer.count('processed')
            message = image(rgb_array(), header=Header(stamp=Time(sec=stamp), frame_id='c'))
            peer.feed(camera, message, lambda: peer.count('processed') > before)

        show(1000, 1000)
        # Paused: images that stop are noticed, and diagnostics go on.
        node.wait_for('no images on /image')
        peer.diagnostics(lambda found: found[CAMERA].level == b'\1')
        assert 'time jumped back' not in node.text
        for seconds, back in ((1001, ''), (10, '991.0'), (11, ''), (5, '6.0')):
            show(seconds, seconds, back)
        peer.until(lambda: len(peer.got[normal]) >= 3)
        assert [one.header.stamp.sec for one in peer.got[normal]] == [1000, 10, 5]
        reported = values(peer.diagnostics()[CAMERA])
        assert reported['failed'] == '0'
        show(5, 500)
        assert node.wait_for('images are stamped 495 s after /clock')


def test_clock_mismatch_is_logged_once(domain, peer):
    with Running(domain, WATCH) as node:
        node.wait_for('active: ')
        camera = peer.publisher('/image', Image)
        message = image(rgb_array(), header=Header(stamp=Time(sec=1000)))
        peer.feed(camera, message, lambda: peer.count('processed') > 3)
        node.wait_for("before this machine's clock")
        assert node.text.count("before this machine's clock") == 1
        assert 'set use_sim_time to true' in node.text


@pytest.mark.parametrize(
    ('publishers', 'says'),
    [
        ([], 'no publisher. Is the camera running'),
        ([Publisher('/a/c', 'sensor_msgs/msg/Image', True)], '1 publisher (/a/c), which is sil'),
        ([Publisher('/c', 'std_msgs/msg/String', True)], 'of std_msgs/msg/String, but'),
        ([Publisher('/c', 'sensor_msgs/msg/Image', False)], 'reliability to best_effort'),
        (
            [Publisher('/c', 'sensor_msgs/msg/Image', True)] * 2
            + [Publisher('/d', 'sensor_msgs/msg/Image', False)],
            '3 publishers (/c, /d)',
        ),
    ],
)
def test_explain_silence(publishers, says):
    subscribed = Subscribed('/image', 'image', 'sensor_msgs/msg/Image', True, '')
    assert says in explain(subscribed, publishers, 5.0)


def test_explain_suggests_the_nearest_topic():
    kind = 'sensor_msgs/msg/CompressedImage'
    subscribed = Subscribed('/camra/image/compressed', 'front/image/compressed', kind, False, '')
    others = [f'/a{k}' for k in range(9)] + ['/camera/image/compressed']
    explanation = explain(subscribed, [], 5.0, others)
    assert explanation.endswith('-r front/image/compressed:=/camera/image/compressed')
    assert '/a4' in explanation
    assert '/a5' not in explanation
    there = [Publisher('/c', kind, True)]
    assert '/a4' not in explain(subscribed, there, 5.0, others)


def test_watchdog_reports_each_silence_once():
    dog = Watchdog(5.0, now=100.0)
    assert dog.update(104.0, 0) == (0.0, False, False)
    assert dog.update(106.0, 0) == (6.0, True, False)
    assert dog.update(107.0, 0) == (7.0, False, False)
    assert dog.update(108.0, 1) == (0.0, False, True)
    assert dog.update(109.0, 2) == (0.0, False, False)
    assert dog.update(200.0, 2, expected=False) == (0.0, False, False)
    assert dog.update(201.0, 2) == (0.0, False, False)
    assert dog.update(206.0, 2) == (6.0, True, False)


def test_loss_hint_is_for_fast_dds_without_a_profile():
    assert 'config/fastdds_shm.xml' in loss_hint('rmw_fastrtps_cpp', {})
    assert loss_hint('rmw_cyclonedds_cpp', {}) == ''
    names = (ros_environment.PROFILE, ros_environment.NODE_PROFILE)
    shipped = [str(ros_environment.profile(name)) for name in names]
    for name in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
        for file in shipped:
            hint = loss_hint('rmw_fastrtps_cpp', {name: file})
            assert hint.endswith(f'for the camera, as one is set for this node: {shipped[0]}')
        assert loss_hint('rmw_fastrtps_cpp', {name: '/a.xml'}) == ''
        assert loss_hint('rmw_fastrtps_cpp', {name: ''}) != ''


def test_clock_mismatch_message_has_a_fix_hint():
    day = 86_400 * 10**9
    assert diagnostics.clock_mismatch(day, day - 9 * 10**9, False) == ''
    assert 'before this machine' in diagnostics.clock_mismatch(day, 1, False)
    assert 'header.stamp' in diagnostics.clock_mismatch(day, 0, False)
    assert 'after this machine' in diagnostics.clock_mismatch(0, day, False)
    assert 'nothing is received on /clock' in diagnostics.clock_mismatch(0, day, True)
    assert 'after /clock' in diagnostics.clock_mismatch(1, day, True)


def test_log_once_per_kind_and_a_bounded_number_of_kinds():
    said = []

    class Logger:
        info = warning = error = said.append

    log = Log(Logger())
    for _ in range(3):
        log.error_once('a', 'first')
        log.warning_once('b', 'second')
    assert said == ['first', 'second']
    assert log.last_error == 'first'
    log.rearm('b')
    log.warning_once('b', 'third')
    for k in range(1000):
        log.error_once(f'kind {k}', f'text {k}')
    assert len(said) <= KINDS + 3
    assert 'only counted' in said[-1]
    assert log.last_error == 'text 999'


@pytest.mark.parametrize(('value', 'text'), [
    (1230.4, '1230'), (999.6, '1000'), (999.4, '999'), (4e9, '4000000000'), (-2500.0, '-2500'),
    (12.34, '12.3'), (0.01234, '0.0123'), (0.0, '0'), (5.0, '5'), (float('nan'), 'nan'),
    (float('inf'), 'inf'),
])  # fmt: skip
def test_numbers_are_written_as_people_write_them(value, text):
    assert diagnostics.number(value) == text


def test_timings_and_rate_of_the_last_values():
    timings, rate = Timings(), Rate(window=5)
    assert timings.milliseconds() == {}
    for k in range(1000):
        timings.add('model', 1.0 if k < 700 else (k - 699) / 300)
    p50, p99 = timings.milliseconds()['model']
    assert abs(p50 - 500) < 5
    assert abs(p99 - 990) < 5
    begin = time.monotonic()
    assert rate.update(begin, 0) == 0
    for k in range(1, 20):
        assert rate.update(begin + k, 30 * k) == pytest.approx(30)
    assert rate.update(begin + 100, 30 * 19) < 1
