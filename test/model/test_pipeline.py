# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Laws of the pipeline, on the tiny random network."""

import contextlib
import json

from diffusers import SD3Transformer2DModel
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _AttentionBackendRegistry,
    attention_backend,
)
import numpy as np
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
import pytest
import torch

from diception_ros.model import DiceptionPipeline, DiceptionTransformer2DModel
from diception_ros.model.tiny import tiny_pipeline

TEXTS = ['[[image2depth]]', '[[image2segmentation]]', '[[image2semantic]] person']
POINTS = [[], [(0.2, 0.7), (0.9, 0.1)], []]
ROUNDING = 2e-5  # float32, other batch sizes take other kernels


@pytest.fixture
def image():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def noise():
    return torch.randn(3, 16, 8, 8, generator=torch.Generator().manual_seed(2))


def ask(pipe, image, noise, texts=TEXTS, points=POINTS, steps=3, guidance=2.0, **more):
    return pipe(
        image,
        texts,
        points=points,
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=noise,
        **more,
    )


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
    answers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        answers.append(
            tiny(
                image,
                TEXTS,
                num_inference_steps=2,
                sample_posterior=sample,
                generator=torch.Generator().manual_seed(5),
            )
        )
    assert np.array_equal(answers[0].images, answers[1].images)
    other = tiny(
        image,
        TEXTS,
        num_inference_steps=2,
        sample_posterior=sample,
        generator=torch.Generator().manual_seed(6),
    )
    assert np.abs(answers[0].images - other.images).max() > 0.01


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


# ---- folders ------------------------------------------------------------------------------------


def test_saved_pipeline_is_the_same_bit_for_bit(tiny, image, noise, tmp_path):
    before = ask(tiny, image, noise)
    tiny.save_pretrained(tmp_path / 'a')
    loaded = DiceptionPipeline.from_pretrained(tmp_path / 'a', dtype=torch.float32)
    after = ask(loaded, image, noise)
    assert torch.equal(before.latents, after.latents)
    assert np.array_equal(before.images, after.images)
    assert loaded.config.resolution == 64
    loaded.save_pretrained(tmp_path / 'b')
    files = sorted(
        file.relative_to(tmp_path / 'a')
        for file in (tmp_path / 'a').rglob('*')
        # Tokenizers note the padding of their last call in their files.
        if file.suffix in ('.safetensors', '.json') and 'tokenizer' not in str(file)
    )
    assert len(files) > 12
    for file in files:
        first, second = ((tmp_path / side / file).read_bytes() for side in 'ab')
        if file.suffix == '.json':  # diffusers notes in them where they were loaded from
            first, second = map(without_path, (first, second))
        assert first == second, file


def without_path(text):
    config = json.loads(text)
    config.pop('_name_or_path', None)
    return config


def test_pipeline_without_text_encoders_answers_the_same(tiny, tiny_folder, image, noise):
    bare = DiceptionPipeline.from_pretrained(
        tiny_folder,
        dtype=torch.float32,
        text_encoder=None,
        text_encoder_2=None,
        text_encoder_3=None,
        tokenizer=None,
        tokenizer_2=None,
        tokenizer_3=None,
    )
    assert bare.text_encoder is None
    assert torch.equal(ask(bare, image, noise).latents, ask(tiny, image, noise).latents)
    with pytest.raises(
        ValueError,
        match=r"'\[\[image2dept\]\]'; did you mean '\[\[image2depth\]\]'"
        r'.*diception prompts --model DIR --add',
    ):
        ask(bare, image, noise, ['[[image2dept]]'] * 3)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda index: index.update(_class_name='StableDiffusion3Pipeline'),
            'diception convert --sd3',
        ),
        (
            lambda index: index.update(vae=['os', 'AutoencoderKL']),
            'component vae is os.AutoencoderKL',
        ),
        (
            lambda index: index.update(vae=['diffusers', 'system']),
            'component vae is diffusers.system',
        ),
        (
            lambda index: index.update(extra=['builtins', 'exec']),
            'component extra is builtins.exec',
        ),
    ],
)
def test_folder_may_not_name_strange_classes(tiny_folder, tmp_path, change, message):
    index = json.loads((tiny_folder / 'model_index.json').read_text())
    change(index)
    (tmp_path / 'model_index.json').write_text(json.dumps(index))
    with pytest.raises(ValueError, match=message):
        DiceptionPipeline.from_pretrained(tmp_path)


def test_folder_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such model folder'):
        DiceptionPipeline.from_pretrained(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'no model_index\.json'):
        DiceptionPipeline.from_pretrained(tmp_path)


# ---- the network --------------------------------------------------------------------------------


def test_network_is_sd3_by_parameters_and_configuration(tiny):
    sd3 = SD3Transformer2DModel(**tiny.transformer.config)
    ours = tiny.transformer.state_dict()
    assert {name: value.shape for name, value in sd3.state_dict().items()} == {
        name: value.shape for name, value in ours.items()
    }
    assert '__init__' not in vars(DiceptionTransformer2DModel)
    assert dict(sd3.config).keys() == dict(tiny.transformer.config).keys()


def test_own_processor_equals_the_stock_one(tiny, image, noise):
    ours = ask(tiny, image, noise)
    stock = tiny_pipeline()
    stock.transformer.set_attn_processor(
        SD3Transformer2DModel(**tiny.transformer.config).attn_processors
    )
    assert (ask(stock, image, noise).latents - ours.latents).abs().max() < ROUNDING


def test_attention_backend_can_be_chosen(image, noise, monkeypatch):
    pipe = tiny_pipeline()
    ours = ask(pipe, image, noise, guidance=1, steps=1)
    chosen = AttentionBackendName('_native_math')
    backends = _AttentionBackendRegistry._backends
    # diffusers remembers the last choice for the whole process; put it back afterwards.
    monkeypatch.setattr(
        _AttentionBackendRegistry, '_active_backend', _AttentionBackendRegistry._active_backend
    )
    calls = []
    monkeypatch.setitem(
        backends,
        chosen,
        lambda *args, _run=backends[chosen], **kwargs: (calls.append(1), _run(*args, **kwargs))[1],
    )

    with attention_backend('_native_math'):
        other = ask(pipe, image, noise, guidance=1, steps=1)
    assert len(calls) == 2  # the tiny network has two blocks
    assert (other.latents - ours.latents).abs().max() < ROUNDING
    pipe.transformer.set_attention_backend('_native_math')
    ask(pipe, image, noise, guidance=1, steps=1)
    assert len(calls) == 4


def test_repeated_blocks_compile(image, noise):
    pipe = tiny_pipeline()
    eager = ask(pipe, image, noise)
    pipe.transformer.compile_repeated_blocks(fullgraph=True, backend='eager')
    assert (ask(pipe, image, noise).latents - eager.latents).abs().max() < ROUNDING


def test_gradient_checkpointing_changes_no_gradient(image, noise):
    gradients = []
    for checkpointing in (False, True):
        pipe = tiny_pipeline()
        if checkpointing:
            pipe.transformer.enable_gradient_checkpointing()
        pipe.transformer.train()
        tokens, pooled = pipe.embed_prompts(TEXTS)
        out = pipe.transformer(
            hidden_states=noise,
            image_latents=pipe.encode_image(image).detach(),
            encoder_hidden_states=tokens,
            pooled_projections=pooled,
            timestep=torch.full((3,), 500.0),
            point_embeds=torch.zeros(3, 5, 32),
        ).sample
        out.square().mean().backward()
        gradients.append(pipe.transformer.pos_embed.proj.weight.grad)
    assert gradients[0].abs().max() > 0
    assert torch.allclose(*gradients, atol=1e-7)


# ---- adapters, dtypes, devices ------------------------------------------------------------------


def test_lora_of_sd3_loads_and_unloads(image, noise, tmp_path):
    teacher = tiny_pipeline()
    before = ask(teacher, image, noise)
    teacher.transformer.add_adapter(
        LoraConfig(
            r=4, lora_alpha=4, init_lora_weights=False, target_modules=['to_q', 'to_k', 'to_v']
        )
    )
    teacher.transformer.set_adapters('default', 0.5)
    adapted = ask(teacher, image, noise)
    teacher.transformer.set_adapters('default', 1.0)
    DiceptionPipeline.save_lora_weights(
        tmp_path, transformer_lora_layers=get_peft_model_state_dict(teacher.transformer)
    )

    student = tiny_pipeline()
    student.load_lora_weights(
        tmp_path, adapter_name='mine', weight_name='pytorch_lora_weights.safetensors'
    )
    assert torch.equal(ask(student, image, noise).latents, ask(teacher, image, noise).latents)
    student.set_adapters('mine', 0.5)
    assert (ask(student, image, noise).latents - adapted.latents).abs().max() < ROUNDING
    assert (adapted.latents - before.latents).abs().max() > 1e-3
    student.unload_lora_weights()
    assert torch.equal(ask(student, image, noise).latents, before.latents)


def test_bfloat16_runs_and_stays_near(image, noise):
    exact = ask(tiny_pipeline(), image, noise)
    pipe = tiny_pipeline().to('cpu', torch.bfloat16)
    out = ask(pipe, image, noise)
    assert out.latents.dtype == torch.bfloat16
    assert out.images.dtype == np.float32
    assert np.abs(out.images - exact.images).mean() < 0.01


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('offload', [False, True])
def test_cuda_and_offload(image, noise, offload):
    exact = ask(tiny_pipeline(), image, noise)
    pipe = tiny_pipeline()
    if offload:
        pipe.enable_model_cpu_offload()
    else:
        pipe.to('cuda', torch.bfloat16)
    assert np.abs(ask(pipe, image, noise).images - exact.images).mean() < 0.01


def test_offload_sequence_names_every_network(tiny):
    networks = {
        name for name, part in tiny.components.items() if isinstance(part, torch.nn.Module)
    }
    assert set(tiny.model_cpu_offload_seq.split('->')) == networks


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
def test_bad_input_is_named(tiny, image, noise, arguments, message):
    given = {'image': image, 'noise': noise, **arguments}
    with pytest.raises(ValueError, match=message):
        ask(tiny, given.pop('image'), given.pop('noise'), **given)
