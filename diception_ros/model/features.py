# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters by which the transformer uses an image encoder's features, in its input and output.

They can be added to trained weights: all outputs start at zero, so answers stay the same until
the new parameters are trained.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from diception_ros.model.encoder import FEATURES, FINE, FINE_CELLS
from diception_ros.model.pca import PcaAutoencoder

_WIDE = 96  # channels; Source: the probe of issue 19, whose decoder was four convolutions of it
_CONVOLUTIONS = 3  # of a refinement, beside its first and its last
# Channels of the refinement at stride 4: three convolutions of 32 cost a fifth of the transformer.
_FINE_WIDE = 32
_FINE_TOKENS = 16  # channels that the refinement at stride 4 gets of the one at the latents' cells
_FINE_PIXELS = 12  # three colours of 2 x 2 pixels, what a vector of stride 4 covers of the output


class ImageFeatures(nn.Module):
    """Projects features into the image tokens, and refines the output by convolutions.

    The transformer predicts each token's patch separately, which leaves steps at the borders of
    tokens; convolutions across those borders remove them, and use the features' finer grid.

    Args:
        features: length of a feature vector; there is one for each cell of the latents. `FINE` of
            them are of stride 4 if it is longer than `FEATURES`.
        width: of the transformer.
        patch: side of a token in latents.
        channels: of the latents.
    """

    def __init__(self, features: int, width: int, patch: int, channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.coarse = FEATURES if features == FEATURES + FINE else features
        self.mix = nn.Conv2d(self.coarse, _WIDE, 1)
        self.embed = nn.Conv2d(_WIDE, width, patch, patch)
        self.spread = nn.Linear(width, patch * patch * _WIDE)
        self.enter = nn.Conv2d(2 * _WIDE, _WIDE, 3, padding=1)
        self.refine = nn.ModuleList(
            nn.Conv2d(_WIDE, _WIDE, 3, padding=1) for _ in range(_CONVOLUTIONS)
        )
        self.leave = nn.Conv2d(_WIDE, channels, 3, padding=1)
        zero = [self.embed, self.leave]
        self.fine = FineRefinement(channels) if features > self.coarse else None
        if self.fine is not None:
            zero.append(self.fine.leave)
        for last in zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def tokens(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Project features; the first is added to the image tokens, the second goes to `refined`.

        Args:
            features: (B, features, h, w).

        Returns:
            (B, L, width) and (B, M, h, w); M is _WIDE and the features of stride 4.
        """
        mixed = functional.gelu(self.mix(features[:, : self.coarse]))
        kept = torch.cat([mixed, features[:, self.coarse :]], dim=1)
        return self.embed(mixed).flatten(2).transpose(1, 2), kept

    def refined(
        self,
        output: torch.Tensor,
        tokens: torch.Tensor,
        kept: torch.Tensor,
    ) -> torch.Tensor:
        """Return the network's output, refined.

        Args:
            output: (N, channels, h, w) of the transformer.
            tokens: (N, L, width) output tokens, normalised.
            kept: (N or 1, M, h, w), returned by `tokens`.

        Returns:
            (N, channels, h, w).
        """
        h, w = kept.shape[-2:]
        mixed, fine = kept[:, :_WIDE], kept[:, _WIDE:]
        p = self.patch
        # (N, _WIDE * p * p, h / p, w / p) -> (N, _WIDE, h, w)
        own = self.spread(tokens).transpose(1, 2).unflatten(2, (h // p, w // p))
        own = functional.pixel_shuffle(own, p)
        x = torch.cat([own, mixed.expand(own.shape[0], -1, -1, -1)], dim=1)
        x = functional.gelu(self.enter(x))
        for convolution in self.refine:
            x = x + functional.gelu(convolution(x))
        output = output + self.leave(x)
        if self.fine is None:
            return output
        return output + self.fine(output, x, fine)


class FineRefinement(nn.Module):
    """Refines latents in pixels at stride 4 of the encoder, where its features show edges.

    The latents are painted, changed beside the features, and encoded again; both steps are
    linear, trained, and reach over the borders of cells.

    Args:
        channels: of the latents.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = FINE_CELLS
        # Windows of two cells, as the lapped PcaAutoencoder has them.
        self.paint = nn.ConvTranspose2d(channels, _FINE_PIXELS, 2 * c, c, c // 2)
        self.narrow = nn.Conv2d(_WIDE, _FINE_TOKENS * c * c, 1)
        inputs = _FINE_PIXELS + _FINE_TOKENS + FINE // c**2
        self.enter = nn.Conv2d(inputs, _FINE_WIDE, 3, padding=1)
        self.refine = nn.ModuleList(
            nn.Conv2d(_FINE_WIDE, _FINE_WIDE, 3, padding=1) for _ in range(_CONVOLUTIONS)
        )
        self.leave = nn.Conv2d(_FINE_WIDE, _FINE_PIXELS, 3, padding=1)
        self.encode = nn.Conv2d(_FINE_PIXELS, channels, 2 * c, c, c // 2, bias=False)

    @torch.no_grad()
    def start_from(self, vae: PcaAutoencoder) -> None:
        """Paint and encode as this autoencoder does, but for the image's rim.

        It does nothing where the autoencoder's blocks are no cells of 2 x 2 pixels by FINE_CELLS.
        """
        channels = self.encode.out_channels
        if vae.block != 2 * FINE_CELLS or vae.config.in_channels != 3:
            return
        unit = torch.zeros(channels, channels, 5, 5)  # a component each, in the middle cell
        unit[range(channels), range(channels), 2, 2] = 1
        painted = vae.decode_difference(unit.to(vae.basis)) / vae.config.scaling_factor
        first = 2 * FINE_CELLS - FINE_CELLS // 2
        window = slice(first, first + 2 * FINE_CELLS)
        kernel = functional.pixel_unshuffle(painted, 2)[..., window, window].float()
        self.paint.weight.copy_(kernel)
        self.paint.bias.zero_()
        self.encode.weight.copy_(kernel * vae.config.scaling_factor**2)

    def forward(
        self, latents: torch.Tensor, context: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """Return what is added to the latents.

        Args:
            latents: (N, channels, h, w).
            context: (N, _WIDE, h, w), of the refinement at the latents' cells.
            features: (N or 1, FINE, h, w), folded.

        Returns:
            (N, channels, h, w).
        """
        edges = functional.pixel_shuffle(features, FINE_CELLS).to(latents.dtype)
        context = functional.pixel_shuffle(self.narrow(context), FINE_CELLS)
        edges = edges.expand(latents.shape[0], -1, -1, -1)
        x = torch.cat([self.paint(latents), context, edges], dim=1)
        x = functional.gelu(self.enter(x))
        for convolution in self.refine:
            x = x + functional.gelu(convolution(x))
        return self.encode(self.leave(x))
