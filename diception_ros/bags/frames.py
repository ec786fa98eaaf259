# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The frames of a bag in their order, each with the CameraInfo and the depths that belong to it.

What belongs to a picture may be logged after it, so a picture waits, as bytes, until it came or
cannot come any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from diception_ros.bags.recovery import Raw
from diception_ros.messages import MessageError, base
from diception_ros.messages import images as image_messages
from diception_ros.messages.synchronizer import References

if TYPE_CHECKING:
    from diception_ros.bags.cameras import Camera
    from diception_ros.bags.reader import Bag
    from diception_ros.core.frame import Frame

# How long after a picture, in log time, what belongs to it may come. Drivers publish both at once.
PATIENCE_NS = 500_000_000
# CameraInfos that are kept of a camera, as many as the node keeps.
KEPT = 128


@dataclass(frozen=True, eq=False)
class Taken:
    """One message of the bag, and what it is to a replay.

    Attributes:
        raw: the message.
        camera: whose picture it is, None where it is only copied.
        frame: the picture; None where it is none, or cannot be read.
        header: of the picture.
        info: the CameraInfo that belongs to it.
        reference: the message with depths that belongs to it.
        problem: why there is no frame, and its kind; '' where all is well.
        copied: whether the message is to be copied.
    """

    raw: Raw
    camera: Camera | None = None
    frame: Frame | None = None
    header: Any = None
    info: Any = None
    reference: Any = None
    problem: tuple[str, str] = ('', '')
    copied: bool = False


@dataclass(frozen=True)
class Choice:
    """Which pictures of a camera are answered.

    Attributes:
        start_ns: log time of the first, nanoseconds since the epoch; None: from the beginning.
        stop_ns: log time before which the last is.
        every: the first and every n-th after it.
        most: of each camera, at most; 0 for all.
    """

    start_ns: int | None = None
    stop_ns: int | None = None
    every: int = 1
    most: int = 0


def frames(
    bag: Bag,
    cameras: Sequence[Camera],
    choice: Choice,
    copy: bool = False,
    skip: int = 0,
    tolerance_s: float = 0.05,
) -> Iterator[Taken]:
    """Read a bag.

    Args:
        bag: the bag.
        cameras: whose pictures are answered.
        choice: which of them.
        copy: hand out every message, not only the pictures that are answered.
        skip: messages to leave out from the beginning, because they were handed out before; what
            belongs to later pictures is still found among them.
        tolerance_s: largest difference of the stamps of a picture and its depths, seconds.

    Yields:
        Messages in the order of the bag.
    """
    beside = {camera.topic: _Beside(bag, camera, tolerance_s) for camera in cameras}
    others: dict[str, list[_Beside]] = {}
    for one in beside.values():
        for topic in (one.camera.info, one.camera.reference):
            if topic:
                others.setdefault(topic, []).append(one)
    topics = None if copy else [*beside, *others]
    waiting: deque[tuple[Raw, _Beside | None]] = deque()
    counts = dict.fromkeys(beside, 0)
    handed = 0

    def ready(now_ns: int | None) -> Iterator[Taken]:
        nonlocal handed
        while waiting:
            raw, mine = waiting[0]
            if mine is not None and now_ns is not None and not mine.complete(raw, now_ns):
                return
            waiting.popleft()
            handed += 1
            if handed > skip:
                taken = Taken(raw) if mine is None else mine.take(raw)
                yield replace(taken, copied=copy)
            elif mine is not None:
                mine.pass_by(raw)

    for raw in bag.messages(topics, choice.start_ns, choice.stop_ns):
        for one in others.get(raw.topic, ()):
            one.add(raw)
        mine = beside.get(raw.topic)
        if mine is not None:
            number = counts[raw.topic]
            counts[raw.topic] += 1
            left_out = number % choice.every or (
                choice.most and number // choice.every >= choice.most
            )
            mine = None if left_out else mine
        if mine is not None or copy:
            waiting.append((raw, mine))
        yield from ready(raw.stamp_ns)
        if (
            not copy
            and choice.most
            and all(count > (choice.most - 1) * choice.every for count in counts.values())
            and not waiting
        ):
            return
    yield from ready(None)


class _Beside:
    """What comes beside the pictures of one camera."""

    def __init__(self, bag: Bag, camera: Camera, tolerance_s: float) -> None:
        self.camera = camera
        self._bag, self._tolerance_s = bag, tolerance_s
        self._infos: deque[tuple[int, str, Any]] = deque(maxlen=KEPT)
        self._references: References[Any] = References()
        self._newest = {'info': -1, 'reference': -1}
        self._peeked: tuple[Raw, Any, int] | None = None

    def add(self, raw: Raw) -> None:
        """Keep a CameraInfo or depths."""
        try:
            message = self._bag.decode(raw)
            stamp_ns = base.stamp_ns(message.header)
        except ValueError:
            return  # the pictures that it belonged to will say that it is missing
        if raw.topic == self.camera.info:
            self._infos.append((stamp_ns, message.header.frame_id, message))
            self._newest['info'] = max(self._newest['info'], stamp_ns)
        if raw.topic == self.camera.reference:
            self._references.add(stamp_ns, message)
            self._newest['reference'] = max(self._newest['reference'], stamp_ns)

    def complete(self, raw: Raw, now_ns: int) -> bool:
        """Whether nothing that belongs to a picture can come any more."""
        if now_ns - raw.stamp_ns > PATIENCE_NS:
            return True
        _, stamp_ns = self._peek(raw)
        if self.camera.info and self._newest['info'] < stamp_ns:
            return False
        later = stamp_ns + int(self._tolerance_s * 1e9)
        return not self.camera.reference or self._newest['reference'] >= later

    def take(self, raw: Raw) -> Taken:
        """The frame of a picture."""
        message, stamp_ns = self._peek(raw)
        self._peeked = None
        if message is None or stamp_ns < 0:
            problem = 'message', f'topic {raw.topic}: a {raw.kind} that cannot be read'
            return Taken(raw, self.camera, problem=problem)
        header = message.header
        info = self._info(stamp_ns, header.frame_id)
        try:
            frame = image_messages.frame_from(message, info)
        except MessageError as error:
            return Taken(raw, self.camera, header=header, problem=(error.kind, str(error)))
        reference = self._references.match(stamp_ns, self._tolerance_s)
        return Taken(raw, self.camera, frame, header, info, reference)

    def pass_by(self, raw: Raw) -> None:
        """Leave a picture out."""
        self._peeked = None

    def _peek(self, raw: Raw) -> tuple[Any, int]:
        if self._peeked is None or self._peeked[0] is not raw:
            try:
                message = self._bag.decode(raw)
                self._peeked = raw, message, base.stamp_ns(message.header)
            except ValueError:
                self._peeked = raw, None, -1
        return self._peeked[1:]

    def _info(self, stamp_ns: int, frame_id: str) -> Any | None:
        """As the node: of the same stamp, else the newest of the same frame."""
        mine = [(stamp, info) for stamp, frame, info in self._infos if frame == frame_id]
        for stamp, info in reversed(mine):
            if stamp == stamp_ns:
                return info
        before = [info for stamp, info in mine if stamp <= stamp_ns]
        return before[-1] if before else (mine[0][1] if mine else None)


# Messages of a bag by their stamps, for whoever goes through the same bag in order.


if TYPE_CHECKING:
    from diception_ros.bags.reader import Bag

# Messages of a topic that are kept: what is asked for is not far from the last.
KEPT_FOR_LOOKUP = 256


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
            topic: deque(maxlen=KEPT_FOR_LOOKUP) for topic in topics
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
                stamp = base.stamp_ns(header_of(message))
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
