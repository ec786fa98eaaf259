# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Samples output images in batches: grouping, noise, cycle spinning, handling of out-of-memory.

Cycle spinning is the mean of the output images of slightly shifted inputs. A transformer generates
an image token by token, and a small one treats the border of a token a little differently from its
middle, which shows as a grid. In an input that is shifted by half a token the borders lie where
the middles were; the mean of several such outputs, shifted back, has no grid, and a smaller error
than each of them.

Source: R. R. Coifman, D. L. Donoho, "Translation-invariant de-noising", 1995.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import sys
from typing import Any, NamedTuple
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.settings import PredictSettings
from diception_ros.model.backend import Backend

Offset = tuple[int, int]  # pixels, down and right: position of the shifted image's corner
NO_SHIFT: Offset = (0, 0)

# The weight of a shifted output falls to 0 over so many pixels at its border, so that the mean has
# no edge there.
_FADE = 4

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
                        whole = blend(outputs, offsets)
                    outputs, offsets = [], []
                    yield index, whole
        self._backend.end_batch()

    def _shifts(self, request: SampleRequest) -> list[tuple[Offset, list[tuple[float, float]]]]:
        """Offsets of the shifted inputs, and the points in them; none may lose a point."""
        side = request.settings.processing_resolution
        return [
            (offset, points)
            for offset in shift_offsets(request.settings.tta_shifts, self._backend.token)
            if (points := shift_points(request.points, offset, side)) is not None
        ]

    def _run(
        self,
        batch: Sequence[tuple[SampleRequest, Offset, list[tuple[float, float]]]],
        latents: dict[tuple[int, Offset], Any],
        timer: StageTimer,
    ) -> NDArray[np.float32]:
        """Output images of one batch, (N, S, S, 3); adds the latents of inputs it encodes."""
        inputs = [(id(request.image), offset) for request, offset, _ in batch]
        rows = dict(zip(inputs, batch, strict=True))
        missing = [key for key in rows if key not in latents]
        sharing = [row[0].item for row, key in zip(batch, inputs, strict=True) if key in missing]
        with timer.stage('encode', sharing):
            scale = self._backend.input_scale
            shifted = [
                shift(request.image, (scale * down, scale * right))
                for request, (down, right), _ in map(rows.__getitem__, missing)
            ]
            latents.update(zip(missing, self._backend.encode(shifted), strict=True))
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


# ---- cycle spinning -----------------------------------------------------------------------------


def check_shifts(count: int, token: int) -> None:
    """Raise ValueError for more shifts than a token has pixels, `token` along a side."""
    if count > token:
        raise ValueError(
            f'tta_shifts is {count}; a token of this model is {token} pixels wide, and there '
            'are no more shifts than that'
        )


def shift_offsets(count: int, token: int) -> list[Offset]:
    """Offsets of the shifted inputs, along the falling diagonal, starting with no shift.

    Along each axis they are spread evenly over a token, so that few are enough.

    Args:
        count: N, from 1 to `token`.
        token: width, pixels.

    Returns:
        N different offsets, none longer than half a token along an axis.
    """
    steps = [round(number * token / count) for number in range(count)]
    wrapped = [step - token if step > token // 2 else step for step in steps]
    return [(-step, step) for step in wrapped]


def shift(image: NDArray[np.uint8], offset: Offset) -> NDArray[np.uint8]:
    """Shift an image; beyond its border it is mirrored.

    Args:
        image: (S, S, 3) uint8.
        offset: see `Offset`; shorter than S.

    Returns:
        (S, S, 3) uint8.
    """
    if offset == NO_SHIFT:
        return image
    down, right = offset
    size = image.shape[0]
    margin = max(abs(down), abs(right))
    wide = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    return np.asarray(wide[margin + down :, margin + right :][:size, :size], np.uint8)


def shift_points(
    points: Sequence[tuple[float, float]], offset: Offset, size: int
) -> list[tuple[float, float]] | None:
    """Points in the shifted image; None if one lies outside of it.

    Args:
        points: (x, y) in [0, 1], shares of the image's side.
        offset: see `Offset`.
        size: S, pixels.
    """
    if offset == NO_SHIFT:
        return list(points)
    down, right = offset
    moved = [(x - right / size, y - down / size) for x, y in points]
    return moved if all(0 <= share < 1 for point in moved for share in point) else None


def blend(outputs: Sequence[NDArray[np.float32]], shifts: Sequence[Offset]) -> NDArray[np.float32]:
    """Shift output images back and take their weighted mean.

    Args:
        outputs: N images, (S, S, 3) float32.
        shifts: N offsets of their inputs, NO_SHIFT among them.

    Returns:
        (S, S, 3) float32; the image itself if it is the only one.
    """
    if len(outputs) == 1:
        return outputs[0]
    size = outputs[0].shape[0]
    total = np.zeros_like(outputs[0])
    weights = np.zeros((size, size, 1), np.float32)
    for output, (down, right) in zip(outputs, shifts, strict=True):
        rows, columns = _overlap(down, size), _overlap(right, size)
        weight = np.outer(_weights(down, size), _weights(right, size))[rows, columns, None]
        own = output[_overlap(-down, size), _overlap(-right, size)]
        total[rows, columns] += weight * own
        weights[rows, columns] += weight
    return total / weights


def _overlap(offset: int, size: int) -> slice:
    """Rows of the image that are also in the shifted one."""
    return slice(max(offset, 0), size + min(offset, 0))


def _weights(offset: int, size: int) -> NDArray[np.float32]:
    """(S,) weights of the rows of a shifted output, by their position in the image itself."""
    if not offset:
        return np.ones(size, np.float32)
    centres = np.arange(size, dtype=np.float32) + 0.5
    inside = centres - offset if offset > 0 else size + offset - centres
    return np.clip(inside / _FADE, 0, 1)
