# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reads DICEPTION_v1.pth without trusting it, and says what a wrong file seems to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import pickle
from typing import Any

import torch

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
