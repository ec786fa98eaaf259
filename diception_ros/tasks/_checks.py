# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of sizes and types that all tasks share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Label


def square(label: Label) -> int:
    """Side S of a label to encode; ValueError unless it is square."""
    height, width = label.size
    if height != width:
        raise ValueError(
            f'{type(label).__name__}: expected the size of the model, (S, S), got '
            f'{label.size}; use to_model_size first'
        )
    return height


def output_image(rgb: NDArray[Any]) -> int:
    """Side S of an output image; ValueError unless it is (S, S, 3) float32 and finite."""
    if rgb.dtype != np.float32 or rgb.ndim != 3 or rgb.shape != (len(rgb), len(rgb), 3):
        raise ValueError(f'output image: expected (S, S, 3) float32, got {rgb.shape} {rgb.dtype}')
    if not np.isfinite(rgb).all():
        raise ValueError('output image: expected finite numbers, got NaN or infinity')
    return len(rgb)


def same_size(predicted: Label, truth: Label) -> None:
    """Raise ValueError unless both labels are of one size."""
    if predicted.size != truth.size:
        raise ValueError(
            f'expected two labels of one size, got predicted {predicted.size} '
            f'and true {truth.size} (H, W)'
        )
