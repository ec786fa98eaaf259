# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading .safetensors without torch, and the fingerprint of all weights."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
import torch

from diception_ros.model import weights
from diception_ros.model.folder import fingerprint
from diception_ros.model.weights import PARTS


@pytest.mark.parametrize('about', [
    {'dtype': 'F32', 'shape': [float('inf')], 'data_offsets': [0, 4]},
    {'dtype': 'F32', 'shape': [2**32, 2**32], 'data_offsets': [0, 0]},
    {'dtype': 'F32', 'shape': [10**30], 'data_offsets': [0, 4]},
    {'dtype': 'F32', 'shape': [-1], 'data_offsets': [0, 4]},
    {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 8]},
    {'dtype': 'F32', 'shape': [1], 'data_offsets': [4]},
    {'dtype': 'X', 'shape': [1], 'data_offsets': [0, 4]},
    {'dtype': 'F32', 'shape': None, 'data_offsets': [0, 4]},
    [], 'a', None,
], ids=str)  # fmt: skip
def test_headers_that_declare_what_is_not_there_are_refused(tmp_path, about):
    header = json.dumps({'a': about, '__metadata__': [1]}).encode()
    path = tmp_path / 'a.safetensors'
    path.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
    with pytest.raises(ValueError, match=r'a\.safetensors: '):
        weights.read_array(weights.tensor_places(path)['a'])
    with pytest.raises(ValueError, match='texts are no object'):
        weights.read_metadata(path)


FILE = 'diffusion_pytorch_model.safetensors'


@pytest.fixture
def original(tiny_folder, tmp_path):
    """The weights of the tiny model and of an image encoder, which is optional: any tensor."""
    folder = shutil.copytree(tiny_folder, tmp_path / 'original')
    (folder / 'image_encoder').mkdir()
    save_file({'weight': torch.ones(2, 3)}, folder / 'image_encoder' / FILE)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy of the weights, elsewhere and under another name."""
    for part in PARTS:
        shutil.copytree(original / part, tmp_path / 'elsewhere' / part)
    return tmp_path / 'elsewhere'


def test_it_does_not_depend_on_the_folder_and_what_else_is_in_it(original, folder):
    (folder / 'prompts.safetensors').write_bytes(b'another table')
    (folder / 'vae' / 'config.json').write_text('{}')
    assert fingerprint(folder) == fingerprint(original)
    assert len(fingerprint(folder)) == 64


def test_it_does_not_depend_on_how_weights_are_split(original, folder):
    weights = load_file(folder / 'transformer' / FILE)
    (folder / 'transformer' / FILE).unlink()
    names = sorted(weights)
    shards = {
        'a-00001-of-00002.safetensors': names[::2],
        'a-00002-of-00002.safetensors': names[1::2],
    }
    for file, mine in shards.items():
        save_file({name: weights[name] for name in mine}, folder / 'transformer' / file)
    index = {name: file for file, mine in shards.items() for name in mine}
    (folder / 'transformer' / f'{FILE}.index.json').write_text(json.dumps({'weight_map': index}))
    assert fingerprint(folder) == fingerprint(original)


@pytest.mark.parametrize('part', PARTS)
def test_another_number_name_type_or_shape_is_another_model(part, original, folder):
    path = folder / part / FILE
    weights = load_file(path)
    name = next(k for k, v in weights.items() if v.ndim == 2)
    once = weights[name].clone()
    once[-1, -1] = torch.nextafter(once[-1, -1], torch.tensor(9.0))
    seen = {fingerprint(original)}
    for changed in (
        {**weights, name: once},
        {(k + 'x' if k == name else k): v for k, v in weights.items()},
        {**weights, name: weights[name].view(torch.int32)},
        {**weights, name: weights[name].reshape(1, -1)},
        {k: v for k, v in weights.items() if k != name},
    ):
        save_file(changed, path)
        seen.add(fingerprint(folder))
    assert len(seen) == 6
    save_file(weights, path)
    assert fingerprint(folder) == fingerprint(original)


def test_missing_and_damaged_weights_raise_with_the_path(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none: no weights \(\*\.safetensors\) in it'):
        fingerprint(tmp_path / 'none')
    path = folder / 'vae' / FILE
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=rf'vae/{FILE}: damaged, or not a'):
        fingerprint(folder)
