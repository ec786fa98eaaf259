# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Score a model on a data set of your own: python data_set.py FOLDER.

FOLDER holds NAME.png and NAME.npy, depth in metres (0 or NaN where unknown).
"""

from pathlib import Path
import sys

import numpy as np

from diception_ros import Predictor, Prompt
from diception_ros.core.labels import MetricDepth
from diception_ros.datasets.benchmarks import Protocol
from diception_ros.evaluation import dataset_scores


def read(paths: list[Path], size: tuple[int, int]) -> MetricDepth:
    """The ground truth of one image."""
    metres = np.load(paths[0]).astype(np.float32)
    return MetricDepth(np.where(metres > 0, metres, np.nan))


PROTOCOL = Protocol(
    name='mine',
    task='depth',
    layout='NAME.png with NAME.npy beside it',
    pattern='*.png',
    truths=lambda image: [(image.removesuffix('.png') + '.npy',)],
    read=read,
    images=0,
    metres=(0.1, 20.0),
)

folder, model = [*sys.argv[1:], 'builtin'][:2]
predictor = Predictor.load(model)
samples, _ = dataset_scores.find_samples(PROTOCOL, Path(folder))


def predict(sample: dataset_scores.BenchmarkSample):
    """The label of one image; scale and shift are fitted to the ground truth before scoring."""
    frame = dataset_scores.frame_of(PROTOCOL, sample)
    return predictor.predict([frame], [Prompt('depth')])[0].label


found = dataset_scores.evaluate(PROTOCOL, samples, {'model': predict}, [])
for metric, columns in found.numbers['mine'].items():
    print(f'{metric:20} {columns["model"]:.3f}')
