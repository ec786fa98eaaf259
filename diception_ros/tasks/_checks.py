# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every task refuses, in one wording."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Label
from diception_ros.core.prompt import Prompt


def plain(prompt: Prompt) -> None:
    """Raise ValueError if the prompt has a category or points, for tasks that use neither."""
    without_points(prompt)
    without_category(prompt)


def without_points(prompt: Prompt) -> None:
    """Raise ValueError if the prompt has points, for tasks that use none."""
    if prompt.points:
        raise ValueError(f'task {prompt.task!r} takes no points, got {len(prompt.points)}')


def without_category(prompt: Prompt) -> None:
    """Raise ValueError if the prompt has a category, for tasks that use none."""
    if prompt.category is not None:
        raise ValueError(f'task {prompt.task!r} takes no category, got {prompt.category!r}')


def square(label: Label) -> int:
    """Side S of a label that is about to be painted; ValueError unless it is square."""
    height, width = label.size
    if height != width:
        raise ValueError(
            f'{type(label).__name__}: expected the size of the model, (S, S), got '
            f'{label.size}; use to_model first'
        )
    return height


def picture(rgb: NDArray[Any]) -> int:
    """Side S of a painted picture; ValueError unless it is (S, S, 3) float32 and finite."""
    if rgb.dtype != np.float32 or rgb.ndim != 3 or rgb.shape != (len(rgb), len(rgb), 3):
        raise ValueError(
            f'painted picture: expected (S, S, 3) float32, got {rgb.shape} {rgb.dtype}'
        )
    if not np.isfinite(rgb).all():
        raise ValueError('painted picture: expected finite numbers, got NaN or infinity')
    return len(rgb)


def same_size(predicted: Label, truth: Label) -> None:
    """Raise ValueError unless both labels are of one size."""
    if predicted.size != truth.size:
        raise ValueError(
            f'expected two labels of one size, got predicted {predicted.size} '
            f'and true {truth.size} (H, W)'
        )
