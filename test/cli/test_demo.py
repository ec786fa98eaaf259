# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verb demo: what is wrong is said before anything is done; a recording of one's own."""

import importlib.util
import json
import os

import pytest
from recordings import BEGIN, MAKE, recorded, write

from diception_ros.cli import main as command
from diception_ros.core import images
from diception_ros.live_demo.run import CLICK
from diception_ros.system import files


def demo(*arguments):
    return command.main(['demo', *map(str, arguments)])


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--model', '/no/such/model'], '/no/such/model: no such model folder'),
        (['/no/such/bag.mcap'], '/no/such/bag.mcap: no such bag'),
        (['--seconds', '0'], 'seconds is 0.0'),
    ],
)
def test_invalid_options_raise(tmp_path, tiny_folder, capsys, arguments, says):
    pytest.importorskip('rclpy')
    out = tmp_path / 'out'
    assert demo('--model', tiny_folder, '--out', out, *arguments) == 1
    assert says in capsys.readouterr().err
    assert not out.exists() or not [*out.iterdir()]


def test_the_recording_of_an_earlier_demo_is_not_replaced(tmp_path, tiny_folder, capsys):
    pytest.importorskip('rclpy')
    (tmp_path / 'live.mcap').write_text('mine')
    bag = tmp_path / 'live.mcap'
    assert demo(bag, '--model', tiny_folder, '--out', tmp_path) == 1
    assert 'is what is read, and would be replaced' in capsys.readouterr().err
    assert bag.read_text() == 'mine'


def test_two_demos_do_not_share_a_folder(tmp_path, tiny_folder, capsys):
    pytest.importorskip('rclpy')
    place = os.open(tmp_path, os.O_RDONLY)
    files.lock(place, 'nobody else')
    assert demo('--model', tiny_folder, '--out', tmp_path) == 1
    assert f'{tmp_path}: another demo writes it' in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
    os.close(place)


def test_without_ros_the_fix_hint_installs_it(tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'rclpy' else find(name)
    )
    assert demo('--out', tmp_path) == 1
    assert 'there is no rclpy' in (said := capsys.readouterr().err)
    assert 'ROS' in said.partition('this runs in')[2]


@pytest.mark.ros
def test_a_recording_of_ones_own(tmp_path, tiny_folder, capsys):
    pytest.importorskip('rclpy')
    click = MAKE.make('geometry_msgs/msg/Point', x=5.0, y=3.0, z=0.0)
    messages = [*recorded(6), (CLICK, click, BEGIN + 10**9)]  # that nobody will ask about
    bag = write(tmp_path / 'bag', messages)
    out = tmp_path / 'out'
    assert demo(bag, '--model', tiny_folder, '--out', out, '--tasks', 'depth') == 0
    said = capsys.readouterr().err
    assert '6 published' in said
    assert 'each with the header of its image' in said
    equal, _, count = said.partition(' messages of the live node')[0].split('\n')[-1].split()[:3]
    assert equal == count
    assert int(count) > 0
    assert images.read(out / 'sheet.png').ndim == 3
    assert '<html' in (out / 'report' / 'index.html').read_text()
    metrics = json.loads((out / 'report' / 'metrics.json').read_text())
    assert metrics['frames'] == 6
    assert (out / 'live.mcap').stat().st_size > 0
