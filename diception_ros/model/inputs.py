# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a call of the pipeline refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def check_inputs(
    pipe: Any, image: Any, prompt: Sequence[str], steps: int, image_latents: Any
) -> None:
    """Raise ValueError where what a call was given does not fit together or the model.

    Args:
        pipe: the pipeline.
        image: (B, 3, H, W) float tensor, or None.
        prompt: texts.
        steps: denoising steps.
        image_latents: (B, C, h, w) float tensor, or None; exactly one of the two is given.
    """
    if isinstance(prompt, str) or not prompt or not all(isinstance(t, str) for t in prompt):
        raise ValueError(f'prompt is {prompt!r}; expected a list of texts, one for each answer')
    if steps < 1:
        raise ValueError(f'num_inference_steps is {steps}; expected at least 1')
    if (image is None) == (image_latents is None):
        raise ValueError('give either image or image_latents, not both and not neither')
    patch = pipe.transformer.config.patch_size
    if image is not None:
        name, what, channels = 'image', image, pipe.vae.config.in_channels
        factor = pipe.vae_scale_factor * patch
    else:
        name, what, channels = 'image_latents', image_latents, pipe.transformer.config.in_channels
        factor = patch
    batch = len(prompt)
    if what.ndim != 4 or what.shape[1] != channels or what.shape[0] not in (1, batch):
        raise ValueError(
            f'{name} has shape {tuple(what.shape)}; expected (B, {channels}, H, W) '
            f'with B 1 or {batch}, the number of prompts'
        )
    largest = factor * pipe.transformer.config.pos_embed_max_size
    if any(side % factor or side > largest or not side for side in what.shape[-2:]):
        raise ValueError(
            f'{name} is {what.shape[-2]} x {what.shape[-1]}; expected sides that are '
            f'multiples of {factor} and at most {largest}'
        )
    if not what.is_floating_point():
        raise ValueError(f'{name} is {what.dtype}; expected float')
