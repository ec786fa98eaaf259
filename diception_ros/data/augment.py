# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of a whole sample: picture, label, points and intrinsics together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diception_ros.data.sample import Sample
from diception_ros.frame import Frame
from diception_ros.prompt import Point


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
