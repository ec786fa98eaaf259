# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels: predictions or ground truth, at the size of the camera image or of the model.

Every kind of label is a frozen dataclass that validates itself when it is made, holds its arrays
read-only, and implements how it is resized, mirrored and drawn. Pixel coordinates follow
`diception_ros.core.images`: pixel centres lie at whole numbers. Labels compare by identity;
compare their arrays to compare content.
"""

from __future__ import annotations

from diception_ros.core.labels.kinds import (
    COCO_JOINTS,
    COCO_LIMBS,
    COCO_MIRROR,
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Mask,
    MetricDepth,
    Normals,
    load_npz,
    save_npz,
    unit,
)
from diception_ros.core.labels.label import Label, resize_label

__all__ = [
    'COCO_JOINTS',
    'COCO_LIMBS',
    'COCO_MIRROR',
    'Disparity',
    'ImageLabel',
    'Instances',
    'Keypoints',
    'Label',
    'Mask',
    'MetricDepth',
    'Normals',
    'load_npz',
    'resize_label',
    'save_npz',
    'unit',
]
