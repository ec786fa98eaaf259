# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Temporal consistency: how much results change from frame to frame where the scene does not.

Where camera poses and depths are known, each pixel is projected into the frame before: changes by
the camera's motion do not count, and pixels that are hidden there are left out. Without them the
pixels are compared in place, if their colour stayed the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core import geometry
from diception_ros.core.frame import Transform, rotation_from
from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Mask,
    MetricDepth,
    Normals,
    resize_label,
)

if TYPE_CHECKING:
    from diception_ros.core.frame import Frame

# Shades of 256 by which a pixel may differ and still show the same point: twice the noise of an
# 8-bit camera in a room, after the blur.
SAME_COLOUR = 6
# Share of the depth by which a pixel may differ and still be the same point.
SAME_PLACE = 0.05


@dataclass(frozen=True, eq=False)
class FrameState:
    """One frame with its results.

    Attributes:
        frame: the frame.
        answers: predictions by task, of the frame's size.
        pose: of the camera in the world, None where it is unknown.
        depth: metres, of the frame's size; None where unknown.
    """

    frame: Frame
    answers: dict[str, Any]
    pose: Transform | None = None
    depth: MetricDepth | None = None


class TemporalConsistency:
    """Compares each frame of a camera with the one before."""

    def __init__(self) -> None:
        self._last: FrameState | None = None

    def update(self, now: FrameState) -> dict[str, dict[str, float]]:
        """Numbers of a frame by task, see `_compare`; none for the first."""
        last, self._last = self._last, now
        if last is None or last.frame.size != now.frame.size:
            return {}
        here, there = _pairs(last, now)
        share = len(here) / (now.frame.size[0] * now.frame.size[1])
        found = {}
        for task, label in now.answers.items():
            before = last.answers.get(task)
            if before is None or isinstance(label, Keypoints):
                continue
            numbers = _compare(task, before, label, last, now, here, there)
            if numbers:
                found[task] = {**numbers, 'compared': share}
        return found


def pose_of(message: Any, frame_id: str) -> Transform | None:
    """The camera's pose in a PoseStamped or a transform; None if it is of another frame."""
    if hasattr(message, 'transforms'):
        for transform in message.transforms:
            if transform.child_frame_id == frame_id:
                return _pose(transform.transform.rotation, transform.transform.translation)
        return None
    return _pose(message.pose.orientation, message.pose.position)


def _pose(q: Any, p: Any) -> Transform | None:
    numbers = [float(number) for number in (q.x, q.y, q.z, q.w)]
    if not np.linalg.norm(numbers) > 0:
        return None
    return Transform(rotation_from(*numbers), np.array([float(p.x), float(p.y), float(p.z)]))


def is_warped(now: FrameState, last: FrameState) -> bool:
    """Whether pixels can be projected into the frame before, rather than compared in place."""
    return None not in (now.pose, last.pose, now.depth, now.frame.intrinsics)


def _pairs(last: FrameState, now: FrameState) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat indices of pixels that show the same point, (N,) in this frame and in the last."""
    height, width = now.frame.size
    everywhere = np.arange(height * width)
    if not is_warped(now, last):
        colours = [cv2.GaussianBlur(item.frame.image, (5, 5), 0) for item in (last, now)]
        off = np.abs(colours[0].astype(np.int16) - colours[1]).max(axis=-1).ravel()
        same = everywhere[off <= SAME_COLOUR]
        return same, same
    assert now.depth is not None
    assert now.frame.intrinsics is not None
    points = geometry.back_project(now.depth, now.frame.intrinsics).reshape(-1, 3)
    moved = _move(points.astype(np.float64), now, last)
    pinhole = last.frame.intrinsics or now.frame.intrinsics
    with np.errstate(invalid='ignore', divide='ignore'):
        column = moved[:, 0] / moved[:, 2] * pinhole.fx + pinhole.cx
        row = moved[:, 1] / moved[:, 2] * pinhole.fy + pinhole.cy
        inside = (moved[:, 2] > 0) & (row >= 0) & (row <= height - 1)
        inside &= (column >= 0) & (column <= width - 1)
    here = everywhere[inside]
    there = (np.rint(row[inside]) * width + np.rint(column[inside])).astype(np.int64)
    if last.depth is not None:
        seen = last.depth.values.ravel()[there]
        visible = np.abs(seen / moved[here, 2] - 1) < SAME_PLACE
        here, there = here[visible], there[visible]
    return here, there


def _move(points: NDArray[np.float64], now: FrameState, last: FrameState) -> NDArray[np.float64]:
    assert now.pose is not None
    assert last.pose is not None
    world = points @ now.pose.rotation.T + now.pose.translation
    return np.asarray((world - last.pose.translation) @ last.pose.rotation, np.float64)


def _compare(
    task: str,
    before: Any,
    label: Any,
    last: FrameState,
    now: FrameState,
    here: NDArray[np.int64],
    there: NDArray[np.int64],
) -> dict[str, float]:
    """The number of one task.

    `change`: of a disparity and of an image the mean difference; `change_depth`: where places
    are compared, the mean relative difference of a disparity's depths, each frame scaled and
    shifted to suit what is known;
    `change_deg`: of normals the mean angle; `kept`: of things and masks the share of pixels that
    stayed what they were.
    """
    size = now.frame.size
    before, label = resize_label(before, size), resize_label(label, size)
    if not len(here):
        return {}
    if isinstance(label, Disparity):
        if is_warped(now, last):
            return _depth_change(before, label, last, now, here, there)
        old, new = before.values.ravel()[there], label.values.ravel()[here]
        return {'change': float(np.nanmean(np.abs(new - old)))}
    if isinstance(label, Normals):
        old, new = before.vectors.reshape(-1, 3)[there], label.vectors.reshape(-1, 3)[here]
        if is_warped(now, last):
            assert now.pose is not None
            assert last.pose is not None
            turn = now.pose.rotation.T @ last.pose.rotation
            old = old @ turn.T.astype(np.float32)
        cosine = np.clip(np.einsum('nc,nc->n', old, new), -1, 1)
        known = np.isfinite(cosine)
        mean = float(np.degrees(np.arccos(cosine[known])).mean()) if known.any() else float('nan')
        return {'change_deg': mean}
    if isinstance(label, Mask):
        return {'kept': float((before.values.ravel()[there] == label.values.ravel()[here]).mean())}
    if isinstance(label, Instances):
        return {'kept': float((before.ids.ravel()[there] == label.ids.ravel()[here]).mean())}
    if isinstance(label, ImageLabel):
        old, new = before.values.reshape(-1, 3)[there], label.values.reshape(-1, 3)[here]
        return {'change': float(np.abs(new - old).mean())}
    return {}


def _depth_change(
    before: Disparity,
    label: Disparity,
    last: FrameState,
    now: FrameState,
    here: NDArray[np.int64],
    there: NDArray[np.int64],
) -> dict[str, float]:
    assert now.depth is not None
    assert now.frame.intrinsics is not None
    if last.depth is None:
        return {}
    new, old = (
        geometry.to_metric(item, geometry.fit_scale_shift(item.values, 1 / depth.values))
        for item, depth in ((label, now.depth), (before, last.depth))
    )
    points = geometry.back_project(new, now.frame.intrinsics).reshape(-1, 3)[here]
    expected = _move(points.astype(np.float64), now, last)[:, 2]
    with np.errstate(divide='ignore', invalid='ignore'):
        off = np.abs(old.values.ravel()[there] / expected - 1)
    known = np.isfinite(off) & (expected > 0)
    return {'change_depth': float(off[known].mean()) if known.any() else float('nan')}
