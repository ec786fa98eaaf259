# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The sampler of tasks, color jitter and encoded images."""

from collections import Counter

import pytest
import torch

from diception_ros.training import samples
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


def test_task_sampling_depends_on_the_step_number_alone():
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


EFFECTS = ('_BRIGHTNESS', '_CAST', '_GAMMA', '_CONTRAST', '_NOISE', '_BLUR')


def random_images(count=6, side=24):
    # Away from black and white, where everything is cut off.
    noise = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return noise * 1.2 - 0.6


def seeds(count, seed=0):
    return samples.jitter_seeds(count, torch.Generator().manual_seed(seed))


@pytest.fixture
def only(monkeypatch):
    def keep(*names):
        for name in EFFECTS:
            if name not in names:
                monkeypatch.setattr(samples, name, 0.0)

    return keep


def test_no_strength_changes_nothing():
    images = random_images()
    torch.testing.assert_close(samples.color_jitter(images, 0.0, seeds(6)), random_images())


def test_more_strength_changes_more_and_never_leaves_the_range():
    mean = []
    for strength in (0.1, 0.3, 1.0, 3.0):
        out = samples.color_jitter(random_images(), strength, seeds(6))
        assert out.min() >= -1
        assert out.max() <= 1
        assert torch.isfinite(out).all()
        mean.append(float((out - random_images()).abs().mean()))
    assert mean == sorted(mean)
    assert mean[0] > 0.01


def test_augmentation_of_an_image_depends_on_its_seed_alone():
    images, chosen = random_images(), seeds(6)
    whole = samples.color_jitter(images, 1.0, chosen)
    for start, end in ((0, 2), (2, 6)):
        part = samples.color_jitter(images[start:end], 1.0, chosen[start:end])
        torch.testing.assert_close(part, whole[start:end])
    again = samples.color_jitter(images, 1.0, chosen)
    assert torch.equal(again, whole)
    other = samples.color_jitter(images, 1.0, seeds(6, 1))
    assert ((other - whole).abs().amax(dim=(1, 2, 3)) > 1e-3).all()
    same = samples.color_jitter(images[:1].expand(6, -1, -1, -1), 1.0, chosen)
    assert ((same[1:] - same[0]).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


def test_the_images_given_stay_as_they_are():
    images = random_images()
    before = images.clone()
    samples.color_jitter(images, 1.0, seeds(6))
    assert torch.equal(images, before)


def test_brightness_is_one_factor_both_ways(only):
    only('_BRIGHTNESS')
    images = random_images(32) * 0.5 - 0.4
    shares = (samples.color_jitter(images, 1.0, seeds(32)) + 1) / (images + 1)
    factors = shares.mean(dim=(1, 2, 3))
    torch.testing.assert_close(
        shares, factors[:, None, None, None].expand_as(shares), atol=1e-4, rtol=0
    )
    assert factors.min() < 0.75
    assert factors.max() > 1.3
    assert abs(float(factors.log2().mean())) < 0.2
    assert float(factors.log2().abs().max()) <= 0.7


def test_a_cast_is_a_factor_of_each_color(only):
    only('_CAST')
    images = random_images(32) * 0.5 - 0.4
    shares = (samples.color_jitter(images, 1.0, seeds(32)) + 1) / (images + 1)
    factors = shares.mean(dim=(2, 3))  # (32, 3)
    torch.testing.assert_close(
        shares, factors[..., None, None].expand_as(shares), atol=1e-4, rtol=0
    )
    assert (factors.std(dim=1) > 1e-3).all()
    assert float(factors.log2().abs().max()) <= 0.25


def test_gamma_keeps_black_white_and_the_order_of_greys(only):
    only('_GAMMA')
    ramp = torch.linspace(-1, 1, 64).expand(16, 3, 64, 64)
    out = samples.color_jitter(ramp, 1.0, seeds(16))[:, 0, 0]
    assert torch.equal(out[:, [0, -1]], ramp[:, 0, 0, [0, -1]])
    assert (out.diff(dim=1) > 0).all()
    middle = out[:, 32]
    assert middle.min() < -0.1
    assert middle.max() > 0.1


def test_contrast_keeps_the_mean_and_scales_what_differs_from_it(only):
    only('_CONTRAST')
    images = 0.4 * random_images(32)
    out = samples.color_jitter(images, 1.0, seeds(32))
    means = images.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(out.mean(dim=(1, 2, 3), keepdim=True), means, atol=1e-5, rtol=0)
    factors = out.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    torch.testing.assert_close(
        out - means, (images - means) * factors[:, None, None, None], atol=1e-5, rtol=0
    )
    assert factors.min() < 0.8
    assert factors.max() > 1.25


def test_noise_is_white_and_half_of_the_images_have_none(only):
    only('_NOISE')
    grey = torch.zeros(64, 3, 32, 32)
    noise = samples.color_jitter(grey, 1.0, seeds(64)) / 2  # in steps of a white of 1
    spread = noise.std(dim=(1, 2, 3))
    none = spread == 0
    assert 20 < int(none.sum()) < 44
    assert 0.05 < float(spread.max()) <= 0.063
    loud = noise[spread > 0.02]
    for shifted in (loud.roll(1, -1), loud.roll(1, -2), loud.roll(1, 1)):
        correlation = (loud * shifted).mean(dim=(1, 2, 3)) / loud.square().mean(dim=(1, 2, 3))
        assert float(correlation.abs().max()) < 0.1


def test_blur_spreads_a_point_and_keeps_its_light(only):
    only('_BLUR')
    point = torch.full((64, 3, 100, 100), -1.0)
    point[..., 50, 60] = 1.0
    light = (samples.color_jitter(point, 1.0, seeds(64)) + 1) / 2
    torch.testing.assert_close(light.sum(dim=(2, 3)), torch.ones(64, 3), atol=1e-4, rtol=0)
    places = torch.arange(100.0)
    deviations = []
    for axis, middle in ((-1, 60), (-2, 50)):
        line = light.sum(dim=-1 if axis == -2 else -2)  # (64, 3, 100)
        torch.testing.assert_close(
            (line * places).sum(dim=-1), torch.full((64, 3), float(middle)), atol=1e-3, rtol=0
        )
        deviations.append((line * (places - middle) ** 2).sum(dim=-1).sqrt())
    torch.testing.assert_close(*deviations, atol=1e-3, rtol=0)
    sharp = deviations[0][:, 0] < 1e-3
    assert 20 < int(sharp.sum()) < 44
    assert 0.7 < float(deviations[0].max()) <= 1.0  # a hundredth of the side
    # Gaussian: the fall from the first pixel to the next says the same as the second moment.
    clear = deviations[0][:, 0] > 0.6
    line = light.sum(dim=-2)[clear, 0]
    fall = (2 * (line[:, 60] / line[:, 61]).log()).rsqrt()
    torch.testing.assert_close(fall, deviations[0][clear, 0], atol=0.02, rtol=0)


def test_blurred_rims_stay_as_bright_as_they_were(only):
    only('_BLUR')
    flat = torch.full((32, 3, 100, 100), 0.3)
    torch.testing.assert_close(samples.color_jitter(flat, 1.0, seeds(32)), flat)


@pytest.mark.parametrize('strength', [0.0, 0.5])
def test_each_copy_of_an_image_is_encoded_once_whatever_is_asked_first(strength):
    images = (255 * torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(3))).byte()
    encoded = []

    def encode(shown):
        encoded.append(len(shown))
        return shown.mean(dim=1, keepdim=True)

    def latents(rows):
        found = samples.EncodedImages(images, encode, strength, torch.Generator().manual_seed(1))
        every = torch.arange(found.copies * len(images))[rows]
        taken = [found.latents(part // 5, part % 5) for part in every.split(7)]
        assert torch.equal(found.latents(every // 5, every % 5), torch.cat(taken))
        return torch.cat(taken), found.copies

    forwards, copies = latents(slice(None))
    assert sum(encoded) == 5 * copies
    assert copies == (8 if strength else 1)
    order = torch.randperm(5 * copies, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(latents(order)[0], forwards[order])
    if not strength:
        plain = (images.float() / 127.5 - 1).mean(dim=1, keepdim=True).half()
        torch.testing.assert_close(forwards, plain)


def test_mixed_features_keep_their_pattern_and_take_statistics_between_those_of_two():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(16, 5, 8, 8, generator=generator)
    features = features * torch.rand(16, 5, 1, 1) * 4 + torch.randn(16, 5, 1, 1) * 3
    unmixed = samples.mix_statistics(features, 0.0, generator)
    torch.testing.assert_close(unmixed, features)
    mixed = samples.mix_statistics(features, 1.0, generator)

    def normalized(maps):
        deviation, mean = torch.std_mean(maps, dim=(2, 3), keepdim=True)
        return (maps - mean) / deviation

    torch.testing.assert_close(normalized(mixed), normalized(features), atol=2e-3, rtol=0)
    mean, low, high = mixed.mean(dim=(2, 3)), *features.mean(dim=(2, 3)).aminmax(dim=0)
    assert ((mean > low - 1e-4) & (mean < high + 1e-4)).all()
    assert (mean - features.mean(dim=(2, 3))).abs().amax(dim=1).gt(1e-3).sum() >= 12
