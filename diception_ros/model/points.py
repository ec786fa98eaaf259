# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Encodes points as tokens; `inputs` packs them, in the order of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
import math

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
import torch
from torch import nn

from diception_ros.model.inputs import POINT_ORDERS, pack_points


class DiceptionPointEncoder(ModelMixin, ConfigMixin):
    """Encodes up to five foreground points of each prompt as five tokens.

    A point (x, y) in [0, 1] becomes random Fourier features, which a small network embeds; an
    unused slot is the point (0, 0) plus an embedding for 'unused', so it is not zero.

    Args:
        embed_dim: width of the transformer.
        num_frequencies: columns of the Gaussian matrix.
        hidden_dim: width inside the small network.
        point_order: which coordinate enters the Fourier features first. The two official scripts
            contradict each other: `inference.py` stores (x, y), `batch_inference.py` (row,
            column). The public interface is (x, y) in either case.
        fourier_dtype: 'float32' or 'bfloat16', the precision of the Fourier features. The official
            code rounds the coordinates to bfloat16, up to 1.5 px at 768 px; 'bfloat16' reproduces
            that.

    Source: arXiv 2502.17157, section 3.3. Its equation 1 leaves the network out of unused slots;
    the released code does not, and neither do we.
    """

    @register_to_config
    def __init__(
        self,
        embed_dim: int = 1536,
        num_frequencies: int = 1024,
        hidden_dim: int = 2048,
        point_order: str = 'xy',
        fourier_dtype: str = 'float32',
    ) -> None:
        super().__init__()
        if point_order not in POINT_ORDERS:
            raise ValueError(f'point_order is {point_order!r}; expected one of {POINT_ORDERS}')
        if fourier_dtype not in ('float32', 'bfloat16'):
            raise ValueError(
                f"fourier_dtype is {fourier_dtype!r}; expected 'float32' or 'bfloat16'"
            )
        self.register_buffer('gaussian', torch.randn(2, num_frequencies))
        self.mlp = nn.Sequential(
            nn.Linear(2 * num_frequencies, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, embed_dim)
        )
        self.used = nn.Parameter(torch.zeros(embed_dim))
        self.unused = nn.Parameter(torch.zeros(embed_dim))

    def pack(
        self, points: Sequence[Sequence[tuple[float, float]]] | None, batch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pack points into the arrays that the network takes.

        Args, Raises: see `inputs.pack_points`.

        Returns:
            (N, 5, 2) float32 coordinates in `point_order`, zero where unused; (N, 5) bool, True
            where a point was given.
        """
        coordinates, given = pack_points(points, batch, self.config.point_order)
        return torch.from_numpy(coordinates), torch.from_numpy(given)

    def forward(self, coordinates: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """Encode packed points.

        Args:
            coordinates: (N, 5, 2) float32 in [0, 1], in `point_order`; zero where unused.
            given: (N, 5) bool, True where a point was given.

        Returns:
            (N, 5, embed_dim) tokens, in the module's dtype.
        """
        precision = getattr(torch, self.config.fourier_dtype)
        coordinates = coordinates.to(self.gaussian.device, precision)
        phase = (2 * coordinates - 1) @ self.gaussian.to(precision)  # (N, 5, frequencies)
        phase = 2 * math.pi * phase
        features = torch.cat([phase.sin(), phase.cos()], dim=-1)
        given = given.to(self.used.device)[..., None]  # (N, 5, 1)
        return self.mlp(features.to(self.used.dtype)) + torch.where(given, self.used, self.unused)
