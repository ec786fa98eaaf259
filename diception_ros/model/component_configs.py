# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks types and ranges in the config.json files of a model folder before anything is built.

A folder may come from anywhere: a wrong value would end in a traceback of a library, or in a
network that takes minutes and gigabytes to build. Limits are a few times what the largest released
SD3 (3.5 large) has. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
from pathlib import Path
from typing import Any

from diception_ros.system import safe_load

# Pixels of the image encoder's input along a side of the cell that a feature vector covers.
CELL = 16
# Raises no error, or returns what it expected.
_Rule = Callable[[Any], str]
# Numbers in the table of positions: position grid times width. SD3.5 medium has 226 million.
_MAX_POSITIONS = 2**28


def _whole(low: int, high: int) -> _Rule:
    def rule(value: Any) -> str:
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return '' if fits else f'a whole number from {low} to {high}'

    return rule


def _number(low: float, high: float) -> _Rule:
    def rule(value: Any) -> str:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        fits = fits and math.isfinite(value) and low <= value <= high
        return '' if fits else f'a number from {low:g} to {high:g}'

    return rule


def _one_of(*choices: Any) -> _Rule:
    def rule(value: Any) -> str:
        fits = any(type(value) is type(choice) and value == choice for choice in choices)
        return '' if fits else f'one of {", ".join(map(repr, choices))}'

    return rule


def _list(rule: _Rule, low: int, high: int) -> _Rule:
    def whole(value: Any) -> str:
        if not isinstance(value, list) or not low <= len(value) <= high:
            return f'a list of {low} to {high} entries'
        return next((f'a list, each {text}' for text in map(rule, value) if text), '')

    return whole


def _optional(rule: _Rule) -> _Rule:
    def either(value: Any) -> str:
        text = '' if value is None else rule(value)
        return text and f'{text}, or null'

    return either


_SIZE, _WIDTH, _COUNT = _whole(1, 4096), _whole(1, 65536), _whole(1, 256)
_CHANNELS = _whole(1, 4096)
_FLAG = _one_of(False, True)
_SCALE, _SHIFT = _number(1e-4, 1e4), _number(-1e4, 1e4)
_ACTIVATION = _one_of('silu', 'swish', 'gelu', 'relu', 'mish', 'quick_gelu', 'gelu_new')
_EPSILON, _RATE = _number(0, 1), _number(0, 1)
_TOKEN = _optional(_whole(-1, 10**7))
_PATCHES = _list(_whole(1, 65536), 1, 8)

_CLIP: dict[str, _Rule] = {
    'vocab_size': _whole(1, 10**7), 'hidden_size': _WIDTH, 'intermediate_size': _WIDTH,
    'projection_dim': _WIDTH, 'num_hidden_layers': _COUNT, 'num_attention_heads': _COUNT,
    'max_position_embeddings': _whole(1, 65536), 'hidden_act': _ACTIVATION,
    'layer_norm_eps': _EPSILON, 'attention_dropout': _RATE, 'pad_token_id': _TOKEN,
    'bos_token_id': _TOKEN, 'eos_token_id': _TOKEN,
}  # fmt: skip
# Rules by class and key. Keys without a rule are not used to build anything.
_RULES: dict[str, dict[str, _Rule]] = {
    'DiceptionTransformer2DModel': {
        'sample_size': _SIZE, 'patch_size': _whole(1, 64), 'in_channels': _CHANNELS,
        'out_channels': _CHANNELS, 'num_layers': _COUNT, 'attention_head_dim': _SIZE,
        'num_attention_heads': _COUNT, 'joint_attention_dim': _WIDTH,
        'caption_projection_dim': _WIDTH, 'pooled_projection_dim': _WIDTH,
        'pos_embed_max_size': _SIZE, 'dual_attention_layers': _list(_whole(0, 255), 0, 256),
        'qk_norm': _optional(_one_of('rms_norm', 'layer_norm')),
        'prediction_type': _one_of('velocity', 'sample'),
        'feature_channels': _whole(0, 4096),
    },
    # Alone, with features of stride 4, with those and MoveNet's.
    'EfficientNetLite': {'features': _one_of(592, 976, 1218)},
    'AutoencoderKL': {
        'in_channels': _whole(1, 16), 'out_channels': _whole(1, 16),
        'down_block_types': _list(_one_of('DownEncoderBlock2D', 'AttnDownEncoderBlock2D'), 1, 8),
        'up_block_types': _list(_one_of('UpDecoderBlock2D', 'AttnUpDecoderBlock2D'), 1, 8),
        'block_out_channels': _list(_CHANNELS, 1, 8), 'layers_per_block': _whole(1, 16),
        'act_fn': _ACTIVATION, 'latent_channels': _CHANNELS, 'norm_num_groups': _COUNT,
        'sample_size': _SIZE, 'scaling_factor': _SCALE, 'shift_factor': _optional(_SHIFT),
        'latents_mean': _optional(_list(_SHIFT, 1, 4096)),
        'latents_std': _optional(_list(_SCALE, 1, 4096)),
        'force_upcast': _FLAG, 'use_quant_conv': _FLAG, 'use_post_quant_conv': _FLAG,
        'mid_block_add_attention': _FLAG,
    },
    'PcaAutoencoder': {
        'in_channels': _whole(1, 16), 'latent_channels': _CHANNELS,
        'block_out_channels': _PATCHES, 'scaling_factor': _SCALE, 'shift_factor': _SHIFT,
        'lapped': _FLAG,
    },
    'DiceptionPointEncoder': {
        'embed_dim': _WIDTH, 'num_frequencies': _WIDTH, 'hidden_dim': _WIDTH,
        'point_order': _one_of('xy', 'yx'), 'fourier_dtype': _one_of('float32', 'bfloat16'),
    },
    'FlowMatchEulerDiscreteScheduler': {
        'num_train_timesteps': _whole(1, 100_000), 'shift': _number(1e-3, 1e3),
        'use_dynamic_shifting': _FLAG, 'base_shift': _optional(_SHIFT),
        'max_shift': _optional(_SHIFT), 'base_image_seq_len': _whole(1, 10**6),
        'max_image_seq_len': _whole(1, 10**6), 'invert_sigmas': _FLAG,
        'shift_terminal': _optional(_RATE), 'use_karras_sigmas': _optional(_FLAG),
        'use_exponential_sigmas': _optional(_FLAG), 'use_beta_sigmas': _optional(_FLAG),
        'time_shift_type': _one_of('exponential', 'linear'), 'stochastic_sampling': _FLAG,
    },
    'CLIPTextModelWithProjection': _CLIP,
    'T5EncoderModel': {
        'vocab_size': _whole(1, 10**7), 'd_model': _WIDTH, 'd_kv': _SIZE, 'd_ff': _WIDTH,
        'num_layers': _COUNT, 'num_heads': _COUNT,
        'relative_attention_num_buckets': _whole(1, 65536),
        'relative_attention_max_distance': _whole(1, 65536), 'dropout_rate': _RATE,
        'layer_norm_epsilon': _EPSILON, 'feed_forward_proj': _one_of(
            'relu', 'gelu', 'gated-relu', 'gated-gelu', 'gated-silu'
        ),
        'pad_token_id': _TOKEN, 'eos_token_id': _TOKEN,
    },
}  # fmt: skip
# What model_index.json holds beside components.
_INDEX: dict[str, _Rule] = {'resolution': _whole(8, 16384), 'shifts': _whole(1, 16)}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not JSON, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: missing; the model folder is incomplete, copy it again')
    try:
        return safe_load.json_object(path)
    except ValueError as error:
        raise ValueError(f'{error}; copy the model folder again') from error


def check_index(index: Mapping[str, Any], path: Path) -> None:
    """Check what model_index.json says beside the components.

    Raises:
        ValueError: a value is of another type or out of range.
    """
    _check(index, _INDEX, path)


def check_config(kind: str, path: Path) -> None:
    """Check the config.json, or scheduler_config.json, of a component by the name of its class.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, a value is of another type or out of range, or two values
            contradict each other; the message names file, key and what was expected.
    """
    config = read_json(path)
    _check(config, _RULES.get(kind, {}), path)
    for problem in _contradictions(kind, config):
        raise ValueError(f'{path}: {problem}; copy the model folder again, or mend the file')


def _check(config: Mapping[str, Any], rules: Mapping[str, _Rule], path: Path) -> None:
    for name, rule in rules.items():
        if name in config and (expected := rule(config[name])):
            raise ValueError(
                f'{path}: {name} is {config[name]!r:.60}; expected {expected}; copy the model '
                'folder again, or mend the file'
            )


def _contradictions(kind: str, config: Mapping[str, Any]) -> list[str]:
    problems = []
    if kind == 'DiceptionTransformer2DModel':
        heads, width = config.get('num_attention_heads', 18), config.get('attention_head_dim', 64)
        inner, grid = heads * width, config.get('pos_embed_max_size', 96)
        if config.get('caption_projection_dim', 1152) != inner:
            problems.append(
                f'caption_projection_dim is {config.get("caption_projection_dim", 1152)}; '
                f'expected num_attention_heads times attention_head_dim, {inner}'
            )
        if grid**2 * inner > _MAX_POSITIONS:
            problems.append(
                f'pos_embed_max_size is {grid}; a table of positions for width {inner} would '
                f'hold {grid**2 * inner:.2g} numbers, expected at most {_MAX_POSITIONS:.2g}'
            )
        if inner % 4:
            problems.append(f'num_attention_heads times attention_head_dim is {inner}; expected a '
                         'multiple of 4')  # fmt: skip
    if kind == 'AutoencoderKL':
        channels, groups = (
            config.get('block_out_channels', [64]),
            config.get('norm_num_groups', 32),
        )
        for name in ('down_block_types', 'up_block_types'):
            if len(config.get(name, channels)) != len(channels):
                problems.append(
                    f'{name} has {len(config[name])} entries; expected {len(channels)}, as many '
                    'as block_out_channels'
                )
        if any(channel % groups for channel in channels):
            problems.append(f'norm_num_groups is {groups}; expected a divisor of {channels}')
    if kind == 'PcaAutoencoder':
        block = 2 ** (len(config.get('block_out_channels', [16] * 3)) - 1)
        size = config.get('in_channels', 3) * block**2
        if config.get('latent_channels', 16) > size:
            problems.append(
                f'latent_channels is {config["latent_channels"]}; expected at most {size}'
            )
    for size, heads in (('hidden_size', 'num_attention_heads'),):
        if kind == 'CLIPTextModelWithProjection' and config.get(size, 512) % config.get(heads, 8):
            problems.append(f'{size} is {config.get(size, 512)}; expected a multiple of {heads}')
    return problems
