# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Converts SD3 medium and the official DICEPTION checkpoint to one model folder of safetensors.

The checkpoint is read without trusting it, and a wrong file or folder is named as what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
from dataclasses import dataclass
import errno
import json
from pathlib import Path
import pickle
import shutil
from typing import Any

from accelerate import init_empty_weights
import diffusers
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import save_file
import torch

from diception_ros.model import component_configs
from diception_ros.model.points import DiceptionPointEncoder
from diception_ros.model.sd3_folder import (
    ENCODERS,
    SHOWN,
    TOKENIZERS,
    ConvertError,
    Report,
    check_sd3,
    check_texts,
    encode_with_sd3,
    find_listing,
    find_variant,
    reading,
    weight_files,
)
from diception_ros.model.text_embeddings import (
    TABLE_FILE,
    PromptEmbedding,
    PromptTable,
)
from diception_ros.model.transformer import DiceptionTransformer2DModel
from diception_ros.system import files

_PARTS = (
    'transformer',
    'point_embedder',
    'seg_embeddings',
    'not_seg_embeddings',
    'positional_encoding_gaussian_matrix',
)


@dataclass(frozen=True)
class Checkpoint:
    """The official weights under the names of our components.

    Attributes:
        transformer: state dict of DiceptionTransformer2DModel.
        point_encoder: state dict of DiceptionPointEncoder.
    """

    transformer: dict[str, torch.Tensor]
    point_encoder: dict[str, torch.Tensor]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read DICEPTION_v1.pth, the official checkpoint; tensors stay on disk until they are used.

    Raises:
        ConvertError: no such file, not the official layout, or a pickle that is more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvertError(f'{path}: no such checkpoint file')
    loaded = _load(path)
    missing = [part for part in _PARTS if not isinstance(loaded, Mapping) or part not in loaded]
    if missing:
        raise ConvertError(
            f'{path}: {", ".join(missing)} missing; expected the parts {", ".join(_PARTS)} of '
            f'DICEPTION_v1.pth; this seems to be {_describe(loaded)}'
        )
    unexpected = sorted(str(key) for key in set(loaded) - set(_PARTS))
    if unexpected:
        raise ConvertError(
            f'{path}: unexpected parts {", ".join(unexpected[:SHOWN])}; expected only '
            f'{", ".join(_PARTS)}'
        )
    for part in _PARTS[:-1]:
        wrong = not isinstance(loaded[part], Mapping) or [
            name for name, value in loaded[part].items() if not isinstance(value, torch.Tensor)
        ]
        if wrong:
            raise ConvertError(f'{path}: {part} is not a dictionary of tensors')
    if not isinstance(loaded[_PARTS[-1]], torch.Tensor):
        raise ConvertError(f'{path}: {_PARTS[-1]} is not a tensor')

    point_encoder = {f'mlp.{name}': value for name, value in loaded['point_embedder'].items()}
    point_encoder['gaussian'] = loaded['positional_encoding_gaussian_matrix']
    for ours, theirs in (('used', 'seg_embeddings'), ('unused', 'not_seg_embeddings')):
        table = loaded[theirs].get('weight')
        if table is None or table.ndim != 2 or len(table) != 1 or len(loaded[theirs]) != 1:
            shapes = {name: tuple(value.shape) for name, value in loaded[theirs].items()}
            raise ConvertError(f'{path}: {theirs} holds {shapes}; expected one weight of one row')
        point_encoder[ours] = table[0]
    return Checkpoint(dict(loaded['transformer']), point_encoder)


def check_tensors(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, torch.Tensor], what: str
) -> None:
    """Compare names and shapes of a state dict with those a network expects.

    Args:
        expected: shape by name.
        found: tensor by name.
        what: named in the error.

    Raises:
        ConvertError: anything missing, unexpected or of another shape, or not a number; the
            message names the first of each.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    shapes = [
        f'{name} is {tuple(found[name].shape)}, expected {shape}'
        for name, shape in expected.items()
        if name in found and tuple(found[name].shape) != tuple(shape)
    ]
    whole = [
        f'{name} ({found[name].dtype})'
        for name in expected
        if name in found and not found[name].is_floating_point()
    ]
    problems = [
        f'{len(names)} {label}: {"; ".join(names[:SHOWN])}{" ..." if names[SHOWN:] else ""}'
        for label, names in (
            ('missing', missing),
            ('unexpected', unexpected),
            ('of another shape', shapes),
            ('not floating point', whole),
        )
        if names
    ]
    if problems:
        raise ConvertError(
            f'{what}: {len(found)} tensors do not fit the {len(expected)} that the configuration '
            f'asks for; {"; ".join(problems)}; this seems to be {_describe(found)}'
        )


def _load(path: Path) -> Any:
    try:
        try:
            return torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        except RuntimeError as error:
            if 'mmap' not in str(error):
                raise
            return torch.load(
                path, map_location='cpu', weights_only=True
            )  # written by torch < 1.6
    except pickle.UnpicklingError as error:
        if path.read_bytes()[:1] in (b'P', b'\x80') and 'magic' not in str(error).lower():
            raise ConvertError(
                f'{path}: refused, because reading this pickle would run code that it names; the '
                'official checkpoint holds tensors only. Do not open it with anything else'
            ) from error
        raise ConvertError(f'{path}: not a torch checkpoint; {_identify(path)}') from error
    except Exception as error:  # torch's reader of pickles raises errors of every type
        reason = files.first_line(error)
        raise ConvertError(
            f'{path}: damaged or not a torch checkpoint ({reason}); {_identify(path)}'
        ) from error


def _identify(path: Path) -> str:
    with path.open('rb') as file:
        head = file.read(64)
    size = path.stat().st_size
    if size == 0:
        return 'the file is empty'
    if head.startswith(b'version https://git-lfs'):
        return 'this is a Git LFS pointer: run git lfs pull where it came from'
    if head.lstrip().lower().startswith((b'<!doctype', b'<html')):
        return 'this is a web page: the download needs a login'
    if head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < size:
        return 'this is a safetensors file, not the official .pth'
    if head.startswith(b'PK'):
        return (
            f'it starts like a torch checkpoint; {size} bytes are there: an unfinished download?'
        )
    return f'it starts with {head[:8]!r} and has {size} bytes'


def _describe(loaded: Any) -> str:
    if not isinstance(loaded, Mapping):
        return f'a single {type(loaded).__name__}'
    names = [str(name) for name in loaded]
    if any('lora' in name for name in names):
        return 'a LoRA adapter'
    if any(name.startswith('model.diffusion_model.') for name in names):
        return 'SD3 as a single file'
    if any(name.startswith('transformer_blocks.') for name in names):
        blocks = {name.split('.')[1] for name in names if name.startswith('transformer_blocks.')}
        return f'the bare weights of a transformer with {len(blocks)} blocks'
    if {'optimizer', 'state', 'param_groups'} & set(names):
        return 'the state of a training run'
    return f'a dictionary with {", ".join(names[:SHOWN]) or "nothing in it"}'


DTYPES = ('bfloat16', 'float16', 'float32')
WEIGHTS = 'diffusion_pytorch_model.safetensors'


def convert(
    sd3: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    *,
    texts: Sequence[str],
    dtype: str = 'bfloat16',
    point_order: str = 'xy',
    with_text_encoders: bool = False,
    resolution: int = 768,
    report: Report = lambda line: None,
) -> None:
    """Make a pipeline folder of SD3 medium and the official checkpoint.

    Weights go from file to file; the largest thing in memory is the transformer in `dtype` (4 GB,
    or 8 GB in float32). The folder appears under its name only when it is complete.

    Args:
        sd3: folder of stable-diffusion-3-medium in diffusers' layout.
        checkpoint: DICEPTION_v1.pth.
        out: the folder to make; it must not exist.
        texts: prompts whose embeddings the folder carries, the empty one among them.
        dtype: of the stored weights and embeddings.
        point_order: see DiceptionPointEncoder.
        with_text_encoders: copy the text encoders too (11 GB), as they are.
        resolution: S, side of the model input, pixels.
        report: called with a line about each step.

    Raises:
        ConvertError: something is missing, unexpected, of another shape or refused, or the disk is
            full; no folder is left then.
        BlockingIOError: another process writes `out`.
    """
    sd3, out = Path(sd3), Path(out)
    if dtype not in DTYPES:
        raise ConvertError(f'dtype is {dtype!r}; expected one of {", ".join(DTYPES)}')
    if '' not in texts:
        raise ConvertError("texts lacks '', which guidance needs")
    if out.exists():
        raise ConvertError(f'{out}: exists already; give another folder or remove it')
    files.check_folders([out])
    check_texts(texts)
    check_sd3(sd3)
    transformer = _empty(DiceptionTransformer2DModel, sd3 / 'transformer')
    vae = _empty(AutoencoderKL, sd3 / 'vae')
    multiple = 2 ** (len(vae.config.block_out_channels) - 1) * transformer.config.patch_size
    if resolution % multiple:
        raise ConvertError(f'resolution is {resolution}; this model takes multiples of {multiple}')
    report(f'reading {checkpoint}')
    official = read_checkpoint(checkpoint)
    precision = getattr(torch, dtype)

    with _atomic(out) as folder:
        report('transformer')
        _write(
            transformer,
            official.transformer,
            folder / 'transformer',
            precision,
            f'{checkpoint}: transformer',
        )
        report('point encoder')
        _write(
            _point_encoder(official.point_encoder, point_order, checkpoint),
            official.point_encoder,
            folder / 'point_encoder',
            precision,
            f'{checkpoint}: point encoder',
        )
        report('vae')
        _convert_vae(sd3 / 'vae', folder / 'vae', precision)
        shutil.copytree(sd3 / 'scheduler', folder / 'scheduler')
        table = PromptTable()
        for text, embedding in encode_with_sd3(sd3, texts, report):
            table.add(
                text,
                PromptEmbedding(embedding.tokens.to(precision), embedding.pooled.to(precision)),
            )
        table.save(folder / TABLE_FILE)
        if with_text_encoders:
            for name in ENCODERS + TOKENIZERS:
                report(f'copying {name}')
                _copy_component(sd3 / name, folder / name)
        # Last, so that a folder without it is known to be unfinished.
        _write_index(sd3, folder, with_text_encoders, resolution)
    report(f'wrote {out}')


# ---- components of the model folder -------------------------------------------------------------


def _empty(kind: Any, folder: Path) -> Any:
    """A component of a folder without its weights."""
    with reading(folder), init_empty_weights(include_buffers=True):
        component_configs.check_config(kind.__name__, folder / 'config.json')
        return kind.from_config(component_configs.read_json(folder / 'config.json'))


def _write(
    network: Any, tensors: Mapping[str, torch.Tensor], folder: Path, dtype: torch.dtype, what: str
) -> None:
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_tensors(expected, tensors, what)
    network.save_config(folder)
    # Cast one after another; a tensor that already has the dtype stays in its memory-mapped file.
    save_file(
        {name: tensors[name].to(dtype).contiguous() for name in expected},
        folder / WEIGHTS,
        metadata={'format': 'pt'},
    )


def _point_encoder(
    tensors: Mapping[str, torch.Tensor], point_order: str, checkpoint: str | Path
) -> DiceptionPointEncoder:
    # The checkpoint has no configuration: the sizes follow from the weights.
    try:
        hidden_dim, embed_dim = len(tensors['mlp.0.bias']), len(tensors['mlp.2.bias'])
        num_frequencies = tensors['gaussian'].shape[1]
    except (KeyError, IndexError) as error:
        raise ConvertError(
            f'{checkpoint}: point_embedder holds {sorted(tensors)}; expected two linear layers '
            f'0 and 2 ({error})'
        ) from error
    with init_empty_weights(include_buffers=True):
        return DiceptionPointEncoder(embed_dim, num_frequencies, hidden_dim, point_order)


def _convert_vae(source: Path, folder: Path, dtype: torch.dtype) -> None:
    with reading(source):
        # diffusers renames the attention layers of older files, so it reads them for us.
        vae, info = AutoencoderKL.from_pretrained(
            source,
            use_safetensors=True,
            output_loading_info=True,
            local_files_only=True,
            variant=find_variant(source),
        )
        wrong = {kind: names for kind, names in info.items() if names}
        if wrong:
            raise ConvertError(f'{source}: the weights do not fit the configuration: {wrong}')
    _write(vae, vae.state_dict(), folder, dtype, str(source))


def _copy_component(source: Path, folder: Path) -> None:
    """Copy a text encoder or tokenizer; a half-precision variant takes the plain names."""
    folder.mkdir()
    listing = find_listing(source) if source.name in ENCODERS else None
    weights = set(weight_files(source).values()) if source.name in ENCODERS else set()
    for file in sorted(source.iterdir()):
        if file == listing:
            plain = file.read_text().replace('.fp16', '')
            (folder / file.name.replace('.fp16', '')).write_text(plain)
        elif file in weights:
            shutil.copy2(file, folder / file.name.replace('.fp16', ''))
        elif file.suffix in ('.json', '.txt', '.model') and '.index.' not in file.name:
            shutil.copy2(file, folder / file.name)


def _write_index(sd3: Path, folder: Path, with_text_encoders: bool, resolution: int) -> None:
    theirs = component_configs.read_json(sd3 / 'model_index.json')
    index = {
        '_class_name': 'DiceptionPipeline',
        '_diffusers_version': diffusers.__version__,
        'point_encoder': [DiceptionPointEncoder.__module__, DiceptionPointEncoder.__name__],
        'resolution': resolution,
        'scheduler': theirs['scheduler'],
        'transformer': [
            DiceptionTransformer2DModel.__module__,
            DiceptionTransformer2DModel.__name__,
        ],
        'vae': theirs['vae'],
    }
    for name in ENCODERS + TOKENIZERS:
        index[name] = theirs[name] if with_text_encoders else [None, None]
    (folder / 'model_index.json').write_text(json.dumps(index, indent=2, sort_keys=True) + '\n')


@contextlib.contextmanager
def _atomic(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name at the end, or disappears if something fails."""
    try:
        with files.atomic_folder(out) as partial:
            yield partial
    except BlockingIOError:  # another process writes it
        raise
    except (OSError, SafetensorError) as error:
        # safetensors raises its own error, without a number.
        full = getattr(error, 'errno', None) == errno.ENOSPC or 'No space left' in str(error)
        free = shutil.disk_usage(out.parent).free / 1e9 if out.parent.exists() else 0
        raise ConvertError(
            f'{out}: the disk is full, {free:.1f} GB were free beside a half-written folder that '
            'is now removed'
            if full
            else f'{out}: could not be written ({files.error_text(error)})'
        ) from error
