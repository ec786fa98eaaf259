#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
#
# torch 2.13.0, diffusers 0.42.1, onnxscript 0.7.2, onnx 1.23.2, onnxruntime 1.32.0, Python 3.11.
# The transformer of Stable Diffusion 3 crops its position table by
# `top = (size - rows) // 2; table[top:top + rows]`. With dynamic image sides, torch.export rewrites
# the end of the slice to `size // 2 + rows + (-rows) // 2`, which is the same integer in Python. The
# ONNX translation writes `//` as Div, which rounds towards zero where Python rounds down, so that
# `(-rows) // 2` of an odd number of rows is one too large. torch.onnx.export reports success, the
# program of torch.export is right for every size, and the graph works where both numbers of patches
# are even: 49 of 196 sizes here. The others end in a broadcast error of ONNX Runtime. Where the size
# of a slice is not checked by a later node, the result is longer without any error.
#
# Prints for how many sizes the graph runs and agrees, then the silent case; fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0
"$folder/venv/bin/pip" install -q diffusers==0.42.1 onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
cat > try.py <<'PY'
import warnings

from diffusers import SD3Transformer2DModel
import numpy as np
import onnxruntime
import torch

warnings.filterwarnings('ignore')
DYNAMIC = torch.export.Dim.DYNAMIC


def session(module, inputs, shapes):
    program = torch.onnx.export(module, (), kwargs=inputs, dynamic_shapes=shapes, verbose=False)
    program.save('graph.onnx')
    return onnxruntime.InferenceSession('graph.onnx')


def run(graph, inputs):
    return graph.run(None, {name: value.numpy() for name, value in inputs.items()})[0]


def inputs(height, width):
    torch.manual_seed(1)
    return {
        'hidden_states': torch.randn(2, 4, height, width),
        'encoder_hidden_states': torch.randn(2, 3, 8),
        'pooled_projections': torch.randn(2, 8),
        'timestep': torch.tensor([3.0, 700.0]),
    }


torch.manual_seed(0)
sd3 = SD3Transformer2DModel(
    sample_size=16, patch_size=2, in_channels=4, out_channels=4, num_layers=1,
    attention_head_dim=8, num_attention_heads=2, caption_projection_dim=16,
    joint_attention_dim=8, pooled_projection_dim=8, pos_embed_max_size=16,
).eval()
example = inputs(16, 8)
shapes = {name: {} for name in example} | {'hidden_states': {2: DYNAMIC, 3: DYNAMIC}}
program = torch.export.export(sd3, (), example, dynamic_shapes=shapes).module()
graph = session(sd3, example, shapes)
agree, fail, exported = set(), set(), 0
for height in range(4, 32, 2):
    for width in range(4, 32, 2):
        sample = inputs(height, width)
        with torch.no_grad():
            expected = sd3(**sample).sample
            exported += torch.allclose(program(**sample).sample, expected, atol=1e-5)
        try:
            found = run(graph, sample)
        except Exception as error:
            assert 'broadcast' in str(error)
            fail.add((height // 2, width // 2))
        else:
            assert np.abs(found - expected.numpy()).max() < 1e-4
            agree.add((height // 2, width // 2))
print(f'sizes: {len(agree) + len(fail)}; torch.export agrees: {exported}; '
      f'ONNX agrees: {len(agree)}; ONNX fails to run: {len(fail)}')
assert (exported, len(agree), len(fail)) == (196, 49, 147)
assert all(rows % 2 == 0 and columns % 2 == 0 for rows, columns in agree)


class Crop(torch.nn.Module):
    def forward(self, x):
        return torch.arange(16)[: 10 + (-x.shape[0]) // 2]


graph = session(Crop(), {'x': torch.zeros(6)}, {'x': {0: DYNAMIC}})
lengths = [
    (count, len(Crop()(torch.zeros(count))), len(run(graph, {'x': torch.zeros(count)})))
    for count in (4, 5, 6, 7)
]
print('length of the input, of the crop in torch, of the crop in ONNX:', *lengths)
assert lengths == [(4, 8, 8), (5, 7, 8), (6, 7, 7), (7, 6, 7)]
PY
OMP_NUM_THREADS=1 "$folder/venv/bin/python" try.py 2>/dev/null
