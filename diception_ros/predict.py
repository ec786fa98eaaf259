# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The Predictor: frames and prompts in, labels out. The only place where model and tasks meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros import ensemble, images, tasks
from diception_ros.frame import Frame
from diception_ros.labels import Label
from diception_ros.model import DiceptionPipeline
from diception_ros.prompt import Point, Prompt
from diception_ros.settings import PredictSettings

# The parts of the work whose seconds are told, in their order.
STAGES = ('fit', 'encode', 'denoise', 'decode', 'read')


@dataclass(frozen=True, eq=False)
class Prediction:
    """One answer, at the size of the frame that was asked about.

    Attributes:
        label: the answer.
        prompt: the question.
        stamp_ns: of the frame, nanoseconds.
        frame_id: of the frame.
        seconds: by stage. What a batch took is shared equally among its answers, so the seconds of
            all predictions of a call add up to the call's.
        uncertainty: (H, W) float32, where the answers of an ensemble differ, in the unit that
            `ensemble.merge` names; None without an ensemble.
    """

    label: Label
    prompt: Prompt
    stamp_ns: int
    frame_id: str
    seconds: Mapping[str, float]
    uncertainty: NDArray[np.float32] | None


class Predictor:
    """Answers prompts about frames with one loaded model. Not to be shared between threads.

    Args:
        pipe: the model, already where it runs.
        settings: how it answers; `device` and `dtype` are the pipe's own and not looked at.

    Raises:
        ValueError: the resolution does not suit the model.
    """

    def __init__(self, pipe: DiceptionPipeline, settings: PredictSettings | None = None) -> None:
        self.pipe = pipe
        self.settings = settings or PredictSettings()
        self.resolution: int = self.settings.resolution or pipe.config.resolution
        self._batch_size = self.settings.batch_size
        multiple = pipe.vae_scale_factor * pipe.transformer.config.patch_size
        largest = multiple * pipe.transformer.config.pos_embed_max_size
        if self.resolution % multiple or self.resolution > largest:
            raise ValueError(
                f'resolution is {self.resolution}; this model takes multiples of {multiple} '
                f'up to {largest}'
            )

    @classmethod
    def load(cls, model: str | Path, **settings: Any) -> Predictor:
        """Load a model folder.

        Args:
            model: the folder.
            **settings: those of PredictSettings, such as device, dtype, steps, guidance, seed.

        Raises:
            FileNotFoundError: no such model folder.
            ValueError: a setting that is not allowed, or a device that is not there.
        """
        chosen = PredictSettings(**settings)
        device = find_device(chosen.device)
        dtype = chosen.dtype
        if dtype == 'auto':
            dtype = 'float32' if device.type == 'cpu' else 'bfloat16'
        pipe = DiceptionPipeline.from_pretrained(model, dtype=getattr(torch, dtype)).to(device)
        pipe.set_progress_bar_config(disable=True)
        return cls(pipe, chosen)

    def predict(self, frames: Sequence[Frame], prompts: Sequence[Prompt]) -> list[Prediction]:
        """Ask every prompt about every frame.

        Each frame is encoded once. All answers start from the same noise, so an answer does not
        depend on what else is asked, and a camera that stands still gets answers that do, too.

        Args:
            frames: F frames of any sizes.
            prompts: P prompts; points in pixels of the frames.

        Returns:
            F * P predictions: those of the first frame in the order of the prompts, then the
            second's.

        Raises:
            ValueError: an unknown task, a prompt that lacks what its task needs, a point outside a
                frame, a text without embedding.
            RuntimeError: out of memory on a GPU even for one answer at a time.
        """
        asked = [tasks.get(prompt.task) for prompt in prompts]
        texts = [task.text(prompt) for task, prompt in zip(asked, prompts, strict=True)]
        for frame in frames:
            for prompt in prompts:
                prompt.check_inside(frame.size)
        if prompts:
            self.pipe.look_up(texts)  # fails before any work is done

        clock = _Clock(len(frames) * len(prompts), self.pipe.device)
        fits = []
        with clock.stage('fit', range(clock.answers)):
            for frame in frames:
                fits.append(images.fit(frame.image, self.resolution))
        members = self.settings.ensemble
        jobs = [(answer, member) for answer in range(clock.answers) for member in range(members)]
        found: list[list[Label]] = [[] for _ in range(clock.answers)]
        latents: dict[int, torch.Tensor] = {}
        while jobs:
            batch = jobs[: self._batch_size]
            try:
                pictures = self._generate(batch, frames, prompts, texts, fits, latents, clock)
            except torch.OutOfMemoryError as error:
                self._halve(len(batch), error)
                continue
            jobs = jobs[len(batch) :]
            for (answer, _), picture in zip(batch, pictures, strict=True):
                which = answer % len(prompts)
                with clock.stage('read', [answer]):
                    label = asked[which].decode(picture, prompts[which])
                    found[answer].append(label.to_camera(fits[answer // len(prompts)][1]))
        self.pipe.maybe_free_model_hooks()

        predictions = []
        for answer, labels in enumerate(found):
            frame, prompt = frames[answer // len(prompts)], prompts[answer % len(prompts)]
            with clock.stage('read', [answer]):
                label, uncertainty = ensemble.merge(labels) if members > 1 else (labels[0], None)
            predictions.append(
                Prediction(
                    label,
                    prompt,
                    frame.stamp_ns,
                    frame.frame_id,
                    clock.seconds[answer],
                    uncertainty,
                )
            )
        return predictions

    def paint(self, frame: Frame, text: str, points: tuple[Point, ...] = ()) -> Any:
        """The picture that the network paints for any text, not read by any task.

        Args:
            frame: of any size.
            text: what the network is told, such as '[[image2depth]]'.
            points: at most five, in pixels of the frame.

        Returns:
            (S, S, 3) float32 in [0, 1].

        Raises:
            ValueError: a point outside the frame, a text without embedding.
        """
        prompt = Prompt('as told', points=points)
        prompt.check_inside(frame.size)
        image_latents = self._encode(images.fit(frame.image, self.resolution)[0])
        answered = self.pipe.denoise(
            image_latents,
            [text],
            [prompt.shares(frame.size)],
            self.settings.steps,
            self.settings.guidance,
            latents=self._noise(0, image_latents),
            reuse_last_velocity=self.settings.reuse_last_velocity,
        )
        painted = self.pipe.decode_latents(answered)[0]
        self.pipe.maybe_free_model_hooks()
        return painted

    def _encode(self, square: NDArray[np.uint8]) -> torch.Tensor:
        image = torch.from_numpy(square.copy()).permute(2, 0, 1)[None]
        return self.pipe.encode_image(image.float() / 127.5 - 1)

    def _generate(
        self,
        batch: Sequence[tuple[int, int]],
        frames: Sequence[Frame],
        prompts: Sequence[Prompt],
        texts: Sequence[str],
        fits: Sequence[tuple[NDArray[np.uint8], images.Fit]],
        latents: dict[int, torch.Tensor],
        clock: _Clock,
    ) -> NDArray[np.float32]:
        """Pictures of one batch: (n, S, S, 3). Keeps the image latents that are needed again."""
        answers = [answer for answer, _ in batch]
        where = [answer // len(prompts) for answer in answers]
        for done in [frame for frame in latents if frame < min(where)]:
            del latents[done]
        for frame in sorted(set(where) - set(latents)):
            with clock.stage(
                'encode', [a for a, f in zip(answers, where, strict=True) if f == frame]
            ):
                latents[frame] = self._encode(fits[frame][0])
        same = len(set(where)) == 1
        image_latents = torch.cat([latents[frame] for frame in (where[:1] if same else where)])
        points = [
            prompts[answer % len(prompts)].shares(frames[frame].size)
            for answer, frame in zip(answers, where, strict=True)
        ]
        with clock.stage('denoise', answers):
            noise = torch.cat([self._noise(member, image_latents) for _, member in batch])
            answered = self.pipe.denoise(
                image_latents,
                [texts[answer % len(prompts)] for answer in answers],
                points,
                self.settings.steps,
                self.settings.guidance,
                latents=noise,
                reuse_last_velocity=self.settings.reuse_last_velocity,
            )
        with clock.stage('decode', answers):
            return self.pipe.decode_latents(answered)

    def _noise(self, member: int, like: torch.Tensor) -> torch.Tensor:
        # Drawn on the CPU in float32, so that every device and precision starts from the same.
        generator = torch.Generator().manual_seed((self.settings.seed + member) % 2**63)
        return torch.randn(1, *like.shape[1:], generator=generator)

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            raise RuntimeError(
                'out of GPU memory for a single answer; use a smaller resolution, dtype bfloat16, '
                'or a GPU that other programs leave free'
            ) from error
        self._batch_size = max(1, size // 2)
        torch.cuda.empty_cache()
        warnings.warn(
            f'out of GPU memory for {size} answers at once; going on with {self._batch_size}. '
            f'Set batch_size to {self._batch_size} to start there',
            RuntimeWarning,
            stacklevel=3,
        )


class _Clock:
    """Seconds of each stage of each answer."""

    def __init__(self, answers: int, device: torch.device) -> None:
        self.answers = answers
        self.seconds = [dict.fromkeys(STAGES, 0.0) for _ in range(answers)]
        self._device = device

    @contextlib.contextmanager
    def stage(self, name: str, answers: Sequence[int]) -> Iterator[None]:
        """Charge what happens inside to these answers in equal shares."""
        start = self._now()
        yield
        share = (self._now() - start) / max(1, len(answers))
        for answer in answers:
            self.seconds[answer][name] += share

    def _now(self) -> float:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def find_device(name: str) -> torch.device:
    """The torch device of this name.

    Raises:
        ValueError: no such kind of device, or it is not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device is {name!r}; expected cpu, cuda or cuda:N') from error
    if device.type == 'cpu':
        return device
    if device.type != 'cuda':
        raise ValueError(f'device is {name!r}; expected cpu, cuda or cuda:N')
    if (device.index or 0) >= torch.cuda.device_count():
        why = (
            f'torch {torch.__version__} was built without CUDA'
            if torch.version.cuda is None
            else f'{torch.cuda.device_count()} CUDA devices are there'
        )
        raise ValueError(
            f'device {name!r} is not there ({why}); set device to cpu to run slowly on purpose'
        )
    return device
