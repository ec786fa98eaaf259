# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Renders a snapshot for the page: images, legends with units, values at a pixel, a cloud."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.frame import Intrinsics
from diception_ros.core.geometry import ScaleShift, back_project, to_metric
from diception_ros.core.labels import (
    COCO_JOINTS,
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Label,
    Mask,
    MetricDepth,
    Normals,
    resize_label,
    visualize,
)

if TYPE_CHECKING:
    from diception_ros.viewer.session import Snapshot

# Name under which the camera's image is drawn, beside those of the tasks.
IMAGE = 'image'
JPEG_QUALITY = 92  # artefacts at edges of labels can't be seen from about 90 on
# Points of a cloud in the browser: the JSON of 40 000 with colours is about 3 MB.
MAX_POINTS = 40_000
# For a cloud of relative depth, whose scale and shift are unknown: the farthest pixel is ten times
# as far as the nearest, as in a room, and a camera without CameraInfo is 60 degrees wide.
_NEAR_TO_FAR = ScaleShift(0.9, 0.1)
_FIELD_OF_VIEW = math.radians(60)
# A joint is named at the pointer within this share of the image's height.
_JOINT_RADIUS = 0.03


@dataclass(frozen=True)
class LegendEntry:
    """One line of a legend.

    Attributes:
        color: in CSS; of a scale, a gradient.
        text: with the unit.
        ends: of a scale, what its left and right ends mean; () otherwise.
    """

    color: str
    text: str
    ends: tuple[str, ...] = ()


def jpeg(snapshot: Snapshot, name: str) -> bytes:
    """The camera's image or a task's preview as JPEG, drawn once per snapshot.

    Args:
        snapshot: the snapshot.
        name: IMAGE or a task.

    Raises:
        KeyError: there is none.
    """
    import cv2

    if name not in snapshot.drawn:
        if snapshot.image is None:
            raise KeyError(name)
        drawn = snapshot.image if name == IMAGE else preview(snapshot, name)
        bgr = np.ascontiguousarray(drawn[..., ::-1])
        data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        snapshot.drawn[name] = data.tobytes()
    return snapshot.drawn[name]


def preview(snapshot: Snapshot, name: str) -> NDArray[np.uint8]:
    """A task's label at the size of the image, (H, W, 3) uint8 RGB; of metric depth its metres.

    Raises:
        KeyError: there is none.
    """
    image, label = snapshot.image, shown(snapshot, name)
    if image is None or label is None:
        raise KeyError(name)
    return resize_label(label, (image.shape[0], image.shape[1])).preview(image)


def shown(snapshot: Snapshot, name: str) -> Label | None:
    """The label of a task, metres in place of a disparity where they are known."""
    label = snapshot.labels.get(name)
    if isinstance(label, Disparity) and name == 'depth' and snapshot.metric_depth is not None:
        return snapshot.metric_depth
    return label


def legend(label: Label) -> list[LegendEntry]:
    """What the colours of a label's preview mean."""
    if isinstance(label, Disparity):
        return [LegendEntry(_gradient(), 'relative depth, no unit', ('far 0', 'near 1'))]
    if isinstance(label, MetricDepth):
        inverse = np.float32(1) / label.values
        if not label.valid.any():
            return [LegendEntry(_gradient(), 'depth in metres: unknown everywhere')]
        low, high = np.nanpercentile(inverse, [2, 98])  # as MetricDepth.preview spans its colours
        ends = (f'{1 / low:.2f} m', f'{1 / high:.2f} m')
        return [LegendEntry(_gradient(), 'depth in metres (colours of 1/depth)', ends)]
    if isinstance(label, Normals):
        names = ('faces right', 'faces up', 'faces the camera')
        vectors = np.array([[[1, 0, 0], [0, -1, 0], [0, 0, -1]]], np.float32)
        return [
            LegendEntry(_css(color), f'{name} (unit vector)')
            for name, color in zip(names, visualize.normal_colors(vectors)[0], strict=True)
        ]
    if isinstance(label, Mask):
        share = float(label.values.mean())
        text = f'object, {100 * share:.1f} % of the image{_score(label.score)}'
        return [LegendEntry(_css(visualize.color(0)), text)]
    if isinstance(label, Instances):
        return [
            LegendEntry(_css(visualize.color(k)), _instance(label, k + 1))
            for k, area in enumerate(label.areas)
            if area
        ] or [LegendEntry('transparent', 'nothing found')]
    if isinstance(label, Keypoints):
        return [
            LegendEntry(_css(visualize.LEFT), "person's left"),
            LegendEntry(_css(visualize.RIGHT), "person's right"),
            LegendEntry(_css(visualize.MIDDLE), f'middle; {len(label.joints)} persons'),
        ]
    return []


def values_at(snapshot: Snapshot, x: float, y: float) -> list[str]:
    """The pixel, then what each label says about it, one text each.

    Args:
        snapshot: the snapshot.
        x: column, pixels of the image.
        y: row.
    """
    image = snapshot.image
    if image is None or not (
        -0.5 <= x < image.shape[1] - 0.5 and -0.5 <= y < image.shape[0] - 0.5
    ):
        return []
    column, row = math.floor(x + 0.5), math.floor(y + 0.5)
    lines = [f'x {column} y {row}']
    for name in snapshot.labels:
        label = shown(snapshot, name)
        if label is not None:
            # As `resize_label` picks: the pixel of the label that contains the centre.
            height, width = label.size
            at = (
                (2 * row + 1) * height // (2 * image.shape[0]),
                (2 * column + 1) * width // (2 * image.shape[1]),
            )
            scale = np.array([width / image.shape[1], height / image.shape[0]])
            lines.append(f'{name}: {_value(label, at, (np.array([x, y]) + 0.5) * scale - 0.5)}')
    return lines


def _value(label: Label, at: tuple[int, int], place: NDArray[np.float64]) -> str:
    if not label.valid[at]:
        return 'unknown'
    if isinstance(label, Disparity):
        return f'{label.values[at]:.3f} (relative; 1 near, 0 far)'
    if isinstance(label, MetricDepth):
        return f'{label.values[at]:.2f} m'
    if isinstance(label, Normals):
        x, y, z = label.vectors[at]
        return f'({x:.2f}, {y:.2f}, {z:.2f}), x right y down z forward'
    if isinstance(label, Mask):
        return ('inside' if label.values[at] else 'outside') + _score(label.score)
    if isinstance(label, Instances):
        number = int(label.ids[at])
        return _instance(label, number) if number else 'none'
    if isinstance(label, Keypoints):
        return _joint(label, place)
    if isinstance(label, ImageLabel):
        return 'rgb ' + ' '.join(f'{value:.2f}' for value in label.values[at])
    return ''


def _joint(label: Keypoints, place: NDArray[np.float64]) -> str:
    far = np.hypot(label.joints[..., 0] - place[0], label.joints[..., 1] - place[1])
    far = np.where(label.visibility > 0, far, np.inf)
    if not far.size or far.min() > _JOINT_RADIUS * label.size[0]:
        return 'no joint'
    person, joint = np.unravel_index(int(far.argmin()), far.shape)
    score = float(label.scores[person, joint])
    return f'{COCO_JOINTS[joint]} of person {person + 1}{_score(score)}'


def _instance(label: Instances, number: int) -> str:
    name = label.categories[number - 1] or 'object'
    return f'{name} {number}{_score(float(label.scores[number - 1]))}'


def _score(score: float) -> str:
    # A mask read from a message has no score; 1 stands for that in the labels.
    return f', score {score:.2f}' if score < 1 else ''


def _gradient() -> str:
    stops = ', '.join(_css(color) for color in visualize.SPECTRAL)
    return f'linear-gradient(to right, {stops})'


def _css(color: Any) -> str:
    red, green, blue = (int(part) for part in color)
    return f'rgb({red}, {green}, {blue})'


def cloud(
    snapshot: Snapshot, name: str = IMAGE
) -> tuple[NDArray[np.float32], NDArray[np.float32], str] | None:
    """Points in space for a 3D scene whose z is up.

    Args:
        snapshot: the snapshot.
        name: what colours the points: IMAGE or a task.

    Returns:
        (N, 3) float32 points, (N, 3) float32 colours in [0, 1], and what they are in words; None
        without a depth.
    """
    image, depth = snapshot.image, shown(snapshot, 'depth')
    if image is None or depth is None:
        return None
    size = image.shape[0], image.shape[1]
    intrinsics, words = snapshot.intrinsics, 'metres'
    if isinstance(depth, Disparity):
        depth, words = (
            to_metric(depth, _NEAR_TO_FAR),
            'relative depth, drawn as if far were 10 x near',
        )
    if intrinsics is None:
        focal = size[1] / 2 / math.tan(_FIELD_OF_VIEW / 2)
        intrinsics = Intrinsics(focal, focal, (size[1] - 1) / 2, (size[0] - 1) / 2)
        words += '; no CameraInfo, drawn as if 60° wide'
    assert isinstance(depth, MetricDepth)
    points = back_project(resize_label(depth, size), intrinsics)
    step = max(1, math.ceil(math.sqrt(size[0] * size[1] / MAX_POINTS)))
    colors = preview(snapshot, name) if name in snapshot.labels else image
    points, colors = points[::step, ::step].reshape(-1, 3), colors[::step, ::step].reshape(-1, 3)
    known = np.isfinite(points).all(axis=1)
    x, y, z = points[known].T
    # From the optical frame (x right, y down, z forward) to x right, y forward, z up.
    return (
        np.stack([x, z, -y], axis=1),
        (colors[known] / np.float32(255)).astype(np.float32),
        words,
    )
