# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What many tests share: the tiny pipeline, OpenGL, and the official reference outputs."""

import importlib.util
import os
from pathlib import Path
import signal

import pytest

# What nohup or a script's background makes deaf would be deaf in every process that a test starts.
for _signal, _usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, _usual)

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # no test may reach for the network


# Files that take longest, with the longest tests: two workers end together if these come first.
_LONG = (
    'cli/test_replay', 'node/test_flow', 'training/test_learning', 'training/test_adapt_learning',
    'node/test_inputs', 'node/test_lifecycle', 'test/test_builtin', 'training/test_rendered',
    'model/test_parity', 'model/test_convert', 'training/test_adapt_bench', 'node/test_watch',
    'node/test_adapters', 'live_demo/test_live', 'cli/test_demo', 'training/test_parallel',
    'cli/test_adapt', 'cli/test_evaluate', 'training/test_run', 'node/test_bags',
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Begin with the long files; the order is otherwise as it was."""
    place = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda one: place.get(f'{one.path.parent.name}/{one.path.stem}', len(place)))


@pytest.fixture(autouse=True)
def _no_learnt_tasks(monkeypatch):
    """No test sees the tasks of adapters that another has added."""
    from diception_ros import tasks

    monkeypatch.setattr(tasks, '_added', {})


@pytest.fixture(scope='session')
def tiny():
    """A random pipeline with text encoders; tests must leave it as it was."""
    from diception_ros.model.tiny import tiny_pipeline

    return tiny_pipeline()


@pytest.fixture(scope='session')
def tiny_folder(tiny, tmp_path_factory):
    """A model folder of the tiny pipeline whose prompt table holds every text of the tasks."""
    from diception_ros import tasks

    folder = tmp_path_factory.mktemp('tiny') / 'model'
    tiny.embed_prompts(['', *tasks.texts()])
    tiny.save_pretrained(folder)
    return folder


@pytest.fixture
def bare(tiny_folder):
    """A Predictor of the tiny model without text encoders, as models are shipped."""
    from diception_ros.perception.predictor import Predictor

    found = Predictor.load(tiny_folder, steps=1)
    for name in ('text_encoder', 'text_encoder_2', 'text_encoder_3'):
        setattr(found.pipe, name, None)
    return found


@pytest.fixture(scope='session')
def opengl():
    """Skips where rooms cannot be rendered."""
    # Not importorskip: MuJoCo chooses its OpenGL when it is imported.
    if importlib.util.find_spec('mujoco') is None:
        pytest.skip('MuJoCo is not installed (diception_ros[sim])')
    from diception_ros.simulation import renderer

    try:
        renderer.context((8, 8))[1].free()
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture(scope='session')
def reference():
    """Folder of the official reference outputs; not part of this repository."""
    default = Path(__file__).resolve().parents[2] / 'shared' / 'reference'
    folder = Path(os.environ.get('DICEPTION_REFERENCE', default))
    if not (folder / 'manifest.json').is_file():
        pytest.skip(f'no reference outputs in {folder}; name their folder in DICEPTION_REFERENCE')
    return folder
