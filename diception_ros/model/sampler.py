# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples output images in batches: grouping, noise, cycle spinning, what to do out of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import sys
from typing import Any, NamedTuple
import warnings

import numpy as np
from numpy.typing import NDArray

from diception_ros.core.settings import PredictSettings
from diception_ros.model import cycle_spinning
from diception_ros.model.backend import Backend
from diception_ros.model.cycle_spinning import Offset

# Stages of a prediction whose seconds are measured, in their order: resizing the frame ('fit'),
# the VAE's encoder, the transformer, the VAE's decoder, and decoding the output image ('read').
STAGES = ('fit', 'encode', 'denoise', 'decode', 'read')


class StageTimer:
    """Measures the seconds of each stage of several items of work.

    Args:
        count: number of items.
        now: seconds since any moment, read when all work begun is done.

    Attributes:
        seconds: of each item, by stage.
    """

    def __init__(self, count: int, now: Callable[[], float]) -> None:
        self.seconds = [dict.fromkeys(STAGES, 0.0) for _ in range(count)]
        self._now = now

    @contextlib.contextmanager
    def stage(self, name: str, items: Sequence[int]) -> Iterator[None]:
        """Share the seconds spent inside equally among these items."""
        start = self._now()
        yield
        share = (self._now() - start) / max(1, len(items))
        for item in items:
            self.seconds[item][name] += share


class SampleRequest(NamedTuple):
    """One output image to sample.

    Attributes:
        item: number of the timer's item that its seconds are charged to.
        image: (D, D, 3) uint8 RGB, the network's input, D being S times the model's input_scale;
            requests with the same object share its encoding.
        text: prompt of the network.
        points: (x, y) in [0, 1], x right, y down.
        seed: of the initial noise.
        settings: with processing_resolution S and tta_shifts > 0; seed and ensemble_size are
            ignored, and requests that differ in nothing else are sampled together.
        adapter: name of the adapter that is active; '' for none.
    """

    item: int
    image: NDArray[np.uint8]
    text: str
    points: Sequence[tuple[float, float]]
    seed: int
    settings: PredictSettings
    adapter: str


class BatchedSampler:
    """Samples output images with one loaded model. Not to be shared between threads."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._max_batch = sys.maxsize  # falls when memory runs out

    def sample(
        self, requests: Sequence[SampleRequest], timer: StageTimer
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Sample the output images; each input, and each shifted one, is encoded once.

        The timer is charged with encoding, denoising and decoding.

        Yields:
            Index of a request and its output image, (S, S, 3) float32 in [0, 1].

        Raises:
            RuntimeError: out of memory on a GPU even with a batch of one.
        """
        keys = [(request.settings, request.adapter) for request in requests]
        rank = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        # Rows that can share a batch are neighbours; the order is otherwise that of the requests.
        order = sorted(range(len(requests)), key=lambda index: rank[keys[index]])
        # Index of the request, offset of the shifted input, points in it, whether it is the last.
        rows = []
        for index in order:
            shifts = self._shifts(requests[index])
            rows += [(index, *shift, shift is shifts[-1]) for shift in shifts]
        latents: dict[tuple[int, Offset], Any] = {}
        outputs: list[NDArray[np.float32]] = []  # of the request that is not complete yet
        offsets: list[Offset] = []
        while rows:
            key = keys[rows[0][0]]
            size = min(self._max_batch, key[0].batch_size)
            batch = [row for row in rows[:size] if keys[row[0]] == key]
            parts = [(requests[index], offset, points) for index, offset, points, _ in batch]
            try:
                images = self._run(parts, latents, timer)
            except Exception as error:
                if not self._backend.is_out_of_memory(error):
                    raise
                self._halve(len(batch), error)
                continue
            rows = rows[len(batch) :]
            needed = {(id(requests[row[0]].image), row[1]) for row in rows}
            for encoded in set(latents) - needed:
                del latents[encoded]
            for (index, offset, _, last), image in zip(batch, images, strict=True):
                outputs.append(image)
                offsets.append(offset)
                if last:
                    with timer.stage('decode', [requests[index].item]):
                        whole = cycle_spinning.blend(outputs, offsets)
                    outputs, offsets = [], []
                    yield index, whole
        self._backend.end_batch()

    def _shifts(self, request: SampleRequest) -> list[tuple[Offset, list[tuple[float, float]]]]:
        """Offsets of the shifted inputs, and the points in them; none may lose a point."""
        side = request.settings.processing_resolution
        return [
            (offset, points)
            for offset in cycle_spinning.offsets(request.settings.tta_shifts, self._backend.token)
            if (points := cycle_spinning.shift_points(request.points, offset, side)) is not None
        ]

    def _run(
        self,
        batch: Sequence[tuple[SampleRequest, Offset, list[tuple[float, float]]]],
        latents: dict[tuple[int, Offset], Any],
        timer: StageTimer,
    ) -> NDArray[np.float32]:
        """Output images of one batch, (N, S, S, 3); adds the latents of inputs it encodes."""
        inputs = [(id(request.image), offset) for request, offset, _ in batch]
        for key, (request, offset, _) in dict(zip(inputs, batch, strict=True)).items():
            if key not in latents:
                sharing = [row[0].item for row, k in zip(batch, inputs, strict=True) if k == key]
                with timer.stage('encode', sharing):
                    down, right = (self._backend.input_scale * step for step in offset)
                    shifted = cycle_spinning.shift(request.image, (down, right))
                    latents[key] = self._backend.encode(shifted)
        image_latents = [latents[key] for key in (inputs[:1] if len(set(inputs)) == 1 else inputs)]
        items = [request.item for request, _, _ in batch]
        with timer.stage('denoise', items):
            denoised = self._backend.denoise(
                image_latents,
                [request.text for request, _, _ in batch],
                [points for _, _, points in batch],
                [request.seed for request, _, _ in batch],
                batch[0][0].settings,
                batch[0][0].adapter,
            )
        with timer.stage('decode', items):
            return self._backend.decode_latents(denoised)

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            raise RuntimeError(
                'out of GPU memory for a single output image; use a smaller '
                'processing_resolution, dtype bfloat16, or a GPU that other programs leave free'
            ) from error
        self._max_batch = max(1, size // 2)
        warnings.warn(
            f'out of GPU memory for a batch of {size}; continuing with {self._max_batch}. '
            f'Set batch_size to {self._max_batch} to start there',
            RuntimeWarning,
            stacklevel=4,
        )
