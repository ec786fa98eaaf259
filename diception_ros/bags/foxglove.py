# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images and CameraInfo of Foxglove's schemas, as protobuf, as JSON and as foxglove_msgs of ROS.

Source: docs.foxglove.dev/docs/sdk/schemas. They become messages of sensor_msgs, so that all that
reads images reads them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from diception_ros.system import safe_load

# Types of sensor_msgs by the name of the schema.
MSGTYPES = {
    prefix + name: f'sensor_msgs/msg/{msgtype}'
    for prefix in ('foxglove.', 'foxglove_msgs/msg/')
    for name, msgtype in (
        ('CompressedImage', 'CompressedImage'), ('RawImage', 'Image'),
        ('CameraCalibration', 'CameraInfo'),
    )
}  # fmt: skip


def to_ros(message: Any, msgtype: str, types: Any) -> Any:
    """A message of Foxglove as one of sensor_msgs.

    Args:
        message: has the fields of the schema as attributes.
        msgtype: type of sensor_msgs, a value of `MSGTYPES`.
        types: classes of messages by type.

    Raises:
        ValueError: the message is none of `MSGTYPES`.
        AttributeError: a field is missing.
    """
    if msgtype not in MSGTYPES.values():
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

    if name not in MSGTYPES:
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
DECODERS = {'protobuf': _protobuf, 'json': _json}
