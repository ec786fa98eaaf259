# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Paints the pictures that many jobs ask for: batches, noise, and what to do when memory ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import sys
from typing import NamedTuple
import warnings

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros.model import lora
from diception_ros.model.pipeline import DiceptionPipeline
from diception_ros.stages import Clock

Key = tuple[int, int]  # which frame, on a square of which side


class Way(NamedTuple):
    """What pictures must have in common to be denoised together."""

    side: int
    steps: int
    guidance: float
    reuse_last_velocity: bool
    batch_size: int
    adapter: str


class Job(NamedTuple):
    """One picture to paint.

    Attributes:
        answer: the number of the answer that it is for.
        text: what the network is told.
        points: (x, y) in [0, 1], x right, y down.
        seed: of the noise that it starts from.
        way: how.
        key: of the square that it is about.
    """

    answer: int
    text: str
    points: Sequence[tuple[float, float]]
    seed: int
    way: Way
    key: Key


class Painter:
    """Paints with one loaded model. Not to be shared between threads.

    Args:
        pipe: the model, already where it runs.
    """

    def __init__(self, pipe: DiceptionPipeline) -> None:
        self._pipe = pipe
        self._most = sys.maxsize  # pictures at once; falls when memory runs out

    def paint(
        self, jobs: Sequence[Job], squares: Mapping[Key, NDArray[np.uint8]], clock: Clock
    ) -> Iterator[tuple[Job, NDArray[np.float32]]]:
        """Paint, each square encoded once.

        Args:
            jobs: in any order.
            squares: (S, S, 3) uint8 RGB.
            clock: charged with encoding, denoising and decoding.

        Yields:
            Each job with its picture, (S, S, 3) float32 in [0, 1].

        Raises:
            RuntimeError: out of memory on a GPU even for one picture at a time.
        """
        # What can go together stands together; the order is otherwise that of the jobs.
        place = {way: i for i, way in enumerate(dict.fromkeys(job.way for job in jobs))}
        left = sorted(jobs, key=lambda job: place[job.way])
        latents: dict[Key, torch.Tensor] = {}
        while left:
            way = left[0].way
            batch = [job for job in left[: min(self._most, way.batch_size)] if job.way == way]
            try:
                pictures = self._batch(batch, squares, latents, clock)
            except torch.OutOfMemoryError as error:
                self._halve(len(batch), error)
                continue
            left = left[len(batch) :]
            for done in set(latents) - {job.key for job in left}:
                del latents[done]
            yield from zip(batch, pictures, strict=True)
        self._pipe.maybe_free_model_hooks()

    def _batch(
        self,
        batch: Sequence[Job],
        squares: Mapping[Key, NDArray[np.uint8]],
        latents: dict[Key, torch.Tensor],
        clock: Clock,
    ) -> NDArray[np.float32]:
        """Pictures of one batch: (n, S, S, 3). Adds the latents of squares that it encodes."""
        keys = [job.key for job in batch]
        for key in dict.fromkeys(keys):
            if key not in latents:
                with clock.stage('encode', [job.answer for job in batch if job.key == key]):
                    latents[key] = self._encode(squares[key])
        same = len(set(keys)) == 1
        image_latents = torch.cat([latents[key] for key in (keys[:1] if same else keys)])
        way, answers = batch[0].way, [job.answer for job in batch]
        with (
            clock.stage('denoise', answers),
            lora.switched_on(self._pipe.transformer, way.adapter),
        ):
            noise = torch.cat([_noise(job.seed, image_latents) for job in batch])
            answered = self._pipe.denoise(
                image_latents,
                [job.text for job in batch],
                [job.points for job in batch],
                way.steps,
                way.guidance,
                latents=noise,
                reuse_last_velocity=way.reuse_last_velocity,
            )
        with clock.stage('decode', answers):
            return self._pipe.decode_latents(answered)

    def _encode(self, square: NDArray[np.uint8]) -> torch.Tensor:
        image = torch.from_numpy(square.copy()).permute(2, 0, 1)[None]
        return self._pipe.encode_image(image.float() / 127.5 - 1)

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            raise RuntimeError(
                'out of GPU memory for a single answer; use a smaller resolution, dtype bfloat16, '
                'or a GPU that other programs leave free'
            ) from error
        self._most = max(1, size // 2)
        torch.cuda.empty_cache()
        warnings.warn(
            f'out of GPU memory for {size} answers at once; going on with {self._most}. '
            f'Set batch_size to {self._most} to start there',
            RuntimeWarning,
            stacklevel=4,
        )


def _noise(seed: int, like: torch.Tensor) -> torch.Tensor:
    # Drawn on the CPU in float32, so that every device and precision starts from the same.
    generator = torch.Generator().manual_seed(seed % 2**63)
    return torch.randn(1, *like.shape[1:], generator=generator)
