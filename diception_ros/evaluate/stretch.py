# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels of one picture laid over another of another size."""

from __future__ import annotations

from diception_ros.images import Fit
from diception_ros.labels import Label


def stretched(label: Label, size: tuple[int, int]) -> Label:
    """A label at another size.

    Args:
        label: of any kind.
        size: (H, W) that is wanted, pixels; the aspect may be another.
    """
    if label.size == size:
        return label
    # By way of a square: labels know how to be stretched onto one and back.
    side = max(size)
    square: Label = label.to_model(Fit(label.size, side))
    return square.to_camera(Fit(size, side))
