# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion between ROS messages and images, pinholes, clouds and labels.

The live node and bags share these functions: messages are read by their attributes and made by
`Types`, so no message library is imported here. A message that contradicts itself or cannot be
read raises `MessageError`. This file has what all messages have in common: types, errors, headers.
"""

from __future__ import annotations

from typing import Any, Protocol


class Types(Protocol):
    """Makes messages: `node.publishers.RosTypes` with rclpy, `bags.typestore.BagTypes` without."""

    def make(self, kind: str, **fields: Any) -> Any:
        """A message of a type such as 'sensor_msgs/msg/Image'.

        Args:
            kind: package and name.
            **fields: all its fields; numbers of an array field as a C-contiguous numpy array
                (`data` of an Image as (N,) uint8), a list of messages as a list.
        """
        ...

    def has(self, kind: str) -> bool:
        """Whether messages of the type can be made; vision_msgs may not be installed."""
        ...


# Characters of a text from outside in messages for the user.
LONGEST = 40


class MessageError(ValueError):
    """A message that contradicts itself or is not supported.

    Args:
        kind: type of fault, the same for every message with it, e.g. 'step' or
            "encoding 'yuv9'"; logged once and counted by it.
        reason: one sentence with the values of this message.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def quoted(text: object) -> str:
    """A text from outside in quotation marks, shortened for a log."""
    return repr(shortened(str(text), LONGEST))


def shortened(text: str, longest: int) -> str:
    """The first characters of a text, with ... for the others."""
    return text if len(text) <= longest else f'{text[:longest]}...'


NANO = 1_000_000_000


def frame_name(frame_id: object) -> str:
    """A frame_id as it is compared: as in tf2, without the slash that ROS 1 wrote before it."""
    return str(frame_id).removeprefix('/')


def stamp_of(header: Any) -> int:
    """Nanoseconds since the epoch of a std_msgs/Header.

    Raises:
        MessageError: 'stamp': it is before the epoch.
    """
    seconds = int(header.stamp.sec)
    if seconds < 0:
        raise MessageError('stamp', f'header: expected a stamp >= 0, got {seconds} seconds')
    return seconds * NANO + int(header.stamp.nanosec)


def make_header(types: Types, stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header of a stamp in nanoseconds since the epoch, >= 0."""
    seconds, rest = divmod(stamp_ns, NANO)
    stamp = types.make('builtin_interfaces/msg/Time', sec=seconds, nanosec=rest)
    return types.make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)
