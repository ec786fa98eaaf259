# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What belongs to a camera's images: CameraInfo, depth references, prompts; and transforms of /tf.

Callbacks only store what they receive; the worker matches it to an image by stamp.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from std_srvs.srv import Trigger

from diception_ros.core.prompt import Point, PromptPoints, point_at
from diception_ros.messages import frame_name, poses, stamp_of
from diception_ros.messages.synchronizer import (
    FIRST_INFO_S,
    NEXT_INFO_S,
    REFERENCE_CAPACITY,
    CameraInfoCache,
    MessageCache,
)
from diception_ros.node.diagnostics import Log, Publisher, Subscribed
from diception_ros.node.image_subscription import ImageSubscription, subscribe
from diception_ros.node.publishers import find
from diception_ros.node.settings import NodeSettings
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system import ros_environment

# QoS depth of topics other than images; a few messages of each may arrive at once.
SMALL_DEPTH = 10
# QoS depth of /tf and /tf_static, that of tf2's listener.
TRANSFORM_DEPTH = 100
REFERENCE_TYPES = {
    'image': 'sensor_msgs/msg/Image',
    'compressed': 'sensor_msgs/msg/CompressedImage',
    'cloud': 'sensor_msgs/msg/PointCloud2',
}


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
        images: the subscription to it.
        camera_infos: the last CameraInfos.
        points: prompt.
        references: the last depth references, as messages.
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
        self.frame_id: str | None = None
        transport = settings.image_transport
        compressed = '/compressed' if transport == 'compressed' else ''
        self.images = ImageSubscription(
            node, f'{self.prefix}image{compressed}', transport, put, accepts, mismatch
        )
        self.topic = node.resolve_topic_name(self.images.topic)
        self._node, self._mismatch, self._settings = node, mismatch, settings
        self._info: Subscription | None = None
        self._depths: Subscription | None = None
        self._info_topic = node.resolve_topic_name(f'{self.prefix}camera_info')
        self._prompting = [
            node.create_subscription(
                find('geometry_msgs/msg/Point'),
                f'~/{self.prefix}prompt/click',
                self._click,
                SMALL_DEPTH,
            ),
            node.create_subscription(
                find('geometry_msgs/msg/PointStamped'),
                f'~/{self.prefix}prompt/point',
                self._point,
                SMALL_DEPTH,
            ),
        ]
        self._clear = node.create_service(
            Trigger, f'~/{self.prefix}prompt/clear', self._clear_points
        )

    def open(self, frames: int, aligned: bool) -> None:
        """Subscribe to images and CameraInfo, and to depth references if `aligned`.

        `frames` is the number of images that the middleware holds while a callback is late.
        """
        self._info = self._subscribe(
            'sensor_msgs/msg/CameraInfo', 'camera_info', self.camera_infos.add_info
        )
        self.subscribe_reference(aligned)
        self.images.open(frames)

    def subscribe_reference(self, aligned: bool) -> None:
        """Subscribe to depth references, or unsubscribe."""
        if aligned and self._depths is None:
            transport = self._settings.depth_reference
            topic = f'depth_reference{"/compressedDepth" if transport == "compressed" else ""}'
            self._depths = self._subscribe(REFERENCE_TYPES[transport], topic, self._add_reference)
        elif not aligned and self._depths is not None:
            self._node.destroy_subscription(self._depths)
            self._depths = None

    def close(self) -> None:
        """Unsubscribe from images, CameraInfo and references."""
        self.images.close()
        self.subscribe_reference(False)
        if self._info is not None:
            self._node.destroy_subscription(self._info)
        self._info = None

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
        stamp_ns = stamp_of(message.header)
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
        images = self.images
        return Subscribed(self.topic, images.topic, images.kind, images.reliable, fix_hint)

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

    def other_image_topics(self) -> list[str]:
        """Other topics with images of the expected type from other nodes."""
        kind, node = self.images.kind, self._node
        ours = f'{node.get_fully_qualified_name()}/'
        return sorted(
            name
            for name, kinds in node.get_topic_names_and_types()
            if kind in kinds and not name.startswith(ours) and node.count_publishers(name)
        )

    def _subscribe(self, kind: str, topic: str, callback: Callable[[Any], None]) -> Subscription:
        return subscribe(
            self._node, kind, f'{self.prefix}{topic}', callback, SMALL_DEPTH, self._mismatch
        )

    def _add_reference(self, message: Any) -> None:
        if message.header.stamp.sec >= 0:  # no frame has a stamp before the epoch
            self.references.add(stamp_of(message.header), message)

    def _click(self, message: Any) -> None:
        self._add(lambda: Point(message.x, message.y))

    def _point(self, message: Any) -> None:
        frame, position = message.header.frame_id, message.point

        def find_pixel() -> Point:
            if frame and frame_name(self.frame_id or frame) != frame_name(frame):
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
