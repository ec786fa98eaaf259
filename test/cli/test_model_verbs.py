# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception convert` and `diception prompts`, as a user types them."""

import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.cli.main import main
from diception_ros.core import images
from diception_ros.model.text_embeddings import PromptTable
from diception_ros.model.tiny import write_official


@pytest.fixture(scope='module')
def converted(tiny, tmp_path_factory):
    """SD3 folder, and the model folder that the command line made of it."""
    folder = tmp_path_factory.mktemp('cli')
    sd3, checkpoint = write_official(tiny, folder)
    code = main(
        [
            'convert',
            '--sd3',
            str(sd3),
            '--checkpoint',
            str(checkpoint),
            '--out',
            str(folder / 'model'),
            '--dtype',
            'float32',
            '--resolution',
            '64',
        ]
    )
    assert code == 0
    return sd3, folder / 'model'


def test_converted_folder_knows_every_text_of_the_tasks(converted):
    table = PromptTable.load(converted[1] / 'prompt_embeddings.safetensors')
    assert list(table) == ['', *tasks.texts()]
    assert len(table) == 1 + 6 + 80
    assert '[[image2semantic]] hair drier' in table


def test_prompts_lists_and_adds(converted, capsys):
    sd3, model = converted
    assert main(['prompts', '--model', str(model)]) == 0
    assert "'[[image2depth]]'" in capsys.readouterr().out.splitlines()
    assert main(['prompts', '--model', str(model), '--add', 'a blue door']) == 1
    assert 'name the SD3 folder with --sd3' in capsys.readouterr().err
    assert main(['prompts', '--model', str(model), '--add', 'a blue door', '--sd3', str(sd3)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "'a blue door'"
    assert 'a blue door' in PromptTable.load(model / 'prompt_embeddings.safetensors')


def test_a_category_becomes_the_prompt_that_semantic_asks(converted, capsys):
    sd3, model = converted
    options = ['prompts', '--model', str(model), '--sd3', str(sd3)]
    assert main([*options, '--categories', 'forklift', 'cat']) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "'[[image2semantic]] forklift'"
    assert 'give --categories' not in printed.err
    assert main([*options, '--add', 'pallet jack']) == 0
    assert "no task of this package has the prompt 'pallet jack'" in capsys.readouterr().err


@pytest.mark.parametrize('kind', ['--out', '--official'])
def test_tiny_writes_whole_folders_of_the_stated_size(tmp_path, capsys, kind):
    out = tmp_path / 'new'
    assert main(['tiny', kind, str(out)]) == 0
    size = sum(path.stat().st_size for path in out.rglob('*') if path.is_file())
    stated = {'--out': 7e6, '--official': 2e6}[kind]
    assert stated - 1e6 < size < stated
    assert main(['tiny', kind, str(out)]) == 1
    assert 'exists already' in capsys.readouterr().err
    if kind == '--official':
        options = ['--sd3', str(out / 'sd3'), '--checkpoint', str(out / 'DICEPTION_v1.pth')]
        made = ['--out', str(tmp_path / 'model'), '--resolution', '64']
        assert main(['convert', *options, *made]) == 0
        assert (tmp_path / 'model' / 'prompt_embeddings.safetensors').is_file()


def test_prompts_lists_the_texts_of_the_builtin_model_and_adds_none(capsys):
    assert main(['prompts', '--model', 'builtin']) == 0
    assert capsys.readouterr().out.splitlines() == [repr(text) for text in ['', *tasks.texts()]]
    assert main(['prompts', '--model', 'builtin', '--add', 'a blue door']) == 1
    stderr = capsys.readouterr().err
    assert 'builtin: this model was trained without text encoders, so it takes no text' in stderr


def test_errors_of_a_newcomer(converted, capsys, tmp_path):
    sd3, model = converted
    out = ['--out', str(tmp_path / 'out')]
    for arguments, says in (
        (
            ['convert', '--sd3', str(sd3), '--checkpoint', 'nowhere.pth', *out],
            'no such checkpoint',
        ),
        (['convert', '--sd3', str(model), '--checkpoint', 'x.pth', *out], 'wrote already'),
        (['prompts', '--model', str(sd3)], 'this is SD3 itself'),
        (['prompts', '--model', 'nowhere'], 'no such model folder'),
    ):
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert says in err.splitlines()[-1]
        assert 'Traceback' not in err


def test_tiny_writes_a_model_that_predicts(tmp_path, capsys):
    out = tmp_path / 'model'
    assert main(['tiny', '--out', str(out), '--seed', '3']) == 0
    assert 'its predictions mean nothing' in capsys.readouterr().err
    assert list(PromptTable.load(out / 'prompt_embeddings.safetensors')) == ['', *tasks.texts()]
    image = tmp_path / 'grey.png'
    images.write(image, np.full((30, 40, 3), 128, np.uint8))
    assert main(['predict', str(image), '--model', str(out), '--tasks', 'depth',
                 '--num-inference-steps', '1',
                 '--out', str(tmp_path / 'out')]) == 0  # fmt: skip
    assert main(['tiny', '--out', str(out)]) == 1
    assert 'exists already' in capsys.readouterr().err
