# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Channels of bags and their QoS; selection, order by time and decompression of their messages.

Every format of bags uses these. Decompression is bounded, and errors name the offset.
"""

from __future__ import annotations

import bz2
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
import contextlib
from dataclasses import dataclass, field
import heapq
import io
import sqlite3
import struct
import sys
from typing import Any, BinaryIO, NamedTuple

import lz4.frame
from mcap.exceptions import McapError

from diception_ros.bags.typestore import Definition, RawMessage
from diception_ros.system import safe_load

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

# What one chunk or message may unpack to, bytes: this, or so many times its packed size. Images
# and clouds shrink to a third or a tenth, label maps to a hundredth.
UNPACKED_SIZE, UNPACKED_RATIO = 64 << 20, 200
# The same for all of a file. Maps that stay the same for minutes shrink to less than a thousandth.
FILE_UNPACKED_SIZE, FILE_UNPACKED_RATIO = 1 << 30, 2000

# Messages that a publisher keeps where the recording has no number: DDS does not announce it to
# subscribers. rosbag2's default.
QOS_DEPTH = 10
# Largest number of messages that a publisher keeps, and longest text that is read, bytes.
_MAX_QOS_DEPTH, _MAX_QOS_TEXT = 1000, 1 << 16
_QOS_PROFILE = """\
- history: keep_last
  depth: {depth}
  reliability: {reliability}
  durability: {durability}
  deadline: {{sec: 9223372036, nsec: 854775807}}
  lifespan: {{sec: 9223372036, nsec: 854775807}}
  liveliness: automatic
  liveliness_lease_duration: {{sec: 9223372036, nsec: 854775807}}
  avoid_ros_namespace_conventions: false"""


class DamageError(Exception):
    """A bag could not be read beyond an offset, which the message has."""


class NotABagError(ValueError):
    """A file is none of a bag."""


class CutError(Exception):
    """The data ends, or contradicts its format; `at` is its offset in the file, if known."""

    def __init__(self, reason: str, at: int | None = None) -> None:
        super().__init__(reason)
        self.at = at


class LimitError(Exception):
    """The data unpacks to more than the limit."""


# What parsers of records raise where the bytes are not what the format wants.
FAULTS = (
    CutError, McapError, sqlite3.DatabaseError, struct.error, zstd.ZstdError, EOFError, KeyError,
    IndexError, TypeError, ValueError, OverflowError,
)  # fmt: skip


class Channel(NamedTuple):
    """What the messages of a channel have in common.

    Attributes:
        topic: its name.
        definition: of the type of its messages.
        encoding: of its messages, see `RawMessage`.
        qos: what its publishers offered, as text for `qos_from_text`; '' if unknown.
    """

    topic: str
    definition: Definition
    encoding: str
    qos: str = ''

    def message(self, stamp_ns: int, data: bytes) -> RawMessage:
        """A message of the channel."""
        return RawMessage(
            self.topic, self.definition.msgtype, self.definition, stamp_ns, data, self.encoding,
            self.qos,
        )  # fmt: skip


class OfferedQos(NamedTuple):
    """Quality of service that a publisher offers.

    Attributes:
        reliable: lost messages are sent again.
        latched: the last messages are kept for later subscribers (durability transient local).
        depth: messages that are kept.
    """

    reliable: bool = True
    latched: bool = False
    depth: int = QOS_DEPTH


def qos_to_text(*offers: OfferedQos) -> str:
    """The profiles of a topic's publishers as rosbag2 writes them."""
    return '\n'.join(
        _QOS_PROFILE.format(
            depth=offer.depth,
            reliability='reliable' if offer.reliable else 'best_effort',
            durability='transient_local' if offer.latched else 'volatile',
        )
        for offer in offers
    )


def qos_from_text(text: str) -> list[OfferedQos]:
    """The profiles in a text of rosbag2; none where it has none or cannot be understood.

    Policies are names in recordings of Jazzy and later, and the numbers of rmw before.
    """
    if len(text) > _MAX_QOS_TEXT:
        return []
    try:
        profiles = safe_load.yaml_text(text, 'offered_qos_profiles') or []
        return [
            OfferedQos(
                str(each['reliability']) not in ('best_effort', '2'),
                str(each['durability']) in ('transient_local', '1'),
                int(each['depth']) or QOS_DEPTH,
            )
            for each in profiles
        ]
    except (KeyError, TypeError, ValueError, OverflowError):
        return []


def combine_qos(offers: Sequence[OfferedQos]) -> OfferedQos:
    """What one publisher offers in place of all, so that every subscriber of theirs is served."""
    if not offers:
        return OfferedQos()
    return OfferedQos(
        any(offer.reliable for offer in offers),
        any(offer.latched for offer in offers),
        min(_MAX_QOS_DEPTH, max(1, sum(offer.depth for offer in offers))),
    )


@dataclass
class Contents:
    """What a file holds.

    Attributes:
        counts: messages by channel.
        start_ns: first log time; 2^63 - 1 without a message.
        end_ns: last log time; 0 without a message.
    """

    counts: Counter[Channel] = field(default_factory=Counter)
    start_ns: int = 2**63 - 1
    end_ns: int = 0

    def span(self, start_ns: int, end_ns: int) -> None:
        """Extend the log times."""
        self.start_ns, self.end_ns = min(self.start_ns, start_ns), max(self.end_ns, end_ns)


class Block(NamedTuple):
    """A chunk of a file, or a file of a bag: messages whose log times lie within a range.

    Attributes:
        start_ns: no message of it has an earlier log time.
        read: returns the messages by log time.
    """

    start_ns: int
    read: Callable[[], Iterable[RawMessage]]


def by_time(blocks: Iterable[Block]) -> Iterator[RawMessage]:
    """The messages of blocks that may overlap, by log time; each is read as late as possible."""
    # Those of one time in the order of the file, from the end of the list.
    waiting = sorted(blocks, key=lambda block: block.start_ns)[::-1]
    heap: list[tuple[int, int, RawMessage, Iterator[RawMessage]]] = []
    opened = 0
    while waiting or heap:
        while waiting and (not heap or waiting[-1].start_ns < heap[0][0]):
            stream = iter(waiting.pop().read())
            for raw in stream:
                heapq.heappush(heap, (raw.stamp_ns, opened, raw, stream))
                opened += 1
                break
        if not heap:
            return
        _, number, raw, stream = heap[0]
        yield raw
        following = next(stream, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following.stamp_ns, number, following, stream))


class Selection(NamedTuple):
    """Which messages are read.

    Attributes:
        topics: of these; None for all.
        start_ns: from this log time on; None from the first.
        stop_ns: before this log time; None to the end.
    """

    topics: Collection[str] | None = None
    start_ns: int | None = None
    stop_ns: int | None = None

    def takes(self, raw: RawMessage) -> bool:
        """Whether a message is selected."""
        return (
            (self.topics is None or raw.topic in self.topics)
            and (self.start_ns is None or raw.stamp_ns >= self.start_ns)
            and (self.stop_ns is None or raw.stamp_ns < self.stop_ns)
        )

    def meets(self, start_ns: int, end_ns: int) -> bool:
        """Whether messages between two log times, both included, may be selected."""
        return (self.start_ns is None or end_ns >= self.start_ns) and (
            self.stop_ns is None or start_ns < self.stop_ns
        )


class Unpacker:
    """Decompresses what one pass through a file of `size` bytes reads, within limits."""

    def __init__(self, size: int) -> None:
        self._left = file_limit(size)

    def __call__(self, packed: bytes, compression: str) -> tuple[bytes, str]:
        """The data, and '' or what is wrong with the rest of it.

        Raises:
            CutError: the compression is unknown.
            LimitError: there is more of it than a recording has.
        """
        if compression in ('', 'none'):
            return packed, ''
        if compression not in _DECOMPRESSORS:
            raise CutError(f'a chunk is compressed by {compression!r}')
        make = _DECOMPRESSORS[compression]
        limit = min(max(UNPACKED_SIZE, UNPACKED_RATIO * len(packed)), self._left)
        pieces: list[bytes] = []
        size, problem = 0, ''
        unpack = make()
        step = 1 << 16  # in pieces, so that what stands before a fault comes out
        try:
            for at in range(0, len(packed), step):
                piece = packed[at : at + step]
                while piece or not (unpack.eof or unpack.needs_input):
                    if unpack.eof:
                        unpack = make()
                    pieces.append(unpack.decompress(piece, limit - size + 1))
                    size += len(pieces[-1])
                    if size > limit:
                        raise LimitError(
                            f'{len(packed)} bytes unpack to more than {limit}; a recording does '
                            f'not shrink so much (limits: {UNPACKED_SIZE >> 20} MiB or '
                            f'{UNPACKED_RATIO} times for a block, {FILE_UNPACKED_SIZE >> 20} MiB '
                            f'or {FILE_UNPACKED_RATIO} times for a file)'
                        )
                    piece = unpack.unused_data if unpack.eof else b''
        except (zstd.ZstdError, RuntimeError, OSError, EOFError) as error:
            problem = f'cannot be decompressed ({error})'
        self._left -= size
        return b''.join(pieces), problem


# What makes a decompressor, by the name in the file.
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor,
    'lz4': lz4.frame.LZ4FrameDecompressor,
    'bz2': bz2.BZ2Decompressor,
}


def file_limit(size: int) -> int:
    """Bytes that a file of this size may unpack to."""
    return max(FILE_UNPACKED_SIZE, FILE_UNPACKED_RATIO * size)


def seek(file: BinaryIO, at: int) -> None:
    """Go to an offset that a file names; CutError if it lies outside of the file."""
    if at > file.seek(0, io.SEEK_END):
        raise CutError(f'it names the offset {at}, which lies behind its end')
    file.seek(at)


@contextlib.contextmanager
def located(at: int) -> Iterator[None]:
    """Add the offset to what a parser raises."""
    try:
        yield
    except FAULTS as error:
        if isinstance(error, CutError) and error.at is not None:
            raise
        raise CutError(str(error) or type(error).__name__, at) from error
