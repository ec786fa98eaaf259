# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a pipeline the way its weights are published: an SD3 folder and a .pth file."""

import json
from pathlib import Path

from diffusers import SD3Transformer2DModel
import torch


def write_official(pipe, folder: Path) -> tuple[Path, Path]:
    """Write `pipe` as SD3 folder and official checkpoint.

    The SD3 folder's own transformer is another one, as it is in reality: whoever loads it instead
    of the checkpoint gets other numbers.
    """
    sd3, checkpoint = folder / 'sd3', folder / 'DICEPTION_v1.pth'
    pipe.save_pretrained(sd3)
    (sd3 / 'prompt_embeddings.safetensors').unlink(missing_ok=True)
    index = json.loads((sd3 / 'model_index.json').read_text())
    index = {
        name: value for name, value in index.items() if name not in ('point_encoder', 'resolution')
    }
    index['_class_name'] = 'StableDiffusion3Pipeline'
    index['transformer'] = ['diffusers', 'SD3Transformer2DModel']
    (sd3 / 'model_index.json').write_text(json.dumps(index))
    SD3Transformer2DModel(**dict(pipe.transformer.config.items())).save_pretrained(
        sd3 / 'transformer'
    )
    torch.save(official_state(pipe), checkpoint)
    return sd3, checkpoint


def official_state(pipe) -> dict:
    """The dictionary that the official checkpoint holds, of this pipeline's weights."""
    points = pipe.point_encoder
    return {
        'transformer': pipe.transformer.state_dict(),
        'point_embedder': points.mlp.state_dict(),
        'seg_embeddings': {'weight': points.used.detach()[None]},
        'not_seg_embeddings': {'weight': points.unused.detach()[None]},
        'positional_encoding_gaussian_matrix': points.gaussian,
    }
