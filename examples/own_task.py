# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A task of your own: how a label becomes an image for the network, and back.

The model generates RGB images, so a task encodes a label as an image and decodes a generated
image. Copy this file to diception_ros/tasks/edges.py: it is found by its name, every command and
the node take it, and the tests check it. Then train on samples of it (docs/training.md). Run it to
see the round trip.
"""

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Mask
from diception_ros.core.prompt import Prompt
from diception_ros.tasks import Task, check_output_image, check_same_size, check_square


class Edges(Task[Mask]):
    """Edges of objects as white lines on black."""

    def encode(self, label: Mask) -> NDArray[np.float32]:
        """(S, S, 3) float32 in [0, 1]."""
        check_square(label)
        return np.repeat(label.values[..., None], 3, axis=2).astype(np.float32)

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Mask:
        """Pixels brighter than half: a generated image is never exactly black and white."""
        check_output_image(rgb)
        return Mask(rgb.mean(axis=2) > 0.5)

    def score(self, predicted: Mask, truth: Mask) -> dict[str, float]:
        """Intersection over union; NaN where both are empty."""
        check_same_size(predicted, truth)
        union = np.logical_or(predicted.values, truth.values).sum()
        both = np.logical_and(predicted.values, truth.values).sum()
        return {'iou': float(both / union) if union else float('nan')}


# The name of the file, the network's prompt, and the kind of label, which brings resizing,
# flipping, visualizations and messages.
TASK = Edges('edges', '[[image2edges]]', Mask)

if __name__ == '__main__':
    rng = np.random.default_rng(0)
    lines = np.zeros((64, 64), bool)
    lines[20] = lines[:, 40] = True
    truth = Mask(lines)
    encoded = TASK.encode(truth)
    noisy = encoded + rng.normal(0, 0.1, encoded.shape).astype(np.float32)
    print('round trip through noise:', TASK.score(TASK.decode(noisy), truth))
