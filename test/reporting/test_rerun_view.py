# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What goes to the Rerun viewer: every image and answer, each at its stamp."""

from collections import Counter
import os
from pathlib import Path
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import recordings

from diception_ros.bag_replay import run
from diception_ros.bag_replay.run import Job
from diception_ros.bags.reader import Bag
from diception_ros.perception.perceiver import Perceiver
from diception_ros.reporting import rerun_view


@pytest.fixture
def replayed(tmp_path):
    path = recordings.write(tmp_path / 'bag', recordings.recorded(3))
    asked = recordings.asked(
        tasks=('depth', 'normal', 'entity'), depth__metric='fixed', depth__scale=0.5,
        depth__shift=0.1,
    )  # fmt: skip
    job = Job(tmp_path / 'out.mcap')
    with Bag(path) as bag:
        result = run.replay(bag, Perceiver(recordings.Cheap(), recordings.MAKE, asked), job)
    return path, job, result.cameras, asked


class Stand:
    """In for Rerun."""

    ViewCoordinates = SimpleNamespace(RDF='right, down, forward')

    def __init__(self):
        self.logged, self.now = [], None
        for kind in ('Image', 'DepthImage', 'SegmentationImage', 'Points3D'):
            setattr(self, kind, lambda array, kind=kind, **more: (kind, array, more))

    def init(self, name):
        pass

    def spawn(self):
        self.opened = Path(sys.executable).parent == Path(os.environ['PATH'].split(':')[0])

    def set_time(self, line, timestamp):
        assert line == 'stamp'
        self.now = int(timestamp.astype('int64'))

    def log(self, entity, what, static=False):
        if static:
            assert (entity, what) == ('camera', 'right, down, forward')
            return
        self.logged.append((entity, self.now, what))

    def disconnect(self):
        self.ended = True


def test_everything_is_shown_at_its_stamp(replayed, monkeypatch):
    stand = Stand()
    monkeypatch.setitem(sys.modules, 'rerun', stand)
    rerun_view.show(*replayed)
    assert stand.opened
    assert stand.ended
    kinds = {entity: what[0] for entity, _, what in stand.logged}
    assert kinds == {
        'camera/image': 'Image', 'camera/disparity/image': 'DepthImage',
        'camera/depth/image': 'DepthImage', 'camera/depth/color': 'Image',
        'camera/normal/image': 'Image', 'camera/normal/color': 'Image',
        'camera/entity/label': 'SegmentationImage', 'camera/entity/color': 'Image',
        'camera/entity/overlay': 'Image', 'camera/entity/confidence': 'Image',
        'camera/points': 'Points3D',
    }  # fmt: skip
    assert set(Counter(entity for entity, *_ in stand.logged).values()) == {3}
    for entity, stamp, what in stand.logged:
        k = (stamp - recordings.BEGIN) // 100_000_000
        assert stamp == recordings.BEGIN + k * 100_000_000
        if entity == 'camera/image':
            np.testing.assert_array_equal(what[1], recordings.image(k))
        if entity == 'camera/points':
            colors = what[2]['colors']
            assert {*map(tuple, colors)} <= {*map(tuple, recordings.image(k).reshape(-1, 3))}


def test_viewer_that_does_not_open_is_logged(replayed, monkeypatch):
    stand = Stand()

    def spawn():
        raise RuntimeError('no executable')

    stand.spawn = spawn
    monkeypatch.setitem(sys.modules, 'rerun', stand)
    before = os.environ['PATH']
    with pytest.raises(OSError, match='does not open: no executable'):
        rerun_view.show(*replayed)
    assert os.environ['PATH'] == before


def test_real_rerun_reads_what_was_written(replayed, tmp_path):
    pytest.importorskip('rerun', reason='Rerun is not installed (diception_ros[rerun])')
    rerun_view.show(*replayed, save=tmp_path / 'a.rrd')
    assert (tmp_path / 'a.rrd').stat().st_size > 10_000
    reading = pytest.importorskip('rerun.chunk', reason='this Rerun reads no files')
    found, fixed = {}, set()
    for chunk in reading.RrdReader(tmp_path / 'a.rrd').stream():
        names = set(chunk.to_record_batch().schema.names)
        if chunk.is_static:
            fixed |= {(chunk.entity_path, one) for one in names}
            continue
        assert set(chunk.timeline_names) <= {'log_time', 'log_tick', 'stamp'}
        content = chunk.to_record_batch()
        (kind,) = {one.partition(':')[0] for one in names if ':' in one}
        times = content.column('stamp').to_numpy(zero_copy_only=False).astype('int64').tolist()
        key = chunk.entity_path.removeprefix('/camera/')
        found.setdefault(key, (kind, []))[1].extend(times)
        if key == 'image':
            for k, buffer in enumerate(content.column('Image:buffer').to_pylist()):
                stamp = (times[k] - recordings.BEGIN) // 100_000_000
                assert np.array_equal(np.ravel(buffer), recordings.image(stamp).reshape(-1))
    assert ('/camera', 'ViewCoordinates:xyz') in fixed
    stamps = [recordings.BEGIN + k * 100_000_000 for k in range(3)]
    assert {key: kind for key, (kind, _) in found.items()} == {
        'image': 'Image', 'disparity/image': 'DepthImage', 'depth/image': 'DepthImage',
        'depth/color': 'Image', 'normal/image': 'Image', 'normal/color': 'Image',
        'entity/label': 'SegmentationImage', 'entity/color': 'Image', 'entity/overlay': 'Image',
        'points': 'Points3D',
    }  # fmt: skip
    assert {key: sorted(times) for key, (_, times) in found.items()} == dict.fromkeys(
        found, stamps
    )


def test_without_a_screen_it_names_the_file(monkeypatch):
    monkeypatch.setattr(rerun_view.importlib.util, 'find_spec', lambda name: True)
    monkeypatch.setattr(rerun_view.sys, 'platform', 'linux')
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OSError, match='--view-file'):
        rerun_view.check()
    rerun_view.check(window=False)
    monkeypatch.setenv('DISPLAY', ':0')
    rerun_view.check()


def test_without_rerun_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(rerun_view.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='needs Rerun') as error:
        rerun_view.check()
    assert error.value.name == 'rerun'  # from which the command line tells what to install
