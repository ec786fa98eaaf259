# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bag with a topic of pictures and a topic of labels, which belong together by their stamps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import struct
import sys

import apsw
import numpy as np
from rosbags.rosbag1 import ReaderError as ReaderError1
from rosbags.rosbag2 import ReaderError as ReaderError2

from diception_ros.bags import typestore
from diception_ros.core.labels import Label, Picture
from diception_ros.datasets.annotation import LabelledImage, LabelQuery
from diception_ros.datasets.decode import RasterDecoder
from diception_ros.messages import base
from diception_ros.messages import images as image_messages
from diception_ros.messages.base import MessageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENDS = ('.mcap', '.db3', '.bag')
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
_WHOLE = ('mono8', '8UC1', 'mono16', '16UC1', '32SC1')
_COLOURS = ('rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', 'rgb16', 'bgr16')
# What can be a label of a kind.
ENCODINGS = {
    'mask': _WHOLE, 'instances': _WHOLE, 'normals': ('32FC3',), 'depth': ('16UC1', '32FC1'),
    'rgb': _COLOURS,
}  # fmt: skip
# What rosbags has been seen to raise at a damaged place, and what it reads with: apsw, zstd.
_FAULTS = (
    ReaderError1, ReaderError2, apsw.Error, zstd.ZstdError, struct.error, EOFError, LookupError,
    AssertionError, TypeError, ValueError, RuntimeError, OverflowError, MemoryError,
)  # fmt: skip


def bag_at(place: Path) -> Path | None:
    """The bag that a place is or holds; None where it is something else.

    Raises:
        ValueError: it is a folder of several bags.
    """
    if place.is_file():
        return place if place.suffix in ENDS else None
    if (place / 'metadata.yaml').is_file():
        return place
    found = sorted(file for file in place.iterdir() if file.suffix in ENDS)
    if len(found) > 1:
        raise ValueError(
            f'{place}: expected one bag, got {", ".join(file.name for file in found)}; name one'
        )
    return found[0] if found else None


def read(place: Path, wanted: LabelQuery) -> tuple[list[LabelledImage], list[str]]:
    """The labelled pictures, and what should be said about them.

    Pictures without a label at their stamp are left out and counted: a camera is recorded at its
    own pace, a few pictures are labelled.

    Raises:
        ValueError: the topics are not told and not clear, a label has no picture, two have one
            stamp, or a message is not what it should be.
    """
    image, answer = _topics(place, wanted)
    numbers = None if wanted.kind == 'rgb' else RasterDecoder(wanted.kind, wanted.category)
    labels: dict[int, tuple[Label, bytes]] = {}
    for one in _messages(place, (answer,)):
        stamp, where = _stamp(one, place), f'{place}: {answer}'
        if stamp in labels:
            raise ValueError(f'{where}: two labels have the stamp {_name(stamp)}')
        labels[stamp] = _label(one, wanted.kind, numbers, f'{where} at {_name(stamp)}'), one.data
    if numbers is not None:
        numbers.finish(f'{place}: {answer}')
    items: dict[int, LabelledImage] = {}
    without = 0
    for one in _messages(place, (image,)):
        stamp = _stamp(one, place)
        if stamp not in labels:
            without += 1
            continue
        where = f'{place}: {image} at {_name(stamp)}'
        if stamp in items:
            raise ValueError(f'{where}: two pictures have this stamp')
        label, data = labels[stamp]
        try:
            frame = image_messages.frame_from(one.message)
        except MessageError as error:
            raise ValueError(f'{where}: {error}') from error
        told = f'{place}: {answer} at {_name(stamp)}'
        items[stamp] = LabelledImage(_name(stamp), told, frame, label, (one.data, data))
    missing = sorted(set(labels) - set(items))
    if missing:
        raise ValueError(
            f'{place}: {answer} at {_name(missing[0])} is a label without a picture: {image} has '
            f'none with this stamp ({len(missing)} of {len(labels)} labels); give a label the '
            'stamp of the picture that it was made of'
        )
    left_out = (
        f'{without} of {without + len(items)} pictures of {image} have no label with their stamp '
        f'on {answer} and are left out.'
    )
    return list(items.values()), [left_out] if without else []


def _label(one: typestore.Recorded, kind: str, numbers: RasterDecoder | None, where: str) -> Label:
    try:
        if numbers is not None:
            encoding = str(getattr(one.message, 'encoding', one.kind))
            if encoding not in ENCODINGS[kind]:
                raise ValueError(
                    f'{where}: expected {", ".join(ENCODINGS[kind])} for kind {kind}, got '
                    f'{encoding}'
                )
            return numbers.label(image_messages.array_from(one.message), where)
        rgb = image_messages.rgb_from(one.message)
    except MessageError as error:
        raise ValueError(f'{where}: {error}') from error
    return Picture(rgb.astype(np.float32) / np.float32(255))


def _topics(place: Path, wanted: LabelQuery) -> tuple[str, str]:
    """The topics of pictures and of labels."""
    try:
        there = typestore.topics_of(place)
    except _FAULTS as error:
        raise _damaged(place, error) from error
    known = {topic: kind for topic, kind in there.items() if kind in (IMAGE, COMPRESSED)}
    for topic in (wanted.image_topic, wanted.label_topic):
        if topic and topic not in known:
            raise ValueError(
                f'{place}: no topic {topic!r} with pictures; there are '
                f'{", ".join(sorted(known)) or "none"}'
            )
    encodings = {topic: 'compressed' for topic, kind in known.items() if kind == COMPRESSED}
    raw = tuple(topic for topic in known if topic not in encodings)
    for one in _messages(place, raw) if raw else ():
        encodings.setdefault(one.topic, str(one.message.encoding))
        if len(encodings) == len(known):
            break
    said = ', '.join(f'{topic} ({encodings.get(topic, "empty")})' for topic in sorted(known))
    colours = {topic for topic, name in encodings.items() if name in (*_COLOURS, 'compressed')}
    images = {wanted.image_topic} if wanted.image_topic else colours - {wanted.label_topic}
    suits = {topic for topic, name in encodings.items() if name in ENCODINGS[wanted.kind]}
    labels = {wanted.label_topic} if wanted.label_topic else suits - {wanted.image_topic}
    if len(images) != 1:
        raise ValueError(_choice(place, 'pictures', 'image_topic', images, said or 'none'))
    if len(labels) != 1 or labels == images:
        what = f'labels of kind {wanted.kind}'
        raise ValueError(_choice(place, what, 'label_topic', labels, said))
    return images.pop(), labels.pop()


def _choice(place: Path, what: str, argument: str, found: set[str], said: str) -> str:
    came = f'got {len(found)}: {", ".join(sorted(found))}' if found else 'got none'
    return (
        f'{place}: expected one topic of {what}, {came}; name it as {argument}; topics with '
        f'pictures: {said}'
    )


def _messages(place: Path, topics: tuple[str, ...]) -> Iterator[typestore.Recorded]:
    try:
        yield from typestore.read(place, topics)
    except _FAULTS as error:
        raise _damaged(place, error) from error


def _damaged(place: Path, error: Exception) -> ValueError:
    if isinstance(error, ValueError) and str(error).startswith(f'{place}:'):
        return error  # it says so already
    return ValueError(f'{place}: damaged, or no bag ({error or type(error).__name__})')


def _stamp(one: typestore.Recorded, place: Path) -> int:
    try:
        return base.stamp_ns(one.message.header)
    except MessageError as error:
        raise ValueError(f'{place}: {one.topic}: {error}') from error


def _name(stamp_ns: int) -> str:
    # Of one length, so that the order of names is that of time.
    seconds, rest = divmod(stamp_ns, base.NANO)
    return f'{seconds:010d}.{rest:09d}'
