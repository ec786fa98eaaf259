# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters by which the transformer uses an image encoder's features, in its input and output.

They can be added to trained weights: both outputs start at zero, so answers stay the same until
the new parameters are trained.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_WIDE = 96  # channels; Source: the probe of issue 19, whose decoder was four convolutions of it
_CONVOLUTIONS = 3  # of the refinement, beside its first and its last


class ImageFeatures(nn.Module):
    """Projects features into the image tokens, and refines the output by convolutions.

    The transformer predicts each token's patch separately, which leaves steps at the borders of
    tokens; convolutions across those borders remove them, and use the features' finer grid.

    Args:
        features: length of a feature vector; there is one for each cell of the latents.
        width: of the transformer.
        patch: side of a token in latents.
        channels: of the latents.
    """

    def __init__(self, features: int, width: int, patch: int, channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.mix = nn.Conv2d(features, _WIDE, 1)
        self.embed = nn.Conv2d(_WIDE, width, patch, patch)
        self.spread = nn.Linear(width, patch * patch * _WIDE)
        self.enter = nn.Conv2d(2 * _WIDE, _WIDE, 3, padding=1)
        self.refine = nn.ModuleList(
            nn.Conv2d(_WIDE, _WIDE, 3, padding=1) for _ in range(_CONVOLUTIONS)
        )
        self.leave = nn.Conv2d(_WIDE, channels, 3, padding=1)
        for last in (self.embed, self.leave):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def tokens(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Project features; the first is added to the image tokens, the second goes to `refined`.

        Args:
            features: (B, features, h, w).

        Returns:
            (B, L, width) and (B, _WIDE, h, w).
        """
        mixed = functional.gelu(self.mix(features))
        return self.embed(mixed).flatten(2).transpose(1, 2), mixed

    def refined(self, tokens: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """Return what is added to the network's output.

        Args:
            tokens: (N, L, width) output tokens, normalised.
            mixed: (N or 1, _WIDE, h, w), returned by `tokens`.

        Returns:
            (N, channels, h, w).
        """
        h, w = mixed.shape[-2:]
        p = self.patch
        # (N, _WIDE * p * p, h / p, w / p) -> (N, _WIDE, h, w)
        own = self.spread(tokens).transpose(1, 2).unflatten(2, (h // p, w // p))
        own = functional.pixel_shuffle(own, p)
        x = torch.cat([own, mixed.expand(len(own), -1, -1, -1)], dim=1)
        x = functional.gelu(self.enter(x))
        for convolution in self.refine:
            x = x + functional.gelu(convolution(x))
        return self.leave(x)
