# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write vision_msgs: boxes, and what the numbers in a label map mean. It may not be installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from diception_ros.core.labels import Instances, Keypoints
from diception_ros.messages.base import Types

DETECTIONS = 'vision_msgs/msg/Detection2DArray'
LABEL_INFO = 'vision_msgs/msg/LabelInfo'
# Class of an unlabelled pixel; by the rule of vision_msgs the largest number of the map's type.
UNLABELLED = 255


class Detection(NamedTuple):
    """One object or person in an image.

    Attributes:
        number: the same as in the label map or in the cloud of joints.
        category: its category, '' if the task has none.
        score: confidence, [0, 1].
        low: x and y of the upper left corner, pixels (centres at whole numbers).
        high: x and y of the lower right corner.
    """

    number: int
    category: str
    score: float
    low: tuple[float, float]
    high: tuple[float, float]


def instances_of(label: Instances) -> list[Detection]:
    """The instances that have pixels; boxes enclose whole pixels."""
    return [
        Detection(number, label.categories[number - 1], float(label.scores[number - 1]),
              (x0 - 0.5, y0 - 0.5), (x1 - 0.5, y1 - 0.5))
        for number, (x0, y0, x1, y1) in enumerate(label.boxes.tolist(), 1)
        if x1 > x0
    ]  # fmt: skip


def people_of(label: Keypoints) -> list[Detection]:
    """Persons with at least one joint; boxes enclose the joints, scores are their mean."""
    found = []
    rows = zip(label.joints, label.scores, label.visibility > 0, strict=True)
    for number, (joints, scores, here) in enumerate(rows, 1):
        if here.any():
            low, high = joints[here].min(axis=0).tolist(), joints[here].max(axis=0).tolist()
            found.append(Detection(number, 'person', float(scores[here].mean()), (low[0], low[1]),
                               (high[0], high[1])))  # fmt: skip
    return found


def detections(types: Types, objects: Sequence[Detection], header: Any) -> Any:
    """Make a vision_msgs/Detection2DArray; `id` is the number, `class_id` the category."""
    return types.make(
        DETECTIONS, header=header, detections=[_detection(types, item, header) for item in objects]
    )


def label_info(types: Types, categories: Sequence[str], header: Any) -> Any:
    """Make a vision_msgs/LabelInfo of a mono8 map: 0 is the first category, 255 unlabelled."""
    names = [*enumerate(categories), (UNLABELLED, 'UNLABELED')]
    return types.make(
        LABEL_INFO,
        header=header,
        class_map=[
            types.make('vision_msgs/msg/VisionClass', class_id=number, class_name=name)
            for number, name in names
        ],
        threshold=0.0,  # nothing in the map was cut off by a score
    )


def _detection(types: Types, item: Detection, header: Any) -> Any:
    (x0, y0), (x1, y1) = item.low, item.high
    centre = types.make(
        'vision_msgs/msg/Pose2D',
        position=types.make('vision_msgs/msg/Point2D', x=(x0 + x1) / 2, y=(y0 + y1) / 2),
        theta=0.0,
    )
    box = types.make(
        'vision_msgs/msg/BoundingBox2D', center=centre, size_x=x1 - x0, size_y=y1 - y0
    )
    result = types.make(
        'vision_msgs/msg/ObjectHypothesisWithPose',
        hypothesis=types.make(
            'vision_msgs/msg/ObjectHypothesis', class_id=item.category, score=item.score
        ),
        pose=_no_pose(types),
    )
    return types.make(
        'vision_msgs/msg/Detection2D', header=header, results=[result], bbox=box,
        id=str(item.number),
    )  # fmt: skip


def _no_pose(types: Types) -> Any:
    pose = types.make(
        'geometry_msgs/msg/Pose',
        position=types.make('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0),
        orientation=types.make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0),
    )
    return types.make(
        'geometry_msgs/msg/PoseWithCovariance', pose=pose, covariance=np.zeros(36, np.float64)
    )
