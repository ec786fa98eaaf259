# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a model is, and what its folder may hold; looked at before anything in it is used."""

from __future__ import annotations

import json
from pathlib import Path

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


def forget_origin(folder: Path) -> None:
    """Take the path that a model was loaded from out of a folder that diffusers wrote.

    It is a path of one machine, and would make two equal models differ.
    """
    for path in (folder / 'model_index.json', *folder.glob('*/config.json')):
        content = json.loads(path.read_text())
        if content.pop('_name_or_path', None) is not None:
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + '\n')
