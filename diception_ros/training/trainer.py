# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop, for new small models, SD3's weights and LoRA; start and resume of runs.

OUT/settings.yaml      all settings; `--config OUT/settings.yaml` repeats the run
OUT/log.csv            loss per task, learning rate, gradient norm, samples per second
OUT/validation.csv     metrics on held-out samples beside two baselines, see `Validator`
OUT/sheets/            contact sheets of the validation: input, target, prediction
OUT/checkpoints/       see `checkpoints`
OUT/model/             model folder, written at the end: the weight average where there is one

In a data-parallel run rank 0 writes all of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
import contextlib
import math
import os
from pathlib import Path
import shutil
import sys
import time

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from diception_ros import tasks
from diception_ros.core.settings import PredictSettings
from diception_ros.datasets.batch import Batch, Prepared
from diception_ros.model import DiceptionPipeline
from diception_ros.model.component_configs import CELL
from diception_ros.model.pca import PcaAutoencoder
from diception_ros.perception.predictor import Predictor
from diception_ros.system import files
from diception_ros.tasks import BUILTIN, TaskRegistry
from diception_ros.training import checkpoints, distributed, loss, samples, settings
from diception_ros.training.checkpoints import (
    FullFinetune,
    LoRA,
    Weights,
    add_encoder,
    find_encoder,
    load_pipeline,
)
from diception_ros.training.from_scratch import init_pipeline
from diception_ros.training.optim import Ema, Optimizer, lr_factor
from diception_ros.training.samples import Preprocessor, TaskSampler
from diception_ros.training.settings import TrainSettings
from diception_ros.training.sources import Dataset, open_dataset
from diception_ros.training.validation import (
    VALIDATION_COLUMNS,
    CSVLogger,
    Scores,
    Validator,
    csv_rows,
)

_PCA_IMAGES = 2000  # images, and as many targets, that the autoencoder of a new model is fitted to
BACKEND = 'inductor'  # of torch.compile


class Trainer:
    """A training run: model, optimizer and data, and the current step.

    In a data-parallel run each rank has one, with a part of every batch.

    Args:
        settings: of the run.
        dataset: the training data; None for the data that the settings name.
        checkpoint: folder to resume from; None to start.
        pipe: the model of the settings, if it is loaded already.
        registry: holds the tasks of the run.

    Attributes:
        notes: remarks about the run, for people.

    Raises:
        ValueError: settings that do not fit together, a checkpoint of other settings, a task
            without samples, a text of which the model has no embedding.
    """

    def __init__(
        self,
        settings: TrainSettings,
        dataset: Dataset | None = None,
        checkpoint: Path | None = None,
        pipe: DiceptionPipeline | None = None,
        registry: TaskRegistry = BUILTIN,
    ) -> None:
        # First, because the step determines which buffer is loaded.
        saved = checkpoints.load(checkpoint) if checkpoint else None
        self.settings, self.step = settings, saved.step if saved else 0
        self.notes: list[str] = []
        self.task_weights = samples.parse_task_weights(settings.task_weights, registry)
        self.ranks = distributed.init(settings.device)
        self.device = self.ranks.device
        self._sampler = TaskSampler(self.task_weights, settings.seed)
        self._buffer: tuple[int, Prepared, dict[str, torch.Tensor]] | None = None
        self._encoded: tuple[int, samples.EncodedImages] | None = None

        # A checkpoint of LoRA holds the matrices alone; the model is where it was.
        resumed = checkpoint if checkpoint and not settings.rank else None
        folder = resumed / 'model' if resumed else Path(settings.model)
        if pipe is None and (resumed is not None or settings.model):
            pipe = load_pipeline(folder)
        resolution = settings.resolution or (pipe.config.resolution if pipe else 0)
        order = pipe.point_encoder.config.point_order if pipe else 'xy'
        encoder, input_scale = find_encoder(settings.encoder, pipe), 1
        if encoder is not None:
            input_scale = CELL // (pipe.vae_scale_factor if pipe else settings.pca_patch)
        self.preprocessor = Preprocessor(resolution, order, settings.hflip, registry, input_scale)
        self.dataset = dataset or open_dataset(
            settings, list(self.task_weights), resolution * input_scale, self.ranks
        )
        self.pipe = pipe or self._init_pipeline()
        if settings.gradient_weight and not isinstance(self.pipe.vae, PcaAutoencoder):
            raise ValueError(
                f'gradient_weight is {settings.gradient_weight}; it needs a PCA autoencoder, '
                'whose pixels are linear in the latents; set it to 0'
            )
        if encoder is not None:
            add_encoder(self.pipe, encoder)
        if settings.mixstyle and self.pipe.image_encoder is None:
            self.notes.append(
                f'mixstyle is {settings.mixstyle:g} and has no effect: the model has no image '
                'encoder; set encoder or model'
            )
        Predictor(self.pipe, PredictSettings(processing_resolution=resolution))  # checks the side
        self.pipe.register_to_config(resolution=resolution)
        if settings.rank and settings.frozen_bf16:
            self.pipe.transformer.to(torch.bfloat16)  # before it takes twice the memory on a GPU
        self.pipe.to(self.device)
        # An unknown text fails here, before any work.
        self.pipe.get_embeddings(list(dict.fromkeys(['', *self.buffer()[1].texts])))

        for part in (self.pipe.transformer, self.pipe.point_encoder, self.pipe.vae):
            self.ranks.broadcast(part.state_dict().values())
        self.weights = self._make_trainable()
        self.parameters = self.weights.parameters
        self.pipe.vae.requires_grad_(False)
        if settings.gradient_checkpointing:
            self.pipe.transformer.enable_gradient_checkpointing()
        if settings.compile:
            _check_compiler(self.device)
            self.pipe.transformer.compile(backend=BACKEND)
        self.optimizer = Optimizer(self.parameters, settings)
        averages = settings.ema and self.ranks.first
        self.ema = Ema(self.parameters, settings.ema) if averages else None
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        self._sigmas = loss.sigma_table(self.pipe.scheduler).to(self.device)
        if checkpoint and saved:
            self._restore(saved, checkpoint)

    def train_step(self) -> tuple[dict[str, list[float]], float]:
        """Do one optimizer step.

        Returns:
            losses by task, of each sample of all ranks; the gradient norm.

        Raises:
            NonFiniteLossError: the loss or the gradient is NaN or infinite; the weights are
                unchanged.
        """
        settings = self.settings
        self.optimizer.zero_grad()
        losses_by_task: dict[str, list[float]] = defaultdict(list)
        names: list[str] = []
        buffer, passes = self.buffer()[1], settings.gradient_accumulation_steps
        for part in range(passes):
            number = self.step * passes + part
            rows, batch = self.rows(number).tolist(), self.batch(number)
            batch_names = tuple(buffer.names[row] for row in rows)
            # Backward too: gradient checkpointing runs the attention again there.
            with self._attention_backend():
                losses, counts = self.losses(batch)
                # Those of all ranks, so that all stop together.
                both = torch.stack([losses.detach(), counts.float()], dim=1)
                every, counted = self.ranks.all_gather(both).unbind(dim=1)
                loss.check_finite(every, batch_names, self.step)
                # A sample without a known cell does not count, not even as a loss of 0.
                weights = loss.sample_weights(batch.target, settings.small_object_weighting)
                mean = (weights * losses).sum() / counted.sum().clamp(min=1)
                (mean / passes).backward()
            for row, value in zip(rows, every.tolist(), strict=True):
                losses_by_task[buffer.tasks[row]].append(value)
            names += batch_names
        self.ranks.all_reduce(
            value.grad for value in self.parameters.values() if value.grad is not None
        )
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), settings.max_grad_norm or float('inf')
        )
        loss.check_finite(norm.expand(len(names)), tuple(names), self.step)
        self.optimizer.step(settings.lr * lr_factor(settings, self.step))
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.parameters, self.step)
        return dict(losses_by_task), float(norm)

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each sample of a batch, which is on the device, under newly drawn noise.

        Returns:
            (B,) losses; (B,) bool, whether a sample has a known cell.
        """
        settings, pipe, generator = self.settings, self.pipe, self.generator
        # Drawn for all ranks, each of which takes its own.
        size = len(batch.names) * self.ranks.count
        mine = self.ranks.rank_slice(len(batch.names))
        clean = pipe.encode_vae_image(batch.target)  # (B, C, h, w)
        image_latents = self._image_latents(batch, size, mine)  # (B, C + F, h, w)
        sigma = loss.draw_sigmas(size, self._sigmas, generator, settings.pure_noise_prob)[mine]
        shape = (size, *clean.shape[1:])
        noise = torch.randn(shape, generator=generator, device=self.device)[mine]
        drawn = torch.rand(size, generator=generator, device=self.device)[mine]
        dropped = drawn < settings.cond_dropout
        noisy = loss.add_noise(clean, noise, sigma)

        # The unconditional branch of the pipeline: the empty text and zero point tokens.
        texts = [
            '' if drop else text for drop, text in zip(dropped.tolist(), batch.texts, strict=True)
        ]
        tokens, pooled = pipe.embed_prompts(texts)  # (B, T, D)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.bf16):
            points = pipe.point_encoder(batch.points, batch.point_labels)  # (B, 5, D)
            points = torch.where(dropped[:, None, None], 0, points)
            velocity = pipe.transformer(
                hidden_states=noisy,
                image_latents=image_latents,
                encoder_hidden_states=tokens,
                pooled_projections=pooled,
                point_embeds=points,
                timestep=1000 * sigma,
                return_dict=False,
            )[0]
        known = loss.known_cells(batch.valid, (clean.shape[-2], clean.shape[-1]))
        losses = loss.flow_loss(velocity, clean, noise, sigma, known, settings.weighting)
        if settings.gradient_weight:
            error = pipe.vae.decode_difference(
                noisy - sigma[:, None, None, None] * velocity.float() - clean
            )
            steps = loss.gradient_loss(error, known, pipe.token, clean.shape[1])
            losses = losses + settings.gradient_weight * steps
        return losses, known.flatten(1).any(dim=1)

    def _image_latents(self, batch: Batch, size: int, mine: slice) -> torch.Tensor:
        """Return (B, C + F, h, w) latents of a batch's images, augmented by color_jitter.

        The image encoder is frozen and takes as long as a training step, so the features of an
        image and of its augmented copies are computed once for each buffer: when they are used
        first.
        """
        settings, generator = self.settings, self.generator
        if self.pipe.image_encoder is None:
            images = batch.image
            if settings.color_jitter:
                seeds = samples.jitter_seeds(size, generator)[mine]
                images = samples.color_jitter(images, settings.color_jitter, seeds)
            return self.pipe.encode_image(images)
        number, buffer, _ = self.buffer()
        if self._encoded is None or self._encoded[0] != number:
            self._encoded = None  # frees the last buffer's before the next is computed
            seeds = torch.Generator(self.device).manual_seed(settings.seed * 1000 + number)
            self._encoded = (
                number,
                samples.EncodedImages(buffer.images, self._encode, settings.color_jitter, seeds),
            )
        encoded = self._encoded[1]
        which = torch.randint(encoded.copies, (size,), generator=generator, device=self.device)
        latents = encoded.latents(which[mine].cpu(), batch.frame.cpu()).to(self.device).float()
        if settings.mixstyle:
            split = self.pipe.vae.config.latent_channels
            features = latents[:, split:]
            mixed = samples.mix_statistics(features, settings.mixstyle, generator)
            own = self.pipe.image_encoder.pose_features  # logits, whose values mean something
            mixed[:, own] = features[:, own]
            latents = torch.cat([latents[:, :split], mixed], dim=1)
        return latents

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            return self.pipe.encode_image(images)

    def _attention_backend(self) -> contextlib.AbstractContextManager[None]:
        """Plain attention on a CPU, where the backward pass of torch's fused one is slow.

        Measured at a batch of 64 on two cores of an AMD EPYC with AVX-512: steps are 1.08 times as
        fast at 136 tokens.
        """
        if self.device.type != 'cpu':
            return contextlib.nullcontext()
        plain: contextlib.AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
        return plain

    def batch(self, number: int) -> Batch:
        """This rank's part of a batch, counted over the whole run."""
        mine = self.ranks.rank_slice(self.settings.batch_size)
        return self.buffer()[1].batch(self.rows(number)[mine], self.device)

    def rows(self, number: int) -> torch.Tensor:
        """The rows of the buffer in a batch, of all ranks, in the order of ranks."""
        _, _, rows = self.buffer()
        counts = {task: len(mine) for task, mine in rows.items()}
        size = self.settings.batch_size * self.ranks.count
        drawn = (self._sampler.draw(number * size + k, counts) for k in range(size))
        return torch.stack([rows[task][index] for task, index in drawn])

    def buffer(self) -> tuple[int, Prepared, dict[str, torch.Tensor]]:
        """The buffer of this step: its number, the samples, and the rows of each task."""
        refresh = self.settings.buffer_refresh_steps
        number = self.step // refresh if refresh else 0
        if self._buffer is None or self._buffer[0] != number:
            prepared = self.dataset.buffer(number, self.preprocessor)
            rows = {task: prepared.rows(task) for task in self.task_weights}
            empty = [task for task, mine in rows.items() if not len(mine)]
            if empty:
                raise ValueError(
                    f'no sample of task {empty[0]!r} among {len(prepared)}; remove it from '
                    'task_weights, or add samples'
                )
            self._buffer = number, prepared, rows
        return self._buffer

    def save(self, out: Path) -> Path:
        """Write a checkpoint into the folder of the run."""
        state = checkpoints.TrainState(
            self.step, self.optimizer.state_dict(), self.generator.get_state(), self.ranks.count
        )
        return checkpoints.save(out, self.weights, self.ema, state, self.settings)

    def average_parameters(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the model has the average of its weights, where there is one."""
        if self.ema is None:
            return contextlib.nullcontext()
        return self.ema.average_parameters(self.parameters)

    def _init_pipeline(self) -> DiceptionPipeline:
        _, buffer, _ = self.buffer()
        images = torch.cat(
            [
                functional.avg_pool2d(some[:: max(1, len(some) // _PCA_IMAGES)].float(), width)
                for some, width in (
                    (buffer.images, self.preprocessor.input_scale), (buffer.targets, 1),
                )
            ]
        )  # fmt: skip
        texts = dict.fromkeys([*tasks.texts(), *buffer.texts])
        return init_pipeline(self.settings, images / 127.5 - 1, list(texts))

    def _make_trainable(self) -> Weights:
        settings = self.settings
        if not settings.rank:
            return FullFinetune(self.pipe)
        texts = list(dict.fromkeys(self.buffer()[1].texts))
        if len(texts) > 1:
            raise ValueError(f'LoRA is trained with one text, got {len(texts)}: {texts[:3]}')
        return LoRA(self.pipe, settings.rank, texts[0], settings.seed)

    def _restore(self, saved: checkpoints.TrainState, checkpoint: Path) -> None:
        if saved.processes != self.ranks.count:
            raise ValueError(
                f'{checkpoint} was written by a run of {saved.processes} processes, got '
                f'{self.ranks.count}; launch as many, or start another run from this model'
            )
        self.optimizer.load_state_dict(saved.optimizer)
        self.generator.set_state(saved.generator)
        with torch.no_grad():
            if self.settings.rank:
                for name, value in self.weights.read(checkpoint / 'model').items():
                    self.parameters[name].copy_(value)
            if self.ema is not None:
                for name, value in self.weights.read(checkpoint / 'ema').items():
                    self.ema.average[name].copy_(value)


def _check_compiler(device: torch.device) -> None:
    name = os.environ.get('CXX', 'g++')  # as torch chooses
    if device.type == 'cpu' and not shutil.which(name):
        raise FileNotFoundError(
            f'compile needs a C++ compiler on a CPU, and there is no {name}; apt install g++, or '
            'leave compile out'
        )


# ---- runs ---------------------------------------------------------------------------------------


def check_new(out: Path) -> None:
    """Raise FileExistsError unless the folder of a run is new or empty."""
    files.remove_partials(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f'{out} exists and is not empty; choose another folder, or --resume to go on'
        )


def start(
    chosen: TrainSettings,
    out: Path,
    dataset: Dataset | None = None,
    pipe: DiceptionPipeline | None = None,
    registry: TaskRegistry = BUILTIN,
) -> Trainer:
    """Start a run.

    Args:
        chosen: its settings.
        out: its folder, new or empty.
        dataset: the training data; None for the data that the settings name.
        pipe: the model of the settings, if it is loaded already.
        registry: holds the tasks of the run.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: see Trainer.
    """
    check_new(out)
    trainer = Trainer(chosen, dataset, pipe=pipe, registry=registry)
    _write_settings(trainer, out)
    return trainer


def run_settings(out: Path) -> Path:
    """The settings file of a run: that of its last checkpoint, else the one in its folder.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    saved = checkpoints.list_checkpoints(out)
    path = (saved[-1] if saved else out) / 'settings.yaml'
    if not path.is_file():
        raise FileNotFoundError(f'{out}: no checkpoint to go on from; leave out --resume to begin')
    return path


def resume(
    chosen: TrainSettings | None,
    out: Path,
    dataset: Dataset | None = None,
    pipe: DiceptionPipeline | None = None,
    registry: TaskRegistry = BUILTIN,
) -> Trainer:
    """Resume a run from its last checkpoint, as if it had never stopped.

    A run that ended before its first checkpoint starts again.

    Args:
        chosen: its settings, which may differ in those that change no step, see
            `settings.CHANGEABLE_ON_RESUME`. None for those of the run. With lr_decay_fraction
            another max_steps changes the learning rate from here on, which is noted.
        out: its folder.
        dataset: as at its start.
        pipe: as at its start.
        registry: as at its start.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: other settings, or see Trainer.
    """
    before = settings.read(run_settings(out))
    chosen = chosen or before
    changed = settings.differences(before, chosen)
    if changed:
        raise ValueError(
            f'{out} was begun with other settings ({"; ".join(changed)}); go on with those, or '
            'begin another run whose model is the last checkpoint'
        )
    saved = checkpoints.list_checkpoints(out)
    trainer = Trainer(chosen, dataset, saved[-1] if saved else None, pipe, registry)
    if saved:
        trainer.notes += _schedule_changes(before, chosen, trainer.step)
    else:
        trainer.notes.append('no checkpoint was written yet, so the run starts again')
    _write_settings(trainer, out)
    return trainer


def _write_settings(trainer: Trainer, out: Path) -> None:
    if trainer.ranks.first:
        out.mkdir(parents=True, exist_ok=True)
        with files.atomic_file(out / 'settings.yaml') as partial:
            settings.write(trainer.settings, partial)


def _schedule_changes(before: TrainSettings, now: TrainSettings, step: int) -> list[str]:
    """What another max_steps does to the learning rate after a step."""
    if before.max_steps == now.max_steps or not now.lr_decay_fraction:
        return []
    old, new = (item.lr * lr_factor(item, step) for item in (before, now))
    starts = [math.ceil((1 - item.lr_decay_fraction) * item.max_steps) for item in (before, now)]
    return [
        f'max_steps was {before.max_steps}, now {now.max_steps}, and lr_decay_fraction is '
        f'{now.lr_decay_fraction:g}: the learning rate goes on at {new:.3g}, not {old:.3g}, and '
        f'falls from step {starts[1]} on, not {starts[0]}'
    ]


def fit(
    trainer: Trainer,
    out: Path,
    progress: bool = True,
    should_stop: Callable[[int, Scores], bool] = lambda step, scores: False,
    reference: Prepared | None = None,
) -> Path:
    """Train until the last step.

    Args:
        trainer: what `start` or `resume` returned.
        out: the folder of the run.
        progress: show a progress bar.
        should_stop: called with step and scores after each validation, while the model has the
            average of its weights; True ends the run.
        reference: samples whose mean target is the baseline of the validation; None for the
            buffer of this step.

    Returns:
        the model folder that was written at the end; with LoRA a folder of the matrices.

    Raises:
        BlockingIOError: another run writes this folder.
        NonFiniteLossError: the loss or the gradient is NaN or infinite; the last checkpoint stays.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(trainer.dataset.close)
        if trainer.ranks.first:
            stack.enter_context(files.exclusive_folder(out))
        _fit(trainer, out, progress, should_stop, reference)
        if trainer.ranks.first:
            _write_model(trainer, out)
    trainer.ranks.barrier()
    return out / 'model'


def _fit(
    trainer: Trainer,
    out: Path,
    progress: bool,
    should_stop: Callable[[int, Scores], bool],
    reference: Prepared | None,
) -> None:
    chosen, first = trainer.settings, trainer.ranks.first
    log = validator = None
    if first:
        columns = ('step', 'loss', 'lr', 'norm', 'samples_per_second', *trainer.task_weights)
        log = CSVLogger(out / 'log.csv', columns, trainer.step)
    held_out = trainer.dataset.validation() if chosen.validate_every and first else []
    if held_out:
        reference = reference or trainer.buffer()[1]
        validator = Validator(held_out, trainer.preprocessor, reference, chosen)
        results = CSVLogger(out / 'validation.csv', VALIDATION_COLUMNS, trainer.step)
    losses: dict[str, list[float]] = defaultdict(list)
    norms: list[float] = []
    bar = tqdm(
        total=chosen.max_steps, initial=trainer.step, unit='step', file=sys.stderr,
        disable=not (progress and first),
    )  # fmt: skip
    since, seconds, stop = trainer.step, 0.0, False
    with bar:
        while trainer.step < chosen.max_steps and not stop:
            start = time.perf_counter()
            lr = chosen.lr * lr_factor(chosen, trainer.step)
            losses_by_task, norm = trainer.train_step()
            seconds += time.perf_counter() - start
            for task, values in losses_by_task.items():
                losses[task] += values
            norms.append(norm)
            bar.update()
            step, last = trainer.step, trainer.step == chosen.max_steps

            if log is not None and (step % chosen.log_every == 0 or last):
                every = [value for values in losses.values() for value in values]
                count = (step - since) * chosen.batch_size * chosen.gradient_accumulation_steps
                log.add(
                    step=step,
                    loss=sum(every) / len(every),
                    lr=lr,
                    norm=sum(norms) / len(norms),
                    samples_per_second=count * trainer.ranks.count / seconds,
                    **{task: sum(values) / len(values) for task, values in losses.items()},
                )
                bar.set_postfix(loss=f'{sum(every) / len(every):.4f}')
                losses.clear()
                norms.clear()
                since, seconds = step, 0.0
            if validator is not None and (step % chosen.validate_every == 0 or last):
                with trainer.average_parameters():
                    scores = validator.run(trainer.pipe, out / 'sheets' / f'{step:08d}.png')
                    stop = should_stop(step, scores)
                for row in csv_rows(scores):
                    results.add(step=step, **row)
            if first and (step % chosen.save_every == 0 or last or stop):
                trainer.save(out)


def _write_model(trainer: Trainer, out: Path) -> None:
    with files.atomic_folder(out / 'model', replace=True) as partial:
        with trainer.average_parameters():
            trainer.weights.write(partial)
        if trainer.settings.save_fp16 and not trainer.settings.rank:
            DiceptionPipeline.from_pretrained(partial, torch.float16).save_pretrained(partial)
