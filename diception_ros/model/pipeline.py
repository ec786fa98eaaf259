# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DiceptionPipeline: generates one RGB image for each of N prompts about an input image."""

# No postponed annotations here: diffusers reads the components' classes off __init__.

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.loaders import SD3LoraLoaderMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
import numpy as np
from packaging.version import Version
import torch
from torch.nn import functional
from transformers import (
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPTokenizerFast,
    T5EncoderModel,
    T5Tokenizer,
    T5TokenizerFast,
)

from diception_ros.model.component_configs import CELL
from diception_ros.model.encoder import EfficientNetLite
from diception_ros.model.folder import (
    apply_silence,
    check_folder,
    hidden_progress_bars,
    naming_folder,
    resolve,
    strip_origin,
)
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.model.points import DiceptionPointEncoder
from diception_ros.model.text_embeddings import (
    TABLE_FILE,
    PromptEmbedding,
    PromptTable,
    UnknownTextError,
    combine_embeddings,
    encode_clip,
    encode_t5,
)
from diception_ros.model.transformer import DiceptionTransformer2DModel

if TYPE_CHECKING:
    from typing_extensions import Self

# The old name of from_pretrained's precision is deprecated, the new one unknown to older releases.
_DTYPE = 'dtype' if Version(diffusers.__version__) >= Version('0.40') else 'torch_dtype'
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


class DiceptionPipeline(DiffusionPipeline, SD3LoraLoaderMixin):
    """Solves perception tasks by generating an output image for each prompt.

    Its components have the names of SD3's.

    Args:
        vae: AutoencoderKL of SD3, or PcaAutoencoder.
        transformer: DiceptionTransformer2DModel.
        point_encoder: DiceptionPointEncoder.
        scheduler: FlowMatchEulerDiscreteScheduler of SD3.
        text_encoder: SD3's CLIP-L, or None: then only the texts of `prompt_table` can be used.
            CLIP-G is `text_encoder_2`, T5 `text_encoder_3`.
        tokenizer: of CLIP-L, or None; the others likewise.
        image_encoder: EfficientNetLite whose features the transformer reads, or None.
        resolution: S, side in pixels of the square images that the model was made for.
        shifts: default of tta_shifts, see `sampler`; above 1 for a model in whose output
            images the token grid is visible.

    Source: arXiv 2502.17157 and its released inference code.
    """

    model_cpu_offload_seq = (
        'text_encoder->text_encoder_2->text_encoder_3->point_encoder->image_encoder'
        '->transformer->vae'
    )
    _optional_components = [  # noqa: RUF012 (diffusers' name and type)
        'image_encoder',
        'text_encoder',
        'text_encoder_2',
        'text_encoder_3',
        'tokenizer',
        'tokenizer_2',
        'tokenizer_3',
    ]

    def __init__(
        self,
        vae: AutoencoderKL | PcaAutoencoder,
        transformer: DiceptionTransformer2DModel,
        point_encoder: DiceptionPointEncoder,
        scheduler: FlowMatchEulerDiscreteScheduler,
        text_encoder: CLIPTextModelWithProjection | None = None,
        text_encoder_2: CLIPTextModelWithProjection | None = None,
        text_encoder_3: T5EncoderModel | None = None,
        tokenizer: CLIPTokenizer | CLIPTokenizerFast | None = None,
        tokenizer_2: CLIPTokenizer | CLIPTokenizerFast | None = None,
        tokenizer_3: T5Tokenizer | T5TokenizerFast | None = None,
        image_encoder: EfficientNetLite | None = None,
        resolution: int = 768,
        shifts: int = 1,
    ) -> None:
        super().__init__()
        expected = getattr(transformer, 'config', {}).get('feature_channels', 0)
        features = image_encoder.config.features if image_encoder is not None else 0
        if expected != features:
            raise ValueError(
                f'the transformer reads {expected} features of an image encoder, got {features}; '
                'copy the model folder again, with its image_encoder'
            )
        self.register_modules(
            vae=vae,
            transformer=transformer,
            point_encoder=point_encoder,
            scheduler=scheduler,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            text_encoder_3=text_encoder_3,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            tokenizer_3=tokenizer_3,
            image_encoder=image_encoder,
        )
        if image_encoder is not None:
            # A CPU convolves twice as fast in this order (13 ms against 28 on two cores).
            image_encoder.to(memory_format=torch.channels_last)
        self.register_to_config(resolution=resolution, shifts=shifts)
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.prompt_table = PromptTable()

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> 'Self':
        """Load a model folder that `save_pretrained` or `diception convert` wrote.

        Args:
            folder: a local folder, or 'builtin'. Nothing is downloaded.
            dtype: precision of all networks; None keeps that of each file.
            **kwargs: of diffusers' `from_pretrained`.

        Raises:
            FileNotFoundError: the folder does not exist, or is no model folder.
            ValueError: it is of another pipeline, names other classes, has a wrong value in its
                configuration, or its weights do not fit.
        """
        folder = resolve(folder)
        check_folder(folder)
        apply_silence()
        if dtype is not None:
            kwargs[_DTYPE] = dtype
        with naming_folder(folder), hidden_progress_bars():
            pipe = super().from_pretrained(str(folder), use_safetensors=True, **kwargs)
        if (folder / TABLE_FILE).is_file():
            pipe.prompt_table = PromptTable.load(folder / TABLE_FILE)
        return pipe

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Write weights, configuration and prompt table; `from_pretrained` reads them back."""
        super().save_pretrained(str(folder), **kwargs)
        strip_origin(Path(folder))
        if len(self.prompt_table):
            self.prompt_table.save(Path(folder) / TABLE_FILE)

    @property
    def device(self) -> torch.device:
        """Device of the networks.

        Diffusers looks for hooks of group offloading in every module of every network, twice per
        call, twenty calls per image: an eighth of the built-in model's time.
        """
        return _shared_device(self._networks()) or super().device

    @property
    def _execution_device(self) -> torch.device:
        """Device the networks run on; it differs from `device` with offloaded weights."""
        return _shared_device(self._networks()) or super()._execution_device

    @property
    def token(self) -> int:
        """Width of a token, pixels."""
        width: int = self.vae_scale_factor * self.transformer.config.patch_size
        return width

    @property
    def input_scale(self) -> int:
        """Side of the pipeline's input image divided by the side of its output."""
        return 1 if self.image_encoder is None else CELL // self.vae_scale_factor

    @property
    def latent_channels(self) -> int:
        """C, channels of the latents, without an image encoder's features."""
        channels: int = self.transformer.config.in_channels
        return channels

    def _networks(self) -> list[torch.nn.Module]:
        encoders = (self.text_encoder, self.text_encoder_2, self.text_encoder_3)
        parts = (self.vae, self.transformer, self.point_encoder, self.image_encoder, *encoders)
        return [item for item in parts if isinstance(item, torch.nn.Module)]

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
                sides of its outputs.
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

        Returns:
            (N, 333, joint_attention_dim) tokens; (N, pooled_projection_dim) pooled.
        """
        embeddings = self.get_embeddings(texts)
        place = {'device': self._execution_device, 'dtype': self.transformer.dtype}
        return (
            torch.stack([embedding.tokens.to(**place) for embedding in embeddings]),
            torch.stack([embedding.pooled.to(**place) for embedding in embeddings]),
        )

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Any:
        """Run the text encoders, past the prompt table: pairs of a text and its PromptEmbedding.

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
        image_latents = image_latents.to(tokens)  # (B, C + F, h, w)
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
                image encoder `input_scale` times as wide as the outputs.
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
            ValueError: shapes, counts or values that do not fit; the message names what was
                expected.
            UnknownTextError: a text without embedding, and no text encoders.
        """
        # 1. Do the arguments fit together?
        self._check_call(image, prompt, num_inference_steps, image_latents)
        # 2. The image, encoded once for all prompts.
        if image_latents is None:
            draw = generator[0] if isinstance(generator, list) else generator
            image_latents = self.encode_image(image, sample_posterior, draw)  # (B, C + F, h, w)
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

    def _check_call(
        self, image: Any, prompt: Sequence[str], steps: int, image_latents: Any
    ) -> None:
        """Raise ValueError if the arguments of a call contradict each other or the model."""
        if isinstance(prompt, str) or not prompt or not all(isinstance(t, str) for t in prompt):
            raise ValueError(f'prompt is {prompt!r}; expected a list of texts, one for each image')
        if steps < 1:
            raise ValueError(f'num_inference_steps is {steps}; expected at least 1')
        if (image is None) == (image_latents is None):
            raise ValueError('give either image or image_latents, not both and not neither')
        patch = self.transformer.config.patch_size
        if image is not None:
            name, what, channels = 'image', image, self.vae.config.in_channels
            factor = self.vae_scale_factor * patch * self.input_scale
        else:
            name, what, config = 'image_latents', image_latents, self.transformer.config
            channels = config.in_channels + config.get('feature_channels', 0)
            factor = patch
        batch = len(prompt)
        if what.ndim != 4 or what.shape[1] != channels or what.shape[0] not in (1, batch):
            raise ValueError(
                f'{name} has shape {tuple(what.shape)}; expected (B, {channels}, H, W) '
                f'with B 1 or {batch}, the number of prompts'
            )
        largest = factor * self.transformer.config.pos_embed_max_size
        if any(side % factor or side > largest or not side for side in what.shape[-2:]):
            raise ValueError(
                f'{name} is {what.shape[-2]} x {what.shape[-1]}; expected sides that are '
                f'multiples of {factor} and at most {largest}'
            )
        if not what.is_floating_point():
            raise ValueError(f'{name} is {what.dtype}; expected float')


def _shared_device(networks: Iterable[torch.nn.Module]) -> torch.device | None:
    """The device that networks share; None if there are several, or weights are offloaded.

    Diffusers and accelerate attach a hook to modules whose weights they offload.
    """
    devices = set()
    for network in networks:
        waiting = [network]
        # A loop, because the nested generators of `modules` take longer than all the rest.
        while waiting:
            module = waiting.pop()
            about = module.__dict__
            if '_diffusers_hook' in about or '_hf_hook' in about:
                return None
            waiting += [item for item in about['_modules'].values() if item is not None]
        first = next(itertools.chain(network.parameters(), network.buffers()), None)
        devices.add(None if first is None else first.device)
    return devices.pop() if len(devices) == 1 else None
