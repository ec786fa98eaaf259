# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Labels in files come back as they were."""

from dataclasses import fields

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.labels import ImageLabel, MetricDepth, io


def labels():
    for name in tasks.names():
        yield example(tasks.get(name), np.random.default_rng(1), 64)
    yield MetricDepth(np.array([[1.5, np.nan]], np.float32))
    yield ImageLabel(np.array([[[0, 0.25, 1], [1, 0.1, 0]]], np.float32))


@pytest.mark.parametrize('label', [*labels()], ids=lambda label: type(label).__name__)
def test_round_trip_is_exact(label, tmp_path):
    more = np.full(label.size, 0.25, np.float32)
    io.save_npz(label, tmp_path / 'label.npz', uncertainty=more)
    back = io.load_npz(tmp_path / 'label.npz')
    assert type(back) is type(label)
    for field in fields(label):
        before, after = getattr(label, field.name), getattr(back, field.name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
        else:
            assert before == after
            assert type(before) is type(after)
    with np.load(tmp_path / 'label.npz') as file:
        np.testing.assert_array_equal(file['uncertainty'], more)


def test_two_writes_are_the_same_bytes(tmp_path):
    for name in 'ab':
        io.save_npz(next(labels()), tmp_path / f'{name}.npz')
    assert (tmp_path / 'a.npz').read_bytes() == (tmp_path / 'b.npz').read_bytes()


def test_what_is_no_label_is_named(tmp_path):
    label = next(labels())
    with pytest.raises(ValueError, match=r'ends in \.npz'):
        io.save_npz(label, tmp_path / 'label.png')
    with pytest.raises(ValueError, match='values is a field of Disparity'):
        io.save_npz(label, tmp_path / 'label.npz', values=np.zeros(1))
    with pytest.raises(FileNotFoundError):
        io.load_npz(tmp_path / 'none.npz')
    (tmp_path / 'text.npz').write_text('no label')
    with pytest.raises(ValueError, match=r'not a \.npz file'):
        io.load_npz(tmp_path / 'text.npz')
    np.savez(tmp_path / 'other.npz', values=np.zeros(3))
    with pytest.raises(ValueError, match='kind is None; expected one of Disparity'):
        io.load_npz(tmp_path / 'other.npz')
    np.savez(tmp_path / 'part.npz', kind='Mask', values=np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match='a Mask without score'):
        io.load_npz(tmp_path / 'part.npz')
    np.savez(tmp_path / 'evil.npz', kind='Mask', values=np.array([object()]))
    with pytest.raises(ValueError, match=r'not a \.npz file'):
        io.load_npz(tmp_path / 'evil.npz')
