# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The topics that one camera's pictures, and what people say about them, come in on.

Callbacks only put away what came.
"""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from std_srvs.srv import Trigger

from diception_ros.core.frame import Intrinsics
from diception_ros.core.prompt import MAX_POINTS, Point, Prompt
from diception_ros.messages import base
from diception_ros.messages.synchronizer import (
    FIRST_INFO_S,
    NEXT_INFO_S,
    REFERENCE_CAPACITY,
    CameraInfoCache,
    MessageCache,
)
from diception_ros.node import publishers
from diception_ros.node.publishers import find
from diception_ros.node.settings import NodeSettings
from diception_ros.node.watchdog import Publisher, Subscribed

# The points that people clicked in the pictures of one camera; knows no ROS.


class Points:
    """At most five points, which stay until they are cleared. May be shared between threads."""

    def __init__(self) -> None:
        self._points: tuple[Point, ...] = ()
        self._size: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def add(self, point: Point) -> int:
        """Add a point and say how many there are.

        Raises:
            ValueError: it lies outside of the pictures, none has come yet, or five are there.
        """
        with self._lock:
            if self._size is None:
                raise ValueError(f'{point} is refused: no picture has come yet to point at')
            if len(self._points) == MAX_POINTS:
                raise ValueError(
                    f'{point} is refused: the model takes at most {MAX_POINTS} points and has '
                    f'them; clear them first (service ~/prompt/clear)'
                )
            Prompt('any', points=(point,)).check_inside(self._size)
            self._points = (*self._points, point)
            return len(self._points)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._points)

    def clear(self) -> int:
        """Remove all points and say how many there were."""
        with self._lock:
            count, self._points = len(self._points), ()
            return count

    def of(self, size: tuple[int, int]) -> tuple[tuple[Point, ...], int]:
        """The points for a picture of this size (H, W), and how many were removed.

        Points were clicked in pictures of the last size. In those of another size they mean
        something else, so they are removed.
        """
        with self._lock:
            removed = 0
            if self._size != size:
                removed, self._points = len(self._points), ()
                self._size = size
            return self._points, removed


def words(text: str) -> tuple[str, ...]:
    """'chair, traffic light' -> ('chair', 'traffic light')."""
    parts = (part.strip() for part in text.split(','))
    return tuple(dict.fromkeys(part for part in parts if part))


def pixel(position: tuple[float, float, float], intrinsics: Intrinsics | None) -> Point:
    """The pixel that a geometry_msgs/PointStamped in a camera's frame means.

    Args:
        position: x, y in pixels and z 0, as image viewers publish it; or metres in the camera
            optical frame, as 3D viewers do.
        intrinsics: pinhole of the pictures; only points in space need it.

    Raises:
        ValueError: a point in space that lies behind the camera, or without a pinhole.
    """
    x, y, z = position
    if z == 0:
        return Point(x, y)
    if not z > 0:
        raise ValueError(f'point ({x}, {y}, {z}) m is refused: it is not in front of the camera')
    if intrinsics is None:
        raise ValueError(
            f'point ({x}, {y}, {z}) m is refused: no calibrated CameraInfo has come yet to '
            'project it; for a pixel let z be 0'
        )
    return Point(
        intrinsics.fx * x / z + intrinsics.cx,
        intrinsics.fy * y / z + intrinsics.cy,
    )


try:
    from rclpy.event_handler import UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import UnsupportedEventTypeError  # type: ignore[no-redef]

# Frames that the middleware keeps for the policy `all` while a callback is late.
LATE = 10
# Small messages: a few of each may come at once.
SMALL = 10
KINDS = {
    ('image', 'raw'): 'sensor_msgs/msg/Image',
    ('image', 'compressed'): 'sensor_msgs/msg/CompressedImage',
    ('depth_reference', 'image'): 'sensor_msgs/msg/Image',
    ('depth_reference', 'compressed'): 'sensor_msgs/msg/CompressedImage',
    ('depth_reference', 'cloud'): 'sensor_msgs/msg/PointCloud2',
}


class Camera:
    """What comes in from one camera.

    Args:
        node: whose subscriptions they are.
        name: of the camera, '' where there is only one.
        settings: where pictures come from.
        put: takes each image message.
        mismatch: told topic and policy when somebody publishes in a way that is not understood.

    Attributes:
        name: of the camera.
        prefix: of its topics, '' or 'front/'.
        topic: full name of the topic of the pictures.
        infos: the last CameraInfos.
        points: clicked so far.
        references: the last depth references, as messages.
        lost: pictures that the middleware says it lost.
        frame_id: of the last picture that was answered, None before.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        settings: NodeSettings,
        put: Callable[[Any], None],
        mismatch: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.prefix = f'{name}/' if name else ''
        self.infos = CameraInfoCache()
        self.points = Points()
        self.references: MessageCache[Any] = MessageCache(REFERENCE_CAPACITY)
        self.lost = 0
        self.frame_id: str | None = None
        self._node, self._put, self._mismatch = node, put, mismatch
        self._settings = settings
        self._pictures: Subscription | None = None
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
        """Let pictures in.

        Args:
            frames: that the middleware keeps while a callback is late.
            aligned: whether depth references are wanted.
        """
        kind, info = KINDS['image', self._settings.image_transport], 'sensor_msgs/msg/CameraInfo'
        self.lost = 0
        self._info = self._listen(info, f'{self.prefix}camera_info', self.infos.add_info, SMALL)
        self.refer(aligned)
        self._pictures = self._listen(kind, self._image, self._put, min(frames, LATE), self._lose)

    def refer(self, aligned: bool) -> None:
        """Let depth references in, or no longer."""
        if aligned and self._depths is None:
            kind = KINDS['depth_reference', self._settings.depth_reference]
            compressed = self._settings.depth_reference == 'compressed'
            topic = f'{self.prefix}depth_reference{"/compressedDepth" if compressed else ""}'
            self._depths = self._listen(kind, topic, self._refer, SMALL)
        elif not aligned and self._depths is not None:
            self._node.destroy_subscription(self._depths)
            self._depths = None

    def close(self) -> None:
        """Let no pictures in."""
        self.refer(False)
        for subscription in (self._pictures, self._info):
            if subscription is not None:
                self._node.destroy_subscription(subscription)
        self._pictures = self._info = None

    def destroy(self) -> None:
        """Let nothing in any more."""
        self.close()
        for subscription in self._prompting:
            self._node.destroy_subscription(subscription)
        self._node.destroy_service(self._clear)

    def info_of(self, message: Any) -> tuple[Any | None, str]:
        """The CameraInfo of an image, and how it was found; see `CameraInfoCache.match`.

        Waits for it as the documentation of the synchronizer says, the first time only if somebody
        publishes CameraInfo.

        Raises:
            MessageError: the stamp of the image is before the epoch.
        """
        stamp_ns = base.stamp_ns(message.header)
        if not self.infos.awaited and self._node.count_publishers(self._info_topic):
            self.infos.await_first(FIRST_INFO_S)
        self.infos.await_stamp(stamp_ns, NEXT_INFO_S)
        return self.infos.match(message)

    def forget(self) -> None:
        """Drop what is matched by stamps, after a jump of time."""
        self.infos.clear()
        self.references.clear()

    def subscribed(self, fix_hint: str) -> Subscribed:
        """How pictures are listened to, for the watchdog.

        Args:
            fix_hint: what to do against lost images.
        """
        pictures = self._pictures
        reliable = pictures is not None and (
            pictures.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        )
        kind = KINDS['image', self._settings.image_transport]
        return Subscribed(self.topic, self._image, kind, reliable, fix_hint)

    def publishers(self, topic: str) -> list[Publisher]:
        """Who publishes on a topic."""
        return [
            Publisher(
                f'{one.node_namespace.rstrip("/")}/{one.node_name}',
                str(one.topic_type),
                one.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
            )
            for one in self._node.get_publishers_info_by_topic(topic)
        ]

    def elsewhere(self) -> list[str]:
        """Other topics on which somebody else publishes pictures of the kind that is expected."""
        kind, node = KINDS['image', self._settings.image_transport], self._node
        ours = f'{node.get_fully_qualified_name()}/'
        return sorted(
            name
            for name, kinds in node.get_topic_names_and_types()
            if kind in kinds and not name.startswith(ours) and node.count_publishers(name)
        )

    def _listen(
        self,
        kind: str,
        topic: str,
        callback: Callable[[Any], None],
        depth: int,
        lost: Callable[[int], None] | None = None,
    ) -> Subscription:
        name = self._node.resolve_topic_name(topic)
        callbacks = publishers.of_subscription(lambda policy: self._mismatch(name, policy), lost)
        more: dict[str, Any] = {
            'qos_profile': QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            'qos_overriding_options': QoSOverridingOptions.with_default_policies(),
        }
        try:
            return self._node.create_subscription(
                find(kind), topic, callback, event_callbacks=callbacks, **more
            )
        except UnsupportedEventTypeError:  # a middleware that does not tell what it lost
            callbacks.message_lost = None
            return self._node.create_subscription(
                find(kind), topic, callback, event_callbacks=callbacks, **more
            )

    def _lose(self, count: int) -> None:
        self.lost = count

    def _refer(self, message: Any) -> None:
        if message.header.stamp.sec >= 0:  # no frame has another stamp
            self.references.add(base.stamp_ns(message.header), message)

    def _click(self, message: Any) -> None:
        self._add(lambda: Point(message.x, message.y))

    def _point(self, message: Any) -> None:
        frame, position = message.header.frame_id, message.point

        def find_pixel() -> Point:
            if frame and self.frame_id is not None and frame != self.frame_id:
                raise ValueError(
                    f'point in frame {frame!r} is refused; expected one in the frame of the '
                    f'pictures, {self.frame_id!r}'
                )
            return pixel((position.x, position.y, position.z), self.infos.intrinsics())

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
