# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The scripts of examples/ run, on a small model and small inputs."""

from pathlib import Path
import runpy
import subprocess
import sys

from adapter_fixtures import write_base
from labelled_files import ids, write_folder
import numpy as np
import pytest
from recordings import recorded, write

from diception_ros.core import images

EXAMPLES = Path(__file__).resolve().parents[1] / 'examples'
pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs an example as a script, in a folder of its own; returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def go(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f'{name}.py'), run_name='__main__')
        return capsys.readouterr().out

    return go


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'room.png'
    images.write(path, np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    return path


def test_every_example_has_a_test():
    tests = {name.removeprefix('test_') for name in globals() if name.startswith('test_')}
    assert {path.stem for path in EXAMPLES.glob('*.py')} <= tests


def test_predict_image(run, image, tiny_folder):
    out = run('predict_image', image, tiny_folder)
    assert 'depth: Disparity of (40, 60)' in out
    assert {path.name for path in image.parent.iterdir()} >= {
        'depth.png', 'normal.png', 'semantic.png'
    }  # fmt: skip


def test_replay_bag(run, tmp_path, tiny_folder):
    bag = write(tmp_path / 'drive', recorded(2))
    (tmp_path / 'truth').mkdir()
    for k in range(2):
        np.save(tmp_path / f'truth/{k}.npy', np.linspace(1, 4, 24 * 32).reshape(24, 32))
    out = run('replay_bag', bag, tmp_path / 'truth', tiny_folder)
    assert '2 frames' in out
    assert 'abs_rel' in out
    assert (tmp_path / 'report' / 'index.html').is_file()


@pytest.mark.ros
def test_ros_node(tmp_path, tiny_folder, image):
    """In a process of its own, as rclpy lives once in a process."""
    pytest.importorskip('rclpy')
    program = (
        'import runpy, sys\n'
        'import numpy as np, rclpy\n'
        'from sensor_msgs.msg import Image\n'
        f'example = runpy.run_path({str(EXAMPLES / "ros_node.py")!r})\n'
        'rclpy.init(args=["--ros-args", "-p", "model:=" + sys.argv[1]])\n'
        'node = example["DepthNode"]()\n'
        'published = []\n'
        'node.publisher.publish = published.append\n'
        'pixels = np.zeros((20, 30, 3), np.uint8)\n'
        'message = Image(height=20, width=30, encoding="rgb8", step=90, data=pixels.tobytes())\n'
        'message.header.frame_id = "camera"\n'
        'node.on_image(message)\n'
        'out, = published\n'
        'print(out.header.frame_id, out.encoding, out.height, out.width, len(out.data))\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program, str(tiny_folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'camera 32FC1 20 30 2400'


def test_own_task(run):
    assert "'iou': 1.0" in run('own_task')


def test_adapter(run, image, tmp_path):
    write_base(tmp_path / 'model', 1)
    write_folder(tmp_path / 'labels', lambda k: (ids(k) == 1).astype('uint8'), 10)
    out = run('adapter', tmp_path / 'labels', image, tmp_path / 'model', 2)
    assert 'IoU on images that were held back' in out
    assert (tmp_path / 'results' / 'room.png' / 'floor.png').is_file()


def test_data_set(run, tmp_path, tiny_folder):
    folder = tmp_path / 'mine'
    folder.mkdir()
    for k in range(2):
        pixels = np.random.default_rng(k).integers(0, 256, (40, 60, 3), np.uint8)
        images.write(folder / f'{k}.png', pixels)
        np.save(folder / f'{k}.npy', np.linspace(0, 4, 40 * 60).reshape(40, 60))
    assert 'abs_rel' in run('data_set', folder, tiny_folder)
