# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception evaluate --adapters`: trained tasks, on labels that people made."""

import csv
import json

from adapter_fixtures import write_adapter
from disc_samples import discs
import labelled_files as files
import numpy as np
import pytest

from diception_ros.cli import main as command
from diception_ros.core import images
from diception_ros.core.images import ResizeTransform
from diception_ros.core.labels import Disparity
from diception_ros.core.prompt import Prompt
from diception_ros.core.settings import PredictSettings
from diception_ros.datasets import labelled
from diception_ros.evaluation import evaluators
from diception_ros.perception.predictor import Predictor
from diception_ros.system.files import sha256
from diception_ros.tasks import TaskRegistry

COUNT = 9
# What ranks the predictions of each kind.
FIRST = {
    'mask': 'iou', 'instances': 'mean_iou', 'normals': 'mean_deg', 'depth': 'abs_rel', 'rgb': 'mae'
}  # fmt: skip


def evaluate(*arguments):
    return command.main(['evaluate', *map(str, arguments)])


def label_of(kind, k):
    """What a file of a kind holds of image k."""
    rng = np.random.default_rng(100 + k)
    if kind == 'normals':
        vectors = rng.normal(0, 0.3, (*files.SIZE, 3)) - np.array([0, 0, 1])
        return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    if kind == 'depth':
        return rng.uniform(1, 30, files.SIZE).astype(np.float32)
    if kind == 'rgb':
        return rng.integers(0, 256, (*files.SIZE, 3), np.uint8)
    return files.ids(k) if kind == 'instances' else (files.ids(k) == 1).astype(np.uint8)


def written(place, kind):
    end = '.npy' if kind in ('normals', 'depth') else '.png'
    return files.write_folder(place, lambda k: label_of(kind, k), COUNT, end)


def numbers(out):
    return json.loads((out / 'metrics.json').read_text())['numbers']


@pytest.mark.parametrize('kind', FIRST)
def test_the_numbers_by_hand(kind, tiny_folder, tmp_path, capsys):
    pytest.importorskip('pycocotools')
    adapter = write_adapter(tmp_path / 'a', tiny_folder, 'mine', kind=kind, seed=5)
    place, out = written(tmp_path / 'labels', kind), tmp_path / 'out'
    given = ('--adapters', adapter, '--data', place, '--model', tiny_folder)
    alone = ('--batch-size', 1)  # or others in the batch would round
    assert evaluate(*given, *alone, '--num-inference-steps', 1, 2, '--out', out) == 0
    printed = capsys.readouterr()
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in
             printed.out.strip().splitlines()]  # fmt: skip
    assert table[0] == ['', 'metric', '1 step', '2 steps', 'shuffled', 'mean']
    metric = FIRST[kind]
    assert table[2][0] == 'mine'
    assert table[2][1] == f'{metric} {"↑" if "iou" in metric else "↓"}'
    found = numbers(out)['mine'][metric]

    samples = labelled.read(place, kind, 'mine').samples
    assert len(samples) == COUNT
    predictor = Predictor.load(tiny_folder)
    predictor.adapt([adapter])
    task = predictor.tasks.get('mine')
    more = ('disparity', 1e-3, float('inf')) if kind == 'depth' else ()

    def mean(predictions):
        scores = [task.score(one, sample.label, *more)[metric]
                  for one, sample in zip(predictions, samples, strict=True)]  # fmt: skip
        return np.nanmean(scores)

    def predictions(steps, shift=0):
        settings = PredictSettings(num_inference_steps=steps, guidance_scale=1.0, batch_size=1)
        frames = [samples[(k + shift) % COUNT].frame for k in range(COUNT)]
        found = predictor.infer(frames, [Prompt('mine')] * COUNT, settings)
        return [one.label for one in found]

    means = evaluators.mean_targets([samples], predictor.resolution, predictor.tasks)['mine']
    constant = task.decode(means).to_image_size(ResizeTransform(files.SIZE, predictor.resolution))
    # Of normals the pixels are pooled, which is nearly the same here.
    close = {'rel': 1e-3 if kind == 'normals' else 1e-9}
    assert found['1'] == pytest.approx(mean(predictions(1)), **close)
    assert found['shuffled'] == pytest.approx(mean(predictions(1, 1)), **close)
    assert found['2'] == pytest.approx(mean(predictions(2)), **close)
    assert len(set(found.values())) == 4
    assert found['mean'] == pytest.approx(mean([constant] * COUNT), **close)

    content = json.loads((out / 'metrics.json').read_text())
    assert content['kind'] == 'labels'
    assert content['model'] == {'name': str(tiny_folder), 'sha256': sha256(tiny_folder)}
    (adapter_entry,) = content['adapters']
    assert (adapter_entry['task'], adapter_entry['kind'], adapter_entry['trained_on_these']) == (
        'mine',
        kind,
        False,
    )
    assert content['labels']['images'] == [sample.name for sample in samples]
    assert {path.name for path in out.iterdir()} == {
        'metrics.json', 'predictions.csv', 'first.png', 'worst.png'
    }  # fmt: skip
    with (out / 'predictions.csv').open() as file:
        lines = [line for line in csv.DictReader(file) if line['metric'] == metric]
    assert len(lines) == COUNT


def test_the_image_reaches_the_model(tiny_folder, tmp_path, monkeypatch):
    """Who knows the labels is perfect, and not when he sees another image."""
    from diception_ros.workflows import evaluate as module

    adapter = write_adapter(tmp_path / 'a', tiny_folder, 'mine')
    place = written(tmp_path / 'labels', 'mask')
    samples = labelled.read(place, 'mask', 'mine').samples
    known = {one.frame.image.tobytes(): one.label for one in samples}
    monkeypatch.setattr(
        module, '_predict_fn',
        lambda predictor, settings: lambda frame, prompts: [known[frame.image.tobytes()]] * len(
            prompts),
    )  # fmt: skip
    given = ('--adapters', adapter, '--data', place, '--model', tiny_folder)
    assert evaluate(*given, '--out', tmp_path / 'out') == 0
    found = numbers(tmp_path / 'out')['mine']['iou']
    assert found['1'] == 1
    assert 0.3 < found['shuffled'] < 0.95
    assert found['mean'] < 0.95


def test_two_adapters_on_the_same_labels_stand_below_each_other(tiny_folder, tmp_path):
    place, out = written(tmp_path / 'labels', 'mask'), tmp_path / 'out'
    one, other = (
        write_adapter(tmp_path / name, tiny_folder, name, kind=kind, seed=seed)
        for seed, (name, kind) in enumerate((('one', 'mask'), ('other', 'mask')))
    )
    given = ('--data', place, '--model', tiny_folder, '--batch-size', 1)
    assert evaluate('--adapters', one, '--adapters', other, *given, '--out', out) == 0
    both = numbers(out)
    assert list(both) == ['one', 'other']
    assert evaluate('--adapters', other, *given, '--out', tmp_path / 'b') == 0
    assert numbers(tmp_path / 'b')['other'] == both['other']
    assert both['one']['iou']['1'] != both['other']['iou']['1']


def test_images_of_several_sizes(tiny_folder, tmp_path):
    adapter = write_adapter(tmp_path / 'a', tiny_folder, 'mine', kind='rgb')
    place = tmp_path / 'labels'
    for folder in ('images', 'labels'):
        (place / folder).mkdir(parents=True)
        for k, size in enumerate(((20, 30), (30, 20), (24, 24))):
            images.write(place / folder / f'{k}.png', files.rgb_array(k, size))
    out = tmp_path / 'out'
    given = ('--adapters', adapter, '--data', place, '--model', tiny_folder)
    assert evaluate(*given, '--out', out) == 0
    assert all(np.isfinite([*numbers(out)['mine']['mae'].values()]))
    assert (out / 'worst.png').is_file()


def test_labels_that_it_was_trained_on_and_few_are_logged(tiny_folder, tmp_path, capsys):
    place = written(tmp_path / 'labels', 'mask')
    digest = labelled.read(place, 'mask', 'mine').digest
    data = {'sha256': digest, 'train_images': 7, 'validation_images': 2}
    adapter = write_adapter(tmp_path / 'a', tiny_folder, 'mine', data=data)
    given = ('--adapters', adapter, '--data', place, '--model', tiny_folder)
    assert evaluate(*given, '--out', tmp_path / 'out') == 0
    assert 'mine was trained on these very labels (7 of 9' in capsys.readouterr().err
    content = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert content['adapters'][0]['trained_on_these'] is True
    few = files.write_folder(tmp_path / 'few', lambda k: label_of('mask', k), 3)
    assert evaluate('--adapters', adapter, '--data', few, '--model', tiny_folder) == 0
    stderr = capsys.readouterr().err
    assert '3 images are few: the numbers mean little' in stderr
    assert 'label more' not in stderr
    assert 'very labels' not in stderr


def test_the_base_scores_the_same_with_an_adapter_that_is_not_asked(tiny_folder, tmp_path):
    adapter = write_adapter(tmp_path / 'a', tiny_folder, 'mine')
    samples = discs(4, 0)
    means = evaluators.mean_targets([samples], 32)
    predictor = Predictor.load(tiny_folder)

    def table():
        groups = [(samples[2 * k : 2 * k + 2], np.random.default_rng(k)) for k in range(4)]

        def prediction(frame, prompts):
            return [one.label for one in predictor.predict([frame], prompts)]

        names = 'depth', 'segmentation'
        return evaluators.evaluate_samples(groups, {'1': prediction}, means, names).numbers

    without = table()
    predictor.adapt([adapter])
    assert table() == without
    predictor.adapt([])
    assert table() == without


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--adapters', 'A'], '--adapters needs --data LABELS, images with labels'),
        (['--data', 'LABELS'], '--data needs --adapters DIR'),
        (['LABELS', '--adapters', 'A', '--data', 'LABELS'], 'leave DATASET out'),
        (['--adapters', 'A', '--data', 'LABELS', '--scenes', '3'], '--scenes does not go'),
        (['--adapters', 'A', '--data', 'LABELS', '--tasks', 'depth'], '--tasks does not go with'),
        (['--adapters', 'A', '--data', 'LABELS', '--protocol', 'nyuv2'], '--protocol does not go'),
        (['--adapters', 'LABELS', '--data', 'LABELS'], 'no card.json in it'),
        (['--adapters', 'A', '--data', 'A/none'], 'none: no such file or folder'),
        (['--adapters', 'A', '--adapters', 'A', '--data', 'LABELS'], "bring a task 'mine'"),
        (['--adapters', 'A', '--data', 'LABELS', '--model', 'builtin'], 'use that model, or'),
        (['--adapters', 'A', '--adapters', 'BAG', '--data', 'LABELS'], 'LABELS'),
    ],
)
def test_user_errors_are_one_line(tiny_folder, tmp_path, capsys, arguments, message):
    write_adapter(tmp_path / 'A', tiny_folder, 'mine')
    write_adapter(tmp_path / 'BAG', tiny_folder, 'theirs', kind='normals')
    written(tmp_path / 'LABELS', 'mask')
    given = [str(tmp_path / one) if one[0] in 'ALB' else one for one in arguments]
    model = () if '--model' in given else ('--model', tiny_folder)
    assert evaluate(*given, *model, '--out', tmp_path / 'out') == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1
    assert err[0].startswith('diception evaluate: ')
    assert message in err[0]
    assert not (tmp_path / 'out').exists()


def test_disparity_is_scored_at_any_distance(tiny_folder, tmp_path):
    """Rooms end at 12 m; labels of people need not."""
    from diception_ros.core import adapter_card
    from diception_ros.core.labels import MetricDepth
    from diception_ros.evaluation.evaluators import EvalItem, create

    adapter = write_adapter(tmp_path / 'a', tiny_folder, 'mine', kind='depth')
    registry = TaskRegistry((adapter_card.read(adapter),))
    metres = np.linspace(20, 80, 100, dtype=np.float32).reshape(10, 10)
    disparity = 1 / metres
    prediction = Disparity((disparity - disparity.min()) / np.ptp(disparity))
    found = create('mine', registry)
    found.update(EvalItem('mine', Prompt('mine'), MetricDepth(metres)), prediction)
    assert found.compute()['abs_rel'] < 1e-4
