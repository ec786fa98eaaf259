# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trained weights (all, or LoRA) and checkpoints, from which a run resumes bit for bit.

OUT/checkpoints/00001000/model/         trained weights, see `Weights`
OUT/checkpoints/00001000/ema/           their average, where there is one
OUT/checkpoints/00001000/state.pt       step, optimizer, random state: tensors and numbers only
OUT/checkpoints/00001000/settings.yaml  the settings
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import shutil
from typing import Any, NamedTuple, Protocol

from safetensors import SafetensorError
from safetensors.torch import save_file
import torch

from diception_ros.core.adapter_card import WEIGHTS_FILE
from diception_ros.model import DiceptionPipeline, adapters
from diception_ros.model.encoder import EfficientNetLite
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.system import files
from diception_ros.training import settings as settings_
from diception_ros.training.optim import Ema
from diception_ros.training.settings import TrainSettings

# Training reads texts from the prompt table alone, so text encoders are not loaded.
WITHOUT_ENCODERS: dict[str, None] = {
    f'{part}{number}': None
    for part in ('text_encoder', 'tokenizer')
    for number in ('', '_2', '_3')
}
_LORA_NAME = 'learning'  # of the adapter in the network while it is trained
_FORMAT = 1


def load_pipeline(folder: Path) -> DiceptionPipeline:
    """Load a model for training: float32, without text encoders."""
    pipe = DiceptionPipeline.from_pretrained(folder, torch.float32, **WITHOUT_ENCODERS)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def find_encoder(folder: str, pipe: DiceptionPipeline | None) -> EfficientNetLite | None:
    """Return the image encoder of a model, or the one to add to it.

    Args:
        folder: as `bench/encoder.py` writes it, or '' for the model's own encoder, if any.
        pipe: the model, or None for a new one.

    Raises:
        ValueError: the model has one already, or the folder holds none.
    """
    had: EfficientNetLite | None = pipe.image_encoder if pipe else None
    if not folder:
        return had
    if had is not None:
        raise ValueError(f'encoder is {folder!r}; this model has an image encoder already')
    try:
        encoder: EfficientNetLite = EfficientNetLite.from_pretrained(folder, use_safetensors=True)
        encoder.float().eval()
    except (OSError, ValueError) as error:
        raise ValueError(f'encoder is {folder!r}; no image encoder there ({error})') from error
    return encoder


def add_encoder(pipe: DiceptionPipeline, encoder: EfficientNetLite) -> None:
    """Add an image encoder to a model; before training its outputs stay the same."""
    if pipe.image_encoder is encoder:
        return
    pipe.register_modules(image_encoder=encoder.to(memory_format=torch.channels_last))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe.transformer.add_image_features(encoder.config.features)
    fine = pipe.transformer.image_features.fine
    if fine is not None and isinstance(pipe.vae, PcaAutoencoder):
        fine.start_from(pipe.vae)


def trainable_parameters(pipe: DiceptionPipeline) -> dict[str, torch.nn.Parameter]:
    """The parameters of the transformer and of the point encoder, by name."""
    return {
        f'{part}.{name}': value
        for part in ('transformer', 'point_encoder')
        for name, value in getattr(pipe, part).named_parameters()
    }


class Weights(Protocol):
    """Weights that are trained.

    Attributes:
        parameters: by name, those of the transformer under `transformer.`.
    """

    parameters: dict[str, torch.nn.Parameter]

    def write(self, folder: Path) -> None:
        """Write the current parameters.

        Raises:
            OSError: they cannot be written, as on a full disk.
        """
        ...

    def read(self, folder: Path) -> dict[str, torch.Tensor]:
        """Read what `write` wrote, by the same names."""
        ...


class FullFinetune:
    """All weights of transformer and point encoder; written as a model folder."""

    def __init__(self, pipe: DiceptionPipeline) -> None:
        self._pipe = pipe
        self.parameters = trainable_parameters(pipe)

    def write(self, folder: Path) -> None:
        self._pipe.save_pretrained(folder)

    def read(self, folder: Path) -> dict[str, torch.Tensor]:
        parameters = trainable_parameters(load_pipeline(folder))
        return {name: value.detach() for name, value in parameters.items()}


class LoRA:
    """Low-rank matrices in the attention of a frozen model; written as one file.

    Args:
        pipe: the model; the matrices are inserted into it and stay enabled.
        rank: of the matrices.
        text: the prompt; its embedding is written beside the matrices.
        seed: of the initial values.
    """

    def __init__(self, pipe: DiceptionPipeline, rank: int, text: str, seed: int) -> None:
        self._pipe, self._text = pipe, text
        pipe.point_encoder.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inserted = adapters.insert(pipe.transformer, _LORA_NAME, rank)
        pipe.transformer.enable_adapters()
        for value in inserted.values():
            value.data = value.data.float()
        self.parameters = {f'transformer.{name}': value for name, value in inserted.items()}

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


class TrainState(NamedTuple):
    """What a checkpoint holds beside the weights.

    Attributes:
        step: steps done.
        optimizer: see `Optimizer.state_dict`.
        generator: state of the random generator.
        processes: number of ranks, each of which trains on a part of every batch.
    """

    step: int
    optimizer: dict[str, Any]
    generator: torch.Tensor
    processes: int = 1


def list_checkpoints(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    entries = (out / 'checkpoints').glob('*')
    return sorted(path for path in entries if path.name.isdecimal())


def save(
    out: Path, weights: Weights, ema: Ema | None, state: TrainState, settings: TrainSettings
) -> Path:
    """Write a checkpoint, and delete all but the last `settings.keep`.

    Returns:
        its folder, which appears under this name when it is complete.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    path = out / 'checkpoints' / f'{state.step:08d}'
    with files.atomic_folder(path, replace=True) as partial:
        weights.write(partial / 'model')
        if ema is not None:
            with ema.average_parameters(weights.parameters):
                weights.write(partial / 'ema')
        try:
            torch.save({'format': _FORMAT, **state._asdict()}, partial / 'state.pt')
        except RuntimeError as error:  # what torch raises on a full disk
            reason = files.first_line(error)
            raise OSError(
                f'{partial}/state.pt could not be written: {reason}; is there room on the disk?'
            ) from error
        settings_.write(settings, partial / 'settings.yaml')
    for old in list_checkpoints(out)[: -settings.keep]:
        shutil.rmtree(old)
    return path


def load(path: Path) -> TrainState:
    """Read the state of a checkpoint without unpickling anything but tensors and numbers.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or of another kind.
    """
    file = path / 'state.pt'
    try:
        content = torch.load(file, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch's reader of pickles raises errors of every type
        reason = files.first_line(error)
        raise ValueError(
            f'{file}: damaged, or more than tensors and numbers ({reason})'
        ) from error
    if not isinstance(content, Mapping) or content.get('format') != _FORMAT:
        raise ValueError(f'{file}: not the state of a training run of this version')
    try:
        return TrainState(
            content['step'], content['optimizer'], content['generator'],
            content.get('processes', 1),
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f'{file}: not the whole state of a training run, no {error}') from error
