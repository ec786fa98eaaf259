# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The mirrored sample: painted, it is the mirrored painting, up to what a mirror changes."""

import numpy as np
import pytest
from random_labels import OF_TASK

from diception_ros import tasks
from diception_ros.core.frame import Frame, Intrinsics
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets.batch import flip
from diception_ros.datasets.sample import Sample

SIZE = (48, 64)
PINHOLE = Intrinsics(50.0, 51.0, 20.0, 25.0)


def sample(task, size=SIZE):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    points = (Point(-0.5, 3.0), Point(10.0, 4.5)) if tasks.get(task).takes_points else ()
    category = 'person' if tasks.get(task).takes_category else None
    frame = Frame(image, 7, 'camera', PINHOLE)
    return Sample(frame, Prompt(task, category, points), OF_TASK[task](size, rng), name='one')


@pytest.mark.parametrize('task', ['depth', 'normal', 'segmentation'])
def test_flipping_commutes_with_encoding(task):
    one, encode = sample(task, (48, 48)), tasks.get(task).encode
    mirrored = encode(one.label)[:, ::-1].copy()
    if task == 'normal':
        mirrored[..., 0] = 1 - mirrored[..., 0]  # red is x
    np.testing.assert_allclose(encode(flip(one).label), mirrored, atol=1e-6)


@pytest.mark.parametrize('task', tasks.names())
def test_image_label_points_and_pinhole_turn_together(task):
    one = sample(task)
    two = flip(one)
    np.testing.assert_array_equal(two.frame.image, one.frame.image[:, ::-1])
    assert (two.frame.stamp_ns, two.frame.frame_id) == (7, 'camera')
    # A ray through a point meets the mirrored ray through the mirrored point.
    for a, b in zip(one.prompt.points, two.prompt.points, strict=True):
        left = (a.x - PINHOLE.cx) / PINHOLE.fx
        right = (b.x - two.frame.intrinsics.cx) / two.frame.intrinsics.fx
        assert right == pytest.approx(-left)
        assert b.y == a.y
    if task == 'segmentation':
        (a,), (b,) = one.prompt.points[1:], two.prompt.points[1:]
        assert one.label.values[int(a.y), int(a.x)] == two.label.values[int(b.y), int(b.x)]
    again = flip(two)
    assert again.frame.intrinsics == PINHOLE
    np.testing.assert_array_equal(again.frame.image, one.frame.image)
    np.testing.assert_allclose(again.label.valid, one.label.valid)
