# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception evaluate`, as a user types it."""

import csv
import json
import subprocess
import sys

from layouts import PLACES, write
import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.cli import main as command
from diception_ros.core import images
from diception_ros.core.labels import Disparity, Normals, save_npz
from diception_ros.datasets import benchmarks
from diception_ros.evaluation import evaluators
from diception_ros.perception.predictor import Predictor
from diception_ros.system.files import sha256

SMALL = ['--scenes', '4', '--mean-scenes', '1', '--size', '64x48']


def evaluate(*arguments):
    return command.main(['evaluate', *map(str, arguments)])


def test_rooms_leave_a_table_and_files(opengl, tiny_folder, tmp_path, capsys):
    out = tmp_path / 'out'
    assert (
        evaluate('--model', tiny_folder, *SMALL, '--num-inference-steps', 1, 2, '--out', out) == 0
    )
    printed = capsys.readouterr()
    assert '4 images of test rooms' in printed.err
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in
             printed.out.strip().splitlines()]  # fmt: skip
    assert table[0] == ['', 'metric', '1 step', '2 steps', 'shuffled', 'mean']
    assert [row[0] for row in table[2:] if row[0]] == evaluators.names(tasks.names())
    files = {path.name for path in out.iterdir()}
    assert files == {'metrics.json', 'predictions.csv', 'first.png', 'worst.png'}
    found = json.loads((out / 'metrics.json').read_text())
    assert found['columns'] == ['1', '2', 'shuffled', 'mean']
    assert found['numbers'].keys() == set(evaluators.names(tasks.names()))
    assert found['rooms'] == {
        'split': 'test', 'seed': 0, 'images': 4, 'size': {'height': 48, 'width': 64},
        'mean_rooms': 1,
    }  # fmt: skip
    assert found['settings']['num_inference_steps'] == [1, 2]
    assert found['settings']['processing_resolution'] == 64
    assert found['model'] == {'name': str(tiny_folder), 'sha256': sha256(tiny_folder)}
    assert images.read(out / 'first.png').shape[0] > 4 * 2 * 240
    with (out / 'predictions.csv').open() as file:
        lines = list(csv.DictReader(file))
    depth = [float(line['value']) for line in lines if line['metric'] == 'abs_rel']
    assert len(depth) == 4
    # A number of the table, by hand from the predictions of the single images.
    abs_rel = found['numbers']['depth']['abs_rel']['1']
    assert abs_rel == pytest.approx(sum(depth) / 4, rel=1e-5)
    assert f'{abs_rel:.3f}' in printed.out


def numbers(out):
    return json.loads((out / 'metrics.json').read_text())['numbers']


def test_repeats_exactly_and_one_task_is_asked_what_all_are(opengl, tiny_folder, tmp_path):
    model = ('--model', tiny_folder, *SMALL, '--scenes', '2')
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


def test_the_image_reaches_the_model(opengl, tiny_folder, tmp_path, monkeypatch):
    """A model that knows the predictions is perfect, and not when it sees another room."""
    from diception_ros.simulation import sample_stream
    from diception_ros.workflows import evaluate as module

    known = {}
    for samples, rng in sample_stream.room_views(0, (48, 64), 'test', 4):
        known[samples[0].frame.image.tobytes()] = {
            one.name: one.truth for one in evaluators.build_items(samples, rng)
        }

    def knowing(predictor, settings):
        assert isinstance(predictor, Predictor)

        def prediction(frame, prompts):
            mine = known[frame.image.tobytes()]
            return [mine['segmentation_1' if one.points else one.task] for one in prompts]

        return prediction

    monkeypatch.setattr(module, '_predict_fn', knowing)
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
        (['--scenes', '0'], 'scenes is 0; expected at least 1'),
        (['--mean-scenes', '0'], 'mean_scenes is 0; expected at least 1'),
        (['--scene-seed', '-1'], 'scene_seed is -1; expected at least 0'),
        (['--tasks'], 'tasks is empty; expected one or more'),
        (['--out', '/dev/null/x'], '/dev/null is a file; results need a folder'),
        (['--num-inference-steps', '0'], 'num_inference_steps is 0; expected at least 1'),
        (['--model', '/no/such/model'], '/no/such/model: no such model folder'),
        (['--processing-resolution', '50'], 'this model takes multiples of'),
    ],
)
def test_user_errors_are_one_line(tiny_folder, tmp_path, capsys, arguments, message):
    out = tmp_path / 'out'
    assert evaluate('--model', tiny_folder, '--out', out, *arguments) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1
    assert err[0].startswith('diception evaluate: ')
    assert message in err[0]
    assert not out.exists()


def test_pycocotools_is_missed_before_the_work(tiny_folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    assert evaluate('--model', tiny_folder, '--tasks', 'depth', 'entity', 'pose') == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1
    assert "COCO's numbers for entity, pose need pycocotools" in err[0]


# ---- data sets ------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['scannet', 'kitti', 'scannet_normals'])
def test_a_model_and_its_predictions_in_files_score_the_same(name, tiny_folder, tmp_path, capsys):
    write(name, tmp_path / 'data')
    task = 'normal' if name.endswith('normals') else 'depth'
    image_files = [str(tmp_path / 'data' / place) for place in PLACES[name][0]]
    if name == 'kitti':  # the model sees a part of the image
        for image in image_files:
            images.write(image, images.read(image)[benchmarks.benchmark_crop((375, 1242))])
        shown = tmp_path / 'shown'
        (tmp_path / 'data').rename(shown)
        image_files = [str(shown / place) for place in PLACES[name][0]]
        write(name, tmp_path / 'data')
    predict = [
        'predict',
        *image_files,
        '--model',
        str(tiny_folder),
        '--tasks',
        task,
        '--num-inference-steps',
        '2',
    ]
    out = tmp_path / 'predicted'
    assert command.main([*predict, '--guidance-scale', '1', '--out', str(out)]) == 0
    with_model = ('--model', tiny_folder, '--num-inference-steps', 2, 1)
    assert evaluate(tmp_path / 'data', '--protocol', name, *with_model,
                    '--out', tmp_path / 'a') == 0  # fmt: skip
    table = capsys.readouterr().out
    assert '| 2 steps | 1 step | paper, 28 steps, guidance 2 |' in table
    assert evaluate(tmp_path / 'data', '--protocol', name, '--predictions', out,
                    '--out', tmp_path / 'b') == 0  # fmt: skip
    one, two = (json.loads((tmp_path / x / 'metrics.json').read_text()) for x in 'ab')
    first = 'mean_deg' if task == 'normal' else 'abs_rel'
    columns = {'a': one['numbers'][name], 'b': two['numbers'][name]}
    assert columns['a'].keys() == columns['b'].keys()
    for metric in columns['a']:
        found = columns['b'][metric]['predictions']
        assert found == pytest.approx(columns['a'][metric]['2'], rel=1e-4), metric
    assert columns['a'][first]['1'] != columns['a'][first]['2']
    assert one['model']['sha256'] == sha256(tiny_folder)
    assert two['predictions']['metadata'][0]['settings']['num_inference_steps'] == 2
    assert one['dataset']['images'] == two['dataset']['images'] == 2
    assert (tmp_path / 'a/first.png').is_file()
    assert (tmp_path / 'b/worst.png').is_file()
    assert columns['a'][first]['paper'] == benchmarks.get(name).published[first]


def test_several_processes_score_the_same_as_one(tiny_folder, tmp_path, capsys):
    write('scannet', tmp_path / 'data')
    given = (tmp_path / 'data', '--protocol', 'scannet', '--model', tiny_folder, '--threads', '1')
    assert evaluate(*given, '--out', tmp_path / 'one') == 0
    table = capsys.readouterr().out
    assert evaluate(*given, '--out', tmp_path / 'several', '--jobs', '2') == 0
    assert capsys.readouterr().out == table
    found = json.loads((tmp_path / 'several/metrics.json').read_text())
    assert found['predictions']['folder'] == str(tmp_path / 'several/predictions/1')
    for more, message in (((), 'need --out'), (('--predictions', 'x'), 'leave out --jobs')):
        out = ('--out', tmp_path / 'out') if more else ()
        model = () if more else ('--model', tiny_folder)
        assert evaluate(tmp_path / 'data', '--protocol', 'scannet', *model, *more, *out,
                        '--jobs', '2') == 1  # fmt: skip
        assert message in capsys.readouterr().err
    assert evaluate(tmp_path / 'data', '--protocol', 'kitti', '--jobs', '2', '--out', 'x') == 1
    assert 'shows the model a part' in capsys.readouterr().err


def test_scoring_files_loads_no_model(tiny_folder, tmp_path):
    write('scannet', tmp_path / 'data')
    for place in PLACES['scannet'][0]:
        label = Disparity(np.random.default_rng(0).random((48, 64), np.float32))
        (tmp_path / 'out' / place).mkdir(parents=True)
        save_npz(label, tmp_path / 'out' / place / 'depth.npz')
    arguments = ['evaluate', tmp_path / 'data', '--protocol', 'scannet', '--predictions',
                 tmp_path / 'out', '--out', tmp_path / 'scores']  # fmt: skip
    program = (
        'import sys\n'
        'from diception_ros.cli.main import main\n'
        f'assert main({[*map(str, arguments)]!r}) == 0\n'
        "heavy = {'torch', 'diffusers', 'transformers', 'mujoco', 'rclpy'} & set(sys.modules)\n"
        'assert not heavy, heavy\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'abs_rel' in done.stdout
    assert "2 images; the paper's table is of 800" in done.stderr
    assert (tmp_path / 'scores/metrics.json').is_file()


def test_axes_that_disagree_are_doubted(tmp_path, capsys):
    truths = write('scannet_normals', tmp_path / 'data')
    for place, truth in zip(PLACES['scannet_normals'][0], truths, strict=True):
        (tmp_path / 'out' / place).mkdir(parents=True)
        mirrored = Normals((truth * [-1, 1, 1]).astype(np.float32))
        save_npz(mirrored, tmp_path / 'out' / place / 'normal.npz')
    asked = (tmp_path / 'data', '--protocol', 'scannet_normals', '--predictions', tmp_path / 'out')
    assert evaluate(*asked) == 0
    err = capsys.readouterr().err
    assert "would be 0.0 if the ground truth's x pointed the other way" in err
    assert "truth's y" not in err
    assert "truth's z" not in err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['DATA'], 'DATASET needs --protocol, one of coco, diode, '),
        (['--protocol', 'nyuv2'], '--protocol needs DATASET'),
        (['--predictions', 'x'], '--predictions needs DATASET'),
        (['--list', 'x'], '--list needs DATASET'),
        (['DATA', '--protocol', 'nyuv2', '--scenes', '3'], '--scenes is for rooms'),
        (['DATA', '--protocol', 'nyuv2', '--scene-seed', '7'], '--scene-seed is for rooms'),
        (['DATA', '--protocol', 'nyuv2', '--tasks', 'depth'], '--tasks is for rooms'),
        (['DATA', '--protocol', 'nyuv2', '--predictions', 'x', '--model', 'y'], 'not both'),
        (['DATA', '--protocol', 'nyuv2'], 'nothing in it matches test/*/rgb_*.png'),
        (['DATA/none', '--protocol', 'nyuv2'], 'none: no such folder; protocol nyuv2 expects'),
        (['DATA', '--protocol', 'scannet', '--list', 'DATA/none'], 'none: no such file'),
        (['DATA', '--protocol', 'scannet', '--predictions', 'DATA/none'], 'no such folder of'),
        (['DATA', '--protocol', 'scannet', '--model', 'DATA/none'], 'none: no such model folder'),
    ],
)
def test_data_set_errors_are_one_line(tmp_path, capsys, arguments, message):
    write('scannet', tmp_path)
    given = [one.replace('DATA', str(tmp_path)) for one in arguments]
    assert evaluate(*given, '--out', tmp_path / 'out') == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1
    assert err[0].startswith('diception evaluate: ')
    assert message in err[0]
    assert not (tmp_path / 'out').exists()


def test_an_unknown_protocol_lists_the_known(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        evaluate(tmp_path, '--protocol', 'sunrgbd')
    assert end.value.code == 2
    assert 'nyuv2_normals' in capsys.readouterr().err


def test_json_has_the_numbers_and_nothing_else_is_printed(monkeypatch, capsys):
    from diception_ros.workflows import evaluate as module

    numbers = {'depth': {'delta1': {'1': np.float32(0.5), 'mean': float('nan')}}}

    def evaluated(config, progress):
        print('a library prints')
        return module.EvaluateResult(numbers, ['1', 'mean'], 3, '| a table |', 'three images')

    monkeypatch.setattr(module, 'evaluate', evaluated)
    assert evaluate('--json') == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document.pop('version')
    assert document == {
        'kind': 'evaluate', 'schema': 1, 'summary': 'three images', 'frames': 3,
        'columns': ['1', 'mean'], 'numbers': {'depth': {'delta1': {'1': 0.5, 'mean': None}}},
        'out': None,
    }  # fmt: skip
    assert 'a library prints' in printed.err
