# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are cameras, and which topics belong to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import difflib
import re
from typing import TYPE_CHECKING

from diception_ros.messages import encodings
from diception_ros.messages.compressed import VIDEO_TYPES, republish

if TYPE_CHECKING:
    from diception_ros.bags.reader import Bag

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'
IMAGES = (IMAGE, COMPRESSED)
# Name that image_transport appends to the topic of the images that it compresses.
_TRANSPORT = '/compressed'
# Encodings of a camera's images, in contrast to those of depth and label maps.
_COLOURS = {
    name for name, layout in encodings.LAYOUTS.items() if layout.channels > 1 or 'bayer' in name
} | set(encodings.PLANES)
# Last parts of topics that name the content and not the camera.
_PLAIN = re.compile('(image|compressed|rgb|color)([_0-9].*)?|raw')


@dataclass(frozen=True)
class Camera:
    """A camera of a bag.

    Attributes:
        name: in the topics of its results; '' for a single camera.
        topic: of its images.
        info: of its CameraInfo; '' if the bag has none.
        reference: of depths for `depth.metric: aligned`; '' without.
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
    """The cameras whose images are used.

    Args:
        bag: the bag.
        wanted: topics of images, or NAME=TOPIC to name the camera; none for the only camera of
            the bag.
        infos: topics of CameraInfo, one for each camera; none: beside the images, where
            image_transport puts it.
        references: topics of depths, one for each camera, or none.

    Raises:
        ValueError: a topic is missing or of another type, or the bag has several cameras and
            `wanted` names none; the message lists them.
    """
    pairs = [_split(text) for text in wanted] if wanted else [('', _only(bag))]
    topics = [topic for _, topic in pairs]
    for topic in topics:
        _check(bag, topic, IMAGES, 'images')
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
            _check(bag, reference, (*IMAGES, 'sensor_msgs/msg/PointCloud2'), 'depths')
        found.append(Camera(name, topic, info, reference))
    return found


def beside(topic: str) -> str:
    """The topic of the CameraInfo of a topic of images, by image_transport's convention."""
    return _base(topic).rpartition('/')[0] + '/camera_info'


def _base(topic: str) -> str:
    """The topic of images without the name of a transport."""
    return topic.removesuffix(_TRANSPORT)


def _split(wanted: str) -> tuple[str, str]:
    name, equals, topic = wanted.rpartition('=')
    if equals and not re.fullmatch('[A-Za-z][A-Za-z0-9_]*', name):
        raise ValueError(
            f'camera {wanted!r}: expected a name of letters, digits and _ before the ='
        )
    return name, topic


def image_topics(bag: Bag) -> list[str]:
    """Topics of colour images, else of images; the raw one of a camera with both.

    Raises:
        ValueError: there are none; the message lists the topics that there are.
    """
    images = [name for name, t in bag.topics.items() if t.msgtype in IMAGES and t.count]
    if not images:
        known = ', '.join(f'{t.name} ({t.msgtype})' for _, t in sorted(bag.topics.items()))
        damage = f' ({bag.damage})' if bag.damage else ''
        text = f'no images in it; there are {known or "no topics"}{damage}'
        for name, topic in bag.topics.items():
            if transport := VIDEO_TYPES.get(topic.msgtype):
                text += f'; decode the video first: {republish(transport, name)}'
                break
        raise ValueError(f'{bag.path}: {text}')
    images = [name for name in images if name == _base(name) or _base(name) not in images]
    return [n for n in images if len(images) == 1 or _is_colour(bag, n)] or images


def _only(bag: Bag) -> str:
    """The only camera's topic of images.

    Raises:
        ValueError: there are none or several.
    """
    found = image_topics(bag)
    if len(found) == 1:
        return found[0]
    rows = '\n'.join(
        f'  {name} ({bag.topics[name].count} of {bag.topics[name].msgtype})' for name in found
    )
    raise ValueError(f'{bag.path}: choose with --camera, there are images on\n{rows}')


def _is_colour(bag: Bag, topic: str) -> bool:
    """Whether the first image of a topic that can be decoded has colours."""
    for raw in bag.messages([topic]):
        try:
            message = bag.decode(raw)
        except ValueError:
            continue
        if raw.msgtype == COMPRESSED:
            return 'compresseddepth' not in f'{topic} {message.format}'.lower()
        return message.encoding in _COLOURS
    return False


def _check(bag: Bag, topic: str, msgtypes: tuple[str, ...], what: str) -> None:
    known = [name for name, found in bag.topics.items() if found.msgtype in msgtypes]
    if topic in known:
        return
    if topic in bag.topics:
        problem = f'{topic} has messages of {bag.topics[topic].msgtype}, which are no {what}'
    else:
        near = difflib.get_close_matches(topic, known, n=1)
        problem = f'no topic {topic!r}' + (f'; did you mean {near[0]!r}?' if near else '')
    topics = f'; {what} are on {", ".join(known)}' if known else f'; no topic has {what}'
    raise ValueError(f'{bag.path}: {problem}{topics}')


def _names(topics: Sequence[str]) -> list[str]:
    """Short names that differ: the last parts of the topics that name the camera."""
    kept = []
    for topic in topics:
        parts = [part for part in topic.split('/') if part]
        kept.append([part for part in parts if not _PLAIN.fullmatch(part)] or parts)
    for length in range(1, max(map(len, kept)) + 1):
        names = ['_'.join(parts[-length:]) for parts in kept]
        if len(set(names)) == len(names):
            return names
    return ['_'.join(part for part in topic.split('/') if part) for topic in topics]
