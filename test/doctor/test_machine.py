# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Model folders, OpenGL, disks and shared memory."""

import importlib.util
import json
import shutil
from types import SimpleNamespace

import pytest

from diception_ros.doctor import checks
from diception_ros.doctor.checks import BROKEN, OK, WARN

PARTS = {
    'transformer': ['diception_ros.model.transformer', 'DiceptionTransformer2DModel'],
    'vae': ['diffusers', 'AutoencoderKL'],
    'point_encoder': ['diception_ros.model.points', 'DiceptionPointEncoder'],
    'scheduler': ['diffusers', 'FlowMatchEulerDiscreteScheduler'],
    'text_encoder': [None, None],
}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / 'model'
    for name, (library, _) in PARTS.items():
        if library is not None:
            (made / name).mkdir(parents=True)
            (made / name / 'config.json').write_text('{}')
            if name != 'scheduler':
                (made / name / 'weights.safetensors').write_bytes(bytes(10))
    index = {'_class_name': 'DiceptionPipeline', **PARTS}
    (made / 'model_index.json').write_text(json.dumps(index))
    return made


def test_a_whole_model_folder_is_well(folder):
    assert checks.model(str(folder)).verdict == OK


@pytest.mark.parametrize('name', [name for name, kind in PARTS.items() if kind[0]])
def test_every_part_of_a_model_is_looked_for(folder, name):
    shutil.rmtree(folder / name)
    finding = checks.model(str(folder))
    assert finding.verdict == BROKEN
    assert name in finding.found


def test_weights_are_looked_for(folder):
    (folder / 'vae' / 'weights.safetensors').unlink()
    finding = checks.model(str(folder))
    assert finding.verdict == BROKEN
    assert 'weights of vae' in finding.found


def test_a_wrong_path_and_sd3_itself_are_told(folder):
    assert 'no such model folder' in checks.model(str(folder / 'nothing')).found
    index = folder / 'model_index.json'
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
