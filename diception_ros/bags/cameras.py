# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are cameras, and what belongs to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import difflib
import re
from typing import TYPE_CHECKING

from diception_ros.messages import encodings

if TYPE_CHECKING:
    from diception_ros.bags.reader import Bag

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'
IMAGES = (IMAGE, COMPRESSED)
# What a picture of a camera is encoded as; a depth or a map of labels is not.
_COLOURS = {
    name for name, layout in encodings.LAYOUTS.items() if layout.channels > 1 or 'bayer' in name
} | set(encodings.PLANES)
# Last parts of topics that say what comes, not from which camera.
_PLAIN = re.compile('(image|compressed|rgb|color)([_0-9].*)?|raw')


@dataclass(frozen=True)
class Camera:
    """A camera of a bag.

    Attributes:
        name: of its answers' topics; '' where it is the only one.
        topic: of its pictures.
        info: of its CameraInfo; '' where the bag has none.
        reference: of depths for `depth.metric: aligned`; '' where there are none.
    """

    name: str
    topic: str
    info: str = ''
    reference: str = ''


def choose(
    bag: Bag,
    wanted: Sequence[str] = (),
    infos: Sequence[str] = (),
    references: Sequence[str] = (),
) -> list[Camera]:
    """The cameras whose pictures are to be answered.

    Args:
        bag: the bag.
        wanted: topics of pictures, or NAME=TOPIC to name the camera; none where the bag has one.
        infos: topics of CameraInfo, one for each camera; none: beside the picture, where image
            transport has it.
        references: topics of depths, one for each camera, or none.

    Raises:
        ValueError: a topic is not there or not of the kind, or there is a choice to make and
            nobody made it; the message lists what there is.
    """
    pairs = [_split(one) for one in wanted] if wanted else [('', _only(bag))]
    topics = [topic for _, topic in pairs]
    for topic in topics:
        _check(bag, topic, IMAGES, 'pictures')
    if len(set(topics)) < len(topics):
        raise ValueError(f'a camera is named twice: {", ".join(topics)}')
    for given, option in ((infos, '--camera-info'), (references, '--depth-reference')):
        if given and len(given) != len(pairs):
            raise ValueError(
                f'{option} names {len(given)} topics for {len(pairs)} cameras; give one for each'
            )
    names = [name for name, _ in pairs]
    if len(pairs) > 1 and not all(names):
        derived = _names(topics)
        names = [name or other for name, other in zip(names, derived, strict=True)]
    if len(set(names)) < len(names):
        raise ValueError(f'two cameras have one name: {", ".join(names)}; give NAME=TOPIC')
    found = []
    for k, (name, topic) in enumerate(zip(names, topics, strict=True)):
        info = infos[k] if infos else beside(topic)
        if infos:
            _check(bag, info, (INFO,), 'CameraInfo')
        elif info not in bag.topics or bag.topics[info].msgtype != INFO:
            info = ''
        reference = references[k] if references else ''
        if reference:
            _check(bag, reference, (IMAGE, 'sensor_msgs/msg/PointCloud2'), 'depths')
        found.append(Camera(name, topic, info, reference))
    return found


def beside(topic: str) -> str:
    """Where the CameraInfo of a topic of pictures is: its last part is another."""
    plain = topic.removesuffix('/compressed')
    return plain.rpartition('/')[0] + '/camera_info'


def _split(wanted: str) -> tuple[str, str]:
    name, equals, topic = wanted.rpartition('=')
    if equals and not re.fullmatch('[A-Za-z][A-Za-z0-9_]*', name):
        raise ValueError(
            f'camera {wanted!r}: expected a name of letters, digits and _ before the ='
        )
    return name, topic


def _only(bag: Bag) -> str:
    pictures = [topic for topic in bag.topics.values() if topic.msgtype in IMAGES and topic.count]
    if not pictures:
        there = ', '.join(sorted(bag.topics)) or 'nothing'
        damage = f' ({bag.damage})' if bag.damage else ''
        raise ValueError(f'{bag.path}: no pictures in it; there are {there}{damage}')
    if len(pictures) == 1:
        return pictures[0].name
    coloured = [topic for topic in pictures if _is_colour(bag, topic.name)]
    if len(coloured) == 1:
        return coloured[0].name
    rows = '\n'.join(
        f'  {one.name} ({one.count} of {one.msgtype})' for one in coloured or pictures
    )
    raise ValueError(f'{bag.path}: choose with --camera, there are pictures on\n{rows}')


def _is_colour(bag: Bag, topic: str) -> bool:
    for raw in bag.messages([topic]):
        try:
            message = bag.decode(raw)
        except ValueError:
            continue
        if raw.msgtype == COMPRESSED:
            return 'compresseddepth' not in message.format.lower()
        return message.encoding in _COLOURS
    return False


def _check(bag: Bag, topic: str, kinds: tuple[str, ...], what: str) -> None:
    there = [one.name for one in bag.topics.values() if one.msgtype in kinds]
    if topic in there:
        return
    if topic in bag.topics:
        problem = f'{topic} has messages of {bag.topics[topic].msgtype}, which are no {what}'
    else:
        near = difflib.get_close_matches(topic, there, n=1)
        problem = f'no topic {topic!r}' + (f'; did you mean {near[0]!r}?' if near else '')
    known = f'; {what} are on {", ".join(there)}' if there else f'; no topic has {what}'
    raise ValueError(f'{bag.path}: {problem}{known}')


def _names(topics: Sequence[str]) -> list[str]:
    """Short names that tell the topics apart: the last parts that say which camera it is."""
    kept = []
    for topic in topics:
        parts = [part for part in topic.split('/') if part]
        kept.append([part for part in parts if not _PLAIN.fullmatch(part)] or parts)
    for length in range(1, max(map(len, kept)) + 1):
        names = ['_'.join(parts[-length:]) for parts in kept]
        if len(set(names)) == len(names):
            return names
    return ['_'.join(part for part in topic.split('/') if part) for topic in topics]
