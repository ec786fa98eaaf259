# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Teach the model a task from labelled images, and use it: python adapter.py labels photo.png.

`labels` holds images/NAME.png and labels/NAME.png (8 bit, 0 is background). About 50 are enough.
"""

import sys

from diception_ros import AdaptConfig, PredictConfig, adapt, predict

labels, image, model = [*sys.argv[1:], 'builtin'][:3]
steps = int(sys.argv[4]) if len(sys.argv) > 4 else 0  # 0: as many as it takes
result = adapt(
    AdaptConfig(
        task='floor', kind='mask', out='floor_adapter', model=model,
        labels={'data': labels}, learning={'max_steps': steps},
    )
)  # fmt: skip
iou = result.card.metrics['best_iou']
print(f'IoU on images that were held back: {iou["true"]:.2f}; mean image: {iou["mean"]:.2f}')

written = predict(
    PredictConfig(images=[image], model=model, adapters=['floor_adapter'], out='results')
).written
print('see', *written.values())
