# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From samples to batches: order of tasks and samples, preprocessing, color jitter, MixStyle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
import hashlib
import itertools
import math

import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional

from diception_ros.datasets import batch
from diception_ros.datasets.batch import Prepared
from diception_ros.datasets.sample import Sample
from diception_ros.model import DiceptionPointEncoder
from diception_ros.tasks import BUILTIN, TaskRegistry

# `take_per_task` stops after this many samples per wanted one, where a task is rare.
_PATIENCE = 40

# Largest changes at strength 1, chosen from contact sheets: a bad camera in bad light, in which a
# person still recognizes everything.
_BRIGHTNESS = 0.7  # gain of the whole image, in powers of two, up or down
_CAST = 0.25  # gain of each colour channel, likewise
_GAMMA = 0.5  # exponent, in powers of two
_CONTRAST = 0.5  # gain of the distance from the image's mean, in powers of two
_NOISE = 0.06  # standard deviation, relative to white
_BLUR = 0.01  # standard deviation, relative to the side of the image
_DRAWN = 8  # random numbers per image


@dataclass(frozen=True)
class Preprocessor:
    """Turns samples into tensors of the model's size.

    Attributes:
        resolution: S, side of the model input, pixels.
        point_order: of the model's point encoder.
        hflip: add a horizontally flipped copy of each sample.
        registry: holds the tasks of the samples.
        input_scale: side of the model's input image by the resolution.
    """

    resolution: int
    point_order: str
    hflip: bool
    registry: TaskRegistry = BUILTIN
    input_scale: int = 1

    def collate(self, samples: Iterable[Sample]) -> Prepared:
        """Resize and encode samples, and stack them."""
        # Only the order in which the encoder packs points matters here, so it has no size.
        encoder = DiceptionPointEncoder(1, 1, 1, self.point_order)
        return batch.prepare(
            samples, self.resolution, encoder.pack, self.hflip, self.registry, self.input_scale
        )


def take_per_task(samples: Iterable[Sample], names: Sequence[str], count: int) -> list[Sample]:
    """The first samples of each task.

    Args:
        samples: may be endless.
        names: tasks.
        count: samples per task; fewer where a task is too rare.
    """
    by_task: dict[str, list[Sample]] = {name: [] for name in names}
    for sample in itertools.islice(samples, _PATIENCE * count * len(names)):
        mine = by_task.get(sample.prompt.task)
        if mine is not None and len(mine) < count:
            mine.append(sample)
        if all(len(task_samples) == count for task_samples in by_task.values()):
            break
    return [sample for task_samples in by_task.values() for sample in task_samples]


# ---- sampling of tasks --------------------------------------------------------------------------


def parse_task_weights(text: str, registry: TaskRegistry = BUILTIN) -> dict[str, int]:
    """Read task weights such as 'depth=4 normal=4', of tasks in a registry.

    Raises:
        ValueError: another form, an unknown task, a task named twice, or no task at all.
    """
    weights: dict[str, int] = {}
    for item in text.replace(',', ' ').split():
        name, _, number = item.partition('=')
        if not number.isdecimal():
            raise ValueError(f'task_weights: expected task=number, such as depth=4, got {item!r}')
        if name in weights:
            raise ValueError(f'task_weights: task {name!r} is named twice')
        registry.get(name)
        weights[name] = int(number)
    weights = {name: weight for name, weight in weights.items() if weight}
    if not weights:
        raise ValueError(f'task_weights is {text!r}; expected at least one task, such as depth=4')
    return weights


def interleave(weights: Mapping[str, int]) -> list[str]:
    """The tasks of one round, each as often as its weight says, spread evenly.

    Any run of consecutive samples has each task in about its proportion, whatever the batch size;
    a batch of a multiple of the round's length has it exactly.

    Returns:
        names of tasks, as many as the sum of the weights.
    """
    total, credit = sum(weights.values()), dict.fromkeys(weights, 0)
    round_ = []
    for _ in range(total):
        for name, weight in weights.items():
            credit[name] += weight
        richest = max(credit, key=lambda name: credit[name])
        credit[richest] -= total
        round_.append(richest)
    return round_


class TaskSampler:
    """Chooses the task and the sample for each position of a run.

    Samples of a task come in random order, each once before any comes again. The choice depends on
    the position alone, so a resumed run needs no sampler state.
    """

    def __init__(self, weights: Mapping[str, int], seed: int) -> None:
        self._round, self._weights, self._seed = interleave(weights), dict(weights), seed
        # For each position of the round, how many samples of its task precede it.
        self._before = [self._round[:k].count(name) for k, name in enumerate(self._round)]
        self._orders: dict[str, tuple[tuple[int, int], NDArray[np.int64]]] = {}

    def draw(self, number: int, counts: Mapping[str, int]) -> tuple[str, int]:
        """Choose the sample at one position.

        Args:
            number: position, from 0, counted over the whole run.
            counts: available samples of each task.

        Returns:
            the task, and the index of the sample in it, 0 to counts[task] - 1.
        """
        turn, place = divmod(number, len(self._round))
        task = self._round[place]
        nth = turn * self._weights[task] + self._before[place]
        epoch, index = divmod(nth, counts[task])
        key = (epoch, counts[task])
        if task not in self._orders or self._orders[task][0] != key:
            digest = hashlib.sha256(f'{self._seed} {task} {epoch}'.encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], 'little'))
            self._orders[task] = key, rng.permutation(counts[task])
        return task, int(self._orders[task][1][index])


# ---- color jitter: the same scene in other light, through another lens --------------------------


# With color_jitter an image encoder's features are kept for up to 8 augmented copies of the images
# of a buffer, 4096 in all (0.5 GB), or for one copy of each where there are more images.
_COPIES, _KEPT = 8, 4096


class EncodedImages:
    """Latents of images and of their augmented copies, each computed when it is first asked for.

    Args:
        images: (F, 3, D, D) uint8, RGB.
        encode: latents (B, C, h, w) of images (B, 3, D, D) float32 in [-1, 1].
        strength: of `color_jitter`; 0: there is one copy, the image itself.
        generator: draws the seeds of the copies; its device is that of `encode`.

    Attributes:
        copies: of each image.
    """

    def __init__(
        self,
        images: torch.Tensor,
        encode: Callable[[torch.Tensor], torch.Tensor],
        strength: float,
        generator: torch.Generator,
    ) -> None:
        self._images, self._encode, self._strength = images, encode, strength
        self.copies = max(1, min(_COPIES, _KEPT // len(images))) if strength else 1
        self._seeds = jitter_seeds(self.copies * len(images), generator)
        self._known = torch.zeros(self.copies * len(images), dtype=torch.bool)
        self._latents: torch.Tensor | None = None

    def latents(self, copies: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) float16 of some copies of some images, both (B,) int64, on the CPU."""
        rows = copies * len(self._images) + frames
        missing = rows.unique()
        missing = missing[~self._known[missing]]
        if len(missing):
            shown = self._images[missing % len(self._images)].to(self._seeds.device)
            shown = shown.float() / 127.5 - 1
            if self._strength:
                seeds = self._seeds[missing.to(self._seeds.device)]
                shown = color_jitter(shown, self._strength, seeds)
            encoded = self._encode(shown).half().cpu()
            if self._latents is None:
                # Memory is taken only where something is written.
                shape = (len(self._known), *encoded.shape[1:])
                self._latents = torch.empty(shape, dtype=encoded.dtype)
            self._latents[missing], self._known[missing] = encoded, True
        assert self._latents is not None
        return self._latents[rows]


def jitter_seeds(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw seeds for `color_jitter`: (count,) int64 on the generator's device."""
    return torch.randint(2**62, (count,), generator=generator, device=generator.device)


def color_jitter(images: torch.Tensor, strength: float, seeds: torch.Tensor) -> torch.Tensor:
    """Change light, colours, contrast, noise and blur of images, never their targets.

    Half of the images are not blurred, and half get no noise.

    Args:
        images: (B, 3, S, S) float32 in [-1, 1], RGB.
        strength: 0 for no change, 1 for the largest sensible one.
        seeds: (B,) int64; each alone determines the change of its image.

    Returns:
        (B, 3, S, S) float32 in [-1, 1].
    """
    generator = torch.Generator(images.device)
    drawn = torch.empty(len(images), _DRAWN, device=images.device)
    noise = torch.empty_like(images)
    for k, seed in enumerate(seeds.tolist()):
        generator.manual_seed(seed)
        drawn[k].uniform_(generator=generator)
        noise[k].normal_(generator=generator)
    signed = strength * (2 * drawn[:, :6] - 1)  # (B, 6) up or down
    positive = strength * (2 * drawn[:, 6:] - 1).clamp(min=0)  # (B, 2) 0 for half of the images
    brightness, contrast, gamma = signed[:, :3, None, None, None].unbind(dim=1)  # (B, 1, 1, 1)
    cast = signed[:, 3:, None, None]  # (B, 3, 1, 1)

    # In the order of a camera: lens, light, sensor, image processing.
    out = _blur((images + 1) / 2, positive[:, 0] * _BLUR * images.shape[-1])
    out = out * 2 ** (brightness * _BRIGHTNESS + cast * _CAST)
    out = (out + noise * (positive[:, 1, None, None, None] * _NOISE)).clamp(0, 1)
    out = out ** (2 ** (gamma * _GAMMA))
    mean = out.mean(dim=(1, 2, 3), keepdim=True)
    out = mean + (out - mean) * 2 ** (contrast * _CONTRAST)
    return out.clamp(0, 1) * 2 - 1


def _blur(images: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """(B, C, S, S), each with a Gaussian of its own standard deviation (B,), pixels."""
    reach = math.ceil(3 * float(sigmas.max()))  # a Gaussian is negligible beyond 3 sigma
    if not reach:
        return images
    reach = min(reach, images.shape[-1] - 1)
    places = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-((places / sigmas[:, None].clamp(min=1e-3)) ** 2) / 2)  # (B, K)
    weights = weights / weights.sum(dim=1, keepdim=True)
    count, channels, height, width = images.shape
    kernels = weights.repeat_interleave(channels, dim=0)[:, None]  # (B * C, 1, K)
    out = images.reshape(1, count * channels, height, width)
    for kernel, padding in (
        (kernels[..., None, :], (reach, reach, 0, 0)),
        (kernels[..., None], (0, 0, reach, reach)),
    ):
        out = functional.conv2d(
            functional.pad(out, padding, mode='replicate'), kernel, groups=count * channels
        )
    return out.reshape(images.shape)


def mix_statistics(
    features: torch.Tensor, probability: float, generator: torch.Generator
) -> torch.Tensor:
    """Mix channel means and deviations of feature maps, never their patterns (MixStyle).

    Args:
        features: (B, C, h, w) float32.
        probability: that a map takes up to a half of another's statistics.
        generator: source of all randomness, on the device of the features.

    Returns:
        (B, C, h, w).

    Source: arXiv 2104.02008 (MixStyle). The share of the other is uniform up to a half, as in the
    eighth run of bench/notes/builtin_model_runs.md, in place of the paper's beta distribution.
    """
    count, device = len(features), features.device
    deviation, mean = torch.std_mean(features, dim=(2, 3), keepdim=True)
    deviation = deviation + 1e-4  # of a channel that is constant
    other = torch.randperm(count, generator=generator, device=device)
    chosen = torch.rand(count, generator=generator, device=device) < probability
    share = 0.5 * torch.rand(count, generator=generator, device=device) * chosen
    share = share[:, None, None, None]
    pattern = (features - mean) / deviation
    return pattern * deviation.lerp(deviation[other], share) + mean.lerp(mean[other], share)
