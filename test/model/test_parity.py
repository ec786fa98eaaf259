# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every official reference output is met, through `convert` and the public pipeline."""

import contextlib
import json
import os
from pathlib import Path
import runpy
import sys

import numpy as np
from PIL import Image
import pytest
from safetensors.torch import load_file
import torch

from diception_ros.core import images
from diception_ros.model import DiceptionPipeline
from diception_ros.model.convert import convert

pytestmark = pytest.mark.reference

# Max-abs in float32. The reference set measured 2e-5 between library versions, and 6e-3 for the
# smallest mistake; the mean tolerances in bfloat16 are the set's own.
TOLERANCE = {
    'prompt_embeds': 1e-4,
    'point_embeds': 1e-5,
    'velocity': 2e-4,
    'latents': 2e-4,
    'image': 1e-4,
}
BF16_MEAN = {'image': 0.01, 'latents': 0.08}
DEFAULT = Path(__file__).resolve().parents[3] / 'shared' / 'reference'
FOLDER = Path(os.environ.get('DICEPTION_REFERENCE', DEFAULT))


def cases():
    """Group and case of every reference output; one that skips where the set is not there."""
    if not (FOLDER / 'manifest.json').is_file():
        return [pytest.param(None, None, id='absent')]
    groups = json.loads((FOLDER / 'manifest.json').read_text())['groups']
    return [
        pytest.param(group, case, id=f'{group["dir"]}/{case["id"]}')
        for group in groups
        for case in group['cases']
    ]


@pytest.fixture(scope='session')
def official(reference, tmp_path_factory):
    """Function: variant -> SD3 folder and checkpoint; what the set does not store is made."""
    made = {'mini': (reference / 'mini/sd3_standin', reference / 'mini/DICEPTION_v1.pth')}

    def find(variant):
        if variant not in made:
            folder = tmp_path_factory.mktemp(variant)
            script = reference / 'tools/make_weights.py'
            arguments, path = sys.argv, list(sys.path)
            with contextlib.redirect_stdout(sys.stderr):
                try:
                    runpy.run_path(str(script))['main'](str(reference / variant), str(folder))
                finally:
                    sys.argv, sys.path[:] = arguments, path
            made[variant] = folder / 'sd3_standin', folder / 'DICEPTION_v1.pth'
        return made[variant]

    return find


@pytest.fixture(scope='session')
def pipelines(official, reference, tmp_path_factory):
    """Function: variant, mode -> the converted pipeline, loaded."""
    texts = {}
    for group in json.loads((reference / 'manifest.json').read_text())['groups']:
        texts.setdefault(group['variant'], dict.fromkeys([''])).update(
            dict.fromkeys(group['prompt_index'])
        )
    loaded = {}

    def load(variant, mode):
        if (variant, mode) not in loaded:
            dtype = {'fp32': 'float32', 'bf16': 'bfloat16'}[mode]
            out = tmp_path_factory.mktemp('converted') / 'model'
            convert(
                *official(variant),
                out,
                texts=list(texts[variant]),
                dtype=dtype,
                point_order='xy',
                resolution=128,
            )
            pipe = DiceptionPipeline.from_pretrained(out, dtype=getattr(torch, dtype))
            pipe.set_progress_bar_config(disable=True)
            if mode == 'bf16':  # the exact mode, in which the official code computes the points
                pipe.point_encoder.register_to_config(fourier_dtype='bfloat16')
            loaded[variant, mode] = pipe
        return loaded[variant, mode]

    return load


@pytest.mark.parametrize(('group', 'case'), cases())
def test_official_output(group, case, pipelines):
    pipe = pipelines(group['variant'], group['mode'])
    folder = FOLDER / group['dir']
    truth = load_file(folder / f'{case["id"]}.safetensors')
    prompts = (
        load_file(folder / '_prompts.safetensors')
        if (folder / '_prompts.safetensors').is_file()
        else {}
    )
    seen = Recorder(pipe)
    with seen:
        out = pipe(
            None,
            [sample['prompt'] for sample in case['samples']],
            # Upstream takes 'y,x' and keeps the first five points without a word.
            points=[
                [(x, y) for y, x in sample['points_yx'] or []][:5] for sample in case['samples']
            ],
            num_inference_steps=case['steps'],
            guidance_scale=case['guidance'],
            latents=truth['noise'],
            image_latents=truth['image_latents'],
        )
    image = torch.from_numpy(out.images).permute(0, 3, 1, 2)
    found = {
        'latents': {'final_latents': out.latents},
        'image': {'image': image, 'image@sub4': image[..., ::4, ::4]},
    }
    if group['mode'] == 'bf16':
        for kind, tensors in found.items():
            for name in set(tensors) & set(truth):
                assert (tensors[name].float() - truth[name].float()).abs().mean() < BF16_MEAN[kind]
        return

    for i, text in enumerate(group['prompt_index']):
        if f'{i}.prompt_embeds' in prompts:
            embedding = pipe.prompt_table[text]
            close(embedding.tokens, prompts[f'{i}.prompt_embeds'], 'prompt_embeds', text)
            close(embedding.pooled, prompts[f'{i}.pooled'], 'prompt_embeds', text)
    half = slice(len(case['samples']), None) if case['cfg'] else slice(None)
    close(seen.point_embeds[half], truth['point_embeds'], 'point_embeds')
    if case['cfg']:
        assert not seen.point_embeds[: half.start].any()
    np.testing.assert_array_equal(pipe.scheduler.sigmas.cpu(), truth['sigmas'])
    np.testing.assert_array_equal(pipe.scheduler.timesteps.cpu(), truth['timesteps'])
    if 'velocity_step0' in truth:
        close(seen.velocities[0], truth['velocity_step0'], 'velocity')
    for i, latents in enumerate(seen.latents[1:]):
        if f'latents_after_step{i}' in truth:
            close(latents[half], truth[f'latents_after_step{i}'], 'latents', f'step {i}')
    compared = 0
    for kind, tensors in found.items():
        for name in set(tensors) & set(truth):
            close(tensors[name], truth[name], kind, name)
            compared += 1
    assert compared >= 2
    traced = {name for name in truth if name.startswith('trace.')}
    for name in traced:
        compare_trace(name, seen, truth[name])


def close(found, truth, kind, what=''):
    """Max-abs within the tolerance of its kind."""
    assert found.shape == truth.shape, what
    error = (found.float() - truth.float()).abs().max().item()
    assert error < TOLERANCE[kind], f'{kind} {what}: {error}'


class Recorder:
    """Listens to the network while it runs: inputs and outputs of the modules a trace holds."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.velocities, self.latents, self.embedded, self.first = [], [], [], {}
        self.point_embeds = None

    def __enter__(self):
        network = self.pipe.transformer
        self.handles = [
            network.register_forward_pre_hook(self._enter, with_kwargs=True),
            network.register_forward_hook(lambda m, a, out: self.velocities.append(out[0])),
            network.pos_embed.register_forward_hook(lambda m, a, out: self.embedded.append(out)),
            self.pipe.point_encoder.mlp.register_forward_hook(self._keep('point_embedder')),
        ]
        for name in ('context_embedder', 'time_text_embed', 'norm_out', 'proj_out'):
            self.handles.append(getattr(network, name).register_forward_hook(self._keep(name)))
        for i, block in enumerate(network.transformer_blocks):
            self.handles.append(block.register_forward_hook(self._keep(f'block{i}')))
        return self

    def __exit__(self, *error):
        for handle in self.handles:
            handle.remove()

    def _enter(self, module, args, kwargs):
        self.point_embeds = kwargs['point_embeds']
        self.latents.append(kwargs['hidden_states'])

    def _keep(self, name):
        def hook(module, args, out):
            self.first.setdefault(name, out)

        return hook


def compare_trace(name, seen, truth):
    """One traced module output of the official network against ours."""
    kind, every = (*name.removeprefix('trace.').split('@every'), '1')[:2]
    ours = {
        'pos_embed.image': lambda: seen.embedded[0].expand_as(seen.embedded[1]),
        'pos_embed.noise': lambda: seen.embedded[1],
    }
    for i in range(len([key for key in seen.first if key.startswith('block')])):
        ours[f'block{i}.encoder_hidden_states'] = lambda i=i: seen.first[f'block{i}'][0]
        ours[f'block{i}.hidden_states'] = lambda i=i: seen.first[f'block{i}'][1]
    found = ours.get(kind, lambda: seen.first[kind])()
    if kind in ('norm_out', 'proj_out'):  # ours is not computed for the image tokens
        whole = truth.shape[1] * int(every)
        assert whole >= 2 * found.shape[1]
        truth = truth[:, : -(-found.shape[1] // int(every))]
    found = found[:, :: int(every)] if found.ndim == 3 else found
    close(found, truth, 'velocity' if kind != 'point_embedder' else 'point_embeds', name)


@pytest.mark.parametrize('name', ['a', 'b', 'c'])
def test_official_image_latents(name, reference, pipelines):
    """The posterior's mean is the official one, scaled, and a draw is the official draw."""
    pipe = pipelines('mini', 'fp32')
    group = json.loads((reference / 'manifest.json').read_text())['groups'][0]
    official = load_file(reference / group['dir'] / '_images.safetensors')
    image = official[f'{name}.input_images'][None]
    mean = (official[f'{name}.posterior_mean'] - 0.0609) * 1.5305
    close(pipe.encode_image(image)[0], mean.reshape(16, 16, 16), 'image', name)
    drawn = [
        case
        for case in group['cases']
        if [sample['image'] for sample in case['samples']] == [name] and not case['rect']
    ]
    assert drawn
    for case in drawn:
        truth = load_file(reference / group['dir'] / f'{case["id"]}.safetensors')
        draw = pipe.encode_image(
            image, sample=True, generator=torch.Generator().manual_seed(case['vae_seed'])
        )
        close(draw, truth['image_latents'], 'image', case['id'])


@pytest.mark.parametrize('case', ['depth', 'normal', 'seg'])
def test_official_preprocessing(case, reference):
    """The image that the model sees is the official scripts' own, byte for byte."""
    about = {
        entry['name']: entry
        for entry in json.loads((reference / 'mini/cli/_manifest.json').read_text())
    }[case]
    inputs = load_file(reference / 'mini/fp32_128/_images.safetensors')
    image = np.asarray(Image.open(reference / f'images/{about["image"]}.png').convert('RGB'))
    square, _ = images.resize(image, 128)
    ours = torch.from_numpy(square.copy()).permute(2, 0, 1).float() / 127.5 - 1
    close(ours, inputs[f'{about["image"]}.input_images'], 'point_embeds')
