# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth, normals and a person's mask of one image: python predict_image.py room.png.

A Predictor keeps the model loaded; call `predict` as often as you like. The previews
are written to depth.png, normal.png and semantic.png.
"""

import sys

from diception_ros import Frame, Predictor, Prompt, images

if len(sys.argv) < 2:
    sys.exit(__doc__)
path = sys.argv[1]
model = sys.argv[2] if len(sys.argv) > 2 else 'builtin'
predictor = Predictor.load(model, seed=0)
frame = Frame(images.read(path))
prompts = [Prompt('depth'), Prompt('normal'), Prompt('semantic', category='person')]

for prediction in predictor.predict([frame], prompts):
    label, name = prediction.label, prediction.prompt.task
    print(f'{name}: {type(label).__name__} of {label.size} (H, W) pixels')
    # Labels hold plain arrays, at the size of the image.
    if name == 'depth':
        print(f'  disparity {label.values.min():.2f} (far) to {label.values.max():.2f} (near)')
    images.write(f'{name}.png', label.preview(frame.image))
