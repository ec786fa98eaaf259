# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joint attention of text and image tokens that honours the attention backend a user chooses."""

from __future__ import annotations

from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import Attention
import torch


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
        length = hidden_states.shape[1]

        def heads(tokens: torch.Tensor) -> torch.Tensor:
            return tokens.unflatten(-1, (attn.heads, -1))  # (B, L, heads, d)

        query = heads(attn.to_q(hidden_states))
        key = heads(attn.to_k(hidden_states))
        value = heads(attn.to_v(hidden_states))
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)

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
