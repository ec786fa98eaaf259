# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The table, metrics.json, the hash of a model, and the images."""

import csv
from dataclasses import replace
import json
import os

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Mask
from diception_ros.core.prompt import Point, Prompt
from diception_ros.evaluation import evaluators
from diception_ros.evaluation.evaluators import EvalItem
from diception_ros.reporting import tables
from diception_ros.reporting.contact_sheets import QualitativeResults, draw_prediction
from diception_ros.reporting.tables import PredictionCSV
from diception_ros.system import files

NAN = float('nan')


def test_the_table_by_hand():
    numbers = {
        'depth': {'images': {'1': 9}, 'delta1': {'1': 0.8, 'mean': NAN}, 'abs_rel': {'1': 0.125}},
        'normal': {'mean_deg': {'1': 12.3456, 'mean': 30.0}},
        'wetness': {'mae': {'1': 0.5}, 'images': {'1': 1}},
    }
    assert tables.markdown(numbers, ['1', 'mean']) == '\n'.join(
        [
            '|         | metric     | 1 step | mean  |',
            '|---------|------------|--------|-------|',
            '| depth   | abs_rel ↓  | 0.125  | –     |',
            '|         | delta1 ↑   | 0.800  | –     |',
            '| normal  | mean_deg ↓ | 12.35  | 30.00 |',
            '| wetness | mae        | 0.500  | –     |',
        ]
    )


@pytest.mark.parametrize('name', evaluators.names(tasks.names()))
def test_what_the_table_shows_is_a_number_of_the_question(name):
    task = tasks.get(evaluators.task_of(name))
    tally = evaluators.create(name)
    truth = example(task, np.random.default_rng(0), 64)
    tally.update(EvalItem(name, Prompt(task.name, 'cup' if task.takes_category else None), truth),
              truth)  # fmt: skip
    if name != 'depth':  # of which the example has no metres
        assert tables.SHOWN[name].keys() <= tally.compute().keys()


def test_numbers_that_are_none_are_null(tmp_path):
    tables.write_json(tmp_path / 'metrics.json', {'a': {1: NAN}, 'b': (1.5, float('inf')), 'c': 2})
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert found['a'] == {'1': None}
    assert found['b'] == [1.5, None]
    assert (found['c'], found['format']) == (2, tables.FORMAT)
    assert {'diception_ros', 'numpy', 'python'} <= found['versions'].keys()
    assert [path.name for path in tmp_path.iterdir()] == ['metrics.json']


def asked(seed, score=0.5, side=20):
    rng = np.random.default_rng(seed)
    truth = Mask(rng.random((side, side + 10)) > 0.5)
    frame = Frame(rng.integers(0, 255, (side, side + 10, 3), np.uint8))
    question = EvalItem('segmentation_1', Prompt('segmentation', points=(Point(3, 4),)), truth)
    return frame, question, truth, {'iou': score}


def test_the_worst_predictions_are_kept_and_shown_first(tmp_path):
    gallery = QualitativeResults(['segmentation_1'], first=0, worst=2)
    scores = [0.7, 0.2, NAN, 0.9, 0.1, 0.3]
    for number, score in enumerate(scores):
        gallery.on_prediction(number, *asked(number, score))
    gallery.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['worst.png']
    sheet = images.read(tmp_path / 'worst.png')
    other = QualitativeResults(['segmentation_1'], first=0, worst=2)
    for number in (1, 4):
        other.on_prediction(number, *asked(number, scores[number]))
    (tmp_path / 'other').mkdir()
    other.write(tmp_path / 'other')
    np.testing.assert_array_equal(images.read(tmp_path / 'other/worst.png'), sheet)
    swapped = QualitativeResults(['segmentation_1'], first=0, worst=2)
    for number in (1, 4):
        swapped.on_prediction(number, *asked(number, 1 - scores[number]))
    swapped.write(tmp_path / 'other')
    assert (images.read(tmp_path / 'other/worst.png') != sheet).any()


def test_where_less_is_better_the_largest_are_the_worst():
    assert tables.main_metric('depth') == ('abs_rel', -1)
    rng = np.random.default_rng(0)
    gallery = QualitativeResults(['normal'], first=0, worst=1)
    for number, angle in enumerate([3.0, 50.0, 20.0]):
        truth = example(tasks.get('normal'), rng, 16)
        frame = Frame(np.zeros((16, 16, 3), np.uint8))
        gallery.on_prediction(
            number, frame, EvalItem('normal', Prompt('normal'), truth), truth, {'mean_deg': angle}
        )
    assert [number for number, _ in gallery._worst.of('normal')] == [1]


def test_first_views_are_shown_with_what_was_not_asked_left_out(tmp_path):
    gallery = QualitativeResults(['segmentation_1', 'segmentation_5'], first=2, worst=0)
    for number in range(4):
        gallery.on_prediction(number, *asked(number))
    gallery.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['first.png']
    # Two views, each a row of truths and a row of predictions below the input and two kinds.
    panels = draw_prediction(*asked(0)[:3])
    height, width = images.read(tmp_path / 'first.png').shape[:2]
    assert height > 4 * panels[0].shape[0]
    assert width > 3 * panels[0].shape[1]


def test_nothing_seen_leaves_no_images(tmp_path):
    QualitativeResults(['depth']).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('side', [20, 300])
def test_images_are_large_enough_and_not_too_large(side):
    frame, item, truth, _ = asked(0, side=side)
    # Half of a pair of UTF-16, which a JSON file may have; putText ends the process at it.
    item = replace(item, prompt=Prompt('semantic', '\ud800'))
    panels = draw_prediction(frame, item, truth)
    assert len({image.shape for image in panels}) == 1
    height, width = panels[0].shape[:2]
    assert min(height, width) >= 240
    assert width <= 360
    assert abs(width / height - (side + 10) / side) < 0.01


def test_points_lie_where_they_were_asked():
    black = Frame(np.zeros((20, 30, 3), np.uint8))
    truth = Mask(np.zeros((20, 30), np.bool_))
    question = EvalItem('segmentation_1', Prompt('segmentation', points=(Point(24, 5),)), truth)
    _, shown, prediction = draw_prediction(black, question, truth)
    rows, columns = np.nonzero(shown.any(axis=-1))
    assert abs(rows.mean() - (5.5 * 12 - 0.5)) < 1
    assert abs(columns.mean() - (24.5 * 12 - 0.5)) < 1
    assert not prediction.any()


def test_names_that_are_no_unicode_are_written_as_escapes_in_utf_8(tmp_path):
    name = os.fsdecode('ä'.encode() + b'\xff')
    tables.write_csv(tmp_path / 'a.csv', [{'item': name}])
    log = PredictionCSV(tmp_path / 'b.csv')
    frame, item, truth, _ = asked(0)
    log.on_prediction(0, frame, replace(item, prompt=Prompt('semantic', name)), truth, {'iou': 1})
    log.close()
    files.write_text(tmp_path / 'c.html', name)
    for path in tmp_path.iterdir():
        assert 'ä\\udcff'.encode() in path.read_bytes()


def test_the_log_holds_every_number(tmp_path):
    log = PredictionCSV(tmp_path / 'predictions.csv')
    frame, question, truth, _ = asked(0)
    log.on_prediction(7, frame, question, truth, {'iou': 1 / 3, 'other': NAN})
    log.close()
    with (tmp_path / 'predictions.csv').open() as file:
        lines = list(csv.DictReader(file))
    assert lines == [
        {'frame': '7', 'item': 'segmentation_1', 'category': '', 'metric': 'iou',
         'value': '0.333333'},
        {'frame': '7', 'item': 'segmentation_1', 'category': '', 'metric': 'other',
         'value': ''},
        {'frame': '7', 'item': 'segmentation_1', 'category': '', 'metric': 'share',
         'value': f'{truth.values.mean():.6g}'},
    ]  # fmt: skip
