# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of SD3 medium and of DICEPTION's point encoder, from their configurations."""

TRANSFORMER = {
    'sample_size': 128, 'patch_size': 2, 'in_channels': 16, 'out_channels': 16, 'num_layers': 24,
    'attention_head_dim': 64, 'num_attention_heads': 24, 'joint_attention_dim': 4096,
    'caption_projection_dim': 1536, 'pooled_projection_dim': 2048, 'pos_embed_max_size': 192,
}  # fmt: skip
VAE = {
    'block_out_channels': (128, 256, 512, 512), 'down_block_types': ('DownEncoderBlock2D',) * 4,
    'up_block_types': ('UpDecoderBlock2D',) * 4, 'layers_per_block': 2, 'latent_channels': 16,
    'norm_num_groups': 32, 'scaling_factor': 1.5305, 'shift_factor': 0.0609,
    'use_quant_conv': False, 'use_post_quant_conv': False, 'sample_size': 1024,
}  # fmt: skip
CLIP_L = {
    'hidden_size': 768, 'intermediate_size': 3072, 'num_hidden_layers': 12, 'projection_dim': 768,
    'num_attention_heads': 12, 'hidden_act': 'quick_gelu', 'vocab_size': 49408, 'eos_token_id': 2,
}  # fmt: skip
CLIP_G = {
    'hidden_size': 1280, 'intermediate_size': 5120, 'num_hidden_layers': 32, 'hidden_act': 'gelu',
    'projection_dim': 1280, 'num_attention_heads': 20, 'vocab_size': 49408, 'eos_token_id': 2,
}  # fmt: skip
T5 = {
    'd_model': 4096, 'd_kv': 64, 'd_ff': 10240, 'num_layers': 24, 'num_heads': 64,
    'vocab_size': 32128, 'feed_forward_proj': 'gated-gelu', 'is_encoder_decoder': False,
    'decoder_start_token_id': 0,
}  # fmt: skip
POINTS = {'embed_dim': 1536, 'num_frequencies': 1024, 'hidden_dim': 2048}
