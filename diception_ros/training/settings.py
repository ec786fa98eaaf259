# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of training and of few-shot adaptation, and the YAML file of a run. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from diception_ros.core.settings import Settings, again, help_of, near, setting
from diception_ros.system import files, safe_load


@dataclass(frozen=True)
class TrainSettings(Settings):
    """How a model is trained. Defaults are those of the paper where it states them.

    Raises:
        ValueError: a value that its declaration does not allow, or two that contradict each other.

    Source: arXiv 2502.17157, section 4.1 (AdamW, constant 2e-5, 28 samples per GPU, 768 px).
    """

    # Model.
    model: str = setting('', 'model folder to start from; empty: a new network, random weights')
    encoder: str = setting(
        '', 'folder of an image encoder to add to the model, as bench/encoder.py writes it'
    )
    rank: int = setting(
        0, 'LoRA rank; the base weights stay frozen. 0: all weights are trained', low=0, high=4096
    )
    frozen_bf16: bool = setting(
        False, 'with rank: keep the frozen weights in bfloat16, half the memory'
    )
    resolution: int = setting(
        0, "side of the model input in pixels; 0: the model folder's", low=0, high=4096
    )
    prediction: str = setting(
        'velocity',
        'new network: meaning of its output; sample (the clean latents) trains faster',
        choices=('velocity', 'sample'),
    )
    width: int = setting(256, 'new network: width, a multiple of heads', low=8, high=8192)
    layers: int = setting(6, 'new network: transformer blocks', low=1, high=100)
    heads: int = setting(4, 'new network: attention heads', low=1, high=128)
    pca_patch: int = setting(
        4, 'new network: side in pixels of the patches of its PCA autoencoder',
        choices=(2, 4, 8, 16),
    )  # fmt: skip
    channels: int = setting(
        16, 'new network: principal components that the autoencoder keeps per patch', low=1,
        high=768,
    )  # fmt: skip
    overlapping: bool = setting(
        True, 'new network: autoencoder patches overlap (lapped transform), which avoids seams'
    )
    latent_std: float = setting(
        1.0, 'new network: standard deviation of clean latents (noise has 1)', low=0.01, high=100
    )
    patch: int = setting(2, 'new network: side of a token in latents', low=1, high=8)
    tta_shifts: int = setting(
        1, 'new network: its default of tta_shifts (cycle spinning), also used for validation',
        low=1, high=16,
    )  # fmt: skip

    # Data.
    source: str = setting(
        'simulated', 'where samples come from; labels are for diception adapt alone',
        choices=('simulated', 'folder', 'bag', 'coco', 'rgbd', 'labels'),
    )  # fmt: skip
    folder: str = setting('', 'source folder: the folder of samples')
    validation_folder: str = setting('', 'source folder: held-out samples; empty: no validation')
    bags: str = setting('', 'source bag: a bag with ground truth, or a folder of such bags')
    validation_bags: str = setting('', 'source bag: held-out bags; empty: no validation')
    coco: str = setting(
        '',
        'COCO-format images, a folder or an annotation file, for points, entities, categories and '
        'people: all data with source coco, else added to each buffer',
    )
    validation_coco: str = setting('', 'held-out COCO-format images; empty: none')
    coco_crops: int = setting(
        4, 'parts of each COCO-format image around its objects, beside the whole image', low=0,
        high=100,
    )  # fmt: skip
    rgbd: str = setting(
        '',
        'RGB-D recordings, as diception evaluate --protocol rgbd reads them, for depth and '
        'normals: all data with source rgbd, else added to each buffer',
    )
    validation_rgbd: str = setting('', 'held-out RGB-D recordings; empty: none')
    rgbd_crops: int = setting(
        4, 'parts of each RGB-D frame beside the whole image', low=0, high=100
    )
    task_weights: str = setting(
        'depth=4 normal=4 segmentation=5 entity=5 semantic=5 pose=5',
        'tasks, and how many samples of each a round of the sampler has',
    )
    buffer: int = setting(
        6000, 'source simulated: samples that are rendered and kept in memory', low=1
    )
    buffer_refresh_steps: int = setting(
        0, 'source simulated: steps after which a new buffer replaces it; 0: never', low=0
    )
    workers: int = setting(
        1, 'source simulated: rendering processes; 0: render in the training process', low=0,
        high=256,
    )  # fmt: skip
    cache: str = setting(
        '', 'source simulated: folder where rendered buffers are stored; empty: not stored'
    )
    aspect: float = setting(
        4 / 3, 'source simulated: width / height of the images', low=0.25, high=4
    )
    realism: str = setting(
        '', 'source simulated: as diception simulate --realism, each with a share of rooms, such '
        'as cameras:0.6,textures:0.8; validation renders plain rooms',
    )  # fmt: skip
    furniture: str = setting('', 'source simulated: folder of furniture models; empty: none')
    hflip: bool = setting(True, 'add a horizontally flipped copy of each sample')
    color_jitter: float = setting(
        0.0,
        'strength of random brightness, colour, contrast, noise and blur of input images; 0: '
        'none, 1: the most that leaves everything recognizable',
        low=0, high=2,
    )  # fmt: skip
    mixstyle: float = setting(
        0.0,
        "probability that channel means and deviations of an image's encoder features are mixed "
        "with another's of the batch (MixStyle), against overfitting to simulated images",
        low=0, high=1,
    )  # fmt: skip

    # Optimization.
    max_steps: int = setting(100_000, 'optimizer steps', low=1)
    batch_size: int = setting(28, 'samples in one forward pass', low=1, high=65536)
    gradient_accumulation_steps: int = setting(
        1, 'forward passes per optimizer step', low=1, high=65536
    )
    optimizer: str = setting(
        'adamw',
        'adamw, or muon: Muon for matrices, AdamW for the rest; faster from scratch',
        choices=('adamw', 'muon'),
    )
    lr: float = setting(2e-5, 'learning rate', low=0, high=1)
    warmup: int = setting(0, 'steps of linear warm-up of the learning rate', low=0)
    lr_decay_fraction: float = setting(
        0.0, 'fraction of the steps, at the end, in which the learning rate falls to 0', low=0,
        high=1,
    )  # fmt: skip
    weight_decay: float = setting(0.01, 'weight decay of the optimizer', low=0, high=1)
    max_grad_norm: float = setting(1.0, 'gradient clipping norm; 0: no clipping', low=0)
    ema: float = setting(
        0.0, 'decay of the weight average (EMA), such as 0.9999; 0: none', low=0, high=1
    )
    pure_noise_prob: float = setting(
        0.0, 'fraction of samples that start from pure noise, sigma 1', low=0, high=1
    )
    weighting: str = setting(
        'velocity',
        'error that is minimized: of the velocity, or of the clean latents (sigma squared times '
        'it)',
        choices=('velocity', 'sample'),
    )
    small_object_weighting: float = setting(
        0.0,
        'exponent by which a sample weighs more the smaller the non-black part of its target is; '
        '0: equal weights, with which small objects are learned last',
        low=0, high=1,
    )  # fmt: skip
    gradient_weight: float = setting(
        0.0,
        'weight of the error of differences between neighbouring pixels, larger at borders of '
        'tokens, beside the error of pixels; needs a PCA autoencoder',
        low=0, high=100,
    )  # fmt: skip
    cond_dropout: float = setting(
        0.1, 'fraction of samples with the empty prompt and no points, for guidance', low=0, high=1
    )
    seed: int = setting(0, 'random seed', low=0, high=2**31 - 1)

    # Hardware.
    device: str = setting('cpu', 'training device: cpu, cuda or cuda:N')
    bf16: bool = setting(False, 'bfloat16 autocast; trained weights stay in float32')
    gradient_checkpointing: bool = setting(False, 'less memory, more time')
    compile: bool = setting(
        False, 'torch.compile of the network: minutes at the start, then faster steps'
    )

    # Output.
    log_every: int = setting(50, 'steps between two lines of log.csv', low=1)
    save_every: int = setting(1000, 'steps between two checkpoints', low=1)
    keep: int = setting(2, 'number of checkpoints that are kept', low=1)
    validate_every: int = setting(1000, 'steps between two validations; 0: none', low=0)
    validation_samples: int = setting(16, 'validation samples per task', low=2, high=100_000)
    validation_num_inference_steps: int = setting(
        1, 'denoising steps of a validation', low=1, high=1000
    )
    save_fp16: bool = setting(False, 'write OUT/model in float16, half the size')

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f'width is {self.width}; expected a multiple of heads, {self.heads}')
        if not self.model and not self.resolution:
            raise ValueError('resolution is 0; a new network needs one, or give a model folder')
        if self.rank and not self.model:
            raise ValueError(f'rank is {self.rank}; LoRA needs a model folder to start from')
        for source, name, what in (
            ('folder', 'folder', 'a folder of samples'), ('bag', 'bags', 'a bag'),
        ):  # fmt: skip
            if (self.source == source) != bool(getattr(self, name)):
                raise ValueError(
                    f'source is {self.source!r} and {name} {getattr(self, name)!r}; set source to '
                    f'{source!r} and {name} to {what}, or neither'
                )
        for name, what in (('coco', 'COCO-format images'), ('rgbd', 'RGB-D recordings')):
            place, held_out = getattr(self, name), getattr(self, f'validation_{name}')
            if self.source == name and not place:
                raise ValueError(f'source is {name!r}; set {name} to a folder of {what}')
            if held_out and not place:
                raise ValueError(
                    f'validation_{name} is {held_out!r} and {name} is empty; set both, or neither'
                )


# A resumed run may have other values of these: they change no optimizer step.
CHANGEABLE_ON_RESUME = (
    'max_steps', 'device', 'log_every', 'save_every', 'keep', 'validate_every',
    'validation_samples', 'validation_num_inference_steps', 'cache', 'save_fp16',
)  # fmt: skip

# Names until release 0.1, in configuration files and in the settings.yaml of old runs.
RENAMED = {
    'block': 'pca_patch', 'lapped': 'overlapping', 'spread': 'latent_std', 'shifts': 'tta_shifts',
    'shares': 'task_weights', 'pool': 'buffer', 'refresh': 'buffer_refresh_steps',
    'mirrored': 'hflip', 'photometric': 'color_jitter', 'steps': 'max_steps',
    'accumulate': 'gradient_accumulation_steps', 'decay': 'lr_decay_fraction',
    'clip': 'max_grad_norm', 'share_at_noise': 'pure_noise_prob',
    'small_things': 'small_object_weighting', 'dropout': 'cond_dropout',
    'checkpointing': 'gradient_checkpointing', 'half': 'save_fp16',
    'validation_steps': 'validation_num_inference_steps',
}  # fmt: skip


def read(path: Path | None, changes: Sequence[str] = ()) -> TrainSettings:
    """Read settings from a YAML file.

    Args:
        path: the file; None for the defaults.
        changes: `name=value` each; they override the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not YAML, a name is unknown or was renamed, or a value is not
            allowed; the message names the file or option.
    """
    values: dict[str, Any] = {}
    if path is not None:
        content = safe_load.yaml_file(path)
        if not isinstance(content, dict | None):
            raise ValueError(f'{path}: expected "name: value" lines, got {content!r:.60}')
        _check_renamed(str(path), content or {})
        for name, value in (content or {}).items():
            values[name] = _value(str(path), name, value)
    for change in changes:
        name, equals, text = change.partition('=')
        if not equals:
            raise ValueError(f'--set {change}: expected name=value')
        _check_renamed(f'--set {change}', {name: text})
        value = safe_load.yaml_text(text, f'--set {change}') if text else ''
        values[name] = _value(f'--set {change}', name, value)
    try:
        return TrainSettings(**values)
    except ValueError as error:
        raise ValueError(f'{path or "--set"}: {error}') from error


def write(settings: TrainSettings, path: Path) -> None:
    """Write all settings in the form that `read` reads."""
    files.write_text(path, yaml.safe_dump(asdict(settings), sort_keys=False))


def differences(old: TrainSettings, new: TrainSettings) -> list[str]:
    """'name: old, now new' for each setting that differs and changes what a step does."""
    return [
        f'{field.name}: {getattr(old, field.name)!r}, now {getattr(new, field.name)!r}'
        for field in fields(old)
        if field.name not in CHANGEABLE_ON_RESUME
        and getattr(old, field.name) != getattr(new, field.name)
    ]


def table() -> str:
    """All settings with help and defaults, one per line, for `diception train --help`."""
    return '\n'.join(
        f'  {field.name:31}{help_of(field)} (default: {field.default!r})'
        for field in fields(TrainSettings)
    )


def _check_renamed(where: str, names: Mapping[Any, Any]) -> None:
    # All old names in one error: an old file holds several.
    pairs = [f'{name} is now {RENAMED[name]}' for name in names if name in RENAMED]
    if pairs:
        raise ValueError(f'{where}: settings were renamed, {"; ".join(pairs)}; use the new names')


def _value(where: str, name: Any, value: Any) -> Any:
    kinds = {field.name: type(field.default) for field in fields(TrainSettings)}
    if name not in kinds:
        raise ValueError(f'{where}: no setting {name!r}{near(str(name), kinds)}')
    if kinds[name] is float and isinstance(value, str):
        # YAML 1.1 reads 2e-5 as a text: it requires a dot in a number.
        try:
            return float(value)
        except ValueError:
            return value
    return value


@dataclass(frozen=True)
class AdaptSettings(Settings):
    """How a model is adapted to a new task from a few images.

    Raises:
        ValueError: a value that its declaration does not allow, or both a rank and a share.

    Source: arXiv 2502.17157, section 4.1 (rank 128, constant 2e-5, batches of 8).
    """

    rank: int = setting(
        0, "LoRA rank; 0: what share allows, or the paper's 128 for a model of SD3's size without "
        'share', low=0, high=4096,
    )  # fmt: skip
    share: float = setting(
        0.0, "trained parameters as a fraction of the model's; 0: 0.01, see rank", low=0, high=1
    )
    max_steps: int = setting(
        0, 'maximum of optimizer steps; 0: 1000, and for small models without validation images '
        '10 per image, at least 50', low=0,
    )  # fmt: skip
    batch_size: int = setting(8, 'samples in one forward pass', low=1, high=65536)
    gradient_accumulation_steps: int = again(TrainSettings, 'gradient_accumulation_steps')
    lr: float = setting(
        0.0, "learning rate; 0: the paper's 2e-5 for a model of SD3's size, else 3e-3", low=0,
        high=1,
    )  # fmt: skip
    seed: int = again(TrainSettings, 'seed')
    val_fraction: float = setting(
        0.2, 'fraction of the images that is held out for validation and early stopping', low=0,
        high=0.9,
    )  # fmt: skip
    validate_every: int = setting(50, 'steps between two validations', low=1)
    validation_num_inference_steps: int = again(TrainSettings, 'validation_num_inference_steps')
    patience: int = setting(
        8, 'early stopping: validations in a row without improvement; 0: never stop early', low=0
    )
    min_crop_scale: float = setting(
        0.6, "side of the smallest random crop as a fraction of the image's", low=0.1, high=1
    )
    color_jitter: float = setting(
        0.3, help_of(again(TrainSettings, 'color_jitter')), low=0, high=2
    )
    buffer: int = setting(400, 'random crops that are drawn at a time', low=1)
    cond_dropout: float = setting(
        0.05, help_of(again(TrainSettings, 'cond_dropout')), low=0, high=1
    )
    ema: float = setting(0.98, 'decay of the weight average (EMA); 0: none', low=0, high=1)
    device: str = again(TrainSettings, 'device')
    bf16: bool = setting(
        False, 'bfloat16 autocast; on a GPU the frozen weights are kept in bfloat16, too'
    )
    gradient_checkpointing: bool = again(TrainSettings, 'gradient_checkpointing')

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank and self.share:
            raise ValueError(
                f'rank is {self.rank} and share {self.share:g}; one determines the other, give '
                'only one of them'
            )
