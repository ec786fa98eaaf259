# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network: SD3 by its parameters; backends, adapters, precisions, devices."""

from diffusers import SD3Transformer2DModel
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _AttentionBackendRegistry,
    attention_backend,
)
import numpy as np
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from pipeline_calls import ROUNDING, TEXTS, ask
import pytest
import torch

from diception_ros.model import DiceptionPipeline, DiceptionTransformer2DModel
from diception_ros.model.tiny import tiny_pipeline

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


@pytest.mark.slow
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
    # A network that this pipeline has no need of, such as the image encoder, is named, too.
    absent = {name for name in tiny._optional_components if tiny.components[name] is None}
    assert set(tiny.model_cpu_offload_seq.split('->')) - absent == networks
