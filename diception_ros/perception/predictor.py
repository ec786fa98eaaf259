# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Predictor: frames and prompts in, labels out. The only module where model and tasks meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import ensembling, images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Label
from diception_ros.core.prompt import Point, Prompt, check_points, fractions_of
from diception_ros.core.settings import ComputeSettings, PredictSettings
from diception_ros.model import backend as backends
from diception_ros.model import folder
from diception_ros.model.backend import Backend
from diception_ros.model.sampler import BatchedSampler, SampleRequest, StageTimer, check_shifts
from diception_ros.perception.query import Prediction
from diception_ros.perception.score_calibration import ScoreCalibration
from diception_ros.system import resources
from diception_ros.tasks import BUILTIN, TaskRegistry

if TYPE_CHECKING:
    from diception_ros.model import DiceptionPipeline
    from diception_ros.model.torch_backend import TorchBackend


class Predictor:
    """Predicts labels with one loaded model. Not to be shared between threads.

    Below the Perceiver, which makes messages of a camera's frames with it.

    Args:
        pipe: the model, on the device where it runs: a pipeline of torch, or a backend.
        settings: of the predictions.
        place: folder that the model was loaded from; adapters and calibrated scores belong to its
            weights. None if there is none; it then takes no adapter.

    Attributes:
        calibration: of the scores; replace it with `ScoreCalibration()` for the codecs' own.
        backend: what runs the model, 'torch' or 'onnx', and why.
        threads: of the processor that the model takes; 0 where that was not limited.
        tasks: registry of its tasks; `adapt` adds and removes those of adapters.
        resolution: side of the network's input and output images under `settings`, pixels.
        tta_shifts: number of shifted inputs for one output image under `settings`.

    Raises:
        ValueError: processing_resolution or tta_shifts do not suit the model.
    """

    def __init__(
        self,
        pipe: DiceptionPipeline | Backend,
        settings: PredictSettings | None = None,
        place: Path | None = None,
    ) -> None:
        self.settings = settings or PredictSettings()
        self.tasks = BUILTIN
        self.calibration = ScoreCalibration.load(place)
        self.threads = 0
        self._lock = threading.Lock()
        self._load_torch: Callable[[], TorchBackend] | None = None
        self._torch: TorchBackend | None = None
        self._use(_as_backend(pipe, place))
        self.backend = backends.Choice(self._backend.name, 'given to the Predictor')
        resolved = self._resolved(self.settings)
        self.resolution, self.tta_shifts = resolved.processing_resolution, resolved.tta_shifts

    @classmethod
    def load(
        cls,
        model: str | Path,
        compute: ComputeSettings | None = None,
        adapters: bool = False,
        log: Callable[[str], object] = lambda text: None,
        **settings: Any,
    ) -> Predictor:
        """Load a model folder.

        Args:
            model: the folder.
            compute: where it runs, and on how many threads; None: the CPU, and all threads that
                torch takes. `device`, `dtype` and `backend` may also be given by name, as the
                settings below.
            adapters: whether `adapt` will be called with adapters, which need torch.
            log: called with a text before something that takes seconds: the import of torch.
            **settings: those of PredictSettings, such as num_inference_steps, seed.

        Raises:
            FileNotFoundError: no such model folder.
            ValueError: a value that is not allowed, a device that does not exist, or `backend` is
                onnx and something needs torch.
        """
        limited = compute is not None
        compute = compute or ComputeSettings()
        names = ('device', 'dtype', 'backend')
        compute_values = {name: settings.pop(name) for name in names if name in settings}
        compute = replace(compute, **compute_values)
        chosen = PredictSettings(**settings)
        place = folder.resolve(model)
        folder.check_folder(place)
        choice = backends.choose(place, compute, adapters)

        def load_torch() -> TorchBackend:
            if 'torch' not in sys.modules:
                log(f'importing torch for the model {str(model)!r}')
            from diception_ros.model.torch_backend import TorchBackend

            if limited:
                resources.limit_threads(compute.threads, compute.device)
            return TorchBackend.load(place, compute)

        if choice.name == backends.ONNX:
            from diception_ros.model.onnx_backend import OnnxBackend

            running = OnnxBackend(place, compute)
            predictor = cls(running, chosen, place)
            predictor.threads = running.threads
            if compute.backend == 'auto':
                predictor._load_torch = load_torch
        else:
            predictor = cls(load_torch(), chosen, place)
            predictor.threads = resources.thread_limit() if limited else 0
        predictor.backend = choice
        return predictor

    @property
    def pipe(self) -> DiceptionPipeline:
        """The pipeline of torch; AttributeError with another backend."""
        if self._torch is None:
            raise AttributeError(f'backend is {self.backend.name}: there is no pipeline of torch')
        return self._torch.pipe

    @property
    def dtype(self) -> str:
        """Precision in which the model computes: float32, bfloat16, float16 or int8."""
        return self._backend.dtype

    @property
    def input_scale(self) -> int:
        """Side of the network's input image divided by the side of its output image."""
        return self._backend.input_scale

    def _use(self, backend: Backend) -> None:
        self._backend = backend
        self._sampler = BatchedSampler(backend)
        if backend.name == backends.TORCH:
            self._torch = cast('TorchBackend', backend)

    def _with_adapters(self) -> TorchBackend:
        """The backend that takes adapters; loaded now if another one runs."""
        with self._lock:
            if self._torch is None:
                if self._load_torch is None:
                    raise ValueError(
                        f'backend is {self.backend.name}, and adapters run on torch; set backend '
                        'to auto or torch'
                    )
                self._torch = self._load_torch()
            return self._torch

    def adapt(self, folders: Sequence[str | Path]) -> list[str]:
        """Load these adapters' folders and unload all others; returns the names of their tasks.

        Predictions of the model's own tasks stay the same, bit for bit.

        Raises:
            ValueError: a folder holds no adapter, or one that does not suit the model.
        """
        if folders or self._backend.name == backends.TORCH:
            running = self._with_adapters()
            # Refuses a name that is taken before anything changes.
            registry = TaskRegistry(tuple(running.adapters.check(folders)))
            running.adapters.set_active(folders)
            if running is not self._backend:
                self._use(running)
                self.backend = backends.Choice(running.name, 'adapters run on torch')
        else:
            registry = BUILTIN
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

        A frame is encoded once per resolution and shift; requests whose settings differ only in
        the seed share a batch. A prediction depends on the others by rounding only, and with a
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
        resolved = {item: self._resolved(item) for item in dict.fromkeys(settings)}
        texts = [task.text(prompt) for task, prompt in zip(tasks, prompts, strict=True)]
        for frame, prompt in zip(frames, prompts, strict=True):
            prompt.check_inside(frame.size)
        if prompts:
            self._backend.embed(texts)  # fails before any work is done

        # 1. Resize each frame to the network's input.
        timer = StageTimer(len(prompts), self._now)
        sides = [resolved[setting].processing_resolution for setting in settings]
        inputs = [(id(frame), side) for frame, side in zip(frames, sides, strict=True)]
        image_of = {key: frame.image for key, frame in zip(inputs, frames, strict=True)}

        def resize(key: tuple[int, int]) -> tuple[NDArray[np.uint8], images.ResizeTransform]:
            image, side = image_of[key], key[1]
            square, _ = images.resize(image, side * self.input_scale)
            return square, images.resize_transform(image.shape[:2], side)

        with timer.stage('fit', range(len(prompts))):
            pairs = resources.concurrently(resize, image_of, self.threads)
        resized = dict(zip(image_of, pairs, strict=True))

        # 2. Sample the output images; an ensemble has several, with different noise.
        requests = [
            SampleRequest(
                index,
                resized[inputs[index]][0],
                texts[index],
                fractions_of(prompt.points, frames[index].size),
                item.seed + member,
                resolved[item],
                self._adapter_of(prompt.task),
            )
            for index, (prompt, item) in enumerate(zip(prompts, settings, strict=True))
            for member in range(item.ensemble_size)
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

        Raises:
            ValueError: settings that do not suit the model, an unknown task, a prompt that lacks
                what its task needs, a text without embedding while the model has no text encoders,
                or one of the adapters (folders for `adapt`) does not suit the model.
        """
        self._resolved(settings)
        cards = self._with_adapters().adapters.check(adapters) if adapters else []
        registry = TaskRegistry(tuple(cards))
        texts = []
        for prompt in prompts:
            text = registry.get(prompt.task).text(prompt)
            if not registry.is_adapter(prompt.task):  # whose embedding comes with the adapter
                texts.append(text)
        if not self._backend.encodes_texts:
            self._backend.embed(texts)

    def generate(
        self, frame: Frame, text: str, points: tuple[Point, ...] = ()
    ) -> NDArray[np.float32]:
        """The network's output image for any text, not decoded: (S, S, 3) float32 in [0, 1].

        Args:
            frame: of any size.
            text: prompt of the network, such as '[[image2depth]]'.
            points: at most five, in pixels of the frame.

        Raises:
            ValueError: a point outside the frame, a text without embedding.
        """
        check_points(points, frame.size)
        self._backend.embed([text])
        settings = self._resolved(self.settings)
        resized, _ = images.resize(frame.image, self.resolution * self.input_scale)
        shares = fractions_of(points, frame.size)
        request = SampleRequest(0, resized, text, shares, self.settings.seed, settings, '')
        ((_, output),) = self._sampler.sample([request], StageTimer(1, self._now))
        return output

    def _resolved(self, settings: PredictSettings) -> PredictSettings:
        """Settings for the sampler: the model's defaults filled in, seed and ensemble neutral."""
        side: int = settings.processing_resolution or self._backend.resolution
        multiple = self._backend.token
        largest = multiple * self._backend.max_tokens
        if side % multiple or side > largest:
            raise ValueError(
                f'processing_resolution is {side}; this model takes multiples of {multiple} '
                f'up to {largest}'
            )
        shifts: int = settings.tta_shifts or self._backend.shifts
        check_shifts(shifts, multiple)
        return replace(
            settings, processing_resolution=side, tta_shifts=shifts, seed=0, ensemble_size=1
        )

    def _now(self) -> float:
        self._backend.synchronize()
        return time.perf_counter()

    def _adapter_of(self, task: str) -> str:
        running = self._torch
        if running is None or self._backend.name != backends.TORCH:
            return ''
        return running.adapters.name_for(task)


def _as_backend(model: DiceptionPipeline | Backend, place: Path | None) -> Backend:
    if hasattr(model, 'decode_latents') and hasattr(model, 'encode'):
        return cast(Backend, model)
    from diception_ros.model.torch_backend import TorchBackend

    return TorchBackend(cast('DiceptionPipeline', model), place)
