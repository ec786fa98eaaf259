# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception simulate`: a folder, a bag, and clear errors."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.bags.reader import read_messages
from diception_ros.cli import main as command
from diception_ros.core import geometry
from diception_ros.core.labels import MetricDepth
from diception_ros.datasets.sample import read_folder
from diception_ros.messages import images as image_messages
from diception_ros.messages.point_clouds import joints_from

pytestmark = pytest.mark.usefixtures('opengl')


def simulate(*arguments):
    small = ['--scenes', '2', '--views', '3', '--size', '96x64', '--seed', '5']
    return command.main(['simulate', *small, *map(str, arguments)])


def test_folder(tmp_path):
    out = tmp_path / 'out'
    assert simulate('--out', out) == 0
    samples = list(read_folder(out))
    assert len({sample.frame.stamp_ns for sample in samples}) == 6
    assert {sample.prompt.task for sample in samples} == set(tasks.names())
    for sample in samples:
        assert sample.frame.size == (64, 96)
        assert sample.pose is not None
        wanted = (
            MetricDepth if sample.prompt.task == 'depth' else tasks.get(sample.prompt.task).label
        )
        assert isinstance(sample.label, wanted)


def test_bag_is_what_a_robot_records(tmp_path):
    out = tmp_path / 'out.mcap'
    assert simulate('--out', out, '--rate', '30', '--rig', 'robot') == 0
    by_topic = {}
    for raw, message in read_messages(out):
        one = SimpleNamespace(message=message, stamp_ns=raw.stamp_ns)
        by_topic.setdefault(raw.topic, []).append(one)
    counts = {topic: len(found) for topic, found in by_topic.items()}
    assert counts.pop('/camera/scene') == 2
    assert set(counts.values()) == {6}
    assert {'/camera/image_raw', '/camera/camera_info', '/tf', '/camera/pose'} < set(counts)
    stamps = [one.stamp_ns for one in by_topic['/camera/image_raw']]
    np.testing.assert_allclose(np.diff(stamps), 1e9 / 30, atol=1)
    stories = [json.loads(one.message.data) for one in by_topic['/camera/scene']]
    for k, stamp in enumerate(stamps):
        frame = {topic: found[k] for topic, found in by_topic.items() if topic in counts}
        for topic, one in frame.items():
            message = one.message.transforms[0] if topic == '/tf' else one.message
            said = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            assert said == one.stamp_ns == stamp
            where = 'map' if topic in ('/tf', '/camera/pose') else 'camera_optical'
            assert message.header.frame_id == where
        maps = {topic: image_messages.array_from(frame[topic].message) for topic in frame
                if topic.endswith(('image', 'image_raw'))}  # fmt: skip
        depth, ids = maps['/camera/depth/image'], maps['/camera/instances/image']
        names = stories[k // 3]['instances']
        kinds = stories[k // 3]['categories']
        for number in np.unique(ids):
            seen = np.unique(maps['/camera/semantic/image'][ids == number])
            assert [kinds[str(s)] for s in seen] == [names[str(number)]]
        # K takes the joints from metres to the pixels that they are labelled with.
        found = joints_from(frame['/camera/joints'].message)
        pinhole = frame['/camera/camera_info'].message.k.reshape(3, 3)
        for joint in found[found['visibility'] > 0]:
            u, v, w = pinhole @ [joint['x'], joint['y'], joint['z']]
            assert (u / w, v / w) == pytest.approx((joint['u'], joint['v']), abs=1e-2)
            if joint['visibility'] == 2:
                column, row = round(float(joint['u'])), round(float(joint['v']))
                assert ids[row, column] == joint['instance']
        # The pose puts the floor at height 0.
        q = frame['/camera/pose'].message.pose.orientation
        lens = frame['/camera/camera_info'].message.k
        from diception_ros.core.frame import Intrinsics

        points = geometry.back_project(
            MetricDepth(depth), Intrinsics(lens[0], lens[4], lens[2], lens[5])
        )
        vector = np.array([q.x, q.y, q.z])
        turned = points + 2 * np.cross(vector, np.cross(vector, points) + q.w * points)
        height = turned[..., 2] + frame['/camera/pose'].message.pose.position.z
        floor = maps['/camera/semantic/image'] == 1
        np.testing.assert_allclose(height[floor], 0, atol=1e-4)


def test_two_runs_write_the_same_messages(tmp_path):
    for name in ('a', 'b'):
        assert simulate('--out', tmp_path / f'{name}.mcap') == 0
    one, two = ([raw for raw, _ in read_messages(tmp_path / f'{name}.mcap')] for name in 'ab')
    assert [(r.topic, r.stamp_ns, r.data) for r in one] == [
        (r.topic, r.stamp_ns, r.data) for r in two
    ]


@pytest.mark.parametrize('name', ['out', 'out.mcap'])
def test_nothing_is_overwritten_unasked(tmp_path, capsys, name):
    assert simulate('--out', tmp_path / name) == 0
    assert simulate('--out', tmp_path / name) == 1
    assert '--force' in capsys.readouterr().err
    assert simulate('--out', tmp_path / name, '--force') == 0


@pytest.mark.parametrize(('arguments', 'says'), [
    (['--size', '64'], 'WxH'), (['--size', '99999x99999'], 'at most 150000000 pixels'),
    (['--size', '99999x9'], 'OpenGL cannot draw 99999x9 pixels'),
    (['--size', '0x4'], 'WxH'), (['--scenes', '0'], 'at least 1'),
    (['--rate', '0'], 'rate is 0'), (['--seed', '-1'], '-1'), (['--out', 'x.db3'], '.mcap'),
])  # fmt: skip
def test_invalid_options_raise(tmp_path, capsys, arguments, says):
    try:
        code = simulate('--out', tmp_path / 'out', *arguments)
    except SystemExit as end:
        code = end.code
    assert code in (1, 2)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(('backend', 'packages'), [
    ('egl', 'libegl1 libegl-mesa0 libgl1-mesa-dri'), ('osmesa', 'libosmesa6'),
])  # fmt: skip
def test_a_missing_library_is_one_clear_error(tmp_path, backend, packages):
    program = (
        'import ctypes.util, sys\n'
        'ctypes.util.find_library = lambda name: None\n'
        'from diception_ros.cli.main import main\n'
        f"sys.exit(main(['simulate', '--gl', {backend!r}, '--out', {str(tmp_path / 'out')!r}]))\n"
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 1
    assert packages in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'out').exists()


def test_osmesa_draws_the_same_things(tmp_path):
    import ctypes.util

    if ctypes.util.find_library('OSMesa') is None:
        pytest.skip('OSMesa is not installed')
    small = ['--scenes', '1', '--views', '1', '--size', '96x64', '--seed', '5']
    program = (
        'import sys\n'
        'from diception_ros.cli.main import main\n'
        f"out = ['--out', {str(tmp_path / 'o')!r}]\n"
        f"sys.exit(main(['simulate', '--gl', 'osmesa', *out, *{small!r}]))\n"
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert simulate('--out', tmp_path / 'e') == 0
    one, two = (next(read_folder(tmp_path / name)) for name in 'oe')
    differs = abs(one.label.values - two.label.values) > 1e-3
    assert differs.mean() < 0.01


def test_mujoco_is_loaded_only_to_render():
    program = (
        'import sys, diception_ros.bags.typestore, diception_ros.datasets.sample\n'
        'import diception_ros.simulation.sample_stream\n'
        'import diception_ros.simulation.record\n'
        "assert 'mujoco' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, '-c', program], check=True)
