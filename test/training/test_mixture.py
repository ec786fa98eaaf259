# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Shares of the tasks over an epoch, and that each sample comes once before one comes again."""

from collections import Counter

import pytest

from diception_ros.training.samples import TaskSampler, interleave, parse_task_weights
from diception_ros.training.settings import TrainSettings

PAPER = {'depth': 4, 'normal': 4, 'segmentation': 5, 'entity': 5, 'semantic': 5, 'pose': 5}


def test_default_shares_are_the_papers():
    assert parse_task_weights(TrainSettings(model='m').task_weights) == PAPER


def test_every_batch_of_28_has_the_papers_shares():
    dealt = [TaskSampler(PAPER, 0).draw(k, dict.fromkeys(PAPER, 50))[0] for k in range(28 * 5)]
    for start in range(0, len(dealt), 28):
        assert Counter(dealt[start : start + 28]) == PAPER


@pytest.mark.parametrize('size', [1, 5, 8, 16, 60])
def test_small_batches_stay_near_the_shares(size):
    endless = interleave(PAPER) * 20
    for start in range(0, 400, size):
        batch = Counter(endless[start : start + size])
        for task, share in PAPER.items():
            assert abs(batch[task] - size * share / 28) < 2


def test_each_sample_comes_once_before_one_comes_again():
    counts = {'depth': 7, 'pose': 3}
    mixture = TaskSampler({'depth': 2, 'pose': 1}, 4)
    dealt = [mixture.draw(k, counts) for k in range(3 * 21)]
    for task, count in counts.items():
        mine = [index for name, index in dealt if name == task]
        epochs = [mine[k : k + count] for k in range(0, len(mine) - count + 1, count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_dealing_follows_from_the_number_alone():
    counts = {'depth': 7, 'pose': 3}
    shares = {'depth': 2, 'pose': 1}
    mixture = TaskSampler(shares, 4)
    forward = [mixture.draw(k, counts) for k in range(60)]
    assert [TaskSampler(shares, 4).draw(k, counts) for k in reversed(range(60))] == forward[::-1]
    assert [TaskSampler(shares, 5).draw(k, counts) for k in range(60)] != forward


@pytest.mark.parametrize(('text', 'says'), [
    ('depht=4', "did you mean 'depth'"), ('depth', 'task=number'), ('depth=-1', 'task=number'),
    ('depth=1 depth=2', 'twice'), ('depth=0', 'at least one'), ('', 'at least one'),
])  # fmt: skip
def test_wrong_shares_are_refused(text, says):
    with pytest.raises(ValueError, match=says):
        parse_task_weights(text)


def test_shares_of_zero_are_left_out():
    assert parse_task_weights('depth=1, pose=0') == {'depth': 1}
