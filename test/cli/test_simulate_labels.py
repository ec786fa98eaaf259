# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception simulate --labels`: the folder that it writes."""

import json
import re

import cv2
import numpy as np
import pytest

from diception_ros.cli import main as command
from diception_ros.core import images
from diception_ros.simulation import adaptation

pytestmark = pytest.mark.usefixtures('opengl')


def simulate(*arguments):
    small = ['--scenes', '2', '--views', '2', '--size', '96x64', '--seed', '5']
    return command.main(['simulate', *small, *map(str, arguments)])


def files(root):
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob('*') if f.is_file()}


@pytest.mark.parametrize('what', adaptation.TARGETS)
def test_a_folder_holds_what_the_generator_yields(tmp_path, what):
    out = tmp_path / 'out'
    assert simulate('--labels', what, '--out', out) == 0
    names = sorted(f.name for f in (out / 'images').iterdir())
    assert names == sorted(f.name for f in (out / 'labels').iterdir())
    assert len(names) == 4
    assert all(re.fullmatch(r'\d{6}_\d\d\.png', name) for name in names)
    source = adaptation.samples(what, 5, (64, 96), views=2)
    for name in names:  # their order is that of scenes and views
        sample = next(source)
        assert sample.name.split('/')[2:4] == [str(int(part)) for part in name[:-4].split('_')]
        np.testing.assert_array_equal(images.read(out / 'images' / name), sample.frame.image)
        label = cv2.imread(str(out / 'labels' / name), cv2.IMREAD_UNCHANGED)
        if what == 'highlight':
            np.testing.assert_array_equal(label[..., ::-1], sample.label.preview())
        else:
            assert label.dtype == np.uint8
            np.testing.assert_array_equal(label, sample.label.values * np.uint8(255))
    about = json.loads((out / 'about.json').read_text())
    assert (about['labels'], about['images'], about['complete']) == (what, 4, True)
    assert about['kind'] == ('rgb' if what == 'highlight' else 'mask')
    assert str(tmp_path) not in (out / 'about.json').read_text()


def test_the_command_in_the_metadata_reproduces_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert simulate('--labels', 'shadow', '--split', 'test', '--out', 'one') == 0
    content = json.loads((tmp_path / 'one/about.json').read_text())['command']
    assert command.main([*content.replace('FOLDER', 'two').split()[1:]]) == 0
    assert files(tmp_path / 'one') == files(tmp_path / 'two')


def test_splits_never_meet(tmp_path):
    seen = []
    for split in ('train', 'validation', 'test'):
        assert simulate('--labels', 'floor', '--split', split, '--out', tmp_path / split) == 0
        seen += [data for name, data in files(tmp_path / split).items() if 'images' in name]
    assert len(set(seen)) == len(seen) == 12


def test_nothing_else_is_overwritten(tmp_path, capsys):
    out = tmp_path / 'out'
    assert simulate('--labels', 'floor', '--out', out) == 0
    assert simulate('--labels', 'floor', '--out', out) == 1
    assert '--force' in capsys.readouterr().err
    assert simulate('--labels', 'floor', '--out', out, '--force', '--scenes', '1') == 0
    assert len(files(out)) == 5
    mine = tmp_path / 'mine'
    mine.mkdir()
    (mine / 'about.json').write_text('{"format": 1}')
    assert simulate('--labels', 'floor', '--out', mine, '--force') == 1
    assert 'choose another name' in capsys.readouterr().err
    assert files(mine) == {'about.json': b'{"format": 1}'}


def test_simulate_labels_rejects_unsupported_outputs(tmp_path, capsys):
    assert simulate('--labels', 'floor', '--out', tmp_path / 'a.mcap') == 1
    assert simulate('--labels', 'floor', '--stuff', '--out', tmp_path / 'a') == 1
    assert capsys.readouterr().err.count('--labels') == 2
    with pytest.raises(SystemExit):
        simulate('--labels', 'walls', '--out', tmp_path / 'a')
    assert 'floor' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
