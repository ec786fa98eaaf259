# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The seam to the library that messages are made with: rclpy's packages, or rosbags."""

from __future__ import annotations

from typing import Any, Protocol


class Types(Protocol):
    """Makes messages; `ros.types.RosTypes` and `data.bag.BagTypes` are the two that there are."""

    def make(self, kind: str, **fields: Any) -> Any:
        """A message of a kind such as 'sensor_msgs/msg/Image'.

        Args:
            kind: package and name.
            **fields: all its fields; numbers of an array field as a C-contiguous numpy array
                (`data` of an Image as (N,) uint8), a list of messages as a list.
        """
        ...

    def has(self, kind: str) -> bool:
        """Whether messages of the kind can be made; vision_msgs may not be installed."""
        ...


# What is wrong with a message that came in.


# Of a text that came from outside and goes into `kind`: enough to recognise it.
LONGEST = 40


class MessageError(ValueError):
    """A message that contradicts itself, or that nobody here can read.

    Args:
        kind: a few stable words, the same for every message with this fault, e.g. 'step' or
            "encoding 'yuv9'": what to log once and to count by.
        reason: one sentence with the numbers of this message.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def quoted(text: object) -> str:
    """A text from outside, in quotation marks and cut to a length that suits a log."""
    whole = str(text)
    return repr(whole if len(whole) <= LONGEST else f'{whole[:LONGEST]}...')


# Headers: when and where.


NANO = 1_000_000_000


def stamp_ns(header: Any) -> int:
    """Nanoseconds since the epoch of a std_msgs/Header.

    Raises:
        MessageError: 'stamp': it is before the epoch.
    """
    seconds = int(header.stamp.sec)
    if seconds < 0:
        raise MessageError('stamp', f'header: expected a stamp >= 0, got {seconds} seconds')
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
