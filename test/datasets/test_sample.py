# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples in folders come back as they were."""

import json

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.frame import Frame, Intrinsics, Transform
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets.sample import Sample, create_folder, read_folder, write_frame

SIZE = 48


def turn(rng):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def frame_of_samples(seed):
    """One sample of every task, of one frame; every second frame knows no camera."""
    rng = np.random.default_rng(seed)
    knows = seed % 2 == 0
    frame = Frame(
        rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),
        1_700_000_000_123_456_789 + seed,
        'camera_optical',
        Intrinsics(*rng.uniform(20, 90, 4).tolist()) if knows else None,
    )
    pose = Transform(turn(rng), rng.normal(size=3)) if knows else None
    out = []
    for name in tasks.names():
        points = (Point(3.25, 4.0), Point(47.0, 0.1)) if tasks.get(name).takes_points else ()
        category = 'dining table' if tasks.get(name).takes_category else None
        label = example(tasks.get(name), rng, SIZE)
        out.append(Sample(frame, Prompt(name, category, points), label, pose, f'{seed}/{name}'))
    return out


def assert_same(one, two):
    np.testing.assert_array_equal(one.frame.image, two.frame.image)
    for name in ('stamp_ns', 'frame_id', 'intrinsics'):
        assert getattr(one.frame, name) == getattr(two.frame, name)
    assert (one.prompt, one.name) == (two.prompt, two.name)
    assert (one.pose is None) == (two.pose is None)
    if one.pose is not None:
        np.testing.assert_array_equal(one.pose.translation, two.pose.translation)
        np.testing.assert_array_equal(one.pose.rotation, two.pose.rotation)
    assert type(one.label) is type(two.label)
    for name in one.label.__dataclass_fields__:
        a, b = getattr(one.label, name), getattr(two.label, name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_samples_come_back_as_they_were(tmp_path):
    written = [frame_of_samples(seed) for seed in range(3)]
    create_folder(tmp_path / 'out')
    for number, samples in enumerate(written):
        write_frame(tmp_path / 'out', number, samples)
    read = list(read_folder(tmp_path / 'out'))
    flat = [sample for samples in written for sample in samples]
    assert len(read) == len(flat)
    for one, two in zip(flat, read, strict=True):
        assert_same(one, two)
    assert read[0].frame is read[1].frame  # one image in memory for all that is asked of it


def test_nothing_is_overwritten_unasked(tmp_path):
    create_folder(tmp_path / 'out')
    write_frame(tmp_path / 'out', 0, frame_of_samples(0))
    with pytest.raises(FileExistsError, match='--force'):
        create_folder(tmp_path / 'out')
    create_folder(tmp_path / 'out', force=True)
    assert list(read_folder(tmp_path / 'out')) == []


def test_other_peoples_files_are_never_deleted(tmp_path):
    (tmp_path / 'thesis.tex').write_text('x')
    for place in (tmp_path, tmp_path / 'thesis.tex'):
        with pytest.raises(FileExistsError, match='another'):
            create_folder(place, force=True)
    assert (tmp_path / 'thesis.tex').read_text() == 'x'


def test_samples_of_several_frames_are_refused(tmp_path):
    create_folder(tmp_path / 'out')
    mixed = [frame_of_samples(0)[0], frame_of_samples(1)[0]]
    for wrong in ([], mixed):
        with pytest.raises(ValueError, match='share one frame'):
            write_frame(tmp_path / 'out', 0, wrong)


def test_folder_without_samples_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'samples\.json'):
        list(read_folder(tmp_path))
    (tmp_path / 'samples.json').write_text(json.dumps({'format': 99}))
    with pytest.raises(ValueError, match='99'):
        list(read_folder(tmp_path))
    (tmp_path / 'samples.json').write_text('{')
    with pytest.raises(ValueError, match='not JSON'):
        list(read_folder(tmp_path))


def test_damaged_frame_error_names_the_file(tmp_path):
    create_folder(tmp_path / 'out')
    write_frame(tmp_path / 'out', 0, frame_of_samples(0))
    about = tmp_path / 'out' / '000000' / 'frame.json'
    content = json.loads(about.read_text())
    del content['samples'][0]['task']
    about.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'frame\.json'):
        list(read_folder(tmp_path / 'out'))


def test_a_sample_checks_itself():
    sample = frame_of_samples(0)[0]
    small = example(tasks.get(sample.prompt.task), np.random.default_rng(0), SIZE // 2)
    with pytest.raises(ValueError, match='size'):
        Sample(sample.frame, sample.prompt, small)
    with pytest.raises(ValueError, match='outside'):
        Sample(sample.frame, Prompt('segmentation', points=(Point(99, 1),)), sample.label)


@pytest.mark.parametrize(('name', 'wrong'), [
    ('rotation', (np.eye(3) * 1.01).tolist()), ('rotation', np.diag([1.0, 1, -1]).tolist()),
    ('rotation', np.eye(2).tolist()), ('position', [0.0, 0.0]), ('position', [0, 0, None]),
])  # fmt: skip
def test_a_pose_is_a_rotation_and_a_position(tmp_path, name, wrong):
    create_folder(tmp_path / 'out')
    write_frame(tmp_path / 'out', 0, frame_of_samples(0))
    about = tmp_path / 'out' / '000000' / 'frame.json'
    content = json.loads(about.read_text())
    content['pose'][name] = wrong
    about.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'frame\.json: .*pose'):
        list(read_folder(tmp_path / 'out'))
