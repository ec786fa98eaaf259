# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The public API: every verb is a function of a config, and its docstring's example runs."""

import ast
import doctest
import inspect
from pathlib import Path
import subprocess
import sys

from adapter_fixtures import write_adapter, write_base
from disc_samples import discs
from labelled_files import ids, write_folder
import numpy as np
from pipeline_calls import with_encoder
import pytest
from recordings import recorded, write

import diception_ros
from diception_ros import tasks
from diception_ros.core import images
from diception_ros.datasets.sample import create_folder, write_frame
from diception_ros.model.encoder import FEATURES, FINE
from diception_ros.model.folder import resolve
from diception_ros.model.tiny import write_official
from diception_ros.perception.predictor import Predictor

ROOT = Path(diception_ros.__file__).parent
VERBS = sorted(name for name in diception_ros.__all__ if f'{name.capitalize()}Config' in
               diception_ros.__all__)  # fmt: skip
TRAIN = """
resolution: 32
prediction: sample
weighting: sample
width: 32
layers: 1
source: folder
folder: samples
task_weights: segmentation=1 depth=1
batch_size: 2
max_steps: 2
validate_every: 0
"""


def write_bare(folder):
    """A tiny model with VAE and image encoder, without text encoders."""
    pipe = with_encoder(trained=True, features=FEATURES + FINE)
    pipe.embed_prompts(['', *tasks.texts()])
    for name in ('text_encoder', 'text_encoder_2', 'text_encoder_3'):
        setattr(pipe, name, None)
    pipe.save_pretrained(folder)


@pytest.fixture
def workplace(tmp_path, tiny, tiny_folder, monkeypatch):
    """A folder with what the example of a verb names, in a function of the verb."""
    monkeypatch.chdir(tmp_path)

    def make(verb):
        # A demo's node is a process of its own, where the import of torch takes seconds.
        if verb == 'export':
            write_bare(Path('model'))
        else:
            Path('model').symlink_to(resolve('builtin') if verb == 'demo' else tiny_folder)
        if verb == 'adapt':
            write_base(Path('small_model'), 1)
            write_folder(Path('labels'), lambda k: (ids(k) == 1).astype('uint8'), 10)
        elif verb in ('demo', 'replay'):
            write(Path('drive'), recorded(3))
            Path('truth').mkdir()
            for k in range(3):
                np.save(f'truth/{k}.npy', np.linspace(1, 4, 24 * 32).reshape(24, 32))
        elif verb == 'evaluate':
            write_adapter(Path('adapter'), tiny_folder)
            write_folder(Path('labels'), lambda k: (ids(k) == 1).astype('uint8'), 10)
        elif verb in ('predict', 'view'):
            Path('photos').mkdir()
            images.write(Path('photos/room.png'), np.full((40, 60, 3), 90, np.uint8))
        elif verb == 'convert':
            sd3, checkpoint = write_official(tiny, tmp_path)
            sd3.rename('sd3')
            checkpoint.rename('v1.pth')
        elif verb == 'train':
            create_folder(Path('samples'))
            for k in range(2):
                write_frame(Path('samples'), k, discs(2, 0)[2 * k : 2 * k + 2])
            Path('train.yaml').write_text(TRAIN)

    return make


@pytest.mark.slow
@pytest.mark.parametrize('verb', VERBS)
def test_example_of_a_docstring_runs(verb, workplace, request):
    if verb in ('simulate', 'demo'):
        request.getfixturevalue('opengl')
    if verb == 'view':
        pytest.importorskip('nicegui', reason='NiceGUI is not installed (diception_ros[view])')
    workplace(verb)
    function = getattr(diception_ros, verb)
    (example,) = doctest.DocTestFinder(recurse=False).find(function, verb)
    assert example.examples
    options = doctest.ELLIPSIS | doctest.REPORT_ONLY_FIRST_FAILURE
    said = []
    doctest.DocTestRunner(optionflags=options).run(example, out=said.append)
    assert not said, ''.join(said)
    if verb == 'export':
        assert not Path('model/onnx.json').exists()
        assert Predictor.load('exported').backend.name == 'onnx'


@pytest.mark.parametrize('verb', VERBS)
def test_a_verb_takes_a_config_and_returns_a_result(verb):
    function = getattr(diception_ros, verb)
    parameters = list(inspect.signature(function).parameters.values())
    assert [one.name for one in parameters] == ['config', 'progress']
    assert parameters[0].annotation == f'{verb.capitalize()}Config'
    assert inspect.signature(function).return_annotation == f'{verb.capitalize()}Result'
    # What the documentation site shows as code; 'Example:' would be text to it.
    assert '\n    Examples:\n' in function.__doc__


def test_import_loads_nothing_heavy():
    program = (
        'import sys, diception_ros\n'
        "heavy = {'torch', 'rclpy', 'cv2', 'numpy', 'scipy', 'yaml', 'tqdm'}\n"
        'assert not heavy & set(sys.modules), heavy & set(sys.modules)\n'
        'for name in diception_ros.__all__:\n'
        '    assert name in dir(diception_ros)\n'
        "    if name != 'Predictor':\n"
        '        getattr(diception_ros, name)\n'
        "assert not {'torch', 'rclpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, '-c', program], check=True)


def test_names_for_type_checkers_are_those_that_exist():
    tree = ast.parse((ROOT / '__init__.py').read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.name for node in block.body for alias in node.names}
    assert declared == set(diception_ros.__all__)
    for name in diception_ros.__all__:
        assert getattr(diception_ros, name) is not None
    with pytest.raises(AttributeError, match='predikt'):
        diception_ros.predikt  # noqa: B018


def test_no_namespace_leaves_the_command_line():
    for file in ROOT.rglob('*.py'):
        if file.parent.name == 'cli':
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and file.name != 'settings.py':
                annotations = [ast.unparse(arg.annotation) for arg in node.args.args
                               if arg.annotation]  # fmt: skip
                assert not any('Namespace' in one for one in annotations), (file, node.name)
