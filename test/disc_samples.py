# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples that a tiny network can learn in seconds, and settings for such a network."""

from dataclasses import replace

import numpy as np
import torch

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity, Mask
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets.sample import Sample
from diception_ros.training.settings import TrainSettings

SIDE = 32
TINY = TrainSettings(
    resolution=SIDE, prediction='sample', weighting='sample', width=64, layers=2, heads=4,
    task_weights='segmentation=1 depth=1', batch_size=8, max_steps=4, lr=1e-3, pure_noise_prob=0.7,
    cond_dropout=0.1, ema=0.9, log_every=2, save_every=2, validate_every=0, hflip=False,
)  # fmt: skip


def discs(count, seed, tasks=('segmentation', 'depth')):
    """A bright disc on dark noise: its mask, and its brightness as disparity."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    out = []
    for k in range(count):
        x, y = rng.integers(6, SIDE - 6, 2)
        inside = np.hypot(rows - y, columns - x) < rng.uniform(4, 9)
        grey = np.where(inside, rng.uniform(0.6, 0.9), 0.2) + rng.normal(0, 0.03, (SIDE, SIDE))
        image = np.repeat((grey.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)
        frame = Frame(image)
        predictions = {
            'segmentation': (Prompt('segmentation', points=(Point(float(x), float(y)),)),
                             Mask(inside)),
            'depth': (Prompt('depth'), Disparity(inside.astype(np.float32))),
        }  # fmt: skip
        out += [Sample(frame, *predictions[task], name=f'disc {k} {task}') for task in tasks]
    return out


def tiny(**changes):
    return replace(TINY, **changes)


def equal(one, two):
    """Whether two pools hold the same samples."""
    return one.names == two.names and torch.equal(one.targets, two.targets)
