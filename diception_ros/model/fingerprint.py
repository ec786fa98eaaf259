# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which weights a model folder holds, as one number."""

from __future__ import annotations

from functools import lru_cache
import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
import torch

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
