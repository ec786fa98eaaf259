# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A linear autoencoder in place of a VAE: principal components of blocks of pixels.

With overlapping blocks (lapped transform) there are no seams: each basis image reaches half a
block into its neighbours and fades out, so an error in one block is a soft bump, not a tile.
"""

from __future__ import annotations

import math
from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
import torch
from torch import nn

from diception_ros.model.inputs import overlap


class PcaAutoencoder(ModelMixin, ConfigMixin):
    """Keeps the first principal components of each block; fitted in closed form by `fit`.

    It has the interface that a pipeline uses of `AutoencoderKL`. Latents are coordinates in an
    orthonormal basis, so their squared error is that of the pixels, in the components kept.

    Args:
        in_channels: of an image.
        latent_channels: components that are kept of a block.
        block_out_channels: as many entries as make the block 2^(entries - 1) pixels wide, which is
            how a pipeline reads a VAE's factor; their values are not used.
        scaling_factor: factor of latents for the network.
        shift_factor: subtracted before.
        lapped: whether blocks overlap, see `inputs.overlap`.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        latent_channels: int = 16,
        block_out_channels: tuple[int, ...] = (16, 16, 16),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        lapped: bool = False,
    ) -> None:
        super().__init__()
        self.block = 2 ** (len(block_out_channels) - 1)
        size = in_channels * self.block**2
        if latent_channels > size:
            raise ValueError(
                f'latent_channels is {latent_channels}; a block of {self.block} x {self.block} '
                f'pixels has {size} numbers'
            )
        # Parameters, because a module's dtype and device are those of its parameters.
        self.basis = nn.Parameter(torch.eye(latent_channels, size), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> PcaAutoencoder:
        """Fit basis, mean and scaling factor to images.

        Args:
            images: (N, C, H, W) in [-1, 1]; sides are multiples of the block.

        Returns:
            itself, with latents of variance 1 on these images.
        """
        blocks = self._blocks(self._overlap(images.to(torch.float64)))
        blocks = blocks.flatten(0, 2)  # (M, C * p * p)
        mean = blocks.mean(dim=0)
        values, vectors = torch.linalg.eigh(torch.cov(blocks.T))  # rising
        basis = vectors.T.flip(0)[: self.config.latent_channels]
        # The sign of a component is arbitrary; this choice does not depend on the machine.
        largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
        self.basis.copy_(basis * largest.sign())
        self.mean.copy_(mean)
        variance = values.flip(0)[: self.config.latent_channels].mean().item()
        self.register_to_config(scaling_factor=1 / math.sqrt(max(variance, 1e-12)))
        return self

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        """Coordinates of each block.

        Args:
            x: (B, C, H, W) in [-1, 1].
            return_dict: False gives the bare tuple that diffusers' callers know.

        Returns:
            a deterministic distribution over (B, latent_channels, H / p, W / p).
        """
        posterior = _Deterministic(self.coordinates(self._overlap(x)))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: torch.Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        """Images from coordinates of blocks.

        Args:
            z: (B, latent_channels, h, w).
            return_dict: False gives the bare tuple that diffusers' callers know.
            generator: not used; a VAE takes one.

        Returns:
            (B, C, H, W).
        """
        images = self._overlap(self.pixels(z), back=True)
        return DecoderOutput(sample=images) if return_dict else (images,)

    def coordinates(self, x: torch.Tensor) -> torch.Tensor:
        """Coordinates of blocks that do not overlap: (B, C, H, W) -> (B, c, h, w)."""
        return ((self._blocks(x) - self.mean) @ self.basis.T).permute(0, 3, 1, 2)

    def pixels(self, z: torch.Tensor) -> torch.Tensor:
        """Blocks from their coordinates: (B, c, h, w) -> (B, C, H, W)."""
        p, channels = self.block, self.config.in_channels
        blocks = z.permute(0, 2, 3, 1) @ self.basis + self.mean  # (B, h, w, C * p * p)
        blocks = blocks.unflatten(-1, (channels, p, p))
        return blocks.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)

    def decode_difference(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels of a difference of latents, in the latents' scale; it keeps their squared sum.

        Args:
            latents: (B, latent_channels, h, w), scaled as for the network.

        Returns:
            (B, C, H, W).
        """
        zero = self.decode(torch.zeros_like(latents[:1]), return_dict=False)[0]
        scale = self.config.scaling_factor
        return scale * (self.decode(latents / scale, return_dict=False)[0] - zero)

    def _blocks(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, h, w, C * p * p)."""
        p = self.block
        x = x.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (B, C, h, p, w, p)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3)

    def _overlap(self, x: torch.Tensor, back: bool = False) -> torch.Tensor:
        """(B, C, H, W) with its blocks' rims mixed with their neighbours', or unmixed again."""
        if not self.config.lapped:
            return x
        rows, columns = (
            torch.from_numpy(overlap(length, self.block)).to(x.device, x.dtype)
            for length in x.shape[-2:]
        )
        return rows.T @ x @ columns if back else rows @ x @ columns.T


class _Deterministic:
    """A distribution without variance, with the interface of a VAE's posterior."""

    def __init__(self, latents: torch.Tensor) -> None:
        self.latents = latents

    def mode(self) -> torch.Tensor:
        return self.latents

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.latents
