# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Paints the pictures that many jobs ask for: batches, noise, and what to do when memory ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import sys
from typing import NamedTuple
import warnings

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros.model import adapters, cycle_spinning
from diception_ros.model.pipeline import DiceptionPipeline

# Where the seconds of an answer go.


# The parts of the work whose seconds are told, in their order.
STAGES = ('fit', 'encode', 'denoise', 'decode', 'read')


class Clock:
    """Seconds of each stage of each answer.

    Args:
        answers: how many there are.
        now: seconds since any moment, read when all work that was begun is done.

    Attributes:
        seconds: for each answer, by stage.
    """

    def __init__(self, answers: int, now: Callable[[], float]) -> None:
        self.seconds = [dict.fromkeys(STAGES, 0.0) for _ in range(answers)]
        self._now = now

    @contextlib.contextmanager
    def stage(self, name: str, answers: Sequence[int]) -> Iterator[None]:
        """Charge what happens inside to these answers in equal shares."""
        start = self._now()
        yield
        share = (self._now() - start) / max(1, len(answers))
        for answer in answers:
            self.seconds[answer][name] += share


Key = tuple[int, int]  # which frame, on a square of which side


class Way(NamedTuple):
    """What pictures must have in common to be denoised together."""

    side: int
    num_inference_steps: int
    guidance_scale: float
    reuse_last_velocity: bool
    tta_shifts: int
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


class _Part(NamedTuple):
    """A picture that the network paints for a job.

    Attributes:
        job: the job.
        last: no more of its parts follow.
        offset: of the square that it is about, see `shifts.Offset`.
        points: in that square.
    """

    job: Job
    last: bool
    offset: cycle_spinning.Offset
    points: Sequence[tuple[float, float]]

    @property
    def square(self) -> tuple[Key, cycle_spinning.Offset]:
        """Which picture it is about."""
        return self.job.key, self.offset


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
        """Paint, each square, and each shifted one, encoded once.

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
        ordered = sorted(jobs, key=lambda job: place[job.way])
        left = [part for job in ordered for part in self._parts(job)]
        latents: dict[tuple[Key, cycle_spinning.Offset], torch.Tensor] = {}
        painted: list[NDArray[np.float32]] = []  # of the job that is not complete yet
        offsets: list[cycle_spinning.Offset] = []
        while left:
            way = left[0].job.way
            together = left[: min(self._most, way.batch_size)]
            batch = [part for part in together if part.job.way == way]
            try:
                pictures = self._batch(batch, squares, latents, clock)
            except torch.OutOfMemoryError as error:
                self._halve(len(batch), error)
                continue
            left = left[len(batch) :]
            for done in set(latents) - {part.square for part in left}:
                del latents[done]
            for part, picture in zip(batch, pictures, strict=True):
                painted.append(picture)
                offsets.append(part.offset)
                if part.last:
                    with clock.stage('decode', [part.job.answer]):
                        whole = cycle_spinning.blend(painted, offsets)
                    painted, offsets = [], []
                    yield part.job, whole
        self._pipe.maybe_free_model_hooks()

    def _parts(self, job: Job) -> list[_Part]:
        """What the network paints for a job; a shifted square that lost a point is left out."""
        side, token = job.way.side, self._pipe.token
        moved = [
            (offset, points)
            for offset in cycle_spinning.offsets(job.way.tta_shifts, token)
            if (points := cycle_spinning.shifted_points(job.points, offset, side)) is not None
        ]
        return [_Part(job, n == len(moved), *one) for n, one in enumerate(moved, 1)]

    def _batch(
        self,
        batch: Sequence[_Part],
        squares: Mapping[Key, NDArray[np.uint8]],
        latents: dict[tuple[Key, cycle_spinning.Offset], torch.Tensor],
        clock: Clock,
    ) -> NDArray[np.float32]:
        """Pictures of one batch: (n, S, S, 3). Adds the latents of squares that it encodes."""
        asked = [part.square for part in batch]
        for square in dict.fromkeys(asked):
            if square not in latents:
                key, offset = square
                with clock.stage(
                    'encode', [one.job.answer for one in batch if one.square == square]
                ):
                    latents[square] = self._encode(cycle_spinning.shifted(squares[key], offset))
        same = len(set(asked)) == 1
        image_latents = torch.cat([latents[one] for one in (asked[:1] if same else asked)])
        way, answers = batch[0].job.way, [part.job.answer for part in batch]
        with (
            clock.stage('denoise', answers),
            adapters.enabled(self._pipe.transformer, way.adapter),
        ):
            noise = torch.cat([_noise(part.job.seed, image_latents) for part in batch])
            answered = self._pipe.denoise(
                image_latents,
                [part.job.text for part in batch],
                [part.points for part in batch],
                way.num_inference_steps,
                way.guidance_scale,
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
                'out of GPU memory for a single answer; use a smaller processing_resolution, '
                'dtype bfloat16, or a GPU that other programs leave free'
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
