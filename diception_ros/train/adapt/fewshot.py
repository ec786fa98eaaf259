# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A few labelled pictures as a source: each pool shows other parts of them, mirrored or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diception_ros.data import augment
from diception_ros.data.augment import Window
from diception_ros.data.batch import Prepared
from diception_ros.data.sample import Sample
from diception_ros.train.samples import Form


class FewShot:
    """Draws parts of pictures.

    Args:
        samples: to learn from, without points.
        validation: to be judged by, whole.
        size: samples of a pool, every picture as often as another.
        smallest: side of the smallest part, as a share of the picture's; 1: always all of it.
        seed: of the draw.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        validation: Sequence[Sample],
        size: int,
        smallest: float,
        seed: int,
    ) -> None:
        self._samples, self._validation = list(samples), list(validation)
        self._size, self._smallest, self._seed = size, smallest, seed

    def pool(self, number: int, form: Form) -> Prepared:
        rng = np.random.default_rng((self._seed, number))
        drawn: list[Sample] = []
        while len(drawn) < self._size:
            drawn += [self._samples[k] for k in rng.permutation(len(self._samples))]
        return form.prepare(self._changed(one, rng) for one in drawn[: self._size])

    def _changed(self, sample: Sample, rng: np.random.Generator) -> Sample:
        high, wide = sample.frame.size
        # Sides apart, so that shapes are stretched a little, as the model's square stretches them.
        height, width = (
            max(1, round(side * rng.uniform(self._smallest, 1))) for side in (high, wide)
        )
        window = Window(
            int(rng.integers(high - height + 1)),
            int(rng.integers(wide - width + 1)),
            height,
            width,
        )
        part = augment.crop(sample, window)
        return augment.flip(part) if rng.random() < 0.5 else part

    def validation(self) -> list[Sample]:
        return self._validation

    def close(self) -> None:
        pass
