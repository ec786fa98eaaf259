# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of a whole sample: picture, label, points and intrinsics together."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from diception_ros.data.sample import Sample
from diception_ros.frame import Frame
from diception_ros.labels import Instances, Keypoints
from diception_ros.prompt import Point


class Window(NamedTuple):
    """A part of a picture: its first row and column, and its size, pixels."""

    top: int
    left: int
    height: int
    width: int


def crop(sample: Sample, window: Window) -> Sample:
    """The sample of a part of the picture.

    Args:
        sample: without points, and of any label but people.
        window: within the picture.

    Returns:
        The part. It has neither pose nor intrinsics.

    Raises:
        ValueError: the window leaves the picture, or the sample is of people or has points.
    """
    top, left, height, width = window
    high, wide = sample.frame.size
    if not (0 <= top < top + height <= high and 0 <= left < left + width <= wide):
        raise ValueError(f'crop: {window} is no part of a picture of {(high, wide)} (H, W)')
    if isinstance(sample.label, Keypoints) or sample.prompt.points:
        raise ValueError(f'crop: sample {sample.name} is of people or has points')
    rows, columns = slice(top, top + height), slice(left, left + width)
    changes: dict[str, Any] = {}
    for one in fields(sample.label):  # type: ignore[arg-type]
        value = getattr(sample.label, one.name)
        if isinstance(value, np.ndarray) and value.shape[:2] == (high, wide):
            changes[one.name] = np.ascontiguousarray(value[rows, columns])
    label = replace(sample.label, **changes)  # type: ignore[type-var]
    if isinstance(label, Instances):
        label = label.present()
    frame = sample.frame
    return Sample(
        Frame(np.ascontiguousarray(frame.image[rows, columns]), frame.stamp_ns, frame.frame_id),
        sample.prompt,
        label,
        None,
        f'{sample.name}/{left},{top},{width}x{height}',
    )


def flip(sample: Sample) -> Sample:
    """The sample of the left-right mirrored scene.

    The label knows what a mirror does to it: a normal negates x, a left wrist becomes a right one.

    Args:
        sample: any sample.

    Returns:
        The mirrored one. It has no pose: a mirrored room stands nowhere.
    """
    frame, width = sample.frame, sample.frame.size[1]
    intrinsics = frame.intrinsics
    # A point on the left rim, x = -0.5, would come to lie on the right one, which is outside.
    inside = float(np.nextafter(width - 0.5, 0))
    points = tuple(Point(min(width - 1 - x, inside), y) for x, y in sample.prompt.points)
    return Sample(
        Frame(
            np.ascontiguousarray(frame.image[:, ::-1]),
            frame.stamp_ns,
            frame.frame_id,
            None if intrinsics is None else intrinsics.flip(width),
        ),
        replace(sample.prompt, points=points),
        sample.label.flip(),
        None,
        f'{sample.name}/flipped',
    )
