# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same scene as another camera would have seen it: light, colours, noise and blur change.

Only the picture that the model is shown changes, never what it should paint.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

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
