# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rectified flow: noise levels, noisy latents, and what counts as an error.

Source: arXiv 2403.03206 (SD3), sections 2 and 3; arXiv 2502.17157, equation 2.
"""

from __future__ import annotations

from typing import Any

import torch

# A smaller share counts as this: the weight of an image without any object must stay finite.
MIN_SHARE = 0.01
# What a difference across the border of a latent cell, and of a token, weighs more than others.
# Source: the eighth run of bench/notes/builtin_model_runs.md, where no other values were tried.
_CELL_BORDER, _TOKEN_BORDER = 1.0, 3.0
# Brightest channel, 0 to 1, of what counts as black in a target.
_BLACK = 0.1


class NonFiniteLossError(ValueError):
    """The loss is NaN or infinite; the message names the samples."""


def sigma_table(scheduler: Any) -> torch.Tensor:
    """Noise levels of training with the scheduler's shift.

    Args:
        scheduler: FlowMatchEulerDiscreteScheduler; timesteps set for inference do not matter.

    Returns:
        (1000,) float32, falling from 1.
    """
    fresh = type(scheduler).from_config(scheduler.config)
    table: torch.Tensor = fresh.sigmas.clone()
    return table


def draw_sigmas(
    count: int, table: torch.Tensor, generator: torch.Generator, pure_noise_prob: float = 0.0
) -> torch.Tensor:
    """Draw noise levels at logit-normal positions (mean 0, std 1) of the scheduler's table.

    Args:
        count: number of levels.
        table: (T,) float32, falling from 1.
        generator: on the device of the table.
        pure_noise_prob: probability of sigma 1, pure noise, instead.

    Returns:
        (count,) float32 in (0, 1].
    """
    device = table.device
    place = torch.randn(count, generator=generator, device=device).sigmoid()
    index = (place * len(table)).long().clamp(max=len(table) - 1)
    at_noise = torch.rand(count, generator=generator, device=device) < pure_noise_prob
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
    """Latent cells all of whose pixels have a known target.

    Args:
        valid: (B, 1, S, S) bool.
        size: (h, w) of the latents, divisors of S.

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
    """Mean squared error of each sample over its known cells.

    Args:
        velocity: (B, C, h, w) output of the network.
        clean: (B, C, h, w) latents of the target.
        noise: (B, C, h, w) the noise that was added.
        sigma: (B,) its level.
        known: (B, 1, h, w) bool, see `known_cells`.
        weighting: 'velocity', or 'sample' for the error of the clean latents, which is the
            velocity's times sigma: clean = x - sigma velocity.

    Returns:
        (B,) float32; 0 where a sample has no known cell.
    """
    error = (velocity.float() - (noise - clean).float()) ** 2
    if weighting == 'sample':
        error = error * sigma.float()[:, None, None, None] ** 2
    # Not a product: 0 * NaN is NaN, and an unknown cell may hold anything.
    error = torch.where(known, error, 0.0).sum(dim=(1, 2, 3))  # (B,)
    cells = known.sum(dim=(1, 2, 3)) * velocity.shape[1]
    return error / cells.clamp(min=1)


def gradient_loss(
    error: torch.Tensor, known: torch.Tensor, token: int, channels: int
) -> torch.Tensor:
    """Mean squared difference of neighbouring pixels of the error, more across tokens' borders.

    The same least squares in another metric: seams between tokens and blurred edges, which cost
    little as squared errors, cost more.

    Args:
        error: (B, 3, S, S) pixels, predicted less true, in the scale of latents.
        known: (B, 1, h, w) bool, the latent cells that count.
        token: width of a token, pixels.
        channels: of the latents, which makes it a mean over the same numbers as `flow_loss`.

    Returns:
        (B,) float32; 0 where no cell of a sample counts.
    """
    cell = error.shape[-1] // known.shape[-1]
    counts = known.repeat_interleave(cell, 2).repeat_interleave(cell, 3)  # (B, 1, S, S)
    error = torch.where(counts, error.float(), 0.0)
    weights = torch.ones(error.shape[-1] - 1, device=error.device)
    weights[cell - 1 :: cell] += _CELL_BORDER
    weights[token - 1 :: token] += _TOKEN_BORDER - _CELL_BORDER
    total = torch.zeros(len(error), device=error.device)
    for axis in (2, 3):
        lines, seen = error.movedim(axis, -1), counts.movedim(axis, -1)
        both = seen[..., 1:] & seen[..., :-1]
        total = total + (lines.diff(dim=-1) ** 2 * weights * both).sum(dim=(1, 2, 3))
    return total / (known.sum(dim=(1, 2, 3)) * channels).clamp(min=1)


def sample_weights(target: torch.Tensor, power: float) -> torch.Tensor:
    """Weight of each sample: larger, the smaller the non-black part of its target is.

    On a black background the squared error of a missed object is as small as the object, so a
    network that minimizes it leaves small objects out.

    Args:
        target: (B, 3, S, S) in [-1, 1], the target images.
        power: 0: equal weights; 1: an object of half the size weighs twice as much per pixel.

    Returns:
        (B,) float32 >= 1: fraction of the pixels that are not black, at least `MIN_SHARE`, to the
        power of -`power`. An image without black weighs 1.
    """
    visible = (target.amax(dim=1) > 2 * _BLACK - 1).float().mean(dim=(1, 2))  # (B,)
    return visible.clamp(min=MIN_SHARE) ** -power


def check_finite(losses: torch.Tensor, names: tuple[str, ...], step: int) -> None:
    """Raise NonFiniteLossError if the loss of a sample is NaN or infinite.

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
