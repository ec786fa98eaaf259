# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Answers as things: predicted or true, at the camera's size or at the model's.

Every kind of label is a frozen dataclass that validates itself when it is made, holds its arrays
read-only, and knows how a label of its kind is resized, mirrored and drawn. Pixel coordinates
follow `diception_ros.images`: pixel centres lie at whole numbers. Labels compare by identity;
compare their arrays where their content is meant.
"""

from __future__ import annotations

from diception_ros.labels.depth import Disparity, MetricDepth
from diception_ros.labels.keypoints import COCO_JOINTS, COCO_LIMBS, Keypoints
from diception_ros.labels.label import Label
from diception_ros.labels.masks import Instances, Mask
from diception_ros.labels.normals import Normals
from diception_ros.labels.picture import Picture

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
