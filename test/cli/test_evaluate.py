# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception evaluate`, as a user types it."""

import csv
import importlib.util
import json

import pytest

from diception_ros import images, tasks
from diception_ros.cli import main as command
from diception_ros.evaluate import questions, report
from diception_ros.predict import Predictor

SMALL = ['--scenes', '4', '--mean-scenes', '1', '--size', '64x48']


@pytest.fixture
def opengl():
    if importlib.util.find_spec('mujoco') is None:
        pytest.skip('MuJoCo is not installed (diception_ros[sim])')
    from diception_ros.sim import gl

    try:
        gl.context((8, 8))[1].free()
    except OSError as error:
        pytest.skip(str(error))


def evaluate(*arguments):
    return command.main(['evaluate', *map(str, arguments)])


def test_rooms_leave_a_table_and_files(opengl, tiny_folder, tmp_path, capsys):
    out = tmp_path / 'out'
    assert evaluate('--model', tiny_folder, *SMALL, '--steps', 1, 2, '--out', out) == 0
    printed = capsys.readouterr()
    assert '4 pictures of test rooms' in printed.err
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in
             printed.out.strip().splitlines()]  # fmt: skip
    assert table[0] == ['', 'metric', '1 step', '2 steps', 'shuffled', 'mean']
    assert [row[0] for row in table[2:] if row[0]] == questions.names(tasks.names())
    files = {path.name for path in out.iterdir()}
    assert files == {'metrics.json', 'answers.csv', 'first.png', 'worst.png'}
    found = json.loads((out / 'metrics.json').read_text())
    assert found['columns'] == ['1', '2', 'shuffled', 'mean']
    assert found['numbers'].keys() == set(questions.names(tasks.names()))
    assert found['rooms'] == {
        'split': 'test', 'seed': 0, 'pictures': 4, 'size': {'height': 48, 'width': 64},
        'mean_rooms': 1,
    }  # fmt: skip
    assert found['settings']['steps'] == [1, 2]
    assert found['settings']['resolution'] == 64
    assert found['model'] == {'name': str(tiny_folder), 'sha256': report.digest(tiny_folder)}
    assert images.read(out / 'first.png').shape[0] > 4 * 2 * 240
    with (out / 'answers.csv').open() as file:
        lines = list(csv.DictReader(file))
    depth = [float(line['value']) for line in lines if line['metric'] == 'abs_rel']
    assert len(depth) == 4
    # A number of the table, by hand from the answers of the single pictures.
    told = found['numbers']['depth']['abs_rel']['1']
    assert told == pytest.approx(sum(depth) / 4, rel=1e-5)
    assert f'{told:.3f}' in printed.out


def numbers(out):
    return json.loads((out / 'metrics.json').read_text())['numbers']


def test_repeats_exactly_and_one_task_is_asked_what_all_are(opengl, tiny_folder, tmp_path):
    model = ('--model', tiny_folder, *SMALL)
    assert evaluate(*model, '--out', tmp_path / 'a') == 0
    assert evaluate(*model, '--out', tmp_path / 'b') == 0
    first = numbers(tmp_path / 'a')
    assert first == numbers(tmp_path / 'b')
    assert evaluate(*model, '--tasks', 'segmentation', '--out', tmp_path / 'c') == 0
    alone = numbers(tmp_path / 'c')
    assert alone.keys() == {'segmentation_1', 'segmentation_5'}
    for kind, metrics in alone.items():
        assert metrics['iou'] == pytest.approx(first[kind]['iou'], abs=0.02)  # other kernels
        assert metrics['iou']['mean'] == first[kind]['iou']['mean']
    assert (
        evaluate(*model, '--scene-seed', 1, '--tasks', 'segmentation', '--out', tmp_path / 'd')
        == 0
    )
    assert numbers(tmp_path / 'd') != alone


def test_the_picture_reaches_the_model(opengl, tiny_folder, tmp_path, monkeypatch):
    """A model that knows the answers is perfect, and not when it sees another room."""
    from diception_ros.cli import _evaluation
    from diception_ros.evaluate import rooms

    known = {}
    for samples, rng in rooms.views(0, (48, 64), 'test', 4):
        known[samples[0].frame.image.tobytes()] = {
            one.name: one.truth for one in questions.ask(samples, rng)
        }

    def knowing(predictor):
        assert isinstance(predictor, Predictor)

        def answer(frame, prompts):
            mine = known[frame.image.tobytes()]
            return [mine['segmentation_1' if one.points else one.task] for one in prompts]

        return answer

    monkeypatch.setattr(_evaluation, '_asker', knowing)
    out = tmp_path / 'out'
    wanted = ('--tasks', 'segmentation', 'normal', 'entity')
    assert evaluate('--model', tiny_folder, *SMALL, *wanted, '--out', out) == 0
    found = numbers(out)
    assert found['segmentation_1']['iou']['1'] == found['entity']['ar']['1'] == 1
    assert found['normal']['mean_deg']['1'] < 0.01
    assert found['normal']['mean_deg']['shuffled'] > 20
    assert found['entity']['mean_iou']['shuffled'] < 0.5


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--scenes', '0'], '--scenes is 0; expected at least 1'),
        (['--mean-scenes', '0'], '--mean-scenes is 0; expected at least 1'),
        (['--scene-seed', '-1'], '--scene-seed is -1; expected at least 0'),
        (['--steps', '0'], 'steps is 0; expected at least 1'),
        (['--model', '/no/such/model'], '/no/such/model: no such model folder'),
        (['--resolution', '50'], 'this model takes multiples of'),
    ],
)
def test_mistakes_are_one_line(tiny_folder, tmp_path, capsys, arguments, message):
    out = tmp_path / 'out'
    assert evaluate('--model', tiny_folder, *arguments, '--out', out) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1
    assert err[0].startswith('diception evaluate: ')
    assert message in err[0]
    assert not out.exists()
