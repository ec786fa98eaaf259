# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What turns gradients into steps: AdamW, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
from typing import Any

import torch

from diception_ros.training.settings import TrainSettings


class Optimizer:
    """AdamW, or Muon for the matrices inside the blocks and AdamW for everything else.

    Embeddings, output, modulation, norms and biases stay with AdamW, as the authors of Muon do.
    Muon's steps are scaled to AdamW's size, so one learning rate serves both.

    Args:
        parameters: by name, those of the transformer under `transformer.`.
        settings: optimizer, lr and weight_decay.

    Raises:
        ValueError: Muon was asked of a torch that has none.

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
        self._parts: list[torch.optim.Optimizer] = []
        if rest:  # of low-rank matrices Muon takes all
            self._parts.append(
                torch.optim.AdamW(
                    rest, lr=settings.lr, weight_decay=settings.weight_decay, fused=True
                )
            )
        if matrices:
            if not hasattr(torch.optim, 'Muon'):
                raise ValueError(
                    f"optimizer 'muon' needs torch 2.9 or newer, got {torch.__version__}; "
                    "choose 'adamw'"
                )
            self._parts.append(
                torch.optim.Muon(
                    matrices,
                    lr=settings.lr,
                    weight_decay=settings.weight_decay,
                    adjust_lr_fn='match_rms_adamw',
                )
            )

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self, lr: float) -> None:
        """Go one step at this learning rate."""
        for part in self._parts:
            for group in part.param_groups:
                group['lr'] = lr
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers from which `load_state_dict` goes on."""
        return {'parts': [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            ValueError: it is of another optimizer.
        """
        found = state.get('parts')
        if not isinstance(found, list) or len(found) != len(self._parts):
            raise ValueError('the state is of another optimizer; go on with the one it began with')
        for part, one in zip(self._parts, found, strict=True):
            part.load_state_dict(one)


# Running mean of the weights, which answers better than the weights of any one step.


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
