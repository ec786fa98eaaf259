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
