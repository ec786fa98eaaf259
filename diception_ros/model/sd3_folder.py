# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An SD3 folder in the layout of diffusers: its checks, its variants, and its text encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from pathlib import Path
import re
from typing import Any

from accelerate import init_empty_weights
from accelerate.hooks import attach_align_device_hook
from accelerate.utils import OffloadedWeightsLoader
import torch
from transformers import AutoTokenizer, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from diception_ros.model import component_configs
from diception_ros.model.folder import PIPELINE, apply_silence
from diception_ros.model.text_embeddings import (
    PromptEmbedding,
    combine_embeddings,
    encode_clip,
    encode_t5,
)
from diception_ros.system import safe_load
from diception_ros.system.files import first_line

ENCODERS = ('text_encoder', 'text_encoder_2', 'text_encoder_3')
TOKENIZERS = ('tokenizer', 'tokenizer_2', 'tokenizer_3')
# T5-XXL attends 256 tokens a text with 64 heads: 32 texts need 2 GB beside one layer of weights.
_TEXTS_TOGETHER = 32
SHOWN = 5  # names in an error
_SHARD = re.compile(r'-(\d{5})-of-(\d{5})')
_LAYOUT = (
    'stable-diffusion-3-medium in the layout of diffusers (model_index.json, transformer/, vae/, '
    'text_encoder/ ...; the repository whose name ends in -diffusers)'
)

Report = Callable[[str], None]


class ConvertError(ValueError):
    """The input cannot be converted; the message has the reason and a remedy."""


def check_sd3(sd3: Path) -> None:
    """Raise ConvertError unless this is a complete SD3 folder; the message names the fault."""
    if sd3.is_file():
        raise ConvertError(
            f'{sd3}: a single file; convert reads the folder of {_LAYOUT}'
            if sd3.suffix in ('.safetensors', '.ckpt', '.pth', '.pt', '.bin', '.gguf')
            else f'{sd3}: a file; expected the folder of {_LAYOUT}'
        )
    if not sd3.is_dir():
        raise ConvertError(f'{sd3}: no such folder')
    if not (sd3 / 'model_index.json').is_file():
        raise ConvertError(f'{sd3}: lacks model_index.json; {_identify_folder(sd3)}')
    with reading(sd3):
        index = component_configs.read_json(sd3 / 'model_index.json')
    kind = index.get('_class_name')
    if kind != 'StableDiffusion3Pipeline':
        what = 'a model folder that convert wrote already' if kind == PIPELINE else 'not SD3'
        raise ConvertError(f'{sd3}: made for {kind!r}, {what}; expected {_LAYOUT}')
    dropped = [name for name in ENCODERS + TOKENIZERS if index.get(name) in (None, [None, None])]
    if dropped:
        raise ConvertError(
            f'{sd3}: saved without {" and ".join(dropped)}, which the prompts of DICEPTION need; '
            f'get these folders and the model_index.json of {_LAYOUT}'
        )
    wanted = [
        'transformer/config.json',
        'vae/config.json',
        'scheduler/scheduler_config.json',
        *(f'{name}/config.json' for name in ENCODERS),
        *(f'{name}/tokenizer_config.json' for name in TOKENIZERS),
    ]
    missing = [name for name in wanted if not (sd3 / name).is_file()]
    if missing:
        absent = sorted(
            {name.split('/')[0] for name in missing if not (sd3 / name).parent.exists()}
        )
        raise ConvertError(
            f'{sd3}: lacks {", ".join(missing[:SHOWN])}{" ..." if missing[SHOWN:] else ""}; '
            + (
                f'the download left out {", ".join(absent)}: get the rest of {_LAYOUT}'
                if absent
                else f'expected {_LAYOUT} (its files are gated: accept the licence on its page '
                'before downloading)'
            )
        )
    with reading(sd3):
        if component_configs.read_json(sd3 / 'transformer/config.json').get(
            'dual_attention_layers'
        ):
            raise ConvertError(f'{sd3}: this is SD3.5; DICEPTION was made from {_LAYOUT}')
        check_config = component_configs.check_config
        check_config('FlowMatchEulerDiscreteScheduler', sd3 / 'scheduler/scheduler_config.json')


def _identify_folder(folder: Path) -> str:
    """What a folder without model_index.json seems to be, and what to give instead."""
    snapshots = sorted((folder / 'snapshots').glob('*/model_index.json'))
    inside = sorted(folder.glob('*/model_index.json'))
    single = sorted(folder.glob('sd3*.safetensors'))
    if snapshots:
        return f'this is a download cache: give {snapshots[-1].parent}'
    if inside:
        return f'give {inside[0].parent}'
    if single:
        return f'it holds SD3 as a single file, {single[0].name}; convert reads {_LAYOUT}'
    return f'expected {_LAYOUT}'


@contextlib.contextmanager
def reading(source: Path) -> Iterator[None]:
    """Turn what libraries raise while they read a component into a ConvertError that names it."""
    try:
        yield
    except (ConvertError, MemoryError):
        raise
    except Exception as error:
        for file in sorted(source.glob('*.safetensors')):
            if file.stat().st_size < 1024 and file.read_bytes().startswith(b'version https://git'):
                raise ConvertError(
                    f'{file}: a Git LFS pointer: run git lfs pull where it came from'
                ) from error
        reason = first_line(error)
        place = '' if str(source) in reason else f'{source}: '
        raise ConvertError(
            f'{place}{reason}; this part of SD3 cannot be read, download it again'
        ) from error


# ---- files of weights ---------------------------------------------------------------------------


def find_listing(folder: Path) -> Path | None:
    """The file that names the shard of each tensor; the one in full precision before fp16's."""
    names = ('model.safetensors.index.json', 'model.safetensors.index.fp16.json')
    return next((folder / name for name in names if (folder / name).is_file()), None)


def weight_files(folder: Path) -> dict[str, Path]:
    """The safetensors file of each tensor of a component, whichever variant is there.

    Raises:
        ConvertError: there is none, or a shard is missing.
    """
    listing = find_listing(folder)
    if listing is not None:
        weight_map = component_configs.read_json(listing).get('weight_map')
        if not isinstance(weight_map, dict):
            raise ConvertError(f'{listing}: no weight_map in it; download it again')
        shards = {folder / str(Path(file).name) for file in weight_map.values()}
        _check_shards(folder, {path.name for path in shards if not path.exists()})
        return {name: folder / str(Path(file).name) for name, file in weight_map.items()}
    files = list(folder.glob('*.safetensors'))
    full = [file for file in files if '.fp16' not in file.name]
    if not files:
        pickles = sorted(file.name for file in folder.glob('*.bin'))
        raise ConvertError(
            f'{folder}: no .safetensors file in it'
            + (f', only the pickle {pickles[0]}, which is not read' if pickles else '')
            + '; download the .safetensors files of this folder'
        )
    files_by_tensor: dict[str, Path] = {}
    for path in sorted(full or files):
        if match := _SHARD.search(path.name):
            numbers = range(1, int(match[2]) + 1)
            names = {path.name.replace(match[0], f'-{k:05d}-of-{match[2]}') for k in numbers}
            _check_shards(folder, names - {file.name for file in files})
        with safe_load.tensors_file(path) as file:
            files_by_tensor |= dict.fromkeys(file.keys(), path)
        if not match:
            break
    return files_by_tensor


def _check_shards(folder: Path, missing: set[str]) -> None:
    if missing:
        raise ConvertError(
            f'{folder}: the shard {min(missing)} is missing; an unfinished download? Get the '
            'files of this folder again'
        )


def find_variant(folder: Path) -> str | None:
    """What diffusers and transformers call the half-precision files, if there are no others."""
    return 'fp16' if all('.fp16' in f.name for f in weight_files(folder).values()) else None


# ---- text encoders ------------------------------------------------------------------------------


def check_texts(texts: Sequence[str]) -> None:
    """Raise ConvertError where a text is no Unicode, as bytes of a command line may be."""
    for text in texts:
        if text.encode('utf-8', 'replace').decode() != text:
            raise ConvertError(f'{text[:40]!a} is no UTF-8; expected a text to embed')


def encode_with_sd3(
    sd3: str | Path, texts: Sequence[str], report: Report = lambda line: None
) -> Iterator[tuple[str, PromptEmbedding]]:
    """Embed texts with the text encoders of an SD3 folder, in float32.

    One encoder is in memory at a time, and of T5 (19 GB in float32) one layer.

    Args:
        sd3: folder of stable-diffusion-3-medium in diffusers' layout.
        texts: N texts.
        report: called with a line about each step.

    Yields:
        each text with its embedding, float32.

    Raises:
        ConvertError: an encoder is missing or its weights do not fit.
    """
    check_texts(texts)
    sd3 = Path(sd3)
    outputs: list[list[Any]] = []
    apply_silence()
    for encoder_name, tokenizer_name in zip(ENCODERS, TOKENIZERS, strict=True):
        with reading(sd3 / tokenizer_name):
            tokenizer = AutoTokenizer.from_pretrained(sd3 / tokenizer_name)
        is_t5 = encoder_name == ENCODERS[2]
        with reading(sd3 / encoder_name):
            encoder = (_stream_t5 if is_t5 else _load_clip)(sd3 / encoder_name)
        parts = []
        for start in range(0, len(texts), _TEXTS_TOGETHER):
            some = texts[start : start + _TEXTS_TOGETHER]
            report(f'{encoder_name}: texts {start + 1} to {start + len(some)} of {len(texts)}')
            with torch.no_grad(), reading(sd3 / encoder_name):
                parts.append(
                    encode_t5(some, tokenizer, encoder, 'cpu')
                    if is_t5
                    else encode_clip(some, tokenizer, encoder)
                )
        outputs.append(parts)
        del encoder
    for i, start in enumerate(range(0, len(texts), _TEXTS_TOGETHER)):
        some = texts[start : start + _TEXTS_TOGETHER]
        yield from combine_embeddings(some, outputs[0][i], outputs[1][i], outputs[2][i])


def _load_clip(folder: Path) -> Any:
    component_configs.check_config(CLIPTextModelWithProjection.__name__, folder / 'config.json')
    encoder, info = CLIPTextModelWithProjection.from_pretrained(
        folder,
        use_safetensors=True,
        output_loading_info=True,
        local_files_only=True,
        variant=find_variant(folder),
    )
    if info['missing_keys']:
        raise ConvertError(f'{folder}: lacks {sorted(info["missing_keys"])[:SHOWN]}')
    return encoder.float().eval()


def _stream_t5(folder: Path) -> Any:
    component_configs.check_config(T5EncoderModel.__name__, folder / 'config.json')
    with init_empty_weights():
        encoder = T5EncoderModel(T5Config.from_pretrained(folder)).eval()
    stored = weight_files(folder)
    index = {}
    for name in encoder.state_dict():
        # The token table has two names for one tensor; files hold either or both.
        names = [name]
        if name in ('shared.weight', 'encoder.embed_tokens.weight'):
            names += ['shared.weight', 'encoder.embed_tokens.weight']
        tensor_name = next((candidate for candidate in names if candidate in stored), None)
        if tensor_name is None:
            raise ConvertError(f'{folder}: lacks {name}')
        index[name] = {
            'safetensors_file': str(stored[tensor_name]),
            'weight_name': tensor_name,
            'dtype': 'float32',
        }
    attach_align_device_hook(
        encoder,
        execution_device='cpu',
        offload=True,
        weights_map=OffloadedWeightsLoader(index=index, save_folder=str(folder)),
    )
    return encoder
