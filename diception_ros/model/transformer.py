# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SD3's transformer with the input image as extra tokens and point tokens beside the text."""

from __future__ import annotations

from typing import Any

from diffusers import ModelMixin, SD3Transformer2DModel  # noqa: F401
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_outputs import Transformer2DModelOutput
import torch
from torch import nn
from torch.nn import functional

from diception_ros.model.encoder import FEATURES, FINE, FINE_CELLS, LENGTHS, POSE
from diception_ros.model.pca import PcaAutoencoder

_WIDE = 96  # channels; Source: the probe of issue 19, whose decoder was four convolutions of it
_POSE_WIDE = 48  # channels more, where MoveNet's features are among the image's
_CONVOLUTIONS = 3  # of a refinement, beside its first and its last
# Channels of the refinement at stride 4: three convolutions of 32 cost a fifth of the transformer.
_FINE_WIDE = 32
_FINE_TOKENS = 16  # channels that the refinement at stride 4 gets of the one at the latents' cells
_FINE_PIXELS = 12  # three colours of 2 x 2 pixels, what a vector of stride 4 covers of the output


class JointAttentionProcessor:
    """Attention over image tokens and text tokens as one sequence.

    SD3's stock processor calls torch's attention directly, so `set_attention_backend` and
    diffusers' `attention_backend` context silently do nothing with it. This one goes through
    diffusers' dispatcher. The arithmetic is the same.
    """

    # Names that diffusers' `set_attention_backend` and context parallelism set from outside.
    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Attend.

        Args:
            attn: the module that owns the projections.
            hidden_states: (B, L, D) image tokens.
            encoder_hidden_states: (B, T, D) text tokens, or None for attention among image tokens.
            attention_mask: must be None; SD3 attends every token.

        Returns:
            (B, L, D) image tokens, and with text tokens also (B, T, D) text tokens.

        Raises:
            ValueError: a mask was given.
        """
        if attention_mask is not None:
            raise ValueError('JointAttentionProcessor attends every token and takes no mask')

        def heads(tokens: torch.Tensor) -> torch.Tensor:
            return tokens.unflatten(-1, (attn.heads, -1))  # (B, L, heads, d)

        query = heads(attn.to_q(hidden_states))
        key = heads(attn.to_k(hidden_states))
        value = heads(attn.to_v(hidden_states))
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        length = query.shape[1]

        if encoder_hidden_states is not None:
            text_query = heads(attn.add_q_proj(encoder_hidden_states))
            text_key = heads(attn.add_k_proj(encoder_hidden_states))
            text_value = heads(attn.add_v_proj(encoder_hidden_states))
            if attn.norm_added_q is not None:
                text_query = attn.norm_added_q(text_query)
            if attn.norm_added_k is not None:
                text_key = attn.norm_added_k(text_key)
            query = torch.cat([query, text_query], dim=1)  # (B, L + T, heads, d)
            key = torch.cat([key, text_key], dim=1)
            value = torch.cat([value, text_value], dim=1)

        joint = dispatch_attention_fn(
            query,
            key,
            value,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        joint = joint.flatten(2, 3).to(query.dtype)  # (B, L + T, D)
        image = attn.to_out[1](attn.to_out[0](joint[:, :length]))
        if encoder_hidden_states is None:
            return image
        text = joint[:, length:]
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return image, text


# Meaning of the network's output; SD3's files have no such key and the velocity.
PREDICTIONS = ('velocity', 'sample')


class DiceptionTransformer2DModel(SD3Transformer2DModel):
    """The network of DICEPTION: no parameter that SD3 does not have, only more tokens.

    The state dict and the configuration are SD3's, so weights, LoRA adapters and quantisation of
    SD3 load as they are.

    The configuration may hold two keys that SD3's has not. With `prediction_type: sample` the
    output of the network is the clean latents, which `forward` converts to the velocity; without
    the key it is the velocity. With `feature_channels: F` image latents have F more channels,
    features of an image encoder; only then there are parameters that SD3 does not have, under
    `image_features`.

    Source: arXiv 2502.17157, section 3.2 (token-wise concatenation). The paper speaks of rotary
    positions; the released network has SD3's fixed ones, the same for both halves.
    """

    _repeated_blocks = ['JointTransformerBlock']  # noqa: RUF012 (diffusers' name and type)

    @classmethod
    def from_config(cls, config: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Build from a configuration, as `from_pretrained` does, with our attention processor.

        Raises:
            ValueError: `prediction_type` is neither 'velocity' nor 'sample'.
        """
        prediction, features = None, 0
        if isinstance(config, dict):
            # Removed, because diffusers would warn that SD3's __init__ does not know them.
            config = dict(config)
            prediction = config.pop('prediction_type', None)
            features = config.pop('feature_channels', 0)
        if prediction not in (None, *PREDICTIONS):
            raise ValueError(
                f'prediction_type is {prediction!r}; expected one of {", ".join(PREDICTIONS)}'
            )
        built = super().from_config(config, *args, **kwargs)
        model = built[0] if isinstance(built, tuple) else built
        if prediction is not None:
            model.register_to_config(prediction_type=prediction)
        if features:
            model.add_image_features(features)
        # Not in __init__: diffusers reads the configuration off the signature of __init__.
        model.set_attn_processor(JointAttentionProcessor())
        return built

    def add_image_features(self, features: int) -> None:
        """Add the parameters for features of an image encoder; untrained they change no output.

        Args:
            features: F, channels that image latents bring beside their own. With the encoder's
                features of stride 4 among them, the output is refined at that stride, too.
        """
        config = self.config
        self.register_to_config(feature_channels=features)
        self.image_features = ImageFeatures(
            features, self.inner_dim, config.patch_size, config.in_channels
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        image_latents: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        pooled_projections: torch.Tensor,
        point_embeds: torch.Tensor,
        timestep: torch.Tensor,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[torch.Tensor]:
        """Predict the velocity `noise - clean` of the noisy latents.

        Args:
            hidden_states: (N, C, h, w) noisy latents.
            image_latents: (N or 1, C + F, h, w) latents of the input image and features of it, F
                being `feature_channels`; one image for all N is embedded once.
            encoder_hidden_states: (N, T, joint_attention_dim) text embeddings.
            pooled_projections: (N, pooled_projection_dim) pooled text embeddings.
            point_embeds: (N, P, D) point tokens, of the transformer's width.
            timestep: (N,) 1000 * sigma, above 0.
            return_dict: False gives the bare tuple that diffusers' callers know.

        Returns:
            (N, C, h, w) velocity.
        """
        image, sums = self.embed_image(image_latents)
        velocity = self.predict_velocity(
            hidden_states,
            image.expand(len(hidden_states), -1, -1, -1),
            sums,
            encoder_hidden_states,
            pooled_projections,
            point_embeds,
            timestep,
        )
        if not return_dict:
            return (velocity,)
        return Transformer2DModelOutput(sample=velocity)  # (N, C, h, w)

    def embed_image(
        self, image_latents: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The part of `forward` that depends on the input image alone.

        Args:
            image_latents: (B, C + F, h, w), as in `forward`.

        Returns:
            (B, h / p, w / p, D) image tokens; the sums that `ImageFeatures.tokens` returns, none
            without an image encoder.
        """
        channels = self.config.in_channels
        own, features = image_latents[:, :channels], getattr(self, 'image_features', None)
        split = () if features is None else features.split(image_latents[:, channels:])
        return self.embed_parts(own, *split)

    def embed_parts(
        self, latents: torch.Tensor, *features: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """`embed_image` of latents (B, C, h, w) and features as `ImageFeatures.split` has them."""
        # The same patch embedding and positions: cell i of the output is cell i of the image, and
        # nothing else tells the network where to look.
        image = self.pos_embed(latents)  # (B, L, D)
        sums: tuple[torch.Tensor, ...] = ()
        if features:
            more, *found = self.image_features.tokens(*features)
            image, sums = image + more, tuple(found)
        p = self.config.patch_size
        h, w = latents.shape[-2:]
        return image.unflatten(1, (h // p, w // p)), sums

    def predict_velocity(
        self,
        hidden_states: torch.Tensor,
        image: torch.Tensor,
        sums: tuple[torch.Tensor, ...],
        encoder_hidden_states: torch.Tensor,
        pooled_projections: torch.Tensor,
        point_embeds: torch.Tensor,
        timestep: torch.Tensor,
    ) -> torch.Tensor:
        """The rest of `forward`; the image comes as `embed_image` returned it.

        Args:
            hidden_states: as in `forward`, like everything that is not named here.
            image: (N, h / p, w / p, D).
            sums: of its features, each for N or 1 images.
            encoder_hidden_states: texts.
            pooled_projections: texts.
            point_embeds: points.
            timestep: of each.

        Returns:
            (N, C, h, w) velocity.
        """
        h, w = hidden_states.shape[-2:]
        noisy = self.pos_embed(hidden_states)  # (N, L, D)
        tokens = torch.cat([noisy, image.flatten(1, 2)], dim=1)  # (N, 2L, D)
        condition = self.time_text_embed(timestep, pooled_projections)  # (N, D)
        text = self.context_embedder(encoder_hidden_states)  # (N, T, D)
        text = torch.cat([text, point_embeds.to(text.dtype)], dim=1)  # (N, T + P, D)

        for block in self.transformer_blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                text, tokens = self._gradient_checkpointing_func(block, tokens, text, condition)
            else:
                text, tokens = block(
                    hidden_states=tokens, encoder_hidden_states=text, temb=condition
                )

        # Upstream: projects the image tokens too and drops them afterwards.
        tokens = tokens[:, : noisy.shape[1]]  # (N, L, D)
        tokens = self.norm_out(tokens, condition)
        patches = self.proj_out(tokens)  # (N, L, p * p * C)
        p = self.config.patch_size
        patches = patches.unflatten(1, (h // p, w // p)).unflatten(-1, (p, p, self.out_channels))
        velocity = torch.einsum('nhwpqc->nchpwq', patches).flatten(4, 5).flatten(2, 3)
        if sums:
            velocity = self.image_features.refined(velocity, tokens, *sums)
        if self.config.get('prediction_type') == 'sample':
            # x = (1 - sigma) clean + sigma noise, so noise - clean = (x - clean) / sigma. In
            # float32: at the last step of a schedule sigma is small, and the difference too.
            sigma = timestep.float().reshape(-1, 1, 1, 1) / 1000
            velocity = ((hidden_states.float() - velocity.float()) / sigma).to(hidden_states.dtype)
        return velocity


# ---- features of an image encoder ---------------------------------------------------------------
#
# Their parameters can be added to trained weights: all their outputs start at zero, so the
# model's stay the same until the new parameters are trained.


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
        fine = features in LENGTHS[1:]
        self.coarse = features - FINE if fine else features
        self.mixed = _WIDE + _POSE_WIDE if self.coarse == FEATURES + POSE else _WIDE
        self.mix = nn.Conv2d(self.coarse, self.mixed, 1)
        self.embed = nn.Conv2d(self.mixed, width, patch, patch)
        self.spread = nn.Linear(width, patch * patch * _WIDE)
        self.enter = nn.Conv2d(_WIDE + self.mixed, _WIDE, 3, padding=1)
        self.refine = nn.ModuleList(
            nn.Conv2d(_WIDE, _WIDE, 3, padding=1) for _ in range(_CONVOLUTIONS)
        )
        self.leave = nn.Conv2d(_WIDE, channels, 3, padding=1)
        zero = [self.embed, self.leave]
        self.fine = FineRefinement(channels) if fine else None
        if self.fine is not None:
            zero.append(self.fine.leave)
        for last in zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def split(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, features, h, w) -> those of each cell, and those of stride 4 where there are any."""
        if self.fine is None:
            return (features,)
        fine = functional.pixel_shuffle(features[:, self.coarse :], FINE_CELLS)
        return features[:, : self.coarse], fine

    def tokens(self, coarse: torch.Tensor, *fine: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Project features.

        A convolution is a sum over its inputs, so the part of the refinements' first ones that
        depends on the image alone is computed here, once for all predictions of the image.

        Args:
            coarse: (B, features, h, w), without those of stride 4.
            fine: (B, F, h * FINE_CELLS, w * FINE_CELLS), those of stride 4.

        Returns:
            (B, L, width), which is added to the image tokens; (B, _WIDE, h, w) and, of those of
            stride 4, (B, _FINE_WIDE, h * FINE_CELLS, w * FINE_CELLS), which `refined` takes.
        """
        mixed = functional.gelu(self.mix(coarse))
        sums = [_convolve(self.enter, mixed, slice(_WIDE, None), bias=True)]
        if self.fine is not None:
            sums.append(self.fine.add_features(*fine))
        return self.embed(mixed).flatten(2).transpose(1, 2), *sums

    def refined(
        self,
        output: torch.Tensor,
        tokens: torch.Tensor,
        coarse: torch.Tensor,
        *fine: torch.Tensor,
    ) -> torch.Tensor:
        """Return the network's output, refined.

        Args:
            output: (N, channels, h, w) of the transformer.
            tokens: (N, L, width) output tokens, normalised.
            coarse: (N or 1, _WIDE, h, w), returned by `tokens`.
            fine: likewise, at stride 4.

        Returns:
            (N, channels, h, w).
        """
        h, w = coarse.shape[-2:]
        p = self.patch
        # (N, _WIDE * p * p, h / p, w / p) -> (N, _WIDE, h, w)
        own = self.spread(tokens).transpose(1, 2).unflatten(2, (h // p, w // p))
        own = functional.pixel_shuffle(own, p)
        x = functional.gelu(_convolve(self.enter, own, slice(_WIDE), bias=False) + coarse)
        for convolution in self.refine:
            x = x + functional.gelu(convolution(x))
        output = output + self.leave(x)
        if self.fine is None:
            return output
        return output + self.fine(output, x, *fine)


def _convolve(
    convolution: nn.Conv2d, x: torch.Tensor, channels: slice, *, bias: bool
) -> torch.Tensor:
    """What these input channels add to the output of a convolution."""
    added = convolution.bias if bias else None
    weight = convolution.weight[:, channels]
    return functional.conv2d(x, weight, added, padding=convolution.padding)


class FineRefinement(nn.Module):
    """Refines latents in pixels at stride 4 of the encoder, where its features show edges.

    The latents are decoded, changed beside the features, and encoded again; both steps are
    linear, trained, and reach over the borders of cells.
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
        pixels = vae.decode_difference(unit.to(vae.basis)) / vae.config.scaling_factor
        first = 2 * FINE_CELLS - FINE_CELLS // 2
        window = slice(first, first + 2 * FINE_CELLS)
        kernel = functional.pixel_unshuffle(pixels, 2)[..., window, window].float()
        self.paint.weight.copy_(kernel)
        self.paint.bias.zero_()
        self.encode.weight.copy_(kernel * vae.config.scaling_factor**2)

    def add_features(self, edges: torch.Tensor) -> torch.Tensor:
        """Return what features of stride 4 add to the first convolution, and its bias."""
        first = _FINE_PIXELS + _FINE_TOKENS
        edges = edges.to(self.enter.weight.dtype)
        return _convolve(self.enter, edges, slice(first, None), bias=True)

    def forward(
        self, latents: torch.Tensor, context: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """Return what is added to the latents.

        Args:
            latents: (N, channels, h, w).
            context: (N, _WIDE, h, w), of the refinement at the latents' cells.
            features: (N or 1, _FINE_WIDE, h * FINE_CELLS, w * FINE_CELLS), of `add_features`.

        Returns:
            (N, channels, h, w).
        """
        context = functional.pixel_shuffle(self.narrow(context), FINE_CELLS)
        x = torch.cat([self.paint(latents), context], dim=1)
        x = functional.gelu(_convolve(self.enter, x, slice(x.shape[1]), bias=False) + features)
        for convolution in self.refine:
            x = x + functional.gelu(convolution(x))
        return self.encode(self.leave(x))
