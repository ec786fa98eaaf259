# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wrong values in a model folder's JSON files: one error that names the file, before building."""

import json
import math
import shutil
import subprocess
import sys

import pytest

from diception_ros.model import DiceptionPipeline, component_configs
from diception_ros.model.folder import check_folder, resolve

FILES = {
    'transformer/config.json': 'DiceptionTransformer2DModel',
    'vae/config.json': 'AutoencoderKL',
    'point_encoder/config.json': 'DiceptionPointEncoder',
    'scheduler/scheduler_config.json': 'FlowMatchEulerDiscreteScheduler',
    'text_encoder/config.json': 'CLIPTextModelWithProjection',
    'text_encoder_3/config.json': 'T5EncoderModel',
}
WRONG = [{}, [[]], 'much', -(10**9), 10**12, math.nan, math.inf, 1.5e300]


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A folder of JSON files alone; weights are not needed to refuse it."""
    out = tmp_path / 'model'
    shutil.copytree(tiny_folder, out, ignore=shutil.ignore_patterns('*.safetensors'))
    return out


def change(path, **values):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))


def test_the_shipped_model_and_the_tiny_one_pass(folder):
    check_folder(folder)
    check_folder(resolve('builtin'))


@pytest.mark.parametrize(('file', 'kind'), FILES.items())
def test_every_key_refuses_values_of_other_types_and_out_of_range(folder, file, kind):
    path = folder / file
    before = path.read_text()
    for key in component_configs._RULES[kind]:
        for value in WRONG:
            change(path, **{key: value})
            with pytest.raises(ValueError, match=rf'{file}: .*{key}') as caught:
                check_folder(folder)
            assert len(str(caught.value).splitlines()) == 1
            path.write_text(before)


@pytest.mark.parametrize(
    ('file', 'values', 'message'),
    [
        ('transformer/config.json', {'caption_projection_dim': 36}, 'attention_head_dim, 32'),
        ('transformer/config.json', {'pos_embed_max_size': 4096}, 'table of positions'),
        ('transformer/config.json', {'num_layers': True}, 'num_layers is True; expected a whole'),
        ('vae/config.json', {'norm_num_groups': 5}, 'expected a divisor of'),
        ('vae/config.json', {'down_block_types': ['DownEncoderBlock2D']}, 'as many as'),
        ('text_encoder/config.json', {'num_attention_heads': 3}, 'multiple of'),
        ('model_index.json', {'resolution': '768'}, "resolution is '768'"),
        ('model_index.json', {'shifts': 0}, 'shifts is 0'),
        ('model_index.json', {'vae': {}}, r'component vae is \{\}'),
        ('model_index.json', {'vae': ['diffusers']}, 'component vae is'),
        ('model_index.json', {'transformer': [None, None]}, 'component transformer is'),
    ],
)
def test_contradictions_and_the_index_are_checked(folder, file, values, message):
    change(folder / file, **values)
    with pytest.raises(ValueError, match=f'{file}: .*{message}'):
        DiceptionPipeline.from_pretrained(folder)


@pytest.mark.parametrize('content', ['[]', '3', '{', '[' * 100_000, 'null'])
@pytest.mark.parametrize('file', ['model_index.json', 'vae/config.json'])
def test_files_that_hold_no_object_are_named(folder, file, content):
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=f'{file}: (not JSON|expected a JSON object)'):
        check_folder(folder)


def test_a_missing_file_or_component_is_named(folder):
    index = json.loads((folder / 'model_index.json').read_text())
    del index['scheduler']
    (folder / 'model_index.json').write_text(json.dumps(index))
    with pytest.raises(ValueError, match='names no scheduler'):
        check_folder(folder)
    (folder / 'vae/config.json').unlink()
    change(folder / 'model_index.json', scheduler=['diffusers', 'FlowMatchEulerDiscreteScheduler'])
    with pytest.raises(FileNotFoundError, match=r'vae/config\.json: missing'):
        check_folder(folder)


def test_weights_of_another_shape_are_one_error_that_names_the_folder(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / 'model')
    change(tmp_path / 'model/transformer/config.json', joint_attention_dim=40)
    with pytest.raises(ValueError, match=r'model: its weights or configuration cannot be loaded'):
        DiceptionPipeline.from_pretrained(tmp_path / 'model')
    (tmp_path / 'model/vae/diffusion_pytorch_model.safetensors').write_bytes(b'{' * 100)
    with pytest.raises((ValueError, OSError), match='model'):
        DiceptionPipeline.from_pretrained(tmp_path / 'model')


def test_a_folder_is_checked_without_torch():
    program = (
        'import sys\n'
        'from diception_ros.model.folder import check_folder, resolve, silence_library_logging\n'
        'silence_library_logging()\n'
        "check_folder(resolve('builtin'))\n"
        "assert not {'torch', 'diffusers', 'transformers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, '-c', program], check=True)
