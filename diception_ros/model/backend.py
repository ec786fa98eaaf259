# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses what runs a model: torch, or ONNX Runtime without torch and diffusers."""

from __future__ import annotations

from collections.abc import Sequence
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.model import onnx_backend
from diception_ros.model.component_configs import read_json

TORCH, ONNX = 'torch', onnx_backend.OnnxBackend.name


class Backend(Protocol):
    """A loaded model, as `sampler.BatchedSampler` and `perception.predictor.Predictor` use it.

    Image latents and latents are what the backend makes them; they are only handed back to it.

    Attributes:
        name: TORCH or ONNX.
        dtype: precision in which it computes, by its name in torch; int8 for quantized graphs.
        resolution: S, side in pixels of the square images that the model was made for.
        shifts: the model's default of tta_shifts.
        token: width of a token, pixels.
        input_scale: side of the input image divided by the side of the output.
        max_tokens: most tokens along a side.
        encodes_texts: whether it embeds texts that are not in the prompt table.
    """

    name: str
    resolution: int
    shifts: int
    token: int
    input_scale: int
    max_tokens: int

    @property
    def dtype(self) -> str: ...

    @property
    def encodes_texts(self) -> bool: ...

    def embed(self, texts: Sequence[str]) -> None:
        """Embed texts for what follows; UnknownTextError for one that cannot be."""

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """Image latents of each (D, D, 3) uint8 RGB image, D being `input_scale` times S."""

    def denoise(
        self,
        image_latents: Sequence[Any],
        texts: Sequence[str],
        points: Sequence[Sequence[tuple[float, float]]],
        seeds: Sequence[int],
        settings: PredictSettings,
        adapter: str,
    ) -> Any:
        """Generate N latents in one batch.

        Args:
            image_latents: of `encode`, one for all or one each.
            texts: N texts.
            points: N lists of at most five (x, y) in [0, 1].
            seeds: N, of the initial noise.
            settings: steps and guidance; seed and ensemble_size are ignored.
            adapter: name of the adapter that is active; '' for none.
        """

    def decode_latents(self, latents: Any) -> NDArray[np.float32]:
        """Output images of latents, (N, S, S, 3) in [0, 1]."""

    def synchronize(self) -> None:
        """Return when all work begun is done."""

    def end_batch(self) -> None:
        """Called after the last batch of a call."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether the error is one of memory, so that a smaller batch may fit; frees caches."""


class Choice(NamedTuple):
    """A backend, and why it was chosen.

    Attributes:
        name: TORCH or ONNX.
        reason: for the log.
    """

    name: str
    reason: str


def choose(folder: Path, compute: ComputeSettings, adapters: bool = False) -> Choice:
    """The backend that runs a model.

    Args:
        folder: of the model, as `folder.check_folder` accepts it.
        compute: what is asked for; `backend` auto takes ONNX Runtime on the CPU where it can.
        adapters: whether adapters will be used.

    Raises:
        ValueError: `backend` is onnx, and something else needs torch; or TensorRT is the device
            of another backend.
    """
    if compute.device.startswith('tensorrt') and compute.backend != ONNX:
        raise ValueError(
            f'device is {compute.device}, which needs backend onnx, got {compute.backend}; set '
            'backend to onnx'
        )
    if compute.backend == TORCH:
        return Choice(TORCH, 'backend is torch')
    problem = _onnx_problem(folder, compute, adapters)
    if compute.backend == ONNX:
        if problem:
            raise ValueError(f'backend is onnx, but {problem}')
        return Choice(ONNX, 'backend is onnx')
    if not problem and compute.device != 'cpu':
        problem = f'device is {compute.device}'
    if not problem and _has_text_encoders(folder):
        problem = 'its text encoders run on torch'
    return Choice(TORCH, problem) if problem else Choice(ONNX, 'its ONNX graphs run on the CPU')


def _onnx_problem(folder: Path, compute: ComputeSettings, adapters: bool) -> str:
    if adapters:
        return 'adapters run on torch'
    if problem := onnx_backend.find_problem(folder):
        return problem
    wanted = onnx_backend.graph_dtype(folder)
    if compute.dtype not in ('auto', wanted):
        return f'dtype is {compute.dtype}, and the ONNX graphs in {folder} compute in {wanted}'
    if importlib.util.find_spec('onnxruntime') is None:
        return 'onnxruntime is not installed (pip install onnxruntime)'
    return ''


def _has_text_encoders(folder: Path) -> bool:
    return read_json(folder / 'model_index.json').get('text_encoder') not in (None, [None, None])
