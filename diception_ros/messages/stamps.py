# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Headers: when and where."""

from __future__ import annotations

from typing import Any

from diception_ros.messages.error import MessageError
from diception_ros.messages.types import Types

NANO = 1_000_000_000


def stamp_ns(header: Any) -> int:
    """Nanoseconds since the epoch of a std_msgs/Header.

    Raises:
        MessageError: 'stamp': it is before the epoch.
    """
    seconds = int(header.stamp.sec)
    if seconds < 0:
        raise MessageError('stamp', f'header: expected a stamp >= 0, came {seconds} seconds')
    return seconds * NANO + int(header.stamp.nanosec)


def header(types: Types, stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header.

    Args:
        types: what makes the message.
        stamp_ns: nanoseconds since the epoch, >= 0.
        frame_id: name of the frame.
    """
    seconds, rest = divmod(stamp_ns, NANO)
    stamp = types.make('builtin_interfaces/msg/Time', sec=seconds, nanosec=rest)
    return types.make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)
