# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model folder: whether all parts are there. Their weights are not read.

Imports torch when it runs, as everything in `diception_ros.model` does.
"""

from __future__ import annotations

import json
from pathlib import Path

from diception_ros.doctor.finding import BROKEN, OK, WARN, Finding

# Parts of a pipeline without weights.
_WEIGHTLESS = ('scheduler', 'tokenizer', 'tokenizer_2', 'tokenizer_3')


def model(name: str) -> Finding:
    """Whether a model can be loaded.

    Args:
        name: a model folder, or 'builtin'.
    """
    from diception_ros.model import folder

    path = folder.resolve(name)
    try:
        folder.check_folder(path)
    except (OSError, ValueError) as error:
        if name == folder.BUILTIN:
            return Finding(
                'model', BROKEN, f'the built-in model is not in {path}',
                'install this package again, from a whole copy of its repository',
            )  # fmt: skip
        return Finding('model', BROKEN, str(error), 'docs/install.md says how to make one')
    lacking, size = _parts(path)
    if lacking:
        return Finding(
            'model', BROKEN, f'{path}: lacks {", ".join(lacking)}',
            'copy the folder again, or make it anew with diception convert',
        )  # fmt: skip
    if not any(path.glob('**/*.safetensors')):
        return Finding('model', WARN, f'{path}: no weights in it', 'make it anew')
    return Finding('model', OK, f'{name}, {size / 1e6:.0f} MB in {path}')


def _parts(path: Path) -> tuple[list[str], int]:
    """What is named in the index and is not there, and how much is, bytes."""
    lacking = []
    for name, value in json.loads((path / 'model_index.json').read_text()).items():
        if not isinstance(value, list) or value == [None, None]:
            continue
        part = path / name
        if not part.is_dir():
            lacking.append(name)
        elif name not in _WEIGHTLESS and not any(part.glob('*.safetensors')):
            lacking.append(f'the weights of {name}')
    return lacking, sum(one.stat().st_size for one in path.rglob('*') if one.is_file())
