# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""New networks of random weights that learn from scratch."""

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
    cycle_spinning,
)
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.model.text_embeddings import PromptEmbedding
from diception_ros.training.settings import TrainSettings

SHIFT = 3.0  # Source: the scheduler of SD3 medium
TEXT_WIDTH = 64  # of a new model's text embeddings; some 90 words are told apart with ease
OPEN_GATE = 0.5  # Source: a feasibility study; the stock gates near 0 learnt the mean picture only


def init_pipeline(
    settings: TrainSettings, pictures: torch.Tensor, texts: Sequence[str]
) -> DiceptionPipeline:
    """Build a model of the same parts as the real one, only smaller.

    Args:
        settings: size and seed.
        pictures: (N, 3, S, S) float32 in [-1, 1], camera pictures and targets; the autoencoder is
            made for them.
        texts: that can be asked; the empty one is added.

    Returns:
        a pipeline in float32 on the CPU, without text encoders.

    Raises:
        ValueError: sizes that do not fit together.
    """
    factor = settings.block * settings.patch
    if settings.resolution % factor:
        raise ValueError(
            f'resolution is {settings.resolution}; expected a multiple of {factor}, block times '
            'patch'
        )
    cycle_spinning.check(settings.shifts, factor)
    side = settings.resolution // settings.block
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        vae = PcaAutoencoder(
            latent_channels=settings.channels,
            block_out_channels=(settings.channels,) * settings.block.bit_length(),
            lapped=settings.lapped,
        ).fit(pictures)
        vae.register_to_config(scaling_factor=settings.spread * vae.config.scaling_factor)
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
        shifts=settings.shifts,
    )
    pipe.prompt_table = random_text_table(['', *texts])
    pipe.set_progress_bar_config(disable=True)
    return pipe


def init_weights(transformer: DiceptionTransformer2DModel) -> None:
    """Set weights from which a small network learns, from torch's random state.

    Xavier everywhere; modulation weights zero with open gates, so that attention and feed-forward
    act from the first step; keys like queries, so that a token of the answer looks at the token of
    the picture with the same position; output zero.
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
    """Embeddings of texts without text encoders: a fixed random vector for each word.

    Args:
        texts: any; a text of many words makes all embeddings longer.

    Returns:
        a table of (longest text, TEXT_WIDTH) tokens, zero after the last word, and (TEXT_WIDTH,)
        pooled, the words' mean. The empty text is a word by itself.
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
    """Add a text to a table, if it is one that `random_text_table` made; else leave it as it is.

    Args:
        table: of a model.
        text: of no more words than the longest that is there.

    Raises:
        ValueError: it has more.
    """
    known = next((other for other in table if other), None)
    if text in table or known is None:
        return
    there = table[known]
    made = random_text_table([known])[known]
    words = len(made.tokens)
    same = there.tokens.shape[1] == TEXT_WIDTH and torch.equal(
        there.tokens[:words], made.tokens.to(there.tokens.dtype)
    )
    if not same:
        return
    if len(text.split()) > len(there.tokens):
        raise ValueError(
            f'prompt {text!r} has {len(text.split())} words; this model reads at most '
            f'{len(there.tokens)}'
        )
    new = random_text_table([text])[text]
    tokens = torch.zeros_like(there.tokens)
    tokens[: len(new.tokens)] = new.tokens.to(tokens.dtype)
    table.add(text, PromptEmbedding(tokens, new.pooled.to(there.pooled.dtype)))


def _word(word: str) -> torch.Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:7], 'little')
    return torch.randn(TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))
