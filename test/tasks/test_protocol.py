# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.cli.main import parser
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity
from diception_ros.core.prompt import Prompt
from diception_ros.core.settings import PredictSettings
from diception_ros.perception.predictor import Predictor

SIZE = 256

ROOT = Path(__file__).resolve().parents[2]
INVALID_OUTPUT_IMAGES = {
    'oblong': np.zeros((8, 9, 3), np.float32),
    'one channel': np.zeros((8, 8), np.float32),
    'bytes': np.zeros((8, 8, 3), np.uint8),
    'nan': np.full((8, 8, 3), np.nan, np.float32),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose files are tasks, as those of `diception_ros/tasks` are."""
    monkeypatch.setattr(tasks, '__path__', [*tasks.__path__, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith('diception_ros.tasks.'):
            delattr(tasks, name.rpartition('.')[2])
            del sys.modules[name]


def keeps_the_laws(task):
    label = example(task, np.random.default_rng(0), SIZE)
    again = example(task, np.random.default_rng(0), SIZE)
    assert isinstance(label, task.label)
    assert label.size == (SIZE, SIZE)
    rgb = task.encode(label)
    assert rgb.shape == (SIZE, SIZE, 3)
    assert rgb.dtype == np.float32
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    np.testing.assert_array_equal(task.encode(again), rgb)
    back = task.decode(rgb)
    assert type(back) is task.label
    assert back.size == label.size
    scores = task.score(back, label)
    assert scores
    assert all(isinstance(value, float) for value in scores.values())
    assert task.prompt.startswith('[[image2')


@pytest.mark.parametrize('name', tasks.names())
def test_every_task_round_trips_and_scores_itself_perfectly(name):
    task = tasks.get(name)
    assert task.name == name
    keeps_the_laws(task)


@pytest.mark.parametrize('name', tasks.names())
@pytest.mark.parametrize('rgb', INVALID_OUTPUT_IMAGES.values(), ids=INVALID_OUTPUT_IMAGES.keys())
def test_every_task_rejects_invalid_output_images(name, rgb):
    with pytest.raises(ValueError, match='expected'):
        tasks.get(name).decode(rgb)


@pytest.mark.parametrize('name', ['depth', 'normal', 'segmentation'])
def test_encoding_rejects_labels_that_are_not_square(name):
    task = tasks.get(name)
    label = example(task, np.random.default_rng(0), 16)
    wide = type(label)(next(iter(vars(label).values()))[:8])
    with pytest.raises(ValueError, match='use to_model_size first'):
        task.encode(wide)


def test_the_names_are_the_files():
    assert {'depth', 'normal', 'segmentation'} <= set(tasks.names())
    assert not any(name.startswith('_') for name in tasks.names())


def test_an_error_about_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no task 'depht'; did you mean 'depth'\? known: depth,"):
        tasks.get('depht')
    with pytest.raises(ValueError, match="no task 'zzz'; known: "):
        tasks.get('zzz')


def test_the_task_of_the_contributing_guide_is_one_file(folder, tiny):
    (code,) = re.findall(r'```python\n(.*?)```', (ROOT / 'CONTRIBUTING.md').read_text(), re.DOTALL)
    before = tasks.names()
    (folder / 'wetness.py').write_text(code)
    assert sorted([*before, 'wetness']) == tasks.names()
    task = tasks.get('wetness')
    keeps_the_laws(task)
    label = Disparity(np.random.default_rng(0).random((64, 64), np.float32))
    np.testing.assert_allclose(task.decode(task.encode(label)).values, label.values, atol=1e-6)
    # It is at once a text to convert, a choice of the command line, and predicted by a model.
    assert '[[image2wetness]]' in tasks.texts()
    line = 'predict a.png --model m --tasks wetness --out o'.split()
    assert parser().parse_args(line).tasks == ['wetness']
    frame = Frame(np.zeros((40, 60, 3), np.uint8))
    (found,) = Predictor(tiny, PredictSettings(num_inference_steps=1)).predict(
        [frame], [Prompt('wetness')]
    )
    assert isinstance(found.label, Disparity)
    assert found.label.size == (40, 60)


def test_the_task_of_the_examples_is_one_file(folder):
    shutil.copy(ROOT / 'examples' / 'own_task.py', folder / 'edges.py')
    task = tasks.get('edges')
    keeps_the_laws(task)
    assert task.text(Prompt('edges')) in tasks.texts()
    for rgb in INVALID_OUTPUT_IMAGES.values():
        with pytest.raises(ValueError, match='expected'):
            task.decode(rgb)
    with pytest.raises(ValueError, match='takes no category'):
        task.text(Prompt('edges', 'person'))


@pytest.mark.parametrize('text', ['', 'from diception_ros.tasks.depth import TASK'])
def test_a_file_that_holds_no_task_of_its_name_is_an_error(folder, text):
    (folder / 'half.py').write_text(text)
    with pytest.raises(TypeError, match=r"half.py: expected a TASK named 'half', got"):
        tasks.get('half')


def test_nothing_heavy_is_loaded():
    code = (
        'import sys\n'
        'from diception_ros import tasks\n'
        'from diception_ros.core import frame, geometry, images, labels, prompt\n'
        'from diception_ros.datasets.sample import fit_label\n'
        'from diception_ros.evaluation import evaluators, metrics\n'
        'for name in tasks.names(): tasks.get(name)\n'
        "print(*{'torch', 'matplotlib', 'diffusers', 'pycocotools'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ''
