# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime gives the output images of torch, with the built-in model and with a VAE."""

import json
import logging
from pathlib import Path
import re
import shutil
import subprocess
import sys

import cv2
from diffusers import FlowMatchEulerDiscreteScheduler
import numpy as np
import pytest
import torch

from diception_ros import ExportConfig, export, tasks
from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity
from diception_ros.core.prompt import Point, Prompt
from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.model import backend, inputs, onnx_backend, weights
from diception_ros.model.folder import resolve
from diception_ros.perception.predictor import Predictor

pytest.importorskip('onnxruntime')
CLOSE = 1e-4  # of output images of 0 to 1; Source: issue 20
ONNX = ComputeSettings(backend='onnx', threads=1)
POINTED = Prompt('segmentation', points=(Point(3, 4), Point(20, 11)))
PROMPTS = [
    Prompt('depth'), Prompt('normal'), POINTED, Prompt('entity'), Prompt('pose'),
    Prompt('semantic', 'person'),
]  # fmt: skip


def frame(height=40, width=60, seed=0):
    return Frame(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture(scope='module')
def both():
    """The built-in model on torch and on ONNX Runtime."""
    return [Predictor.load('builtin', ComputeSettings(backend=name, threads=1))
            for name in ('torch', 'onnx')]  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    """A copy of the built-in model folder, with its graphs."""
    return shutil.copytree(resolve('builtin'), tmp_path / 'model')


# ---- the parts --------------------------------------------------------------------------------


@pytest.mark.parametrize('shape', [(1, 48, 16, 16), (1, 16), (3, 7), (1, 4, 5, 5)])
@pytest.mark.parametrize('seed', [0, 42, 2**32 + 5, 2**63 - 1])
def test_noise_is_what_torch_draws(seed, shape):
    expected = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).numpy()
    np.testing.assert_allclose(inputs.standard_normal(seed, shape), expected, atol=1e-6)


@pytest.mark.parametrize('steps', [1, 2, 5, 28])
@pytest.mark.parametrize('shift', [1.0, 3.0])
def test_schedule_is_that_of_diffusers(steps, shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    found = onnx_backend.schedule(dict(scheduler.config), steps)
    np.testing.assert_allclose(found, scheduler.sigmas.numpy(), atol=1e-7, rtol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_weights_are_read_without_torch(tmp_path, dtype):
    from safetensors.torch import save_file

    values = torch.randn(3, 5).to(dtype)
    save_file({'a': torch.zeros(7), 'b': values}, tmp_path / 'file.safetensors', {'k': 'v'})
    place = weights.tensor_places(tmp_path / 'file.safetensors')['b']
    np.testing.assert_array_equal(
        weights.read_array(place).astype(np.float32), values.float().numpy()
    )
    np.testing.assert_array_equal(
        weights.read_array(place, 1).astype(np.float32), values[1].float().numpy()
    )
    assert weights.read_metadata(tmp_path / 'file.safetensors') == {'k': 'v'}


@pytest.mark.parametrize(
    'content',
    [b'', b'\xff' * 8, b'\x02' + b'\0' * 7 + b'[]',
     b'\x3c' + b'\0' * 7 + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8000]}}   '],
)  # fmt: skip
def test_damaged_weights_are_refused(tmp_path, content):
    (tmp_path / 'file.safetensors').write_bytes(content)
    with pytest.raises(ValueError, match='damaged'):
        weights.tensor_places(tmp_path / 'file.safetensors')


# ---- the same output images --------------------------------------------------------------------


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'num_inference_steps': 3, 'guidance_scale': 2.0},
        {'num_inference_steps': 2, 'guidance_scale': 3.0, 'reuse_last_velocity': True},
        {'tta_shifts': 2, 'seed': 7},
        {'processing_resolution': 64},
    ],
    ids=str,
)
def test_output_images_are_those_of_torch(both, changes):
    view = frame()
    for prompt in PROMPTS[: 3 if changes else None]:
        text = tasks.get(prompt.task).text(prompt)
        for one in both:
            one.settings = PredictSettings(**changes)
            resolved = one._resolved(one.settings)
            one.resolution, one.tta_shifts = resolved.processing_resolution, resolved.tta_shifts
        first, second = (one.generate(view, text, prompt.points) for one in both)
        assert first.shape == second.shape
        np.testing.assert_allclose(second, first, atol=CLOSE)


def test_parts_of_a_batch_at_once_give_what_the_batch_gives():
    one_thread = Predictor.load('builtin', ONNX)
    several = Predictor.load('builtin', ComputeSettings(backend='onnx', threads=3))
    frames = [frame(seed=seed) for seed in range(2)]
    alone, at_once = (one.predict(frames, PROMPTS[:4]) for one in (one_thread, several))
    assert [item.prompt for item in alone] == [item.prompt for item in at_once] == PROMPTS[:4] * 2
    for first, second in zip(alone, at_once, strict=True):
        for name, values in vars(first.label).items():
            if isinstance(values, np.ndarray) and values.dtype.kind == 'f':
                np.testing.assert_allclose(vars(second.label)[name], values, atol=CLOSE)


def test_conditioning_is_independent_of_earlier_calls(both):
    texts = [tasks.get(prompt.task).text(prompt) for prompt in PROMPTS]
    fresh = Predictor.load('builtin', ONNX)._backend
    times = np.array([1000.0, 750.0], np.float32)
    for text in reversed(texts):
        fresh._add_conditions([text], times)
    both[1]._backend._add_conditions(texts, times)
    for key, values in fresh._conditions.items():
        np.testing.assert_array_equal(both[1]._backend._conditions[key], values)


def test_a_rectangle_gives_the_rectangle_of_torch(both):
    image = np.random.default_rng(1).integers(0, 256, (128, 256, 3), np.uint8)
    outputs = []
    for one in both:
        model = one._backend
        latents = model.denoise(
            model.encode([image]), ['[[image2depth]]'] * 2, [[], [(0.1, 0.9)]], [1, 2],
            PredictSettings(), '',
        )  # fmt: skip
        outputs.append(model.decode_latents(latents))
    assert outputs[0].shape == outputs[1].shape == (2, 64, 128, 3)
    np.testing.assert_allclose(outputs[1], outputs[0], atol=CLOSE)


def test_labels_of_batches_are_those_of_torch(both):
    """Frames of two sizes, seven prompts each, ensembles and small batches."""
    settings = PredictSettings(ensemble_size=2, batch_size=1)
    frames = [frame(), frame(64, 48, 1)]
    views, prompts = [one for one in frames for _ in PROMPTS], PROMPTS * 2
    first, second = (one.infer(views, prompts, settings) for one in both)
    for one, other in zip(first, second, strict=True):
        assert type(one.label) is type(other.label)
        if isinstance(one.label, Disparity):
            np.testing.assert_allclose(one.label.values, other.label.values, atol=CLOSE)


def test_a_result_does_not_depend_on_the_run(both):
    settings = PredictSettings(batch_size=1)
    runs = [both[1].infer([frame()] * 2, PROMPTS[:2], settings) for _ in range(2)]
    alone = both[1].infer([frame()], PROMPTS[:1], settings)
    for found in (runs[1], alone):
        np.testing.assert_array_equal(found[0].label.values, runs[0][0].label.values)


def test_errors_are_those_of_torch(both):
    for prompts, settings in (
        ([Prompt('semantic', 'unicorn')], None),
        ([Prompt('depth')], PredictSettings(processing_resolution=60)),
        ([Prompt('segmentation', points=(Point(99, 1),))], None),
    ):
        texts = []
        for one in both:
            with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
                one.infer([frame()], prompts, settings)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]


# ---- which graphs are used ---------------------------------------------------------------------


def test_graphs_read_the_weights_of_their_folder(copy):
    """Other weights of the same layout need no other graphs."""
    place = weights.tensor_places(
        copy / 'transformer' / 'diffusion_pytorch_model.safetensors'
    )['proj_out.bias']  # fmt: skip
    with place.file.open('r+b') as file:
        file.seek(place.offset)
        file.write(np.linspace(-1, 1, place.shape[0]).astype(np.float16).tobytes())
    first, second = (
        Predictor.load(copy, ComputeSettings(backend=name)).generate(frame(), '[[image2depth]]')
        for name in ('torch', 'onnx')
    )
    np.testing.assert_allclose(second, first, atol=CLOSE)
    before = Predictor.load('builtin', ONNX).generate(frame(), '[[image2depth]]')
    assert np.abs(before - second).max() > 0.01


def test_graphs_of_another_model_are_not_used(copy):
    path = copy / 'vae' / 'config.json'
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, 'scaling_factor': config['scaling_factor'] * 2}))
    assert backend.choose(copy, ComputeSettings()).name == 'torch'
    assert 'do not belong' in backend.choose(copy, ComputeSettings()).reason
    with pytest.raises(ValueError, match=r'do not belong to its weights.*diception export'):
        Predictor.load(copy, ONNX)


@pytest.mark.parametrize(
    ('compute', 'adapters', 'name', 'reason'),
    [
        ({}, False, 'onnx', 'CPU'),
        ({'backend': 'torch'}, False, 'torch', 'backend is torch'),
        ({}, True, 'torch', 'adapters'),
        ({'dtype': 'bfloat16'}, False, 'torch', 'bfloat16'),
        ({'dtype': 'float16'}, False, 'torch', 'graphs in .* compute in float32'),
        ({'device': 'cuda'}, False, 'torch', 'cuda'),
    ],
)
def test_auto_takes_onnx_where_nothing_needs_torch(compute, adapters, name, reason):
    found = backend.choose(resolve('builtin'), ComputeSettings(**compute), adapters)
    assert found.name == name
    assert re.search(reason, found.reason)


def test_a_folder_without_graphs_runs_on_torch(tiny_folder):
    predictor = Predictor.load(tiny_folder)
    assert (predictor.backend.name, predictor.dtype) == ('torch', 'float32')
    assert Predictor.load(tiny_folder, dtype='bfloat16').dtype == 'bfloat16'
    with pytest.raises(ValueError, match='no ONNX graphs; make them: diception export'):
        Predictor.load(tiny_folder, ONNX)


def test_an_unknown_device_is_refused(copy):
    for device in ('cuda', 'tpu'):
        with pytest.raises(ValueError, match=f"'{device}'"):
            Predictor.load(copy, ComputeSettings(backend='onnx', device=device))
    with pytest.raises(ValueError, match='needs backend onnx, got auto; set backend to onnx'):
        Predictor.load(copy, ComputeSettings(device='tensorrt'))


def broken(name, folder):
    """Breaks a graph in one way."""
    onnx = pytest.importorskip('onnx')
    path = folder / 'decoder.onnx'
    if name == 'cut off':
        path.write_bytes(path.read_bytes()[:-20])
        return
    model = onnx.load(path, load_external_data=False)
    if name == 'another input':
        renamed = model.graph.input[0].name
        for node in model.graph.node:
            node.input[:] = ['z' if one == renamed else one for one in node.input]
        model.graph.input[0].name = 'z'
    elif name == 'another output':
        output = model.graph.output[0]
        model.graph.node.append(onnx.helper.make_node('Flatten', [output.name], ['flat']))
        model.graph.output[0].CopyFrom(
            onnx.helper.make_tensor_value_info('flat', onnx.TensorProto.FLOAT, None)
        )
    else:  # the name of a file of weights
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                entry.value = name if entry.key == 'location' else entry.value
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('cut off', 'ONNX Runtime cannot load it'),
        ('another input', 'ONNX Runtime cannot run it'),
        ('another output', r'expected an output of shape \(1, \d+, \d+, 3\), got \(1, \d+\)'),
        ('../outside.safetensors', 'ONNX Runtime cannot load it'),
        ('/dev/zero', 'ONNX Runtime cannot load it'), ('link', 'ONNX Runtime cannot load it'),
        ('vae/../../outside.safetensors', 'ONNX Runtime cannot load it'),
    ],
)  # fmt: skip
def test_a_damaged_graph_is_named_and_nothing_outside_is_read(copy, name, words):
    outside = copy.parent / 'outside.safetensors'
    shutil.copy(copy / 'vae' / 'diffusion_pytorch_model.safetensors', outside)
    (copy / 'link').symlink_to(outside)
    broken(name, copy)
    with pytest.raises(ValueError, match=rf'decoder\.onnx: {words}') as found:
        Predictor.load(copy, ONNX).generate(frame(), '[[image2depth]]')
    assert '\n' not in str(found.value)


def test_adapters_need_torch(both, tmp_path):
    with pytest.raises(ValueError, match='adapters run on torch'):
        both[1].adapt([tmp_path])
    assert both[1].adapt([]) == []


# ---- other precisions ------------------------------------------------------------------------


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.mark.slow
def test_graphs_in_float16_are_near_torch_in_float32(tiny_folder, tmp_path, caplog, recwarn):
    pytest.importorskip('onnxscript')
    out = tmp_path / 'exported'
    before = content(tiny_folder)
    with caplog.at_level(logging.WARNING):
        result = export(ExportConfig(model=str(tiny_folder), out=out, precision='fp16'))
    assert not caplog.records
    assert not [item for item in recwarn if issubclass(item.category, FutureWarning)]
    assert content(tiny_folder) == before
    assert json.loads((out / 'onnx.json').read_text())['precision'] == 'fp16'
    first, second = (
        Predictor.load(out, ComputeSettings(backend=name)).generate(frame(), '[[image2normal]]')
        for name in ('torch', 'onnx')
    )
    assert first.dtype == second.dtype == np.float32
    np.testing.assert_allclose(second, first, atol=1e-2)
    # The rounding shows that float16 was computed with.
    assert 1e-5 < np.abs(second - first).max() <= result.difference * 10
    with pytest.raises(ValueError, match=r'dtype is float32, and the ONNX graphs .* in float16'):
        Predictor.load(out, ComputeSettings(backend='onnx', dtype='float32'))
    assert backend.choose(out, ComputeSettings(backend='onnx', dtype='float16')).name == 'onnx'


@pytest.fixture(scope='module')
def int8(tmp_path_factory):
    """The built-in model with int8 graphs, made of its fp32 ones, and the result of the export."""
    pytest.importorskip('onnx_ir')
    place = tmp_path_factory.mktemp('int8')
    (place / 'images').mkdir()
    for seed in range(10, 18):
        images.write(place / 'images' / f'{seed}.png', smooth(seed))
    before = content(resolve('builtin'))
    result = export(
        ExportConfig(out=place / 'model', precision='int8', calibration=place / 'images')
    )
    assert content(resolve('builtin')) == before
    return result


def smooth(seed):
    """An image with large areas, (96, 128, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC)


@pytest.mark.slow
def test_int8_graphs_are_near_those_in_float32(int8):
    assert json.loads((int8.model / 'onnx.json').read_text())['precision'] == 'int8'
    # `both` has been given another resolution by other tests.
    plain, rounded = Predictor.load('builtin', ONNX), Predictor.load(int8.model, ONNX)
    for prompt in (Prompt('depth'), Prompt('normal'), Prompt('entity')):
        text = tasks.get(prompt.task).text(prompt)
        view = Frame(smooth(5))
        exact, found = (one.generate(view, text) for one in (plain, rounded))
        # Rounded, and still this model's output: another image's is further away.
        assert 0 < np.abs(found - exact).mean() < 0.03
        other = plain.generate(Frame(smooth(6)), text)
        assert np.abs(found - exact).mean() < 0.5 * np.abs(other - exact).mean()


@pytest.mark.slow
def test_int8_graphs_store_no_weight_and_do_not_depend_on_the_batch(int8):
    from onnxruntime import InferenceSession, SessionOptions

    assert sum(int8.sizes.values()) < 2e6
    rounded = Predictor.load(int8.model, ONNX)
    frames = [Frame(smooth(seed)) for seed in range(3)]
    alone = rounded.predict(frames[:1], [Prompt('depth')])[0].label.values
    among = rounded.predict(frames, [Prompt('depth'), Prompt('normal')])[0].label.values
    np.testing.assert_allclose(among, alone, atol=CLOSE)
    # ONNX Runtime makes integer kernels of the pairs of QuantizeLinear and DequantizeLinear.
    options = SessionOptions()
    options.optimized_model_filepath = str(int8.model / 'optimised.onnx')
    for name, kernel in (('image', b'QLinearConv'), ('network', b'MatMulIntegerToFloat')):
        InferenceSession(int8.model / f'{name}.onnx', options, ['CPUExecutionProvider'])
        assert (int8.model / 'optimised.onnx').read_bytes().count(kernel) > 30


@pytest.mark.slow
def test_int8_graphs_belong_to_the_weights_they_were_measured_with(int8, tmp_path):
    copy = shutil.copytree(int8.model, tmp_path / 'model')
    assert backend.choose(copy, ComputeSettings()).name == 'onnx'
    place = weights.tensor_places(copy / 'vae' / 'diffusion_pytorch_model.safetensors')['mean']
    with place.file.open('r+b') as file:
        file.seek(place.offset)
        file.write(bytes(place.length))
    assert 'were made of other weights' in backend.choose(copy, ComputeSettings()).reason
    with pytest.raises(ValueError, match=r'other weights.*diception export'):
        Predictor.load(copy, ONNX)


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'precision': 'fp8'}, 'precision'),
        ({'precision': 'int8'}, 'int8 needs a folder of images'),
        ({'calibration': Path('images')}, 'the others take none'),
    ],
)
def test_a_precision_that_cannot_be_made_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ExportConfig(**values)


# ---- without torch -----------------------------------------------------------------------------

WITHOUT = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'torch', 'diffusers', 'transformers', 'peft', 'accelerate'}:
            raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Blocker())
from diception_ros.cli.main import main
"""


@pytest.mark.slow
def test_images_are_predicted_without_torch(tmp_path):
    images.write(tmp_path / 'view.png', frame().image)
    arguments = [
        'predict', str(tmp_path / 'view.png'), '--tasks', 'depth', 'normal', 'segmentation',
        'entity', 'pose', 'semantic', '--categories', 'person', '--points', '3,4',
        '--out', str(tmp_path / 'out'),
    ]  # fmt: skip
    program = f'{WITHOUT}assert main({arguments!r}) == 0\n'
    subprocess.run([sys.executable, '-c', program], check=True, timeout=600)
    about = json.loads((tmp_path / 'out' / 'view.png' / 'depth.json').read_text())
    assert about['settings']['backend'] == 'onnx'


def test_a_copy_in_the_folder_that_is_copied_is_refused(copy):
    with pytest.raises(ValueError, match='is in the model folder'):
        export(ExportConfig(model=str(copy), out=copy / 'graphs'))
    assert not (copy / 'graphs').exists()
