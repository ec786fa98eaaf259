# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random damage of messages: each is read, or raises a MessageError of a known kind."""

from collections import Counter
from types import SimpleNamespace

import cv2
import encoders
import numpy as np
import pytest

from diception_ros.bags.typestore import BagTypes
from diception_ros.core.frame import Frame, Intrinsics
from diception_ros.messages import MessageError, camera_info, make_header, point_clouds, stamp_of
from diception_ros.messages import images as image_messages

pytestmark = pytest.mark.slow
TYPES = BagTypes()
COUNT = 5000
KINDS = {
    'encoding', 'format', 'size', 'step', 'data', 'jpeg', 'png', 'webp', 'tiff', 'avif', 'jxl',
    'stamp', 'camera_info', 'camera_info size', 'cloud',
}  # fmt: skip


def some(rng, *choices):
    return choices[rng.integers(len(choices))]


def number(rng):
    return int(some(rng, 0, 1, 2, 3, rng.integers(64), rng.integers(2**16), rng.integers(2**32),
                    2**31, 2**32 - 1))  # fmt: skip


def spoil(rng, message, names):
    """Another value, or none, for each of some fields."""
    for name in names:
        if rng.random() < 0.3:
            setattr(message, name, number(rng))


def words(rng):
    return some(rng, *encoders.ALL, '', 'nv42', '32FC1', '8UC', 'bayer', 'x' * 300, 'é\0')


def raw(rng):
    encoding = some(rng, *encoders.ALL)
    size = 2 * int(rng.integers(1, 8)), 2 * int(rng.integers(1, 8))
    rgb = rng.integers(0, 256, (*size, 3), np.uint8)
    message = encoders.encode(rgb, encoding, int(rng.integers(4)), bool(rng.integers(2)))
    spoil(rng, message, ['height', 'width', 'step'])
    if rng.random() < 0.3:
        message.encoding = words(rng)
    if rng.random() < 0.3:
        message.data = rng.integers(0, 256, int(rng.integers(3 * message.data.size)), np.uint8)
    message.is_bigendian = int(rng.integers(256))
    return message


def files():
    rng = np.random.default_rng(0)
    rgb = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (24, 16))
    for suffix in ('.png', '.jpg', '.bmp', '.webp', '.tiff'):
        yield cv2.imencode(suffix, rgb)[1]
        yield cv2.imencode(suffix, rgb[..., 0])[1]


FILES = list(files())


def compressed(rng):
    content = some(rng, *FILES).copy()
    if rng.random() < 0.6:
        content[rng.integers(content.size, size=rng.integers(1, 4))] = rng.integers(256)
    if rng.random() < 0.3:
        content = content[: rng.integers(content.size)]
    text = some(rng, 'jpeg', 'png', 'rgb8; jpeg compressed bgr8', 'bgr8; png compressed bgr8',
                'bayer_rggb8; png compressed ', 'h264', '', words(rng))  # fmt: skip
    message = encoders.compressed(b'', text)
    message.data = content
    return message


def info_of(rng, size):
    info = camera_info.info(TYPES, Intrinsics(5, 6, 4, 3), size, make_header(TYPES, 0, 'cam'))
    for matrix in (info.k, info.p):
        if rng.random() < 0.2:
            matrix[rng.integers(9)] = some(rng, np.nan, np.inf, -1.0, 0.0, 1e308, -1e308)
    spoil(rng, info, some(rng, ['height', 'width'], ['binning_x', 'binning_y'], []))
    spoil(rng, info.roi, some(rng, ['height', 'width', 'x_offset', 'y_offset'], []))
    return info


def cloud(rng):
    found = np.zeros(int(rng.integers(5)), point_clouds.JOINT)
    for name in point_clouds.JOINT.names:
        found[name] = rng.integers(256, size=len(found))
    message = point_clouds.joint_cloud(TYPES, found, make_header(TYPES, 0, 'cam'))
    spoil(rng, message, ['height', 'width', 'point_step', 'row_step'])
    for field in message.fields:
        if rng.random() < 0.1:
            spoil(rng, field, ['offset', 'count'])
            field.datatype = int(rng.integers(256))
        if rng.random() < 0.05:
            field.name = some(rng, '', 'x', 'x' * 300, 'é')
    message.is_bigendian = bool(rng.integers(2))
    return message


def attempt(counts, call, *arguments):
    try:
        got = call(*arguments)
    except MessageError as error:
        assert len(error.kind) < 60  # noqa: PT017
        assert len(str(error)) < 1000  # noqa: PT017
        counts[error.kind.split(" '")[0].split(' "')[0]] += 1
        return None
    counts['good'] += 1
    return got


def check_frame(frame):
    assert isinstance(frame, Frame)
    assert frame.image.flags.c_contiguous
    assert frame.intrinsics is None or frame.intrinsics.fx > 0


# Of files fewer: the decoders write a line to stderr for most of them.
@pytest.mark.parametrize(('source', 'count'), [(raw, COUNT), (compressed, COUNT // 5)])
def test_random_images_are_read_or_refused(source, count):
    rng, counts = np.random.default_rng(0), Counter()
    for _ in range(count):
        message = source(rng)
        message.header.stamp.sec = some(rng, 0, 1, 1, 1, 2**31 - 1, -(2**31))
        message.header.stamp.nanosec = number(rng)
        size = (message.height, message.width) if source is raw else (16, 24)
        info = some(rng, None, info_of(rng, size))
        frame = attempt(counts, image_messages.frame_from, message, info)
        if frame is not None:
            check_frame(frame)
        if source is raw:
            attempt(Counter(), image_messages.array_from, message)
    assert counts.pop('good') > count / 20
    assert set(counts) <= KINDS
    expected = {'encoding', 'size', 'step', 'data'} if source is raw else {'format', 'jpeg', 'png'}
    assert expected | {'stamp'} <= set(counts)
    assert not counts['camera_info'] + counts['camera_info size']  # costs no frame
    assert min(counts[kind] for kind in expected) > 20


def test_random_camera_infos_are_read_or_refused():
    rng, counts = np.random.default_rng(1), Counter()
    for _ in range(COUNT):
        info = info_of(rng, (16, 24))
        attempt(counts, camera_info.intrinsics_from, info)
        attempt(counts, camera_info.check_size, info, (16, 24))
        attempt(counts, camera_info.scaled, TYPES, info, (32, 32))
    assert counts.pop('good') > COUNT / 2
    assert set(counts) == {'camera_info', 'camera_info size'}


def test_random_clouds_are_read_or_refused():
    rng, counts = np.random.default_rng(2), Counter()
    for _ in range(COUNT):
        message = cloud(rng)
        points = attempt(counts, point_clouds.points_from, message)
        assert points is None or np.isfinite(points).all()
        attempt(counts, point_clouds.keypoints_from, message, (16, 24))
    assert counts.pop('good') > COUNT / 20
    assert set(counts) == {'cloud'}


def test_stamp_ns_of_the_largest_stamp():
    stamp = SimpleNamespace(sec=2**31 - 1, nanosec=2**32 - 1)
    assert stamp_of(SimpleNamespace(stamp=stamp)) == (2**31 - 1) * 10**9 + 2**32 - 1
