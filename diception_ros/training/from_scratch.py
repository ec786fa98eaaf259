# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""New small models: random weights, PCA autoencoder, and text embeddings without text encoders."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib

from diffusers import FlowMatchEulerDiscreteScheduler
import torch
from torch import nn

from diception_ros.model import (
    DiceptionPipeline,
    DiceptionPointEncoder,
    DiceptionTransformer2DModel,
    PromptTable,
)
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.model.sampler import check_shifts
from diception_ros.model.text_embeddings import PromptEmbedding
from diception_ros.training.settings import TrainSettings

SHIFT = 3.0  # Source: the scheduler of SD3 medium
TEXT_WIDTH = 64  # of a new model's text embeddings; ample for some 90 words
OPEN_GATE = 0.5  # found by trials; with the stock gates near 0 only the mean target was learned


def init_pipeline(
    settings: TrainSettings, images: torch.Tensor, texts: Sequence[str]
) -> DiceptionPipeline:
    """Build a model of the same components as SD3's, only smaller.

    Args:
        settings: sizes and seed.
        images: (N, 3, S, S) float32 in [-1, 1], input images and targets, to which the autoencoder
            is fitted.
        texts: prompts of the model; the empty one is added.

    Returns:
        a pipeline in float32 on the CPU, without text encoders.

    Raises:
        ValueError: sizes that contradict each other.
    """
    factor = settings.pca_patch * settings.patch
    if settings.resolution % factor:
        raise ValueError(
            f'resolution is {settings.resolution}; expected a multiple of {factor}, '
            'pca_patch times patch'
        )
    check_shifts(settings.tta_shifts, factor)
    side = settings.resolution // settings.pca_patch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        vae = PcaAutoencoder(
            latent_channels=settings.channels,
            block_out_channels=(settings.channels,) * settings.pca_patch.bit_length(),
            lapped=settings.overlapping,
        ).fit(images)
        vae.register_to_config(scaling_factor=settings.latent_std * vae.config.scaling_factor)
        transformer = DiceptionTransformer2DModel.from_config(
            {
                'sample_size': side,
                'patch_size': settings.patch,
                'in_channels': settings.channels,
                'out_channels': settings.channels,
                'num_layers': settings.layers,
                'attention_head_dim': settings.width // settings.heads,
                'num_attention_heads': settings.heads,
                'joint_attention_dim': TEXT_WIDTH,
                'caption_projection_dim': settings.width,
                'pooled_projection_dim': TEXT_WIDTH,
                'pos_embed_max_size': side // settings.patch,
                'qk_norm': 'rms_norm',
                'prediction_type': settings.prediction,
            }
        )
        init_weights(transformer)
        point_encoder = DiceptionPointEncoder(
            embed_dim=settings.width, num_frequencies=128, hidden_dim=settings.width
        )
        nn.init.normal_(point_encoder.used, std=0.02)
        nn.init.normal_(point_encoder.unused, std=0.02)
    pipe = DiceptionPipeline(
        vae=vae.eval(),
        transformer=transformer,
        point_encoder=point_encoder,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        resolution=settings.resolution,
        shifts=settings.tta_shifts,
    )
    pipe.prompt_table = random_text_table(['', *texts])
    pipe.set_progress_bar_config(disable=True)
    return pipe


def init_weights(transformer: DiceptionTransformer2DModel) -> None:
    """Initialize weights so that a small network trains well; draws from torch's random state.

    Xavier everywhere; modulation weights zero with open gates, so that attention and feed-forward
    act from the first step; keys equal to queries, so that an output token attends to the image
    token of the same position; output zero.
    """
    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for block in transformer.transformer_blocks:
        for norm in (block.norm1, block.norm1_context):
            nn.init.zeros_(norm.linear.weight)
            rows = norm.linear.bias.shape[0] // transformer.inner_dim
            if rows == 6:  # shift, scale, gate of attention, then of the feed-forward
                with torch.no_grad():
                    norm.linear.bias.view(rows, -1)[[2, 5]] = OPEN_GATE
        block.attn.to_k.load_state_dict(block.attn.to_q.state_dict())
    nn.init.zeros_(transformer.norm_out.linear.weight)
    nn.init.zeros_(transformer.proj_out.weight)


def random_text_table(texts: Sequence[str]) -> PromptTable:
    """Embed texts without text encoders, by a fixed random vector for each word.

    Args:
        texts: any; all embeddings are as long as the longest text.

    Returns:
        a table of (longest text, TEXT_WIDTH) tokens, zero after the last word, and (TEXT_WIDTH,)
        pooled, the mean of the words. The empty text counts as one word.
    """
    words = {text: text.split() or [''] for text in dict.fromkeys(texts)}
    longest = max(map(len, words.values()))
    table = PromptTable()
    for text, mine in words.items():
        vectors = torch.stack([_word(word) for word in mine])  # (words, TEXT_WIDTH)
        tokens = torch.zeros(longest, TEXT_WIDTH)
        tokens[: len(mine)] = vectors
        table.add(text, PromptEmbedding(tokens, vectors.mean(dim=0)))
    return table


def add_text(table: PromptTable, text: str) -> None:
    """Add a text to a table that `random_text_table` made; leave other tables unchanged.

    Args:
        table: of a model.
        text: with no more words than the longest text in the table.

    Raises:
        ValueError: the text has more words.
    """
    known = next((other for other in table if other), None)
    if text in table or known is None:
        return
    existing = table[known]
    made = random_text_table([known])[known]
    words = len(made.tokens)
    same = existing.tokens.shape[1] == TEXT_WIDTH and torch.equal(
        existing.tokens[:words], made.tokens.to(existing.tokens.dtype)
    )
    if not same:
        return
    if len(text.split()) > len(existing.tokens):
        raise ValueError(
            f'prompt {text!r} has {len(text.split())} words; this model reads at most '
            f'{len(existing.tokens)}'
        )
    new = random_text_table([text])[text]
    tokens = torch.zeros_like(existing.tokens)
    tokens[: len(new.tokens)] = new.tokens.to(tokens.dtype)
    table.add(text, PromptEmbedding(tokens, new.pooled.to(existing.pooled.dtype)))


def _word(word: str) -> torch.Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:7], 'little')
    return torch.randn(TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))
