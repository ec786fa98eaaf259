# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of a bag by their stamps, for whoever goes through the same bag in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from diception_ros.messages import stamps
from diception_ros.replay.frames import PATIENCE_NS

if TYPE_CHECKING:
    from diception_ros.replay.bags import Bag

# Messages of a topic that are kept: what is asked for is not far from the last.
KEPT = 256


class Lookup:
    """The messages of some topics around a moment that moves on.

    Args:
        bag: one that nobody else reads.
        topics: of messages with a header, or of transforms.
        start_ns: log time before which nothing is asked for, None for the beginning.
    """

    def __init__(self, bag: Bag, topics: Collection[str], start_ns: int | None = None) -> None:
        self._bag = bag
        start = None if start_ns is None else start_ns - PATIENCE_NS
        self._stream = bag.messages(list(topics), start) if topics else iter(())
        self._kept: dict[str, deque[tuple[int, Any]]] = {
            topic: deque(maxlen=KEPT) for topic in topics
        }
        self._now_ns = -1
        self._ended = not topics

    def at(self, topic: str, stamp_ns: int, log_ns: int, tolerance_ns: int) -> Any | None:
        """The message whose stamp is nearest; None beyond the tolerance.

        Args:
            topic: one of those that were named.
            stamp_ns: that is wanted.
            log_ns: log time of what it is wanted for; never less than before.
            tolerance_ns: largest difference of stamps.
        """
        while not self._ended and self._now_ns <= log_ns + PATIENCE_NS:
            raw = next(self._stream, None)
            if raw is None:
                self._ended = True
                break
            self._now_ns = raw.stamp_ns
            try:
                message = self._bag.decode(raw)
                stamp = stamps.stamp_ns(header_of(message))
            except (ValueError, AttributeError, IndexError):
                continue  # what cannot be read is missing
            self._kept[raw.topic].append((stamp, message))
        kept = self._kept[topic]
        if not kept:
            return None
        stamp, message = min(kept, key=lambda one: abs(one[0] - stamp_ns))
        return message if abs(stamp - stamp_ns) <= tolerance_ns else None


def header_of(message: Any) -> Any:
    """The header of a message, or of its first transform."""
    return message.transforms[0].header if hasattr(message, 'transforms') else message.header
