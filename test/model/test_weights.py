# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files of weights that declare what they do not hold are refused."""

import json

import pytest

from diception_ros.model import weights


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
