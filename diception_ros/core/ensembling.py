# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Merges predictions of one prompt with different noise, and computes where they disagree.

Their mean or vote has a smaller error than each of them, and their spread is a measure of
uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import geometry
from diception_ros.core.labels import (
    Disparity,
    ImageLabel,
    Instances,
    Keypoints,
    Label,
    Mask,
    Normals,
)

# Relative difference of squared distances that counts as none: far above the rounding of float32.
_TIE = 1e-3

Merged = tuple[Any, NDArray[np.float32]]


def merge(labels: Sequence[Label]) -> tuple[Label, NDArray[np.float32]]:
    """Merge predictions of one prompt.

    Args:
        labels: at least one, all of one kind and size.

    Returns:
        The merged label, and (H, W) float32 how far the predictions differ, 0 where they agree,
        NaN where it is undefined:
        Disparity: standard deviation after alignment, unitless; Normals: mean angle to the merged
        normal, degrees; Mask: 0 to 1, 1 where half of the predictions are False; Instances: share
        of predictions with another instance; Keypoints: at each joint, spread of the predictions
        in pixels; ImageLabel: standard deviation, mean of the channels.

    Raises:
        ValueError: no labels, or of several kinds or sizes.
        TypeError: a kind that cannot be merged.
    """
    if not labels:
        raise ValueError('merge: expected at least one label, got none')
    kinds = {type(label) for label in labels}
    sizes = {label.size for label in labels}
    if len(kinds) > 1 or len(sizes) > 1:
        names = sorted(kind.__name__ for kind in kinds)
        raise ValueError(
            f'merge: expected labels of one kind and size, got {names} of {sorted(sizes)}'
        )
    kind = kinds.pop()
    if kind not in _MERGERS:
        raise TypeError(f'merge: {kind.__name__} cannot be merged')
    merged: tuple[Label, NDArray[np.float32]] = _MERGERS[kind](labels)
    return merged


def _disparity(labels: Sequence[Disparity]) -> Merged:
    """Median after each prediction was aligned to the middle one by scale and shift.

    A pixel that is unknown in one prediction is unknown.
    """
    stack = np.stack([label.values for label in labels])  # (N, H, W)
    known = np.isfinite(stack).all(axis=0)
    stack = stack[:, known]  # (N, K)
    # The scale is free, so all are aligned to the one nearest to the mean.
    distance = ((stack - stack.mean(axis=0)) ** 2).sum(axis=1)
    # Of two predictions both are as near; rounding must not choose.
    middle = stack[int((distance <= distance.min() * (1 + _TIE)).argmax())]
    aligned = []
    for item in stack:
        scale_shift = geometry.fit_scale_shift(item, middle)
        aligned.append(item * scale_shift.scale + scale_shift.shift)
    values, spread = np.full((2, *known.shape), np.nan, np.float32)
    values[known] = np.clip(np.median(aligned, axis=0), 0, 1)
    spread[known] = np.std(aligned, axis=0)
    return Disparity(values), spread


def _normals(labels: Sequence[Normals]) -> Merged:
    """Mean direction."""
    stack = np.stack([label.vectors for label in labels])  # (N, H, W, 3)
    known = np.isfinite(stack[..., 0])  # (N, H, W)
    total = np.where(known[..., None], stack, 0).sum(axis=0)
    length = np.linalg.norm(total, axis=-1)
    # Predictions that cancel give no direction; neither does a pixel unknown in all.
    with np.errstate(invalid='ignore', divide='ignore'):
        mean = np.where(
            (length > 1e-3 * len(labels))[..., None], total / length[..., None], np.nan
        ).astype(np.float32)
        angle_deg = np.degrees(np.arccos(np.clip((stack * mean).sum(axis=-1), -1, 1)))
        spread = np.where(known, angle_deg, 0).sum(axis=0) / known.sum(axis=0)
    spread[~np.isfinite(mean[..., 0])] = np.nan
    return Normals(mean), spread.astype(np.float32)


def _mask(labels: Sequence[Mask]) -> Merged:
    """Majority vote; a tie is no."""
    share = np.mean([label.values for label in labels], axis=0)
    score = float(np.mean([label.score for label in labels]))
    return Mask(share > 0.5, score), (1 - np.abs(2 * share - 1)).astype(np.float32)


def _instances(labels: Sequence[Instances]) -> Merged:
    """Vote, pixel by pixel, among the instances of the prediction nearest to the others."""
    from scipy.optimize import linear_sum_assignment

    overlaps = [[item.iou(other) for other in labels] for item in labels]
    agreement = [
        sum(float(table.max(axis=1).sum()) if table.size else 0.0 for table in row)
        / max(1, max(table.shape[0] for table in row))
        for row in overlaps
    ]
    best = int(np.argmax(agreement))
    first = labels[best]
    count = len(first.scores)
    votes = np.zeros((count + 1, *first.size), np.int32)
    occurrences = np.zeros(count)
    rows, columns = np.ogrid[: first.size[0], : first.size[1]]
    for label, table in zip(labels, overlaps[best], strict=True):
        renamed = np.zeros(len(label.scores) + 1, np.int32)
        for mine, theirs in zip(*linear_sum_assignment(-table), strict=True):
            if table[mine, theirs] >= 0.5:  # the same instance by COCO's loosest measure
                renamed[theirs + 1] = mine + 1
                occurrences[mine] += 1
        votes[renamed[label.ids], rows, columns] += 1
    ids = votes.argmax(axis=0).astype(np.int32)
    confirmed = occurrences > len(labels) / 2
    ids[~np.concatenate([[True], confirmed])[ids]] = 0
    scores = (first.scores * occurrences / len(labels)).astype(np.float32)
    merged = Instances(ids, first.categories, scores).present()
    agreeing = np.take_along_axis(votes, ids[None], axis=0)[0]
    return merged, (1 - agreeing / len(labels)).astype(np.float32)


def _image_labels(labels: Sequence[ImageLabel]) -> Merged:
    """Mean."""
    stack = np.stack([label.values for label in labels])  # (N, H, W, 3)
    mean = np.clip(stack.mean(axis=0, dtype=np.float64), 0, 1).astype(np.float32)
    return ImageLabel(mean), stack.std(axis=0).mean(axis=-1).astype(np.float32)


def _keypoints(labels: Sequence[Keypoints]) -> Merged:
    """Median of each joint over the predictions in which most people of the first appear."""
    from scipy.optimize import linear_sum_assignment

    first = max(labels, key=lambda label: float(label.scores.sum()))
    size, spread = first.size, np.full(first.size, np.nan, np.float32)
    gathered: list[list[Any]] = [[] for _ in first.joints]
    for label in labels:
        distance = _distances(first, label)
        for mine, theirs in zip(*linear_sum_assignment(distance), strict=True):
            # Two bodies are one person when their joints are nearer than a tenth of the image.
            if distance[mine, theirs] < 0.1 * max(size):
                gathered[mine].append((label.joints[theirs], label.scores[theirs]))
    joints, scores, visibility = [], [], []
    for people in gathered:
        if len(people) <= len(labels) / 2:
            continue
        places = np.stack([person[0] for person in people])  # (n, 17, 2)
        seen = np.isfinite(places[..., 0])
        often = seen.sum(axis=0) > len(labels) / 2  # (17,)
        middle = np.full((places.shape[1], 2), np.nan, np.float32)
        middle[often] = np.nanmedian(places[:, often], axis=0)
        joints.append(middle)
        trust = np.stack([person[1] for person in people]).sum(axis=0) / len(labels)
        scores.append(np.where(often, trust, 0).astype(np.float32))
        visibility.append(np.where(often, 2, 0).astype(np.uint8))
        for j in np.flatnonzero(often):
            away = np.linalg.norm(places[:, j] - middle[j], axis=-1)
            x, y = np.clip(np.rint(middle[j]), 0, (size[1] - 1, size[0] - 1)).astype(int)
            spread[y, x] = np.nanmean(away)
    return Keypoints(
        np.array(joints, np.float32).reshape(-1, *first.joints.shape[1:]),
        np.array(visibility, np.uint8).reshape(-1, first.joints.shape[1]),
        np.array(scores, np.float32).reshape(-1, first.joints.shape[1]),
        first.untyped,
        size,
    ), spread


def _distances(one: Keypoints, other: Keypoints) -> NDArray[np.float64]:
    """(P, Q) mean distance, pixels, of the joints that both people have; huge where none."""
    away = np.linalg.norm(one.joints[:, None] - other.joints[None], axis=-1)  # (P, Q, 17)
    both = np.isfinite(away)
    total = np.where(both, away, 0).sum(axis=-1)
    return np.where(both.any(axis=-1), total / np.maximum(both.sum(axis=-1), 1), 1e9)


_MERGERS: dict[type, Callable[[Any], Merged]] = {
    Disparity: _disparity,
    Normals: _normals,
    Mask: _mask,
    Instances: _instances,
    Keypoints: _keypoints,
    ImageLabel: _image_labels,
}
