# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run, and their YAML file. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
import difflib
from pathlib import Path
from typing import Any

import yaml

from diception_ros.core.settings import again, check, setting


@dataclass(frozen=True)
class TrainSettings:
    """How a model learns. The defaults are the paper's where it says something.

    Raises:
        ValueError: a value that its declaration does not allow, or two that do not fit together.

    Source: arXiv 2502.17157, section 4.1 (AdamW, constant 2e-5, 28 samples per GPU, 768 px).
    """

    # What learns.
    model: str = setting('', 'model folder to go on from; empty: a new network of random weights')
    rank: int = setting(
        0, 'of low-rank matrices that learn in place of all weights; 0: none', low=0, high=4096
    )
    frozen_bf16: bool = setting(
        False, 'with a rank: keep the weights that stay in bfloat16, half the memory'
    )
    resolution: int = setting(
        0, "side of the square in pixels; 0: the model folder's", low=0, high=4096
    )
    prediction: str = setting(
        'velocity',
        'of a new network: what its output means; sample, the clean latents, learns faster',
        choices=('velocity', 'sample'),
    )
    width: int = setting(256, 'of a new network: width, a multiple of heads', low=8, high=8192)
    layers: int = setting(6, 'of a new network: transformer blocks', low=1, high=100)
    heads: int = setting(4, 'of a new network: attention heads', low=1, high=128)
    block: int = setting(
        4, 'of a new network: side in pixels of the blocks of its linear autoencoder',
        choices=(2, 4, 8, 16),
    )  # fmt: skip
    channels: int = setting(
        16, 'of a new network: numbers that the autoencoder keeps of a block', low=1, high=768
    )
    lapped: bool = setting(
        True, 'of a new network: its blocks overlap, so that pictures have no seams'
    )
    spread: float = setting(
        1.0,
        'of a new network: standard deviation of clean latents, that of noise being 1',
        low=0.01, high=100,
    )  # fmt: skip
    patch: int = setting(2, 'of a new network: side of a token in latents', low=1, high=8)
    shifts: int = setting(
        1,
        'of a new network: answers about shifted pictures that make one, where nobody says '
        'otherwise; for validation, too',
        low=1, high=16,
    )  # fmt: skip

    # What it learns from.
    source: str = setting(
        'simulated', 'where samples come from; labels: those that diception adapt reads',
        choices=('simulated', 'folder', 'bag', 'labels'),
    )  # fmt: skip
    folder: str = setting('', 'of the source folder: the folder of samples')
    validation_folder: str = setting(
        '', 'of the source folder: samples that are never learnt from; empty: no validation'
    )
    bags: str = setting('', 'of the source bag: a bag with ground truth, or a folder of such bags')
    validation_bags: str = setting(
        '', 'of the source bag: bags that are never learnt from; empty: no validation'
    )
    shares: str = setting(
        'depth=4 normal=4 segmentation=5 entity=5 semantic=5 pose=5',
        'tasks, and how many of so many samples are of each',
    )
    pool: int = setting(
        6000, 'of the source simulated: samples that are rendered and kept in memory', low=1
    )
    refresh: int = setting(
        0, 'of the source simulated: steps after which a new pool takes over; 0: never', low=0
    )
    workers: int = setting(
        1, 'of the source simulated: processes that render; 0: none beside this one', low=0,
        high=256,
    )  # fmt: skip
    cache: str = setting(
        '', 'of the source simulated: folder where rendered pools are kept; empty: nowhere'
    )
    aspect: float = setting(
        4 / 3, 'of the source simulated: width by height of the pictures', low=0.25, high=4
    )
    mirrored: bool = setting(True, 'keep each sample a second time, left-right mirrored')
    photometric: float = setting(
        0.0,
        'strength of random light, colour, contrast, noise and blur of what is shown; 0: none, '
        '1: as far as a person still recognises everything',
        low=0, high=2,
    )  # fmt: skip

    # How it learns.
    steps: int = setting(100_000, 'optimiser steps', low=1)
    batch_size: int = setting(28, 'samples in one pass of the network', low=1, high=65536)
    accumulate: int = setting(1, 'passes whose gradients make one step', low=1, high=65536)
    optimizer: str = setting(
        'adamw',
        'adamw, or muon: Muon for the matrices, AdamW for the rest; quicker from scratch',
        choices=('adamw', 'muon'),
    )
    lr: float = setting(2e-5, 'learning rate', low=0, high=1)
    warmup: int = setting(0, 'steps in which the learning rate rises from 0', low=0)
    decay: float = setting(
        0.0, 'share of the steps, at the end, in which it falls to 0', low=0, high=1
    )
    weight_decay: float = setting(0.01, 'of the optimizer', low=0, high=1)
    clip: float = setting(1.0, 'largest norm of the gradient; 0: no limit', low=0)
    ema: float = setting(
        0.0, 'decay of the running mean of the weights, such as 0.9999; 0: none', low=0, high=1
    )
    share_at_noise: float = setting(
        0.0, 'share of the samples that start from noise alone, sigma 1', low=0, high=1
    )
    weighting: str = setting(
        'velocity',
        'the error that counts: of the velocity, or of the clean latents (sigma squared times it)',
        choices=('velocity', 'sample'),
    )
    small_things: float = setting(
        0.0,
        'power by which a sample counts more, the less of its target is painted on black; 0: all '
        'count alike, and small things are learnt last',
        low=0, high=1,
    )  # fmt: skip
    dropout: float = setting(
        0.1, 'share of the samples that are asked the empty prompt without points', low=0, high=1
    )
    seed: int = setting(0, 'of all randomness', low=0, high=2**31 - 1)

    # Where and how fast.
    device: str = setting('cpu', 'where the model learns: cpu, cuda or cuda:N')
    bf16: bool = setting(False, 'bfloat16 autocast; the weights stay in float32')
    checkpointing: bool = setting(False, 'gradient checkpointing: less memory, more time')
    compile: bool = setting(
        False, 'torch.compile of the network: minutes at first, then faster steps'
    )

    # What is written.
    log_every: int = setting(50, 'steps between two lines of log.csv', low=1)
    save_every: int = setting(1000, 'steps between two checkpoints', low=1)
    keep: int = setting(2, 'checkpoints that are kept', low=1)
    validate_every: int = setting(1000, 'steps between two validations; 0: none', low=0)
    validation_samples: int = setting(16, 'validation samples of each task', low=2, high=100_000)
    validation_steps: int = setting(1, 'denoising steps of a validation', low=1, high=1000)
    half: bool = setting(False, 'write OUT/model in float16: half the size')

    def __post_init__(self) -> None:
        check(self)
        if self.width % self.heads:
            raise ValueError(f'width is {self.width}; expected a multiple of heads, {self.heads}')
        if not self.model and not self.resolution:
            raise ValueError('resolution is 0; a new network needs one, or give a model folder')
        if self.rank and not self.model:
            raise ValueError(f'rank is {self.rank}; low-rank matrices need a model to go on from')
        for source, name, what in (
            ('folder', 'folder', 'a folder of samples'), ('bag', 'bags', 'a bag'),
        ):  # fmt: skip
            if (self.source == source) != bool(getattr(self, name)):
                raise ValueError(
                    f'source is {self.source!r} and {name} {getattr(self, name)!r}; set source to '
                    f'{source!r} and {name} to {what}, or neither'
                )


# A run may be gone on with under other values of these, since they don't change a step.
FREE = (
    'steps', 'device', 'log_every', 'save_every', 'keep', 'validate_every', 'validation_samples',
    'validation_steps', 'cache', 'half',
)  # fmt: skip


def read(path: Path | None, changes: Sequence[str] = ()) -> TrainSettings:
    """Read settings from a YAML file.

    Args:
        path: of the file; None for the defaults.
        changes: `name=value` each, which replace what the file says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not YAML, an unknown name, or a value that is not allowed; the message says
            where.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            content = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f'{path}: not YAML ({error})') from error
        if not isinstance(content, dict | None):
            raise ValueError(f'{path}: expected "name: value" lines, got {content!r:.60}')
        for name, value in (content or {}).items():
            values[name] = _value(str(path), name, value)
    for change in changes:
        name, equals, text = change.partition('=')
        if not equals:
            raise ValueError(f'--set {change}: expected name=value')
        values[name] = _value(f'--set {change}', name, yaml.safe_load(text) if text else '')
    try:
        return TrainSettings(**values)
    except ValueError as error:
        raise ValueError(f'{path or "--set"}: {error}') from error


def write(settings: TrainSettings, path: Path) -> None:
    """Write all settings, so that `read` gives them back."""
    path.write_text(yaml.safe_dump(asdict(settings), sort_keys=False))


def differences(old: TrainSettings, new: TrainSettings) -> list[str]:
    """'name: old, new' of each setting that differs and changes what a step does."""
    return [
        f'{one.name}: {getattr(old, one.name)!r}, now {getattr(new, one.name)!r}'
        for one in fields(old)
        if one.name not in FREE and getattr(old, one.name) != getattr(new, one.name)
    ]


def table() -> str:
    """All settings with their defaults, one a line, for people."""
    return '\n'.join(
        f'  {one.name:20}{one.metadata["about"]} (default: {one.default!r})'
        for one in fields(TrainSettings)
    )


def _value(where: str, name: Any, value: Any) -> Any:
    kinds = {one.name: type(one.default) for one in fields(TrainSettings)}
    if name not in kinds:
        near = difflib.get_close_matches(str(name), kinds, n=1)
        hint = f'; did you mean {near[0]!r}?' if near else f'; known: {", ".join(kinds)}'
        raise ValueError(f'{where}: no setting {name!r}{hint}')
    if kinds[name] is float and isinstance(value, str):
        # To YAML 1.1, 2e-5 is a text: it wants a dot in a number.
        try:
            return float(value)
        except ValueError:
            return value
    return value


# The settings of an adaptation. Loads no torch.


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
