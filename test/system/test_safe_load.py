# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Limits of JSON, YAML and .npz files, each tried just below and just above."""

import io
import json
import zipfile

import numpy as np
import pytest
import yaml

from diception_ros.system import safe_load


@pytest.fixture
def low_limits(monkeypatch):
    """Limits that small files exceed."""
    monkeypatch.setattr(safe_load, 'MAX_DEPTH', 5)
    monkeypatch.setattr(safe_load, 'MAX_VALUES', 50)
    monkeypatch.setattr(safe_load, 'MAX_ARRAYS_SIZE', 2000)


def nested(depth):
    return '[' * depth + ']' * depth


@pytest.mark.parametrize('read', [safe_load.json_text, safe_load.yaml_text])
def test_depth_is_limited(low_limits, read):
    value = read(nested(5), 'x')
    for _ in range(4):
        (value,) = value
    assert value == []
    for depth in (6, 100, 100_000):
        with pytest.raises(ValueError, match='x: not'):
            read(nested(depth), 'x')


def test_depth_of_json_objects_counts_too(low_limits):
    text = '{"a": ' * 6 + '1' + '}' * 6
    with pytest.raises(ValueError, match='more than 5 deep'):
        safe_load.json_text(text, 'x')


def test_aliases_count_as_what_they_stand_for(low_limits):
    line = 'a: &a [1, 2, 3]\n'  # 4 values, and 2 for key and map
    good = line + 'b: [*a, *a, *a, *a]\n'
    assert safe_load.yaml_text(good, 'x') == {'a': [1, 2, 3], 'b': [[1, 2, 3]] * 4}
    laughs = line + 'b: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]\n'
    with pytest.raises(ValueError, match='values, those of aliases included'):
        safe_load.yaml_text(laughs, 'x')


def test_depth_counts_through_aliases(low_limits):
    lines = ['a0: &a0 [1]'] + [f'a{k}: &a{k} [*a{k - 1}]' for k in range(1, 6)]
    assert safe_load.yaml_text('\n'.join(lines[:4]), 'x')['a3'] == [[[[1]]]]
    with pytest.raises(ValueError, match='deep'):
        safe_load.yaml_text('\n'.join(lines), 'x')


@pytest.mark.parametrize('text', [
    '&a [*a]', '*b', '!!python/object/apply:os.getcwd []', '!!timestamp x', '!!int ""',
    '!!bool x', '!!float ""', '!!binary "\xe9"', '[1', 'a: b: c', '{[1]: 2}', '2001-99-99', '\0',
    '? &a [*a]', 'a' * 5000, '<<: 3',
])  # fmt: skip
def test_invalid_yaml_raises_value_error(text):
    with pytest.raises(ValueError, match=r'^x: not YAML that is read') as error:
        safe_load.yaml_text(text, 'x')
    assert '\n' not in str(error.value)


def test_yaml_is_that_of_the_library():
    value = {'a': [1, 2.5, None, True, 'x: y'], 'b': {'c': 'ü' * 300}, 'd': []}
    assert safe_load.yaml_text(yaml.safe_dump(value), 'x') == value
    assert safe_load.yaml_text('', 'x') is None


def test_files_are_limited_in_size(tmp_path):
    file = tmp_path / 'a.json'
    file.write_text(json.dumps('a' * 98))
    assert safe_load.json_file(file, 100) == 'a' * 98
    with pytest.raises(ValueError, match=r'a\.json: expected at most 99 bytes'):
        safe_load.json_file(file, 99)
    with pytest.raises(ValueError, match='expected a JSON object'):
        safe_load.json_object(file)
    with pytest.raises(FileNotFoundError):
        safe_load.yaml_file(tmp_path / 'b.yaml')


def test_arrays_are_those_that_were_written(tmp_path):
    arrays = {
        'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': np.array('word'),
        'c': np.asfortranarray(np.eye(3)), 'memory/d': np.zeros((0, 4), np.int8),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / 'a.npz', **arrays)
        found = safe_load.npz_file(tmp_path / 'a.npz')
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
            found[name].setflags(write=True)


def member(header_shape, content, dtype='<f4'):
    """A .npy file that declares a shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {'descr': dtype, 'fortran_order': False, 'shape': header_shape}
    )
    return file.getvalue() + content


@pytest.mark.parametrize(('content', 'says'), [
    (member((10**12,), b''), 'smaller than requested'),
    (member((2,), b'1234'), 'smaller than requested'),
    (member((600,), bytes(2400)), 'expected at most 2000 bytes'),
    (member((1,), b'12345678', '|O'), 'Python objects'),
    (member((-5,), b'1234'), ''),
    (b'\x93NUMPY\x01\x00\x04\x00{[)(', ''),
    (b'x', ''),
])  # fmt: skip
def test_arrays_that_are_not_what_they_declare_are_refused(tmp_path, low_limits, content, says):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.npy', content)
    with pytest.raises(ValueError, match=rf'a\.npz: not a \.npz file that can be read.*{says}'):
        safe_load.npz_file(tmp_path / 'a.npz')


@pytest.mark.parametrize('content', [b'', b'PK\3\4', b'PK\5\6' + bytes(18), b'text'])
def test_an_empty_archive_has_no_arrays_and_other_bytes_are_refused(tmp_path, content):
    (tmp_path / 'a.npz').write_bytes(content)
    if content.startswith(b'PK\5'):
        assert safe_load.npz_file(tmp_path / 'a.npz') == {}
        return
    with pytest.raises(ValueError, match=r'a\.npz: not a \.npz file'):
        safe_load.npz_file(tmp_path / 'a.npz')
