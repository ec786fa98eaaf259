# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which CameraInfo, depth reference, label or pose belongs to an image, by stamp. Knows no ROS.

The node, replays, labelled bags and recorded rooms match messages by this rule:

* **CameraInfo** (`CameraInfoCache.match`): the one with the stamp of the image, whatever its size.
  Without one, among those with the frame_id of the image (a slash before it does not count) and
  its size, the one with the largest stamp before the image; without one, the one with the smallest
  stamp after it. Infos of another size are skipped. The size of a compressed image is not known
  before it is decoded, so it takes infos of every size.
* **Depth references, poses, ground truth** (`MessageCache.nearest`): the one with the nearest
  stamp within a tolerance; of two equally near ones the later one.
* **Labels, and what a simulation recorded** (`MessageCache.exact`): the one with the same stamp.

Among messages with the same stamp the last received one wins.

The rule looks at stamps, not at the order of arrival, so the same messages give the same result
live and replayed. What differs is for how long a late message is awaited. A replay waits
`bags.frames.PATIENCE_NS` of log time. The node waits `FIRST_INFO_S` for the first CameraInfo of a
camera, and then, as long as the infos come with the stamps of the images, `NEXT_INFO_S` for the
one of the image.
"""

from __future__ import annotations

from collections import deque
import operator
import threading
from typing import Any, Generic, TypeVar

from diception_ros.messages import camera_info, frame_name, quoted, stamp_of

# Messages kept by default: 4 s of a camera with 30 Hz, more than the queue of policy `all` holds.
CAPACITY = 128
# Depth references are large, and only those around the last images are needed.
REFERENCE_CAPACITY = 32
# Seconds that the first image waits for the first CameraInfo; drivers publish it after the image.
FIRST_INFO_S = 1.0
# Seconds that any other image waits for its CameraInfo. Drivers publish both within a millisecond;
# the limit bounds the delay when an info is lost.
NEXT_INFO_S = 0.1

ItemT = TypeVar('ItemT')


class MessageCache(Generic[ItemT]):
    """The last messages of one topic by stamp; safe between threads.

    Args:
        capacity: number of messages kept; the one received first is dropped. None keeps all.

    Attributes:
        newest_ns: largest stamp received, nanoseconds; -1 before the first message.
    """

    def __init__(self, capacity: int | None = CAPACITY) -> None:
        self.newest_ns = -1
        self._kept: deque[tuple[int, ItemT]] = deque(maxlen=capacity)
        self._changed = threading.Condition()

    def add(self, stamp_ns: int, item: ItemT) -> None:
        """Store one item under its stamp, nanoseconds."""
        with self._changed:
            self._kept.append((stamp_ns, item))
            self.newest_ns = max(self.newest_ns, stamp_ns)
            self._changed.notify_all()

    def exact(self, stamp_ns: int) -> ItemT | None:
        """The item with this stamp, None without one."""
        return next((item for stamp, item in self._snapshot() if stamp == stamp_ns), None)

    def nearest(self, stamp_ns: int, tolerance_ns: int) -> ItemT | None:
        """The item with the nearest stamp, None if it is further than the tolerance."""
        items = self._snapshot()
        if not items:
            return None
        stamp, item = min(items, key=lambda pair: (abs(pair[0] - stamp_ns), -pair[0]))
        return item if abs(stamp - stamp_ns) <= tolerance_ns else None

    def clear(self) -> None:
        """Drop all items, after a jump of time."""
        with self._changed:
            self._kept.clear()
            self.newest_ns = -1

    def __len__(self) -> int:
        return len(self._kept)

    def _snapshot(self) -> list[tuple[int, ItemT]]:
        """The items, the last received first."""
        with self._changed:
            return [*reversed(self._kept)]


class CameraInfoCache(MessageCache[Any]):
    """The last CameraInfos of one camera; safe between threads."""

    def __init__(self) -> None:
        super().__init__()
        self._received = threading.Event()
        self._in_step = False

    def add_info(self, info: Any) -> None:
        """Store a CameraInfo; a stamp before the epoch sorts before all others."""
        self.add(stamp_of(info.header) if info.header.stamp.sec >= 0 else -1, info)
        self._received.set()

    @property
    def awaited(self) -> bool:
        """Whether the first info was received or given up."""
        return self._received.is_set()

    def await_first(self, seconds: float) -> None:
        """Wait for the first info; returns at once if it was received or given up before."""
        self._received.wait(seconds)
        self._received.set()

    def await_stamp(self, stamp_ns: int, seconds: float) -> None:
        """Wait until an info with this stamp or a later one is received.

        Returns at once while the infos do not come with the stamps of the images: before the
        first match of equal stamps, and after a wait that ran out.
        """
        with self._changed:
            if self._in_step:
                self._in_step = self._changed.wait_for(
                    lambda: self.newest_ns >= stamp_ns or not self._kept, seconds
                )

    def clear(self) -> None:
        """Drop all infos, after a jump of time; the next image waits for the first one again."""
        super().clear()
        self._received.clear()
        self._in_step = False

    def match(self, message: Any) -> tuple[Any | None, str]:
        """The CameraInfo of a sensor_msgs/Image or CompressedImage, by the rule above.

        Returns:
            The CameraInfo, and how it was found: 'exact' (same stamp), 'latest' (another stamp)
            or 'none' (the CameraInfo is None).

        Raises:
            MessageError: the stamp of the image is before the epoch.
        """
        stamp_ns, frame_id = stamp_of(message.header), frame_name(message.header.frame_id)
        size = (message.height, message.width) if hasattr(message, 'height') else None
        stamped = [
            (stamp, info)
            for stamp, info in self._snapshot()
            if frame_name(info.header.frame_id) == frame_id
        ]
        for stamp, info in stamped:
            if stamp == stamp_ns:
                self._in_step = True
                return info, 'exact'
        fitting = [item for item in stamped if size in (None, camera_info.image_size(item[1]))]
        if not fitting:
            return None, 'none'
        earlier = [item for item in fitting if item[0] < stamp_ns]
        # max and min return the first of equals, which is the last received.
        by_stamp = operator.itemgetter(0)
        nearest = max(earlier, key=by_stamp) if earlier else min(fitting, key=by_stamp)
        return nearest[1], 'latest'

    def why_none(self, message: Any) -> str:
        """Why `match` finds no CameraInfo for an image, with advice; '' if none was received."""
        stamped, frame_id = self._snapshot(), message.header.frame_id
        if not stamped:
            return ''
        infos = [
            info for _, info in stamped if frame_name(info.header.frame_id) == frame_name(frame_id)
        ]
        if not infos:
            return (
                f'the frame_id of CameraInfo is {quoted(stamped[0][1].header.frame_id)}, that of '
                f'the image {quoted(frame_id)}; let the driver publish both with the same frame_id'
            )
        size = (message.height, message.width) if hasattr(message, 'height') else (0, 0)
        return camera_info.pinhole(infos[0], size)[1]

    def intrinsics(self) -> Any | None:
        """Pinhole of the last received info, None without one or if it is not calibrated.

        Raises:
            MessageError: the last received info is not usable.
        """
        stamped_infos = self._snapshot()
        return camera_info.intrinsics_from(stamped_infos[0][1]) if stamped_infos else None
