# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The Predictor: frames and prompts in, labels out. The only place where model and tasks meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import sys
import time
from typing import Any, NamedTuple
import warnings

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros import ensemble, images, tasks
from diception_ros.frame import Frame
from diception_ros.labels import Label
from diception_ros.model import DiceptionPipeline, folder, lora
from diception_ros.model.adapters import Adapters
from diception_ros.model.device import find_device
from diception_ros.prompt import Point, Prompt
from diception_ros.question import Question
from diception_ros.settings import PredictSettings
from diception_ros.stages import Clock


@dataclass(frozen=True, eq=False)
class Prediction:
    """One answer, at the size of the frame that was asked about.

    Attributes:
        label: the answer.
        prompt: the question.
        stamp_ns: of the frame, nanoseconds.
        frame_id: of the frame.
        seconds: by stage, see `stages.STAGES`. What a batch took is shared equally among its
            answers, so the seconds of all predictions of a call add up to the call's.
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
        place: folder that the model was loaded from; adapters are made for its weights. None:
            there is none, and no adapter can be taken.

    Raises:
        ValueError: the resolution does not suit the model.
    """

    def __init__(
        self,
        pipe: DiceptionPipeline,
        settings: PredictSettings | None = None,
        place: Path | None = None,
    ) -> None:
        self.pipe = pipe
        self.settings = settings or PredictSettings()
        self._adapters = Adapters(pipe, place)
        self.resolution = self.side(self.settings)
        self._most = sys.maxsize  # answers at once; falls when memory runs out

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
        return cls(pipe, chosen, folder.resolve(model))

    def adapt(self, folders: Sequence[str | Path]) -> list[str]:
        """Let the tasks of these adapters be known and answered, and of no others.

        The base answers its own tasks as before, bit for bit.

        Args:
            folders: of adapters, as `diception adapt` wrote them.

        Returns:
            The names of their tasks.

        Raises:
            ValueError: a folder that holds no adapter, or one that does not suit the model.
        """
        cards = self._adapters.hold(folders)
        for card in cards:
            tasks.add(card)
        return [card.name for card in cards]

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
        return self.ask(
            [Question(frame, prompt, self.settings) for frame in frames for prompt in prompts]
        )

    def ask(self, questions: Sequence[Question]) -> list[Prediction]:
        """Answer questions that may each have settings of their own.

        Each frame is encoded once per resolution, and questions whose settings allow it are
        answered together. An answer depends on its company by rounding alone, and not even so with
        a `batch_size` of 1.

        Args:
            questions: in any order, about any frames.

        Returns:
            As many predictions, in the order of the questions.

        Raises:
            ValueError: as `predict`, or a resolution that does not suit the model.
            RuntimeError: as `predict`.
        """
        asked = [tasks.get(question.prompt.task) for question in questions]
        for task in asked:
            if tasks.added(task.name) and not self._adapters.of(task.name):
                raise ValueError(
                    f'task {task.name!r} came with an adapter that is not in; give its folder to '
                    'adapt'
                )
        ways = [self._way(one.settings, one.prompt.task) for one in questions]
        texts = [task.text(one.prompt) for task, one in zip(asked, questions, strict=True)]
        for question in questions:
            question.prompt.check_inside(question.frame.size)
        if questions:
            self.pipe.look_up(texts)  # fails before any work is done

        clock = Clock(len(questions), self._now)
        keys = [(id(one.frame), way.side) for one, way in zip(questions, ways, strict=True)]
        users: dict[_Key, list[int]] = {}
        for answer, key in enumerate(keys):
            users.setdefault(key, []).append(answer)
        squares = {}
        for key, answers in users.items():
            with clock.stage('fit', answers):
                squares[key] = images.fit(questions[answers[0]].frame.image, key[1])
        jobs = [
            _Job(answer, question.settings.seed + member, ways[answer], keys[answer])
            for answer, question in enumerate(questions)
            for member in range(question.settings.ensemble)
        ]
        # What can go together stands together; the order is otherwise that of the questions.
        place = {way: i for i, way in enumerate(dict.fromkeys(ways))}
        jobs.sort(key=lambda job: place[job.way])
        found: list[list[Label]] = [[] for _ in questions]
        latents: dict[_Key, torch.Tensor] = {}
        while jobs:
            way = jobs[0].way
            batch = [job for job in jobs[: min(self._most, way.batch_size)] if job.way == way]
            try:
                pictures = self._generate(batch, questions, texts, squares, latents, clock)
            except torch.OutOfMemoryError as error:
                self._halve(len(batch), error)
                continue
            jobs = jobs[len(batch) :]
            for done in set(latents) - {job.key for job in jobs}:
                del latents[done]
            for job, picture in zip(batch, pictures, strict=True):
                question = questions[job.answer]
                with clock.stage('read', [job.answer]):
                    label = asked[job.answer].decode(picture, question.prompt)
                    if not question.at_model_size:
                        label = label.to_camera(squares[job.key][1])
                    found[job.answer].append(label)
        self.pipe.maybe_free_model_hooks()

        predictions = []
        for answer, (labels, question) in enumerate(zip(found, questions, strict=True)):
            with clock.stage('read', [answer]):
                label, uncertainty = (
                    ensemble.merge(labels) if len(labels) > 1 else (labels[0], None)
                )
            predictions.append(
                Prediction(
                    label,
                    question.prompt,
                    question.frame.stamp_ns,
                    question.frame.frame_id,
                    clock.seconds[answer],
                    uncertainty,
                )
            )
        return predictions

    def side(self, settings: PredictSettings) -> int:
        """Side of the model's square under these settings, pixels.

        Raises:
            ValueError: the resolution does not suit the model.
        """
        resolution: int = settings.resolution or self.pipe.config.resolution
        multiple = self.pipe.vae_scale_factor * self.pipe.transformer.config.patch_size
        largest = multiple * self.pipe.transformer.config.pos_embed_max_size
        if resolution % multiple or resolution > largest:
            raise ValueError(
                f'resolution is {resolution}; this model takes multiples of {multiple} '
                f'up to {largest}'
            )
        return resolution

    def check(
        self,
        prompts: Sequence[Prompt],
        settings: PredictSettings,
        adapters: Sequence[str | Path] = (),
    ) -> None:
        """Make sure that prompts can be asked in this way, without running any network.

        Args:
            prompts: to be asked.
            settings: how.
            adapters: folders that `adapt` would be given before.

        Raises:
            ValueError: the resolution does not suit the model, an unknown task, a prompt that
                lacks what its task needs, a text without embedding and no encoders to make it, or
                an adapter that does not suit the model.
        """
        self.side(settings)
        learnt = {card.name for card in self._adapters.check(adapters)}
        # An adapter brings the embedding of its text.
        texts = [
            tasks.get(prompt.task).text(prompt) for prompt in prompts if prompt.task not in learnt
        ]
        pipe = self.pipe
        if None in (pipe.text_encoder, pipe.text_encoder_2, pipe.text_encoder_3):
            pipe.look_up(texts)

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
            latents=self._noise(self.settings.seed, image_latents),
            reuse_last_velocity=self.settings.reuse_last_velocity,
        )
        painted = self.pipe.decode_latents(answered)[0]
        self.pipe.maybe_free_model_hooks()
        return painted

    def _now(self) -> float:
        if self.pipe.device.type == 'cuda':
            torch.cuda.synchronize(self.pipe.device)
        return time.perf_counter()

    def _encode(self, square: NDArray[np.uint8]) -> torch.Tensor:
        image = torch.from_numpy(square.copy()).permute(2, 0, 1)[None]
        return self.pipe.encode_image(image.float() / 127.5 - 1)

    def _way(self, settings: PredictSettings, task: str) -> _Way:
        return _Way(
            self.side(settings),
            settings.steps,
            settings.guidance,
            settings.reuse_last_velocity,
            settings.batch_size,
            self._adapters.of(task),
        )

    def _generate(
        self,
        batch: Sequence[_Job],
        questions: Sequence[Question],
        texts: Sequence[str],
        squares: Mapping[_Key, tuple[NDArray[np.uint8], images.Fit]],
        latents: dict[_Key, torch.Tensor],
        clock: Clock,
    ) -> NDArray[np.float32]:
        """Pictures of one batch: (n, S, S, 3). Adds the latents of images that it encodes."""
        keys = [job.key for job in batch]
        for key in dict.fromkeys(keys):
            if key not in latents:
                with clock.stage('encode', [job.answer for job in batch if job.key == key]):
                    latents[key] = self._encode(squares[key][0])
        same = len(set(keys)) == 1
        image_latents = torch.cat([latents[key] for key in (keys[:1] if same else keys)])
        asked = [questions[job.answer] for job in batch]
        way, answers = batch[0].way, [job.answer for job in batch]
        with (
            clock.stage('denoise', answers),
            lora.switched_on(self.pipe.transformer, way.adapter),
        ):
            noise = torch.cat([self._noise(job.seed, image_latents) for job in batch])
            answered = self.pipe.denoise(
                image_latents,
                [texts[answer] for answer in answers],
                [one.prompt.shares(one.frame.size) for one in asked],
                way.steps,
                way.guidance,
                latents=noise,
                reuse_last_velocity=way.reuse_last_velocity,
            )
        with clock.stage('decode', answers):
            return self.pipe.decode_latents(answered)

    def _noise(self, seed: int, like: torch.Tensor) -> torch.Tensor:
        # Drawn on the CPU in float32, so that every device and precision starts from the same.
        generator = torch.Generator().manual_seed(seed % 2**63)
        return torch.randn(1, *like.shape[1:], generator=generator)

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
            stacklevel=3,
        )


class _Way(NamedTuple):
    """What answers must have in common to be denoised together."""

    side: int
    steps: int
    guidance: float
    reuse_last_velocity: bool
    batch_size: int
    adapter: str


_Key = tuple[int, int]  # which frame, on a square of which side


class _Job(NamedTuple):
    """One picture to generate: for an answer, from the noise of a seed."""

    answer: int
    seed: int
    way: _Way
    key: _Key
