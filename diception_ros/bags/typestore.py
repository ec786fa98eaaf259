# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of bags and their types, through `rosbags`: no ROS is needed.

A message is decoded by the definition that its bag holds, whatever ROS knows of it. Messages of
ROS 1 are converted to those of ROS 2, images of Foxglove to those of sensor_msgs.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import fields
import functools
import re
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from diception_ros.system import safe_load

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

# Types of ROS 1 that have another name in ROS 2.
_RENAMED = {'tf/msg/tfMessage': 'tf2_msgs/msg/TFMessage'}
# Before each file of a definition in IDL.
_IDL_RULE = '=' * 80 + '\n'


class Definition(NamedTuple):
    """Definition of a type of messages, as a bag holds it.

    Attributes:
        name: of the type, as it stands in the bag.
        encoding: 'ros2msg', 'ros2idl', 'ros1msg', 'protobuf', 'jsonschema', ...; '' if unknown.
        data: the definition; empty where the bag has none.
    """

    name: str
    encoding: str = ''
    data: bytes = b''

    @classmethod
    def of_text(cls, name: str, text: str) -> Definition:
        """One in the language of .msg files or of IDL, or an empty one."""
        encoding = 'ros2idl' if text.startswith(_IDL_RULE) else 'ros2msg'
        return cls(name, encoding, text.encode()) if text else cls(name)

    @property
    def msgtype(self) -> str:
        """Type of the decoded message in ROS 2, such as 'sensor_msgs/msg/Image'."""
        name = self.name
        if self.encoding in ('ros1msg', 'ros2msg') and name.count('/') == 1:
            name = name.replace('/', '/msg/')
        return FOXGLOVE_MSGTYPES.get(name, _RENAMED.get(name, name))


class RawMessage(NamedTuple):
    """One message of a bag.

    Attributes:
        topic: its name.
        msgtype: of the decoded message, e.g. 'sensor_msgs/msg/Image'.
        definition: of the type in the bag.
        stamp_ns: log time, nanoseconds since the epoch.
        data: the message as it stands in the bag, uncompressed.
        encoding: of the data: 'cdr' of ROS 2, 'ros1', or another, such as 'json', 'protobuf'.
        qos: what the publishers of its topic offered, for `qos_from_text`; '' if unknown.
    """

    topic: str
    msgtype: str
    definition: Definition
    stamp_ns: int
    data: bytes
    encoding: str = 'cdr'
    qos: str = ''


class BagTypes:
    """Makes messages for bags; the counterpart of `node.publishers.RosTypes`."""

    def make(self, kind: str, **fields: Any) -> Any:
        """See `messages.Types`; arrays are kept as they are, not copied.

        Raises:
            ValueError: there is no such message.
        """
        if not self.has(kind):
            raise ValueError(f'no message {kind!r} in the definitions for bags')
        return TYPES.types[kind](**fields)

    def has(self, kind: str) -> bool:
        """Whether a bag can hold messages of the type."""
        return kind in TYPES.types


def definition_of(store: Any, msgtype: str) -> str:
    """The text that defines a type of messages, with all that it needs."""
    return str(store.generate_msgdef(msgtype, ros_version=2)[0])


def decode(raw: RawMessage) -> Any:
    """The message, with the fields that it has in ROS 2.

    Raises:
        ValueError: the definition is missing or unknown, or the data do not fit it.
    """
    return _decoded(raw)[0]


def to_cdr(raw: RawMessage) -> tuple[str, bytes]:
    """Definition and CDR of a message, for a publisher or a bag of ROS 2.

    Raises:
        ValueError: as `decode`.
    """
    if raw.encoding == 'cdr' and raw.msgtype == raw.definition.msgtype == raw.definition.name:
        if raw.definition.data:
            return raw.definition.data.decode(errors='replace'), raw.data
        if raw.msgtype in TYPES.types:
            return definition_of(TYPES, raw.msgtype), raw.data
    message, store = _decoded(raw)
    return definition_of(store, raw.msgtype), bytes(store.serialize_cdr(message, raw.msgtype))


def to_copy(raw: RawMessage) -> tuple[Definition, bytes, str]:
    """Definition, data and encoding with which a message is copied into a bag of ROS 2.

    Messages of ROS 1 are converted, since no ROS 2 reads them; all others stay as they are.

    Raises:
        ValueError: the definition is missing, or a message of ROS 1 cannot be converted.
    """
    if raw.encoding == 'ros1' or (raw.encoding == 'cdr' and not raw.definition.data):
        text, data = to_cdr(raw)
        return Definition.of_text(raw.msgtype, text), data, 'cdr'
    return raw.definition, raw.data, raw.encoding


def _decoded(raw: RawMessage) -> tuple[Any, Any]:
    """A message, and the store of its type."""
    definition = raw.definition
    ros = raw.encoding in ('cdr', 'ros1')
    if not (ros or raw.encoding in FOXGLOVE_DECODERS):
        raise ValueError(
            f'topic {raw.topic}: {definition.name} is encoded as {raw.encoding!r}; expected cdr, '
            'ros1, or an image of Foxglove as protobuf or json'
        )
    known = raw.encoding == 'cdr' and raw.msgtype in TYPES.types
    if not (definition.data or known or raw.encoding == 'json'):
        raise ValueError(f'topic {raw.topic} has no definition of {definition.name}')
    try:
        read, store = _reader(definition, raw.encoding)
    except Exception as error:  # parsers of definitions raise errors of every type
        raise ValueError(
            f'topic {raw.topic}: no definition of {definition.name} ({_reason(error)})'
        ) from error
    try:
        return read(raw.data), store
    except Exception as error:  # and so do generated readers, on data that does not fit
        raise ValueError(
            f'topic {raw.topic}: a {raw.msgtype} that cannot be read ({_reason(error)})'
        ) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


@functools.lru_cache(maxsize=256)
def _reader(definition: Definition, encoding: str) -> tuple[Callable[[bytes], Any], Any]:
    """What decodes messages, and the store of their type; kept, since its code is generated."""
    msgtype = definition.msgtype
    if encoding in FOXGLOVE_DECODERS:
        parse = FOXGLOVE_DECODERS[encoding](definition.name, definition.data)
        return lambda data: _foxglove_to_ros(parse(data), msgtype, TYPES.types), TYPES
    if not definition.data:
        return lambda data: TYPES.deserialize_cdr(data, msgtype), TYPES
    name = definition.name if '/msg/' in definition.name else msgtype
    if definition.name.count('/') == 1:
        name = definition.name.replace('/', '/msg/')
    text = definition.data.decode()
    idl = definition.encoding in ('ros2idl', 'omgidl')
    types = _types_from_idl(text) if idl else get_types_from_msg(text, name)
    store: Any = get_typestore(Stores.EMPTY)
    store.register(types)
    if encoding == 'ros1':
        target = TYPES if msgtype in TYPES.types else _upgraded(types)
        return lambda data: _to_ros2(store.deserialize_ros1(data, name), msgtype, target), target
    if msgtype != name:  # of foxglove_msgs
        read = store.deserialize_cdr
        return lambda data: _foxglove_to_ros(read(data, name), msgtype, TYPES.types), TYPES
    return lambda data: store.deserialize_cdr(data, name), store


def _types_from_idl(text: str) -> Any:
    """As `get_types_from_msg`; IDL names the type itself."""
    # Some versions of rosbags refuse lines of the preprocessor.
    text = re.sub(r'(?m)^[ \t]*#.*$', '', text)
    types: dict[str, Any] = {}
    for part in text.split(_IDL_RULE)[1:] if text.startswith(_IDL_RULE) else [text]:
        types.update(get_types_from_idl(part.split('\n', 1)[1] if part != text else part))
    return types


def _upgraded(types: Any) -> Any:
    """A store of types of ROS 1 with those that they are made of as they are in ROS 2."""
    store: Any = get_typestore(Stores.EMPTY)
    store.register({**TYPES.fielddefs, **{n: t for n, t in types.items() if n not in TYPES.types}})
    return store


def _to_ros2(message: Any, msgtype: str, store: Any) -> Any:
    """A message of ROS 1 as one of ROS 2: CameraInfo has small letters, Header has no seq."""
    known = {field.name.lower(): field.name for field in fields(message)}
    ros2_fields = {}
    made: Any = store.types[msgtype]
    for field in fields(made):
        if field.name.lower() not in known:
            raise ValueError(f'a {msgtype} of ROS 1 has no field {field.name}')
        ros2_fields[field.name] = _to_ros2_value(
            getattr(message, known[field.name.lower()]), store
        )
    return made(**ros2_fields)


def _to_ros2_value(value: Any, store: Any) -> Any:
    if isinstance(value, list):
        return [_to_ros2_value(element, store) for element in value]
    msgtype = getattr(value, '__msgtype__', '')
    return _to_ros2(value, _RENAMED.get(msgtype, msgtype), store) if msgtype else value


# Images and CameraInfo of Foxglove's schemas, as protobuf, as JSON and as foxglove_msgs of ROS.
# They become messages of sensor_msgs, so that all that reads images reads them.
# Source: docs.foxglove.dev/docs/sdk/schemas.

# Types of sensor_msgs by the name of the schema.
FOXGLOVE_MSGTYPES = {
    prefix + name: f'sensor_msgs/msg/{msgtype}'
    for prefix in ('foxglove.', 'foxglove_msgs/msg/')
    for name, msgtype in (
        ('CompressedImage', 'CompressedImage'), ('RawImage', 'Image'),
        ('CameraCalibration', 'CameraInfo'),
    )
}  # fmt: skip


def _foxglove_to_ros(message: Any, msgtype: str, types: Any) -> Any:
    """A message with the fields of a schema of Foxglove, as one of sensor_msgs of class `msgtype`.

    Raises:
        ValueError: the message is none of `FOXGLOVE_MSGTYPES`.
        AttributeError: a field is missing.
    """
    if msgtype not in FOXGLOVE_MSGTYPES.values():
        raise ValueError('expected an image or a calibration of Foxglove')
    header = types['std_msgs/msg/Header'](
        stamp=_time(message.timestamp, types), frame_id=message.frame_id
    )
    if msgtype.endswith('CompressedImage'):
        return types[msgtype](header=header, format=message.format, data=_bytes(message.data))
    size = {'height': int(message.height), 'width': int(message.width)}
    if msgtype.endswith('/Image'):
        return types[msgtype](
            header=header, encoding=message.encoding, is_bigendian=0, step=int(message.step),
            data=_bytes(message.data), **size,
        )  # fmt: skip
    roi = types['sensor_msgs/msg/RegionOfInterest'](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    matrices = {name: _numbers(message, name) for name in 'dkrp'}
    for name, count in (('k', 9), ('r', 9), ('p', 12)):
        if not matrices[name].size:  # unknown, for which sensor_msgs has zeros
            matrices[name] = np.zeros(count)
    return types[msgtype](
        header=header, distortion_model=message.distortion_model, binning_x=0, binning_y=0,
        roi=roi, **matrices, **size,
    )  # fmt: skip


def _numbers(message: Any, name: str) -> Any:
    """A matrix; its name is a capital letter in protobuf and JSON."""
    values = getattr(message, name.upper(), None)
    return np.asarray(getattr(message, name, ()) if values is None else values, np.float64)


def _time(stamp: Any, types: Any) -> Any:
    """Protobuf has seconds and nanos, JSON sec and nsec, ROS sec and nanosec."""
    seconds = getattr(stamp, 'seconds', None)
    seconds = stamp.sec if seconds is None else seconds
    rest = next(
        getattr(stamp, name) for name in ('nanos', 'nsec', 'nanosec') if hasattr(stamp, name)
    )
    return types['builtin_interfaces/msg/Time'](sec=int(seconds), nanosec=int(rest))


def _bytes(data: Any) -> Any:
    data = base64.b64decode(data, validate=True) if isinstance(data, str) else data
    return np.frombuffer(bytes(data), np.uint8)


def _attributes(value: Any) -> Any:
    """A JSON value with attributes in place of the keys of its objects."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: _attributes(item) for name, item in value.items()})
    return [_attributes(item) for item in value] if isinstance(value, list) else value


def _json(name: str, definition: bytes) -> Callable[[bytes], Any]:
    def parse(data: bytes) -> Any:
        return _attributes(safe_load.json_text(data, 'message'))

    return parse


def _protobuf(name: str, definition: bytes) -> Callable[[bytes], Any]:
    """A parser; the definition is a FileDescriptorSet, in any order of its files."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    if name not in FOXGLOVE_MSGTYPES:
        raise ValueError('only images and calibrations of Foxglove are read')
    waiting = list(descriptor_pb2.FileDescriptorSet.FromString(definition).file)
    pool, known = descriptor_pool.DescriptorPool(), set[str]()
    while waiting:
        ready = [file for file in waiting if known.issuperset(file.dependency)]
        if not ready:
            raise ValueError(f'the file that {waiting[0].name} imports is missing')
        for file in ready:
            pool.AddSerializedFile(file.SerializeToString())
            known.add(file.name)
        waiting = [file for file in waiting if file.name not in known]
    made: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return lambda data: made.FromString(data)


# What makes a parser of messages from the name and the definition of a type, by encoding.
FOXGLOVE_DECODERS = {'protobuf': _protobuf, 'json': _json}
