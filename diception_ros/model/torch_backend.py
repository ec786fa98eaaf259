# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The backend of torch: a DiceptionPipeline, with adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.model import adapters
from diception_ros.model.backend import TORCH
from diception_ros.model.folder import find_device
from diception_ros.model.inputs import standard_normal
from diception_ros.model.pipeline import DiceptionPipeline


class TorchBackend:
    """Runs a pipeline; see `backend.Backend`.

    Args:
        pipe: the model, on the device where it runs.
        place: folder that it was loaded from; adapters are made for its weights. None if there is
            none; it then takes no adapter.

    Attributes:
        adapters: those of the model.
    """

    name = TORCH

    def __init__(self, pipe: DiceptionPipeline, place: Path | None = None) -> None:
        self.pipe = pipe
        self.adapters = adapters.Adapters(pipe, place)
        self.resolution, self.shifts = int(pipe.config.resolution), int(pipe.config.shifts)
        self.token, self.input_scale = pipe.token, pipe.input_scale
        self.max_tokens = int(pipe.transformer.config.pos_embed_max_size)

    @classmethod
    def load(cls, folder: Path, compute: ComputeSettings) -> TorchBackend:
        """Load a model folder.

        Raises:
            ValueError: a device that does not exist, or a folder that cannot be loaded.
        """
        device = find_device(compute.device)
        dtype = compute.dtype
        if dtype == 'auto':
            dtype = 'float32' if device.type == 'cpu' else 'bfloat16'
        pipe = DiceptionPipeline.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
        pipe.set_progress_bar_config(disable=True)
        return cls(pipe, folder)

    @property
    def dtype(self) -> str:
        return str(self.pipe.dtype).removeprefix('torch.')

    @property
    def encodes_texts(self) -> bool:
        pipe = self.pipe
        return None not in (pipe.text_encoder, pipe.text_encoder_2, pipe.text_encoder_3)

    def embed(self, texts: Sequence[str]) -> None:
        self.pipe.get_embeddings(texts)

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[torch.Tensor]:
        planes = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None] for image in images]
        return [self.pipe.encode_image(image.float() / 127.5 - 1) for image in planes]

    def denoise(
        self,
        image_latents: Sequence[torch.Tensor],
        texts: Sequence[str],
        points: Sequence[Sequence[tuple[float, float]]],
        seeds: Sequence[int],
        settings: PredictSettings,
        adapter: str,
    ) -> torch.Tensor:
        latents = torch.cat([*image_latents])
        # From the CPU and in float32, so that every device and precision starts from the same.
        shape = (1, self.pipe.latent_channels, *latents.shape[2:])
        noise = np.concatenate([standard_normal(seed, shape) for seed in seeds])
        with adapters.enabled(self.pipe.transformer, adapter):
            return self.pipe.denoise(
                latents,
                texts,
                points,
                settings.num_inference_steps,
                settings.guidance_scale,
                latents=torch.from_numpy(noise),
                reuse_last_velocity=settings.reuse_last_velocity,
            )

    def decode_latents(self, latents: torch.Tensor) -> NDArray[np.float32]:
        return self.pipe.decode_latents(latents)

    def synchronize(self) -> None:
        if self.pipe.device.type == 'cuda':
            torch.cuda.synchronize(self.pipe.device)

    def end_batch(self) -> None:
        self.pipe.maybe_free_model_hooks()

    def is_out_of_memory(self, error: Exception) -> bool:
        if not isinstance(error, torch.OutOfMemoryError):
            return False
        torch.cuda.empty_cache()
        return True
