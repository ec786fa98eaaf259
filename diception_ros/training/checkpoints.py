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
from pathlib import Path
import pickle
import shutil
from typing import Any, NamedTuple, Protocol

from safetensors import SafetensorError
from safetensors.torch import save_file
import torch

from diception_ros.core.adapter_card import WEIGHTS_FILE
from diception_ros.model import DiceptionPipeline, adapters
from diception_ros.system import files
from diception_ros.training import settings as settings_
from diception_ros.training.optim import Ema
from diception_ros.training.settings import TrainSettings

# Which weights learn, and how they are kept: all of a model, or low-rank matrices beside them.


# Training asks the texts of the prompt table alone, so the encoders stay on disk.
WITHOUT_ENCODERS: dict[str, None] = {
    f'{part}{number}': None
    for part in ('text_encoder', 'tokenizer')
    for number in ('', '_2', '_3')
}
# What low-rank matrices are called while they learn.
_NAME = 'learning'


class Weights(Protocol):
    """Weights that learn.

    Attributes:
        parameters: by name, those of the transformer under `transformer.`.
    """

    parameters: dict[str, torch.nn.Parameter]

    def write(self, folder: Path) -> None:
        """Write what the parameters are now.

        Raises:
            OSError: they cannot be written, as on a full disk.
        """
        ...

    def read(self, folder: Path) -> dict[str, torch.Tensor]:
        """What `write` wrote, by the same names."""
        ...


class Whole:
    """All weights of transformer and point encoder; written as a model folder.

    Args:
        pipe: the model.
    """

    def __init__(self, pipe: DiceptionPipeline) -> None:
        self._pipe = pipe
        self.parameters = trainable(pipe)

    def write(self, folder: Path) -> None:
        self._pipe.save_pretrained(folder)

    def read(self, folder: Path) -> dict[str, torch.Tensor]:
        return {name: value.detach() for name, value in trainable(load_pipeline(folder)).items()}


class LowRank:
    """Low-rank matrices in the attention of a model that stays as it is; written as one file.

    Args:
        pipe: the model; the matrices are put into it and are on from here on.
        rank: of the matrices.
        text: what is asked, whose embedding is written beside them.
        seed: of their beginning.
    """

    def __init__(self, pipe: DiceptionPipeline, rank: int, text: str, seed: int) -> None:
        self._pipe, self._text = pipe, text
        pipe.point_encoder.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mine = adapters.insert(pipe.transformer, _NAME, rank)
        pipe.transformer.enable_adapters()
        for value in mine.values():
            value.data = value.data.float()
        self.parameters = {f'transformer.{name}': value for name, value in mine.items()}

    def write(self, folder: Path) -> None:
        values = {
            name.removeprefix('transformer.'): value for name, value in self.parameters.items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        content = adapters.pack(values, self._pipe.prompt_table[self._text])
        try:
            save_file(content, folder / WEIGHTS_FILE)
        except SafetensorError as error:
            raise OSError(f'{folder / WEIGHTS_FILE} could not be written: {error}') from error

    def read(self, folder: Path) -> dict[str, torch.Tensor]:
        values, _ = adapters.read(str(folder / WEIGHTS_FILE))
        return {f'transformer.{name}': value for name, value in values.items()}


def trainable(pipe: DiceptionPipeline) -> dict[str, torch.nn.Parameter]:
    """The parameters of the transformer and of the point encoder, by name."""
    return {
        f'{part}.{name}': value
        for part in ('transformer', 'point_encoder')
        for name, value in getattr(pipe, part).named_parameters()
    }


def load_pipeline(folder: Path) -> DiceptionPipeline:
    """A model to learn: in float32, without text encoders."""
    pipe = DiceptionPipeline.from_pretrained(folder, torch.float32, **WITHOUT_ENCODERS)
    pipe.set_progress_bar_config(disable=True)
    return pipe


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
    with files.atomic_folder(path, replace=True) as partial:
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
