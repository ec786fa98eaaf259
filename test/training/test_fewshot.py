# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a few images: drawn evenly, from number and seed, labels in step with images."""

from collections import Counter

from adapter_fixtures import labels
import numpy as np
import pytest
import torch

from diception_ros.core.adapter_card import KINDS, Card
from diception_ros.core.frame import Frame
from diception_ros.core.labels import ImageLabel, Instances, Mask, MetricDepth
from diception_ros.core.prompt import Point, Prompt
from diception_ros.datasets import batch
from diception_ros.datasets.batch import Window
from diception_ros.datasets.sample import Sample, fit_label
from diception_ros.tasks import TaskRegistry
from diception_ros.training.adapt import FewShotDataset
from diception_ros.training.samples import Preprocessor


def form(kind='mask'):
    card = Card('floor', 'floor', kind, 'builtin', '0' * 64, 1, 1, 0.01)
    return Preprocessor(32, 'xy', False, TaskRegistry((card,)))


FORM = form()


def images(count, seed=0):
    """Noise, and as its label the same image."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        image = rng.integers(0, 256, (24, 40, 3), np.uint8)
        label = ImageLabel((image / 255).astype(np.float32))
        out.append(Sample(Frame(image), Prompt('floor'), label, name=f'{k}'))
    return out


def samples_of(source, number=0, kind='mask'):
    """The samples that a pool is made of."""
    seen = []

    class Watched(Preprocessor):
        def collate(self, samples):
            seen.extend(samples)
            return super().collate(seen)

    return source.buffer(number, Watched(32, 'xy', False, form(kind).registry)), seen


def test_a_pool_follows_from_its_number_and_the_seed():
    known = labels().samples
    one, again, other = (FewShotDataset(known, [], 16, 0.5, seed) for seed in (0, 0, 1))
    other.buffer(0, FORM)
    again.buffer(3, FORM)
    again.buffer(1, FORM)
    for number in (1, 0):
        a, b = one.buffer(number, FORM), again.buffer(number, FORM)
        assert a.names == b.names
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
    assert one.buffer(0, FORM).names != one.buffer(1, FORM).names
    assert one.buffer(0, FORM).names != other.buffer(0, FORM).names


@pytest.mark.parametrize(('count', 'size'), [(8, 20), (3, 64), (8, 3)])
def test_every_image_comes_as_often_as_another(count, size):
    _, seen = samples_of(FewShotDataset(labels(count=count).samples, [], size, 0.5, 0))
    assert len(seen) == size
    often = Counter(sample.name.partition('/')[0] for sample in seen)
    numbers = [often[f'{k:03d}.png'] for k in range(count)]
    assert max(numbers) - min(numbers) <= 1


def test_image_label_round_trip():
    pool, seen = samples_of(FewShotDataset(images(4), [], 64, 0.3, 0), kind='rgb')
    for sample in seen:
        np.testing.assert_allclose(sample.label.values, sample.frame.image / 255, atol=1e-6)
    assert len({sample.frame.size for sample in seen}) > 30
    # And through the two ways of resizing; images that don't belong together differ by 85.
    assert (pool.images[pool.frame].float() - pool.targets.float()).abs().mean() < 25


def test_half_of_them_are_mirrored_and_the_smallest_side_holds():
    _, seen = samples_of(FewShotDataset(images(5), [], 400, 0.4, 1), kind='rgb')
    flipped = sum(sample.name.endswith('/flipped') for sample in seen)
    assert 160 < flipped < 240  # four standard deviations
    high, wide = (np.array([sample.frame.size[k] for sample in seen]) for k in (0, 1))
    assert (high.min(), high.max()) == (10, 24)
    assert (wide.min(), wide.max()) == (16, 40)
    # Sides are drawn apart, places evenly.
    assert abs(np.corrcoef(high, wide)[0, 1]) < 0.2
    first = [int(sample.name.split('/')[1].split(',')[0]) for sample in seen]
    assert min(first) == 0
    assert max(first) > 20


def test_with_smallest_1_all_of_an_image_is_shown():
    known = images(3)
    _, seen = samples_of(FewShotDataset(known, [], 12, 1.0, 0), kind='rgb')
    whole = {sample.name: sample.frame.image for sample in known}
    for sample in seen:
        image = whole[sample.name.partition('/')[0]]
        turned = sample.name.endswith('/flipped')
        np.testing.assert_array_equal(sample.frame.image, image[:, ::-1] if turned else image)


def test_validation_images_are_uncropped_and_not_trained_on():
    known = labels().samples
    source = FewShotDataset(known[:5], known[5:], 20, 0.5, 0)
    assert source.validation() == known[5:]
    names = {name.partition('/')[0] for name in source.buffer(0, FORM).names}
    assert names == {sample.name for sample in known[:5]}


@pytest.mark.parametrize('kind', KINDS)
def test_labels_of_every_kind_are_cut_with_their_images(kind):
    known = form(kind).registry
    for sample in labels(kind, count=3).samples:
        window = Window(5, 7, 20, 24)
        part = batch.crop(sample, window)
        assert part.frame.size == part.label.size == (20, 24)
        np.testing.assert_array_equal(part.frame.image, sample.frame.image[5:25, 7:31])
        for one in ('values', 'ids', 'vectors'):
            if hasattr(sample.label, one):
                whole, cut = getattr(sample.label, one), getattr(part.label, one)
                if not isinstance(sample.label, Instances):
                    np.testing.assert_array_equal(cut, whole[5:25, 7:31])
                else:
                    np.testing.assert_array_equal(cut > 0, whole[5:25, 7:31] > 0)
        fit_label(part, 32, known)
        high, wide = sample.frame.size
        whole = batch.crop(sample, Window(0, 0, high, wide))
        np.testing.assert_array_equal(whole.frame.image, sample.frame.image)


def test_instances_that_are_cut_off_are_gone_and_the_others_keep_their_names():
    ids = np.zeros((10, 10), np.int32)
    ids[:3, :3], ids[6:, 6:] = 1, 2
    label = Instances(ids, ('cup', 'box'), np.array([0.5, 0.75], np.float32))
    frame = Frame(np.zeros((10, 10, 3), np.uint8))
    part = batch.crop(Sample(frame, Prompt('floor'), label), Window(5, 5, 5, 5)).label
    assert part.categories == ('box',)
    assert part.scores.tolist() == [0.75]
    np.testing.assert_array_equal(part.ids, (ids[5:, 5:] == 2).astype(np.int32))


@pytest.mark.parametrize('window', [(-1, 0, 5, 5), (0, 0, 11, 5), (0, 6, 5, 5), (0, 0, 0, 5)])
def test_a_window_outside_the_image_is_refused(window):
    sample = Sample(Frame(np.zeros((10, 10, 3), np.uint8)), Prompt('floor'),
                    Mask(np.zeros((10, 10), bool)))  # fmt: skip
    with pytest.raises(ValueError, match='is no part of an image'):
        batch.crop(sample, Window(*window))
    pointed = Sample(sample.frame, Prompt('segmentation', points=(Point(1, 1),)), sample.label)
    with pytest.raises(ValueError, match='has points'):
        batch.crop(pointed, Window(0, 0, 5, 5))


@pytest.mark.filterwarnings('error')
def test_depth_of_which_a_part_or_all_is_unknown_can_be_cut():
    values = np.full((24, 24), np.nan, np.float32)
    frame = Frame(np.zeros((24, 24, 3), np.uint8))
    known = values.copy()
    known[:, 18:] = 2.0
    given = [Sample(frame, Prompt('floor'), MetricDepth(one)) for one in (values, known)]
    pool = FewShotDataset(given, [], 16, 0.3, 0).buffer(0, form('depth'))
    assert not pool.valid.flatten(1).any(dim=1).all()
    assert pool.valid.any()
