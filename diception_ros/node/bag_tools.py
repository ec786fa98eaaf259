# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes the messages of a bag at their times, for machines without `ros2 bag`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from diception_ros.bag_replay.run import prefetch
from diception_ros.bags.mcap_writer import Writer
from diception_ros.bags.typestore import TYPES, definition_of, to_cdr
from diception_ros.doctor import missing_packages
from diception_ros.node.publishers import find

if TYPE_CHECKING:
    from pathlib import Path

    from rclpy.publisher import Publisher

    from diception_ros.bags.reader import Bag
    from diception_ros.bags.typestore import RawMessage

# Said once, and wanted by whoever comes later.
LATCHED = ('/tf_static', '/robot_description')
# /clock between messages, seconds of the machine: as often as `ros2 bag play --clock` says it.
TICK = 1 / 40
# Messages that are read before their time.
AHEAD = 64


@dataclass(frozen=True)
class Wishes:
    """How a bag is played.

    Attributes:
        rate: how many times faster than it was recorded.
        loop: begin again at the end.
        clock: publish /clock.
        topics: to be played; none for all.
        start_s: seconds after the beginning of the bag at which it begins.
        end_s: seconds after the beginning of the bag at which it ends; None: at its end.
        delay_s: seconds that listeners get to be found before the first message.
        listen_s: before that, seconds until every topic must have a listener; 0: nobody is waited
            for.
    """

    rate: float = 1.0
    loop: bool = False
    clock: bool = True
    topics: tuple[str, ...] = ()
    start_s: float = 0.0
    end_s: float | None = None
    delay_s: float = 1.0
    listen_s: float = 0.0


def play(path: Path, wishes: Wishes, ended: threading.Event) -> int:
    """Play a bag until it or somebody ends it.

    Args:
        path: of the bag.
        wishes: how.
        ended: set when it is to end.

    Returns:
        Messages that were published.

    Raises:
        ValueError: a topic is not in the bag, or a rate that is none.
        TimeoutError: nobody listens to a topic although somebody should.
    """
    from diception_ros.bags.reader import Bag

    if not 0 < wishes.rate < float('inf'):
        raise ValueError(f'--rate is {wishes.rate}; expected more than 0')
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node('diception_play')
        with Bag(path) as bag:
            published = _Player(node, bag, wishes, ended).run()
            if bag.damage:
                sys.stderr.write(f'{bag.damage}\n')
        node.destroy_node()
        return published
    finally:
        rclpy.try_shutdown()


class _Player:
    """One node that plays one bag."""

    def __init__(self, node: Any, bag: Bag, wishes: Wishes, ended: threading.Event) -> None:
        self._bag, self._wishes, self._ended = bag, wishes, ended
        strange = sorted(set(wishes.topics) - set(bag.topics))
        if strange:
            raise ValueError(
                f'{bag.path}: no topic {strange[0]!r}; there are {", ".join(sorted(bag.topics))}'
            )
        self._publishers = _publishers(node, bag, wishes.topics or tuple(bag.topics))
        self._clock: Publisher | None = None
        if wishes.clock:
            kind = find('rosgraph_msgs/msg/Clock')
            self._tick = kind()
            self._clock = node.create_publisher(kind, '/clock', QoSProfile(depth=10))

    def run(self) -> int:
        published = 0
        self._wait_for_listeners()
        self._ended.wait(self._wishes.delay_s)
        while not self._ended.is_set():
            for raw in self._timed():
                self._publishers[raw.topic].publish(raw.data)
                published += 1
            if not self._wishes.loop or not published:
                break
        # What is still on its way to slow listeners must get there.
        for publisher in self._publishers.values():
            _let_arrive(publisher)
        return published

    def _wait_for_listeners(self) -> None:
        end = time.monotonic() + self._wishes.listen_s
        while self._wishes.listen_s and not self._ended.wait(TICK):
            lonely = [
                topic
                for topic, publisher in self._publishers.items()
                if not publisher.get_subscription_count()
            ]
            if not lonely:
                return
            if time.monotonic() > end:
                raise TimeoutError(
                    f'nobody listened to {", ".join(lonely)} within {self._wishes.listen_s:g} s'
                )

    def _timed(self) -> Iterator[RawMessage]:
        """The messages, each when its time has come."""
        zero = (self._bag.start_ns or 0) + round(self._wishes.start_s * 1e9)
        start = zero if self._wishes.start_s else None
        began: float | None = None
        for raw in prefetch(self._messages(start), AHEAD):
            now = time.monotonic()
            if began is None:
                began, zero = now, raw.stamp_ns
            due = began + (raw.stamp_ns - zero) / 1e9 / self._wishes.rate
            while (rest := due - now) > 0 and not self._ended.is_set():
                self._say_time(zero + round((now - began) * self._wishes.rate * 1e9))
                self._ended.wait(min(rest, TICK) if self._clock else rest)
                now = time.monotonic()
            if self._ended.is_set():
                return
            self._say_time(raw.stamp_ns)
            yield raw

    def _messages(self, start_ns: int | None) -> Iterator[RawMessage]:
        end = self._wishes.end_s
        stop_ns = None if end is None else (self._bag.start_ns or 0) + round(end * 1e9)
        for raw in self._bag.messages(list(self._publishers), start_ns, stop_ns):
            yield raw._replace(data=to_cdr(raw)[1])

    def _say_time(self, now_ns: int) -> None:
        if self._clock is not None:
            self._tick.clock.sec, self._tick.clock.nanosec = divmod(now_ns, 10**9)
            self._clock.publish(self._tick)


def _publishers(node: Any, bag: Bag, topics: Collection[str]) -> dict[str, Publisher]:
    made = {}
    for name in topics:
        kind = bag.topics[name].msgtype
        try:
            message = find(kind)
        except ImportError as error:
            cure = missing_packages.packages(
                [kind.partition('/')[0]], os.environ.get('ROS_DISTRO', '$ROS_DISTRO')
            )
            node.get_logger().warning(
                f'{name} is not played: {error}. The definition in the bag is not enough, rclpy '
                f'publishes what has a package in this ROS: {cure}'
            )
            continue
        qos = QoSProfile(depth=10)
        if name in LATCHED:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        made[name] = node.create_publisher(message, name, qos)
    return made


def _let_arrive(publisher: Publisher) -> None:
    wait: Callable[..., Any] | None = getattr(publisher, 'wait_for_all_acked', None)
    if wait is not None:
        from rclpy.duration import Duration

        wait(Duration(seconds=1))


# Records topics into a bag, for machines without `ros2 bag`.


if TYPE_CHECKING:
    from pathlib import Path

# Messages are put into the file when there are so many bytes of them, or after so many seconds.
CHUNK, PERIOD = 1 << 20, 1.0
# How often topics are looked for that were not there.
LOOK = 0.2
# Messages that wait while the disk is busy.
DEPTH = 100


def record(
    out: Path,
    topics: Sequence[str],
    ended: threading.Event,
    seconds: float = 0.0,
    simulated: bool = False,
    compress: bool = True,
) -> dict[str, int]:
    """Record until somebody ends it.

    Args:
        out: the bag, ending in .mcap.
        topics: that are recorded, once they are there; none for all.
        ended: set when it is to end.
        seconds: after which it ends by itself; 0 for never.
        simulated: take the time from /clock.
        compress: the bag.

    Returns:
        Messages by topic.

    Raises:
        OSError: no room; what was recorded is readable.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with Writer(out, compress=compress) as writer:
            node = rclpy.create_node(
                'diception_record',
                parameter_overrides=[Parameter('use_sim_time', value=True)] if simulated else [],
            )
            recorder = _Recorder(node, writer, topics)
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            stop = time.monotonic() + (seconds or float('inf'))
            while not ended.is_set() and time.monotonic() < stop:
                executor.spin_once(timeout_sec=LOOK / 2)
                recorder.look_after()
            executor.shutdown()
            node.destroy_node()
            writer.finish()
        return recorder.counts
    finally:
        rclpy.try_shutdown()


class _Recorder:
    """Subscribes to topics as they come."""

    def __init__(self, node: Any, writer: Writer, topics: Sequence[str]) -> None:
        self._node, self._writer, self._topics = node, writer, topics
        self._known: dict[str, Any] = {}
        self._looked = self._flushed = 0.0
        self.counts: dict[str, int] = {}

    def look_after(self) -> None:
        """Find topics, and put messages into the file, when it is time."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self._look()
        if self._writer.waiting >= CHUNK or (
            self._writer.waiting and now - self._flushed >= PERIOD
        ):
            self._writer.flush()
            self._flushed = now

    def _look(self) -> None:
        for name, kinds in self._node.get_topic_names_and_types():
            if name in self._known or (self._topics and name not in self._topics):
                continue
            publishers = self._node.get_publishers_info_by_topic(name)
            if not publishers:
                continue
            kind = kinds[0]
            if len(kinds) > 1 or kind not in TYPES.types:
                reason = f'{len(kinds)} types' if len(kinds) > 1 else f'no definition of {kind}'
                self._node.get_logger().warning(f'{name} is not recorded: {reason}')
                self._known[name] = None
                continue
            qos = [one.qos_profile for one in publishers]
            latched = all(one.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in qos)
            reliable = all(one.reliability == ReliabilityPolicy.RELIABLE for one in qos)
            profile = QoSProfile(
                depth=DEPTH,
                reliability=ReliabilityPolicy.RELIABLE
                if reliable
                else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL
                if latched
                else DurabilityPolicy.VOLATILE,
            )
            self._writer.add(name, kind, definition_of(TYPES, kind), latched)
            self.counts[name] = 0
            self._known[name] = self._node.create_subscription(
                find(kind), name, lambda data, topic=name: self._take(topic, data), profile,
                raw=True,
            )  # fmt: skip
            self._node.get_logger().info(f'recording {name}')

    def _take(self, topic: str, data: bytes) -> None:
        self._writer.write(topic, data, self._node.get_clock().now().nanoseconds)
        self.counts[topic] += 1
