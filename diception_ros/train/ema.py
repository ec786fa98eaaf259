# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Running mean of the weights, which answers better than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
from typing import Any

import torch


class Ema:
    """Exponential moving average.

    Args:
        parameters: by name; the average starts as a copy of them.
        decay: share of the old average that each update keeps; in the first steps less, so that
            the random start is soon forgotten.
    """

    def __init__(self, parameters: Mapping[str, Any], decay: float) -> None:
        self.decay = decay
        self.average = {name: value.detach().clone() for name, value in parameters.items()}

    def update(self, parameters: Mapping[str, Any], step: int) -> None:
        """Take one step's weights in.

        Args:
            parameters: by name.
            step: steps done, 1 and up.
        """
        keep = min(self.decay, (1 + step) / (10 + step))  # Source: TensorFlow's moving average
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.values()),
                [parameters[name].detach() for name in self.average],
                1 - keep,
            )

    @contextlib.contextmanager
    def in_place(self, parameters: Mapping[str, Any]) -> Iterator[None]:
        """Put the average where the weights are, and the weights back afterwards."""
        own = {name: value.data for name, value in parameters.items()}
        try:
            for name, value in parameters.items():
                value.data = self.average[name]
            yield
        finally:
            for name, value in parameters.items():
                value.data = own[name]
