# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records topics into a bag, for machines without `ros2 bag`."""

from __future__ import annotations

from collections.abc import Sequence
import threading
import time
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from diception_ros.data.bag import TYPES
from diception_ros.replay.writer import Writer, definition_of
from diception_ros.ros.types import find

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
