# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Read and write sensor_msgs/PointCloud2: points of a depth sensor, clouds of pixels, joints.

A cloud is handled as a numpy record array with one field for each PointField, of its name, offset
and type.

Clouds of a live topic are read by sensor_msgs_py where it is installed: on 1280x720 points it
takes 0.01 ms, as this module does. It is not used to write, where it took 16 ms and this module
10 ms, nor for clouds it cannot read (messages of rosbags, padding, fields of several numbers).

People's joints go into a PointCloud2 because every ROS installation has it, it has a header and
named, typed fields, one message holds all people, viewers show it and numpy reads it in one call.
vision_msgs has no keypoints and may be missing, hri_msgs/Skeleton2D is one person a topic and not
on every distribution. `simulation` records its ground truth in the same layout.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.cloud import Scan, Selection, grid, strided, stripes
from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import axes
from diception_ros.core.labels import COCO_JOINTS, Keypoints, MetricDepth, Normals
from diception_ros.messages import MessageError, Types, quoted

# Codes of sensor_msgs/PointField.
CODES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
_NUMBERS = {name: number for number, name in CODES.items()}

# One joint: x y z in metres in the camera's optical frame (NaN: unknown), u v in pixels (x right,
# y down; NaN: outside of the image), COCO's visibility, the index into COCO_JOINTS, the number of
# the person (0: unknown), score in [0, 1].
JOINT = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('u', '<f4'), ('v', '<f4'), ('visibility', 'u1'),
     ('joint', 'u1'), ('instance', '<u2'), ('score', '<f4')]
)  # fmt: skip
# Index of a joint whose type is not known.
UNTYPED = 255


def points_from(message: Any) -> NDArray[np.float32]:
    """The points of a sensor_msgs/PointCloud2 whose coordinates are all finite.

    Returns:
        (N, 3) float32, metres, in the frame of the message's header.

    Raises:
        MessageError: 'cloud': see `records_from`; or a field is missing.
    """
    records = records_from(message)
    check_fields(records, ('x', 'y', 'z'))
    points = np.empty((len(records), 3), np.float32)
    with np.errstate(over='ignore'):  # float64 beyond float32 becomes infinite and is dropped
        for column, name in enumerate('xyz'):
            points[:, column] = records[name]
    finite = np.isfinite(points).all(axis=1)
    return points if finite.all() else points[finite]


def records_from(message: Any) -> NDArray[Any]:
    """All points of a sensor_msgs/PointCloud2 with all fields; inverse of `cloud_of`.

    Returns:
        (height * width,) with one numpy field for each PointField, those of several numbers as
        arrays; read-only.

    Raises:
        MessageError: 'cloud': the layout is not possible, or the data have another size than the
            layout declares.
    """
    order = '>' if message.is_bigendian else '<'
    height, width = int(message.height), int(message.width)
    step, row = int(message.point_step), int(message.row_step)
    layout: dict[str, list[Any]] = {'names': [], 'formats': [], 'offsets': []}
    for field in message.fields:
        name, code, count = str(field.name), int(field.datatype), int(field.count)
        if code not in CODES or count < 1:
            raise MessageError(
                'cloud',
                f'cloud: field {quoted(name)} has the type {code} and the count {count}; expected '
                'a type from 1 (INT8) to 8 (FLOAT64) and at least one number',
            )
        layout['names'].append(name)
        layout['formats'].append((order + CODES[code], (count,) if count > 1 else ()))
        layout['offsets'].append(int(field.offset))
    size = len(message.data)
    if step * width > row or row * height != size:
        raise MessageError(
            'cloud',
            f'cloud {width} x {height}: expected rows of at least {width} points of {step} bytes, '
            f'got row_step {row} and {size} bytes',
        )
    try:
        dtype = np.dtype({**layout, 'itemsize': step})  # type: ignore[call-overload]
    except ValueError as error:
        raise MessageError('cloud', f'cloud: not a possible layout of fields: {error}') from error
    if height * width == 0:
        return np.empty(0, dtype)
    library = _sensor_msgs_py() if type(message).__module__.startswith('sensor_msgs.') else None
    # Some versions ignore the padding of points as well.
    packed = row == step * width and np.dtype(layout).itemsize == step  # type: ignore[call-overload]
    plain = all(dtype[name].isnative and not dtype[name].shape for name in dtype.names or ())
    if library is not None and packed and plain and all(layout['names']):
        out: NDArray[Any] = library.read_points(message)
    else:
        data = np.frombuffer(message.data, np.uint8)
        out = np.ndarray((height, width), dtype, data, strides=(row, step)).reshape(-1)
    out.flags.writeable = False
    return out


@functools.cache
def _sensor_msgs_py() -> Any | None:
    try:
        return importlib.import_module('sensor_msgs_py.point_cloud2')
    except ImportError:
        return None


def check_fields(records: NDArray[Any], names: tuple[str, ...]) -> None:
    """Raise MessageError 'cloud' unless a cloud has these fields, of one number each."""
    existing = records.dtype.names or ()
    for name in names:
        if name not in existing or records.dtype[name].shape:
            raise MessageError(
                'cloud',
                f'cloud: expected the fields {", ".join(names)} of one number each, '
                f'got {quoted(", ".join(existing))}',
            )


def cloud_of(types: Types, records: NDArray[Any], header: Any, dense: bool = False) -> Any:
    """Make a sensor_msgs/PointCloud2 with the layout of a record array.

    The records are (N,), or (H, W) for an organised cloud, with fields of one number each; `dense`
    tells whether all numbers are finite.
    """
    height, width = records.shape if records.ndim == 2 else (1, len(records))
    step = records.dtype.itemsize
    fields = []
    for name, (dtype, offset, *_) in (records.dtype.fields or {}).items():
        code = _NUMBERS[dtype.newbyteorder('=').str[1:]]
        fields.append(types.make('sensor_msgs/msg/PointField', name=name, offset=offset,
                                 datatype=code, count=1))  # fmt: skip
    data = np.ascontiguousarray(records).reshape(-1).view(np.uint8)
    return types.make(
        'sensor_msgs/msg/PointCloud2', header=header, height=height, width=width, fields=fields,
        is_bigendian=False, point_step=step, row_step=width * step, data=data, is_dense=dense,
    )  # fmt: skip


def cloud(
    types: Types,
    header: Any,
    depth: MetricDepth,
    intrinsics: Intrinsics,
    image: NDArray[np.uint8],
    normals: Normals | None = None,
    label: NDArray[np.integer[Any]] | None = None,
    instance: NDArray[np.integer[Any]] | None = None,
    selection: Selection | None = None,
) -> Any:
    """Make a sensor_msgs/PointCloud2 of the pixels of a depth image.

    Fields are x y z in metres (NaN where the depth is unknown or the point was dropped) and rgb as
    PCL packs it; then normal_x normal_y normal_z (NaN where unknown), label and instance, where
    they are given. The cloud is organised as the image, unless the selection says otherwise.

    Args:
        types: makes the message.
        header: std_msgs/Header; its frame is the camera's optical frame.
        depth: metres.
        intrinsics: pinhole of the image that the depth is of.
        image: (H, W, 3) uint8 RGB.
        normals: of the same image.
        label: (H, W) integers >= 0, the category of each pixel as in `<task>/label`.
        instance: (H, W) integers >= 0, the instance of each pixel, 0 for none.
        selection: the points that are kept; None: all.

    Raises:
        ValueError: they differ in size.
    """
    sizes = [image.shape[:2]]
    names = ['x', 'y', 'z', 'rgb']
    kinds = ['f4', 'f4', 'f4', 'f4']
    if normals is not None:
        sizes.append(normals.size)
        names += ['normal_x', 'normal_y', 'normal_z']
        kinds += ['f4', 'f4', 'f4']
    for name, numbers in (('label', label), ('instance', instance)):
        if numbers is not None:
            sizes.append(numbers.shape)
            names.append(name)
            kinds.append('u4')
    if any(size != depth.size for size in sizes):
        raise ValueError(f'cloud: expected sizes of {depth.size}, got {sizes}')
    selection = selection or Selection(1, depth.valid, True)
    pixels, keep = grid(selection.stride), selection.keep
    x, y = axes(keep.shape, strided(intrinsics, selection.stride))
    vectors: Any = None if normals is None else normals.vectors
    arrays: list[Any] = [depth.values, image, vectors, label, instance]
    seen = [None if item is None else item[pixels] for item in arrays]
    if not selection.organized:
        # A list of points is an image of one row.
        rows, columns = np.nonzero(keep)
        seen = [None if item is None else item[keep][None] for item in seen]
        x, y, keep = x[columns], y[rows][None], np.ones((1, len(rows)), bool)
    else:
        y = y[:, None]
    # All fields have four bytes: one array of numbers is faster to fill than a field at a time.
    table = np.empty((*keep.shape, len(names)), np.float32)
    for part in stripes(table.shape):
        cut: list[Any] = [None if item is None else item[part] for item in seen]
        z, shown, vectors, *more = cut
        fields = [item for item in more if item is not None]
        known: NDArray[np.float32] = np.where(keep[part], z, np.float32(np.nan))
        _fill(table[part], known, x, y[part], shown, vectors, fields)
    table = table if selection.organized else table[0]
    layout = np.dtype({'names': names, 'formats': [f'<{kind}' for kind in kinds]})
    return cloud_of(types, table.view(layout)[..., 0], header, dense=not selection.organized)


def _fill(
    table: NDArray[np.float32],
    z: NDArray[np.float32],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    image: Any,
    normals: Any,
    numbers: list[Any],
) -> None:
    """Fill the rows of a table: x y z rgb, normals where there are any, and numbers."""
    np.multiply(z, x, out=table[..., 0])
    np.multiply(z, y, out=table[..., 1])
    table[..., 2] = z
    bits = table.view(np.uint32)
    color = image[..., 0].astype(np.uint32)
    for channel in (1, 2):
        color <<= 8
        color |= image[..., channel]
    bits[..., 3] = color
    if normals is not None:
        table[..., 4:7] = normals
    for place, item in enumerate(numbers, table.shape[-1] - len(numbers)):
        bits[..., place] = item


def laser_scan(types: Types, header: Any, scan: Scan, range_min: float, range_max: float) -> Any:
    """Make a sensor_msgs/LaserScan; the frame of its header has x ahead, y left and z up.

    Smallest and largest range are in metres.
    """
    return types.make(
        'sensor_msgs/msg/LaserScan', header=header, angle_min=scan.angle_min,
        angle_max=scan.angle_min + scan.angle_increment * (len(scan.ranges) - 1),
        angle_increment=scan.angle_increment, time_increment=0.0, scan_time=0.0,
        range_min=float(range_min), range_max=float(range_max), ranges=scan.ranges,
        intensities=np.zeros(0, np.float32),
    )  # fmt: skip


def joint_cloud(types: Types, joints: NDArray[Any], header: Any) -> Any:
    """Make a sensor_msgs/PointCloud2 of joints, (N,) of dtype JOINT; inverse of `joints_from`."""
    return cloud_of(types, joints.astype(JOINT, copy=False), header)


def joints_from(message: Any) -> NDArray[Any]:
    """The joints of a cloud made by `joint_cloud`: (N,) of dtype JOINT.

    Raises:
        MessageError: 'cloud': it has other fields.
    """
    records = records_from(message)
    names = JOINT.names or ()
    check_fields(records, names)
    joints = np.empty(len(records), JOINT)
    for name in names:
        joints[name] = records[name]
    return joints


def joints_of(label: Keypoints) -> NDArray[Any]:
    """The joints of a label, person by person from 1, then the points without a type.

    Returns:
        (N,) of dtype JOINT without the absent ones; x y z are NaN. The number of a person without
        joints does not occur.
    """
    persons, types = np.nonzero(label.visibility)
    joints = np.zeros(len(persons) + len(label.untyped), JOINT)
    for axis in 'xyz':
        joints[axis] = np.nan
    typed, untyped = joints[: len(persons)], joints[len(persons) :]
    typed['u'], typed['v'] = label.joints[persons, types].T
    typed['visibility'] = label.visibility[persons, types]
    typed['score'] = label.scores[persons, types]
    typed['joint'], typed['instance'] = types, persons + 1
    untyped['u'], untyped['v'] = label.untyped.T
    untyped['visibility'], untyped['joint'], untyped['score'] = 2, UNTYPED, 1
    return joints


def keypoints_from(message: Any, size: tuple[int, int]) -> Keypoints:
    """The persons of a cloud of joints, in an image of `size` (H, W); inverse of `joints_of`.

    Raises:
        MessageError: 'cloud': it has other fields, or a joint has impossible values.
    """
    joints = joints_from(message)
    inside = np.isfinite(joints['u']) & np.isfinite(joints['v'])
    joints = joints[inside & (joints['visibility'] > 0)]
    is_untyped = joints['joint'] == UNTYPED
    untyped, typed = joints[is_untyped], joints[~is_untyped]
    if typed.size and (typed['joint'].max() >= len(COCO_JOINTS) or typed['instance'].min() < 1):
        raise MessageError('cloud', 'cloud: expected joints 0 to 16 of persons from 1, got others')
    shape = (int(typed['instance'].max(initial=0)), len(COCO_JOINTS))
    places = np.full((*shape, 2), np.nan, np.float32)
    visibility, scores = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    where = typed['instance'].astype(int) - 1, typed['joint']
    places[where] = np.stack([typed['u'], typed['v']], axis=-1)
    visibility[where], scores[where] = typed['visibility'], typed['score']
    untyped_places = np.stack([untyped['u'], untyped['v']], axis=-1)
    try:
        return Keypoints(places, visibility, scores, untyped_places, size)
    except ValueError as error:
        raise MessageError('cloud', f'cloud: not joints of persons: {error}') from error
