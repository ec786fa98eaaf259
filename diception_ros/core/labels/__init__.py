# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers as things: predicted or true, at the camera's size or at the model's.

Every kind of label is a frozen dataclass that validates itself when it is made, holds its arrays
read-only, and knows how a label of its kind is resized, mirrored and drawn. Pixel coordinates
follow `diception_ros.core.images`: pixel centres lie at whole numbers. Labels compare by identity;
compare their arrays where their content is meant.
"""

from __future__ import annotations

from diception_ros.core.labels.base import Label
from diception_ros.core.labels.depth import Disparity, MetricDepth
from diception_ros.core.labels.keypoints import COCO_JOINTS, COCO_LIMBS, Keypoints
from diception_ros.core.labels.masks import Instances, Mask, Picture
from diception_ros.core.labels.normals import Normals

__all__ = [
    'COCO_JOINTS',
    'COCO_LIMBS',
    'Disparity',
    'Instances',
    'Keypoints',
    'Label',
    'Mask',
    'MetricDepth',
    'Normals',
    'Picture',
]
