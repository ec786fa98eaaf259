# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters: off they change nothing at all, on they change their own answers alone."""

import copy
from pathlib import Path
import re
import sys

from adapter_fixtures import random_matrices
import pytest
from safetensors.torch import load_file, save_file
import torch

from diception_ros.model import DiceptionPipeline, DiceptionTransformer2DModel, adapters
from diception_ros.model.text_embeddings import PromptEmbedding

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'bench'))
from sizes import TRANSFORMER

PROMPT = PromptEmbedding(torch.ones(333, 48), torch.ones(40))


@pytest.fixture
def network(tiny):
    return copy.deepcopy(tiny.transformer)


def ask(network, grad=False):
    dice = torch.Generator().manual_seed(0)
    x, image, tokens, pooled, points = (
        torch.randn(2, *shape, generator=dice)
        for shape in ((16, 8, 8), (16, 8, 8), (7, 48), (40,), (5, 32))
    )
    with torch.set_grad_enabled(grad):
        return network(
            hidden_states=x, image_latents=image, encoder_hidden_states=tokens,
            pooled_projections=pooled, point_embeds=points,
            timestep=torch.tensor([1000.0, 250.0]), return_dict=False,
        )[0]  # fmt: skip


def put(network, name, seed=0, rank=2):
    adapters.load(network, name, random_matrices(adapters.layer_shapes(network), rank, seed))


def on(network, name):
    with adapters.enabled(network, name):
        return ask(network)


def test_a_new_adapter_changes_no_output(network):
    before = ask(network)
    adapters.insert(network, 'floor', 3)
    assert torch.equal(ask(network), before)
    assert torch.equal(on(network, 'floor'), before)


def test_off_is_the_base_bit_for_bit_with_one_or_two_in_and_afterwards(network):
    before = ask(network)
    put(network, 'one')
    assert torch.equal(ask(network), before)
    alone = on(network, 'one')
    assert not torch.equal(alone, before)
    assert torch.equal(ask(network), before)

    put(network, 'two', seed=1, rank=3)
    assert torch.equal(ask(network), before)
    assert torch.equal(on(network, 'one'), alone)
    other = on(network, 'two')
    assert not torch.equal(other, alone)
    assert torch.equal(on(network, ''), before)
    with pytest.raises(KeyError), adapters.enabled(network, 'two'):
        raise KeyError
    assert torch.equal(ask(network), before)

    adapters.remove(network, 'one')
    assert torch.equal(ask(network), before)
    assert torch.equal(on(network, 'two'), other)
    adapters.remove(network, 'two')
    assert torch.equal(ask(network), before)
    put(network, 'one')
    assert torch.equal(ask(network), before)
    assert torch.equal(on(network, 'one'), alone)


def test_insert_pack_read_put_gives_equal_outputs(network, tmp_path):
    other = copy.deepcopy(network)
    torch.manual_seed(3)
    mine = adapters.insert(network, 'learning', 3)
    with torch.no_grad():
        for value in mine.values():
            value += torch.randn(value.shape) / 4
    save_file(adapters.pack(mine, PROMPT), tmp_path / 'a.safetensors')
    values, prompt = adapters.read(str(tmp_path / 'a.safetensors'))
    assert torch.equal(prompt.tokens, PROMPT.tokens)
    assert torch.equal(prompt.pooled, PROMPT.pooled)
    adapters.load(other, 'floor', values)
    assert torch.equal(on(other, 'floor'), on(network, 'learning'))
    assert not torch.equal(on(other, 'floor'), ask(other))
    # Nothing but the matrices and the prompt.
    names = load_file(tmp_path / 'a.safetensors').keys()
    assert names == {*mine, 'prompt.tokens', 'prompt.pooled'}


def test_on_is_the_product_of_both_matrices_beside_each_weight(network):
    values = random_matrices(adapters.layer_shapes(network))
    adapters.load(network, 'floor', values)
    found = on(network, 'floor')
    adapters.remove(network, 'floor')
    with torch.no_grad():
        for name, module in network.named_modules():
            if f'{name}.lora_A.weight' in values:
                first, second = (values[f'{name}.lora_{one}.weight'] for one in 'AB')
                module.base_layer.weight += second @ first
    torch.testing.assert_close(ask(network), found, rtol=1e-4, atol=1e-4)


def test_they_alone_learn_and_there_are_as_many_as_counted(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    mine = adapters.insert(network, 'floor', 3)
    assert len(mine) == 2 * 3 * len(network.transformer_blocks)
    assert sum(value.numel() for value in mine.values()) == 3 * adapters.parameters_per_rank(
        network
    )
    wanting = [value for value in network.parameters() if value.requires_grad]
    assert {id(value) for value in wanting} == {id(value) for value in mine.values()}

    network.enable_adapters()
    first = ask(network)
    step = torch.optim.SGD(network.parameters(), 1.0)
    for _ in range(2):  # the first matrices move when the second ones are no longer zero
        step.zero_grad()
        ask(network, grad=True).square().sum().backward()
        step.step()
    start = {name: value.clone() for name, value in mine.items()}
    step.step()
    assert all(not torch.equal(value, start[name]) for name, value in mine.items())
    assert not torch.equal(ask(network), first)
    for name, value in network.state_dict().items():
        plain = name.replace('.base_layer', '')
        assert '.lora_' in name or torch.equal(value, before[plain]), name


def test_the_second_adapter_wants_no_gradient_of_the_first(network):
    put(network, 'one')
    assert not any(value.requires_grad for value in network.parameters())
    mine = adapters.insert(network, 'two', 1)
    assert sum(value.requires_grad for value in network.parameters()) == len(mine)


def test_gradient_checkpointing_gives_equal_gradients(network):
    adapters.insert(network, 'floor', 2)
    with torch.no_grad():
        for value in adapters.parameters(network, 'floor').values():
            value += 0.1
    network.enable_adapters()
    network.train()
    found = []
    for saving in (False, True):
        if saving:
            network.enable_gradient_checkpointing()
        network.zero_grad()
        ask(network, grad=True).square().sum().backward()
        found.append({k: v.grad.clone() for k, v in adapters.parameters(network, 'floor').items()})
    for name, value in found[0].items():
        assert value.abs().max() > 0
        torch.testing.assert_close(found[1][name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('share', [0.01, 0.05, 0.5])
def test_the_rank_is_the_largest_that_fits_the_share(network, share):
    each, whole = adapters.parameters_per_rank(network), 100_000
    rank = adapters.choose_rank(network, whole, share)
    assert rank * each <= share * whole < (rank + 1) * each
    put(network, 'in')
    assert adapters.choose_rank(network, whole, share) == rank


@pytest.mark.parametrize('whole', [100_000, 123_457, 7_654_321])
def test_impossible_parameter_share_error_suggests_a_possible_one(network, whole):
    with pytest.raises(ValueError, match=r'share is 1e-05.*one rank has') as error:
        adapters.choose_rank(network, whole, 1e-5)
    least = float(re.search(r'at least ([\d.e-]+)$', str(error.value))[1])
    assert adapters.choose_rank(network, whole, least) == 1


def test_putting_in_leaves_the_random_state_alone(network):
    before = torch.get_rng_state()
    put(network, 'floor')
    assert torch.equal(torch.get_rng_state(), before)
    starts = []
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        torch.manual_seed(seed)
        mine = adapters.insert(network, name, 2)
        starts.append(torch.cat([value.flatten() for value in mine.values()]).detach())
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize('name', ['items', 'to_q', 'attn', 'base_layer', 'weight', 'float', 'a'])
def test_an_adapter_may_be_called_like_a_part_of_the_network(network, name):
    before = ask(network)
    put(network, name)
    assert len(adapters.parameters(network, name)) == len(
        random_matrices(adapters.layer_shapes(network))
    )
    assert not torch.equal(on(network, name), before)
    adapters.remove(network, name)
    assert torch.equal(ask(network), before)


def test_matrices_of_another_network_are_refused(network):
    before = ask(network)
    good = random_matrices(adapters.layer_shapes(network))
    first = next(iter(good))
    for odd, named in (
        ({}, 'no matrices'),
        ({k: v for k, v in good.items() if k != first}, first),
        ({**good, 'more.weight': torch.ones(1)}, 'more.weight'),
        ({**good, first: good[first][:, 1:]}, first),
        ({**good, first: good[first][:1]}, ''),
        ({k.replace('blocks.1', 'blocks.2'): v for k, v in good.items()}, 'blocks.1'),
    ):
        with pytest.raises(ValueError, match=r"adapter 'floor': .* of another network") as error:
            adapters.load(network, 'floor', odd)
        assert named in str(error.value)
    assert torch.equal(ask(network), before)
    assert not any('lora' in name for name, _ in network.named_parameters())
    adapters.check(adapters.layer_shapes(network), 'floor', good)


def test_files_that_are_no_adapters_are_refused(network, tmp_path):
    path = tmp_path / 'a.safetensors'
    save_file(adapters.pack(random_matrices(adapters.layer_shapes(network)), PROMPT), path)
    whole = path.read_bytes()
    for content in (b'', b'x' * 100, whole[:-5]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'a\.safetensors: damaged, or not'):
            adapters.read(str(path))
    save_file({'x': torch.ones(1)}, path)
    with pytest.raises(ValueError, match=r"not the weights of an adapter.*'prompt\.tokens'"):
        adapters.read(str(path))
    with pytest.raises(FileNotFoundError):
        adapters.read(str(tmp_path / 'none'))


def test_of_sd3_rank_128_is_1_4_percent():
    with torch.device('meta'):
        network = DiceptionTransformer2DModel.from_config(TRANSFORMER)
    whole = sum(value.numel() for value in network.parameters())
    assert whole == pytest.approx(2.03e9, rel=0.005)
    assert len(adapters.layer_shapes(network)) == 24 * 3
    assert set(adapters.layer_shapes(network).values()) == {(1536, 1536)}
    trained = adapters.PAPER_RANK * adapters.parameters_per_rank(network)
    assert trained == 128 * 24 * 3 * 2 * 1536 == 28_311_552
    assert trained / whole == pytest.approx(0.014, abs=5e-5)


@pytest.mark.parametrize('attention_alone', [False, True])
def test_convolutions_are_adapted_beside_attention_and_older_files_without_them_load(
    attention_alone,
):
    network = DiceptionPipeline.from_pretrained('builtin', dtype=torch.float32).transformer
    layers = adapters.layer_shapes(network)
    convolutions = adapters.convolutions(layers)
    assert len(convolutions) == 4
    if attention_alone:
        layers = {name: shape for name, shape in layers.items() if name not in convolutions}
    values = {name: value / 8 for name, value in random_matrices(layers, rank=3).items()}
    dice = torch.Generator().manual_seed(0)
    config = network.config
    arguments = {
        'hidden_states': torch.randn(1, config.in_channels, 16, 16, generator=dice),
        'image_latents': torch.randn(
            1, config.in_channels + config.feature_channels, 16, 16, generator=dice
        ),
        'encoder_hidden_states': torch.randn(1, 7, config.joint_attention_dim, generator=dice),
        'pooled_projections': torch.randn(1, config.pooled_projection_dim, generator=dice),
        'point_embeds': torch.randn(1, 5, network.inner_dim, generator=dice),
        'timestep': torch.tensor([1000.0]), 'return_dict': False,
    }  # fmt: skip
    with torch.no_grad():
        before = network(**arguments)[0]
        adapters.load(network, 'floor', values)
        assert adapters.parameters(network, 'floor').keys() == values.keys()
        assert torch.equal(network(**arguments)[0], before)
        with adapters.enabled(network, 'floor'):
            found = network(**arguments)[0]
        adapters.remove(network, 'floor')
        for name in layers:
            first, second = (values[f'{name}.lora_{one}.weight'].flatten(1) for one in 'AB')
            weight = network.get_submodule(name).base_layer.weight
            weight += (second @ first).view_as(weight)
        expected = network(**arguments)[0]
    assert not torch.allclose(found, before, atol=1e-2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
