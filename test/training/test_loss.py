# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rectified flow: noise levels, what is zero loss, and what does not count."""

from diffusers import FlowMatchEulerDiscreteScheduler
import pytest
import torch

from diception_ros.training import loss as flow


def latents(seed, shape=(3, 4, 6, 6)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SIGMA = torch.tensor([1.0, 0.5, 0.03], dtype=torch.float64)
ALL = torch.ones(3, 1, 6, 6, dtype=torch.bool)


@pytest.mark.parametrize('weighting', ['velocity', 'sample'])
def test_the_true_velocity_has_no_loss_and_its_opposite_has(weighting):
    clean, noise = latents(0), latents(1)
    velocity = noise - clean
    assert flow.flow_loss(velocity, clean, noise, SIGMA, ALL, weighting).max() < 1e-12
    wrong = flow.flow_loss(-velocity, clean, noise, SIGMA, ALL, weighting)
    factor = SIGMA**2 if weighting == 'sample' else 1
    expected = (4 * velocity**2).mean(dim=(1, 2, 3)) * factor
    torch.testing.assert_close(wrong, expected.float())


def test_a_step_along_the_velocity_leads_to_the_image():
    """What is trained is what the pipeline's scheduler goes along, from every noise level."""
    clean, noise = latents(0), latents(1)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(4)
    noisy = flow.add_noise(clean, noise, scheduler.sigmas[:1].double().expand(3))
    torch.testing.assert_close(noisy, noise)  # it begins at noise alone
    for timestep in scheduler.timesteps:
        noisy = scheduler.step(noise - clean, timestep, noisy).prev_sample
    torch.testing.assert_close(noisy, clean, atol=1e-6, rtol=0)


def test_weighting_by_sample_is_the_error_of_the_clean_latents():
    clean, noise, guess = latents(0), latents(1), latents(2)
    noisy = flow.add_noise(clean, noise, SIGMA)
    velocity = (noisy - guess) / SIGMA[:, None, None, None]
    loss = flow.flow_loss(velocity, clean, noise, SIGMA, ALL, 'sample')
    torch.testing.assert_close(loss, ((guess - clean) ** 2).mean(dim=(1, 2, 3)).float())


def test_invalid_cells_do_not_count():
    clean, noise = latents(0), latents(1)
    known = ALL.clone()
    known[0, :, :3] = False
    known[1] = False
    velocity = noise - clean + 1  # an error of 1 everywhere
    velocity[0, :, :3] = float('nan')
    velocity[1] = 1e9
    loss = flow.flow_loss(velocity, clean, noise, SIGMA, known)
    torch.testing.assert_close(loss, torch.tensor([1.0, 0.0, 1.0]))


def test_invalid_cells_have_no_gradient():
    clean, noise = latents(0), latents(1)
    known = ALL.clone()
    known[..., 2:4] = False
    velocity = latents(2).requires_grad_()
    flow.flow_loss(velocity, clean, noise, SIGMA, known).sum().backward()
    assert (velocity.grad[..., 2:4] == 0).all()
    assert (velocity.grad[..., :2] != 0).all()


def test_a_cell_with_one_unknown_pixel_is_unknown():
    valid = torch.ones(2, 1, 24, 24, dtype=torch.bool)
    valid[0, 0, 5, 16] = False
    known = flow.known_cells(valid, (6, 3))  # cells of 4 rows and 8 columns
    wrong = torch.nonzero(~known)
    assert wrong.tolist() == [[0, 0, 1, 2]]


def test_noise_levels_are_sd3s():
    """Logit-normal places in the table of the shifted scheduler, whatever inference did to it."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    before = flow.sigma_table(scheduler)
    scheduler.set_timesteps(2)
    table = flow.sigma_table(scheduler)
    assert torch.equal(before, table)
    assert len(table) == 1000
    place = torch.arange(1000, 0, -1) / 1000
    torch.testing.assert_close(table, 3 * place / (1 + 2 * place))

    sigma = flow.draw_sigmas(200_000, table, torch.Generator().manual_seed(0))
    unshifted = sigma / (3 - 2 * sigma)
    logit = torch.logit(unshifted.clamp(1e-4, 1 - 1e-4))
    assert abs(logit.mean()) < 0.01
    assert abs(logit.std() - 1) < 0.01


@pytest.mark.parametrize('share', [0.0, 0.7, 1.0])
def test_share_that_starts_from_noise_alone(share):
    table = flow.sigma_table(FlowMatchEulerDiscreteScheduler(shift=3.0))
    sigma = flow.draw_sigmas(20_000, table, torch.Generator().manual_seed(1), share)
    assert abs(float((sigma == 1).float().mean()) - share) < 0.01


def test_a_loss_that_is_no_number_names_its_samples():
    flow.check_finite(torch.tensor([1.0, 2.0]), ('a', 'b'), 3)
    with pytest.raises(flow.NonFiniteLossError, match=r'step 3: .* 2 of 3 samples: a, c;'):
        flow.check_finite(torch.tensor([float('nan'), 2.0, float('inf')]), ('a', 'b', 'c'), 3)


def test_small_object_weighting_follows_the_power_of_size():
    """The error of painting nothing, times the weight, is the share painted to the 1 - power."""
    target = torch.full((4, 3, 20, 20), -1.0)
    for k, rows in enumerate((20, 10, 2)):  # all, half and a tenth of the image
        target[k, 1, :rows] = 1
    share = torch.tensor([1.0, 0.5, 0.1, 0.0])
    missed = ((target + 1) ** 2).mean(dim=(1, 2, 3)) * 3 / 4
    torch.testing.assert_close(missed, share)
    for power in (0.0, 0.5, 1.0):
        weights = flow.sample_weights(target, power)
        torch.testing.assert_close((weights * missed)[:3], share[:3] ** (1 - power))
        assert weights[3] == pytest.approx(flow.MIN_SHARE**-power)


def test_steps_of_the_error_cost_most_across_tokens_and_constants_nothing():
    known = torch.ones(4, 1, 4, 4, dtype=torch.bool)
    error = torch.zeros(4, 3, 32, 32)  # cells of 8 pixels, tokens of 16
    error[0] += 5
    for row, border in enumerate((12, 8, 16), 1):  # within a cell, between cells, between tokens
        error[row, ..., border:] = 1
    found = flow.gradient_loss(error, known, 16, 48)
    assert found[0] == 0
    assert found[1:] / found[1] == pytest.approx(torch.tensor([1.0, 2.0, 4.0]))
    assert found[1] == pytest.approx(3 * 32 / (16 * 48))
    known[3, :, :, 1] = False  # nothing is known on one side of that border
    error[3, ..., 8:16] = float('nan')
    assert flow.gradient_loss(error, known, 16, 48)[3] == 0
