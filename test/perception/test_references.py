# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth references: read, moved and projected."""

import struct

import cv2
import numpy as np
import pytest

from diception_ros.bags.typestore import BagTypes
from diception_ros.core.frame import Intrinsics, transform_from
from diception_ros.core.geometry import back_project
from diception_ros.core.labels import MetricDepth
from diception_ros.datasets.ground_truth import truth_from_message
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header, point_clouds
from diception_ros.perception.metric_depth import Reference, reference_from
from diception_ros.tasks import BUILTIN

TYPES = BagTypes()
HERE = transform_from('0 0 0 0 0 0 1')
PINHOLE = Intrinsics(60, 50, 31.5, 20.0)
SIZE = (40, 64)


def depths(seed=0, size=SIZE):
    return np.random.default_rng(seed).uniform(0.5, 9, size).astype(np.float32)


def image(array, encoding):
    return image_messages.image(TYPES, array, encoding, make_header(TYPES, 1_500_000_000, 'depth'))


def cloud(points):
    layout = np.dtype([(name, '<f4') for name in 'xyz'])
    records = np.ascontiguousarray(points, np.float32).view(layout)[:, 0]
    return point_clouds.cloud_of(TYPES, records, make_header(TYPES, 7, 'lidar'))


# ---- reading ------------------------------------------------------------------------------------


def test_millimetres_and_metres_are_the_same_depths():
    metres = depths()
    metres[3, 4] = 0
    millimetres = np.rint(metres * 1000).astype(np.uint16)
    for encoding in ('16UC1', 'mono16'):
        read = reference_from(image(millimetres, encoding), HERE)
        assert (read.stamp_ns, read.frame_id) == (1_500_000_000, 'depth')
        np.testing.assert_allclose(read.image, np.where(metres > 0, metres, np.nan), atol=6e-4)
    exact = reference_from(image(metres, '32FC1'), HERE)
    np.testing.assert_array_equal(exact.image, np.where(metres > 0, metres, np.nan))


def test_what_is_no_depth_is_unknown():
    metres = np.array([[np.nan, np.inf, -np.inf, -1, 0, 2]], np.float32)
    read = reference_from(image(metres, '32FC1'), HERE)
    np.testing.assert_array_equal(np.isfinite(read.image), [[False] * 5 + [True]])


def test_compressed_depth_is_read_as_the_raw_image():
    values = np.rint(depths() * 1000).astype(np.uint16)
    values[3, 4] = 0
    content = struct.pack('<iff', 0, 0, 0) + cv2.imencode('.png', values)[1].tobytes()
    message = TYPES.make(
        'sensor_msgs/msg/CompressedImage', header=make_header(TYPES, 1_500_000_000, 'depth'),
        format='16UC1; compressedDepth png', data=np.frombuffer(content, np.uint8),
    )  # fmt: skip
    raw = image(values, '16UC1')
    read, expected = reference_from(message, HERE), reference_from(raw, HERE)
    assert (read.stamp_ns, read.frame_id) == (expected.stamp_ns, expected.frame_id)
    np.testing.assert_array_equal(read.image, expected.image)
    truth = [truth_from_message(BUILTIN.get('depth'), one, ()) for one in (message, raw)]
    np.testing.assert_array_equal(truth[0].values, truth[1].values)
    message.format = 'rgb8; jpeg compressed bgr8'
    with pytest.raises(ValueError, match='holds no depth'):
        reference_from(message, HERE)


def test_labels_that_were_sent_as_png_are_read_as_the_raw_image():
    values = np.random.default_rng(0).integers(0, 4, SIZE, np.uint8)
    message = TYPES.make(
        'sensor_msgs/msg/CompressedImage', header=make_header(TYPES, 7, 'cam'),
        format='mono8; png compressed ', data=cv2.imencode('.png', values)[1],
    )  # fmt: skip
    truth = [
        truth_from_message(BUILTIN.get('entity'), one, ())
        for one in (message, image(values, 'mono8'))
    ]
    np.testing.assert_array_equal(truth[0].ids, truth[1].ids)
    message.data = cv2.imencode('.jpg', values)[1]
    with pytest.raises(ValueError, match='does not keep numbers'):
        truth_from_message(BUILTIN.get('entity'), message, ())


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"16UC1 .mm. or 32FC1 .m., got 'mono8'"):
        reference_from(image(np.ones(SIZE, np.uint8), 'mono8'), HERE)


def test_a_reference_is_an_image_or_points():
    with pytest.raises(ValueError, match='both or neither'):
        Reference(0, '')
    with pytest.raises(ValueError, match='both or neither'):
        Reference(0, '', np.ones((2, 2), np.float32), np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r'expected \(N, 3\)'):
        Reference(0, '', points=np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match=r'expected \(H, W\)'):
        Reference(0, '', image=np.ones((2, 2, 1), np.float32))


def test_a_turn_needs_a_unit_quaternion():
    with pytest.raises(ValueError, match=r'a quaternion of length 1, got 1\.414'):
        transform_from('0 0 0 1 0 0 1')


# ---- where they are -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'point', 'moved'),
    [
        ('0 0 0 0 0 0 1', (1, 2, 3), (1, 2, 3)),
        ('1 -2 0.5 0 0 0 1', (1, 2, 3), (2, 0, 3.5)),
        # A quarter turn about z brings x to y, about x brings y to z.
        ('0 0 0 0 0 0.70711 0.70711', (1, 0, 0), (0, 1, 0)),
        ('0 0 0 0.70711 0 0 0.70711', (0, 1, 0), (0, 0, 1)),
        # From a lidar's x forward, y left, z up to the optical x right, y down, z forward.
        ('0 0 0 0.5 -0.5 0.5 0.5', (5, 1, 2), (-1, -2, 5)),
    ],
)
def test_a_transform_moves_points_of_the_cloud_into_the_camera(text, point, moved):
    transform = transform_from(text)
    np.testing.assert_allclose(
        transform.rotation @ point + transform.translation, moved, atol=1e-4
    )
    np.testing.assert_allclose(transform.rotation @ transform.rotation.T, np.eye(3), atol=1e-12)
    read = reference_from(cloud(np.array([point])), transform)
    np.testing.assert_allclose(read.points, [moved], atol=1e-4)
    assert (read.stamp_ns, read.frame_id) == (7, 'lidar')


@pytest.mark.parametrize('text', ['', '1 2 3', '0 0 0 0 0 0 x', '0 0 0 0 0 0 nan', '0 ' * 8])
def test_invalid_transform_raises(text):
    with pytest.raises(ValueError, match="expected seven numbers 'x y z qx qy qz qw'"):
        transform_from(text)


def test_points_land_on_the_pixels_that_they_came_from():
    metres = depths()
    metres[5:9, 7] = np.nan
    points = back_project(MetricDepth(metres), PINHOLE).reshape(-1, 3)
    reference = reference_from(cloud(points), HERE)
    found = reference.at_pixels(SIZE, PINHOLE)
    assert len(found.depth) == np.isfinite(metres).sum()
    np.testing.assert_allclose(found.depth, metres[found.rows, found.columns], rtol=1e-6)
    # And so do those of a lidar that stands elsewhere.
    there = transform_from('0.3 -0.1 0.2 0.5 -0.5 0.5 -0.5')
    seen = (points - there.translation) @ there.rotation
    again = reference_from(cloud(seen), there).at_pixels(SIZE, PINHOLE)
    np.testing.assert_allclose(again.depth, metres[again.rows, again.columns], rtol=1e-4)


def test_points_that_are_not_in_the_image_do_not_count():
    inside = (0, 0, 2)
    points = [inside, (0, 0, -2), (0, 0, 0), (np.nan, 0, 2), (np.inf, 0, 2), (9, 0, 2), (0, -9, 2)]
    reference = Reference(0, '', points=np.array(points, np.float32))
    found = reference.at_pixels(SIZE, PINHOLE)
    assert [list(part) for part in found] == [[20], [32], [2.0]]


def test_the_rim_of_the_image_is_in_it():
    pinhole = Intrinsics(1, 1, 0, 0)  # x / z is the column
    columns = np.array([-0.51, -0.5, -0.49, 63.49, 63.5], np.float32)
    points = np.stack([columns, 0 * columns, 0 * columns + 1], axis=1)
    found = Reference(0, '', points=points).at_pixels(SIZE, pinhole)
    assert found.columns.tolist() == [0, 0, 63]


def test_points_need_a_pinhole():
    reference = Reference(0, '', points=np.ones((3, 3), np.float32))
    with pytest.raises(ValueError, match='a calibrated CameraInfo beside the image, got none'):
        reference.at_pixels(SIZE, None)


@pytest.mark.parametrize('zoom', [1, 2, 5])
def test_an_image_of_another_resolution_shows_the_same(zoom):
    """What is known of a block of pixels is sampled in that block, whichever side is finer."""
    coarse = depths(size=(8, 12))
    coarse[2, 3] = np.nan
    fine = coarse.repeat(zoom, 0).repeat(zoom, 1)
    for reference, size in ((coarse, fine.shape), (fine, coarse.shape)):
        found = Reference(0, '', image=reference).at_pixels(size, None)
        shown = fine if size == fine.shape else coarse
        np.testing.assert_array_equal(found.depth, shown[found.rows, found.columns])
        assert len(found.depth) == np.isfinite(reference).sum()


@pytest.mark.parametrize('size', [(40, 64), (7, 9), (31, 200), (1, 1)])
def test_a_sample_is_of_the_pixel_that_the_middle_of_the_reference_falls_into(size):
    found = Reference(0, '', image=depths(size=(12, 17))).at_pixels(size, None)
    rows, columns = np.mgrid[:12, :17].reshape(2, -1)
    off_rows = found.rows - ((rows + 0.5) * size[0] / 12 - 0.5)
    off_columns = found.columns - ((columns + 0.5) * size[1] / 17 - 0.5)
    assert max(np.abs(off_rows).max(), np.abs(off_columns).max()) <= 0.5
    assert found.rows.max() < size[0]
    assert found.columns.max() < size[1]


def test_of_a_large_image_a_part_is_enough():
    image = depths(size=(1080, 1920))
    found = Reference(0, '', image=image).at_pixels(image.shape, None)
    assert 2**16 < len(found.depth) <= 2**18
    np.testing.assert_array_equal(found.depth, image[found.rows, found.columns])
    # From all over the image.
    for places, length in ((found.rows, 1080), (found.columns, 1920)):
        assert places.min() < 5
        assert places.max() > length - 6
