# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is read from a bag, and what is said where it cannot be read any further."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class DamageError(Exception):
    """A bag could not be read beyond some place; the message says which."""


class Raw(NamedTuple):
    """One message of a bag.

    Attributes:
        topic: its name.
        kind: of the message, e.g. 'sensor_msgs/msg/Image'.
        definition: of the kind, '' where the bag does not tell.
        stamp_ns: log time, nanoseconds since the epoch.
        data: serialised, by ROS 1's rules in a bag of ROS 1 and as CDR in others.
    """

    topic: str
    kind: str
    definition: str
    stamp_ns: int
    data: bytes


class CutError(Exception):
    """The data ends, or is none, at an offset."""


def damage(path: Path, at: int, size: int, count: int, error: Exception) -> DamageError:
    """What is said of a file that cannot be read from byte `at` on."""
    return DamageError(f'{path}: damaged at byte {at} of {size}, after {count} messages ({error})')
