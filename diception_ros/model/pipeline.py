# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DiceptionPipeline: generates one RGB image for each of N prompts about an input image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
import numpy as np
import torch
from torch.nn import functional

from diception_ros.model.components import Components
from diception_ros.model.text_embeddings import (
    PromptEmbedding,
    UnknownTextError,
    combine_embeddings,
    encode_clip,
    encode_t5,
)


def check_inputs(
    pipe: Any, image: Any, prompt: Sequence[str], steps: int, image_latents: Any
) -> None:
    """Raise ValueError if the arguments of a call contradict each other or the model.

    Args:
        pipe: the pipeline.
        image: (B, 3, H, W) float tensor, or None.
        prompt: texts.
        steps: denoising steps.
        image_latents: (B, C, h, w) float tensor, or None; exactly one of the two is given.
    """
    if isinstance(prompt, str) or not prompt or not all(isinstance(t, str) for t in prompt):
        raise ValueError(f'prompt is {prompt!r}; expected a list of texts, one for each image')
    if steps < 1:
        raise ValueError(f'num_inference_steps is {steps}; expected at least 1')
    if (image is None) == (image_latents is None):
        raise ValueError('give either image or image_latents, not both and not neither')
    patch = pipe.transformer.config.patch_size
    if image is not None:
        name, what, channels = 'image', image, pipe.vae.config.in_channels
        factor = pipe.vae_scale_factor * patch * pipe.input_scale
    else:
        name, what, channels = 'image_latents', image_latents, pipe.transformer.config.in_channels
        channels += pipe.transformer.config.get('feature_channels', 0)
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


# One image of the official size keeps a device busy; more at once only cost memory.
_DECODE_PIXELS = 768 * 768


@dataclass
class DiceptionOutput(BaseOutput):
    """Result of a call of the pipeline.

    Attributes:
        images: (N, S, S, 3) float32 in [0, 1], the generated images.
        latents: (N, C, h, w) the final latents they were decoded from.
    """

    images: np.ndarray
    latents: torch.Tensor


class DiceptionPipeline(Components):
    """Solves perception tasks by generating an output image for each prompt.

    Its components, loading and saving are in `components.Components`.

    Source: arXiv 2502.17157 and its released inference code.
    """

    @torch.no_grad()
    def encode_image(
        self,
        image: torch.Tensor,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Encode images into latents.

        Args:
            image: (B, 3, H, W) in [-1, 1]; with an image encoder `input_scale` times the
                sides of its answers.
            sample: draw from the posterior instead of taking its mean.
            generator: for the draw.

        Returns:
            (B, C + F, h, w) latents, shifted and scaled as the transformer expects them, and the
            image encoder's F features, where there is one.
        """
        image = image.to(self._execution_device)
        if self.image_encoder is None:
            return self.encode_vae_image(image, sample, generator)
        features = self.image_encoder(image)  # (B, F, h, w)
        image = functional.avg_pool2d(image, self.input_scale)
        latents = self.encode_vae_image(image, sample, generator)
        return torch.cat([latents, features.to(latents)], dim=1)

    @torch.no_grad()
    def encode_vae_image(
        self,
        image: torch.Tensor,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Encode (B, 3, S, S) images with the VAE alone; returns (B, C, h, w) latents."""
        image = image.to(self._execution_device)
        posterior = self.vae.encode(image.to(self.vae.dtype)).latent_dist
        # Upstream: always samples, from the global random state, so no run can be repeated.
        latents = posterior.sample(generator) if sample else posterior.mode()
        return (latents - self.vae.config.shift_factor) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> np.ndarray:
        """Decode latents into images.

        Args:
            latents: (N, C, h, w).

        Returns:
            (N, H, W, 3) float32 in [0, 1].
        """
        latents = latents.to(self.vae.dtype)
        latents = latents / self.vae.config.scaling_factor + self.vae.config.shift_factor
        pixels = latents.shape[-2] * latents.shape[-1] * self.vae_scale_factor**2
        together = max(1, _DECODE_PIXELS // pixels)
        decoded_images = []
        for part in latents.split(together):
            decoded = self.vae.decode(part, return_dict=False)[0].float()  # (n, 3, H, W)
            decoded_images.append(
                (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
            )
        return np.concatenate(decoded_images)

    def get_embeddings(self, texts: Sequence[str]) -> list[PromptEmbedding]:
        """Look texts up in the prompt table; encode missing ones, if there are text encoders.

        Args:
            texts: N texts.

        Returns:
            N embeddings, on the device and in the dtype of the table.

        Raises:
            UnknownTextError: a text is not in the table and there are no text encoders.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self.prompt_table]
        encoders = (self.text_encoder, self.text_encoder_2, self.text_encoder_3)
        if missing and None not in encoders:
            for text, embedding in self.encode_texts(missing):
                self.prompt_table.add(text, embedding)
        return [self.prompt_table[text] for text in texts]

    def embed_prompts(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of texts as a batch for the network; see `get_embeddings`.

        Args:
            texts: N texts.

        Returns:
            (N, 333, joint_attention_dim) tokens; (N, pooled_projection_dim) pooled.
        """
        found = self.get_embeddings(texts)
        place = {'device': self._execution_device, 'dtype': self.transformer.dtype}
        return (
            torch.stack([embedding.tokens.to(**place) for embedding in found]),
            torch.stack([embedding.pooled.to(**place) for embedding in found]),
        )

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Any:
        """Run the text encoders, past the prompt table: pairs of a text and its Embedding.

        Raises:
            UnknownTextError: the pipeline has no text encoders.
        """
        if None in (self.text_encoder, self.text_encoder_2, self.text_encoder_3):
            raise UnknownTextError(
                f'this pipeline has no text encoders to encode {list(texts)}; '
                'convert with --with-text-encoders, or use diception prompts --sd3 SD3_DIR'
            )
        return combine_embeddings(
            texts,
            encode_clip(texts, self.tokenizer, self.text_encoder),
            encode_clip(texts, self.tokenizer_2, self.text_encoder_2),
            encode_t5(texts, self.tokenizer_3, self.text_encoder_3),
        )

    def prepare_latents(
        self,
        batch: int,
        size: Sequence[int],
        latents: torch.Tensor | None,
        generator: torch.Generator | list[torch.Generator] | None,
    ) -> torch.Tensor:
        """Draw the initial noise, or move the given one to device and dtype.

        Args:
            batch: N.
            size: (h, w) of the latents.
            latents: (N, C, h, w) or None.
            generator: of the noise. A CPU generator draws the same numbers for every device.

        Returns:
            (N, C, h, w), in the transformer's dtype.

        Raises:
            ValueError: `latents` has another shape.
        """
        shape = (batch, self.transformer.config.in_channels, *size)
        device, dtype = self._execution_device, self.transformer.dtype
        if latents is None:
            return randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        if tuple(latents.shape) != shape:
            raise ValueError(f'latents has shape {tuple(latents.shape)}; expected {shape}')
        return latents.to(device, dtype)

    @torch.no_grad()
    def denoise(
        self,
        image_latents: torch.Tensor,
        prompt: Sequence[str],
        points: Sequence[Sequence[tuple[float, float]]] | None = None,
        num_inference_steps: int = 28,
        guidance_scale: float = 2.0,
        latents: torch.Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        reuse_last_velocity: bool = False,
    ) -> torch.Tensor:
        """Generate latents: the call without the VAE.

        Args:
            image_latents: (B, C + F, h, w) what `encode_image` returned; B is 1 or N.
            prompt: as in the call, like everything that follows.
            points: N lists of at most five (x, y) in [0, 1], or None.
            num_inference_steps: Euler steps.
            guidance_scale: of the conditional over the unconditional velocity.
            latents: (N, C, h, w) initial noise, or None for a draw.
            generator: of that draw.
            reuse_last_velocity: skip the last network pass.

        Returns:
            (N, C, h, w) latents of the output images.
        """
        # 1. Texts and points. The unconditional half comes first; it has the empty text and zero
        #    point tokens, which is not the same as five unused ones.
        batch, guided = len(prompt), guidance_scale > 1
        coordinates, given = self.point_encoder.pack(points, batch)
        texts = ([''] * batch if guided else []) + list(prompt)
        tokens, pooled = self.embed_prompts(texts)  # (M, 333, D)
        point_tokens = self.point_encoder(coordinates, given).to(tokens)  # (N, 5, D)
        image_latents = image_latents.to(tokens)  # (B, C, h, w)
        if guided:
            point_tokens = torch.cat([torch.zeros_like(point_tokens), point_tokens])
            if len(image_latents) > 1:
                image_latents = torch.cat([image_latents] * 2)  # (M, C, h, w)

        # 2. Noise.
        latents = self.prepare_latents(batch, image_latents.shape[-2:], latents, generator)

        # 3. Euler steps from noise to image.
        self.scheduler.set_timesteps(num_inference_steps, device=latents.device)
        self.scheduler.set_begin_index(0)  # saves a device synchronisation in the first step
        timesteps = self.scheduler.timesteps
        velocity = None
        for i, timestep in enumerate(self.progress_bar(timesteps)):
            if not (reuse_last_velocity and 0 < i == len(timesteps) - 1):
                velocity = self.transformer(
                    hidden_states=torch.cat([latents] * 2) if guided else latents,
                    image_latents=image_latents,
                    encoder_hidden_states=tokens,
                    pooled_projections=pooled,
                    point_embeds=point_tokens,
                    timestep=timestep.expand(len(texts)),
                    return_dict=False,
                )[0]
                if guided:
                    unconditional, conditional = velocity.chunk(2)
                    velocity = unconditional + guidance_scale * (conditional - unconditional)
            latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents

    @torch.no_grad()
    def __call__(
        self,
        image: torch.Tensor | None,
        prompt: Sequence[str],
        points: Sequence[Sequence[tuple[float, float]]] | None = None,
        num_inference_steps: int = 28,
        guidance_scale: float = 2.0,
        latents: torch.Tensor | None = None,
        image_latents: torch.Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        sample_posterior: bool = False,
        reuse_last_velocity: bool = False,
    ) -> DiceptionOutput:
        """Generate N images in one batch, for N prompts about one image or one image each.

        Args:
            image: (B, 3, S, S) float in [-1, 1], B is 1 or N; None when `image_latents` is given.
                Sides are multiples of the VAE's factor times the patch size; of a model with an
                image encoder `input_scale` times as wide, and the answers are not.
            prompt: N texts, such as '[[image2depth]]' or '[[image2semantic]] person'.
            points: N lists of at most five (x, y) in [0, 1], x right, y down; None for no points.
            num_inference_steps: Euler steps.
            guidance_scale: classifier-free guidance; above 1, each step also runs the empty prompt
                without points and extrapolates from its velocity to the conditional one.
            latents: (N, C, h, w) initial noise, drawn when None.
            image_latents: (B, C + F, h, w) what `encode_image` returned, instead of the image.
            generator: for the noise and the posterior; the global random state when None.
            sample_posterior: draw the image latents from the VAE's posterior, as the official code
                does, instead of taking the mean.
            reuse_last_velocity: skip the last of several network passes, and do its step (sigma
                0.009 to 0 with SD3's schedule) with the velocity of the pass before.

        Returns:
            the images and the latents they were decoded from.

        Raises:
            ValueError: shapes, counts or values that do not fit; the message says what was
                expected.
            UnknownTextError: a text without embedding, and no text encoders.
        """
        # 1. Do the arguments fit together?
        check_inputs(self, image, prompt, num_inference_steps, image_latents)
        # 2. The image, encoded once for all prompts.
        if image_latents is None:
            draw = generator[0] if isinstance(generator, list) else generator
            image_latents = self.encode_image(image, sample_posterior, draw)  # (B, C, h, w)
        # 3. Denoise, all prompts as one batch.
        latents = self.denoise(
            image_latents,
            prompt,
            points,
            num_inference_steps,
            guidance_scale,
            latents,
            generator,
            reuse_last_velocity,
        )  # (N, C, h, w)
        # 4. Back to pixels.
        images = self.decode_latents(latents)  # (N, S, S, 3)
        self.maybe_free_model_hooks()
        return DiceptionOutput(images=images, latents=latents)
