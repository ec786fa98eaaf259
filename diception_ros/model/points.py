# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Encodes points as tokens; the one place where the order of a point's coordinates is decided."""

from __future__ import annotations

from collections.abc import Sequence
import math

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
import torch
from torch import nn

from diception_ros.core.prompt import MAX_POINTS

POINT_ORDERS = ('xy', 'yx')


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

        Args:
            points: for each of the `batch` prompts at most five (x, y) in [0, 1], x to the right
                and y down, as a share of the image; None for no points at all.
            batch: number of prompts, N.

        Returns:
            (N, 5, 2) float32 coordinates in `point_order`, zero where unused; (N, 5) bool, True
            where a point was given.

        Raises:
            ValueError: another number of lists than prompts, more than five points, a point
                outside the image.
        """
        coordinates = torch.zeros(batch, MAX_POINTS, 2)
        given = torch.zeros(batch, MAX_POINTS, dtype=torch.bool)
        if points is None:
            return coordinates, given
        if len(points) != batch:
            raise ValueError(
                f'points holds {len(points)} lists for {batch} prompts; give one each'
            )
        for i, mine in enumerate(points):
            if len(mine) > MAX_POINTS:
                # Upstream: keeps the first five without a message.
                raise ValueError(
                    f'prompt {i} has {len(mine)} points; the model takes at most {MAX_POINTS}'
                )
            for j, (x, y) in enumerate(mine):
                if not (0 <= x <= 1 and 0 <= y <= 1):
                    raise ValueError(
                        f'point {j} of prompt {i} is ({x}, {y}); expected x and y in [0, 1], '
                        'as a share of the image'
                    )
                coordinates[i, j] = torch.tensor(
                    (x, y) if self.config.point_order == 'xy' else (y, x)
                )
                given[i, j] = True
        return coordinates, given

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
