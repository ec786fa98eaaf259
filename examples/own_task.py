# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A task of your own: how a label becomes an image for the network, and back.

The model generates RGB images, so a task is a way to draw a label and to read the drawing. Copy
this file to diception_ros/tasks/edges.py: it is found by its name, every command and the node take
it, and the tests check it. Then train on samples of it (docs/training.md). Run it to see the round
trip.
"""

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Mask
from diception_ros.core.prompt import Prompt


class Edges:
    """Edges of objects as white lines on black."""

    name = 'edges'
    prompt = '[[image2edges]]'
    label = Mask
    takes_points = False
    takes_category = False

    def text(self, prompt: Prompt) -> str:
        """The text that the network gets."""
        if prompt.points or prompt.category is not None:
            raise ValueError('task edges takes neither points nor a category')
        return self.prompt

    def encode(self, label: Mask) -> NDArray[np.float32]:
        """Draw: (S, S, 3) float32 in [0, 1]."""
        return np.repeat(label.values[..., None], 3, axis=2).astype(np.float32)

    def decode(self, rgb: NDArray[np.float32], prompt: Prompt | None = None) -> Mask:
        """Read: what is brighter than half; noisy drawings must do, too."""
        return Mask(rgb.mean(axis=2) > 0.5)

    def score(self, predicted: Mask, truth: Mask) -> dict[str, float]:
        """Intersection over union; NaN where both are empty."""
        union = np.logical_or(predicted.values, truth.values).sum()
        both = np.logical_and(predicted.values, truth.values).sum()
        return {'iou': float(both / union) if union else float('nan')}

    def example(self, rng: np.random.Generator, size: int = 768) -> Mask:
        """A random label, on which the tests check that drawing and reading agree."""
        values = np.zeros((size, size), bool)
        values[rng.integers(size)] = values[:, rng.integers(size)] = True
        return Mask(values)


TASK = Edges()

if __name__ == '__main__':
    rng = np.random.default_rng(0)
    truth = TASK.example(rng, 64)
    drawing = TASK.encode(truth)
    noisy = drawing + rng.normal(0, 0.1, drawing.shape).astype(np.float32)
    print('round trip through noise:', TASK.score(TASK.decode(noisy), truth))
