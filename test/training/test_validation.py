# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Validation: metrics beside two baselines, logs, and the threshold of masks."""

import csv
from types import SimpleNamespace

from disc_samples import SIDE, discs, tiny
import numpy as np
import pytest
from task_examples import example
import torch

from diception_ros import tasks
from diception_ros.core import adapter_card as cards
from diception_ros.core import images
from diception_ros.core.adapter_card import Card
from diception_ros.core.labels import Mask
from diception_ros.core.prompt import Prompt
from diception_ros.training import validation
from diception_ros.training.samples import Preprocessor

FORM = Preprocessor(SIDE, 'xy', False)


class Oracle:
    """A pipeline that paints the target of the image that it is shown."""

    config = SimpleNamespace(resolution=SIDE, shifts=1)
    token = 8
    input_scale = 1
    latent_channels = 3
    transformer = SimpleNamespace(config=SimpleNamespace(pos_embed_max_size=SIDE))

    def __init__(self, prepared):
        self._prepared = prepared

    def maybe_free_model_hooks(self):
        pass

    def encode_image(self, image):
        return image

    def denoise(self, image_latents, texts, *_, **__):
        shown = ((image_latents + 1) * 127.5).round().to(torch.uint8)
        shown = shown.expand(len(texts), -1, -1, -1)
        painted = []
        for one, text in zip(shown, texts, strict=True):
            which = next(
                row for row in range(len(self._prepared))
                if torch.equal(self._prepared.images[self._prepared.frame[row]], one)
                and self._prepared.texts[row] == text
            )  # fmt: skip
            painted.append(self._prepared.targets[which].float() / 255)
        return torch.stack(painted)

    def decode_latents(self, latents):
        return np.ascontiguousarray(latents.permute(0, 2, 3, 1).numpy())


def test_oracle_scores_perfectly_and_both_controls_do_not(tmp_path):
    held, trained = discs(8, 1), FORM.collate(discs(30, 0))
    judge = validation.Validator(held, FORM, trained, tiny())
    oracle = Oracle(FORM.collate(held))
    scores = judge.run(oracle, tmp_path / 'sheet.png')
    assert scores['segmentation']['iou']['true'] == 1
    assert scores['segmentation']['iou']['shuffled'] < 0.5
    for task in ('segmentation', 'depth'):
        error = scores[task]['image_mae']
        assert error['true'] == 0
        assert error['shuffled'] > 0.05
        # The mean of what was trained on, by hand.
        mean = trained.targets[trained.rows(task)].float().mean(dim=0) / 255
        truth = FORM.collate(held)
        truth = truth.targets[truth.rows(task)].float() / 255
        assert error['mean'] == pytest.approx(float((truth - mean).abs().mean()), abs=1e-6)
    sheet = images.read(tmp_path / 'sheet.png')
    assert sheet.shape[0] > 2 * 128
    assert sheet.shape[1] > 12 * 128


def test_shuffled_predictions_are_of_another_image_of_the_task():
    held = discs(3, 1)
    judge = validation.Validator(held, FORM, FORM.collate(discs(3, 0)), tiny())
    asked = []

    class Spy(Oracle):
        def denoise(self, image_latents, texts, *_, **__):
            asked.append(image_latents)
            return super().denoise(image_latents, texts)

    judge.run(Spy(FORM.collate(held)))
    true, shuffled = asked
    prepared = FORM.collate(held)
    for task in ('segmentation', 'depth'):
        rows = prepared.rows(task)
        assert torch.equal(shuffled[rows], true[rows.roll(-1)])


def test_the_model_sets_how_many_shifted_predictions_are_blended():
    held = discs(2, 1)
    judge = validation.Validator(held, FORM, FORM.collate(discs(3, 0)), tiny())
    seen = []

    class Copyist(Oracle):
        """Paints what it is shown."""

        config = SimpleNamespace(resolution=SIDE, shifts=4)

        def denoise(self, image_latents, texts, *_, **__):
            seen.append(len(texts))
            return image_latents / 2 + 0.5

    prepared = FORM.collate(held)
    painted = judge.sample(Copyist(prepared), [0, 1, 2, 3], [2, 3, 0, 1])
    for image, row in zip(painted, [2, 3, 0, 1], strict=True):
        shown = prepared.images[prepared.frame[row]].permute(1, 2, 0).numpy() / 255
        np.testing.assert_allclose(image, shown, atol=1e-5)
    # Four of each; fewer where a shifted image would lose the point.
    assert 4 + 4 < sum(seen) <= 4 * 4


def test_lines_name_task_and_metric():
    scores = {'depth': {'image_mae': {'true': 0.1, 'shuffled': 0.2, 'mean': 0.3}}}
    (line,) = validation.csv_rows(scores)
    assert set(validation.VALIDATION_COLUMNS) == {'step', *line}


def test_a_table_keeps_what_came_before_and_drops_what_comes_again(tmp_path):
    path = tmp_path / 'log.csv'
    first = validation.CSVLogger(path, ('step', 'loss', 'depth'))
    for step in (2, 4, 6):
        first.add(step=step, loss=1 / step)
    again = validation.CSVLogger(path, ('step', 'loss', 'depth'), step=4)
    again.add(step=6, loss=0.5, depth=float('nan'))
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert [line['step'] for line in lines] == ['2', '4', '6']
    assert [line['loss'] for line in lines] == ['0.5', '0.25', '0.5']
    validation.CSVLogger(path, ('step', 'loss'))
    assert len(path.read_text().splitlines()) == 1


def test_every_task_decodes_and_scores_random_images():
    """Whatever a network paints at first, each task can read and score it."""
    rng = np.random.default_rng(0)
    for name in tasks.names():
        task = tasks.get(name)
        truth = example(task, rng, SIDE)
        for image in (rng.random((SIDE, SIDE, 3)), np.full((SIDE, SIDE, 3), 0.3)):
            assert task.score(task.decode(image.astype(np.float32), None), truth)


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


def test_threshold_prior_follows_the_covered_share():
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
    task = tasks.adapter_task(cards.read(tmp_path))
    np.testing.assert_array_equal(task.decode(painted(0.23, 0.11), Prompt('grey')).values, TRUTH)
    assert not tasks.get('segmentation').decode(painted(0.23, 0.11)).values.any()


@pytest.mark.parametrize('threshold', [0, 1, -0.5, 2.0])
def test_a_threshold_that_everything_or_nothing_passes_is_refused(threshold):
    with pytest.raises(ValueError, match=f'threshold is {threshold}; expected above 0'):
        Card('grey', 'text', 'mask', 'base', 'a' * 64, 1, 1, 0.01, threshold=threshold)
