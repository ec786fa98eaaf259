# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A random label of every kind and any size."""

from __future__ import annotations

import numpy as np

from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Mask,
    MetricDepth,
    Normals,
)

CAMERAS = [(48, 64), (64, 48), (150, 40), (33, 200), (1, 1)]
SQUARE = 64


def disparity(size, rng):
    rows, columns = np.mgrid[: size[0], : size[1]]
    wave = np.sin(rows / size[0] * rng.uniform(2, 5)) * np.cos(columns / size[1] * 3)
    return Disparity(((wave + 1) / 2).astype(np.float32))


def metric(size, rng):
    return MetricDepth(1 + 5 * disparity(size, rng).values)


def normals(size, rng):
    tilt = disparity(size, rng).values[..., None] * rng.normal(0, 0.5, 3)
    vectors = (tilt - np.array([0, 0, 1])).astype(np.float32)
    return Normals(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def mask(size, rng):
    return Mask(disparity(size, rng).values > 0.5, score=0.75)


def instances(size, rng):
    ids = (disparity(size, rng).values * 4).astype(np.int32)
    return Instances(ids, tuple('abcd'), rng.random(4).astype(np.float32))


def keypoints(size, rng, people=3):
    joints = (rng.random((people, 17, 2)) * (size[1], size[0]) - 0.5).astype(np.float32)
    visibility = rng.integers(0, 3, (people, 17)).astype(np.uint8)
    joints[visibility == 0] = np.nan
    scores = np.where(visibility > 0, rng.random((people, 17)), 0).astype(np.float32)
    untyped = (rng.random((2, 2)) * (size[1], size[0]) - 0.5).astype(np.float32)
    return Keypoints(joints, visibility, scores, untyped, size)


def image(size, rng):
    red, green, blue = (disparity(size, rng).values for _ in range(3))
    return ImageLabel(np.stack([red, green, blue], axis=-1))


# Of each task of the base a label such as it paints.
OF_TASK = {
    'depth': disparity, 'normal': normals, 'segmentation': mask, 'entity': instances,
    'semantic': instances, 'pose': keypoints,
}  # fmt: skip
KINDS = [disparity, metric, normals, mask, instances, keypoints, image]


def contents(label):
    return {name: getattr(label, name) for name in label.__dataclass_fields__}


def assert_same(one, other, **tolerance):
    assert type(one) is type(other)
    for name, value in contents(one).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(contents(other)[name], value, **tolerance)
        else:
            assert contents(other)[name] == value
