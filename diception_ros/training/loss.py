# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rectified flow: noise levels, noisy latents, and what counts as an error.

Source: arXiv 2403.03206 (SD3), sections 2 and 3; arXiv 2502.17157, equation 2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

# A smaller share of a picture counts as this: a picture of nothing must not count endlessly.
LEAST = 0.01
# Brightest channel, 0 to 1, of what counts as black in a target.
_BLACK = 0.1


class NonFiniteLossError(ValueError):
    """The loss is no number; the message names the samples."""


def sigma_table(scheduler: Any) -> torch.Tensor:
    """Noise levels of training with the scheduler's shift.

    Args:
        scheduler: FlowMatchEulerDiscreteScheduler; what inference did to it does not matter.

    Returns:
        (1000,) float32, falling from 1.
    """
    fresh = type(scheduler).from_config(scheduler.config)
    table: torch.Tensor = fresh.sigmas.clone()
    return table


def draw_sigmas(
    count: int, table: torch.Tensor, generator: torch.Generator, share_at_noise: float = 0.0
) -> torch.Tensor:
    """Draw noise levels: logit-normal places (mean 0, deviation 1) in the scheduler's table.

    Args:
        count: how many.
        table: (T,) float32, falling from 1.
        generator: on the device of the table.
        share_at_noise: probability of the first level, noise alone, instead.

    Returns:
        (count,) float32 in (0, 1].
    """
    device = table.device
    place = torch.randn(count, generator=generator, device=device).sigmoid()
    index = (place * len(table)).long().clamp(max=len(table) - 1)
    at_noise = torch.rand(count, generator=generator, device=device) < share_at_noise
    return table[torch.where(at_noise, 0, index)]


def add_noise(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Noisy latents `(1 - sigma) clean + sigma noise`.

    Args:
        clean: (B, C, h, w) latents.
        noise: (B, C, h, w) standard normal.
        sigma: (B,) in [0, 1].

    Returns:
        (B, C, h, w).
    """
    sigma = sigma[:, None, None, None]
    return (1 - sigma) * clean + sigma * noise


def known_cells(valid: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Latent cells under which every pixel is known.

    Args:
        valid: (B, 1, S, S) bool.
        size: (h, w) of the latents; their sides divide S.

    Returns:
        (B, 1, h, w) bool.
    """
    rows, columns = valid.shape[-2] // size[0], valid.shape[-1] // size[1]
    cells = valid.unflatten(-1, (size[1], columns)).unflatten(-3, (size[0], rows))
    return cells.all(dim=-1).all(dim=-2)  # (B, 1, h, rows, w, columns) -> (B, 1, h, w)


def flow_loss(
    velocity: torch.Tensor,
    clean: torch.Tensor,
    noise: torch.Tensor,
    sigma: torch.Tensor,
    known: torch.Tensor,
    weighting: str = 'velocity',
) -> torch.Tensor:
    """Mean squared error of each sample over the cells that count.

    Args:
        velocity: (B, C, h, w) what the network answered.
        clean: (B, C, h, w) latents of the true picture.
        noise: (B, C, h, w) what was mixed in.
        sigma: (B,) how much of it.
        known: (B, 1, h, w) bool, the cells that count.
        weighting: 'velocity', or 'sample' for the error of the clean latents, which is the
            velocity's times sigma: clean = x - sigma velocity.

    Returns:
        (B,) float32; 0 where no cell of a sample counts.
    """
    error = (velocity.float() - (noise - clean).float()) ** 2
    if weighting == 'sample':
        error = error * sigma.float()[:, None, None, None] ** 2
    # Not a product: 0 * NaN is NaN, and a cell that does not count may hold anything.
    error = torch.where(known, error, 0.0).sum(dim=(1, 2, 3))  # (B,)
    cells = known.sum(dim=(1, 2, 3)) * velocity.shape[1]
    return error / cells.clamp(min=1)


def sample_weights(target: torch.Tensor, power: float) -> torch.Tensor:
    """How much each sample counts: more, the less of its picture is painted.

    On black, the squared error of a small thing that is missed is as small as the thing, and a
    network that learns by it leaves small things out.

    Args:
        target: (B, 3, S, S) in [-1, 1], the pictures that should be painted.
        power: 0: all count alike; 1: a thing of half the size counts twice per pixel.

    Returns:
        (B,) float32 >= 1: share of the pixels that aren't black, at least `LEAST`, to the power of
        -`power`. A picture without black counts 1.
    """
    painted = (target.amax(dim=1) > 2 * _BLACK - 1).float().mean(dim=(1, 2))  # (B,)
    return painted.clamp(min=LEAST) ** -power


def check_finite(losses: torch.Tensor, names: tuple[str, ...], step: int) -> None:
    """Raise NonFiniteLossError where a sample's loss is no number.

    Args:
        losses: (B,) loss of each sample.
        names: B names.
        step: for the message.
    """
    wrong = (~torch.isfinite(losses)).tolist()
    if any(wrong):
        bad = [name or '(without a name)' for name, is_bad in zip(names, wrong, strict=True)
               if is_bad]  # fmt: skip
        raise NonFiniteLossError(
            f'step {step}: the loss is not finite for {len(bad)} of {len(names)} samples: '
            f'{", ".join(bad[:8])}{" ..." if bad[8:] else ""}; if it is all of them, lower lr'
        )


# The same scene as another camera would have seen it: light, colours, noise and blur change.
#
# Only the picture that the model is shown changes, never what it should paint.


# Furthest changes at strength 1, chosen by looking at sheets: 1 is a bad camera in bad light, in
# which a person still recognises everything.
_BRIGHTNESS = 0.7  # powers of two that the whole picture is multiplied with, up or down
_CAST = 0.25  # the same for each colour by itself
_GAMMA = 0.5  # powers of two of the exponent, up or down
_CONTRAST = 0.5  # powers of two of the distance from the picture's mean, up or down
_NOISE = 0.06  # standard deviation, of a white of 1
_BLUR = 0.01  # standard deviation, of the side of the picture

_NUMBERS = 8  # drawn for each picture


def draw(count: int, generator: torch.Generator) -> torch.Tensor:
    """Seeds of the changes of so many pictures.

    Args:
        count: how many.
        generator: source of all randomness.

    Returns:
        (count,) int64 on the generator's device.
    """
    return torch.randint(2**62, (count,), generator=generator, device=generator.device)


def change(images: torch.Tensor, strength: float, seeds: torch.Tensor) -> torch.Tensor:
    """Change pictures, each in a way that follows from its own seed alone.

    Half of them are not blurred, and half get no noise.

    Args:
        images: (B, 3, S, S) float32 in [-1, 1], RGB.
        strength: 0 for no change, 1 for all that is sensible.
        seeds: (B,) int64, see `draw`.

    Returns:
        (B, 3, S, S) float32 in [-1, 1], new pictures.
    """
    generator = torch.Generator(images.device)
    luck = torch.empty(len(images), _NUMBERS, device=images.device)
    noise = torch.empty_like(images)
    for k, seed in enumerate(seeds.tolist()):
        generator.manual_seed(seed)
        luck[k].uniform_(generator=generator)
        noise[k].normal_(generator=generator)
    sides = strength * (2 * luck[:, :6] - 1)  # (B, 6) both ways
    more = strength * (2 * luck[:, 6:] - 1).clamp(min=0)  # (B, 2) 0 for half of the pictures
    brightness, contrast, gamma = sides[:, :3, None, None, None].unbind(dim=1)  # (B, 1, 1, 1)
    cast = sides[:, 3:, None, None]  # (B, 3, 1, 1)

    # In the order of a camera: lens, light, sensor, and then its idea of a nice picture.
    out = _blurred((images + 1) / 2, more[:, 0] * _BLUR * images.shape[-1])
    out = out * 2 ** (brightness * _BRIGHTNESS + cast * _CAST)
    out = (out + noise * (more[:, 1, None, None, None] * _NOISE)).clamp(0, 1)
    out = out ** (2 ** (gamma * _GAMMA))
    mean = out.mean(dim=(1, 2, 3), keepdim=True)
    out = mean + (out - mean) * 2 ** (contrast * _CONTRAST)
    return out.clamp(0, 1) * 2 - 1


def _blurred(images: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """(B, C, S, S), each blurred with its own standard deviation (B,) in pixels."""
    reach = math.ceil(3 * float(sigmas.max()))  # beyond three of them a Gaussian is nothing
    if not reach:
        return images
    reach = min(reach, images.shape[-1] - 1)
    places = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-((places / sigmas[:, None].clamp(min=1e-3)) ** 2) / 2)  # (B, K)
    weights = weights / weights.sum(dim=1, keepdim=True)
    pictures, channels, height, width = images.shape
    each = weights.repeat_interleave(channels, dim=0)[:, None]  # (B * C, 1, K)
    out = images.reshape(1, pictures * channels, height, width)
    for kernel, padding in (
        (each[..., None, :], (reach, reach, 0, 0)),
        (each[..., None], (0, 0, reach, reach)),
    ):
        out = functional.conv2d(
            functional.pad(out, padding, mode='replicate'), kernel, groups=pictures * channels
        )
    return out.reshape(images.shape)
