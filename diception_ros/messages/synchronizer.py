# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The CameraInfo that belongs to a picture. Knows no ROS."""

from __future__ import annotations

from collections import deque
import threading
from typing import Any, Generic, TypeVar

from diception_ros.messages import base, camera_info

# A camera publishes both within a fraction of a frame; more are kept for the policy `all`.
KEPT = 128
# Seconds that the first picture waits for the first CameraInfo, which drivers publish after it.
PATIENCE = 1.0


class Infos:
    """The last CameraInfos of one camera; may be shared between threads."""

    def __init__(self) -> None:
        self._kept: deque[Any] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._came = threading.Event()

    def add(self, info: Any) -> None:
        """Keep one more."""
        with self._lock:
            self._kept.append(info)
        self._came.set()

    @property
    def awaited(self) -> bool:
        """Whether the first has come or was given up."""
        return self._came.is_set()

    def await_first(self, seconds: float) -> None:
        """Wait until one has come, once: from then on nobody waits, come or not.

        Args:
            seconds: after which it is given up.
        """
        self._came.wait(seconds)
        self._came.set()

    def clear(self) -> None:
        """Forget all, after a jump of time."""
        with self._lock:
            self._kept.clear()
        self._came.clear()

    def of(self, message: Any) -> tuple[Any | None, str]:
        """The one for a picture, and how it was found.

        Args:
            message: sensor_msgs/Image or CompressedImage.

        Returns:
            The CameraInfo of the same stamp ('exact'), else the newest of the same frame and size
            ('latest'), since intrinsics seldom change; None where there is neither ('none').

        Raises:
            MessageError: the stamp is before the epoch.
        """
        header = message.header
        stamp = base.stamp_ns(header)
        # How big a compressed picture is shows when it is decoded.
        size = (message.height, message.width) if hasattr(message, 'height') else None
        with self._lock:
            kept = list(self._kept)
        latest = None
        for info in reversed(kept):
            if info.header.frame_id != header.frame_id:
                continue
            if info.header.stamp.sec >= 0 and base.stamp_ns(info.header) == stamp:
                return info, 'exact'
            if latest is None and size in (None, camera_info.picture_size(info)):
                latest = info
        return latest, 'none' if latest is None else 'latest'

    def intrinsics(self) -> Any | None:
        """The pinhole of the newest, None where there is none or it is not calibrated.

        Raises:
            MessageError: the newest is not usable.
        """
        with self._lock:
            newest = self._kept[-1] if self._kept else None
        return None if newest is None else camera_info.intrinsics_from(newest)


ItemT = TypeVar('ItemT')


class References(Generic[ItemT]):
    """The newest references, to be matched with frames by their stamps; safe between threads.

    Args:
        capacity: how many are kept; the oldest to have come makes room.
    """

    def __init__(self, capacity: int = 32) -> None:
        self._kept: deque[tuple[int, ItemT]] = deque(maxlen=capacity)
        self._lock = threading.Lock()

    def add(self, stamp_ns: int, item: ItemT) -> None:
        """Keep one more: a message or a Reference, whichever is cheaper to keep."""
        with self._lock:
            self._kept.append((stamp_ns, item))

    def match(self, stamp_ns: int, tolerance_s: float) -> ItemT | None:
        """The one whose stamp is nearest, the newest of equals; None beyond the tolerance."""
        with self._lock:
            kept = list(self._kept)
        if not kept:
            return None
        stamp, item = min(reversed(kept), key=lambda one: abs(one[0] - stamp_ns))
        return item if abs(stamp - stamp_ns) <= tolerance_s * 1e9 else None

    def clear(self) -> None:
        """Forget all, after a jump of time."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)
