# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of an adaptation. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from diception_ros.settings import again, check, setting
from diception_ros.train.settings import TrainSettings


@dataclass(frozen=True)
class AdaptSettings:
    """How a model learns a task from a few pictures.

    Raises:
        ValueError: a value that its declaration does not allow, or both a rank and a share.

    Source: arXiv 2502.17157, section 4.1 (rank 128, constant 2e-5, batches of 8).
    """

    rank: int = setting(
        0, "of the low-rank matrices; 0: what the share allows, and of a model of SD3's size "
        "without a share the paper's 128", low=0, high=4096,
    )  # fmt: skip
    share: float = setting(
        0.0, "parameters that learn, as a share of the model's; 0: 0.01, see rank", low=0, high=1
    )
    steps: int = setting(
        0, 'most optimiser steps; 0: 1000, and where nothing is held back that says when it is '
        'enough, of small models 10 for each picture, at least 50', low=0,
    )  # fmt: skip
    batch_size: int = setting(8, 'samples in one pass of the network', low=1, high=65536)
    accumulate: int = again(TrainSettings, 'accumulate')
    lr: float = setting(
        0.0, "learning rate; 0: the paper's 2e-5 for a model of SD3's size, else 3e-3", low=0,
        high=1,
    )  # fmt: skip
    seed: int = again(TrainSettings, 'seed')
    held_back: float = setting(
        0.2, 'share of the pictures by which it is judged, and when to stop', low=0, high=0.9
    )
    validate_every: int = setting(50, 'steps between two validations', low=1)
    validation_steps: int = again(TrainSettings, 'validation_steps')
    patience: int = setting(
        8, 'validations in a row without a better one that end it; 0: never', low=0
    )
    smallest: float = setting(
        0.6, "side of the smallest part of a picture that is shown, as a share of the picture's",
        low=0.1, high=1,
    )  # fmt: skip
    photometric: float = setting(0.3, again(TrainSettings, 'photometric').metadata['about'], low=0,
                                 high=2)  # fmt: skip
    pool: int = setting(400, 'parts of pictures that are drawn at a time', low=1)
    dropout: float = setting(
        0.05, again(TrainSettings, 'dropout').metadata['about'], low=0, high=1
    )
    ema: float = setting(0.98, 'decay of the running mean of the matrices; 0: none', low=0, high=1)
    device: str = again(TrainSettings, 'device')
    bf16: bool = setting(
        False, 'bfloat16 autocast; on a GPU the weights that stay are kept in it, too'
    )
    checkpointing: bool = again(TrainSettings, 'checkpointing')

    def __post_init__(self) -> None:
        check(self)
        if self.rank and self.share:
            raise ValueError(
                f'rank is {self.rank} and share {self.share:g}; one follows from the other, give '
                'one of them'
            )
