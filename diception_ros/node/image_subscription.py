# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Subscription to the images of one camera: when they are taken, and how many were dropped.

Where the queue keeps the newest frame, images stay in the middleware until the worker is ready for
one, so that those that a newer one replaces are never deserialized.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import threading
import time
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from diception_ros.node import publishers
from diception_ros.node.publishers import find

try:
    from rclpy.event_handler import UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import UnsupportedEventTypeError  # type: ignore[no-redef]

# Most images that the middleware holds for the policy `all` while a callback is late.
MAX_HELD_IMAGES = 10
# Seconds for the executor to wake and look for events; an image at 30 Hz comes after 33 ms.
EVENTS_S = 0.01
IMAGE_TYPES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}


def subscribe(
    node: Node,
    kind: str,
    topic: str,
    callback: Callable[..., None],
    depth: int,
    mismatch: Callable[[str, str], None],
    lost: Callable[[int], None] | None = None,
    group: CallbackGroup | None = None,
) -> Subscription:
    """Subscribe best effort, with QoS that parameters may override.

    Args:
        node: that owns the subscription.
        kind: message type, such as 'sensor_msgs/msg/Image'.
        topic: its name, relative to the node.
        callback: of messages.
        depth: messages that the middleware holds.
        mismatch: called with topic and policy if a publisher's QoS does not fit.
        lost: called with the number of messages that were lost since the subscription began.
        group: callback group; None: that of the node.
    """
    name = node.resolve_topic_name(topic)
    callbacks = publishers.of_subscription(lambda policy: mismatch(name, policy), lost)
    more: dict[str, Any] = {
        'qos_profile': QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
        'qos_overriding_options': publishers.qos_overrides(),
        'callback_group': group,
    }
    try:
        return node.create_subscription(
            find(kind), topic, callback, event_callbacks=callbacks, **more
        )
    except UnsupportedEventTypeError:  # a middleware that does not report lost messages
        callbacks.message_lost = None
        return node.create_subscription(
            find(kind), topic, callback, event_callbacks=callbacks, **more
        )


class ImageGate(CallbackGroup):  # type: ignore[misc]
    """Lets the executor take images only while `accepts` returns true.

    The gate also holds back events of the subscription (lost images, incompatible QoS): Fast DDS
    ends a wait for the events of a subscription at once while it holds an image, so an executor
    that waits for events alone would spin.
    """

    def __init__(self, accepts: Callable[[], bool]) -> None:
        super().__init__()
        self._accepts = accepts
        self._events_until = 0.0

    def look_for_events(self) -> None:
        """Let the executor look for events once; call it when no image is held."""
        self._events_until = time.monotonic() + EVENTS_S

    def can_execute(self, entity: Any) -> bool:
        """Whether the executor may wait for an entity of this group."""
        if not isinstance(entity, Subscription) and time.monotonic() < self._events_until:
            return True
        return self._accepts()

    def beginning_execution(self, entity: Any) -> bool:
        """Returns true: entities of this group do not exclude each other."""
        return True

    def ending_execution(self, entity: Any) -> None:
        """Does nothing."""


class SequenceNumbers:
    """Counts the images that the middleware dropped, by the sequence numbers of each publisher.

    A subscription that keeps one message drops those that a newer one replaces without a report.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}
        self._lost = 0

    def skipped(self, publisher: bytes, number: int, lost: int) -> int | None:
        """Number of images that were replaced between the publisher's previous one and this one.

        None if a later image of the publisher was received before. `lost` is the number of images
        that the middleware has reported as lost in transport so far.
        """
        last = self._last.get(publisher, number - 1)
        if number <= last:
            return None
        self._last[publisher] = number
        missing = number - last - 1
        lost_now = min(missing, lost - self._lost)
        self._lost += lost_now
        return missing - lost_now


class ImageSubscription:
    """Receives the images of one camera while it is open.

    Args:
        node: that owns the subscription.
        topic: name of the image topic, relative to the node.
        transport: 'raw' or 'compressed'.
        put: called with each image message, and the number of images before it that the
            middleware replaced.
        accepts: whether to take images from the middleware now.
        mismatch: called with topic and policy if a publisher's QoS does not fit.

    Attributes:
        topic: name of the topic, relative to the node.
        kind: message type.
        lost: images that the middleware reports as lost in transport.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        transport: str,
        put: Callable[[Any, int], None],
        accepts: Callable[[], bool],
        mismatch: Callable[[str, str], None],
    ) -> None:
        self.topic, self.kind = topic, IMAGE_TYPES[transport]
        self.lost = 0
        self._node, self._put, self._mismatch = node, put, mismatch
        self._subscription: Subscription | None = None
        self._numbers = SequenceNumbers()
        # Images without sequence numbers are all taken, since dropped ones could not be counted.
        self._numbered = False
        self._gate = ImageGate(lambda: not self._numbered or accepts())
        self._taking = threading.Lock()

    @property
    def reliable(self) -> bool:
        """Whether lost images are sent again; false while closed."""
        subscription = self._subscription
        return subscription is not None and (
            subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        )

    def open(self, frames: int) -> None:
        """Subscribe.

        Args:
            frames: images that the middleware holds while a callback is late.
        """
        self.lost = 0
        self._numbers, self._numbered = SequenceNumbers(), False
        # An rclpy with CallbackType also passes a description of the message to callbacks with two
        # arguments.
        receive = self._receive if hasattr(Subscription, 'CallbackType') else self._receive_alone
        self._subscription = subscribe(
            self._node, self.kind, self.topic, receive, min(frames, MAX_HELD_IMAGES),
            self._mismatch, self._on_lost, self._gate,
        )  # fmt: skip

    def close(self) -> None:
        """Count the images that the middleware still holds, and unsubscribe."""
        self.pull()
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = None

    def pull(self) -> None:
        """Take the images that the middleware holds; from any thread."""
        subscription = self._subscription
        if subscription is None or not self._numbered:
            return
        from rclpy.exceptions import InvalidHandle  # Kilted and newer, as are sequence numbers

        # A subscription that was destroyed meanwhile has no more images.
        with self._taking, contextlib.suppress(InvalidHandle), subscription.handle:
            handle, msg_type = subscription.handle, subscription.msg_type
            while (received := handle.take_message(msg_type, False)) is not None:
                self._count(*received)
            self._gate.look_for_events()

    def _receive(self, message: Any, message_info: Any) -> None:
        with self._taking:
            self._count(message, message_info)

    def _receive_alone(self, message: Any) -> None:
        self._receive(message, {})

    def _count(self, message: Any, message_info: Any) -> None:
        publisher = message_info.get('publisher_gid')  # rclpy of Kilted and newer has it
        number = message_info.get('publication_sequence_number')
        self._numbered = bool(publisher and number)
        skipped: int | None = 0
        if self._numbered:
            skipped = self._numbers.skipped(publisher['data'], number, self.lost)
        # None: `pull` took and counted a newer image while this one was in the executor.
        if skipped is not None:
            self._put(message, skipped)

    def _on_lost(self, count: int) -> None:
        self.lost = count
