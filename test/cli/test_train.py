# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception train`: from a settings file and a folder of samples to a model that predicts."""

from disc_samples import discs
import numpy as np
import pytest

from diception_ros.cli import main as command
from diception_ros.core import images
from diception_ros.datasets.sample import create_folder, write_frame

CONFIG = """
resolution: 32
prediction: sample
weighting: sample
width: 32
layers: 1
source: folder
task_weights: segmentation=1 depth=1
batch_size: 4
max_steps: 2
lr: 1e-3
save_every: 1
validate_every: 2
validation_samples: 2
"""


@pytest.fixture
def config(tmp_path):
    for name, seed in (('train', 0), ('held', 1)):
        create_folder(tmp_path / name)
        samples = discs(4, seed)
        for k in range(4):
            write_frame(tmp_path / name, k, samples[2 * k : 2 * k + 2])
    file = tmp_path / 'train.yaml'
    file.write_text(
        f'{CONFIG}folder: {tmp_path / "train"}\nvalidation_folder: {tmp_path / "held"}\n'
    )
    return file


def test_train_resume_and_predict(config, tmp_path, capsys):
    out = tmp_path / 'run'
    assert command.main(['train', '--config', str(config), '--out', str(out)]) == 0
    files = {path.name for path in out.iterdir()}
    assert files == {
        'settings.yaml', 'log.csv', 'validation.csv', 'sheets', 'checkpoints', 'model',
    }  # fmt: skip
    assert command.main(['train', '--out', str(out), '--resume', '--set', 'max_steps=3']) == 0
    assert [path.name for path in sorted((out / 'checkpoints').iterdir())] == [
        '00000002', '00000003',
    ]  # fmt: skip
    image = tmp_path / 'image.png'
    images.write(image, np.full((40, 50, 3), 90, np.uint8))
    prediction = ['predict', str(image), '--model', str(out / 'model'), '--tasks', 'depth']
    assert (
        command.main(
            [*prediction, '--num-inference-steps', '1', '--out', str(tmp_path / 'answers')]
        )
        == 0
    )
    assert (tmp_path / 'answers' / 'image.png' / 'depth.npz').is_file()
    err = capsys.readouterr().err
    assert 'wrote' in err
    assert 'learning rate' not in err


def test_resume_with_another_max_steps_is_logged(config, tmp_path, capsys):
    out = ['--out', str(tmp_path / 'run')]
    assert (
        command.main(['train', '--config', str(config), '--set', 'lr_decay_fraction=0.5', *out])
        == 0
    )
    assert 'learning rate' not in capsys.readouterr().err
    assert command.main(['train', *out, '--resume', '--set', 'max_steps=4']) == 0
    assert 'run: max_steps was 2, now 4, and lr_decay_fraction is 0.5' in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'says'), [
    (['--set', 'max_stepps=1'], "no setting 'max_stepps'; did you mean 'max_steps'?"),
    (['--set', 'batch_size=0'], 'batch_size is 0'),
    (['--set', 'task_weights=dept=1'], "did you mean 'depth'"),
    (['--set', 'device=cuda:99'], 'device'),
    (['--resume'], 'no checkpoint'),
])  # fmt: skip
def test_invalid_options_are_one_line(config, tmp_path, capsys, arguments, says):
    arguments = ['train', '--config', str(config), '--out', str(tmp_path / 'run'), *arguments]
    assert command.main(arguments) == 1
    error = capsys.readouterr().err
    assert says in error
    assert 'bug' not in error
    assert not (tmp_path / 'run').exists()


def test_neither_settings_nor_a_run(tmp_path, capsys):
    assert command.main(['train', '--out', str(tmp_path / 'run')]) == 1
    assert '--config' in capsys.readouterr().err


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit):
        command.main(['train', '--help'])
    out = capsys.readouterr().out
    assert 'pure_noise_prob' in out
    assert '2e-05' in out
