# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Predictor: frames and prompts in, labels out. The only module where model and tasks meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros.core import ensembling, images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Label
from diception_ros.core.prompt import Point, Prompt
from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.model import DiceptionPipeline, cycle_spinning, folder
from diception_ros.model.adapters import Adapters
from diception_ros.model.folder import find_device
from diception_ros.model.sampler import BatchedSampler, SampleRequest, StageTimer
from diception_ros.perception.query import Prediction
from diception_ros.perception.score_calibration import ScoreCalibration
from diception_ros.tasks import BUILTIN, TaskRegistry


class Predictor:
    """Predicts labels with one loaded model. Not to be shared between threads.

    Args:
        pipe: the model, on the device where it runs.
        settings: of the predictions.
        place: folder that the model was loaded from; adapters and calibrated scores belong to its
            weights. None if there is none; it then takes no adapter.

    Attributes:
        calibration: of the scores; replace it with `ScoreCalibration()` for the codecs' own.
        tasks: the tasks it knows; `adapt` adds and removes those of adapters.
        resolution: side of the network's input and output images under `settings`, pixels.
        tta_shifts: number of shifted inputs for one output image under `settings`.

    Raises:
        ValueError: processing_resolution or tta_shifts do not suit the model.
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
        self.calibration = ScoreCalibration.load(place)
        self._adapters = Adapters(pipe, place)
        resolved = self._resolved(self.settings)
        self.resolution, self.tta_shifts = resolved.processing_resolution, resolved.tta_shifts
        self._sampler = BatchedSampler(pipe)

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
            ValueError: a value that is not allowed, or a device that does not exist.
        """
        compute = compute or ComputeSettings()
        given = {name: settings.pop(name) for name in ('device', 'dtype') if name in settings}
        compute = replace(compute, **given)
        chosen = PredictSettings(**settings)
        device = find_device(compute.device)
        dtype = compute.dtype
        if dtype == 'auto':
            dtype = 'float32' if device.type == 'cpu' else 'bfloat16'
        pipe = DiceptionPipeline.from_pretrained(model, dtype=getattr(torch, dtype)).to(device)
        pipe.set_progress_bar_config(disable=True)
        return cls(pipe, chosen, folder.resolve(model))

    def adapt(self, folders: Sequence[str | Path]) -> list[str]:
        """Load these adapters and unload all others.

        Predictions of the model's own tasks stay the same, bit for bit.

        Args:
            folders: of adapters, as `diception adapt` writes them.

        Returns:
            The names of their tasks.

        Raises:
            ValueError: a folder holds no adapter, or one that does not suit the model.
        """
        # Refuses a name that is taken before anything changes.
        registry = TaskRegistry(tuple(self._adapters.check(folders)))
        self._adapters.set_active(folders)
        self.tasks = registry
        return [card.name for card in registry.cards]

    def predict(self, frames: Sequence[Frame], prompts: Sequence[Prompt]) -> list[Prediction]:
        """Predict every prompt for every frame.

        Each frame is encoded once. All predictions start from the same noise, so a prediction does
        not depend on the other prompts, and a static scene gives static predictions.

        Args:
            frames: F frames of any sizes.
            prompts: P prompts; points in pixels of the frames.

        Returns:
            F * P predictions: those of the first frame in the order of the prompts, then those of
            the second.

        Raises:
            ValueError: an unknown task, a prompt that lacks what its task needs, a point outside a
                frame, a text without embedding.
            RuntimeError: out of memory on a GPU even with a batch of one.
        """
        pairs = [(frame, prompt) for frame in frames for prompt in prompts]
        return self.infer([frame for frame, _ in pairs], [prompt for _, prompt in pairs])

    def infer(
        self,
        frames: Sequence[Frame],
        prompts: Sequence[Prompt],
        settings: PredictSettings | Sequence[PredictSettings] | None = None,
        at_model_size: bool = False,
    ) -> list[Prediction]:
        """Predict N prompts, each for a frame of its own and with settings of its own.

        A frame is encoded once per resolution and shift, and what has the same settings but for
        the seed runs in one batch. A prediction depends on the others by rounding only, and with a
        `batch_size` of 1 not even by that.

        Args:
            frames: N; the same object where they are the same.
            prompts: N.
            settings: N, or one for all; None for the Predictor's own.
            at_model_size: return labels of the network's output size, (S, S), instead of the
                frame's.

        Returns:
            N predictions.

        Raises:
            ValueError: as `predict`, or settings that do not suit the model.
            RuntimeError: as `predict`.
        """
        if settings is None or isinstance(settings, PredictSettings):
            settings = [settings or self.settings] * len(prompts)
        tasks = [self.tasks.get(prompt.task) for prompt in prompts]
        resolved = {one: self._resolved(one) for one in dict.fromkeys(settings)}
        texts = [task.text(prompt) for task, prompt in zip(tasks, prompts, strict=True)]
        for frame, prompt in zip(frames, prompts, strict=True):
            prompt.check_inside(frame.size)
        if prompts:
            self.pipe.get_embeddings(texts)  # fails before any work is done

        # 1. Resize each frame to the network's input.
        timer = StageTimer(len(prompts), self._now)
        sides = [resolved[one].processing_resolution for one in settings]
        inputs = [(id(frame), side) for frame, side in zip(frames, sides, strict=True)]
        resized = {}
        for key in dict.fromkeys(inputs):
            sharing = [index for index, other in enumerate(inputs) if other == key]
            with timer.stage('fit', sharing):
                image = frames[sharing[0]].image
                resized[key] = (
                    images.resize(image, key[1] * self.pipe.input_scale)[0],
                    images.resize_transform(image.shape[:2], key[1]),
                )

        # 2. Sample the output images; an ensemble has several, with different noise.
        requests = [
            SampleRequest(
                index,
                resized[inputs[index]][0],
                texts[index],
                prompt.shares(frames[index].size),
                one.seed + member,
                resolved[one],
                self._adapters.name_for(prompt.task),
            )
            for index, (prompt, one) in enumerate(zip(prompts, settings, strict=True))
            for member in range(one.ensemble_size)
        ]
        labels: list[list[Label]] = [[] for _ in prompts]
        for number, output in self._sampler.sample(requests, timer):
            # 3. Decode each output image to a label of the frame's size.
            index = requests[number].item
            with timer.stage('read', [index]):
                label = tasks[index].decode(output, prompts[index])
                if not at_model_size:
                    label = label.to_image_size(resized[inputs[index]][1])
                labels[index].append(label)

        # 4. Merge ensembles.
        predictions = []
        for index, (members, frame) in enumerate(zip(labels, frames, strict=True)):
            with timer.stage('read', [index]):
                merged = ensembling.merge(members) if len(members) > 1 else (members[0], None)
            predictions.append(
                Prediction(
                    self.calibration.apply(prompts[index].task, merged[0]), prompts[index],
                    frame.stamp_ns, frame.frame_id, timer.seconds[index], merged[1],
                )
            )  # fmt: skip
        return predictions

    def check(
        self,
        prompts: Sequence[Prompt],
        settings: PredictSettings,
        adapters: Sequence[str | Path] = (),
    ) -> None:
        """Check that prompts can be predicted with these settings, without running any network.

        Args:
            prompts: the prompts.
            settings: of the predictions.
            adapters: folders that would be given to `adapt` before.

        Raises:
            ValueError: settings that do not suit the model, an unknown task, a prompt that lacks
                what its task needs, a text without embedding while the model has no text encoders,
                or an adapter that does not suit the model.
        """
        self._resolved(settings)
        registry = TaskRegistry(tuple(self._adapters.check(adapters)))
        texts = []
        for prompt in prompts:
            text = registry.get(prompt.task).text(prompt)
            if not registry.is_adapter(prompt.task):  # whose embedding comes with the adapter
                texts.append(text)
        pipe = self.pipe
        if None in (pipe.text_encoder, pipe.text_encoder_2, pipe.text_encoder_3):
            pipe.get_embeddings(texts)

    def generate(
        self, frame: Frame, text: str, points: tuple[Point, ...] = ()
    ) -> NDArray[np.float32]:
        """The network's output image for any text, not decoded by any task.

        Args:
            frame: of any size.
            text: prompt of the network, such as '[[image2depth]]'.
            points: at most five, in pixels of the frame.

        Returns:
            (S, S, 3) float32 in [0, 1].

        Raises:
            ValueError: a point outside the frame, a text without embedding.
        """
        prompt = Prompt('any', points=points)
        prompt.check_inside(frame.size)
        self.pipe.get_embeddings([text])
        settings = self._resolved(self.settings)
        resized, _ = images.resize(frame.image, self.resolution * self.pipe.input_scale)
        shares = prompt.shares(frame.size)
        request = SampleRequest(0, resized, text, shares, self.settings.seed, settings, '')
        ((_, output),) = self._sampler.sample([request], StageTimer(1, self._now))
        return output

    def _resolved(self, settings: PredictSettings) -> PredictSettings:
        """Settings for the sampler: the model's defaults filled in, seed and ensemble neutral."""
        side: int = settings.processing_resolution or self.pipe.config.resolution
        multiple = self.pipe.token
        largest = multiple * self.pipe.transformer.config.pos_embed_max_size
        if side % multiple or side > largest:
            raise ValueError(
                f'processing_resolution is {side}; this model takes multiples of {multiple} '
                f'up to {largest}'
            )
        shifts: int = settings.tta_shifts or self.pipe.config.shifts
        cycle_spinning.check(shifts, multiple)
        return replace(
            settings, processing_resolution=side, tta_shifts=shifts, seed=0, ensemble_size=1
        )

    def _now(self) -> float:
        if self.pipe.device.type == 'cuda':
            torch.cuda.synchronize(self.pipe.device)
        return time.perf_counter()
