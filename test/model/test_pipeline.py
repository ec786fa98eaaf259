# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Laws of the pipeline, on the tiny random network."""

import contextlib

from accelerate.hooks import CpuOffload, add_hook_to_module
from diffusers import DiffusionPipeline
from diffusers.hooks import group_offloading
import numpy as np
from pipeline_calls import POINTS, ROUNDING, TEXTS, ask
import pytest
import torch

from diception_ros.model.tiny import tiny_pipeline


@contextlib.contextmanager
def counted(module):
    """How often a module runs, and on how many items in all."""
    calls = []
    handle = module.register_forward_hook(lambda m, args, out: calls.append(args[0].shape[0]))
    yield calls
    handle.remove()


@pytest.mark.parametrize('guidance', [1.0, 2.0])
def test_batch_equals_single_calls(tiny, image, noise, guidance):
    together = ask(tiny, image, noise, guidance=guidance)
    for i in range(3):
        alone = ask(
            tiny, image, noise[i : i + 1], TEXTS[i : i + 1], POINTS[i : i + 1], guidance=guidance
        )
        assert (alone.latents - together.latents[i : i + 1]).abs().max() < ROUNDING
        assert np.abs(alone.images - together.images[i : i + 1]).max() < ROUNDING


def test_image_is_encoded_once_and_that_changes_nothing(tiny, image, noise):
    with counted(tiny.vae.encoder) as calls:
        once = ask(tiny, image, noise)
    assert calls == [1]
    each = ask(tiny, image.expand(3, -1, -1, -1), noise)
    given = ask(tiny, None, noise, image_latents=tiny.encode_image(image))
    assert (once.latents - each.latents).abs().max() < ROUNDING
    assert torch.equal(once.latents, given.latents)


def test_one_image_per_prompt(tiny, image, noise):
    images = torch.cat([image, image.flip(-1), -image])
    together = ask(tiny, images, noise)
    for i in range(3):
        alone = ask(tiny, images[i : i + 1], noise[i : i + 1], TEXTS[i : i + 1], POINTS[i : i + 1])
        assert (alone.latents - together.latents[i : i + 1]).abs().max() < ROUNDING


@pytest.mark.parametrize('guidance', [0.0, 0.5, 1.0])
def test_no_guidance_is_the_conditional_branch_alone(tiny, image, noise, guidance):
    with counted(tiny.transformer.proj_out) as calls:
        out = ask(tiny, image, noise, guidance=guidance, steps=1)
    assert calls == [3]
    tokens, pooled = tiny.embed_prompts(TEXTS)
    velocity = tiny.transformer(
        hidden_states=noise,
        image_latents=tiny.encode_image(image),
        encoder_hidden_states=tokens,
        pooled_projections=pooled,
        timestep=torch.full((3,), 1000.0),
        return_dict=False,
        point_embeds=tiny.point_encoder(*tiny.point_encoder.pack(POINTS, 3)),
    )[0]
    assert (out.latents - (noise - velocity)).abs().max() < ROUNDING


def test_guidance_goes_from_the_empty_prompt_without_points(tiny, image, noise):
    tokens, pooled = tiny.embed_prompts([''] * 3)
    empty = tiny.transformer(
        hidden_states=noise,
        image_latents=tiny.encode_image(image),
        encoder_hidden_states=tokens,
        pooled_projections=pooled,
        timestep=torch.full((3,), 1000.0),
        return_dict=False,
        point_embeds=torch.zeros(3, 5, 32),
    )[0]
    conditional = noise - ask(tiny, image, noise, guidance=1, steps=1).latents
    guided = noise - ask(tiny, image, noise, guidance=3.5, steps=1).latents
    assert (guided - (empty + 3.5 * (conditional - empty))).abs().max() < ROUNDING


@pytest.mark.parametrize('steps', [1, 2, 7, 28])
@pytest.mark.parametrize('reuse', [False, True])
def test_exact_velocity_returns_the_target(image, noise, steps, reuse):
    pipe = tiny_pipeline()
    target = torch.randn(3, 16, 8, 8, generator=torch.Generator().manual_seed(3))
    calls = []

    def velocity(**inputs):
        calls.append(inputs['timestep'])
        return (noise - target,)

    pipe.transformer.forward = velocity
    out = ask(pipe, image, noise, guidance=1, steps=steps, reuse_last_velocity=reuse)
    assert (out.latents - target).abs().max() < 1e-5
    assert len(calls) == (steps - 1 if reuse and steps > 1 else steps)


def test_reused_velocity_is_close_and_off_by_default(tiny, image, noise):
    full = ask(tiny, image, noise, steps=4)
    with counted(tiny.transformer.proj_out) as calls:
        short = ask(tiny, image, noise, steps=4, reuse_last_velocity=True)
    assert len(calls) == 3
    difference = (full.latents - short.latents).abs().max()
    assert 0 < difference < 0.05


@pytest.mark.parametrize('sample', [False, True])
def test_generator_decides_and_the_global_seed_does_not(tiny, image, sample):
    predictions = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        predictions.append(
            tiny(
                image,
                TEXTS,
                num_inference_steps=2,
                sample_posterior=sample,
                generator=torch.Generator().manual_seed(5),
            )
        )
    assert np.array_equal(predictions[0].images, predictions[1].images)
    other = tiny(
        image,
        TEXTS,
        num_inference_steps=2,
        sample_posterior=sample,
        generator=torch.Generator().manual_seed(6),
    )
    assert np.abs(predictions[0].images - other.images).max() > 0.01


def test_posterior_is_sampled_on_request_only(tiny, image):
    mean = tiny.encode_image(image)
    assert torch.equal(mean, tiny.encode_image(image))
    draws = [
        tiny.encode_image(image, sample=True, generator=torch.Generator().manual_seed(i))
        for i in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], mean)


def test_list_of_generators_draws_each_by_itself(tiny, image):
    together = tiny(
        image,
        TEXTS[:2],
        num_inference_steps=1,
        generator=[torch.Generator().manual_seed(i) for i in (7, 8)],
    )
    alone = tiny(
        image, TEXTS[1:2], num_inference_steps=1, generator=torch.Generator().manual_seed(8)
    )
    assert (alone.latents - together.latents[1:]).abs().max() < ROUNDING


def test_rectangles(tiny):
    image = torch.rand(1, 3, 32, 96) * 2 - 1
    assert tiny(image, TEXTS, num_inference_steps=1).images.shape == (3, 32, 96, 3)


def test_decoding_in_parts_equals_decoding_at_once(tiny, noise, monkeypatch):
    whole = tiny.decode_latents(noise)
    monkeypatch.setattr('diception_ros.model.pipeline._DECODE_PIXELS', 1)
    assert np.abs(tiny.decode_latents(noise) - whole).max() < ROUNDING
    assert whole.dtype == np.float32
    assert whole.min() >= 0
    assert whole.max() <= 1


# ---- where it runs ------------------------------------------------------------------------------


# Another name of the CPU, for want of another device.
OTHER = torch.device('cpu:0')


def by_diffusers(pipe):
    """Weights that are brought to a device layer by layer."""
    pipe.transformer.enable_group_offload(OTHER, offload_type='leaf_level')


def by_accelerate(pipe):
    """Networks that are brought to a device one by one."""
    for network in (pipe.vae, pipe.transformer, pipe.point_encoder):
        add_hook_to_module(network, CpuOffload(OTHER))


@pytest.mark.parametrize(
    'place',
    [lambda pipe: None, lambda pipe: pipe.to('meta'), lambda pipe: pipe.vae.to('meta'),
     lambda pipe: pipe.transformer.to('meta'), lambda pipe: pipe.point_encoder.to('meta'),
     by_diffusers, by_accelerate],
)  # fmt: skip
def test_the_device_is_the_one_that_diffusers_finds(place):
    pipe = tiny_pipeline()
    place(pipe)
    assert pipe.device == DiffusionPipeline.device.fget(pipe)
    assert pipe._execution_device == DiffusionPipeline._execution_device.fget(pipe)


def test_no_network_is_searched_for_hooks_while_it_predicts(tiny, image, noise, monkeypatch):
    def search(module):
        raise AssertionError('diffusers searched a network')

    monkeypatch.setattr(group_offloading, '_get_group_onload_device', search)
    ask(tiny, image, noise)


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'texts': '[[image2depth]]'}, 'expected a list of texts'),
        ({'texts': []}, 'expected a list of texts'),
        ({'steps': 0}, 'num_inference_steps is 0'),
        ({'points': [[]]}, '1 lists for 3 prompts'),
        ({'points': [[(0.1, 0.1)] * 6, [], []]}, 'has 6 points; the model takes at most 5'),
        ({'points': [[(1.5, 0.1)], [], []]}, r'is \(1.5, 0.1\); expected x and y in \[0, 1\]'),
        ({'points': [[(float('nan'), 0.1)], [], []]}, 'expected x and y'),
        ({'image': torch.zeros(3, 64, 64)}, r'image has shape \(3, 64, 64\)'),
        ({'image': torch.zeros(2, 3, 64, 64)}, 'B 1 or 3'),
        ({'image': torch.zeros(1, 3, 60, 64)}, 'multiples of 16 and at most 512'),
        ({'image': torch.zeros(1, 3, 528, 64)}, 'multiples of 16 and at most 512'),
        ({'image': torch.zeros(1, 3, 64, 64, dtype=torch.uint8)}, 'uint8; expected float'),
        ({'image': None}, 'either image or image_latents'),
        ({'noise': torch.zeros(3, 16, 4, 4)}, r'latents has shape \(3, 16, 4, 4\); expected'),
    ],
)
def test_invalid_input_error_names_the_input(tiny, image, noise, arguments, message):
    given = {'image': image, 'noise': noise, **arguments}
    with pytest.raises(ValueError, match=message):
        ask(tiny, given.pop('image'), given.pop('noise'), **given)
