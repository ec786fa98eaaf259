# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bad files from outside: one line that names the file, no traceback."""

import json
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from diception_ros.cli.main import main

DEEP = '[' * 100_000


def png(width, height):
    """A PNG that declares a size, with hardly any data."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    data = chunk(b'IDAT', zlib.compress(bytes(100)))
    return b'\x89PNG\r\n\x1a\n' + header + data + chunk(b'IEND', b'')


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(('name', 'content', 'arguments', 'says'), [
    ('a.png', png(30_000, 30_000), 'predict a.png --tasks depth', 'a.png: expected at most'),
    ('a.png', png(100_000, 100_000), 'predict a.png --tasks depth', 'a.png: expected at most'),
    ('a/card.json', DEEP, 'predict ok.png --adapters a', 'a/card.json: not JSON'),
    ('a/x.json', DEEP, 'adapt --data a --task x --kind mask', 'a/x.json: not JSON'),
    ('a/x.json', '{"images": Infinity}', 'adapt --data a --task x --kind mask', 'a/x.json: '),
    ('a.yaml', DEEP, 'train --config a.yaml', 'a.yaml: not YAML'),
    ('a.mcap', b'\x89MCAP0\r\n\x01' + b'\xff' * 60, 'replay a.mcap', 'a.mcap: damaged'),
    ('a.bag', b'#ROSBAG V2.0\n' + b'\xff\xff\xff\x7fxx', 'replay a.bag', 'a.bag: damaged'),
    ('a.db3', b'SQLite format 3\0' + b'\xff' * 200, 'replay a.db3', 'a.db3: damaged'),
    ('a/metadata.yaml', DEEP, 'replay a', 'a: no bag'),
    ('a/metadata.yaml', '&a [*a]', 'replay a', 'a: no bag'),
])  # fmt: skip
def test_a_bad_file_is_one_line(tmp_path, monkeypatch, capsys, name, content, arguments, says):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / 'ok.png', png(4, 4))
    put(tmp_path / name, content)
    out = 'out.mcap' if arguments.startswith('replay') else 'out'
    assert main([*arguments.split(), '--out', out]) in (1, 3)
    said = capsys.readouterr().err
    assert says in said
    assert 'Traceback' not in said


@pytest.mark.parametrize(('name', 'content'), [
    ('model_index.json', '[]'),
    ('model_index.json', DEEP),
    ('model_index.json', {'transformer': {}}),
    ('model_index.json', {'resolution': 'x'}),
    ('transformer/config.json', '[]'),
    ('transformer/config.json', DEEP),
    ('transformer/config.json', {'num_layers': 'a'}),
    ('vae/config.json', '{"_class_name": 3}'),
    ('prompt_embeddings.safetensors', b'x'),
    ('prompt_embeddings.safetensors', '[1]'),
])  # fmt: skip
def test_a_bad_model_folder_is_one_line(tmp_path, tiny_folder, capsys, name, content):
    model = tmp_path / 'model'
    shutil.copytree(tiny_folder, model, copy_function=os.symlink)
    path = model / name
    if isinstance(content, dict):
        content = json.dumps({**json.loads(path.read_text()), **content})
    path.unlink()
    if content == '[1]':
        values = {
            'tokens': np.zeros((1, 2, 3), np.float32),
            'pooled': np.zeros((1, 3), np.float32),
        }
        save_file(values, path, {'table': content})
    else:
        put(path, content)
    put(tmp_path / 'ok.png', png(4, 4))
    arguments = ['--model', model, '--tasks', 'depth', '--out', tmp_path / 'out']
    assert main(['predict', *map(str, [tmp_path / 'ok.png', *arguments])]) == 1
    said = capsys.readouterr().err
    assert f'diception predict: {model}' in said.strip().splitlines()[-1]
    assert 'Traceback' not in said
    assert not (tmp_path / 'out').exists()
