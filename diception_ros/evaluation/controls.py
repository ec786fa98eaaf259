# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Controls: what a prediction that ignores the image would score on the same queries.

A metric by itself says little: floors are near at the bottom of almost every image. So each one
stands beside two controls on the same items: `shuffled`, what the model predicts when the image is
another one, and `mean`, the mean of the target images of the training data. A result that does
not clearly beat both ignores the image.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
import itertools

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.core.labels import Label
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.sample import Sample
from diception_ros.tasks import BUILTIN, TaskRegistry

SHUFFLED, MEAN = 'shuffled', 'mean'


def shuffled_order(groups: Sequence[Hashable]) -> list[int]:
    """For each item the index of the next one of its group, cyclically.

    Args:
        groups: of each item, such as its task: only the image is wrong then, not the query.
    """
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    following = {
        row: mine[(k + 1) % len(mine)] for mine in rows.values() for k, row in enumerate(mine)
    }
    return [following[row] for row in range(len(groups))]


def mean_targets(
    groups: Iterable[Sequence[Sample]], resolution: int, registry: TaskRegistry = BUILTIN
) -> dict[str, NDArray[np.float32]]:
    """The mean of the target images of each task.

    Args:
        groups: samples, of the training split.
        resolution: S, side of the model's input, pixels.
        registry: holds the samples' tasks.

    Returns:
        (S, S, 3) float32 in [0, 1] by name of task.
    """
    from diception_ros.datasets.batch import fit_label  # loads torch

    totals: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for sample in itertools.chain.from_iterable(groups):
        name = sample.prompt.task
        target = registry.get(name).encode(fit_label(sample, resolution, registry))
        if name not in totals:
            totals[name], counts[name] = np.zeros(target.shape), 0
        totals[name] += target
        counts[name] += 1
    return {name: (total / counts[name]).astype(np.float32) for name, total in totals.items()}


class MeanControl:
    """Predictions decoded from mean targets.

    Args:
        means: see `mean_targets`.
        registry: holds their tasks.
    """

    def __init__(
        self, means: Mapping[str, NDArray[np.float32]], registry: TaskRegistry = BUILTIN
    ) -> None:
        self._means, self._registry = means, registry
        self._decoded: dict[tuple[str, str | None, tuple[int, int]], Label] = {}

    def predict(self, prompt: Prompt, size: tuple[int, int]) -> Label | None:
        """The label in the mean target, at a size (H, W); None where the task has no mean."""
        target = self._means.get(prompt.task)
        if target is None:
            return None
        key = prompt.task, prompt.category, size
        if key not in self._decoded:
            label: Label = self._registry.get(prompt.task).decode(target, prompt)
            self._decoded[key] = label.to_image_size(images.ResizeTransform(size, len(target)))
        return self._decoded[key]
