# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which heavy modules help and errors may import: they are shown before anything slow."""

import json
from pathlib import Path
import subprocess
import sys

import pytest

from diception_ros.cli import main  # noqa: F401  # declares the verbs
from diception_ros.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
IMAGE = str(ROOT / 'docs' / 'images' / 'real.jpg')
HEAVY = (
    'torch', 'diffusers', 'transformers', 'peft', 'accelerate', 'onnxruntime', 'scipy', 'skimage',
    'mujoco', 'matplotlib', 'jinja2', 'rclpy', 'rosbags', 'cv2',
)  # fmt: skip
READERS = {'cv2', 'rosbags'}  # of bags and images
# Command line, words of the error, and the heavy modules that may be imported for it.
ERRORS = {
    'predict, option': (f'predict {IMAGE} --tasks depth --out o --sed 3', 'mean --seed', set()),
    'predict, task': (f'predict {IMAGE} --tasks dept --out o', "did you mean 'depth'", set()),
    'predict, image': ('predict no.png --tasks depth --out o', 'no such image', set()),
    'predict, value': (f'predict {IMAGE} --tasks depth --out o --seed x', 'seed', set()),
    'predict, points': (f'predict {IMAGE} --tasks depth --out o --points 1', 'points', set()),
    'predict, adapter': (
        f'predict {IMAGE} --tasks depth --out o --adapters no', 'no such folder', set(),
    ),
    'predict, model': (
        f'predict {IMAGE} --tasks depth --out o --model no', 'no such model folder', set(),
    ),
    'predict, category': (
        f'predict {IMAGE} --tasks semantic --categories xylophone --out o', 'xylophone', {'cv2'},
    ),
    'replay, task': ('replay no.mcap --tasks dept --out o.mcap', "did you mean 'depth'", set()),
    'replay, bag': ('replay no.mcap --tasks depth --out o.mcap', 'no such bag', READERS),
    'evaluate, task': ('evaluate --tasks dept', 'did you mean depth', set()),
    'evaluate, folder': ('evaluate no --protocol rgbd', 'no such folder', READERS | {'scipy'}),
    'evaluate, model': ('evaluate --model no', 'no such model folder', READERS),
    'adapt, folder': ('adapt --data no --task a --kind mask --out o', 'no', READERS),
    'train, settings': ('train --config no.yaml --out o', 'no.yaml', set()),
    'simulate, option': ('simulate --scens 3 --out o', 'mean --scenes', set()),
    'demo, bag': ('demo no.mcap', 'no such bag', set()),
    'demo, model': ('demo --model no', 'no such model folder', set()),
    'node, option': ('node --no-shared-memry', 'unknown option', set()),
    'play, bag': ('play no.mcap', 'no such bag', READERS | {'rclpy'}),
    'convert, option': ('convert --sd3 a --checkpoint b --out o --sd x', 'unknown option', set()),
    'tiny, option': ('tiny --out o --ofical', 'unknown option', set()),
}  # fmt: skip
# Runs each command line of stdin in a fork of a process that has imported the parser alone.
RUN = """
import contextlib, io, json, os, sys
from diception_ros.cli.main import main

heavy, found = json.loads(sys.argv[1]), []
for line in json.load(sys.stdin):
    begin, end = os.pipe()
    if not os.fork():
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = main(line.split())
            except SystemExit as ended:
                code = ended.code
        loaded = [name for name in heavy if name in sys.modules]
        os.write(end, json.dumps([code, said.getvalue(), loaded]).encode()[:60000])
        os._exit(0)
    os.close(end)
    with os.fdopen(begin) as answer:
        found.append(json.load(answer))
    os.wait()
print(json.dumps(found))
"""


def run(lines, folder):
    done = subprocess.run(
        [sys.executable, '-c', RUN, json.dumps(HEAVY)], input=json.dumps(lines), text=True,
        capture_output=True, cwd=folder, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.fixture(scope='module')
def errors(tmp_path_factory):
    lines = [line for line, _, _ in ERRORS.values()]
    return dict(zip(ERRORS, run(lines, tmp_path_factory.mktemp('errors')), strict=True))


def test_help_imports_nothing_heavy(tmp_path):
    names = [*VERBS, '']
    predictions = run([f'{name} --help' for name in names], tmp_path)
    for name, (code, said, loaded) in zip(names, predictions, strict=True):
        assert (code, loaded) == (0, []), name
        assert said.startswith('usage: '), name


@pytest.mark.parametrize('name', ERRORS)
def test_an_error_comes_before_anything_heavy(name, errors):
    _, words, allowed = ERRORS[name]
    code, said, loaded = errors[name]
    assert code
    assert words in said
    assert len(said.splitlines()) <= 2
    assert set(loaded) <= allowed
