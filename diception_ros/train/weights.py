# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which weights learn, and how they are kept: all of a model, or low-rank matrices beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from safetensors.torch import save_file
import torch

from diception_ros.card import WEIGHTS_FILE
from diception_ros.model import DiceptionPipeline, lora

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
            mine = lora.insert(pipe.transformer, _NAME, rank)
        pipe.transformer.enable_adapters()
        for value in mine.values():
            value.data = value.data.float()
        self.parameters = {f'transformer.{name}': value for name, value in mine.items()}

    def write(self, folder: Path) -> None:
        values = {
            name.removeprefix('transformer.'): value for name, value in self.parameters.items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        content = lora.pack(values, self._pipe.prompt_table[self._text])
        try:
            save_file(content, folder / WEIGHTS_FILE)
        except SafetensorError as error:
            raise OSError(f'{folder / WEIGHTS_FILE} could not be written: {error}') from error

    def read(self, folder: Path) -> dict[str, torch.Tensor]:
        values, _ = lora.read(str(folder / WEIGHTS_FILE))
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
