# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of a camera for bags: pictures, maps, pinhole, pose, joints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.data.bag import TYPES
from diception_ros.data.sample import Pose
from diception_ros.frame import Intrinsics

# Encodings of sensor_msgs/Image, and what an array of each is made of: dtype and channels.
ENCODINGS: dict[str, tuple[str, int]] = {
    'rgb8': ('u1', 3),
    'mono8': ('u1', 1),
    '16UC1': ('<u2', 1),
    '32FC1': ('<f4', 1),
    '32FC3': ('<f4', 3),
}

# One joint in a point cloud: name, offset in bytes, code of its type in PointField, numpy's dtype.
_JOINT = (
    ('x', 0, 7, '<f4'), ('y', 4, 7, '<f4'), ('z', 8, 7, '<f4'), ('u', 12, 7, '<f4'),
    ('v', 16, 7, '<f4'), ('visibility', 20, 2, 'u1'), ('joint', 21, 2, 'u1'),
    ('instance', 22, 4, '<u2'),
)  # fmt: skip
JOINT = np.dtype([(name, kind) for name, _, _, kind in _JOINT])


def make(kind: str, **fields: Any) -> Any:
    """A message of a type such as 'std_msgs/msg/Header'."""
    return TYPES.types[kind](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    seconds, rest = divmod(stamp_ns, 1_000_000_000)
    stamp = make('builtin_interfaces/msg/Time', sec=seconds, nanosec=rest)
    return make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)


def image(array: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> Any:
    """sensor_msgs/Image, little-endian; inverse of `array_from`.

    Args:
        array: (H, W) or (H, W, 3), of the dtype and channels of the encoding.
        encoding: one of ENCODINGS.
        stamp_ns: of the header, nanoseconds since the epoch.
        frame_id: of the header.

    Raises:
        ValueError: the encoding is not known, or the array is not of it.
    """
    dtype, channels = _encoding(encoding)
    shape = array.shape[:2] if channels == 1 else (*array.shape[:2], channels)
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise ValueError(
            f'image {encoding}: expected {np.dtype(dtype)} with {channels} channels, came '
            f'{array.dtype} {array.shape}'
        )
    height, width = array.shape[:2]
    data = np.frombuffer(np.ascontiguousarray(array, dtype).tobytes(), np.uint8)
    return make(
        'sensor_msgs/msg/Image', header=header(stamp_ns, frame_id), height=height, width=width,
        encoding=encoding, is_bigendian=0, step=len(data) // height, data=data,
    )  # fmt: skip


def array_from(message: Any) -> NDArray[Any]:
    """The array of a sensor_msgs/Image: (H, W) or (H, W, 3), of its encoding's dtype.

    Raises:
        ValueError: the encoding is not known, or the data are not of the size that it says.
    """
    dtype, channels = _encoding(message.encoding)
    kind = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * channels * kind.itemsize
    if message.step < row or len(message.data) != message.step * message.height:
        raise ValueError(
            f'image {message.encoding} {message.width} x {message.height}: expected rows of at '
            f'least {row} bytes, came {message.step} and {len(message.data)} bytes in all'
        )
    rows = np.asarray(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    array = np.ascontiguousarray(rows).view(kind).astype(np.dtype(dtype))
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return array.reshape(shape)


def camera_info(
    intrinsics: Intrinsics, size: tuple[int, int], stamp_ns: int, frame_id: str
) -> Any:
    """sensor_msgs/CameraInfo of a rectified picture of a size (H, W)."""
    k = intrinsics
    zero = make('sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0, width=0,
                do_rectify=False)  # fmt: skip
    return make(
        'sensor_msgs/msg/CameraInfo',
        header=header(stamp_ns, frame_id),
        height=size[0],
        width=size[1],
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=np.array([k.fx, 0, k.cx, 0, k.fy, k.cy, 0, 0, 1]),
        r=np.eye(3).ravel(),
        p=np.array([k.fx, 0, k.cx, 0, 0, k.fy, k.cy, 0, 0, 0, 1, 0]),
        binning_x=0,
        binning_y=0,
        roi=zero,
    )


def pose_stamped(pose: Pose, stamp_ns: int, frame_id: str) -> Any:
    """geometry_msgs/PoseStamped of a camera's optical frame in the frame of this id."""
    x, y, z = pose.position.tolist()
    return make(
        'geometry_msgs/msg/PoseStamped',
        header=header(stamp_ns, frame_id),
        pose=make('geometry_msgs/msg/Pose',
                  position=make('geometry_msgs/msg/Point', x=x, y=y, z=z),
                  orientation=_quaternion(pose.rotation)),
    )  # fmt: skip


def transform(pose: Pose, stamp_ns: int, frame_id: str, child: str) -> Any:
    """tf2_msgs/TFMessage with the one transform from a frame to a camera's optical frame."""
    x, y, z = pose.position.tolist()
    one = make(
        'geometry_msgs/msg/TransformStamped',
        header=header(stamp_ns, frame_id),
        child_frame_id=child,
        transform=make('geometry_msgs/msg/Transform',
                       translation=make('geometry_msgs/msg/Vector3', x=x, y=y, z=z),
                       rotation=_quaternion(pose.rotation)),
    )  # fmt: skip
    return make('tf2_msgs/msg/TFMessage', transforms=[one])


def joint_cloud(joints: NDArray[Any], stamp_ns: int, frame_id: str) -> Any:
    """sensor_msgs/PointCloud2 of joints; inverse of `joints_from`.

    Args:
        joints: (N,) of dtype JOINT: x y z in metres in the frame of this id, u v in pixels (NaN
            outside of the picture), COCO's visibility, index into COCO_JOINTS, instance.
        stamp_ns: of the header, nanoseconds since the epoch.
        frame_id: of the header.
    """
    fields = [
        make('sensor_msgs/msg/PointField', name=name, offset=offset, datatype=code, count=1)
        for name, offset, code, _ in _JOINT
    ]
    data = np.frombuffer(joints.astype(JOINT).tobytes(), np.uint8)
    return make(
        'sensor_msgs/msg/PointCloud2', header=header(stamp_ns, frame_id), height=1,
        width=len(joints), fields=fields, is_bigendian=False, point_step=JOINT.itemsize,
        row_step=len(data), data=data, is_dense=False,
    )  # fmt: skip


def joints_from(message: Any) -> NDArray[Any]:
    """The joints of a cloud that `joint_cloud` made: (N,) of dtype JOINT."""
    return np.frombuffer(np.asarray(message.data, np.uint8).tobytes(), JOINT)


def _encoding(name: str) -> tuple[str, int]:
    if name not in ENCODINGS:
        raise ValueError(
            f'image encoding {name!r} is not supported; known: {", ".join(ENCODINGS)}'
        )
    return ENCODINGS[name]


def _quaternion(rotation: NDArray[np.float64]) -> Any:
    # Shepperd's method: divides by the largest of the four, which is never small.
    r = rotation
    squares = np.array([
        1 + r[0, 0] - r[1, 1] - r[2, 2],
        1 - r[0, 0] + r[1, 1] - r[2, 2],
        1 - r[0, 0] - r[1, 1] + r[2, 2],
        1 + r[0, 0] + r[1, 1] + r[2, 2],
    ])  # fmt: skip
    k = int(squares.argmax())
    products = np.array([
        [squares[0], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
        [r[0, 1] + r[1, 0], squares[1], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
        [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[2], r[1, 0] - r[0, 1]],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3]],
    ])  # fmt: skip
    x, y, z, w = (products[k] / (2 * math.sqrt(squares[k]))).tolist()
    return make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)
