# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of ROS 2 messages in the mcap format, through `rosbags`: no ROS is needed.

The definitions of the messages lie in the file, so Foxglove and `ros2 bag` open it anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import fields
from pathlib import Path
import shutil
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

# The oldest supported distribution; the messages used here have not changed since.
TYPES = get_typestore(Stores.ROS2_HUMBLE)
# Not part of any store. The interface of vision_msgs 4.1, of Humble and of all since.
VISION = {
    'Point2D': 'float64 x\nfloat64 y',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta',
    'BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y',
    'ObjectHypothesis': 'string class_id\nfloat64 score',
    'ObjectHypothesisWithPose': (
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose'
    ),
    'Detection2D': (
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id'
    ),
    'Detection2DArray': 'std_msgs/Header header\nvision_msgs/Detection2D[] detections',
    'VisionClass': 'uint16 class_id\nstring class_name',
    'LabelInfo': (
        'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold'
    ),
}
for _name, _fields in VISION.items():
    TYPES.register(get_types_from_msg(_fields, f'vision_msgs/msg/{_name}'))


class BagTypes:
    """Makes messages that a BagWriter takes; the counterpart of `ros.types.RosTypes`."""

    def make(self, kind: str, **fields: Any) -> Any:
        """See `messages.Types`; arrays are kept as they are, not copied.

        Raises:
            ValueError: there is no such message.
        """
        if not self.has(kind):
            raise ValueError(f'no message {kind!r} in the definitions for bags')
        return TYPES.types[kind](**fields)

    def has(self, kind: str) -> bool:
        """Whether a bag can hold messages of the kind."""
        return kind in TYPES.types


class Recorded(NamedTuple):
    """One message of a bag.

    Attributes:
        topic: its name.
        kind: type of the message, e.g. 'sensor_msgs/msg/Image'.
        stamp_ns: when it was recorded, nanoseconds since the epoch.
        message: the message.
        data: the message as bytes, CDR.
    """

    topic: str
    kind: str
    stamp_ns: int
    message: Any
    data: bytes


class BagWriter:
    """Writes one .mcap file; use it in a `with`.

    The file appears under its name when all went well, never half-written.

    Args:
        path: of the file, ending in .mcap.
        force: replace a file that is there.

    Raises:
        ValueError: the name does not end in .mcap.
        FileExistsError: there is something already, and `force` is not given or it is no file.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        if path.suffix != '.mcap':
            raise ValueError(f'{path}: expected a name that ends in .mcap')
        if path.exists() and not (force and path.is_file()):
            hint = '; --force replaces it' if path.is_file() else ' and is no file'
            raise FileExistsError(f'{path} exists{hint}')
        self.path = path
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> Self:
        # rosbags writes a folder with the file in it, and the file's name into the file.
        self._folder = Path(tempfile.mkdtemp(prefix=f'.{self.path.stem}.', dir=self.path.parent))
        inner = self._folder / self.path.stem
        self._writer = Writer(inner, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        return self

    def write(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Write one message.

        Args:
            topic: its name; all messages of one topic are of one type.
            message: of one of the types of `TYPES`.
            stamp_ns: when it was recorded, nanoseconds since the epoch.
        """
        kind = message.__msgtype__
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, kind, typestore=TYPES)
            self._connections[topic] = connection
        self._writer.write(connection, stamp_ns, TYPES.serialize_cdr(message, kind))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                (written,) = self._folder.glob('*/*.mcap')
                written.replace(self.path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def topics_of(path: Path) -> dict[str, str]:
    """The type of the messages of each topic of a bag, e.g. 'sensor_msgs/msg/Image'.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no bag.
    """
    with _opened(path) as reader:
        return {one.topic: one.msgtype for one in reader.connections}


def read(path: Path, topics: tuple[str, ...] = ()) -> Iterator[Recorded]:
    """Read a bag in the order of recording.

    Args:
        path: an .mcap file, or a bag's folder with its metadata.yaml.
        topics: the topics wanted; none for all.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no bag, or a topic is not in it.
    """
    with _opened(path) as reader:
        known = {connection.topic for connection in reader.connections}
        missing = sorted(set(topics) - known)
        if missing:
            raise ValueError(
                f'{path}: no topic {missing[0]!r}; there are {", ".join(sorted(known))}'
            )
        wanted = [one for one in reader.connections if not topics or one.topic in topics]
        for connection, stamp_ns, data in reader.messages(wanted) if wanted else ():
            message = reader.deserialize(data, connection.msgtype)
            yield Recorded(connection.topic, connection.msgtype, stamp_ns, message, bytes(data))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[AnyReader]:
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such bag')
    try:
        with AnyReader([path], default_typestore=TYPES) as reader:
            yield reader
    except AnyReaderError as error:
        raise ValueError(f'{path}: not a bag that can be read ({error})') from error


# Messages of ROS 1 as those of ROS 2.


def modern(message: Any, kind: str) -> Any:
    """A message of ROS 1 as one of ROS 2: CameraInfo has small letters, Header counts no more."""
    kind = 'tf2_msgs/msg/TFMessage' if kind == 'tf/msg/tfMessage' else kind
    if kind not in TYPES.types:
        return message
    known = {one.name.lower(): one.name for one in fields(message)}
    found = {}
    made: Any = TYPES.types[kind]
    for one in fields(made):
        if one.name.lower() not in known:
            raise ValueError(f'a {kind} of ROS 1 has no field {one.name}')
        found[one.name] = _value(getattr(message, known[one.name.lower()]))
    return made(**found)


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(one) for one in value]
    kind = getattr(value, '__msgtype__', '')
    return modern(value, kind) if kind else value
