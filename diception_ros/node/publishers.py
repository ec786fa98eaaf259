# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publishers of the results of all cameras, their QoS events, and messages of rclpy."""

from __future__ import annotations

import array
from collections.abc import Callable, Collection, Iterable, Sequence
import functools
import importlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import (  # type: ignore[no-redef]
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
    )

if TYPE_CHECKING:
    from diception_ros.messages.outputs import Output


def of_subscription(
    mismatch: Callable[[str], None], lost: Callable[[int], None] | None
) -> SubscriptionEventCallbacks:
    """Callbacks of a subscription.

    `mismatch` gets the policy that a publisher does not offer, `lost` the number of messages lost
    since the subscription began.
    """
    return SubscriptionEventCallbacks(
        incompatible_qos=lambda event: mismatch(policy_of(event)),
        message_lost=None if lost is None else lambda event: lost(int(event.total_count)),
    )


def policy_of(event: Any) -> str:
    """Name of the policy of an event about incompatible QoS, such as 'RELIABILITY'."""
    return str(qos_policy_name_from_kind(event.last_policy_kind))


def qos_overrides() -> QoSOverridingOptions:
    """Let parameters override the policies that cameras differ in.

    Durability, too: some publish a CameraInfo once, transient local.
    """
    kinds = QoSPolicyKind
    return QoSOverridingOptions((kinds.HISTORY, kinds.DEPTH, kinds.RELIABILITY, kinds.DURABILITY))


class RosTypes:
    """Makes messages of the ROS installation; the counterpart of `bags.typestore.BagTypes`."""

    def make(self, kind: str, **fields: Any) -> Any:
        """See `messages.Types`; the numbers of an array field are copied.

        Raises:
            ImportError: there is no such message.
        """
        message = find(kind)()
        for name, value in fields.items():
            held = getattr(message, name)
            if isinstance(held, array.array) and isinstance(value, np.ndarray):
                # Into the message's own array: rclpy copies an assigned array once more, and
                # checks anything else number by number, 141 ms for 1280x720.
                flat = np.ascontiguousarray(value, held.typecode).reshape(-1)
                held.frombytes(flat.view(np.uint8).data)
            else:
                setattr(message, name, value)
        return message

    def has(self, kind: str) -> bool:
        """Whether this installation has the message type."""
        try:
            find(kind)
        except ImportError:
            return False
        return True


@functools.cache
def find(kind: str) -> Any:
    """The class of a kind such as 'sensor_msgs/msg/Image'.

    Raises:
        ImportError: the package is not installed or has no such message.
    """
    package, _, name = kind.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except AttributeError as error:
        raise ImportError(f'package {package} has no message {name}') from error


# A viewer that is slow for a moment still gets two frames; more would be stale.
QOS_DEPTH = 2


class Publishers:
    """The publishers; topics may change while the worker publishes.

    Args:
        node: whose they are.
        cameras: the prefix of a camera's private topics ('' or 'front/'), by its name.
        mismatch: called with topic and policy when a subscription's QoS cannot be served.
    """

    def __init__(
        self, node: Node, cameras: dict[str, str], mismatch: Callable[[str, str], None]
    ) -> None:
        self._node, self._prefixes, self._mismatch = node, cameras, mismatch
        self._made: dict[str, dict[str, Publisher]] = {camera: {} for camera in cameras}
        self._declared: list[Output] = []
        self._latched: dict[tuple[str, str], Any] = {}  # by camera and topic, what holds now
        self._lock = threading.Lock()

    def set_outputs(
        self, outputs: Sequence[Output], latched: Collection[tuple[str, Any]] = ()
    ) -> None:
        """Create publishers for these outputs of every camera, and destroy all others.

        Latched messages are published where they are not what a publisher published last.
        """
        outputs = list(dict.fromkeys(outputs))
        with self._lock:
            unchanged = {item for item in self._declared if item in outputs}
            for camera, made in self._made.items():
                for item in self._declared:
                    if item not in unchanged:
                        self._node.destroy_publisher(made.pop(item.topic))
                        self._latched.pop((camera, item.topic), None)
                for output in outputs:
                    if output not in unchanged:
                        made[output.topic] = self._make(self._prefixes[camera], output)
                for topic, message in latched:
                    if self._latched.get((camera, topic)) != message:
                        made[topic].publish(message)
                        self._latched[camera, topic] = message
            self._declared = outputs

    def close(self) -> None:
        """Destroy all publishers."""
        self.set_outputs([])

    def subscribed_topics(self, camera: str) -> frozenset[str]:
        """The relative names of a camera's topics with subscribers."""
        with self._lock:
            return frozenset(
                topic
                for topic, publisher in self._made[camera].items()
                if publisher.get_subscription_count()
            )

    def publish(self, camera: str, messages: Iterable[tuple[str, Any]]) -> None:
        """Publish what has a publisher; the tasks may have changed since it was computed."""
        for topic, message in messages:
            with self._lock:
                publisher = self._made[camera].get(topic)
                if publisher is not None:
                    publisher.publish(message)

    def names(self) -> list[str]:
        """Full names of all topics."""
        with self._lock:
            made = [publisher for some in self._made.values() for publisher in some.values()]
            return [str(publisher.topic_name) for publisher in made]

    def _make(self, prefix: str, output: Output) -> Publisher:
        topic = f'~/{prefix}{output.topic}'
        durability = (
            DurabilityPolicy.TRANSIENT_LOCAL if output.latched else DurabilityPolicy.VOLATILE
        )
        name = self._node.resolve_topic_name(topic)
        return self._node.create_publisher(
            find(output.kind),
            topic,
            QoSProfile(
                depth=1 if output.latched else QOS_DEPTH,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=durability,
            ),
            qos_overriding_options=qos_overrides(),
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=lambda event: self._mismatch(name, policy_of(event))
            ),
        )
