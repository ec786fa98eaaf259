# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Values, legends and clouds of snapshots of every kind of label."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import random_labels

from diception_ros.core.frame import Intrinsics
from diception_ros.core.labels import Instances, Mask
from diception_ros.viewer import drawing
from diception_ros.viewer.session import Snapshot

SIZE = (48, 64)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (*SIZE, 3), np.uint8)
LABELS = {
    'depth': random_labels.disparity(SIZE, RNG), 'normal': random_labels.normals(SIZE, RNG),
    'segmentation': random_labels.mask(SIZE, RNG), 'semantic': random_labels.instances(SIZE, RNG),
    'pose': random_labels.keypoints(SIZE, RNG),
}  # fmt: skip
SNAPSHOT = Snapshot(1, IMAGE, labels=LABELS)


def test_a_value_is_that_of_the_pixel_under_the_pointer():
    found = dict(text.split(': ', 1) for text in drawing.values_at(SNAPSHOT, 20.4, 9.6)[1:])
    assert drawing.values_at(SNAPSHOT, 20.4, 9.6)[0] == 'x 20 y 10'
    assert found['depth'].startswith(f'{LABELS["depth"].values[10, 20]:.3f} (relative')
    inside = LABELS['segmentation'].values[10, 20]
    assert found['segmentation'] == ('inside' if inside else 'outside') + ', score 0.75'
    semantic = LABELS['semantic']
    number = semantic.ids[10, 20]
    assert found['semantic'] == (
        f'{semantic.categories[number - 1]} {number}, score {semantic.scores[number - 1]:.2f}'
        if number else 'none'
    )  # fmt: skip
    x, y = LABELS['pose'].joints[np.nonzero(LABELS['pose'].visibility)][0]
    if 0 <= x < 63 and 0 <= y < 47:
        assert ' of person ' in drawing.values_at(SNAPSHOT, x, y)[-1]
    assert drawing.values_at(SNAPSHOT, 64, 0) == []
    assert drawing.values_at(Snapshot(), 0, 0) == []


def test_metres_take_the_place_of_relative_depth():
    metres = random_labels.metric(SIZE, RNG)
    found = drawing.values_at(replace(SNAPSHOT, metric_depth=metres), 20, 10)
    assert f'depth: {metres.values[10, 20]:.2f} m' in found
    (entry,) = drawing.legend(metres)
    assert all(end.endswith(' m') for end in entry.ends)
    assert float(entry.ends[0][:-2]) > float(entry.ends[1][:-2])  # far is left


@pytest.mark.parametrize('name', LABELS)
def test_every_label_has_a_legend_and_an_image(name):
    assert drawing.legend(LABELS[name])
    data = np.frombuffer(drawing.jpeg(SNAPSHOT, name), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (*SIZE, 3)


def test_a_legend_has_what_is_in_the_image_alone():
    ids = np.zeros(SIZE, np.int32)
    ids[:4] = 2
    label = Instances(ids, ('chair', 'person'), np.array([0.5, 0.25], np.float32))
    assert [entry.text for entry in drawing.legend(label)] == ['person 2, score 0.25']
    empty = Instances(ids * 0, (), np.zeros(0, np.float32))
    assert [entry.text for entry in drawing.legend(empty)] == ['nothing found']
    (entry,) = drawing.legend(Mask(ids > 0, 0.5))
    assert entry.text == 'object, 8.3 % of the image, score 0.50'


def test_labels_of_another_size_are_picked_at_the_same_place():
    small = random_labels.disparity((24, 32), RNG)
    (_, text) = drawing.values_at(replace(SNAPSHOT, labels={'depth': small}), 41, 7)
    assert text.startswith(f'depth: {small.values[3, 20]:.3f}')


def test_the_cloud_projects_back_to_its_pixels():
    metres = random_labels.metric(SIZE, RNG)
    pinhole = Intrinsics(50.0, 45.0, 30.0, 19.0)
    points, colors, words = drawing.cloud(
        replace(SNAPSHOT, metric_depth=metres, intrinsics=pinhole)
    )
    assert words == 'metres'
    x, forward, up = points.T
    columns, rows = 50 * x / forward + 30, -45 * up / forward + 19
    assert np.allclose(columns.reshape(SIZE)[5], np.arange(64), atol=1e-3)
    assert np.allclose(rows.reshape(SIZE)[:, 5], np.arange(48), atol=1e-3)
    assert np.array_equal(np.rint(colors * 255).reshape(*SIZE, 3), IMAGE)


def test_a_cloud_without_metres_says_so_and_none_without_depth():
    assert 'relative depth' in drawing.cloud(SNAPSHOT)[2]
    assert 'no CameraInfo' in drawing.cloud(SNAPSHOT)[2]
    assert drawing.cloud(replace(SNAPSHOT, labels={})) is None
