# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: everything that a run needs to go on as if it had never stopped.

OUT/checkpoints/00001000/model/         the weights that learn, see `weights`
OUT/checkpoints/00001000/ema/           their running mean, where there is one
OUT/checkpoints/00001000/state.pt       step, optimiser, random state: tensors and numbers only
OUT/checkpoints/00001000/settings.yaml  the settings
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import pickle
import shutil
from typing import Any, NamedTuple

import torch

from diception_ros.train import settings as settings_
from diception_ros.train.ema import Ema
from diception_ros.train.settings import TrainSettings
from diception_ros.train.weights import Weights

_FORMAT = 1


class State(NamedTuple):
    """What is kept beside the weights.

    Attributes:
        step: steps done.
        optimizer: state of the optimiser, see `Optimizer.state_dict`.
        generator: state of the random generator.
        processes: how many learnt together, each from a part of every batch.
    """

    step: int
    optimizer: dict[str, Any]
    generator: torch.Tensor
    processes: int = 1


def folders(out: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    found = (out / 'checkpoints').glob('*')
    return sorted(path for path in found if path.name.isdecimal())


def save(
    out: Path,
    weights: Weights,
    ema: Ema | None,
    state: State,
    settings: TrainSettings,
) -> Path:
    """Write a checkpoint; it appears under its name when it is complete.

    Args:
        out: folder of the run.
        weights: that learn.
        ema: their running mean, if any.
        state: the rest.
        settings: of the run; older checkpoints than the last `keep` are deleted.

    Returns:
        its folder.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    path = out / 'checkpoints' / f'{state.step:08d}'
    partial = path.with_name(path.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights.write(partial / 'model')
    if ema is not None:
        with ema.in_place(weights.parameters):
            weights.write(partial / 'ema')
    try:
        torch.save({'format': _FORMAT, **state._asdict()}, partial / 'state.pt')
    except RuntimeError as error:  # what torch makes of a full disk
        why = str(error).splitlines()[0]
        raise OSError(
            f'{partial}/state.pt could not be written: {why}; is there room on the disk?'
        ) from error
    settings_.write(settings, partial / 'settings.yaml')
    if path.exists():
        shutil.rmtree(path)
    os.replace(partial, path)
    for old in folders(out)[: -settings.keep]:
        shutil.rmtree(old)
    return path


def load(path: Path) -> State:
    """Read what lies beside the weights of a checkpoint; runs nothing that the file names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or not ours.
    """
    file = path / 'state.pt'
    try:
        content = torch.load(file, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        why = (str(error).splitlines() or [''])[0]
        raise ValueError(f'{file}: damaged, or more than tensors and numbers ({why})') from error
    if not isinstance(content, Mapping) or content.get('format') != _FORMAT:
        raise ValueError(f'{file}: not the state of a training run of this version')
    return State(
        content['step'], content['optimizer'], content['generator'], content.get('processes', 1)
    )
