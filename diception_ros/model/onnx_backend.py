# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The backend of ONNX Runtime: the graphs of a model folder, and a sampler in numpy.

ONNX Runtime is imported when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import functools
from pathlib import Path
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.model.component_configs import CELL, read_json
from diception_ros.model.folder import fingerprint
from diception_ros.model.inputs import overlap, pack_points, standard_normal
from diception_ros.model.text_embeddings import TABLE_FILE, PromptTable
from diception_ros.model.weights import layout_hash
from diception_ros.system import resources
from diception_ros.system.files import first_line

# All that depends on the input image alone; on timestep and pooled text alone; one pass of the
# transformer; latents to pixels. They lie in the model folder itself, because ONNX Runtime reads
# weights from no other folder than a graph's own and those in it.
IMAGE, CONDITION, NETWORK, DECODER = GRAPHS = (
    'image.onnx', 'condition.onnx', 'network.onnx', 'decoder.onnx'
)  # fmt: skip
# Outputs of the image's graph and inputs of the network's: sums of features, coarse and fine.
FEATURES = ('features', 'fine_features')
# What the graphs were made of.
INDEX_FILE = 'onnx.json'
FORMAT = 'diception_ros graphs 2'
# Precisions in which graphs compute, with their names in torch. Inputs and outputs are float32.
PRECISIONS = {'fp32': 'float32', 'fp16': 'float16', 'int8': 'int8'}
_AGAIN = '; make them again: diception export --model'
# Providers by the beginning of the device's name, the first that is there being used; each needs
# a build of ONNX Runtime that has it. None of the GPU's has been run so far.
_PROVIDERS = {
    'cpu': ('CPUExecutionProvider',),
    'cuda': ('CUDAExecutionProvider',),
    'tensorrt': ('TensorrtExecutionProvider', 'CUDAExecutionProvider'),
}
# Bytes of conditions that are kept.
_CONDITIONS = 64 << 20
# One image of the official size keeps a device busy; more at once only cost memory.
_DECODE_PIXELS = 768 * 768


class _ImageLatents(NamedTuple):
    """What `DiceptionTransformer2DModel.embed_image` returns.

    Attributes:
        tokens: (1, h / p, w / p, D) float32.
        features: of FEATURES, (1, M, H, W) float32 each; none without an image encoder.
    """

    tokens: NDArray[np.float32]
    features: Sequence[NDArray[np.float32]]


class OnnxBackend:
    """Runs the graphs of a model folder; see `backend.Backend`.

    Args:
        folder: of the model, as `backend.choose` accepts it for ONNX.
        compute: where it runs.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: a device that does not exist, or graphs that cannot be loaded.
    """

    name = 'onnx'
    encodes_texts = False

    def __init__(self, folder: Path, compute: ComputeSettings) -> None:
        index = read_json(folder / 'model_index.json')
        self.dtype = graph_dtype(folder)
        self.resolution: int = index.get('resolution', 768)  # as the pipeline's default
        self.shifts: int = index.get('shifts', 1)
        network = read_json(folder / 'transformer' / 'config.json')
        vae = read_json(folder / 'vae' / 'config.json')
        self._block = 2 ** (len(vae['block_out_channels']) - 1)
        self._patch: int = network['patch_size']
        self._channels: int = network['in_channels']
        self.token = self._block * self._patch
        self.max_tokens: int = network['pos_embed_max_size']
        self.input_scale = CELL // self._block if network.get('feature_channels') else 1
        self._order = read_json(folder / 'point_encoder' / 'config.json').get('point_order', 'xy')
        self._scheduler = read_json(folder / 'scheduler' / 'scheduler_config.json')
        self._schedule = functools.cache(functools.partial(schedule, self._scheduler))
        self._table = PromptTable()
        if (folder / TABLE_FILE).is_file():
            self._table = PromptTable.load(folder / TABLE_FILE)
        self._embedded: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        self.threads = compute.threads or resources.automatic_threads(
            compute.device, resources.processors(), least=2
        )
        # Parts of a batch that have a core each share nothing but the weights; cores that work on
        # one part send each other every intermediate result.
        self._at_once = self.threads if compute.device == 'cpu' else 1
        self._image, self._network, self._decoder = (
            _Graph(folder / name, compute.device, self.threads)
            for name in (IMAGE, NETWORK, DECODER)
        )
        self._load_condition: Callable[[], _Graph] = functools.partial(
            _Graph, folder / CONDITION, compute.device, self.threads
        )
        if compute.device != 'cpu':
            self._load_condition = functools.cache(self._load_condition)
        # By text and time, each as it is computed alone, whatever else a batch holds.
        self._conditions: dict[tuple[str, np.float32], NDArray[np.float32]] = {}
        resources.release_memory()  # the float16 copies of the weights

    def embed(self, texts: Sequence[str]) -> None:
        self._table.check(texts)

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[_ImageLatents]:
        return resources.concurrently(self._encode, images, self._at_once)

    def _encode(self, image: NDArray[np.uint8]) -> _ImageLatents:
        planes = image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(127.5) - 1
        height, width = (side // self.input_scale for side in image.shape[:2])
        feeds = {'image': planes, **self._overlaps(self._image, height, width)}
        rows, columns = height // self.token, width // self.token
        tokens, *features = self._image.run(feeds, (1, rows, columns, None))
        return _ImageLatents(tokens, features)

    def denoise(
        self,
        image_latents: Sequence[_ImageLatents],
        texts: Sequence[str],
        points: Sequence[Sequence[tuple[float, float]]],
        seeds: Sequence[int],
        settings: PredictSettings,
        adapter: str,
    ) -> NDArray[np.float32]:
        if adapter:
            raise ValueError(f'adapter {adapter!r}: adapters run on torch; set backend to torch')

        times = self._times(self._schedule(settings.num_inference_steps))
        self._add_conditions(['', *texts] if settings.guidance_scale > 1 else texts, times)

        def denoise(rows: slice) -> NDArray[np.float32]:
            own = image_latents if len(image_latents) == 1 else image_latents[rows]
            return self._denoise(own, texts[rows], points[rows], seeds[rows], settings)

        parts = resources.concurrently(denoise, self._parts(len(texts)), self._at_once)
        return np.concatenate(parts)

    def _denoise(
        self,
        image_latents: Sequence[_ImageLatents],
        texts: Sequence[str],
        points: Sequence[Sequence[tuple[float, float]]],
        seeds: Sequence[int],
        settings: PredictSettings,
    ) -> NDArray[np.float32]:
        # The same way as DiceptionPipeline.denoise, which explains it.
        batch, guided = len(texts), settings.guidance_scale > 1
        coordinates, given = pack_points(points, batch, self._order)
        rows, columns = (self._patch * side for side in image_latents[0].tokens.shape[1:3])
        shape = (1, self._channels, rows, columns)
        latents = np.concatenate([standard_normal(seed, shape) for seed in seeds])
        texts = ([''] * batch if guided else []) + list(texts)
        halves = 2 if guided else 1
        feeds = {
            'tokens': np.stack([self._embedding(text)[0] for text in texts]),
            'points': np.concatenate([coordinates] * halves),
            'given': np.concatenate([given] * halves),
            'conditional': np.repeat(np.array([0, 1][-halves:], np.float32), batch),
            'image_tokens': self._batch(
                [image_latent.tokens for image_latent in image_latents], halves, batch
            ),
        }
        features = zip(*(image_latent.features for image_latent in image_latents), strict=True)
        for name, parts in zip(FEATURES, features, strict=False):
            feeds[name] = self._batch(parts, halves, batch)
        sigmas = self._schedule(settings.num_inference_steps)
        times = self._times(sigmas)
        velocity = np.zeros_like(latents)
        for number, sigma in enumerate(sigmas[:-1]):
            last = 0 < number == len(sigmas) - 2
            if not (settings.reuse_last_velocity and last):
                feeds['latents'] = np.concatenate([latents] * halves)
                time = times[number]
                feeds['timestep'] = np.full(halves * batch, time, np.float32)
                feeds['condition'] = np.stack([self._conditions[text, time] for text in texts])
                velocity = self._network.run(feeds, feeds['latents'].shape)[0]
                if guided:
                    unconditional, conditional = velocity[:batch], velocity[batch:]
                    scale = np.float32(settings.guidance_scale)
                    velocity = unconditional + scale * (conditional - unconditional)
            latents = latents + (sigmas[number + 1] - sigma) * velocity
        return latents

    def decode_latents(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = (self._block * side for side in latents.shape[2:])
        overlaps = self._overlaps(self._decoder, height, width)

        def decode(rows: slice) -> NDArray[np.float32]:
            part = latents[rows]
            shape = (len(part), height, width, 3)
            return self._decoder.run({'latents': part, **overlaps}, shape)[0]

        parts = self._parts(len(latents), max(1, _DECODE_PIXELS // (height * width)))
        return np.concatenate(resources.concurrently(decode, parts, self._at_once))

    def synchronize(self) -> None:
        pass  # `run` returns when its outputs are there

    def end_batch(self) -> None:
        pass

    def is_out_of_memory(self, error: Exception) -> bool:
        # ONNX Runtime has no error of its own for it.
        return 'Failed to allocate memory' in str(error.__cause__ or error)

    def _times(self, sigmas: NDArray[np.float32]) -> NDArray[np.float32]:
        times: NDArray[np.float32] = sigmas[:-1] * np.float32(
            self._scheduler.get('num_train_timesteps', 1000)
        )
        return times

    def _add_conditions(self, texts: Sequence[str], times: NDArray[np.float32]) -> None:
        """Compute the conditions that are missing; the graph's weights stay in memory on a GPU."""
        if sum(one.nbytes for one in self._conditions.values()) > _CONDITIONS:
            self._conditions.clear()
        wanted = [(text, time) for text in dict.fromkeys(texts) for time in times]
        missing = [key for key in wanted if key not in self._conditions]
        if not missing:
            return
        graph = self._load_condition()
        for text, time in missing:
            feeds = {'timestep': np.array([time]), 'pooled': self._embedding(text)[1][None]}
            self._conditions[text, time] = graph.run(feeds, (1, None))[0][0]

    def _parts(self, count: int, largest: int = sys.maxsize) -> list[slice]:
        """Nearly equal parts of a batch: one for each that may run at once, or more."""
        number = max(min(self._at_once, count), -(-count // largest))
        ends = [count * part // number for part in range(number + 1)]
        return list(map(slice, ends, ends[1:]))

    def _embedding(self, text: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if text not in self._embedded:
            self._embedded[text] = self._table.arrays(text)
        return self._embedded[text]

    def _overlaps(self, graph: _Graph, height: int, width: int) -> dict[str, NDArray[np.float32]]:
        """The matrices of a lapped transform, for graphs that take them."""
        if graph.inputs == 1:
            return {}
        return {
            'row_overlap': overlap(height, self._block).astype(np.float32),
            'column_overlap': overlap(width, self._block).astype(np.float32),
        }

    @staticmethod
    def _batch(parts: Sequence[Any], halves: int, batch: int) -> NDArray[np.float32]:
        whole = np.concatenate([*parts] * halves if len(parts) > 1 else parts)
        return whole if len(whole) > 1 else np.repeat(whole, halves * batch, axis=0)


def schedule(config: dict[str, Any], steps: int) -> NDArray[np.float32]:
    """Sigmas of FlowMatchEulerDiscreteScheduler, as diffusers computes them.

    Args:
        config: of the scheduler, as `check_exportable` accepts it.
        steps: N.

    Returns:
        (N + 1,) falling from 1 to 0.
    """
    count, shift = config.get('num_train_timesteps', 1000), config.get('shift', 1.0)

    def shifted(sigmas: Any) -> Any:
        return shift * sigmas / (1 + (shift - 1) * sigmas)

    # diffusers shifts the ends of the table once and all steps again.
    ends = shifted(np.array([count, 1], np.float32) / np.float32(count)).astype(np.float32)
    first, last = (float(end) * count for end in ends)
    sigmas = shifted(np.linspace(first, last, steps) / count)
    return np.append(sigmas, 0).astype(np.float32)


class _Graph:
    """A graph that ONNX Runtime has loaded.

    Attributes:
        inputs: how many it takes.

    Raises:
        ValueError: a device that does not exist, or a damaged file.
    """

    def __init__(self, path: Path, device: str, threads: int) -> None:
        import onnxruntime

        kind, _, number = device.partition(':')
        if kind not in _PROVIDERS or (number and not number.isdecimal()):
            raise ValueError(f'device is {device!r}; expected cpu, cuda, cuda:N or tensorrt:N')
        there = onnxruntime.get_available_providers()
        if _PROVIDERS[kind][0] not in there:
            raise ValueError(
                f'device {device!r} needs {_PROVIDERS[kind][0]}, which this onnxruntime '
                f'{onnxruntime.__version__} does not have (it has {", ".join(there)}); install '
                'onnxruntime-gpu, or set device to cpu'
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # fatal ones; errors are raised, too
        # The arena keeps what the largest batch took, and makes no prediction faster.
        options.enable_cpu_mem_arena = False
        # Threads that wait for work would keep cores busy that others need.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        providers: list[Any] = [
            (name, {'device_id': number or '0'}) if name != 'CPUExecutionProvider' else name
            for name in dict.fromkeys((*_PROVIDERS[kind], 'CPUExecutionProvider'))
            if name in there
        ]
        self._path = path
        try:
            # The fallback would print to stdout, and run on the CPU what was meant for a GPU.
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # its own classes, which derive from nothing in particular
            raise ValueError(
                f'{path}: ONNX Runtime cannot load it ({first_line(error)})'
            ) from error
        self.inputs = len(self._session.get_inputs())

    def run(
        self, feeds: dict[str, NDArray[np.float32]], shape: tuple[int | None, ...]
    ) -> list[NDArray[np.float32]]:
        """Its outputs.

        Args:
            feeds: its inputs, by name.
            shape: of the first output; None where any number will do.

        Raises:
            ValueError: the graph cannot take these inputs, or its output is of another shape: it
                is another model's, or damaged.
        """
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(None, feeds)
        except Exception as error:
            raise ValueError(
                f'{self._path}: ONNX Runtime cannot run it ({first_line(error)})'
            ) from error
        got = outputs[0].shape
        if len(got) != len(shape) or any(
            wanted not in (None, side) for wanted, side in zip(shape, got, strict=True)
        ):
            raise ValueError(
                f'{self._path}: expected an output of shape {shape}, got {got}; the graph is '
                f"another model's, or damaged{_AGAIN} {self._path.parent}"
            )
        return outputs


# ---- graphs in a model folder -------------------------------------------------------------------


def find_problem(folder: Path) -> str:
    """Why the graphs of a model folder cannot be used; '' where they can.

    Raises:
        ValueError: the file that describes the graphs is damaged.
    """
    if not (folder / INDEX_FILE).is_file():
        return f'{folder} has no ONNX graphs; make them: diception export --model {folder}'
    index = read_json(folder / INDEX_FILE)
    if index.get('format') != FORMAT:
        return (
            f'{folder / INDEX_FILE}: format is {index.get("format")!r}, expected {FORMAT!r}'
            f'{_AGAIN} {folder}'
        )
    if missing := [name for name in GRAPHS if not (folder / name).is_file()]:
        return f'{folder} lacks {missing[0]}{_AGAIN} {folder}'
    if index.get('layout') != layout_hash(folder):
        return (
            f'the ONNX graphs in {folder} do not belong to its weights: a configuration, or the '
            f'layout of a file of weights, is another one{_AGAIN} {folder}'
        )
    # Ranges of activations, which int8 graphs hold, are those of certain weights.
    if 'weights' in index and index['weights'] != fingerprint(folder):
        return f'the int8 graphs in {folder} were made of other weights{_AGAIN} {folder}'
    return check_exportable(folder)


def graph_dtype(folder: Path) -> str:
    """The precision in which the graphs of a model folder compute, by its name in torch."""
    return PRECISIONS.get(str(read_json(folder / INDEX_FILE).get('precision')), 'unknown')


def check_exportable(folder: Path) -> str:
    """What of a model the graphs and the sampler beside them cannot do; '' if there is nothing."""
    points = read_json(folder / 'point_encoder' / 'config.json')
    if points.get('fourier_dtype', 'float32') != 'float32':
        return 'fourier_dtype bfloat16 of its point encoder needs backend torch'
    scheduler = read_json(folder / 'scheduler' / 'scheduler_config.json')
    needs = [
        name
        for name in (
            'use_dynamic_shifting', 'use_karras_sigmas', 'use_exponential_sigmas',
            'use_beta_sigmas', 'invert_sigmas', 'stochastic_sampling', 'shift_terminal',
        )
        if scheduler.get(name)
    ]  # fmt: skip
    return f'{needs[0]} of its scheduler needs backend torch' if needs else ''
