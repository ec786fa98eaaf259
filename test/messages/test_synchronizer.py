# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages are matched by stamp: in every order of arrival, in the node and in a replay alike."""

import itertools
import random
import threading

import pytest
import recordings
from recordings import BEGIN, MAKE

from diception_ros.bag_replay import run
from diception_ros.bag_replay.run import Job
from diception_ros.bags.reader import Bag
from diception_ros.core.frame import Intrinsics
from diception_ros.messages import camera_info, make_header, stamp_of
from diception_ros.messages import images as image_messages
from diception_ros.messages.synchronizer import CAPACITY, CameraInfoCache, MessageCache

SIZE = (48, 64)
# Nanoseconds from the image, size, focal length of the infos; the focal length of the match.
CASES = {
    'another size one ns earlier': ([(-1, (96, 128), 2)], None),
    'before and after': ([(-500, SIZE, 3), (1000, SIZE, 4)], 3),
    'two before': ([(-900, SIZE, 5), (-500, SIZE, 6)], 6),
    'only after': ([(2000, SIZE, 7), (1000, SIZE, 8)], 8),
    'the same stamp': ([(-1, SIZE, 9), (0, SIZE, 10), (1, SIZE, 11)], 10),
    'another size between': ([(-500, SIZE, 12), (-1, (96, 128), 13)], 12),
}


def image(stamp_ns, compressed=False, frame_id='cam'):
    header = make_header(MAKE, stamp_ns, frame_id)
    if compressed:
        return MAKE.make('sensor_msgs/msg/CompressedImage', header=header, format='', data=None)
    return image_messages.image(MAKE, recordings.image(0, SIZE), 'rgb8', header)


def info(stamp_ns, size, focal, frame_id='cam'):
    header = make_header(MAKE, stamp_ns, frame_id)
    return camera_info.info(MAKE, Intrinsics(focal, focal, 3.0, 4.0), size, header)


def infos_of(case):
    return [
        info(BEGIN + offset, size, float(focal), case) for offset, size, focal in CASES[case][0]
    ]


@pytest.mark.parametrize('case', CASES)
def test_camera_info_cache_matches_by_stamp_whatever_the_order_of_arrival(case):
    for order in itertools.permutations(infos_of(case)):
        cache = CameraInfoCache()
        for message in order:
            cache.add_info(message)
        found, how = cache.match(image(BEGIN, frame_id=case))
        assert (found and found.k[0]) == CASES[case][1]
        exact = any(offset == 0 for offset, *_ in CASES[case][0])
        assert how == ('none' if found is None else 'exact' if exact else 'latest')


def bag_of(case, tmp_path):
    messages = [('/camera/image_raw', image(BEGIN, frame_id=case), BEGIN)]
    messages += [
        ('/camera/camera_info', message, stamp_of(message.header)) for message in infos_of(case)
    ]
    return recordings.write(tmp_path / 'bag', sorted(messages, key=lambda one: one[2]))


@pytest.mark.parametrize('case', CASES)
def test_replay_matches_by_the_rule(case, tmp_path):
    out = tmp_path / 'out.mcap'
    with Bag(bag_of(case, tmp_path)) as bag:
        result = run.replay(bag, recordings.perceiver(tasks=('normal',)), Job(out))
    assert (result.frames, dict(result.skipped)) == (1, {})
    with Bag(out) as bag:
        found = [bag.decode(raw).k[0] for raw in bag.messages(['/perception/normal/camera_info'])]
        assert len([*bag.messages(['/perception/normal/image'])]) == 1
    assert found == ([] if CASES[case][1] is None else [CASES[case][1]])


@pytest.mark.ros
@pytest.mark.slow
def test_node_matches_the_messages_of_the_same_bags_by_the_rule(tmp_path):
    """Each case has a frame_id of its own, so one node is enough."""
    pytest.importorskip('rclpy')
    import nodes
    from nodes import Peer, Running
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CameraInfo, Image

    from diception_ros.system import ros_environment

    names = ['/perception/normal/image', '/perception/normal/camera_info']
    parameters = {'tasks': '[normal]', 'lazy': 'false', 'policy': 'all'}
    with ros_environment.domain() as domain, Peer(domain) as peer:
        for name, kind in zip(names, (Image, CameraInfo), strict=True):
            peer.listen(name, kind)
        with Running(domain, parameters) as node:
            node.wait_for('active: ')
            images, infos = (
                peer.publisher('/image', Image),
                peer.publisher('/camera_info', CameraInfo),
            )
            stamps = itertools.count()

            def publish():
                head = nodes.header(next(stamps), 'another')
                infos.publish(nodes.info(head))
                images.publish(nodes.image(nodes.rgb_array(), header=head))
                return head

            # Results are sent once, so both sides have to be connected before the first case.
            peer.drain(publish, names)
            peer.got.clear()
            for number, case in enumerate(CASES):
                (tmp_path / str(number)).mkdir()
                with Bag(bag_of(case, tmp_path / str(number))) as bag:
                    raws = [*bag.messages()]
                for topic, publisher, kind in (
                    ('/camera/camera_info', infos, CameraInfo),
                    ('/camera/image_raw', images, Image),
                ):
                    for raw in raws:
                        if raw.topic == topic:
                            publisher.publish(deserialize_message(raw.data, kind))
                    peer.spin(0.3)
                peer.until(lambda: peer.got[names[0]], case)
                peer.spin(0.3)
                focal = CASES[case][1]
                found = [message.k[0] for message in peer.got[names[1]]]
                assert found == ([] if focal is None else [focal]), case
                peer.got.clear()


def test_camera_info_cache_looks_at_frame_and_size():
    cache = CameraInfoCache()
    assert cache.match(image(5)) == (None, 'none')
    cache.add_info(info(4, SIZE, 1.0, 'other'))
    cache.add_info(info(4, (24, 32), 2.0))
    assert cache.match(image(5)) == (None, 'none')
    # A slash before a name does not count, as in tf2.
    slashed = CameraInfoCache()
    slashed.add_info(info(4, SIZE, 1.0, '/cam'))
    assert slashed.match(image(5))[1] == 'latest'
    assert slashed.why_none(image(5)) == ''
    # The size of a compressed image is not known.
    assert cache.match(image(5, compressed=True))[0].k[0] == 2.0
    # One with the very stamp is the camera's own: that its size is wrong is an error of the pair.
    cache.add_info(info(5, (24, 32), 3.0))
    assert (cache.match(image(5))[0].k[0], cache.match(image(5))[1]) == (3.0, 'exact')
    cache.add_info(info(5, SIZE, 4.0))
    assert cache.match(image(5))[0].k[0] == 4.0  # the last received of one stamp
    for k in range(CAPACITY):
        cache.add_info(info(100 + k, SIZE, 100.0 + k))
    assert cache.match(image(5))[1] == 'latest'
    assert cache.match(image(5))[0].k[0] == 100.0
    cache.clear()
    assert cache.match(image(5)) == (None, 'none')


def test_first_image_waits_for_the_first_camera_info_and_no_other_does():
    cache, never = CameraInfoCache(), 3600.0
    found = []

    def ask():
        cache.await_first(never)
        found.append(cache.match(image(5))[1])

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    assert not cache.awaited
    cache.add_info(info(5, SIZE, 5.0))
    asking.join(60)
    assert found == ['exact']
    cache.await_first(never)  # returns at once: one was received
    cache.clear()
    assert not cache.awaited
    cache.await_first(0.0)
    assert cache.awaited  # given up, for all that follow
    assert cache.match(image(5)) == (None, 'none')
    cache.await_first(never)


def test_images_wait_for_their_camera_info_while_the_infos_keep_step():
    cache, never = CameraInfoCache(), 3600.0
    cache.await_stamp(5, never)  # returns at once: no info was ever of the stamp of an image
    cache.add_info(info(5, SIZE, 5.0))
    assert cache.match(image(5))[1] == 'exact'
    threading.Timer(0.05, lambda: cache.add_info(info(6, SIZE, 6.0))).start()
    cache.await_stamp(6, never)
    assert cache.match(image(6))[0].k[0] == 6.0
    cache.await_stamp(7, 0.01)  # lost
    cache.await_stamp(8, never)  # returns at once, until they keep step again
    assert cache.match(image(8))[1] == 'latest'


def test_nearest_within_the_tolerance_is_matched():
    cache = MessageCache()
    assert cache.nearest(0, 10**10) is None
    for stamp_ms in (100, 130, 160, 200):
        cache.add(stamp_ms * 1_000_000, stamp_ms)
    for frame_ms, expected in ((130, 130), (144, 130), (146, 160), (149, 160), (260, None),
                               (220, 200), (221, None), (80, 100), (79, None)):  # fmt: skip
        assert cache.nearest(frame_ms * 1_000_000, 20_000_000) == expected, frame_ms
    assert cache.nearest(130_000_000, 0) == 130
    assert cache.nearest(130_000_001, 0) is None


def test_nearest_is_the_later_of_two_whatever_the_order_of_arrival():
    stamps = [900, 1100, 500, 2000]
    for seed in range(8):
        cache = MessageCache()
        for stamp in random.Random(seed).sample(stamps, len(stamps)):
            cache.add(stamp, stamp)
        assert cache.nearest(1000, 10**9) == 1100
    cache = MessageCache()
    cache.add(5, 'of the first loop')
    cache.add(5, 'of the second')
    assert cache.nearest(5, 1) == cache.exact(5) == 'of the second'


def test_cache_keeps_a_few_or_all():
    cache, everything = MessageCache(capacity=3), MessageCache(capacity=None)
    for stamp in range(10):
        cache.add(stamp, stamp)
        everything.add(stamp, stamp)
    assert (len(cache), len(everything)) == (3, 10)
    assert cache.nearest(0, 10**9) == 7
    assert cache.exact(6) is None
    cache.clear()
    assert (len(cache), cache.newest_ns) == (0, -1)
    assert cache.nearest(7, 10**9) is None


def test_threads_may_add_while_others_match():
    cache, stop, failed = MessageCache(8), threading.Event(), []

    def match():
        while not stop.is_set():
            try:
                cache.nearest(50, 10**9)
            except RuntimeError as error:
                failed.append(error)

    thread = threading.Thread(target=match)
    thread.start()
    for stamp in range(20_000):
        cache.add(stamp, stamp)
    stop.set()
    thread.join()
    assert not failed


@pytest.mark.parametrize(
    ('received', 'reason'),
    [
        ([], ''),
        ([info(BEGIN - 5, SIZE, 2.0, 'other')], "frame_id of CameraInfo is 'other'"),
        ([info(BEGIN - 5, (96, 128), 2.0)], 'binning_x and binning_y to 2'),
        ([info(BEGIN - 5, (0, 0), 2.0)], 'width and height are 0 x 0'),
    ],
    ids=['none', 'another frame', 'another size', 'size 0'],
)
def test_why_none_gives_the_reason_with_advice(received, reason):
    cache = CameraInfoCache()
    for message in received:
        cache.add_info(message)
    assert cache.match(image(BEGIN)) == (None, 'none')
    assert reason in cache.why_none(image(BEGIN))
    assert bool(reason) == bool(cache.why_none(image(BEGIN)))
