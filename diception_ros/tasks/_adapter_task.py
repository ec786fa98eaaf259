# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks that were learnt from a few pictures: a name and a text of their own, a known answer."""

from __future__ import annotations

from dataclasses import dataclass
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Picture
from diception_ros.tasks import RESOLUTION, _checks

if TYPE_CHECKING:
    from diception_ros.core.adapter_card import Card
    from diception_ros.core.labels import Label
    from diception_ros.core.prompt import Prompt

# The task that paints, reads and scores each kind of answer but pictures.
_LIKE = {'mask': 'segmentation', 'instances': 'entity', 'normals': 'normal', 'depth': 'depth'}


@dataclass(frozen=True)
class Adapted:
    """A task that an adapter brings; it takes neither points nor a category.

    Attributes:
        name: its name.
        prompt: the text that the model reads.
        like: what paints, reads and scores its answers.
    """

    name: str
    prompt: str
    like: Any
    takes_points = False
    takes_category = False

    @property
    def label(self) -> type[Label]:
        kind: type[Label] = self.like.label
        return kind

    def text(self, prompt: Prompt) -> str:
        """The text that was learnt.

        Raises:
            ValueError: there is a category or there are points.
        """
        _checks.plain(prompt)
        return self.prompt

    def encode(self, label: Any) -> NDArray[np.float32]:
        picture: NDArray[np.float32] = self.like.encode(label)
        return picture

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Any:
        return self.like.decode(rgb)

    def score(self, predicted: Any, truth: Any, *more: Any, **named: Any) -> dict[str, float]:
        numbers: dict[str, float] = self.like.score(predicted, truth, *more, **named)
        return numbers

    def example(self, rng: np.random.Generator, size: int = RESOLUTION) -> Any:
        return self.like.example(rng, size)


class Painted:
    """A picture that is the answer itself."""

    label = Picture

    def encode(self, label: Picture) -> NDArray[np.float32]:
        _checks.square(label)
        return label.values

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Picture:
        _checks.picture(rgb)
        return Picture(np.clip(rgb, 0, 1))

    def score(self, predicted: Picture, truth: Picture) -> dict[str, float]:
        """`mae`, mean absolute error of the channels, in [0, 1]; `psnr` in dB.

        Raises:
            ValueError: the sizes differ.
        """
        _checks.same_size(predicted, truth)
        error = predicted.values.astype(np.float64) - truth.values
        square = float(np.mean(error**2))
        psnr = -10 * np.log10(square) if square else float('inf')
        return {'mae': float(np.mean(np.abs(error))), 'psnr': float(psnr)}

    def example(self, rng: np.random.Generator, size: int = RESOLUTION) -> Picture:
        """Two colours that blend into each other."""
        ends = rng.uniform(0, 1, (2, 3)).astype(np.float32)
        ramp = np.linspace(0, 1, size, dtype=np.float32)
        share = (ramp[:, None] * rng.uniform(0.2, 0.8) + ramp * rng.uniform(0, 0.2))[..., None]
        return Picture((ends[0] * (1 - share) + ends[1] * share).astype(np.float32))


def adapted(card: Card) -> Any:
    """The task that an adapter with this card brings."""
    if card.kind not in _LIKE:
        return Adapted(card.name, card.prompt, Painted())
    room = importlib.import_module(f'diception_ros.tasks.{_LIKE[card.kind]}')
    like = room.Segmentation(card.threshold) if card.kind == 'mask' else room.TASK
    return Adapted(card.name, card.prompt, like)
