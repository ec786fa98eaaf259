# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Playing and recording bags through real DDS, each in a process of its own."""

from collections import Counter
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import recordings

from diception_ros.bags.channels import OfferedQos
from diception_ros.bags.mcap_writer import Writer, partial_of
from diception_ros.bags.reader import Bag

pytest.importorskip('rclpy')
from std_msgs.msg import String

from diception_ros.node import bag_tools
from diception_ros.node.settings import PlaySettings

pytestmark = pytest.mark.ros
# Seconds after which a process hangs; a busy machine may need some of them.
HUNG = 300


@pytest.fixture
def start(domain):
    """Starts `diception ...` in the domain."""
    running = []

    def begin(*arguments):
        variables = {
            **os.environ,
            'ROS_DOMAIN_ID': str(domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        }
        running.append(
            subprocess.Popen(
                [sys.executable, '-m', 'diception_ros', *map(str, arguments)],
                env=variables, stderr=subprocess.PIPE, text=True, start_new_session=True,
            )
        )  # fmt: skip
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_record_gets_what_play_publishes(start, tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(20, period_s=0.05))
    out = tmp_path / 'out.mcap'
    recorder = start('record', '--out', out)
    # Not sooner than the recorder has found all topics, however long it takes to start.
    player = start('play', path, '--listeners', str(HUNG), '--delay', '1', '--rate', '0.5')
    began, began_ns = time.monotonic(), time.time_ns()
    _, words = player.communicate(timeout=HUNG)
    assert player.returncode == 0, words
    assert 'published 60 messages' in words
    assert time.monotonic() - began > 1 + 0.95 / 0.5
    ended_ns = time.time_ns()
    for topic in ('/camera/image_raw', '/camera/camera_info', '/words'):
        wait_until_recorded(out, topic, 20)
    for _ in range(2):
        recorder.send_signal(signal.SIGINT)
    _, words = recorder.communicate(timeout=HUNG)
    assert recorder.returncode == 0, words
    assert 'Traceback' not in words
    sent, got = recordings.everything(path), recordings.everything(out)
    for topic in ('/camera/image_raw', '/camera/camera_info', '/words'):
        expected = [data for name, _, _, data in sent if name == topic]
        found = [data for name, _, _, data in got if name == topic]
        # DDS fills messages up to whole words.
        assert [data[: len(one)] for data, one in zip(found, expected, strict=True)] == expected
        assert max(len(d) - len(e) for d, e in zip(found, expected, strict=True)) < 4
    stamps = [stamp for name, _, stamp, _ in got if name == '/camera/image_raw']
    # The present, in which the recording was played at half its rate.
    assert began_ns < stamps[0] < stamps[-1] < ended_ns
    from diception_ros.bags.typestore import TYPES

    clocks = [TYPES.deserialize_cdr(data, kind).clock for name, kind, _, data in got
              if name == '/clock']  # fmt: skip
    clock_ns = [one.sec * 10**9 + one.nanosec for one in clocks]
    assert clock_ns == sorted(clock_ns)
    assert recordings.BEGIN < clock_ns[0] < clock_ns[-1] == sent[-1][2]


def wait_until_recorded(out, topic, count):
    """Wait until the unfinished file of a recording holds this many messages of a topic."""
    end, partial = time.monotonic() + HUNG, partial_of(out)

    def found():
        try:
            return Counter(name for name, *_ in recordings.everything(partial))[topic]
        except (ValueError, OSError):  # not there yet, or without its first bytes
            return 0

    while found() < count:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_play_loops_and_ends_with_a_signal_and_a_killed_record_is_not_lost(start, tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(3, period_s=0.02), 'ros1')
    out = tmp_path / 'out.mcap'
    partial = partial_of(out)
    player = start('play', path, '--loop', '--no-clock', '--topics', '/words', '--delay', '0')
    recorder = start('record', '/words', '--out', out)
    wait_until_recorded(out, '/words', 7)
    recorder.kill()
    recorder.wait()
    before = partial.read_bytes()
    again = start('record', '/words', '--out', out)
    _, words = again.communicate(timeout=HUNG)
    assert 'readable, of a recording that was killed or still runs; --force replaces it' in words
    assert (again.returncode, partial.read_bytes()) == (1, before)
    again = start('record', '/words', '--out', out, '--force')
    while partial.exists() and partial.read_bytes()[: len(before)] == before:
        assert again.poll() is None
        time.sleep(0.05)
    wait_until_recorded(out, '/words', 7)
    again.send_signal(signal.SIGINT)
    assert 'wrote' in again.communicate(timeout=HUNG)[1]
    assert not partial.exists()

    player.send_signal(signal.SIGTERM)
    _, words = player.communicate(timeout=HUNG)
    assert player.returncode == 0, words
    counts = Counter(topic for topic, *_ in recordings.everything(out))
    assert counts.keys() == {'/words'}
    assert counts['/words'] > 6


def test_play_and_record_reject_bad_arguments(tmp_path, capsys):
    from diception_ros.cli.main import main

    path = recordings.write(tmp_path / 'bag', recordings.recorded(1))
    for option, value in (('rate', '0'), ('rate', '1e-300'), ('delay', '1e17'), ('end', '-1')):
        assert main(['play', str(path), f'--{option}', value]) == 1
        assert f'{option} is {float(value)}; expected at ' in capsys.readouterr().err
    for arguments, words in (
        (['--seconds', 'nan', '--out', 'a.mcap'], '--seconds is nan; expected 0 or more'),
        (['--seconds', '-1', '--out', 'a.mcap'], '--seconds is -1.0; expected 0 or more'),
        (['--out', 'absent/a.mcap'], 'absent is no folder; make it first'),
        (['chatter', '--out', 'a.mcap'], "topic 'chatter'; expected a full name"),
    ):
        assert main(['record', *arguments]) == 1
        assert words in capsys.readouterr().err
    assert main(['echo', '/a', '--count', '-1']) == 1
    assert '--count is -1; expected 0 or more' in capsys.readouterr().err
    assert main(['play', '/dev/null']) == 1
    assert '/dev/null: neither a file nor a folder; expected a bag' in capsys.readouterr().err
    assert main(['record', '/a', '--out', str(tmp_path / 'a.bag')]) == 1
    assert '.mcap' in capsys.readouterr().err
    (tmp_path / 'a.mcap').write_text('mine')
    assert main(['record', '/a', '--out', str(tmp_path / 'a.mcap')]) == 1
    assert '--force' in capsys.readouterr().err


def test_play_raises_without_subscribers(start, tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(2))
    player = start('play', path, '--topics', '/words', '--listeners', '0.5', '--no-clock')
    _, words = player.communicate(timeout=HUNG)
    assert player.returncode == 1
    assert 'no subscriber of /words within 0.5 s' in words


def test_play_begins_when_its_listeners_have_discovered_it(start, peer, tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(2))
    words = []
    peer.node.create_subscription(String, '/words', lambda message: words.append(message.data), 10)
    player = start('play', path, '--topics', '/words', '--listeners', HUNG, '--delay', '0',
                   '--no-clock')  # fmt: skip
    with pytest.raises(subprocess.TimeoutExpired):
        player.wait(3)  # this node answers no call yet
    peer.until(lambda: len(words) == 2, 'no words')
    assert player.wait(HUNG) == 0


def test_play_leaves_out_topics_without_a_package(start, tmp_path):
    path = tmp_path / 'bag.mcap'
    with Writer(path) as writer:
        writer.add('/odd', 'nobodys_msgs/msg/Word', 'string data')
        writer.add('/words', 'std_msgs/msg/String', 'string data')
        writer.add('/two words', 'std_msgs/msg/String', 'string data')
        for k, topic in enumerate(('/odd', '/words', '/odd', '/two words')):
            writer.write(topic, bytes((0, 1, 0, 0, 2, 0, 0, 0, 65, 0)), 1_000_000 * k)
        writer.finish()
    player = start('play', path, '--delay', '0', '--no-clock')
    _, words = player.communicate(timeout=HUNG)
    assert player.returncode == 0
    assert 'published 1 messages' in words
    assert "/odd is not played: No module named 'nobodys_msgs'. The definition in the bag" in words
    assert '-nobodys-msgs' in words
    assert "'/two words' is not played: ROS takes no topic of that name" in words


def test_play_of_nothing_is_an_error(start, tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(2))
    player = start('play', path, '--start', '99', '--delay', '0', '--no-clock')
    _, words = player.communicate(timeout=HUNG)
    assert player.returncode == 1
    assert 'no message of these topics that can be played between --start and --end' in words


def test_record_leaves_out_topics_without_a_package(start, tmp_path, monkeypatch):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(6, period_s=0.1))
    # As if sensor_msgs were not installed for the recorder.
    hidden = tmp_path / 'hidden' / 'sensor_msgs'
    hidden.mkdir(parents=True)
    (hidden / '__init__.py').write_text("raise ModuleNotFoundError('No module named sensor_msgs')")
    out = tmp_path / 'out.mcap'
    with monkeypatch.context() as patch:
        patch.setenv('PYTHONPATH', str(hidden.parent), prepend=os.pathsep)
        recorder = start('record', '--out', out)
    player = start('play', path, '--loop', '--delay', '0', '--no-clock')
    wait_until_recorded(out, '/words', 7)
    player.send_signal(signal.SIGINT)
    _, words = player.communicate(timeout=HUNG)
    assert player.returncode == 0, words
    recorder.send_signal(signal.SIGINT)
    _, words = recorder.communicate(timeout=HUNG)
    assert recorder.returncode == 0, words
    assert 'Traceback' not in words
    for topic in ('/camera/image_raw', '/camera/camera_info'):
        assert f'{topic} is not recorded: No module named sensor_msgs' in words
        assert f'left out {topic}: No module named sensor_msgs' in words
    assert '-sensor-msgs' in words
    counts = Counter(topic for topic, *_ in recordings.everything(out))
    assert counts['/words'] > 6
    assert '/camera/image_raw' not in counts


@pytest.mark.parametrize('msgtype', [
    'sensor_msgs/msg/CameraInfo', 'sensor_msgs/msg/PointCloud2', 'std_msgs/msg/Empty',
    'diagnostic_msgs/msg/DiagnosticArray', 'geometry_msgs/msg/PoseWithCovarianceStamped',
    'rcl_interfaces/msg/ParameterDescriptor', 'std_msgs/msg/Float64MultiArray',
])  # fmt: skip
def test_definition_from_a_class_is_the_one_of_the_package(msgtype):
    from rosbags.typesys import get_types_from_msg

    from diception_ros.bags.typestore import TYPES
    from diception_ros.node.bag_tools import definition_from
    from diception_ros.node.publishers import find

    found = get_types_from_msg(definition_from(find(msgtype)), msgtype)
    for name, (_, fields) in found.items():
        assert fields == TYPES.fielddefs[name][1], name


def test_record_of_nothing_gives_hints(start, tmp_path):
    recorder = start('record', '/camra/image_raw', '--out', tmp_path / 'a.mcap', '--seconds', '1')
    _, words = recorder.communicate(timeout=HUNG)
    assert recorder.returncode == 1
    assert (
        'no message was received on /camra/image_raw; is the name right' in words.splitlines()[-1]
    )


@pytest.mark.parametrize('form', ['mcap', 'sqlite3'])
def test_play_offers_the_recorded_qos(start, tmp_path, peer, form):
    from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
    from std_msgs.msg import String

    offers = {
        '/words': [OfferedQos()], '/latched': [OfferedQos(latched=True, depth=1)],
        '/lossy': [OfferedQos(reliable=False, depth=5)],
    }  # fmt: skip
    path = recordings.offered(tmp_path / 'bag', form, offers)
    best_effort = {'reliability': ReliabilityPolicy.BEST_EFFORT}
    for name in offers:
        peer.listen(name, String, **(best_effort if name == '/lossy' else {}))
    # The last message is far behind the others, so that the player stays.
    start('play', path, '--listeners', HUNG, '--delay', '0', '--no-clock', '--rate', '0.01')
    endpoints = {
        name: peer.until(lambda name=name: peer.node.get_publishers_info_by_topic(name))[0]
        for name in offers
    }
    profiles = {name: one.qos_profile for name, one in endpoints.items()}
    assert {name: one.durability == DurabilityPolicy.TRANSIENT_LOCAL
            for name, one in profiles.items()} == {
        '/words': False, '/latched': True, '/lossy': False}  # fmt: skip
    assert {name: one.reliability == ReliabilityPolicy.RELIABLE
            for name, one in profiles.items()} == {
        '/words': True, '/latched': True, '/lossy': False}  # fmt: skip
    peer.until(lambda: peer.got['/words'] and peer.got['/latched'], 'nothing is played')
    peer.got['/latched'].clear()
    peer.listen('/latched', String, depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    peer.until(lambda: peer.got['/latched'], 'a later subscriber gets nothing')


class FakeNode:
    """Keeps the topics of publishers, and what its clock reads."""

    def __init__(self, now_ns=0):
        self.topics, self.now_ns = [], now_ns

    def create_publisher(self, message, topic, profile):
        self.topics.append(topic)
        return self

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns))


class NoTime(threading.Event):
    """An event whose first wait sets it."""

    def wait(self, timeout=None):
        self.set()
        return True


def clock_message(seconds):
    time = recordings.MAKE.make('builtin_interfaces/msg/Time', sec=seconds, nanosec=0)
    return '/clock', recordings.MAKE.make('rosgraph_msgs/msg/Clock', clock=time), recordings.BEGIN


def test_play_publishes_no_second_clock(tmp_path):
    # Of a recording of a simulation: its /clock is that of the stamps in the messages.
    path = recordings.write(tmp_path / 'bag', [clock_message(7), *recordings.recorded(2)])
    for topics, clocks in (((), 1), (('/words',), 1), (('/words', '/clock'), 1)):
        node = FakeNode()
        with Bag(path) as bag:
            player = bag_tools._Player(node, bag, PlaySettings(topics=topics), NoTime())
        assert node.topics.count('/clock') == clocks
        assert (player._clock is None) == ('/clock' in (topics or bag.topics))


def test_play_reports_a_pause_of_years_and_what_starts_behind_it(tmp_path, capsys):
    # A computer without a battery for its clock begins in 1970, until the network sets it.
    messages = [(t, m, k + 1) for k, (t, m, _) in enumerate(recordings.recorded(1))]
    path = recordings.write(tmp_path / 'bag', [*messages, *recordings.recorded(1)])
    with Bag(path) as bag:
        player = bag_tools._Player(FakeNode(), bag, PlaySettings(clock=False), NoTime())
        assert len([*player._timed()]) == len(messages)
        start_s = float(capsys.readouterr().err.partition('--start ')[2].split()[0])
        behind = PlaySettings(clock=False, start_s=start_s)
        player = bag_tools._Player(FakeNode(), bag, behind, NoTime())
        assert next(player._timed()).stamp_ns == recordings.BEGIN + recordings.LATE
    assert capsys.readouterr().err == ''


def test_record_logs_what_comes_before_a_simulated_clock_at_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_tools, 'EARLY_BYTES', 30)
    node = FakeNode()
    with Writer(tmp_path / 'out.mcap') as writer:
        recorder = bag_tools._Recorder(node, writer, ())
        writer.add('/words', 'std_msgs/msg/String', 'string data')
        recorder.recording.counts['/words'] = 0
        for k in range(5):
            recorder._write('/words', bytes([k] * 10))
        assert recorder.recording.counts == {'/words': 0}
        assert recorder.recording.without_time == 5
        for node.now_ns in (5, 6):
            recorder._write('/words', bytes([9] * 10))
        writer.finish()
    found = [
        (stamp_ns, data[0]) for *_, stamp_ns, data in recordings.everything(tmp_path / 'out.mcap')
    ]
    assert found == [(5, 2), (5, 3), (5, 4), (5, 9), (6, 9)]
    assert recorder.recording.counts == {'/words': len(found)}
