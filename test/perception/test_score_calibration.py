# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scores after calibration: shares that are right, in the order of the codec's scores."""

import json

import numpy as np
import pytest

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity, Instances, Keypoints, Mask
from diception_ros.core.prompt import Point, Prompt
from diception_ros.model import DiceptionPipeline
from diception_ros.perception.predictor import Predictor
from diception_ros.perception.score_calibration import (
    FILE,
    ScoreCalibration,
    calibration_error,
    fit,
)


def predictions(seed, count=4000):
    """Scores, and whether each is right: with a share of score squared."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(size=count)
    return scores, (rng.uniform(size=count) < scores**2).astype(float)


def test_fitted_scores_are_the_share_that_is_right_and_keep_their_order():
    table = fit(*predictions(0))
    scores, right = predictions(1)
    after = np.interp(scores, *table.T)
    assert calibration_error(scores, right) > 0.12
    assert calibration_error(after, right) < 0.04
    assert (np.diff(after[np.argsort(scores)]) >= 0).all()


def test_where_high_scores_are_no_better_all_get_the_mean_share():
    scores, right = predictions(2)
    table = fit(scores, 1 - right)
    assert len(table) == 1
    assert table[0, 1] == pytest.approx(1 - right.mean(), abs=0.01)


def test_error_of_a_constant_is_its_distance_from_the_share():
    right = np.repeat([0.0, 1.0], [30, 10])
    assert calibration_error(np.full(40, 0.25), right) == pytest.approx(0)
    assert calibration_error(np.full(40, 0.85), right) == pytest.approx(0.6)


def test_only_scores_of_the_tables_task_change():
    found = ScoreCalibration({'entity': np.array([[0.0, 0.1], [1.0, 0.5]])})
    ids = np.array([[0, 1], [2, 2]], np.int32)
    label = Instances(ids, ('', ''), np.array([0.5, 1], np.float32))
    assert found.apply('entity', label).scores == pytest.approx([0.3, 0.5])
    assert found.apply('semantic', label) is label
    mask = Mask(ids > 0, 0.25)
    assert found.apply('entity', mask).score == pytest.approx(0.2)
    seen = np.zeros((1, 17), np.uint8)
    seen[0, 3] = 2
    joints = np.full((1, 17, 2), np.nan, np.float32)
    joints[seen > 0] = 1
    scores = (seen > 0).astype(np.float32)
    people = Keypoints(joints, seen, scores, np.zeros((0, 2), np.float32), (2, 2))
    assert found.apply('entity', people).scores[0, 2:4] == pytest.approx([0, 0.5])
    depth = Disparity(np.zeros((2, 2), np.float32))
    assert found.apply('entity', depth) is depth


def test_predictions_below_the_minimum_score_are_dropped():
    found = ScoreCalibration({'entity': np.array([[0.0, 0.0], [1.0, 0.5]])}, {'entity': 0.3})
    ids = np.array([[0, 1], [2, 2]], np.int32)
    label = Instances(ids, ('a', 'b'), np.array([0.5, 0.8], np.float32))
    kept = found.apply('entity', label)
    assert kept.categories == ('b',)
    assert kept.scores == pytest.approx([0.4])
    assert np.array_equal(kept.ids, [[0, 0], [1, 1]])
    seen = np.full((2, 17), 2, np.uint8)
    joints = np.zeros((2, 17, 2), np.float32)
    scores = np.repeat(np.array([[1.0], [0.2]], np.float32), 17, axis=1)
    people = Keypoints(joints, seen, scores, np.zeros((0, 2), np.float32), (2, 2))
    assert found.apply('entity', people).scores == pytest.approx(np.full((1, 17), 0.5))
    assert found.apply('entity', Mask(ids > 0, 0.1)).values.any()


@pytest.mark.parametrize(
    'content',
    ['[', '[1]', '{"entity": 3}', '{"entity": [[0.5, 0.1], [0.2, 0.3]]}', '{"entity": [[0, 2]]}',
     '{"entity": [["a", 0]]}', '{"entity": [[0, 0.5], [0.1, 0.4]]}', '{"entity": []}',
     '{"least": {"pose": 2}}', '{"least": [1]}'],
)  # fmt: skip
def test_file_of_anything_else_is_refused(content, tmp_path):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ValueError, match=FILE):
        ScoreCalibration.load(tmp_path)


def test_predictor_calibrates_by_the_folder_of_its_weights(tiny_folder, tmp_path):
    DiceptionPipeline.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    frame = Frame(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8))
    prompt = Prompt('segmentation', points=(Point(9, 9),))
    (before,) = Predictor.load(tmp_path).predict([frame], [prompt])
    (tmp_path / FILE).write_text(json.dumps({'segmentation': [[0, 0.3], [1, 0.4]]}))
    (after,) = Predictor.load(tmp_path).predict([frame], [prompt])
    assert after.label.score == pytest.approx(0.3 + 0.1 * before.label.score)
    assert np.array_equal(after.label.values, before.label.values)
