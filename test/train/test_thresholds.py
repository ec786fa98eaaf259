# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The threshold of a mask that is learnt: what suits the truth best."""

import numpy as np
import pytest

from diception_ros import card as cards
from diception_ros import tasks
from diception_ros.card import Card
from diception_ros.labels import Mask
from diception_ros.prompt import Prompt
from diception_ros.train import thresholds

TRUTH = np.zeros((16, 16), bool)
TRUTH[4:12, 2:9] = True


def painted(inside, outside):
    grey = np.where(TRUTH, np.float32(inside), np.float32(outside))
    return np.repeat(grey[..., None], 3, axis=-1)


@pytest.mark.parametrize(
    ('inside', 'outside', 'chosen'),
    [(1.0, 0.0, 0.5), (0.33, 0.11, 0.3), (0.98, 0.76, 0.8), (0.52, 0.48, 0.5)],
)
def test_what_tells_inside_from_outside_is_found_and_the_nearest_to_a_half(
    inside, outside, chosen
):
    found = thresholds.choose(
        {'true': [painted(inside, outside)], 'shuffled': [painted(outside, inside)]},
        [Mask(TRUTH)],
    )
    assert found['threshold']['true'] == chosen
    assert found['best_iou'] == {'true': 1.0, 'shuffled': 0.0}


def test_pictures_of_nothing_do_not_count():
    nothing = Mask(np.zeros_like(TRUTH))
    black = np.zeros((16, 16, 3), np.float32)
    found = thresholds.choose({'true': [painted(0.4, 0.0), black]}, [Mask(TRUTH), nothing])
    assert found['best_iou']['true'] == 1.0
    assert np.isnan(thresholds.choose({'true': [black]}, [nothing])['best_iou']['true'])


def test_the_task_of_an_adapter_reads_by_its_threshold(tmp_path):
    Card('grey', 'text', 'mask', 'base', 'a' * 64, 1, 1, 0.01, threshold=0.3).write(tmp_path)
    task = tasks.add(cards.read(tmp_path))
    np.testing.assert_array_equal(task.decode(painted(0.33, 0.11), Prompt('grey')).values, TRUTH)
    assert not tasks.get('segmentation').decode(painted(0.33, 0.11)).values.any()


@pytest.mark.parametrize('threshold', [0, 1, -0.5, 2.0])
def test_a_threshold_that_everything_or_nothing_passes_is_refused(threshold):
    with pytest.raises(ValueError, match=f'threshold is {threshold}; expected above 0'):
        Card('grey', 'text', 'mask', 'base', 'a' * 64, 1, 1, 0.01, threshold=threshold)
