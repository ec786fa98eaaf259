# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The bench of adaptations goes on where it was killed, and its curves tell all seeds."""

import argparse
import csv
from pathlib import Path
import sys

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'bench'))
import adapt as bench
import adapt_curves as curves
import adapt_recipe as recipe

HEAD = ','.join(bench.COLUMNS)
MADE = dict.fromkeys(bench.METHODS, 'a')


def line(method='adapted', images=1, seed=0, true=0.5, made='a'):
    row = {'task': 'floor', 'method': method, 'images': images, 'seed': seed,
           'metric': 'iou', 'true': true, 'made': made}  # fmt: skip
    return ','.join(str(row.get(name, '')) for name in bench.COLUMNS)


def test_every_cell_comes_once_and_further_seeds_last():
    args = argparse.Namespace(
        tasks=['floor', 'shadow'], methods=bench.METHODS, counts=[1, 5, 50], repeated=[1], seeds=2
    )
    found = list(bench.cells(args))
    assert len(found) == len(set(found)) == 2 * (3 * 3 + 1) + 2 * 3
    assert [cell.seed for cell in found] == sorted(cell.seed for cell in found)
    assert {cell.images for cell in found if cell.seed} == {1}
    assert {cell.method for cell in found if not cell.images} == {'base'}


def test_a_line_that_was_cut_off_is_measured_again(tmp_path):
    path = tmp_path / 'floor.csv'
    assert bench.begin(path, MADE) == set()
    path.write_text(f'{HEAD}\n{line(images=1)}\n{line(images=5)}\n')
    whole = {bench.Cell('floor', 'adapted', count, 0) for count in (1, 5)}
    assert bench.begin(path, MADE) == whole
    text = path.read_text()
    for cut in range(1, len(line(images=5))):
        path.write_text(text[:-cut])
        assert bench.begin(path, MADE) == {bench.Cell('floor', 'adapted', 1, 0)}
        assert path.read_text() == f'{HEAD}\n{line(images=1)}\n'


def test_what_another_model_gave_is_measured_anew_and_the_rest_is_kept(tmp_path, capsys):
    path = tmp_path / 'floor.csv'
    path.write_text('\n'.join([HEAD, line(), line(made='b'), line('scratch'), '']))
    changed = {**MADE, 'adapted': 'c'}
    assert bench.begin(path, changed) == {bench.Cell('floor', 'scratch', 1, 0)}
    assert path.read_text() == '\n'.join([HEAD, line('scratch'), ''])
    assert '2 of 3 lines are of another model' in capsys.readouterr().out


def write_labels(folder, count):
    rng = np.random.default_rng(count)
    for part in ('images', 'labels'):
        (folder / part).mkdir(parents=True)
    for k in range(count):
        inside = np.zeros((32, 40), np.uint8)
        inside[rng.integers(20) :, :] = 255
        cv2.imwrite(str(folder / 'images' / f'{k}.png'), np.repeat(inside[..., None], 3, axis=-1))
        cv2.imwrite(str(folder / 'labels' / f'{k}.png'), inside)


def test_two_processes_measure_and_a_second_run_only_what_is_missing(
    tmp_path, monkeypatch, capsys
):
    write_labels(tmp_path / 'floor_train', 3)
    write_labels(tmp_path / 'floor_test', 2)
    words = ['adapt.py', str(tmp_path), 'floor', '--out', str(tmp_path / 'out'), '--steps', '1',
             '--counts', '1', '--repeated', '2', '--methods', 'base', 'adapted', '--workers',
             '2']  # fmt: skip
    monkeypatch.setattr(sys, 'argv', words)
    bench.main()
    path = tmp_path / 'out' / 'floor.csv'
    with path.open(newline='') as file:
        first = {bench.Cell(row['task'], row['method'], int(row['images']), int(row['seed'])):
                 row for row in csv.DictReader(file)}  # fmt: skip
    assert {cell[1:] for cell in first} == {('base', 0, 0), ('adapted', 1, 0), ('adapted', 2, 1)}
    assert capsys.readouterr().out.count('\n') == 3
    gone = bench.Cell('floor', 'adapted', 1, 0)
    kept = [text for text in path.read_text().splitlines() if ',adapted,1,0,' not in text]
    path.write_text('\n'.join(kept) + '\n')
    monkeypatch.setattr(sys, 'argv', [*words[:-1], '1'])
    bench.main()
    assert capsys.readouterr().out.count('\n') == 1
    with path.open(newline='') as file:
        again = list(csv.DictReader(file))
    assert len(again) == 3
    # Another process with other jobs before it gives the same, but for how fast it was.
    assert {**again[-1], 'seconds': ''} == {**first[gone], 'seconds': ''}


def test_recipes_are_scored_on_the_other_seed_at_every_threshold(tmp_path):
    write_labels(tmp_path / 'floor_21', 3)
    write_labels(tmp_path / 'floor_22', 4)
    variant = recipe.Variant('floor', 2, 1, 'all weights', {'buffer': 8}, {'rank': 0})
    found = recipe.measure(tmp_path, False, (variant, 0))
    scores = dict(zip(recipe.READINGS, found, strict=True))
    assert 0 <= scores['half'] <= scores['best'] <= 1
    assert 0 <= scores['guessed'] <= 1
    truths = [one.label for one in recipe.samples(tmp_path, 'floor', '22')]
    assert recipe.iou([one.values for one in truths], truths) == 1


def test_of_several_seeds_the_curves_tell_the_mean_and_the_ends(tmp_path):
    rows = [line('base', 0, true=0.1), line('scratch', 1, true=0.2), line('scratch', 1, 1, 0.4),
            line('scratch', 5, true=0.6)]  # fmt: skip
    (tmp_path / 'floor.csv').write_text('\n'.join([HEAD, *rows]) + '\n')
    metric, found = curves.read(tmp_path / 'floor.csv')
    table = curves.table('floor', metric, found)
    assert '| 0.300 (0.200-0.400) | 0.600 |' in table
    assert '| without adaptation | 0.100 | 0.100 |' in table
    drawn = curves.image({'floor': (metric, found)})
    middle = curves.TOP + curves.HEIGHT * (1 - 0.3)
    low, high = (curves.TOP + curves.HEIGHT * (1 - value) for value in (0.2, 0.4))
    assert f'cy="{middle:.1f}"' in drawn
    assert f'y1="{low:.1f}" y2="{high:.1f}"' in drawn


@pytest.mark.parametrize('most', [0.031, 0.1, 0.309, 1.0, 7.0, 25.0])
def test_an_axis_has_round_ticks_and_few(most):
    step = curves.round_step(most)
    assert f'{step:.1e}'[:3] in ('1.0', '2.0', '2.5', '5.0')
    assert 2 * step < most <= 5 * step
