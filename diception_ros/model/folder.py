# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Model folders: where they are, what they may hold, their fingerprint; devices; library logging.

Nothing is imported from a folder; torch and the model libraries are imported where they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
from functools import lru_cache
import hashlib
import json
import logging
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING
import warnings

from diception_ros.model.component_configs import check_config, check_index, read_json
from diception_ros.model.text_embeddings import TABLE_FILE, PromptTable
from diception_ros.model.weights import tensor_places, weight_files
from diception_ros.system.files import first_line

if TYPE_CHECKING:
    import torch

PIPELINE = 'DiceptionPipeline'
# The small model that comes with this package; docs/builtin_model.md says what it can do.
BUILTIN = 'builtin'
_BUILTIN_FOLDER = Path(__file__).parent / BUILTIN
# Every class that a pipeline folder may name. model_index.json is data: its content is compared,
# not imported.
_COMPONENTS = {
    'vae': {'AutoencoderKL', 'PcaAutoencoder'},
    'transformer': {'DiceptionTransformer2DModel'},
    'point_encoder': {'DiceptionPointEncoder'},
    'image_encoder': {'EfficientNetLite'},
    'scheduler': {'FlowMatchEulerDiscreteScheduler'},
    'text_encoder': {'CLIPTextModelWithProjection'},
    'text_encoder_2': {'CLIPTextModelWithProjection'},
    'text_encoder_3': {'T5EncoderModel'},
    'tokenizer': {'CLIPTokenizer', 'CLIPTokenizerFast'},
    'tokenizer_2': {'CLIPTokenizer', 'CLIPTokenizerFast'},
    'tokenizer_3': {'T5Tokenizer', 'T5TokenizerFast'},
}
_REQUIRED = ('vae', 'transformer', 'point_encoder', 'scheduler')
_ENCODERS = ('text_encoder', 'text_encoder_2', 'text_encoder_3')
_LIBRARIES = ('diffusers', 'transformers', 'diception_ros')


def resolve(model: str | Path) -> Path:
    """The folder of a model: the shipped one for 'builtin', else the path itself.

    A folder of that name in the current directory is meant by `./builtin`.
    """
    return _BUILTIN_FOLDER if str(model) == BUILTIN else Path(model)


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not a DICEPTION pipeline before anything in it is used.

    Raises:
        FileNotFoundError: it is not there, or has no model_index.json.
        ValueError: it belongs to another pipeline, names a class outside the known ones, or a
            configuration in it has a wrong value.
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
    components = read_json(index)
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
    check_index(components, index)
    kinds = {}
    for name, value in components.items():
        if value == [None, None] and name not in _REQUIRED:
            continue
        if name in _COMPONENTS or isinstance(value, list):
            kinds[name] = _class_of(name, value, index)
    if missing := [name for name in _REQUIRED if name not in kinds]:
        raise ValueError(f'{index}: names no {missing[0]}; copy the model folder again')
    for name, kind in kinds.items():
        if not name.startswith('tokenizer'):
            file = 'scheduler_config.json' if name == 'scheduler' else 'config.json'
            check_config(kind, folder / name / file)


def check_texts(folder: Path, texts: Sequence[str]) -> None:
    """Refuse a folder that is no model folder, and texts that its model cannot embed.

    Reads the names in its table of prompts, and imports nothing that runs a model.

    Raises:
        FileNotFoundError, ValueError: see `check_folder`; a text has no embedding, and the folder
            no text encoders.
    """
    check_folder(folder)
    index = read_json(folder / 'model_index.json')
    encoders = [index.get(name) or [None] for name in _ENCODERS]
    if all(each[0] for each in encoders) or not (folder / TABLE_FILE).is_file():
        return
    PromptTable.load(folder / TABLE_FILE).check(texts)


def _class_of(name: str, value: object, index: Path) -> str:
    """The class that model_index.json names for a component, if it is one of the known ones."""
    known = sorted(_COMPONENTS.get(name, ()))
    got = f'{value!r:.60}'
    if isinstance(value, list) and len(value) == 2:
        library, kind = map(str, value)
        if library.split('.')[0] in _LIBRARIES and kind in known:
            return kind
        got = f'{library}.{kind}'
    raise ValueError(f'{index}: component {name} is {got}; expected one of {known}')


@contextlib.contextmanager
def naming_folder(folder: Path) -> Iterator[None]:
    """Turn what libraries raise while they load a folder into a ValueError that names it."""
    try:
        yield
    except Exception as error:
        # Weights of other shapes, damaged files, tokenizers: each library raises its own.
        if isinstance(error, OSError | MemoryError | ImportError):
            raise
        if type(error).__name__ == 'OutOfMemoryError':
            raise
        reason = first_line(error)
        raise ValueError(
            f'{folder}: its weights or configuration cannot be loaded ({reason}); copy the model '
            'folder again'
        ) from error


def strip_origin(folder: Path) -> None:
    """Remove the path that a model was loaded from in a folder that diffusers wrote.

    It names one machine, and would make two equal models differ.
    """
    for path in (folder / 'model_index.json', *folder.glob('*/config.json')):
        content = read_json(path)
        if content.pop('_name_or_path', None) is not None:
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + '\n')


def find_device(name: str) -> torch.device:
    """The torch device of this name.

    Raises:
        ValueError: not the name of a device, or the device does not exist.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device is {name!r}; expected cpu, cuda or cuda:N') from error
    if device.type == 'cpu':
        return device
    if device.type != 'cuda':
        raise ValueError(f'device is {name!r}; expected cpu, cuda or cuda:N')
    if (device.index or 0) >= torch.cuda.device_count():
        reason = (
            f'torch {torch.__version__} was built without CUDA'
            if torch.version.cuda is None
            else f'{torch.cuda.device_count()} CUDA devices are there'
        )
        raise ValueError(
            f'device {name!r} is not there ({reason}); set device to cpu to run slowly on purpose'
        )
    return device


def fingerprint(folder: Path) -> str:
    """SHA-256 over names, types, shapes and values of all weights.

    It does not depend on how they are split into files; a copy in another precision has another
    fingerprint. Reads every file once, about a second per gigabyte, and again only after a change.

    Raises:
        FileNotFoundError: the folder holds no weights.
        ValueError: a file of weights is damaged.
    """
    files = weight_files(folder)
    seen = [(path, path.stat()) for path in files]
    return _hash_weights(tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in seen))


# Torch's names of the types, which fingerprints were made with from the beginning.
_KINDS = {
    'F64': 'torch.float64', 'F32': 'torch.float32', 'F16': 'torch.float16',
    'BF16': 'torch.bfloat16', 'I64': 'torch.int64', 'I32': 'torch.int32', 'U8': 'torch.uint8',
    'BOOL': 'torch.bool',
}  # fmt: skip


@lru_cache(maxsize=4)
def _hash_weights(files: tuple[tuple[str, int, int], ...]) -> str:
    places = {
        f'{Path(path).parent.name}.{name}': place
        for path, *_ in files
        for name, place in tensor_places(Path(path)).items()
    }
    digest = hashlib.sha256()
    for full in sorted(places):
        place = places[full]
        kind = _KINDS.get(place.dtype, place.dtype)
        digest.update(f'{full} {kind} {place.shape}\n'.encode())
        with place.file.open('rb') as file:
            file.seek(place.offset)
            digest.update(file.read(place.length))
    return digest.hexdigest()


_LOGGERS = ('diffusers.utils.logging', 'transformers.utils.logging')
_silenced = False


def silence_library_logging() -> None:
    """Hide progress bars and all messages but errors of diffusers and transformers.

    Imports neither: libraries that are not loaded yet are silenced when a model is loaded.
    """
    global _silenced
    _silenced = True
    os.environ['DIFFUSERS_VERBOSITY'] = os.environ['TRANSFORMERS_VERBOSITY'] = 'error'
    apply_silence()


def apply_silence() -> None:
    """Silence the libraries that were loaded since `silence_library_logging`."""
    for name in _LOGGERS if _silenced else ():
        if name in sys.modules:
            sys.modules[name].disable_progress_bar()
            sys.modules[name].set_verbosity_error()


@contextlib.contextmanager
def hidden_export_warnings() -> Iterator[None]:
    """Show no messages of torch's exporter below errors in this block.

    It says of each graph that torchvision is not installed, which no graph uses, and what it will
    name differently in later releases.
    """
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def hidden_progress_bars() -> Iterator[None]:
    """Show no progress bars of diffusers and transformers in this block."""
    loggers = [sys.modules[name] for name in _LOGGERS if name in sys.modules]
    shown = [logger for logger in loggers if logger.is_progress_bar_enabled()]
    for logger in shown:
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger in shown:
            logger.enable_progress_bar()
