# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The Predictor: frames and prompts in, labels out. The only place where model and tasks meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import time
from typing import Any

import torch

from diception_ros.core import ensembling, images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Label
from diception_ros.core.prompt import Point, Prompt
from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.model import DiceptionPipeline, cycle_spinning, folder
from diception_ros.model.adapters import Adapters
from diception_ros.model.folder import find_device
from diception_ros.model.sampler import Clock, Job, Key, Painter, Way
from diception_ros.perception.query import Prediction, Question
from diception_ros.tasks import BUILTIN, TaskRegistry


class Predictor:
    """Answers prompts about frames with one loaded model. Not to be shared between threads.

    Args:
        pipe: the model, already where it runs.
        settings: how it answers.
        place: folder that the model was loaded from; adapters are made for its weights. None:
            there is none, and no adapter can be taken.

    Attributes:
        tasks: those it answers; `adapt` puts those of adapters in and out.

    Raises:
        ValueError: the resolution or the shifts do not suit the model.
    """

    def __init__(
        self,
        pipe: DiceptionPipeline,
        settings: PredictSettings | None = None,
        place: Path | None = None,
    ) -> None:
        self.pipe = pipe
        self.settings = settings or PredictSettings()
        self.tasks = BUILTIN
        self._adapters = Adapters(pipe, place)
        self.resolution = self.side(self.settings)
        self.tta_shifts = self.shifts_of(self.settings)
        self._painter = Painter(pipe)

    @classmethod
    def load(
        cls, model: str | Path, compute: ComputeSettings | None = None, **settings: Any
    ) -> Predictor:
        """Load a model folder.

        Args:
            model: the folder.
            compute: where it runs; the CPU by default. `device` and `dtype` may also be given by
                name, as the settings below.
            **settings: those of PredictSettings, such as num_inference_steps, seed.

        Raises:
            FileNotFoundError: no such model folder.
            ValueError: a setting that is not allowed, or a device that is not there.
        """
        compute = compute or ComputeSettings()
        where = {name: settings.pop(name) for name in ('device', 'dtype') if name in settings}
        compute = replace(compute, **where)
        chosen = PredictSettings(**settings)
        device = find_device(compute.device)
        dtype = compute.dtype
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
        # Refuses a name that is taken while nothing is changed yet.
        registry = TaskRegistry(tuple(self._adapters.check(folders)))
        self._adapters.set_active(folders)
        self.tasks = registry
        return [card.name for card in registry.cards]

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

        Each frame is encoded once per resolution and shift, and questions whose settings allow it
        are answered together. An answer depends on its company by rounding alone, and not even so
        with a `batch_size` of 1.

        Args:
            questions: in any order, about any frames.

        Returns:
            As many predictions, in the order of the questions.

        Raises:
            ValueError: as `predict`, or a resolution or shifts that do not suit the model.
            RuntimeError: as `predict`.
        """
        asked = [self.tasks.get(question.prompt.task) for question in questions]
        ways = [self._way(one.settings, one.prompt.task) for one in questions]
        texts = [task.text(one.prompt) for task, one in zip(asked, questions, strict=True)]
        for question in questions:
            question.prompt.check_inside(question.frame.size)
        if questions:
            self.pipe.get_embeddings(texts)  # fails before any work is done

        clock = Clock(len(questions), self._now)
        keys = [(id(one.frame), way.side) for one, way in zip(questions, ways, strict=True)]
        users: dict[Key, list[int]] = {}
        for answer, key in enumerate(keys):
            users.setdefault(key, []).append(answer)
        squares, fits = {}, {}
        for key, answers in users.items():
            with clock.stage('fit', answers):
                squares[key], fits[key] = images.fit(questions[answers[0]].frame.image, key[1])
        jobs = [
            Job(
                answer,
                texts[answer],
                one.prompt.shares(one.frame.size),
                one.settings.seed + member,
                ways[answer],
                keys[answer],
            )
            for answer, one in enumerate(questions)
            for member in range(one.settings.ensemble_size)
        ]
        found: list[list[Label]] = [[] for _ in questions]
        for job, picture in self._painter.paint(jobs, squares, clock):
            question = questions[job.answer]
            with clock.stage('read', [job.answer]):
                label = asked[job.answer].decode(picture, question.prompt)
                if not question.at_model_size:
                    label = label.to_image_size(fits[job.key])
                found[job.answer].append(label)

        predictions = []
        for answer, (labels, question) in enumerate(zip(found, questions, strict=True)):
            with clock.stage('read', [answer]):
                label, uncertainty = (
                    ensembling.merge(labels) if len(labels) > 1 else (labels[0], None)
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
        resolution: int = settings.processing_resolution or self.pipe.config.resolution
        multiple = self.pipe.token
        largest = multiple * self.pipe.transformer.config.pos_embed_max_size
        if resolution % multiple or resolution > largest:
            raise ValueError(
                f'processing_resolution is {resolution}; this model takes multiples of {multiple} '
                f'up to {largest}'
            )
        return resolution

    def shifts_of(self, settings: PredictSettings) -> int:
        """How many answers about shifted pictures make one under these settings.

        Raises:
            ValueError: more than a token has pixels.
        """
        count: int = settings.tta_shifts or self.pipe.config.shifts
        cycle_spinning.check(count, self.pipe.token)
        return count

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
            ValueError: the resolution or the shifts do not suit the model, an unknown task, a
                prompt that lacks what its task needs, a text without embedding and no encoders to
                make it, or an adapter that does not suit the model.
        """
        self.side(settings)
        self.shifts_of(settings)
        registry = TaskRegistry(tuple(self._adapters.check(adapters)))
        texts = []
        for prompt in prompts:
            text = registry.get(prompt.task).text(prompt)
            if not registry.is_adapter(prompt.task):  # whose embedding comes with the adapter
                texts.append(text)
        pipe = self.pipe
        if None in (pipe.text_encoder, pipe.text_encoder_2, pipe.text_encoder_3):
            pipe.get_embeddings(texts)

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
        self.pipe.get_embeddings([text])
        key = (id(frame), self.resolution)
        squares = {key: images.fit(frame.image, self.resolution)[0]}
        job = Job(
            0, text, prompt.shares(frame.size), self.settings.seed, self._way(self.settings), key
        )
        ((_, picture),) = self._painter.paint([job], squares, Clock(1, self._now))
        return picture

    def _now(self) -> float:
        if self.pipe.device.type == 'cuda':
            torch.cuda.synchronize(self.pipe.device)
        return time.perf_counter()

    def _way(self, settings: PredictSettings, task: str = '') -> Way:
        return Way(
            self.side(settings),
            settings.num_inference_steps,
            settings.guidance_scale,
            settings.reuse_last_velocity,
            self.shifts_of(settings),
            settings.batch_size,
            self._adapters.name_for(task),
        )
