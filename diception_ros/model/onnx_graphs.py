# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs in a model folder: their files, whether they belong to the weights, what they need.

Imports neither torch nor onnxruntime.
"""

from __future__ import annotations

from pathlib import Path

from diception_ros.model.component_configs import read_json
from diception_ros.model.weights import layout_hash

# All that depends on the input image alone; one pass of the transformer; latents to pixels. They
# lie in the model folder itself, because ONNX Runtime reads weights from no other folder than a
# graph's own and those in it.
IMAGE, NETWORK, DECODER = 'image.onnx', 'network.onnx', 'decoder.onnx'
# What the graphs were made of.
INDEX_FILE = 'onnx.json'
FORMAT = 'diception_ros graphs 1'
# Precisions in which graphs can compute, with their names in torch.
PRECISIONS = {'fp32': 'float32'}
_AGAIN = '; make them again: diception export --model'


def find_problem(folder: Path) -> str:
    """Why the graphs of a model folder cannot be used; '' where they can.

    Args:
        folder: of the model, as `folder.check_folder` accepts it.

    Raises:
        ValueError: the file that describes the graphs is damaged.
    """
    if not (folder / INDEX_FILE).is_file():
        return f'{folder} has no ONNX graphs; make them: diception export --model {folder}'
    index = read_json(folder / INDEX_FILE)
    if index.get('format') != FORMAT:
        return (
            f'{folder / INDEX_FILE}: format is {index.get("format")!r}, expected {FORMAT!r}'
            f'{_AGAIN} {folder}'
        )
    if missing := [name for name in (IMAGE, NETWORK, DECODER) if not (folder / name).is_file()]:
        return f'{folder} lacks {missing[0]}{_AGAIN} {folder}'
    if index.get('layout') != layout_hash(folder):
        return (
            f'the ONNX graphs in {folder} do not belong to its weights: a configuration, or the '
            f'layout of a file of weights, is another one{_AGAIN} {folder}'
        )
    return check_exportable(folder)


def dtype(folder: Path) -> str:
    """The precision in which the graphs of a model folder compute, by its name in torch."""
    return PRECISIONS.get(str(read_json(folder / INDEX_FILE).get('precision')), 'unknown')


def check_exportable(folder: Path) -> str:
    """What of a model the graphs and the sampler beside them cannot do; '' if there is nothing."""
    points = read_json(folder / 'point_encoder' / 'config.json')
    if points.get('fourier_dtype', 'float32') != 'float32':
        return 'fourier_dtype bfloat16 of its point encoder needs backend torch'
    scheduler = read_json(folder / 'scheduler' / 'scheduler_config.json')
    needs = [
        name
        for name in (
            'use_dynamic_shifting', 'use_karras_sigmas', 'use_exponential_sigmas',
            'use_beta_sigmas', 'invert_sigmas', 'stochastic_sampling', 'shift_terminal',
        )
        if scheduler.get(name)
    ]  # fmt: skip
    return f'{needs[0]} of its scheduler needs backend torch' if needs else ''
