# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""New networks: how they begin, and that they are saved and predict like any other."""

from disc_samples import SIDE, discs, tiny
import numpy as np
import pytest
import torch

from diception_ros import tasks
from diception_ros.core.settings import PredictSettings
from diception_ros.model import DiceptionPipeline, DiceptionTransformer2DModel
from diception_ros.model.inputs import overlap
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.perception.predictor import Predictor
from diception_ros.training.from_scratch import init_pipeline, random_text_table


def smooth(count, side=SIDE, seed=0):
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=side, mode='bicubic').clamp(0, 1) * 2 - 1


@pytest.fixture(scope='module')
def fresh():
    return init_pipeline(tiny(), smooth(64), tasks.texts())


def test_a_new_network_predicts_every_task_and_survives_the_disk(fresh, tmp_path):
    fresh.save_pretrained(tmp_path / 'model')
    again = DiceptionPipeline.from_pretrained(tmp_path / 'model')
    assert again.transformer.config['prediction_type'] == 'sample'
    assert again.vae.config.scaling_factor == fresh.vae.config.scaling_factor
    sample = discs(1, 0)[0]
    for pipe in (fresh, again):
        predictor = Predictor(pipe, PredictSettings(num_inference_steps=2))
        label = predictor.predict([sample.frame], [sample.prompt])[0].label
        assert label.size == sample.frame.size
    for one, other in ((fresh.transformer, again.transformer), (fresh.vae, again.vae)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_a_new_network_predicts_nothing_until_it_learns(fresh):
    """Its output is zero, so the velocity is that from zero latents: x / sigma."""
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens, pooled = fresh.embed_prompts(['', '[[image2depth]]'])
    velocity = fresh.transformer(
        hidden_states=x, image_latents=x, encoder_hidden_states=tokens,
        pooled_projections=pooled, point_embeds=torch.zeros(2, 5, 64),
        timestep=torch.tensor([1000.0, 250.0]),
    ).sample  # fmt: skip
    torch.testing.assert_close(velocity, torch.stack([x[0], 4 * x[1]]))


def test_gates_are_open_and_keys_are_queries(fresh):
    for block in fresh.transformer.transformer_blocks:
        assert torch.equal(block.attn.to_k.weight, block.attn.to_q.weight)
        bias = block.norm1.linear.bias.view(6, -1)
        assert bias[[2, 5]].unique().tolist() == [0.5]
        assert not bias[[0, 1, 3, 4]].any()
        assert not block.norm1.linear.weight.any()


def test_the_seed_decides_the_weights():
    one, same, other = (
        init_pipeline(tiny(seed=seed), smooth(8), []).transformer.state_dict()
        for seed in (1, 1, 2)
    )
    name = 'context_embedder.weight'
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='multiple of 8'):
        init_pipeline(tiny(resolution=36), smooth(2, 36), [])


def test_prediction_type_is_checked_and_sd3s_files_need_none(fresh):
    config = dict(fresh.transformer.config)
    with pytest.raises(ValueError, match='velocity, sample'):
        DiceptionTransformer2DModel.from_config({**config, 'prediction_type': 'noise'})
    del config['prediction_type']
    assert 'prediction_type' not in DiceptionTransformer2DModel.from_config(config).config


def test_both_predictions_are_one_velocity(fresh):
    """The same weights under both readings: v = (x - output) / sigma."""
    config = dict(fresh.transformer.config)
    sample = DiceptionTransformer2DModel.from_config(config)
    assert config['prediction_type'] == 'sample'  # the caller's own is left alone
    velocity = DiceptionTransformer2DModel.from_config({**config, 'prediction_type': 'velocity'})
    velocity.load_state_dict(sample.state_dict())
    x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = 0.3
    given = {
        'hidden_states': x, 'image_latents': x, 'encoder_hidden_states': torch.zeros(1, 2, 64),
        'pooled_projections': torch.zeros(1, 64), 'point_embeds': torch.zeros(1, 5, 64),
        'timestep': torch.tensor([1000 * sigma]),
    }  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(sample(**given).sample, (x - velocity(**given).sample) / sigma)


# ---- the autoencoder ----------------------------------------------------------------------------


def test_all_components_lose_nothing():
    images = torch.rand(20, 3, 16, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vae = PcaAutoencoder(3, 48, (1, 1, 1)).fit(images)
    back = vae.decode(vae.encode(images).latent_dist.mode()).sample
    torch.testing.assert_close(back, images, atol=1e-5, rtol=0)


def test_no_basis_of_this_size_is_better():
    images = smooth(64)
    vae = PcaAutoencoder(3, 12, (1, 1, 1)).fit(images)
    latents = vae.encode(images).latent_dist.mode()
    error = (vae.decode(latents).sample - images).square().sum()
    blocks = vae._blocks(images.double()).flatten(0, 2)
    rest = torch.linalg.svdvals(blocks - blocks.mean(dim=0))[12:].square().sum()
    torch.testing.assert_close(error.double(), rest, rtol=1e-3, atol=1e-6)
    scaled = latents * vae.config.scaling_factor
    assert float(scaled.square().mean()) == pytest.approx(1, abs=0.02)


def test_a_latent_is_its_block():
    """Changing one block of pixels changes one cell of latents, the one at its place."""
    images = smooth(16)
    vae = PcaAutoencoder(3, 16, (1, 1, 1)).fit(images)
    changed = images[:1].clone()
    changed[..., 8:12, 20:24] += 0.1 * torch.arange(4)
    difference = vae.encode(changed)[0].mode() - vae.encode(images[:1])[0].mode()
    assert torch.nonzero(difference.abs().amax(dim=(0, 1)) > 1e-5).tolist() == [[2, 5]]


@pytest.mark.parametrize('block', [2, 4, 8])
def test_a_lapped_transform_is_a_rotation_that_keeps_constants(block):
    matrix = torch.from_numpy(overlap(6 * block, block))
    one = torch.eye(6 * block, dtype=torch.float64)
    torch.testing.assert_close(matrix @ matrix.T, one)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(6 * block, dtype=torch.float64))


def test_overlapping_latents_are_lossless_with_all_components():
    images = torch.rand(20, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vae = PcaAutoencoder(3, 48, (1, 1, 1), lapped=True).fit(images)
    back = vae.decode(vae.encode(images).latent_dist.mode()).sample
    torch.testing.assert_close(back, images, atol=1e-5, rtol=0)


def test_overlapping_blocks_have_no_seams():
    """An error in the first component of every block jumps at the borders, or does not."""
    images = smooth(64)
    error = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    jumps = []
    for lapped in (False, True):
        vae = PcaAutoencoder(3, 12, (1, 1, 1), lapped=lapped).fit(images)
        latents = torch.zeros(1, 12, 8, 8)
        latents[:, :1] = error
        bumps = vae.decode(latents).sample - vae.decode(torch.zeros(1, 12, 8, 8)).sample
        steps = bumps.diff(dim=-1).abs().mean(dim=(0, 1, 2))  # (31,)
        jumps.append(float(steps[3::4].mean() / steps.mean()))
    assert jumps[0] > 3
    assert jumps[1] < 2  # a slope is steepest there


def test_the_spread_is_that_of_clean_latents():
    for spread in (1.0, 3.0):
        pipe = init_pipeline(tiny(latent_std=spread, overlapping=False), smooth(64), [])
        latents = pipe.encode_image(smooth(64))
        assert float(latents.square().mean().sqrt()) == pytest.approx(spread, rel=0.05)


# ---- texts --------------------------------------------------------------------------------------


def test_texts_differ_and_share_their_words():
    table = random_text_table(['', *tasks.texts()])
    pooled = np.stack([table[text].pooled.numpy() for text in table])
    distances = np.linalg.norm(pooled[:, None] - pooled[None], axis=-1)
    assert distances[~np.eye(len(pooled), dtype=bool)].min() > 1
    person, dog = (table[f'[[image2semantic]] {name}'].tokens for name in ('person', 'dog'))
    assert torch.equal(person[0], dog[0])
    assert not torch.equal(person[1], dog[1])
    assert not person[2:].any()
