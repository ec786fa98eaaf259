# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bag with a topic of images and a topic of labels, which belong together by their stamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diception_ros.bags.cameras import COMPRESSED, IMAGES
from diception_ros.bags.reader import ENDS, Bag, bags_in, read_messages
from diception_ros.bags.typestore import RawMessage
from diception_ros.core.labels import ImageLabel, Label
from diception_ros.datasets.annotation import LabelledImage, LabelQuery
from diception_ros.datasets.decode import RasterDecoder
from diception_ros.messages import base
from diception_ros.messages import images as image_messages
from diception_ros.messages.base import MessageError
from diception_ros.messages.synchronizer import MessageCache

_WHOLE = ('mono8', '8UC1', 'mono16', '16UC1', '32SC1')
_COLOURS = ('rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', 'rgb16', 'bgr16')
# Encodings of labels by their kind.
ENCODINGS = {
    'mask': _WHOLE, 'instances': _WHOLE, 'normals': ('32FC3',), 'depth': ('16UC1', '32FC1'),
    'rgb': _COLOURS,
}  # fmt: skip


def bag_at(place: Path) -> Path | None:
    """The bag that a place is or holds; None if it is something else.

    Raises:
        ValueError: it is a folder of several bags.
    """
    if place.is_file():
        return place if place.name.removesuffix('.zstd').endswith(ENDS) else None
    try:
        found = bags_in(place)
    except ValueError:
        return None
    if len(found) > 1:
        raise ValueError(
            f'{place}: expected one bag, got {", ".join(path.name for path in found)}; name one'
        )
    return found[0]


def read(place: Path, wanted: LabelQuery) -> tuple[list[LabelledImage], list[str]]:
    """The labelled images, and notes for the user.

    Images without a label with their stamp are left out and counted: usually a few images of a
    recording are labelled.

    Raises:
        ValueError: the topics are not given and not clear, a label has no image, two have one
            stamp, or a message is not what it should be.
    """
    image, answer = _topics(place, wanted)
    decoder = None if wanted.kind == 'rgb' else RasterDecoder(wanted.kind, wanted.category)
    labels: MessageCache[tuple[Label, bytes]] = MessageCache(capacity=None)
    unmatched = set[int]()
    for raw, message in read_messages(place, (answer,)):
        stamp, where = _stamp(raw, message, place), f'{place}: {answer}'
        if stamp in unmatched:
            raise ValueError(f'{where}: two labels have the stamp {_name(stamp)}')
        unmatched.add(stamp)
        label = _label(raw, message, wanted.kind, decoder, f'{where} at {_name(stamp)}')
        labels.add(stamp, (label, raw.data))
    items: dict[int, LabelledImage] = {}
    without, count = 0, len(unmatched)
    for raw, message in read_messages(place, (image,)):
        stamp = _stamp(raw, message, place)
        matched = labels.exact(stamp)
        if matched is None:
            without += 1
            continue
        where = f'{place}: {image} at {_name(stamp)}'
        if stamp in items:
            raise ValueError(f'{where}: two images have this stamp')
        try:
            frame = image_messages.frame_from(message)
        except MessageError as error:
            raise ValueError(f'{where}: {error}') from error
        label, data = matched
        source = f'{place}: {answer} at {_name(stamp)}'
        items[stamp] = LabelledImage(_name(stamp), source, frame, label, (raw.data, data))
        unmatched.discard(stamp)
    if unmatched:
        raise ValueError(
            f'{place}: {answer} at {_name(min(unmatched))} is a label without an image: {image} '
            f'has none with this stamp ({len(unmatched)} of {count} labels); give a label the '
            'stamp of the image that it was made of'
        )
    left_out = (
        f'{without} of {without + len(items)} images of {image} have no label with their stamp '
        f'on {answer} and are left out.'
    )
    notes = [left_out] if without else []
    if decoder is None:
        return list(items.values()), notes
    found, more = decoder.finish(list(items.values()), f'{place}: {answer}')
    return found, [*notes, *more]


def _label(
    raw: RawMessage, message: Any, kind: str, decoder: RasterDecoder | None, where: str
) -> Label:
    try:
        if decoder is not None:
            encoding = str(getattr(message, 'encoding', raw.msgtype))
            if encoding not in ENCODINGS[kind]:
                raise ValueError(
                    f'{where}: expected {", ".join(ENCODINGS[kind])} for kind {kind}, got '
                    f'{encoding}'
                )
            return decoder.label(image_messages.array_from(message), where)
        rgb = image_messages.rgb_from(message)
    except MessageError as error:
        raise ValueError(f'{where}: {error}') from error
    return ImageLabel(rgb.astype(np.float32) / np.float32(255))


def _topics(place: Path, wanted: LabelQuery) -> tuple[str, str]:
    """The topics of images and of labels."""
    with Bag(place) as bag:
        if bag.damage:
            raise ValueError(str(bag.damage))
        known = {name: t.msgtype for name, t in bag.topics.items() if t.msgtype in IMAGES}
    for topic in (wanted.image_topic, wanted.label_topic):
        if topic and topic not in known:
            raise ValueError(
                f'{place}: no topic {topic!r} with images; there are '
                f'{", ".join(sorted(known)) or "none"}'
            )
    encodings = {topic: 'compressed' for topic, kind in known.items() if kind == COMPRESSED}
    plain = tuple(topic for topic in known if topic not in encodings)
    for raw, message in read_messages(place, plain) if plain else ():
        encodings.setdefault(raw.topic, str(message.encoding))
        if len(encodings) == len(known):
            break
    listing = ', '.join(f'{topic} ({encodings.get(topic, "empty")})' for topic in sorted(known))
    colours = {topic for topic, name in encodings.items() if name in (*_COLOURS, 'compressed')}
    images = {wanted.image_topic} if wanted.image_topic else colours - {wanted.label_topic}
    suits = {topic for topic, name in encodings.items() if name in ENCODINGS[wanted.kind]}
    labels = {wanted.label_topic} if wanted.label_topic else suits - {wanted.image_topic}
    if len(images) != 1:
        raise ValueError(_choice(place, 'images', 'image_topic', images, listing or 'none'))
    if len(labels) != 1 or labels == images:
        what = f'labels of kind {wanted.kind}'
        raise ValueError(_choice(place, what, 'label_topic', labels, listing))
    return images.pop(), labels.pop()


def _choice(place: Path, what: str, argument: str, found: set[str], listing: str) -> str:
    got = f'got {len(found)}: {", ".join(sorted(found))}' if found else 'got none'
    return (
        f'{place}: expected one topic of {what}, {got}; name it as {argument}; topics with '
        f'images: {listing}'
    )


def _stamp(raw: RawMessage, message: Any, place: Path) -> int:
    try:
        return base.stamp_ns(message.header)
    except MessageError as error:
        raise ValueError(f'{place}: {raw.topic}: {error}') from error


def _name(stamp_ns: int) -> str:
    # Of one length, so that the order of names is that of time.
    seconds, rest = divmod(stamp_ns, base.NANO)
    return f'{seconds:010d}.{rest:09d}'
