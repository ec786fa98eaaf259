# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plays and records bags over ROS, for machines without `ros2 bag`."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
import re
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import NodeNameNonExistentError
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile

from diception_ros.bag_replay.run import prefetch
from diception_ros.bags.channels import OfferedQos, combine_qos, qos_from_text, qos_to_text
from diception_ros.bags.mcap_writer import CHUNK, Writer
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import TYPES, RawMessage, definition_of, to_cdr
from diception_ros.doctor import missing_packages
from diception_ros.node.client import (
    RemoteNode,
    offered_by,
    profile_of,
    requested,
    ros_context,
)
from diception_ros.node.publishers import find
from diception_ros.node.settings import PlaySettings
from diception_ros.system import ros_environment

# Topics whose last message later subscribers get.
LATCHED = ('/tf_static', '/robot_description')
CLOCK = '/clock'
# Part of the name that ROS gives to a node whose name is not discovered yet.
UNKNOWN_NODE = 'NODE_NAME_UNKNOWN'
# Seconds of the machine between messages on /clock, as `ros2 bag play --clock` by default.
TICK = 1 / 40
# Seconds that are waited at once, of a message's time that may be years away.
LONGEST_S = 3600.0
# Seconds without a message that are logged: a clock that was set while recording leaves years.
PAUSE_S = 60.0
# Messages that are read before their time.
PREFETCH = 64
# Seconds after which recorded messages are written, if they do not fill a chunk before.
FLUSH_S = 1.0
# Seconds between looks for new topics.
LOOK_S = 0.2
# Messages of each topic that wait while the disk is busy.
QOS_DEPTH = 100
# Messages that are kept until a simulated clock begins; older ones are dropped.
EARLY_BYTES = 1 << 26
# Names of types in message classes that differ from those in .msg files.
_BASIC = {'boolean': 'bool', 'octet': 'byte', 'float': 'float32', 'double': 'float64'}


def play(path: Path, options: PlaySettings, ended: threading.Event) -> int:
    """Play a bag until its end, or until `ended` is set; returns the number of published messages.

    Raises:
        ValueError: a topic is not in the bag.
        TimeoutError: a topic has no subscriber within `listen_s`.
    """
    with ros_context(), Bag(path) as bag:
        node = rclpy.create_node('diception_play')
        published = _Player(node, bag, options, ended).run()
        if bag.damage:
            sys.stderr.write(f'{bag.damage}\n')
        node.destroy_node()
        return published


class _Player:
    """One node that plays one bag."""

    def __init__(self, node: Any, bag: Bag, options: PlaySettings, ended: threading.Event) -> None:
        self._node, self._bag, self._options, self._ended = node, bag, options, ended
        unknown = sorted(set(options.topics) - set(bag.topics))
        if unknown:
            raise ValueError(
                f'{bag.path}: no topic {unknown[0]!r}; there are {", ".join(sorted(bag.topics))}'
            )
        self._publishers = _publishers(node, bag, options.topics or tuple(bag.topics))
        self._clock: Publisher | None = None
        # A recorded /clock belongs to the stamps in the messages; log times may be others. With
        # both on one topic time would jump back and forth.
        if options.clock and CLOCK not in self._publishers:
            clock = find('rosgraph_msgs/msg/Clock')
            self._tick = clock()
            self._clock = node.create_publisher(clock, CLOCK, QoSProfile(depth=10))

    def run(self) -> int:
        published = 0
        self._wait_for_subscribers()
        self._ended.wait(self._options.delay_s)
        while not self._ended.is_set():
            for raw in self._timed():
                self._publishers[raw.topic].publish(raw.data)
                published += 1
            if not self._options.loop or not published:
                break
        # Slow subscribers get what is still on its way.
        for publisher in self._publishers.values():
            if hasattr(publisher, 'wait_for_all_acked'):  # not of Humble
                publisher.wait_for_all_acked(Duration(seconds=1))
        return published

    def _wait_for_subscribers(self) -> None:
        end = time.monotonic() + self._options.listen_s
        while self._options.listen_s and not self._ended.wait(TICK):
            lonely = [
                topic
                for topic, publisher in self._publishers.items()
                if not publisher.get_subscription_count()
            ]
            if not lonely:
                self._wait_until_discovered(end)
                return
            if time.monotonic() > end:
                raise TimeoutError(
                    f'no subscriber of {", ".join(lonely)} within {self._options.listen_s:g} s'
                )

    def _wait_until_discovered(self, end: float) -> None:
        """Wait until all subscribing nodes have discovered the publishers.

        A publisher that has discovered a subscription may be unknown to it, and on a busy machine
        it stays so for seconds. A node discovers publishers in the order in which they were made,
        so one that answers this node has discovered those made before. Nodes that serve no
        parameters are not waited for.
        """
        answered = set[str]()
        while waiting := self._subscribed_nodes() - answered:
            if self._ended.is_set() or time.monotonic() > end:
                return
            if UNKNOWN_NODE in waiting:
                self._ended.wait(TICK)
                continue
            name = min(waiting)
            answered.add(name)
            space, _, base = name.rpartition('/')
            with contextlib.suppress(TimeoutError, NodeNameNonExistentError):
                offered = self._node.get_service_names_and_types_by_node(base, space or '/')
                if f'{name}/list_parameters' in dict(offered):
                    seconds = max(TICK, end - time.monotonic())
                    RemoteNode(self._node, name, seconds).parameter_names()

    def _subscribed_nodes(self) -> set[str]:
        topics = [*self._publishers, *([CLOCK] if self._clock is not None else [])]
        return {
            UNKNOWN_NODE
            if UNKNOWN_NODE in info.node_name
            else f'{info.node_namespace.rstrip("/")}/{info.node_name}'
            for topic in topics
            for info in self._node.get_subscriptions_info_by_topic(topic)
        }

    def _timed(self) -> Iterator[RawMessage]:
        """The messages, each at its time."""
        zero = (self._bag.start_ns or 0) + round(self._options.start_s * 1e9)
        start = zero if self._options.start_s else None
        began: float | None = None
        for raw in prefetch(self._messages(start), PREFETCH):
            now = time.monotonic()
            if began is None:
                began, zero = now, raw.stamp_ns
            due = began + (raw.stamp_ns - zero) / 1e9 / self._options.rate
            if due - now > PAUSE_S:
                behind_ms = (raw.stamp_ns - (self._bag.start_ns or 0)) // 10**6
                sys.stderr.write(
                    f'no message for {due - now:.0f} s; --start {behind_ms / 1000:.3f} begins '
                    'behind that\n'
                )
            while (rest := due - now) > 0 and not self._ended.is_set():
                self._publish_time(zero + round((now - began) * self._options.rate * 1e9))
                self._ended.wait(min(rest, TICK if self._clock else LONGEST_S))
                now = time.monotonic()
            if self._ended.is_set():
                return
            self._publish_time(raw.stamp_ns)
            yield raw

    def _messages(self, start_ns: int | None) -> Iterator[RawMessage]:
        end = self._options.end_s
        stop_ns = None if end is None else (self._bag.start_ns or 0) + round(end * 1e9)
        failed = set[str]()
        for raw in self._bag.messages(list(self._publishers), start_ns, stop_ns):
            try:
                yield raw._replace(data=to_cdr(raw)[1])
            except ValueError as error:
                if raw.topic not in failed:
                    sys.stderr.write(f'not played, as others of the topic may be: {error}\n')
                failed.add(raw.topic)

    def _publish_time(self, now_ns: int) -> None:
        if self._clock is not None:
            self._tick.clock.sec, self._tick.clock.nanosec = divmod(now_ns, 10**9)
            self._clock.publish(self._tick)


def _publishers(node: Any, bag: Bag, topics: Collection[str]) -> dict[str, Publisher]:
    made = {}
    for name in topics:
        msgtype = bag.topics[name].msgtype
        try:
            message = _class_of(msgtype)
        except ImportError as error:
            node.get_logger().warning(
                f'{name} is not played: {error}. The definition in the bag is not enough, rclpy '
                f'publishes what has a package in this ROS: {_fix_hint(msgtype)}'
            )
            continue
        offered = combine_qos(qos_from_text(bag.topics[name].qos))
        if name in LATCHED:
            # A message of each of the publishers, whose number the recording may not tell.
            offered = OfferedQos(True, True, max(offered.depth, min(bag.topics[name].count, 100)))
        try:
            made[name] = node.create_publisher(message, name, profile_of(offered))
        except NameValidationException:
            node.get_logger().warning(f'{name!r} is not played: ROS takes no topic of that name')
    return made


@dataclass
class Recording:
    """What was recorded.

    Attributes:
        counts: messages by topic.
        left_out: why a topic is not recorded, by topic.
        without_time: messages that were received before a simulated clock began.
    """

    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    without_time: int = 0


def record(
    out: Path,
    topics: Sequence[str],
    ended: threading.Event,
    seconds: float = 0.0,
    simulated: bool = False,
    compress: bool = True,
) -> Recording:
    """Record topics until `ended` is set.

    Args:
        out: the bag, ending in .mcap.
        topics: to record, from the moment they are published; none for all.
        ended: ends it when set.
        seconds: after which it ends by itself; 0 for never.
        simulated: take the time from /clock.
        compress: the bag.

    Raises:
        OSError: no room; what was recorded is readable.
    """
    with ros_context(), Writer(out, compress=compress) as writer:
        node = rclpy.create_node(
            'diception_record',
            parameter_overrides=[Parameter('use_sim_time', value=True)] if simulated else [],
        )
        recorder = _Recorder(node, writer, topics)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        stop = time.monotonic() + (seconds or float('inf'))
        while not ended.is_set() and time.monotonic() < stop:
            executor.spin_once(timeout_sec=LOOK_S / 2)
            recorder.update()
        executor.shutdown()
        node.destroy_node()
        writer.finish()
        return recorder.recording


class _Recorder:
    """Subscribes to topics as they appear."""

    def __init__(self, node: Any, writer: Writer, topics: Sequence[str]) -> None:
        self._node, self._writer, self._topics = node, writer, topics
        self._subscriptions: dict[str, Any] = {}
        self._looked_s = self._flushed_s = 0.0
        self._early: deque[tuple[str, bytes]] = deque()
        self._early_bytes = 0
        self.recording = Recording()

    def update(self) -> None:
        """Look for topics, and write messages, if it is time."""
        now = time.monotonic()
        if now - self._looked_s >= LOOK_S:
            self._looked_s = now
            self._look()
        if self._writer.waiting >= CHUNK or (
            self._writer.waiting and now - self._flushed_s >= FLUSH_S
        ):
            self._writer.flush()
            self._flushed_s = now

    def _look(self) -> None:
        for name, types in self._node.get_topic_names_and_types():
            known = name in self._subscriptions or name in self.recording.left_out
            if known or (self._topics and name not in self._topics):
                continue
            publishers = self._node.get_publishers_info_by_topic(name)
            if not publishers:
                continue
            try:
                if len(types) > 1:
                    raise ValueError(f'it has {len(types)} types: {", ".join(types)}')
                self._subscribe(name, types[0], [info.qos_profile for info in publishers])
            except Exception as error:  # no topic of others may end the recording
                reason = str(error) or type(error).__name__
                if isinstance(error, ImportError):
                    reason = f'{reason}; rclpy needs the package of {types[0]}: '
                    reason += _fix_hint(types[0])
                self.recording.left_out[name] = reason
                self._node.get_logger().warning(f'{name} is not recorded: {reason}')
            else:
                self._node.get_logger().info(f'recording {name}')

    def _subscribe(self, name: str, msgtype: str, profiles: Sequence[Any]) -> None:
        offers = [offered_by(profile) for profile in profiles]
        message = _class_of(msgtype)
        known = msgtype in TYPES.types
        definition = definition_of(TYPES, msgtype) if known else definition_from(message)
        self._subscriptions[name] = self._node.create_subscription(
            message,
            name,
            lambda data: self._write(name, data),
            requested(offers, QOS_DEPTH),
            raw=True,
        )
        self._writer.add(name, msgtype, definition, qos_to_text(*offers))
        self.recording.counts[name] = 0

    def _write(self, topic: str, data: bytes) -> None:
        now_ns = int(self._node.get_clock().now().nanoseconds)
        self._early.append((topic, data))
        self._early_bytes += len(data)
        if now_ns <= 0:  # simulated, and not begun: with these times the bag would span years
            self.recording.without_time += 1
            while self._early_bytes > EARLY_BYTES:
                self._early_bytes -= len(self._early.popleft()[1])
            return
        self._early_bytes = 0
        while self._early:
            topic, data = self._early.popleft()
            self._writer.write(topic, data, now_ns)
            self.recording.counts[topic] += 1


def definition_from(message: Any) -> str:
    """Definition of a class of messages and of its fields', in the language of .msg files.

    Raises:
        ImportError: the package of a field is not installed.
    """
    parts: dict[str, str] = {}
    waiting = [message]
    while waiting:
        made = waiting.pop(0)
        name = f'{made.__module__.partition(".")[0]}/{made.__name__}'
        if name in parts:
            continue
        lines = []
        for field_name, declared in made.get_fields_and_field_types().items():
            element, brackets = declared, ''
            if match := re.fullmatch(r'sequence<(.*?)(?:, (\d+))?>', declared):
                element, brackets = match[1], f'[<={match[2]}]' if match[2] else '[]'
            elif match := re.fullmatch(r'(.*)(\[\d+\])', declared):
                element, brackets = match[1], match[2]
            element = re.sub(r'<(\d+)>', r'<=\1', _BASIC.get(element, element))
            if '/' in element:
                waiting.append(_class_of(element.replace('/', '/msg/')))
            lines.append(f'{element}{brackets} {field_name}')
        parts[name] = '\n'.join(lines) or 'uint8 structure_needs_at_least_one_member'
    (first, *rest) = parts.items()
    return '\n'.join([first[1], *(f'{"=" * 80}\nMSG: {name}\n{text}' for name, text in rest)])


def _class_of(msgtype: str) -> Any:
    """The class of a type; ImportError if it is not installed or no type of ROS."""
    if msgtype.count('/') != 2:
        raise ImportError(f'{msgtype!r} is no type of messages of ROS 2')
    return find(msgtype)


def _fix_hint(msgtype: str) -> str:
    package = msgtype.partition('/')[0]
    return missing_packages.packages([package], ros_environment.distro() or 'rolling')
