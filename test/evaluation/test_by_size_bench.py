# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""bench/by_size.py sorts the predictions of an evaluation by what was asked for."""

from pathlib import Path
import sys

import numpy as np
import pytest

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Mask
from diception_ros.core.prompt import Prompt
from diception_ros.evaluation.evaluators import EvalItem
from diception_ros.reporting.tables import PredictionCSV

sys.path.insert(0, str(Path(__file__).parents[2] / 'bench'))
from by_size import by_size

SIDE = 10


def write(path, sizes):
    """An evaluation in which things of k pixels are answered with an IoU of k / 100."""
    log = PredictionCSV(path)
    frame = Frame(np.zeros((SIDE, SIDE, 3), np.uint8))
    for number, size in enumerate(sizes):
        truth = Mask(np.arange(SIDE * SIDE).reshape(SIDE, SIDE) < size)
        for name in ('semantic', 'other'):
            score = {'iou': size / 100 if name == 'semantic' else 0.0}
            log.on_prediction(
                number, frame, EvalItem(name, Prompt('semantic'), truth), truth, score
            )
    log.close()


def test_parts_are_equal_and_from_small_to_large(tmp_path):
    sizes = [30, 0, 4, 2, 90, 50, 3]  # where nothing was asked for, there is no size
    write(tmp_path / 'predictions.csv', sizes)
    rows = by_size(tmp_path / 'predictions.csv', 'semantic', 'iou', 3)
    assert [count for count, _, _ in rows] == [2, 2, 2]
    np.testing.assert_allclose([share for _, share, _ in rows], [0.025, 0.17, 0.7])
    np.testing.assert_allclose([iou for _, _, iou in rows], [0.025, 0.17, 0.7])


def test_too_few_predictions_are_reported(tmp_path):
    write(tmp_path / 'predictions.csv', [5, 0])
    with pytest.raises(ValueError, match='1 predictions of semantic have iou'):
        by_size(tmp_path / 'predictions.csv', 'semantic', 'iou', 2)
