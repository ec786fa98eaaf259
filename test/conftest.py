# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What many tests share: the tiny pipeline, OpenGL, and the official reference outputs."""

from collections import Counter
import importlib.util
import json
import os
from pathlib import Path
import signal

import hypothesis
import pytest

# What nohup or a script's background makes deaf would be deaf in every process that a test starts.
for _signal, _usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, _usual)

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # no test may reach for the network
# On a busy machine an example may take longer than hypothesis' 200 ms.
hypothesis.settings.register_profile('no deadline', deadline=None)
hypothesis.settings.load_profile('no deadline')


# Seconds that each test file took in the last run, kept in pytest's cache; before the first run
# those of seconds.json, a copy of such a cache without short files. Only the order depends on it.
_DURATIONS = 'diception_ros/seconds_of_files'
_STORED = json.loads(Path(__file__).with_name('seconds.json').read_text())
_seconds = Counter()


# Folders whose tests start processes, train or render, so that most of them are slow.
_SLOW_FOLDERS = {'bag_replay', 'cli', 'live_demo', 'node', 'simulation', 'training', 'workflows'}
# Folders whose tests mostly wait for nodes, while a core is idle.
_WAITING_FOLDERS = {'live_demo', 'node'}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark slow tests, and order the files for several workers.

    The longest files run first, so that the workers end together; what waits is spread among what
    computes, so that no core is idle.
    """
    for item in items:
        if item.path.parent.name in _SLOW_FOLDERS or 'opengl' in item.fixturenames:
            item.add_marker('slow')
    cache = getattr(config, 'cache', None)  # None with -p no:cacheprovider
    took = {**_STORED, **(cache.get(_DURATIONS, {}) if cache else {})}
    places = {}
    for waiting in (False, True):
        files = {_file_of(item.nodeid) for item in items
                 if (item.path.parent.name in _WAITING_FOLDERS) == waiting}  # fmt: skip
        whole, begun = sum(took.get(file, 0) for file in files) or 1, 0
        for file in sorted(files, key=lambda file: (-took.get(file, 0), file)):
            places[file] = begun / whole
            begun += took.get(file, 0)
    items.sort(key=lambda item: places[_file_of(item.nodeid)])


def pytest_runtest_logreport(report):
    """Add up the time of a file."""
    _seconds[_file_of(report.nodeid)] += report.duration


def pytest_sessionfinish(session):
    """Keep the times for the next run; the workers of xdist leave that to their controller."""
    cache = getattr(session.config, 'cache', None)
    if cache and not hasattr(session.config, 'workerinput'):
        cache.set(_DURATIONS, {**cache.get(_DURATIONS, {}), **_seconds})


def _file_of(nodeid):
    return nodeid.partition('::')[0]


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

    found = Predictor.load(tiny_folder, num_inference_steps=1)
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
        renderer.open_gl_context((8, 8))[1].free()
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
