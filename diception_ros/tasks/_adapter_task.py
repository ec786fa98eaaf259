# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks of adapters: a name and a text of their own, a known kind of label."""

from __future__ import annotations

from dataclasses import replace
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import ImageLabel
from diception_ros.tasks import Task, _checks

if TYPE_CHECKING:
    from diception_ros.core.adapter_card import Card
    from diception_ros.core.prompt import Prompt

# The task that encodes, decodes and scores each kind of label but images.
_LIKE = {'mask': 'segmentation', 'instances': 'entity', 'normals': 'normal', 'depth': 'depth'}


class ImageTask(Task[ImageLabel]):
    """The label is the output image itself."""

    def encode(self, label: ImageLabel) -> NDArray[np.float32]:
        _checks.square(label)
        return label.values

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> ImageLabel:
        _checks.output_image(rgb)
        return ImageLabel(np.clip(rgb, 0, 1))

    def score(self, predicted: ImageLabel, truth: ImageLabel) -> dict[str, float]:
        """`mae`, mean absolute error of the channels, in [0, 1]; `psnr` in dB.

        Raises:
            ValueError: the sizes differ.
        """
        _checks.same_size(predicted, truth)
        error = predicted.values.astype(np.float64) - truth.values
        square = float(np.mean(error**2))
        psnr = -10 * np.log10(square) if square else float('inf')
        return {'mae': float(np.mean(np.abs(error))), 'psnr': float(psnr)}


def adapted(card: Card) -> Task[Any]:
    """The task of an adapter with this card; it takes neither points nor a category."""
    if card.kind not in _LIKE:
        return ImageTask(card.name, card.prompt, ImageLabel)
    like = importlib.import_module(f'diception_ros.tasks.{_LIKE[card.kind]}').TASK
    more = {'threshold': card.threshold} if card.kind == 'mask' else {}
    task: Task[Any] = replace(like, name=card.name, prompt=card.prompt, takes_points=False, **more)
    return task
