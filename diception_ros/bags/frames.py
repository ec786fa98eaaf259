# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The cameras of a bag, and their images in order, each with its CameraInfo and depth reference.

`messages.synchronizer` defines which messages belong to an image. They may be logged after it, so
an image is held back, undecoded, until they were read or are too late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
import contextlib
from dataclasses import dataclass
import difflib
import re
from typing import TYPE_CHECKING, Any

from diception_ros.messages import MessageError, encodings, poses, stamp_of
from diception_ros.messages import images as image_messages
from diception_ros.messages.compressed import VIDEO_TYPES, republish
from diception_ros.messages.encodings import Decoder, decode
from diception_ros.messages.synchronizer import REFERENCE_CAPACITY, CameraInfoCache, MessageCache
from diception_ros.system.ros_environment import camera_info_topic

if TYPE_CHECKING:
    from diception_ros.bags.reader import Bag
    from diception_ros.bags.typestore import RawMessage
    from diception_ros.core.frame import Frame


IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'
IMAGES = (IMAGE, COMPRESSED)
# Name that image_transport appends to the topic of the images that it compresses.
_TRANSPORT = '/compressed'
# Encodings of a camera's images, in contrast to those of depth and label maps.
_COLORS = {
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
    camera_infos: Sequence[str] = (),
    references: Sequence[str] = (),
) -> list[Camera]:
    """The cameras whose images are used.

    Args:
        bag: the bag.
        wanted: topics of images, or NAME=TOPIC to name the camera; none for the only camera of
            the bag.
        camera_infos: topics of CameraInfo, one for each camera; none: beside the images, where
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
    for listed, option in (
        (camera_infos, '--camera-info'),
        (references, '--depth-reference'),
    ):
        if listed and len(listed) != len(pairs):
            raise ValueError(
                f'{option} names {len(listed)} topics for {len(pairs)} cameras; give one for each'
            )
    names = [name for name, _ in pairs]
    if len(pairs) > 1 and not all(names):
        derived = _names(topics)
        names = [name or other for name, other in zip(names, derived, strict=True)]
    if len(set(names)) < len(names):
        raise ValueError(f'two cameras have one name: {", ".join(names)}; give NAME=TOPIC')
    cameras = []
    for k, (name, topic) in enumerate(zip(names, topics, strict=True)):
        info = camera_infos[k] if camera_infos else camera_info_topic(topic)
        if camera_infos:
            _check(bag, info, (INFO,), 'CameraInfo')
        elif info not in bag.topics or bag.topics[info].msgtype != INFO:
            info = ''
        reference = references[k] if references else ''
        if reference:
            _check(bag, reference, (*IMAGES, 'sensor_msgs/msg/PointCloud2'), 'depths')
        cameras.append(Camera(name, topic, info, reference))
    return cameras


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
    return [n for n in images if len(images) == 1 or _is_color(bag, n)] or images


def _only(bag: Bag) -> str:
    """The only camera's topic of images.

    Raises:
        ValueError: there are none or several.
    """
    topics = image_topics(bag)
    if len(topics) == 1:
        return topics[0]
    rows = '\n'.join(
        f'  {name} ({bag.topics[name].count} of {bag.topics[name].msgtype})' for name in topics
    )
    raise ValueError(f'{bag.path}: choose with --camera, there are images on\n{rows}')


def _is_color(bag: Bag, topic: str) -> bool:
    """Whether the first image of a topic that can be decoded has colours."""
    for raw in bag.messages([topic]):
        try:
            message = bag.decode(raw)
        except ValueError:
            continue
        if raw.msgtype == COMPRESSED:
            return 'compresseddepth' not in f'{topic} {message.format}'.lower()
        return message.encoding in _COLORS
    return False


def _check(bag: Bag, topic: str, msgtypes: tuple[str, ...], what: str) -> None:
    known = [name for name, details in bag.topics.items() if details.msgtype in msgtypes]
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
    telling = []
    for topic in topics:
        parts = [part for part in topic.split('/') if part]
        telling.append([part for part in parts if not _PLAIN.fullmatch(part)] or parts)
    for length in range(1, max(map(len, telling)) + 1):
        names = ['_'.join(parts[-length:]) for parts in telling]
        if len(set(names)) == len(names):
            return names
    return ['_'.join(part for part in topic.split('/') if part) for topic in topics]


# Log time for which an image waits for its messages. Drivers publish them at once; a writer under
# load was seen to log them up to a few tenths of a second later.
PATIENCE_NS = 500_000_000
# Messages of a topic that `MessageLookup` keeps.
LOOKUP_CAPACITY = 256


@dataclass(frozen=True, eq=False)
class CopiedMessage:
    """A message that is only copied, and the base of the images.

    Attributes:
        raw: the message.
        copied: whether it is copied into the output.
    """

    raw: RawMessage
    copied: bool


@dataclass(frozen=True, eq=False)
class ImageFrame(CopiedMessage):
    """An image to run inference on.

    Attributes:
        camera: that it is from.
        frame: the decoded image.
        header: std_msgs/Header of the image.
        info: CameraInfo that belongs to it, or None.
        reference: message with depths that belongs to it, or None.
        gravity: its direction in the frame of the image, by /tf; None where it is not known.
    """

    camera: Camera
    frame: Frame
    header: Any
    info: Any
    reference: Any
    gravity: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class SkippedImage(CopiedMessage):
    """An image that cannot be decoded.

    Attributes:
        camera: that it is from.
        problem: type of fault, and the reason in one sentence.
    """

    camera: Camera
    problem: tuple[str, str]


@dataclass(frozen=True)
class FrameSelection:
    """Which images of each camera are used.

    Attributes:
        start_ns: log time of the first, nanoseconds since the epoch; None: the first of the bag.
        stop_ns: log time before which the last one is; None: the end of the bag.
        every: the first and every n-th image after it.
        limit: number of images of each camera; 0 for all.
    """

    start_ns: int | None = None
    stop_ns: int | None = None
    every: int = 1
    limit: int = 0

    def takes(self, number: int) -> bool:
        """Whether the image with this number, from 0, is used."""
        return number % self.every == 0 and (not self.limit or number // self.every < self.limit)

    def complete(self, counts: Collection[int]) -> bool:
        """Whether no further image is used, after so many of each camera were read."""
        return bool(self.limit) and all(n > (self.limit - 1) * self.every for n in counts)


def frames(
    bag: Bag,
    cameras: Sequence[Camera],
    selection: FrameSelection,
    copy: bool = False,
    skip: int = 0,
    tolerance_s: float = 0.05,
    decoder: Decoder = decode,
    gravity_frame: str = '',
) -> Iterator[CopiedMessage]:
    """Read the images of a bag.

    Args:
        bag: the bag.
        cameras: whose images are used.
        selection: which of them.
        copy: yield all messages of the bag, not only the selected images.
        skip: number of yields to leave out at the beginning, for a resumed replay; the messages
            that belong to later images are still read.
        tolerance_s: largest difference of the stamps of an image and its reference, seconds.
        decoder: converts raw images, see `encodings.decoder`.
        gravity_frame: frame of /tf with z up; '' where the direction of gravity is of no use.

    Yields:
        `ImageFrame`, `SkippedImage` or `CopiedMessage`, in the order of the bag.
    """
    tolerance_ns = round(tolerance_s * 1e9)
    transforms = _transforms(bag, gravity_frame)
    images = {
        camera.topic: _CameraMessages(bag, camera, tolerance_ns, decoder, transforms)
        for camera in cameras
    }
    listeners: dict[str, list[_CameraMessages | _Transforms]] = {}
    if transforms is not None and poses.TF in bag.topics:
        listeners[poses.TF] = [transforms]
    for messages in images.values():
        for topic in (messages.camera.info, messages.camera.reference):
            if topic:
                listeners.setdefault(topic, []).append(messages)
    topics = None if copy else [*images, *listeners]
    waiting: deque[tuple[RawMessage, _CameraMessages | None]] = deque()
    counts = dict.fromkeys(images, 0)
    yielded = 0

    def ready(now_ns: int | None) -> Iterator[CopiedMessage]:
        nonlocal yielded
        while waiting:
            raw, source = waiting[0]
            if source is not None and now_ns is not None and not source.complete(raw, now_ns):
                return
            waiting.popleft()
            yielded += 1
            if yielded > skip:
                yield CopiedMessage(raw, copy) if source is None else source.frame(raw, copy)

    for raw in bag.messages(topics, selection.start_ns, selection.stop_ns):
        for listener in listeners.get(raw.topic, ()):
            listener.add(raw)
        source = images.get(raw.topic)
        if source is not None:
            source = source if selection.takes(counts[raw.topic]) else None
            counts[raw.topic] += 1
        if source is not None or copy:
            waiting.append((raw, source))
        yield from ready(raw.stamp_ns)
        if not (copy or waiting) and selection.complete(counts.values()):
            return
    yield from ready(None)


class _Transforms:
    """The transforms of a bag, and the frame whose z axis points up."""

    def __init__(self, bag: Bag, level_frame: str) -> None:
        self.buffer, self.level_frame = poses.TransformBuffer(), level_frame
        self._bag = bag

    def add(self, raw: RawMessage) -> None:
        """Store the transforms of a message."""
        with contextlib.suppress(ValueError):  # one that cannot be read is missing
            self.buffer.add(self._bag.decode(raw), raw.topic == poses.TF_STATIC)


def _transforms(bag: Bag, level_frame: str) -> _Transforms | None:
    """Transforms with all static ones of the bag, which are recorded where recording began."""
    topics = [
        name for name in (poses.TF, poses.TF_STATIC)
        if name in bag.topics and bag.topics[name].msgtype == poses.TRANSFORMS
    ]  # fmt: skip
    if not level_frame or not topics:
        return None
    transforms = _Transforms(bag, level_frame)
    if poses.TF_STATIC in topics:
        for raw in bag.messages([poses.TF_STATIC]):
            transforms.add(raw)
    return transforms


class _CameraMessages:
    """Messages that belong to the images of one camera."""

    def __init__(
        self,
        bag: Bag,
        camera: Camera,
        tolerance_ns: int,
        decoder: Decoder,
        transforms: _Transforms | None,
    ) -> None:
        self.camera, self._transforms = camera, transforms
        self._bag, self._tolerance_ns, self._decoder = bag, tolerance_ns, decoder
        self._infos = CameraInfoCache()
        self._references: MessageCache[Any] = MessageCache(REFERENCE_CAPACITY)
        self._decoded: tuple[RawMessage, Any, int] | None = None
        self._fault = 'message', ''

    def add(self, raw: RawMessage) -> None:
        """Store a CameraInfo or a depth reference."""
        try:
            message = self._bag.decode(raw)
            stamp_ns = stamp_of(message.header)
        except ValueError:
            return  # the outputs that need it report that it is missing
        if raw.topic == self.camera.info:
            self._infos.add_info(message)
        if raw.topic == self.camera.reference:
            self._references.add(stamp_ns, message)

    def complete(self, raw: RawMessage, now_ns: int) -> bool:
        """Whether no message that belongs to an image is awaited any more."""
        if now_ns - raw.stamp_ns > PATIENCE_NS:
            return True
        message, stamp_ns = self._decode(raw)
        if self.camera.info and self._infos.newest_ns < stamp_ns:
            return False
        if message is not None and self._transforms is not None:
            frame_id, level = message.header.frame_id, self._transforms.level_frame
            if not self._transforms.buffer.complete(frame_id, level, stamp_ns):
                return False
        last_ns = stamp_ns + self._tolerance_ns
        return not self.camera.reference or self._references.newest_ns >= last_ns

    def frame(self, raw: RawMessage, copied: bool) -> CopiedMessage:
        """The image with what belongs to it."""
        message, stamp_ns = self._decode(raw)
        self._decoded = None
        if message is None:
            kind, reason = self._fault
            text = f'topic {raw.topic}: a {raw.msgtype} that cannot be read: {reason}'
            return SkippedImage(raw, copied, self.camera, (kind, text))
        info, _ = self._infos.match(message)
        no_info = self._infos.why_none(message) if info is None else ''
        try:
            frame = image_messages.frame_from(message, info, self._decoder, no_info)
        except MessageError as error:
            return SkippedImage(raw, copied, self.camera, (error.kind, str(error)))
        reference = self._references.nearest(stamp_ns, self._tolerance_ns)
        gravity = None
        if self._transforms is not None:
            gravity = self._transforms.buffer.gravity(
                frame.frame_id, self._transforms.level_frame, stamp_ns
            )
        return ImageFrame(
            raw, copied, self.camera, frame, message.header, info, reference, gravity
        )

    def _decode(self, raw: RawMessage) -> tuple[Any, int]:
        """Message and stamp; None and -1 if it cannot be read. Keeps the last one."""
        if self._decoded is None or self._decoded[0] is not raw:
            try:
                message = self._bag.decode(raw)
                self._decoded = raw, message, stamp_of(message.header)
            except ValueError as error:
                self._decoded = raw, None, -1
                self._fault = getattr(error, 'kind', 'message'), str(error)
        return self._decoded[1:]


class MessageLookup:
    """Messages of some topics of a bag by stamp, for readers that go through it in order.

    Args:
        bag: one that nothing else reads.
        topics: of messages with a header, or of transforms.
        start_ns: log time before which nothing is looked up, None for the beginning.
    """

    def __init__(self, bag: Bag, topics: Collection[str], start_ns: int | None = None) -> None:
        self._bag = bag
        start = None if start_ns is None else start_ns - PATIENCE_NS
        self._stream = bag.messages(list(topics), start) if topics else iter(())
        self._cached: dict[str, MessageCache[Any]] = {
            topic: MessageCache(LOOKUP_CAPACITY) for topic in topics
        }
        self._now_ns = -1

    def nearest(self, topic: str, stamp_ns: int, log_ns: int, tolerance_ns: int) -> Any | None:
        """The message of a topic with the nearest stamp, None if it is further than the tolerance.

        `log_ns` is the log time of the image with this stamp; never less than in the call before.
        """
        while self._now_ns <= log_ns + PATIENCE_NS:
            raw = next(self._stream, None)
            if raw is None:
                break
            self._now_ns = raw.stamp_ns
            try:
                message = self._bag.decode(raw)
                stamp = stamp_of(header_of(message))
            except (ValueError, AttributeError, IndexError):
                continue  # counted as missing
            self._cached[raw.topic].add(stamp, message)
        return self._cached[topic].nearest(stamp_ns, tolerance_ns)


def header_of(message: Any) -> Any:
    """The header of a message, or of its first transform."""
    return message.transforms[0].header if hasattr(message, 'transforms') else message.header
