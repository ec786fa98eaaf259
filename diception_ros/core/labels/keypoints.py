# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joints of people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import visualize
from diception_ros.core.labels.base import Label, check_image, freeze

# The 17 joints of COCO in their order; left and right are the person's own.
COCO_JOINTS = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip',
    'left_knee', 'right_knee', 'left_ankle', 'right_ankle',
)  # fmt: skip

# The 19 limbs of COCO's skeleton, as pairs of indices into COCO_JOINTS.
COCO_LIMBS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip

# Index of the same joint on the other side of the body.
COCO_MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)


@dataclass(frozen=True, eq=False)
class Keypoints(Label):
    """Joints of people, and points that are joints of an unknown type.

    Attributes:
        joints: (P, 17, 2) float32, x right, y down, pixels; the joints of each person in the order
            of COCO_JOINTS; NaN exactly where `visibility` is 0. May lie outside the image.
        visibility: (P, 17) uint8, COCO's: 0 not labelled or not found, 1 there but hidden,
            2 visible.
        scores: (P, 17) float32 in [0, 1], confidence; 1 for ground truth, 0 where absent.
        untyped: (M, 2) float32, x right, y down, pixels: joints of unknown type and person.
        size: (H, W) of the image, pixels.

    Raises:
        ValueError: wrong dtype or shape, numbers of people that differ, a visibility above 2, a
            joint that is NaN but visible or the reverse, a score outside [0, 1], a point that is
            not finite.
    """

    joints: NDArray[np.float32]
    visibility: NDArray[np.uint8]
    scores: NDArray[np.float32]
    untyped: NDArray[np.float32]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(COCO_JOINTS)
        joints = freeze(self, 'joints', np.float32, ('P', count, 2))
        visibility = freeze(self, 'visibility', np.uint8, (len(joints), count))
        scores = freeze(self, 'scores', np.float32, (len(joints), count))
        untyped = freeze(self, 'untyped', np.float32, ('M', 2))
        if min(self.size) < 1:
            raise ValueError(f'Keypoints.size: expected at least 1 pixel, got {self.size}')
        if visibility.size and visibility.max() > 2:
            raise ValueError(f'Keypoints.visibility: expected 0, 1 or 2, got {visibility.max()}')
        absent = visibility == 0
        here = np.isfinite(joints).all(axis=-1)
        if not (np.isnan(joints[absent]).all() and here[~absent].all()):
            raise ValueError(
                'Keypoints.joints: expected NaN where visibility is 0 and finite pixels elsewhere'
            )
        if not ((scores >= 0) & (scores <= 1)).all() or scores[absent].any():
            raise ValueError(
                'Keypoints.scores: expected [0, 1], and 0 where visibility is 0, '
                f'got {scores.min():.4g} to {scores.max():.4g}'
            )
        if not np.isfinite(untyped).all():
            raise ValueError('Keypoints.untyped: expected finite pixels')

    def select(self, keep: NDArray[np.bool_]) -> Keypoints:
        """The people for which `keep`, (P,) bool, is True; untyped points stay."""
        return replace(
            self,
            joints=self.joints[keep],
            visibility=self.visibility[keep],
            scores=self.scores[keep],
        )

    def resized(self, size: tuple[int, int]) -> Keypoints:
        scale = np.array([size[1] / self.size[1], size[0] / self.size[0]])

        def moved(points: NDArray[Any]) -> NDArray[np.float32]:
            return np.asarray((points.astype(np.float64) + 0.5) * scale - 0.5, np.float32)

        return Keypoints(
            moved(self.joints), self.visibility, self.scores, moved(self.untyped), size
        )

    def picked(self, size: tuple[int, int]) -> Keypoints:
        return self.resized(size)

    def flip(self) -> Keypoints:
        """The mirrored scene, in which a left wrist has become a right one."""
        other = list(COCO_MIRROR)
        sign, shift = np.array([-1, 1]), np.array([self.size[1] - 1, 0])
        return Keypoints(
            (self.joints[:, other] * sign + shift).astype(np.float32),
            self.visibility[:, other],
            self.scores[:, other],
            (self.untyped * sign + shift).astype(np.float32),
            self.size,
        )

    def preview(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Skeletons: left side blue, right side orange, middle white; hidden joints hollow.

        Points of unknown type are white rings.
        """
        check_image(self, image)
        canvas = visualize.backdrop(self.size, image)
        seen = self.visibility == 2
        for person, visible in zip(self.joints, seen, strict=True):
            visualize.draw_skeleton(canvas, person, visible, COCO_LIMBS, SIDES)
        visualize.draw_points(canvas, self.untyped)
        return canvas


# Side of the body of each joint: 0 middle, 1 left, 2 right.
SIDES = tuple(
    1 if name.startswith('left_') else 2 if name.startswith('right_') else 0
    for name in COCO_JOINTS
)
