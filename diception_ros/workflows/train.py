# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a model: `diception train`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
import os
from pathlib import Path

from diception_ros.core.settings import REQUIRED, Settings, setting
from diception_ros.system.progress import SILENT, Progress


@dataclass(frozen=True)
class TrainConfig(Settings):
    """A training run.

    Raises:
        ValueError: a value that its declaration does not allow, or neither settings nor `resume`.
    """

    out: Path = setting(REQUIRED, 'folder of the run', kind=Path, metavar='DIR')
    config: Path | None = setting(
        None, 'YAML file of settings, such as config/train.yaml; with --resume those of the run, '
        'where left out', kind=Path, metavar='FILE',
    )  # fmt: skip
    set: tuple[str, ...] = setting(
        (), 'settings that replace those of the file', metavar='NAME=VALUE'
    )
    resume: bool = setting(False, 'continue from the last checkpoint in DIR')

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.config is None and not self.resume:
            raise ValueError('give --config FILE, such as config/train.yaml, or --resume')


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        model: the model folder, `out`/model.
        step: optimiser steps done.
        first: whether this process is the first of those that train together, which writes files.
    """

    model: Path
    step: int
    first: bool


def train(config: TrainConfig, progress: Progress = SILENT) -> TrainResult:
    """Train a new model, or continue with one; `accelerate launch` starts it on several GPUs.

    Raises:
        BlockingIOError: another run writes into `out`.
        FileExistsError: `out` is not empty, and `resume` isn't given.
        FileNotFoundError: no settings file, or nothing to resume.
        ValueError: settings that don't fit together, or differ from those of the run to resume.

    Examples:
        >>> from diception_ros import TrainConfig, train
        >>> train(TrainConfig(out='run', config='train.yaml')).step
        2
    """
    from diception_ros.model import folder
    from diception_ros.training import settings

    # Settings are checked before torch is imported.
    train_settings = None if config.resume else settings.read(config.config, config.set)
    if os.environ.get('RANK', '0') == '0':  # one line, of several processes
        progress.log('importing torch')
    from diception_ros.training import distributed, trainer

    folder.silence_library_logging()
    with contextlib.ExitStack() as stack:
        stack.callback(distributed.destroy)
        if train_settings is None:
            file = config.config or trainer.run_settings(config.out)
            trained = trainer.resume(settings.read(file, config.set), config.out)
        else:
            trained = trainer.start(train_settings, config.out)
        ranks = trained.ranks
        notes = [f'{config.out}: {note}' for note in trained.notes]
        for line in [*notes, *([f'{ranks.count} processes train'] if ranks.count > 1 else [])]:
            if ranks.first:
                progress.log(line)
        model = trainer.fit(trained, config.out, progress.shown)
    return TrainResult(model, trained.step, ranks.first)
