# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Model folders, OpenGL, disks and shared memory."""

import importlib.util
import json
import os
from pathlib import Path
import shutil
from types import SimpleNamespace

import pytest

from diception_ros.doctor import checks
from diception_ros.doctor.checks import BROKEN, OK, WARN

PARTS = ('transformer', 'vae', 'point_encoder', 'scheduler')


@pytest.fixture
def folder(tmp_path):
    """The built-in model's folder, of links that a test may remove."""
    builtin = Path(checks.__file__).parents[1] / 'model' / 'builtin'
    return shutil.copytree(builtin, tmp_path / 'model', copy_function=os.symlink)


def test_a_whole_model_folder_is_well(folder):
    assert checks.model(str(folder)).verdict == OK


@pytest.mark.parametrize('name', PARTS)
def test_every_part_of_a_model_is_looked_for(folder, name):
    shutil.rmtree(folder / name)
    finding = checks.model(str(folder))
    assert finding.verdict == BROKEN
    assert name in finding.found


def test_weights_are_looked_for(folder):
    for path in (folder / 'vae').glob('*.safetensors'):
        path.unlink()
    finding = checks.model(str(folder))
    assert finding.verdict == BROKEN
    assert 'weights of vae' in finding.found


def test_a_wrong_path_and_sd3_itself_are_told(folder):
    assert 'no such model folder' in checks.model(str(folder / 'nothing')).found
    index = folder / 'model_index.json'
    index.unlink()
    index.write_text(json.dumps({'_class_name': 'StableDiffusion3Pipeline'}))
    finding = checks.model(str(folder))
    assert finding.verdict == BROKEN
    assert 'diception convert --sd3' in finding.found


def test_a_gl_that_is_not_there_is_a_warning(monkeypatch):
    if importlib.util.find_spec('mujoco') is None:  # importing it would choose its OpenGL
        pytest.skip('MuJoCo is not installed')
    monkeypatch.setenv('MUJOCO_GL', 'nothing')
    (finding,) = checks.graphics()
    assert finding.verdict == WARN
    assert 'expected one of egl, osmesa' in str(finding)


def test_disks_need_room(monkeypatch, tmp_path):
    for free, verdict in ((1_000_000_000, WARN), (5_000_000_000, OK)):
        monkeypatch.setattr(
            shutil, 'disk_usage', lambda path, free=free: SimpleNamespace(free=free)
        )
        assert checks.space({'here': tmp_path}).verdict == verdict


def test_shared_memory_needs_room_and_no_litter(monkeypatch, tmp_path):
    def verdicts(free):
        room = SimpleNamespace(free=free, total=free)
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: room)
        return [finding.verdict for finding in checks.shared_memory(tmp_path)]

    assert verdicts(64 << 20) == [WARN]  # what containers have
    assert verdicts(1 << 30) == [OK]
    for k in range(checks.MANY_SEGMENTS + 1):
        (tmp_path / f'fastdds_{k:016x}').touch()
    assert verdicts(1 << 30) == [OK, WARN]
    (finding,) = checks.shared_memory(tmp_path / 'nothing')
    assert finding.verdict == WARN
