# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a model is, and what its folder may hold; looked at before anything in it is used."""

from __future__ import annotations

from functools import lru_cache
import hashlib
import json
from pathlib import Path

import diffusers.utils.logging
from safetensors import SafetensorError, safe_open
import torch
import transformers.utils.logging

PIPELINE = 'DiceptionPipeline'
# The small model that comes with this package; docs/builtin_model.md says what it can do.
BUILTIN = 'builtin'
_BUILTIN_FOLDER = Path(__file__).parent / BUILTIN
# Every class that a pipeline folder may name. model_index.json is data: what it says is compared,
# not imported.
_COMPONENTS = {
    'vae': {'AutoencoderKL', 'PcaAutoencoder'},
    'transformer': {'DiceptionTransformer2DModel'},
    'point_encoder': {'DiceptionPointEncoder'},
    'scheduler': {'FlowMatchEulerDiscreteScheduler'},
    'text_encoder': {'CLIPTextModelWithProjection'},
    'text_encoder_2': {'CLIPTextModelWithProjection'},
    'text_encoder_3': {'T5EncoderModel'},
    'tokenizer': {'CLIPTokenizer', 'CLIPTokenizerFast'},
    'tokenizer_2': {'CLIPTokenizer', 'CLIPTokenizerFast'},
    'tokenizer_3': {'T5Tokenizer', 'T5TokenizerFast'},
}
_LIBRARIES = ('diffusers', 'transformers', 'diception_ros')


def resolve(model: str | Path) -> Path:
    """The folder of a model: the shipped one for 'builtin', else the path itself.

    A folder of that name in the current directory is meant by `./builtin`.
    """
    return _BUILTIN_FOLDER if str(model) == BUILTIN else Path(model)


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not a DICEPTION pipeline before anything in it is used.

    Args:
        folder: the folder.

    Raises:
        FileNotFoundError: it is not there, or has no model_index.json.
        ValueError: it belongs to another pipeline or names a class outside the known ones.
    """
    index = folder / 'model_index.json'
    if not folder.is_dir():
        raise FileNotFoundError(
            f'{folder.absolute()}: no such model folder; give a local folder that '
            'diception convert wrote'
        )
    if not index.is_file():
        raise FileNotFoundError(
            f'{folder.absolute()}: no model_index.json in it, so it is no model folder; '
            'diception convert writes one'
        )
    try:
        components = json.loads(index.read_text())
    except ValueError as error:
        raise ValueError(f'{index}: not JSON ({error})') from error
    if components.get('_class_name') != PIPELINE:
        hint = ''
        if components.get('_class_name') == 'StableDiffusion3Pipeline':
            hint = (
                '; this is SD3 itself: diception convert --sd3 DIR --checkpoint '
                'DICEPTION_v1.pth --out DIR makes a model folder of it'
            )
        raise ValueError(
            f'{index}: made for {components.get("_class_name")!r}, expected {PIPELINE!r}{hint}'
        )
    for name, value in components.items():
        if not isinstance(value, list) or value == [None, None]:
            continue
        library, kind = value
        if kind not in _COMPONENTS.get(name, ()) or str(library).split('.')[0] not in _LIBRARIES:
            raise ValueError(
                f'{index}: component {name} is {library}.{kind}; '
                f'expected one of {sorted(_COMPONENTS.get(name, ()))}'
            )


def strip_origin(folder: Path) -> None:
    """Take the path that a model was loaded from out of a folder that diffusers wrote.

    It is a path of one machine, and would make two equal models differ.
    """
    for path in (folder / 'model_index.json', *folder.glob('*/config.json')):
        content = json.loads(path.read_text())
        if content.pop('_name_or_path', None) is not None:
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + '\n')


# Where networks run.


def find_device(name: str) -> torch.device:
    """The torch device of this name.

    Raises:
        ValueError: no such kind of device, or it is not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device is {name!r}; expected cpu, cuda or cuda:N') from error
    if device.type == 'cpu':
        return device
    if device.type != 'cuda':
        raise ValueError(f'device is {name!r}; expected cpu, cuda or cuda:N')
    if (device.index or 0) >= torch.cuda.device_count():
        why = (
            f'torch {torch.__version__} was built without CUDA'
            if torch.version.cuda is None
            else f'{torch.cuda.device_count()} CUDA devices are there'
        )
        raise ValueError(
            f'device {name!r} is not there ({why}); set device to cpu to run slowly on purpose'
        )
    return device


# Which weights a model folder holds, as one number.


# What an answer is made by; texts may be added without making another model of it.
PARTS = ('vae', 'point_encoder', 'transformer')


def fingerprint(folder: Path) -> str:
    """SHA-256 over names, types, shapes and values of all weights.

    How they are split in files makes no difference. A copy in another precision has another
    fingerprint. Reads every file once, about a second for each gigabyte, and again only when one
    changed.

    Args:
        folder: of the model.

    Raises:
        FileNotFoundError: there are no weights in it.
        ValueError: a file of weights is damaged.
    """
    files = [path for part in PARTS for path in sorted((folder / part).glob('*.safetensors'))]
    if not files:
        raise FileNotFoundError(f'{folder}: no weights (*.safetensors) in it')
    seen = [(path, path.stat()) for path in files]
    return _of(tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in seen))


@lru_cache(maxsize=4)
def _of(files: tuple[tuple[str, int, int], ...]) -> str:
    found: dict[str, str] = {}
    for path, *_ in files:
        part = Path(path).parent.name
        try:
            with safe_open(path, 'pt') as file:
                for name in file.keys():  # noqa: SIM118
                    found[f'{part}.{name}'] = path
        except SafetensorError as error:
            raise ValueError(f'{path}: damaged, or no weights ({error})') from error
    digest = hashlib.sha256()
    for full in sorted(found):
        with safe_open(found[full], 'pt') as file:
            value = file.get_tensor(full.partition('.')[2])
        digest.update(f'{full} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


# Keeps the libraries' own bars and notes out of what a command or the node prints.


def silence_library_logging() -> None:
    """For this process: no bars of theirs, and of their messages only errors."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
