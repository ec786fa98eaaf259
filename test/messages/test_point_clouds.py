# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Clouds of pixels and joints survive a round trip, and clouds of any layout are read."""

import warnings

import numpy as np
import pytest
from surfaces import normals_from
from task_examples import example

from diception_ros.bags.typestore import BagTypes
from diception_ros.core.cloud import Selection, grid
from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import back_project
from diception_ros.core.labels import COCO_JOINTS, Instances, Keypoints, MetricDepth
from diception_ros.messages import MessageError, make_header, point_clouds
from diception_ros.tasks.pose import TASK as POSE

TYPES = BagTypes()
HEADER = make_header(TYPES, 5, 'cam')
LENS = Intrinsics(50, 60, 4, 3)
SIZE = (6, 9)


def scene():
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 4, SIZE).astype(np.float32)
    values[1:4, 2:5] = np.nan
    ids = rng.integers(0, 4, SIZE).astype(np.int32)
    things = Instances(ids, ('', '', ''), np.ones(3, np.float32))
    return MetricDepth(values), rng.integers(0, 256, (*SIZE, 3), np.uint8), things


def names_of(message):
    return [field.name for field in message.fields]


def test_cloud_is_organised_with_one_point_a_pixel():
    depth, image, things = scene()
    normals = normals_from(depth, LENS)
    classes = np.where(things.ids > 0, things.ids % 2, 255).astype(np.uint8)
    message = point_clouds.cloud(TYPES, HEADER, depth, LENS, image, normals, classes, things.ids)
    assert (message.height, message.width, message.header) == (*SIZE, HEADER)
    assert message.row_step * message.height == len(message.data)
    assert message.point_step * message.width == message.row_step
    assert not message.is_dense
    normal = ['normal_x', 'normal_y', 'normal_z']
    assert names_of(message) == [*'xyz', 'rgb', *normal, 'label', 'instance']
    points = point_clouds.records_from(message).reshape(SIZE)
    place = np.stack([points[axis] for axis in 'xyz'], axis=-1)
    np.testing.assert_array_equal(place, back_project(depth, LENS))
    np.testing.assert_array_equal(np.isnan(place[..., 0]), ~depth.valid)
    vectors = np.stack([points[f'normal_{axis}'] for axis in 'xyz'], axis=-1)
    np.testing.assert_array_equal(vectors, normals.vectors)
    np.testing.assert_array_equal(points['label'], classes)
    np.testing.assert_array_equal(points['instance'], things.ids)
    # As PCL packs it: the bytes of a float, 0x00RRGGBB.
    packed = points['rgb'].copy().view(np.uint32)
    for shift, channel in ((16, 0), (8, 1), (0, 2)):
        np.testing.assert_array_equal(packed >> shift & 255, image[..., channel])
    assert not (packed >> 24).any()
    codes = {field.name: field.datatype for field in message.fields}
    assert (codes['x'], codes['rgb'], codes['normal_x'], codes['label']) == (7, 7, 7, 6)


def test_cloud_has_no_fields_for_missing_labels():
    depth, image, things = scene()
    assert names_of(point_clouds.cloud(TYPES, HEADER, depth, LENS, image)) == [*'xyz', 'rgb']
    message = point_clouds.cloud(
        TYPES, HEADER, depth, LENS, image, instance=things.ids.astype(np.uint8)
    )
    assert names_of(message) == [*'xyz', 'rgb', 'instance']
    np.testing.assert_array_equal(
        point_clouds.records_from(message)['instance'].reshape(SIZE), things.ids
    )


@pytest.mark.parametrize('stride', [1, 2, 3])
def test_cloud_of_a_selection_is_a_part_of_the_whole(stride):
    depth, image, things = scene()
    normals = normals_from(depth, LENS)
    given = (TYPES, HEADER, depth, LENS, image, normals, things.ids, things.ids)
    pixels = grid(stride)
    whole = point_clouds.records_from(point_clouds.cloud(*given)).reshape(SIZE)[pixels]
    keep = depth.valid[pixels] & (np.random.default_rng(0).uniform(size=whole.shape) < 0.5)
    some = point_clouds.cloud(*given, Selection(stride, keep, True))
    assert (some.height, some.width) == whole.shape
    records = point_clouds.records_from(some).reshape(whole.shape)
    for axis in 'xyz':
        expected = np.where(keep, whole[axis], np.nan)
        np.testing.assert_allclose(records[axis], expected, rtol=1e-5, atol=1e-6)
    thinned = point_clouds.cloud(*given, Selection(stride, keep, False))
    assert (thinned.height, thinned.width) == (1, np.count_nonzero(keep))
    assert thinned.is_dense
    assert point_clouds.records_from(thinned).tobytes() == records[keep].tobytes()
    nothing = point_clouds.cloud(*given, Selection(stride, np.zeros_like(keep), False))
    assert (nothing.height, nothing.width, len(nothing.data)) == (1, 0, 0)


def test_points_from_returns_the_points_of_cloud():
    depth, image, things = scene()
    message = point_clouds.cloud(TYPES, HEADER, depth, LENS, image, instance=things.ids)
    points = point_clouds.points_from(message)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, back_project(depth, LENS)[depth.valid])


def test_cloud_refuses_labels_of_other_sizes():
    depth, image, things = scene()
    for wrong in (
        {'image': image[:-1]}, {'label': things.ids[:, :-1]}, {'instance': things.ids[:-1]},
        {'normals': normals_from(MetricDepth(depth.values[:-1]), LENS)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match='size'):
            point_clouds.cloud(TYPES, HEADER, depth, LENS, **{'image': image, **wrong})


def raw(dtype, records, row_padding=0, width=None):
    """A cloud of records as another driver would have sent it."""
    fields = [
        TYPES.make('sensor_msgs/msg/PointField', name=name, offset=dtype.fields[name][1],
                   datatype=point_clouds._NUMBERS[dtype[name].base.newbyteorder('=').str[1:]],
                   count=int(np.prod(dtype[name].shape, dtype=int)))
        for name in dtype.names
    ]  # fmt: skip
    width = width or len(records)
    rows = records.astype(dtype).view(np.uint8).reshape(len(records) // width, -1)
    rows = np.pad(rows, ((0, 0), (0, row_padding)), constant_values=255)
    return TYPES.make(
        'sensor_msgs/msg/PointCloud2', header=HEADER, height=len(rows), width=width,
        fields=fields, is_bigendian=dtype['x'].str[0] == '>', point_step=dtype.itemsize,
        row_step=rows.shape[1], data=rows.ravel(), is_dense=False,
    )  # fmt: skip


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('number', ['f4', 'f8', 'i2', 'u4'])
@pytest.mark.parametrize(('row_padding', 'width'), [(0, None), (7, 4)])
def test_points_from_reads_every_layout(order, number, row_padding, width):
    dtype = np.dtype({
        'names': ['ring', 'z', 'x', 'blob', 'y'],
        'formats': ['u1', order + number, order + number, (f'{order}f4', (3,)), order + number],
        'offsets': [1, 40, 3, 17, 29], 'itemsize': 53,
    })  # fmt: skip
    records = np.zeros(20, dtype)
    points = np.random.default_rng(0).integers(0, 100, (20, 3))
    records['x'], records['y'], records['z'] = points.T
    message = raw(dtype, records, row_padding, width)
    np.testing.assert_array_equal(point_clouds.points_from(message), points)
    assert point_clouds.records_from(message)['blob'].shape == (20, 3)
    assert not point_clouds.records_from(message).flags.writeable


def test_points_from_drops_points_that_are_not_finite():
    dtype = np.dtype([(axis, '<f8') for axis in 'xyz'])
    records = np.zeros(5, dtype)
    records['x'] = [np.nan, 1, 2, 1e300, 4]
    records['z'] = [1, np.inf, 1, 1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        points = point_clouds.points_from(raw(dtype, records))
    assert points[:, 0].tolist() == [2, 4]


def test_records_from_refuses_contradicting_numbers():
    dtype = np.dtype([(axis, '<f4') for axis in 'xyz'])
    field = lambda **changes: TYPES.make(  # noqa: E731
        'sensor_msgs/msg/PointField',
        **{'name': 'x', 'offset': 0, 'datatype': 7, 'count': 1, **changes},
    )
    good = raw(dtype, np.zeros(4, dtype))
    for changes in (
        {'width': 5}, {'height': 2}, {'row_step': 40}, {'point_step': 16}, {'fields': []},
        {'point_step': 0}, {'data': good.data[:-1]}, {'fields': good.fields[:2]},
        {'width': 0, 'height': 0, 'point_step': 2**32 - 1, 'row_step': 0, 'data': good.data[:0]},
        *({'fields': [field(**wrong), *good.fields[1:]]} for wrong in (
            {'datatype': 0}, {'datatype': 9}, {'count': 0}, {'count': 2**32 - 1}, {'count': 2},
            {'offset': 10}, {'offset': 2**32 - 1}, {'name': 'y'}, {'name': ''}, {'datatype': 8,
             'offset': 8})),
    ):  # fmt: skip
        message = raw(dtype, np.zeros(4, dtype))
        for name, value in changes.items():
            setattr(message, name, value)
        with pytest.raises(MessageError) as caught:
            point_clouds.points_from(message)
        assert caught.value.kind == 'cloud', changes
    assert len(point_clouds.points_from(good)) == 4


def test_points_from_an_empty_cloud():
    dtype = np.dtype([(axis, '<f4') for axis in 'xyz'])
    message = point_clouds.cloud_of(TYPES, np.zeros(0, dtype), HEADER)
    assert point_clouds.points_from(message).shape == (0, 3)


def test_joints_from_returns_the_joints_of_joint_cloud():
    found = np.zeros(34, point_clouds.JOINT)
    found['z'], found['joint'] = np.arange(34), np.arange(34) % 17
    message = point_clouds.joint_cloud(TYPES, found, HEADER)
    np.testing.assert_array_equal(point_clouds.joints_from(message), found)
    assert message.width * message.point_step == len(message.data)
    assert names_of(message) == list(point_clouds.JOINT.names)


def some_people():
    people = example(POSE, np.random.default_rng(1), 400)
    places, seen = people.joints.copy(), people.visibility.copy()
    places[0, 3], seen[0, 3] = np.nan, 0
    scores = np.where(seen > 0, np.float32(0.75), np.float32(0))
    untyped = np.array([[3, 4], [5.5, 6]], np.float32)
    return Keypoints(places, seen, scores, untyped, people.size)


def test_keypoints_from_returns_the_persons_of_joints_of():
    people = some_people()
    message = point_clouds.joint_cloud(TYPES, point_clouds.joints_of(people), HEADER)
    back = point_clouds.keypoints_from(message, people.size)
    for name in ('joints', 'visibility', 'scores', 'untyped'):
        np.testing.assert_array_equal(getattr(back, name), getattr(people, name))
    cloud = point_clouds.joints_from(message)
    assert np.isnan(cloud['z']).all()
    assert (cloud['instance'][:-2] >= 1).all()
    assert cloud['joint'][-2:].tolist() == [point_clouds.UNTYPED] * 2
    assert cloud['instance'][-2:].tolist() == [0, 0]
    assert cloud['score'][-2:].tolist() == [1, 1]
    nobody = Keypoints(people.joints[:0], people.visibility[:0], people.scores[:0],
                       people.untyped[:0], people.size)  # fmt: skip
    message = point_clouds.joint_cloud(TYPES, point_clouds.joints_of(nobody), HEADER)
    assert (message.width, len(message.data)) == (0, 0)
    assert len(point_clouds.keypoints_from(message, people.size).joints) == 0


def test_keypoints_from_drops_joints_outside_of_the_image():
    # Simulated recordings hold all 17 of everybody.
    found = point_clouds.joints_of(some_people())
    count = int((found['joint'] < point_clouds.UNTYPED).sum())
    found['visibility'][0], found['score'][0] = 0, 0
    found['u'][1] = np.nan
    message = point_clouds.joint_cloud(TYPES, found, HEADER)
    back = point_clouds.keypoints_from(message, (400, 400))
    assert (back.visibility > 0).sum() == count - 2


def test_keypoints_from_refuses_other_clouds():
    depth, image, _ = scene()
    with pytest.raises(MessageError, match='visibility'):
        point_clouds.joints_from(point_clouds.cloud(TYPES, HEADER, depth, LENS, image))
    for name, value in (('joint', len(COCO_JOINTS)), ('instance', 0), ('visibility', 3),
                        ('score', 2), ('score', np.nan)):  # fmt: skip
        found = point_clouds.joints_of(some_people())
        found[name][0] = value
        with pytest.raises(MessageError) as caught:
            point_clouds.keypoints_from(point_clouds.joint_cloud(TYPES, found, HEADER), (400, 400))
        assert caught.value.kind == 'cloud'


@pytest.mark.parametrize('padding', [0, 4])
def test_records_from_uses_sensor_msgs_py_for_live_clouds_that_it_can_read(monkeypatch, padding):
    pytest.importorskip('sensor_msgs')
    from diception_ros.node.publishers import RosTypes

    layout = {'names': ['x', 'y', 'z'], 'formats': ['<f4'] * 3, 'offsets': [0, 4, 8]}
    records = np.zeros(5, {**layout, 'itemsize': 12 + padding})
    for k, name in enumerate('xyz'):
        records[name] = k + np.arange(5)
    types = RosTypes()
    message = point_clouds.cloud_of(types, records, types.make('std_msgs/msg/Header'))
    calls = []

    class Library:
        @staticmethod
        def read_points(cloud):
            calls.append(cloud)
            return np.ndarray(cloud.width, np.dtype(layout), cloud.data)

    monkeypatch.setattr(point_clouds, '_sensor_msgs_py', lambda: Library)
    expected = np.stack([k + np.arange(5) for k in range(3)], -1)
    np.testing.assert_array_equal(point_clouds.points_from(message), expected)
    assert calls == ([] if padding else [message])
