# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""CameraInfo: pinhole, region of interest, binning, and scaling with a resized image."""

import numpy as np
import pytest

from diception_ros.bags.typestore import BagTypes
from diception_ros.core.frame import Intrinsics
from diception_ros.core.images import ResizeTransform
from diception_ros.messages import MessageError, camera_info, make_header, stamp_of

TYPES = BagTypes()
HEADER = make_header(TYPES, 5, 'cam')
LENS = Intrinsics(500.5, 510.25, 321.75, 239.5)
SIZES = [(480, 640), (768, 768), (240, 320), (90, 1000)]


def info(**changes):
    """Of a lens with skew and distortion, right of another one, with a rotation."""
    k = np.array([500, 0.5, 320, 0, 510, 250, 0, 0, 1.0])
    p = np.array([480, 0.25, 330, -48, 0, 470, 240, 2, 0, 0, 1, 0.0])
    r = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].ravel()
    fields = {
        'header': HEADER, 'height': 480, 'width': 640, 'distortion_model': 'rational',
        'd': np.arange(8) / 100, 'k': k, 'r': r, 'p': p, 'binning_x': 0, 'binning_y': 0,
        'roi': roi(),
    }  # fmt: skip
    return TYPES.make('sensor_msgs/msg/CameraInfo', **{**fields, **changes})


def roi(x=0, y=0, width=0, height=0):
    return TYPES.make('sensor_msgs/msg/RegionOfInterest', x_offset=x, y_offset=y, height=height,
                      width=width, do_rectify=False)  # fmt: skip


def seen(one, matrix):
    """(N, 2) pixels at which K or P sees some points before the lens."""
    points = np.random.default_rng(1).uniform([-1, -1, 1], [1, 1, 5], (20, 3))
    matrix = np.asarray(getattr(one, matrix)).reshape(3, -1)
    if matrix.shape[1] == 4:
        points = np.concatenate([points, np.ones((20, 1))], axis=1)
    u = points @ matrix.T
    return u[:, :2] / u[:, 2:]


def fields_of(one):
    names = 'height width distortion_model d k r p binning_x binning_y'.split()
    return {name: np.asarray(getattr(one, name)).tolist() for name in names}


def test_intrinsics_from_returns_the_pinhole_of_info():
    one = camera_info.info(TYPES, LENS, (480, 640), HEADER)
    assert camera_info.intrinsics_from(one) == LENS
    assert camera_info.image_size(one) == (480, 640)
    assert one.header is HEADER
    assert (one.distortion_model, len(one.d)) == ('plumb_bob', 5)
    for name in 'dkrp':
        assert getattr(one, name).dtype == np.float64
    assert camera_info.info(TYPES, Intrinsics(5, 6, 1, 2), (3, 4), HEADER).k.dtype == np.float64


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('matrix', ['k', 'p'])
def test_scaled_moves_points_as_the_resize_does(size, matrix):
    one = info()
    two = camera_info.scaled(TYPES, one, size)
    x, y = size[1] / 640, size[0] / 480
    expected = (seen(one, matrix) + 0.5) * [x, y] - 0.5
    np.testing.assert_allclose(seen(two, matrix), expected, atol=1e-9)
    assert camera_info.image_size(two) == (two.height, two.width) == size
    assert (two.distortion_model, two.d.tolist()) == ('rational', one.d.tolist())
    np.testing.assert_array_equal(two.r, one.r)


@pytest.mark.parametrize('resolution', [64, 768])
def test_scaled_agrees_with_intrinsics_to_model(resolution):
    one = camera_info.info(TYPES, LENS, (480, 640), HEADER)
    two = camera_info.intrinsics_from(camera_info.scaled(TYPES, one, (resolution, resolution)))
    want = LENS.to_model(ResizeTransform((480, 640), resolution))
    np.testing.assert_allclose(
        [two.fx, two.fy, two.cx, two.cy], [want.fx, want.fy, want.cx, want.cy], rtol=1e-12
    )


def test_scaled_there_and_back():
    one = info()
    back = camera_info.scaled(TYPES, camera_info.scaled(TYPES, one, (77, 99)), (480, 640))
    for name, value in fields_of(one).items():
        if name != 'distortion_model':
            np.testing.assert_allclose(fields_of(back)[name], value, rtol=1e-9, atol=1e-9)


def test_scaled_to_the_same_size_changes_only_the_header():
    one = info(binning_x=2, binning_y=4, roi=roi(8, 12, 320, 240))
    other = make_header(TYPES, 9, 'cam')
    two = camera_info.scaled(TYPES, one, (60, 160), other)
    assert fields_of(two) == fields_of(one)
    assert two.roi == one.roi
    assert two.header is other
    assert camera_info.scaled(TYPES, one, (60, 160)).header is HEADER


def test_intrinsics_from_applies_roi_and_binning():
    # The image's pixel (i, j) is the mean of 2 x 4 pixels of a part of the sensor.
    one = info(binning_x=2, binning_y=4, roi=roi(8, 12, 320, 240))
    assert camera_info.image_size(one) == (60, 160)
    full = camera_info.intrinsics_from(info())
    part = camera_info.intrinsics_from(one)
    corner = np.array([full.cx, full.cy])
    expected = (corner - [8, 12] + 0.5) / [2, 4] - 0.5
    np.testing.assert_allclose([part.cx, part.cy], expected)
    np.testing.assert_allclose([part.fx, part.fy], [full.fx / 2, full.fy / 4])
    # And what is made for another size says the same of the image alone.
    two = camera_info.scaled(TYPES, one, (120, 320))
    assert (two.height, two.width, two.binning_x, two.roi.width) == (120, 320, 0, 0)
    inner = (seen(info(), 'p') - [8, 12] + 0.5) / [2, 4]
    np.testing.assert_allclose(seen(two, 'p'), inner * 2 - 0.5, atol=1e-9)


def test_intrinsics_from_prefers_p_to_k():
    one = camera_info.intrinsics_from(info())
    assert (one.fx, one.fy, one.cx, one.cy) == (480, 470, 330, 240)
    one = camera_info.intrinsics_from(info(p=np.zeros(12)))
    assert (one.fx, one.fy, one.cx, one.cy) == (500, 510, 320, 250)


def test_intrinsics_from_an_uncalibrated_camera():
    nothing = info(k=np.zeros(9), p=np.zeros(12), r=np.zeros(9), d=np.zeros(0))
    assert camera_info.intrinsics_from(nothing) is None
    two = camera_info.scaled(TYPES, nothing, (30, 40))
    assert (two.height, two.width) == (30, 40)
    assert not two.k.any()
    assert not two.p.any()


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('matrix', ['k', 'p'])
def test_infinite_and_nan_matrices_are_refused(bad, matrix):
    for place in (0, 2, 5, 7):
        one = info()
        getattr(one, matrix)[place] = bad
        for call in (camera_info.intrinsics_from, lambda i: camera_info.scaled(TYPES, i, (3, 4))):
            with pytest.raises(MessageError, match='finite') as caught:
                call(one)
            assert caught.value.kind == 'camera_info'


def test_impossible_focal_lengths_and_sizes_are_refused():
    for changes in ({'p': -info().p}, {'p': np.zeros(12), 'k': -info().k},
                    {'p': np.array([5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0.0])}):  # fmt: skip
        with pytest.raises(MessageError, match='focal') as caught:
            camera_info.intrinsics_from(info(**changes))
        assert caught.value.kind == 'camera_info'
    with pytest.raises(MessageError, match='size'):
        camera_info.scaled(TYPES, info(height=0), (3, 4))
    with pytest.raises(MessageError, match='640 x 480'):
        camera_info.check_size(info(), (640, 480))
    camera_info.check_size(info(), (480, 640))


def test_stamp_ns_returns_the_stamp_of_header():
    for ns in (0, 999_999_999, 1_000_000_000, 1_700_000_000_123_456_789):
        header = make_header(TYPES, ns, 'a')
        assert stamp_of(header) == ns
        assert 0 <= header.stamp.nanosec < 10**9
    header.stamp.sec = -1
    with pytest.raises(MessageError):
        stamp_of(header)


def test_a_pinhole_of_another_resolution_is_doubted():
    size = (480, 640)
    for scale, doubted in ((0.5, True), (1.0, False), (2.0, True), (4.0, True)):
        lens = Intrinsics(500 * scale, 500 * scale, 330 * scale, 235 * scale)
        given = camera_info.info(TYPES, lens, size, make_header(TYPES, 0, 'cam'))
        used, reason = camera_info.pinhole(given, size)
        assert (used, reason) == (lens, '')  # it is used all the same
        assert bool(camera_info.doubt(given, used, size)) == doubted
        # A crop of a larger image may be anywhere.
        given.roi.x_offset = 1
        assert camera_info.doubt(given, used, size) == ''
