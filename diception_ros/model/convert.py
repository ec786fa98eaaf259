# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SD3 medium + the official DICEPTION checkpoint -> one pipeline folder, all safetensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
from dataclasses import dataclass
import errno
import json
from pathlib import Path
import pickle
import shutil
from typing import Any

from accelerate import init_empty_weights
from accelerate.hooks import attach_align_device_hook
from accelerate.utils import OffloadedWeightsLoader
import diffusers
from diffusers import AutoencoderKL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
import torch
from transformers import AutoTokenizer, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from diception_ros.model.points import DiceptionPointEncoder
from diception_ros.model.text_embeddings import (
    TABLE_FILE,
    PromptEmbedding,
    PromptTable,
    combine_embeddings,
    encode_clip,
    encode_t5,
)
from diception_ros.model.transformer import DiceptionTransformer2DModel
from diception_ros.system import files

# Reads DICEPTION_v1.pth without trusting it, and says what a wrong file seems to be.


_PARTS = (
    'transformer',
    'point_embedder',
    'seg_embeddings',
    'not_seg_embeddings',
    'positional_encoding_gaussian_matrix',
)
_SHOWN = 5  # names in an error


class ConvertError(ValueError):
    """What was given cannot be converted; the message says why and what to do."""


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
    """Read the official checkpoint; its tensors stay on disk until they are used.

    Args:
        path: DICEPTION_v1.pth.

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
            f'{path}: unexpected parts {", ".join(unexpected[:_SHOWN])}; expected only '
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
        f'{len(names)} {label}: {"; ".join(names[:_SHOWN])}{" ..." if names[_SHOWN:] else ""}'
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
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ConvertError(
            f'{path}: damaged or not a torch checkpoint ({why}); {_identify(path)}'
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
    return f'a dictionary with {", ".join(names[:_SHOWN]) or "nothing in it"}'


DTYPES = ('bfloat16', 'float16', 'float32')
WEIGHTS = 'diffusion_pytorch_model.safetensors'
_ENCODERS = ('text_encoder', 'text_encoder_2', 'text_encoder_3')
_TOKENIZERS = ('tokenizer', 'tokenizer_2', 'tokenizer_3')
# T5-XXL attends 256 tokens a text with 64 heads: 32 texts need 2 GB beside one layer of weights.
_TEXTS_TOGETHER = 32

Report = Callable[[str], None]


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
        texts: whose embeddings the folder carries; the empty text has to be among them.
        dtype: of the stored weights and embeddings.
        point_order: see DiceptionPointEncoder.
        with_text_encoders: copy the text encoders too (11 GB), as they are.
        resolution: S, in pixels, that the model was made for.
        report: told what is going on, a line at a time.

    Raises:
        ConvertError: something is missing, unexpected, mis-shaped, refused, or does not fit on the
            disk; no folder is left then.
    """
    sd3, out = Path(sd3), Path(out)
    if dtype not in DTYPES:
        raise ConvertError(f'dtype is {dtype!r}; expected one of {", ".join(DTYPES)}')
    if '' not in texts:
        raise ConvertError("texts lacks '', which guidance needs")
    if out.exists():
        raise ConvertError(f'{out}: exists already; give another folder or remove it')
    _check_sd3(sd3)
    report(f'reading {checkpoint}')
    official = read_checkpoint(checkpoint)
    precision = getattr(torch, dtype)

    with _appearing(out) as folder:
        report('transformer')
        config = json.loads((sd3 / 'transformer/config.json').read_text())
        with init_empty_weights(include_buffers=True):
            transformer = DiceptionTransformer2DModel.from_config(config)
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
            for name in _ENCODERS + _TOKENIZERS:
                report(f'copying {name}')
                _copy_component(sd3 / name, folder / name)
        # Last, so that a folder without it is known to be unfinished.
        _write_index(sd3, folder, with_text_encoders, resolution)
    report(f'wrote {out}')


def encode_with_sd3(
    sd3: str | Path, texts: Sequence[str], report: Report = lambda line: None
) -> Iterator[tuple[str, PromptEmbedding]]:
    """Embed texts with the text encoders of an SD3 folder, in float32.

    One encoder is in memory at a time, and of T5 (19 GB in float32) one layer.

    Args:
        sd3: folder of stable-diffusion-3-medium in diffusers' layout.
        texts: N texts.
        report: told what is going on.

    Yields:
        each text with its embedding, float32.

    Raises:
        ConvertError: an encoder is missing or its weights do not fit.
    """
    sd3 = Path(sd3)
    answers: list[list[Any]] = []
    for encoder_name, tokenizer_name in zip(_ENCODERS, _TOKENIZERS, strict=True):
        tokenizer = AutoTokenizer.from_pretrained(_there(sd3 / tokenizer_name))
        is_t5 = encoder_name == _ENCODERS[2]
        encoder = (_stream_t5 if is_t5 else _load_clip)(_there(sd3 / encoder_name))
        parts = []
        for start in range(0, len(texts), _TEXTS_TOGETHER):
            some = texts[start : start + _TEXTS_TOGETHER]
            report(f'{encoder_name}: texts {start + 1} to {start + len(some)} of {len(texts)}')
            with torch.no_grad():
                parts.append(
                    encode_t5(some, tokenizer, encoder, 'cpu')
                    if is_t5
                    else encode_clip(some, tokenizer, encoder)
                )
        answers.append(parts)
        del encoder
    for i, start in enumerate(range(0, len(texts), _TEXTS_TOGETHER)):
        some = texts[start : start + _TEXTS_TOGETHER]
        yield from combine_embeddings(some, answers[0][i], answers[1][i], answers[2][i])


# ---- the parts of a folder --------------------------------------------------------------------


def _write(
    network: Any, tensors: Mapping[str, torch.Tensor], folder: Path, dtype: torch.dtype, what: str
) -> None:
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_tensors(expected, tensors, what)
    network.save_config(folder)
    # Cast one after another; what already has the dtype stays on the disk of its own file.
    save_file(
        {name: tensors[name].to(dtype).contiguous() for name in expected},
        folder / WEIGHTS,
        metadata={'format': 'pt'},
    )


def _point_encoder(
    tensors: Mapping[str, torch.Tensor], point_order: str, checkpoint: str | Path
) -> DiceptionPointEncoder:
    # The sizes are nowhere but in the weights.
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
    # diffusers renames the attention layers of older files, so it reads them for us.
    vae, info = AutoencoderKL.from_pretrained(
        source, use_safetensors=True, output_loading_info=True, local_files_only=True
    )
    wrong = {kind: names for kind, names in info.items() if names}
    if wrong:
        raise ConvertError(f'{source}: the weights do not fit the configuration: {wrong}')
    _write(vae, vae.state_dict(), folder, dtype, str(source))


def _copy_component(source: Path, folder: Path) -> None:
    """Copy a text encoder or tokenizer; a half-precision variant takes the plain names."""
    folder.mkdir()
    listing = _listing(source) if source.name in _ENCODERS else None
    weights = set(_weight_files(source).values()) if source.name in _ENCODERS else set()
    for file in sorted(source.iterdir()):
        if file == listing:
            plain = file.read_text().replace('.fp16', '')
            (folder / file.name.replace('.fp16', '')).write_text(plain)
        elif file in weights:
            shutil.copy2(file, folder / file.name.replace('.fp16', ''))
        elif file.suffix in ('.json', '.txt', '.model') and '.index.' not in file.name:
            shutil.copy2(file, folder / file.name)


def _write_index(sd3: Path, folder: Path, with_text_encoders: bool, resolution: int) -> None:
    theirs = json.loads((sd3 / 'model_index.json').read_text())
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
    for name in _ENCODERS + _TOKENIZERS:
        index[name] = theirs[name] if with_text_encoders else [None, None]
    (folder / 'model_index.json').write_text(json.dumps(index, indent=2, sort_keys=True) + '\n')


# ---- text encoders of an SD3 folder -----------------------------------------------------------


def _load_clip(folder: Path) -> Any:
    variant = 'fp16' if all('.fp16' in f.name for f in _weight_files(folder).values()) else None
    encoder, info = CLIPTextModelWithProjection.from_pretrained(
        folder,
        use_safetensors=True,
        output_loading_info=True,
        local_files_only=True,
        variant=variant,
    )
    if info['missing_keys']:
        raise ConvertError(f'{folder}: lacks {sorted(info["missing_keys"])[:5]}')
    return encoder.float().eval()


def _stream_t5(folder: Path) -> Any:
    with init_empty_weights():
        encoder = T5EncoderModel(T5Config.from_pretrained(folder)).eval()
    files = _weight_files(folder)
    index = {}
    for name in encoder.state_dict():
        # The token table has two names for one tensor; files hold either or both.
        names = [name]
        if name in ('shared.weight', 'encoder.embed_tokens.weight'):
            names += ['shared.weight', 'encoder.embed_tokens.weight']
        stored = next((candidate for candidate in names if candidate in files), None)
        if stored is None:
            raise ConvertError(f'{folder}: lacks {name}')
        index[name] = {
            'safetensors_file': str(files[stored]),
            'weight_name': stored,
            'dtype': 'float32',
        }
    attach_align_device_hook(
        encoder,
        execution_device='cpu',
        offload=True,
        weights_map=OffloadedWeightsLoader(index=index, save_folder=str(folder)),
    )
    return encoder


def _listing(folder: Path) -> Path | None:
    """The file that says which shard holds which tensor; the full one before fp16's."""
    names = ('model.safetensors.index.json', 'model.safetensors.index.fp16.json')
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _weight_files(folder: Path) -> dict[str, Path]:
    """Which safetensors file of a component holds which tensor."""
    listing = _listing(folder)
    if listing is not None:
        weight_map = json.loads(listing.read_text())['weight_map']
        return {name: _there(folder / file) for name, file in weight_map.items()}
    files = sorted(folder.glob('*.safetensors'), key=lambda file: ('.fp16.' in file.name, file))
    if not files:
        raise ConvertError(f'{folder}: no .safetensors file in it')
    with safe_open(files[0], 'pt') as file:
        return dict.fromkeys(file.keys(), files[0])


# ---- folders ----------------------------------------------------------------------------------


def _check_sd3(sd3: Path) -> None:
    if not sd3.is_dir():
        raise ConvertError(f'{sd3}: no such folder')
    wanted = [
        'model_index.json',
        'transformer/config.json',
        'vae/config.json',
        'scheduler/scheduler_config.json',
        *(f'{name}/config.json' for name in _ENCODERS),
        *(f'{name}/tokenizer_config.json' for name in _TOKENIZERS),
    ]
    missing = [name for name in wanted if not (sd3 / name).is_file()]
    if missing:
        raise ConvertError(
            f'{sd3}: lacks {", ".join(missing[:5])}{" ..." if missing[5:] else ""}; expected '
            'stable-diffusion-3-medium in the layout of diffusers (its files are gated: accept '
            'the licence on its page before downloading)'
        )


def _there(path: Path) -> Path:
    if not path.exists():
        raise ConvertError(f'{path}: not there')
    return path


@contextlib.contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name at the end, or disappears when something fails."""
    try:
        with files.atomic_folder(out) as partial:
            yield partial
    except (OSError, SafetensorError) as error:
        # safetensors gives its own error, without a number.
        full = getattr(error, 'errno', None) == errno.ENOSPC or 'No space left' in str(error)
        free = shutil.disk_usage(out.parent).free / 1e9 if out.parent.exists() else 0
        raise ConvertError(
            f'{out}: the disk is full, {free:.1f} GB were free beside a half-written folder that '
            'is now removed'
            if full
            else f'{out}: could not be written ({error})'
        ) from error
