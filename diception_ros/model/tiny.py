# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A random model of 1 MB with all components of the real one, to try commands and for tests.

The components are of the same classes as the real ones, with tokenizers and text encoders, so what
runs with this model runs with that one.
"""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import string
import tempfile
from typing import Any

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from diception_ros.model.pipeline import DiceptionPipeline
from diception_ros.model.points import DiceptionPointEncoder
from diception_ros.model.text_embeddings import CLIP_LENGTH, TABLE_FILE
from diception_ros.model.transformer import DiceptionTransformer2DModel
from diception_ros.system import safe_load

RESOLUTION = 64  # pixels: 8 x 8 latents, 4 x 4 tokens
_WIDTHS = (16, 24, 48)  # of CLIP-L, CLIP-G and T5; the last holds the first two side by side


def tiny_pipeline(seed: int = 0) -> DiceptionPipeline:
    """Build a random pipeline.

    Args:
        seed: of the weights; the global random state stays unchanged.

    Returns:
        A pipeline in float32 on the CPU, with text encoders and an empty prompt table.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=('DownEncoderBlock2D',) * 4,
            up_block_types=('UpDecoderBlock2D',) * 4,
            layers_per_block=1,
            latent_channels=16,
            norm_num_groups=4,
            sample_size=RESOLUTION,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        transformer = DiceptionTransformer2DModel.from_config(
            {
                'sample_size': RESOLUTION // 8,
                'patch_size': 2,
                'in_channels': 16,
                'out_channels': 16,
                'num_layers': 2,
                'attention_head_dim': 8,
                'num_attention_heads': 4,
                'joint_attention_dim': _WIDTHS[2],
                'caption_projection_dim': 32,
                'pooled_projection_dim': _WIDTHS[0] + _WIDTHS[1],
                'pos_embed_max_size': 32,
            }
        )
        point_encoder = DiceptionPointEncoder(embed_dim=32, num_frequencies=16, hidden_dim=32)
        torch.nn.init.normal_(point_encoder.used)
        torch.nn.init.normal_(point_encoder.unused)
        with tempfile.TemporaryDirectory() as folder:
            tokenizers = _tokenizers(Path(folder))
        encoders = [
            _clip(width, act, len(tokenizers[0]))
            for width, act in zip(_WIDTHS[:2], ('quick_gelu', 'gelu'), strict=True)
        ]
        t5 = T5EncoderModel(
            T5Config(
                vocab_size=len(tokenizers[2]),
                d_model=_WIDTHS[2],
                d_kv=8,
                d_ff=64,
                num_layers=2,
                num_heads=2,
                feed_forward_proj='gated-gelu',
                is_encoder_decoder=False,
                decoder_start_token_id=0,
            )
        )
    pipe = DiceptionPipeline(
        vae=vae.eval(),
        transformer=transformer.eval(),
        point_encoder=point_encoder.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        text_encoder_3=t5.eval(),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        tokenizer_3=tokenizers[2],
        resolution=RESOLUTION,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def official_checkpoint(pipe: DiceptionPipeline) -> dict[str, Any]:
    """The content of DICEPTION_v1.pth for the weights of this pipeline."""
    points = pipe.point_encoder
    return {
        'transformer': pipe.transformer.state_dict(),
        'point_embedder': points.mlp.state_dict(),
        'seg_embeddings': {'weight': points.used.detach()[None]},
        'not_seg_embeddings': {'weight': points.unused.detach()[None]},
        'positional_encoding_gaussian_matrix': points.gaussian,
    }


def write_official(pipe: DiceptionPipeline, folder: Path) -> tuple[Path, Path]:
    """Write a pipeline in the form in which the real weights are published.

    The transformer of the SD3 folder is another one, as it is in reality: a program that loads it
    instead of the checkpoint gets other numbers.

    Args:
        pipe: with text encoders.
        folder: where SD3's folder `sd3` and DICEPTION_v1.pth are written.

    Returns:
        The SD3 folder and the checkpoint.
    """
    sd3, checkpoint = folder / 'sd3', folder / 'DICEPTION_v1.pth'
    pipe.save_pretrained(sd3)
    (sd3 / TABLE_FILE).unlink(missing_ok=True)
    shutil.rmtree(sd3 / 'point_encoder')
    index = safe_load.json_object(sd3 / 'model_index.json')
    ours = ('point_encoder', 'resolution', 'shifts')
    index = {name: value for name, value in index.items() if name not in ours}
    index['_class_name'] = 'StableDiffusion3Pipeline'
    index['transformer'] = ['diffusers', 'SD3Transformer2DModel']
    (sd3 / 'model_index.json').write_text(json.dumps(index, indent=2, sort_keys=True) + '\n')
    config = dict(pipe.transformer.config.items())
    SD3Transformer2DModel(**config).save_pretrained(sd3 / 'transformer')
    torch.save(official_checkpoint(pipe), checkpoint)
    return sd3, checkpoint


def _clip(width: int, activation: str, vocabulary: int) -> Any:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            projection_dim=width,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            hidden_act=activation,
            # 2 as in SD3's files: the end of the text is then found as the largest id.
            eos_token_id=2,
            bos_token_id=0,
            pad_token_id=1,
        )
    ).eval()


def _tokenizers(folder: Path) -> tuple[Any, Any, Any]:
    """CLIP tokenizers of single letters, padded like SD3's two, and a T5 tokenizer of letters.

    Built from files: how a tokenizer is built in memory differs between transformers 4 and 5.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [
        *letters,
        *(letter + '</w>' for letter in letters),
        '<|startoftext|>',
        '<|endoftext|>',
    ]
    (folder / 'vocab.json').write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    clip = [
        CLIPTokenizerFast.from_pretrained(folder, pad_token=pad, model_max_length=CLIP_LENGTH)
        for pad in ('<|endoftext|>', '!')
    ]

    t5 = folder / 't5'
    t5.mkdir()
    special = ['<pad>', '</s>', '<unk>']
    letters = [*special, '▁', *string.ascii_letters, *string.digits, *string.punctuation, ' ']
    scores = [-1.0 if i > 2 else 0.0 for i in range(len(letters))]
    made = Tokenizer(models.Unigram(list(zip(letters, scores, strict=True)), unk_id=2))
    made.add_special_tokens(special)
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single='$A </s>', pair='$A </s> $B </s>', special_tokens=[('</s>', 1)]
    )
    made.save(str(t5 / 'tokenizer.json'))
    (t5 / 'tokenizer_config.json').write_text(
        json.dumps(
            {
                'tokenizer_class': 'T5TokenizerFast',
                'extra_ids': 0,
                'additional_special_tokens': [],
                'model_max_length': 512,
                'pad_token': '<pad>',
                'eos_token': '</s>',
                'unk_token': '<unk>',
            }
        )
    )
    return clip[0], clip[1], T5TokenizerFast.from_pretrained(t5)
