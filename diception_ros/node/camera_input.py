# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of one camera (images, CameraInfo, depth references, prompts), and to /tf.

Callbacks only store what they receive.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import functools
import threading
import time
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from std_srvs.srv import Trigger

from diception_ros.core.prompt import Point, PromptPoints, point_at
from diception_ros.messages import base, poses
from diception_ros.messages.synchronizer import (
    FIRST_INFO_S,
    NEXT_INFO_S,
    REFERENCE_CAPACITY,
    CameraInfoCache,
    MessageCache,
)
from diception_ros.node import publishers
from diception_ros.node.diagnostics import Log, Publisher, Subscribed
from diception_ros.node.publishers import find
from diception_ros.node.settings import NodeSettings
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system import ros_environment

try:
    from rclpy.event_handler import UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import UnsupportedEventTypeError  # type: ignore[no-redef]

# Images that the middleware holds for the policy `all` while a callback is late.
LATE = 10
# Seconds for the executor to wake and look for events; an image at 30 Hz comes after 33 ms.
EVENTS_S = 0.01
# Messages of other topics that it holds; a few of each may arrive at once.
SMALL = 10
# Messages of /tf and of /tf_static that it holds, as of tf2's listener.
TRANSFORM_DEPTH = 100
MSGTYPES = {
    ('image', 'raw'): 'sensor_msgs/msg/Image',
    ('image', 'compressed'): 'sensor_msgs/msg/CompressedImage',
    ('depth_reference', 'image'): 'sensor_msgs/msg/Image',
    ('depth_reference', 'compressed'): 'sensor_msgs/msg/CompressedImage',
    ('depth_reference', 'cloud'): 'sensor_msgs/msg/PointCloud2',
}


class ImageGate(CallbackGroup):  # type: ignore[misc]
    """Lets the executor take images only while `accepts` returns true.

    Events of the subscription (lost images, incompatible QoS) are behind it, too: Fast DDS ends a
    wait for the events of a subscription at once while it holds an image, so an executor that
    waits for events alone would spin.
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
        """Nothing excludes anything else here."""
        return True

    def ending_execution(self, entity: Any) -> None:
        """Nothing to do."""


class SequenceNumbers:
    """Counts the images that the middleware dropped, by the numbers of each publisher.

    A subscription that keeps one message drops those that a newer one replaces without a report.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}
        self._lost = 0

    def skipped(self, publisher: bytes, number: int, lost: int) -> int | None:
        """Number of images between this one and the last of its publisher that were replaced.

        None if a later image of the publisher was received before. `lost` is the number of images
        that the middleware reports as lost on the way so far.
        """
        last = self._last.get(publisher, number - 1)
        if number <= last:
            return None
        self._last[publisher] = number
        missing = number - last - 1
        on_the_way = min(missing, lost - self._lost)
        self._lost += on_the_way
        return missing - on_the_way


class CameraInput:
    """Subscriptions of one camera, and what they received.

    Args:
        node: that owns the subscriptions.
        name: of the camera, '' for a single one.
        settings: transports of images and depth references.
        put: called with each image message, and the number of images before it that the
            middleware replaced.
        accepts: whether to take images from the middleware now.
        mismatch: called with topic and policy if a publisher's QoS does not fit.

    Attributes:
        name: of the camera.
        prefix: of its topics, '' or 'front/'.
        topic: full name of the topic of images.
        camera_infos: the last CameraInfos.
        points: prompt.
        references: the last depth references, as messages.
        lost: images that the middleware reports as lost.
        frame_id: of the last processed image, None before.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        settings: NodeSettings,
        put: Callable[[Any, int], None],
        accepts: Callable[[], bool],
        mismatch: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.prefix = f'{name}/' if name else ''
        self.camera_infos = CameraInfoCache()
        self.points = PromptPoints()
        self.references: MessageCache[Any] = MessageCache(REFERENCE_CAPACITY)
        self.lost = 0
        self.frame_id: str | None = None
        self._node, self._put, self._mismatch = node, put, mismatch
        self._settings = settings
        self._images: Subscription | None = None
        self._numbers = SequenceNumbers()
        # Without numbers of publishers every image is taken, for they could not be counted.
        self._numbered = False
        self._gate = ImageGate(lambda: not self._numbered or accepts())
        self._taking = threading.Lock()
        self._info: Subscription | None = None
        self._depths: Subscription | None = None
        compressed = '/compressed' if settings.image_transport == 'compressed' else ''
        self._image = f'{self.prefix}image{compressed}'
        self.topic = node.resolve_topic_name(self._image)
        self._info_topic = node.resolve_topic_name(f'{self.prefix}camera_info')
        self._prompting = [
            node.create_subscription(
                find('geometry_msgs/msg/Point'), f'~/{self.prefix}prompt/click', self._click, SMALL
            ),
            node.create_subscription(
                find('geometry_msgs/msg/PointStamped'),
                f'~/{self.prefix}prompt/point',
                self._point,
                SMALL,
            ),
        ]
        self._clear = node.create_service(
            Trigger, f'~/{self.prefix}prompt/clear', self._clear_points
        )

    def open(self, frames: int, aligned: bool) -> None:
        """Subscribe to images and CameraInfo, and to depth references if `aligned`.

        `frames` is the number of images that the middleware holds while a callback is late.
        """
        self.lost = 0
        self._numbers, self._numbered = SequenceNumbers(), False
        self._info = self._subscribe(
            'sensor_msgs/msg/CameraInfo',
            f'{self.prefix}camera_info',
            self.camera_infos.add_info,
            SMALL,
        )
        self.subscribe_reference(aligned)
        msgtype = MSGTYPES['image', self._settings.image_transport]
        # rclpy passes a description of the message, too, to what takes two arguments, if it can.
        receive = self._receive if hasattr(Subscription, 'CallbackType') else self._receive_alone
        self._images = self._subscribe(
            msgtype, self._image, receive, min(frames, LATE), self._on_lost, self._gate
        )

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
        # None: `pull` took a newer one while this one was on its way through the executor, and
        # counted it.
        if skipped is not None:
            self._put(message, skipped)

    def pull(self) -> None:
        """Take the images that the middleware holds; from any thread."""
        images = self._images
        if images is None or not self._numbered:
            return
        from rclpy.exceptions import InvalidHandle  # Kilted and newer, as are the numbers

        # Destroyed meanwhile, it has no more images.
        with self._taking, contextlib.suppress(InvalidHandle), images.handle:
            while (taken := images.handle.take_message(images.msg_type, False)) is not None:
                self._count(*taken)
            self._gate.look_for_events()

    def subscribe_reference(self, aligned: bool) -> None:
        """Subscribe to depth references, or unsubscribe."""
        if aligned and self._depths is None:
            kind = MSGTYPES['depth_reference', self._settings.depth_reference]
            compressed = self._settings.depth_reference == 'compressed'
            topic = f'{self.prefix}depth_reference{"/compressedDepth" if compressed else ""}'
            self._depths = self._subscribe(kind, topic, self._add_reference, SMALL)
        elif not aligned and self._depths is not None:
            self._node.destroy_subscription(self._depths)
            self._depths = None

    def close(self) -> None:
        """Unsubscribe from images, CameraInfo and references."""
        self.pull()  # to count them
        self.subscribe_reference(False)
        for subscription in (self._images, self._info):
            if subscription is not None:
                self._node.destroy_subscription(subscription)
        self._images = self._info = None

    def destroy(self) -> None:
        """Unsubscribe from everything."""
        self.close()
        for subscription in self._prompting:
            self._node.destroy_subscription(subscription)
        self._node.destroy_service(self._clear)

    def info_of(self, message: Any) -> tuple[Any | None, str]:
        """The CameraInfo of an image, and how it was found; see `CameraInfoCache.match`.

        Waits for it as `messages.synchronizer` says; for the first one only if its topic has a
        publisher.

        Raises:
            MessageError: the stamp of the image is before the epoch.
        """
        stamp_ns = base.stamp_ns(message.header)
        if not self.camera_infos.awaited and self._node.count_publishers(self._info_topic):
            self.camera_infos.await_first(FIRST_INFO_S)
        self.camera_infos.await_stamp(stamp_ns, NEXT_INFO_S)
        return self.camera_infos.match(message)

    def clear(self) -> None:
        """Drop what is matched by stamps, after a jump of time."""
        self.camera_infos.clear()
        self.references.clear()

    def subscribed(self, fix_hint: str) -> Subscribed:
        """The subscription to images, for the watchdog, and what to do against lost images."""
        images = self._images
        reliable = images is not None and (
            images.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        )
        kind = MSGTYPES['image', self._settings.image_transport]
        return Subscribed(self.topic, self._image, kind, reliable, fix_hint)

    def publishers(self, topic: str) -> list[Publisher]:
        """Publishers of a topic."""
        return [
            Publisher(
                f'{item.node_namespace.rstrip("/")}/{item.node_name}',
                str(item.topic_type),
                item.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
            )
            for item in self._node.get_publishers_info_by_topic(topic)
        ]

    def elsewhere(self) -> list[str]:
        """Other topics with images of the expected type from other nodes."""
        kind, node = MSGTYPES['image', self._settings.image_transport], self._node
        ours = f'{node.get_fully_qualified_name()}/'
        return sorted(
            name
            for name, kinds in node.get_topic_names_and_types()
            if kind in kinds and not name.startswith(ours) and node.count_publishers(name)
        )

    def _subscribe(
        self,
        kind: str,
        topic: str,
        callback: Callable[..., None],
        depth: int,
        lost: Callable[[int], None] | None = None,
        group: CallbackGroup | None = None,
    ) -> Subscription:
        name = self._node.resolve_topic_name(topic)
        callbacks = publishers.of_subscription(lambda policy: self._mismatch(name, policy), lost)
        more: dict[str, Any] = {
            'qos_profile': QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            'qos_overriding_options': QoSOverridingOptions.with_default_policies(),
            'callback_group': group,
        }
        try:
            return self._node.create_subscription(
                find(kind), topic, callback, event_callbacks=callbacks, **more
            )
        except UnsupportedEventTypeError:  # a middleware that does not report lost messages
            callbacks.message_lost = None
            return self._node.create_subscription(
                find(kind), topic, callback, event_callbacks=callbacks, **more
            )

    def _on_lost(self, count: int) -> None:
        self.lost = count

    def _add_reference(self, message: Any) -> None:
        if message.header.stamp.sec >= 0:  # no frame has a stamp before the epoch
            self.references.add(base.stamp_ns(message.header), message)

    def _click(self, message: Any) -> None:
        self._add(lambda: Point(message.x, message.y))

    def _point(self, message: Any) -> None:
        frame, position = message.header.frame_id, message.point

        def find_pixel() -> Point:
            if frame and self.frame_id is not None and frame != self.frame_id:
                raise ValueError(
                    f'point in frame {frame!r} is refused; expected one in the frame of the '
                    f'images, {self.frame_id!r}'
                )
            return point_at((position.x, position.y, position.z), self.camera_infos.intrinsics())

        self._add(find_pixel)

    def _add(self, point: Callable[[], Point]) -> None:
        try:
            count = self.points.add(point())
        except ValueError as error:
            self._node.get_logger().warning(f'{self.prefix}prompt: {error}')
        else:
            self._node.get_logger().info(f'{self.prefix}prompt: {count} of 5 points')

    def _clear_points(self, request: Any, response: Any) -> Any:
        count = self.points.clear()
        response.success, response.message = True, f'{count} points removed'
        return response


class TransformInput:
    """Subscriptions to /tf and /tf_static, which exist while the direction of gravity is of use.

    Args:
        node: that owns them.
        log: of the node.
    """

    def __init__(self, node: Node, log: Log) -> None:
        self._node, self._log, self._buffer = node, log, poses.TransformBuffer()
        self._topics = {
            topic: node.resolve_topic_name(topic) for topic in (poses.TF_STATIC, poses.TF)
        }
        self._subscriptions: list[Subscription] = []
        self._first = True

    def subscribe(self, settings: PerceptionSettings) -> None:
        """Subscribe, or unsubscribe, as settings need it."""
        points = settings.points
        known = points.direction is not None or not points.gravity_frame
        if settings.depth.metric == 'off' or known:
            self.close()
        elif not self._subscriptions:
            try:
                kind = find(poses.TRANSFORMS)
            except ImportError:
                distro = ros_environment.distro() or 'rolling'
                self._log.info_once(
                    'tf2_msgs',
                    'tf2_msgs is not installed, so gravity is not read from /tf; it is in the '
                    f'package ros-{distro}-tf2-msgs',
                )
                return
            self._first = True
            for topic in self._topics:
                static = topic == poses.TF_STATIC
                qos = QoSProfile(
                    depth=TRANSFORM_DEPTH,
                    reliability=ReliabilityPolicy.RELIABLE if static
                    else ReliabilityPolicy.BEST_EFFORT,
                    durability=DurabilityPolicy.TRANSIENT_LOCAL if static
                    else DurabilityPolicy.VOLATILE,
                )  # fmt: skip
                add = functools.partial(self._buffer.add, static=static)
                self._subscriptions.append(self._node.create_subscription(kind, topic, add, qos))

    def close(self) -> None:
        """Unsubscribe."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def clear(self) -> None:
        """Drop the transforms that have a time, after a jump of time."""
        self._buffer.clear()

    def gravity(
        self, frame_id: str, level_frame: str, stamp_ns: int
    ) -> tuple[float, float, float] | None:
        """See `TransformBuffer.gravity`; waits for transforms as for a CameraInfo."""
        if not any(map(self._node.count_publishers, self._topics.values())):
            return None
        wait_s, self._first = FIRST_INFO_S if self._first else NEXT_INFO_S, False
        return self._buffer.gravity(frame_id, level_frame, stamp_ns, wait_s)
