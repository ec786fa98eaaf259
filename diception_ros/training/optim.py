# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The optimizer (AdamW, or Muon with AdamW), its learning rate, and the average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
from typing import Any

import torch

from diception_ros.training.settings import TrainSettings


class Optimizer:
    """AdamW, or Muon for the matrices inside the blocks and AdamW for everything else.

    Embeddings, output, modulation, norms and biases stay with AdamW, as the authors of Muon do.
    Muon's updates are scaled to the size of AdamW's, so one learning rate serves both.

    Args:
        parameters: by name, those of the transformer under `transformer.`.
        settings: optimizer, lr and weight_decay.

    Raises:
        ValueError: Muon was chosen and this torch does not have it.

    Source: K. Jordan et al., "Muon", 2024; J. Liu et al., "Muon is scalable for LLM training",
    arXiv 2502.16982, for the scale.
    """

    def __init__(
        self, parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings
    ) -> None:
        matrices: list[torch.nn.Parameter] = []
        rest: list[torch.nn.Parameter] = []
        for name, value in parameters.items():
            hidden = value.ndim == 2 and '.transformer_blocks.' in name and '.norm1' not in name
            (matrices if settings.optimizer == 'muon' and hidden else rest).append(value)
        lr, decay = settings.lr, settings.weight_decay
        self._parts: list[torch.optim.Optimizer] = []
        if rest:  # empty with LoRA and Muon
            self._parts.append(torch.optim.AdamW(rest, lr=lr, weight_decay=decay, fused=True))
        if matrices:
            if not hasattr(torch.optim, 'Muon'):
                raise ValueError(
                    f"optimizer 'muon' needs torch 2.9 or newer, got {torch.__version__}; "
                    "choose 'adamw'"
                )
            self._parts.append(
                torch.optim.Muon(
                    matrices, lr=lr, weight_decay=decay, adjust_lr_fn='match_rms_adamw'
                )
            )

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self, lr: float) -> None:
        """Update the parameters with this learning rate."""
        for part in self._parts:
            for group in part.param_groups:
                group['lr'] = lr
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers for `load_state_dict`."""
        return {'parts': [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: the state is of another optimizer.
        """
        states = state.get('parts')
        if not isinstance(states, list) or len(states) != len(self._parts):
            raise ValueError('the state is of another optimizer; resume with the one of the run')
        for part, item in zip(self._parts, states, strict=True):
            part.load_state_dict(item)


def lr_factor(settings: TrainSettings, step: int) -> float:
    """Factor of the learning rate after so many steps: rises in warm-up, 1, falls to 0."""
    up = (step + 1) / settings.warmup if settings.warmup else 1.0
    fall = settings.lr_decay_fraction * settings.max_steps
    down = (settings.max_steps - step) / fall if fall else 1.0
    return min(up, down, 1.0)


class Ema:
    """Exponential moving average of weights.

    Not diffusers' EMAModel: parameters are known by name here, the average is swapped in without a
    copy, and resumed runs and those of earlier releases keep their numbers to the bit.

    Args:
        parameters: by name; the average starts as a copy of them.
        decay: weight of the old average in each update; smaller in the first steps, so that the
            random start is soon forgotten.
    """

    def __init__(self, parameters: Mapping[str, Any], decay: float) -> None:
        self.decay = decay
        self.average = {name: value.detach().clone() for name, value in parameters.items()}

    def update(self, parameters: Mapping[str, Any], step: int) -> None:
        """Include the weights after a step; `step` counts from 1."""
        keep = min(self.decay, (1 + step) / (10 + step))  # Source: TensorFlow's moving average
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.values()),
                [parameters[name].detach() for name in self.average],
                1 - keep,
            )

    @contextlib.contextmanager
    def average_parameters(self, parameters: Mapping[str, Any]) -> Iterator[None]:
        """A context in which the parameters have their average values."""
        own = {name: value.data for name, value in parameters.items()}
        try:
            for name, value in parameters.items():
                value.data = self.average[name]
            yield
        finally:
            for name, value in parameters.items():
                value.data = own[name]
