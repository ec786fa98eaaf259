# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The threshold of a mask that is learnt: what suits the truth best, or would suit a guess."""

import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.core import adapter_card as cards
from diception_ros.core.adapter_card import Card
from diception_ros.core.labels import Mask
from diception_ros.core.prompt import Prompt
from diception_ros.training import validation

TRUTH = np.zeros((16, 16), bool)
TRUTH[4:12, 2:9] = True


def painted(inside, outside):
    grey = np.where(TRUTH, np.float32(inside), np.float32(outside))
    return np.repeat(grey[..., None], 3, axis=-1)


@pytest.mark.parametrize(
    ('inside', 'outside', 'chosen'),
    [(1.0, 0.0, 0.5), (0.33, 0.11, 0.3), (0.98, 0.76, 0.8), (0.52, 0.48, 0.5)],
)
def test_what_tells_inside_from_outside_is_found_and_the_nearest_to_a_guess(
    inside, outside, chosen
):
    truths = [Mask(TRUTH)] * 2
    assert validation.threshold_prior(truths) == 0.5
    found = validation.choose_threshold(
        {'true': [painted(inside, outside)] * 2, 'shuffled': [painted(outside, inside)] * 2},
        truths,
    )
    assert found['threshold']['true'] == chosen
    assert found['best_iou'] == {'true': 1.0, 'shuffled': 0.0}


def test_images_of_nothing_do_not_count():
    nothing = Mask(np.zeros_like(TRUTH))
    black = np.zeros((16, 16, 3), np.float32)
    found = validation.choose_threshold(
        {'true': [painted(0.4, 0.0), black]}, [Mask(TRUTH), nothing]
    )
    assert found['best_iou']['true'] == 1.0
    assert np.isnan(validation.choose_threshold({'true': [black]}, [nothing])['best_iou']['true'])


def test_few_images_that_do_not_agree_choose_nothing():
    one = painted(0.9, 0.62)  # IoU 0.22 at a half, 1 at 0.65
    other = painted(0.9, 0.1)
    other[10:12, 2:9] = 0.6  # 1 at a half, 0.75 at 0.65
    truths = [Mask(TRUTH)] * 2
    assert validation.threshold_prior(truths) == 0.5  # each tells the other

    def chosen(images):
        found = validation.choose_threshold({'true': images}, truths[:1] * len(images))
        return found['threshold']['true'], found['best_iou']['true']

    assert chosen([one, one]) == (0.65, 1.0)
    # On the mean 0.65 is better; but of two of which one is worse nobody knows.
    threshold, iou = chosen([one, other])
    assert threshold == 0.5
    assert iou == pytest.approx((TRUTH.mean() + 1) / 2)
    # Of many that are like these two somebody does.
    threshold, iou = chosen([one, other] * 20)
    assert (threshold, iou) == (0.65, 0.875)


def blobs(count, size):
    """Small squares at random places of a large image."""
    rng = np.random.default_rng(0)
    out = []
    for y, x in rng.integers(0, 64 - size, (count, 2)):
        mask = np.zeros((64, 64), bool)
        mask[y : y + size, x : x + size] = True
        out.append(Mask(mask))
    return out


def test_a_guess_is_what_whoever_does_not_look_reaches():
    assert validation.threshold_prior([Mask(TRUTH)] * 3) == 0.5
    nothing = Mask(np.zeros_like(TRUTH))
    assert validation.threshold_prior([nothing]) == 0.5
    covered = TRUTH.mean()
    assert validation.threshold_prior([Mask(TRUTH)]) == round(covered / (1 + covered), 3) == 0.179
    assert validation.threshold_prior([Mask(TRUTH), nothing]) == 0.179
    small, large = (validation.threshold_prior(blobs(20, size)) for size in (12, 40))
    assert 0.05 <= small < large < 0.5
    assert validation.threshold_prior(blobs(20, 2)) == 0.05


def test_the_guess_is_the_best_threshold_of_one_who_knows_how_likely_a_pixel_is():
    """The mean of many masks is the probability of each pixel."""
    masks = blobs(400, 24)
    mean = np.mean([one.values for one in masks], axis=0)

    def reached(threshold):
        found = mean > threshold
        return np.mean([(found & one.values).sum() / (found | one.values).sum() for one in masks])

    best = max(np.arange(0.05, 0.96, 0.05), key=reached)
    assert validation.threshold_prior(masks[:50]) == pytest.approx(best, abs=0.06)


def test_the_task_of_an_adapter_reads_by_its_threshold(tmp_path):
    Card('grey', 'text', 'mask', 'base', 'a' * 64, 1, 1, 0.01, threshold=0.2).write(tmp_path)
    task = tasks.of(cards.read(tmp_path))
    np.testing.assert_array_equal(task.decode(painted(0.23, 0.11), Prompt('grey')).values, TRUTH)
    assert not tasks.get('segmentation').decode(painted(0.23, 0.11)).values.any()


@pytest.mark.parametrize('threshold', [0, 1, -0.5, 2.0])
def test_a_threshold_that_everything_or_nothing_passes_is_refused(threshold):
    with pytest.raises(ValueError, match=f'threshold is {threshold}; expected above 0'):
        Card('grey', 'text', 'mask', 'base', 'a' * 64, 1, 1, 0.01, threshold=threshold)
