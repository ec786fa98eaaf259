# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node with a model that costs nothing: what is left is the node.

    python bench/zero.py --ros-args -p tasks:="[depth, normal]" -r image:=/camera/image_raw

Its answers are the examples of the tasks, whatever the image. ZERO_SECONDS in the environment
makes each frame last that long, ZERO_FAILS=1 makes each fail, loading waits for the file
ZERO_LOADED, and diagnostics are published every ZERO_REPORT_S seconds; the tests use all four.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys
import time
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test'))

from task_examples import example

from diception_ros import tasks
from diception_ros.core import adapter_card as cards
from diception_ros.core.images import ResizeTransform
from diception_ros.node import diagnostics, process
from diception_ros.perception.perceiver import Perceiver

# Side of the square of the examples; they are stretched to the frame's size.
SIDE = 64
STAGES = ('fit', 'encode', 'denoise', 'decode', 'read')


class ZeroPredictor:
    """Answers as `Predictor` does, from a table."""

    resolution = SIDE
    backend = SimpleNamespace(name='zero')
    dtype = 'float32'

    def __init__(self):
        self._answers, self.tasks = {}, tasks.BUILTIN
        self._seconds = float(os.environ.get('ZERO_SECONDS', 0))
        self._fails = bool(os.environ.get('ZERO_FAILS'))

    def check(self, prompts, settings, adapters=()):
        for prompt in prompts:
            if prompt.category == 'unknown':
                raise ValueError('no embedding for unknown')

    def adapt(self, adapters):
        self.tasks = tasks.TaskRegistry(tuple(cards.read(folder) for folder in adapters))

    def infer(self, frames, prompts, settings, at_model_size=False):
        if self._fails:
            raise RuntimeError('out of GPU memory for a single answer')
        time.sleep(self._seconds)
        each = self._seconds / max(1, len(prompts))
        return [
            SimpleNamespace(
                label=self._label(prompt, (SIDE, SIDE) if at_model_size else frame.size),
                prompt=prompt,
                stamp_ns=frame.stamp_ns,
                frame_id=frame.frame_id,
                seconds={**dict.fromkeys(STAGES, 0.0), 'denoise': each},
                uncertainty=None,
            )
            for frame, prompt in zip(frames, prompts, strict=True)
        ]

    def _label(self, prompt, size):
        key = prompt.task, prompt.category, size
        if key not in self._answers:
            task = self.tasks.get(prompt.task)
            label = example(task, np.random.default_rng(0), SIDE)
            if task.takes_category:
                label = task.decode(task.encode(label), prompt)
            self._answers[key] = label.to_image_size(ResizeTransform(size, SIDE))
        return self._answers[key]


def load(node, perception, types, say):
    """Stands in for `node.model_loading.load`."""
    if not node.model.startswith(('zero', 'builtin')):
        raise FileNotFoundError(f'{node.model}: no such model folder')
    loaded = os.environ.get('ZERO_LOADED')
    if loaded:
        say('waiting for a file')
        while not Path(loaded).exists():
            time.sleep(0.02)
    predictor = ZeroPredictor()
    return predictor, Perceiver(predictor, types, perception)


if __name__ == '__main__':
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_known_args()  # for --help; the rest is for ROS
    diagnostics.PERIOD = float(os.environ.get('ZERO_REPORT_S', diagnostics.PERIOD))
    process.run(sys.argv[1:], load)
