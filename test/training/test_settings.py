# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings file: what is refused, and that a saved copy is the settings."""

from dataclasses import fields
from pathlib import Path

import pytest

from diception_ros.training import settings
from diception_ros.training.settings import TrainSettings

SHIPPED = Path(__file__).resolve().parents[2] / 'config' / 'train.yaml'


def test_a_saved_copy_gives_the_same_settings(tmp_path):
    chosen = settings.read(
        SHIPPED, ['lr=3e-4', 'max_grad_norm=0.1', 'task_weights=depth=2 pose=1']
    )
    settings.write(chosen, tmp_path / 'copy.yaml')
    assert settings.read(tmp_path / 'copy.yaml') == chosen
    assert chosen.lr == 3e-4
    assert chosen.task_weights == 'depth=2 pose=1'
    assert settings.differences(chosen, chosen) == []


def test_the_shipped_file_repeats_no_default():
    chosen = settings.read(SHIPPED)
    names = {line.split(':')[0] for line in SHIPPED.read_text().splitlines()
             if line and line[0] not in '# '}  # fmt: skip
    changed = {one.name for one in fields(chosen) if getattr(chosen, one.name) != one.default}
    assert names == changed


def test_defaults_with_a_model_are_valid():
    assert TrainSettings(model='folder').lr == 2e-5


@pytest.mark.parametrize(('content', 'says'), [
    ('max_stpes: 3', r"file.yaml: no setting 'max_stpes'; did you mean 'max_steps'\?"),
    ('max_steps: many', "file.yaml: max_steps is 'many'; expected a whole number"),
    ('lr: fast', "file.yaml: lr is 'fast'; expected a number"),
    ('lr: 2', 'at most 1'),
    ('heads: 3', 'multiple of heads'),
    ('- a', 'expected "name: value"'),
    ('a: [', 'not YAML'),
    ('source: folder', 'folder of samples'),
    ('source: bag', "source is 'bag' and bags ''; set source to 'bag' and bags to a bag"),
    ('bags: drive.mcap', "source is 'simulated' and bags 'drive.mcap'"),
    ('color_jitter: 3', 'at most 2'),
    ('prediction: clean', 'velocity, sample'),
    ('resolution: 0', 'a new network needs one'),
])  # fmt: skip
def test_wrong_files_are_refused(tmp_path, content, says):
    file = tmp_path / 'file.yaml'
    head = '' if content.startswith(('- ', 'resolution')) else 'resolution: 32\n'
    file.write_text(head + content)
    with pytest.raises(ValueError, match=says):
        settings.read(file)


def test_invalid_settings_change_names_the_parameter():
    with pytest.raises(ValueError, match='--set stepps=1: no setting'):
        settings.read(SHIPPED, ['stepps=1'])
    with pytest.raises(ValueError, match='expected name=value'):
        settings.read(SHIPPED, ['max_steps'])


def test_a_renamed_setting_is_refused_with_its_new_name(tmp_path):
    file = tmp_path / 'file.yaml'
    file.write_text('resolution: 32\nsteps: 3\nclip: 1.0\n')
    with pytest.raises(ValueError, match='steps is now max_steps; clip is now max_grad_norm'):
        settings.read(file)
    with pytest.raises(ValueError, match=r'--set dropout=0: .* dropout is now cond_dropout'):
        settings.read(SHIPPED, ['dropout=0'])
    names = {one.name for one in fields(TrainSettings)}
    assert names.issuperset(settings.RENAMED.values())
    assert not names & settings.RENAMED.keys()


def test_yaml_runs_nothing(tmp_path):
    file = tmp_path / 'file.yaml'
    file.write_text('max_steps: !!python/object/apply:os.getpid []')
    with pytest.raises(ValueError, match='not YAML'):
        settings.read(file)
