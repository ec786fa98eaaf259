# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One step of training: for a new small model, for SD3's weights, and for going on."""

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
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from diception_ros import tasks
from diception_ros.core.settings import PredictSettings
from diception_ros.datasets.batch import Batch, Prepared
from diception_ros.model import DiceptionPipeline
from diception_ros.perception.predictor import Predictor
from diception_ros.system import files
from diception_ros.tasks import BUILTIN, TaskRegistry
from diception_ros.training import (
    checkpoints,
    distributed,
    loss,
    samples,
    settings,
    sources,
    validation,
)
from diception_ros.training import loss as flow
from diception_ros.training.checkpoints import LowRank, Weights, Whole, load_pipeline
from diception_ros.training.from_scratch import init_pipeline
from diception_ros.training.optim import Ema, Optimizer
from diception_ros.training.samples import Form
from diception_ros.training.settings import TrainSettings
from diception_ros.training.sources import Source

_FITTED = 2000  # pictures that the autoencoder of a new model is made for, of each kind
BACKEND = 'inductor'  # of torch.compile


class Runner:
    """A training run: model, optimiser and samples, and the step that they are at.

    Where several processes learn together, each has such a run, with a part of every batch.

    Args:
        settings: of the run.
        source: where samples come from; None for the one that the settings name.
        checkpoint: to go on from; None to begin.
        pipe: the model of the settings, where it is loaded already.
        registry: holds the tasks of the run.

    Raises:
        ValueError: settings that do not fit together, a checkpoint of other settings, a task
            without samples, a text that the model has no embedding of.
    """

    def __init__(
        self,
        settings: TrainSettings,
        source: sources.Source | None = None,
        checkpoint: Path | None = None,
        pipe: DiceptionPipeline | None = None,
        registry: TaskRegistry = BUILTIN,
    ) -> None:
        # First of all, because the step decides which pool is needed.
        saved = checkpoints.load(checkpoint) if checkpoint else None
        self.settings, self.step = settings, saved.step if saved else 0
        self.shares = samples.parse(settings.shares, registry)
        self.processes = distributed.join(settings.device)
        self.device = self.processes.device
        self._mixture = samples.Mixture(self.shares, settings.seed)
        self._pool: tuple[int, Prepared, dict[str, torch.Tensor]] | None = None

        # Of low-rank matrices a checkpoint holds nothing else; the model is where it was.
        going_on = checkpoint if checkpoint and not settings.rank else None
        folder = going_on / 'model' if going_on else Path(settings.model)
        if pipe is None and (going_on is not None or settings.model):
            pipe = load_pipeline(folder)
        resolution = settings.resolution or (pipe.config.resolution if pipe else 0)
        order = pipe.point_encoder.config.point_order if pipe else 'xy'
        self.form = Form(resolution, order, settings.mirrored, registry)
        self.source = source or sources.open_source(
            settings, list(self.shares), resolution, self.processes
        )
        self.pipe = pipe or self._fresh()
        # Refuses what doesn't suit.
        Predictor(self.pipe, PredictSettings(processing_resolution=resolution))
        self.pipe.register_to_config(resolution=resolution)
        if settings.rank and settings.frozen_bf16:
            self.pipe.transformer.to(torch.bfloat16)  # before it takes twice the room on a GPU
        self.pipe.to(self.device)
        # An unknown text fails here, before any work.
        self.pipe.get_embeddings(list(dict.fromkeys(['', *self.pool()[1].texts])))

        for part in (self.pipe.transformer, self.pipe.point_encoder, self.pipe.vae):
            self.processes.share(part.state_dict().values())
        self.weights = self._weights()
        self.parameters = self.weights.parameters
        self.pipe.vae.requires_grad_(False)
        if settings.checkpointing:
            self.pipe.transformer.enable_gradient_checkpointing()
        if settings.compile:
            _find_compiler(self.device)
            self.pipe.transformer.compile(backend=BACKEND)
        self.optimizer = Optimizer(self.parameters, settings)
        averages = settings.ema and self.processes.first
        self.ema = Ema(self.parameters, settings.ema) if averages else None
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        self._sigmas = flow.sigma_table(self.pipe.scheduler).to(self.device)
        if checkpoint and saved:
            self._restore(saved, checkpoint)

    def train_step(self) -> tuple[dict[str, list[float]], float]:
        """Go one step.

        Returns:
            losses by task, of each sample of all processes; the norm of the gradient.

        Raises:
            NonFiniteLossError: the loss or the gradient is no number; the weights are as before.
        """
        settings = self.settings
        self.optimizer.zero_grad()
        found: dict[str, list[float]] = defaultdict(list)
        names: list[str] = []
        pool = self.pool()[1]
        for part in range(settings.accumulate):
            number = self.step * settings.accumulate + part
            rows, batch = self.rows(number).tolist(), self.batch(number)
            batch_names = tuple(pool.names[row] for row in rows)
            # Backward too: gradient checkpointing runs the attention again there.
            with self._math():
                losses, counts = self.losses(batch)
                # Those of all processes, so that they stop together.
                both = torch.stack([losses.detach(), counts.float()], dim=1)
                every, counted = self.processes.gather(both).unbind(dim=1)
                flow.check_finite(every, batch_names, self.step)
                # A sample of which nothing is known says nothing, not even that it was right.
                worth = flow.sample_weights(batch.target, settings.small_things)
                mean = (worth * losses).sum() / counted.sum().clamp(min=1)
                (mean / settings.accumulate).backward()
            for row, value in zip(rows, every.tolist(), strict=True):
                found[pool.tasks[row]].append(value)
            names += batch_names
        self.processes.add(
            value.grad for value in self.parameters.values() if value.grad is not None
        )
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), settings.clip or float('inf')
        )
        flow.check_finite(norm.expand(len(names)), tuple(names), self.step)
        self.optimizer.step(settings.lr * rate(settings, self.step))
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.parameters, self.step)
        return dict(found), float(norm)

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each sample under noise that is drawn now.

        Args:
            batch: on the device.

        Returns:
            (B,) losses; (B,) bool, whether any cell of the sample counts.
        """
        settings, pipe, generator = self.settings, self.pipe, self.generator
        # Drawn for all processes, of which each takes its own.
        size = len(batch.names) * self.processes.count
        mine = self.processes.part(len(batch.names))
        shown = batch.image
        if settings.photometric:
            seeds = loss.draw(size, generator)[mine]
            shown = loss.change(shown, settings.photometric, seeds)
        with torch.no_grad():
            clean = pipe.encode_image(batch.target)  # (B, C, h, w)
            image = pipe.encode_image(shown)  # (B, C, h, w)
        sigma = flow.draw_sigmas(size, self._sigmas, generator, settings.share_at_noise)[mine]
        shape = (size, *clean.shape[1:])
        noise = torch.randn(shape, generator=generator, device=self.device)[mine]
        luck = torch.rand(size, generator=generator, device=self.device)[mine]
        dropped = luck < settings.dropout
        noisy = flow.add_noise(clean, noise, sigma)

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
                image_latents=image,
                encoder_hidden_states=tokens,
                pooled_projections=pooled,
                point_embeds=points,
                timestep=1000 * sigma,
                return_dict=False,
            )[0]
        known = flow.known_cells(batch.valid, (clean.shape[-2], clean.shape[-1]))
        losses = flow.flow_loss(velocity, clean, noise, sigma, known, settings.weighting)
        return losses, known.flatten(1).any(dim=1)

    def _math(self) -> contextlib.AbstractContextManager[None]:
        """Plain attention on a CPU, where torch's fused one is slow backwards.

        Measured at a batch of 64 on two cores of an AMD EPYC with AVX-512: steps are 1.08 times as
        fast at 136 tokens.
        """
        if self.device.type != 'cpu':
            return contextlib.nullcontext()
        plain: contextlib.AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
        return plain

    def batch(self, number: int) -> Batch:
        """This process's part of the batch of this number, counted over the whole run."""
        mine = self.processes.part(self.settings.batch_size)
        return self.pool()[1].batch(self.rows(number)[mine], self.device)

    def rows(self, number: int) -> torch.Tensor:
        """Which samples of the pool are in a batch, for all processes, in the order of those."""
        _, _, rows = self.pool()
        counts = {task: len(mine) for task, mine in rows.items()}
        size = self.settings.batch_size * self.processes.count
        dealt = (self._mixture.deal(number * size + k, counts) for k in range(size))
        return torch.stack([rows[task][index] for task, index in dealt])

    def pool(self) -> tuple[int, Prepared, dict[str, torch.Tensor]]:
        """The pool that this step learns from: its number, and the rows of each task."""
        number = self.step // self.settings.refresh if self.settings.refresh else 0
        if self._pool is None or self._pool[0] != number:
            prepared = self.source.pool(number, self.form)
            rows = {task: prepared.rows(task) for task in self.shares}
            empty = [task for task, mine in rows.items() if not len(mine)]
            if empty:
                raise ValueError(
                    f'no sample of task {empty[0]!r} among {len(prepared)}; give it no share, or '
                    'more samples'
                )
            self._pool = number, prepared, rows
        return self._pool

    def save(self, out: Path) -> Path:
        """Write a checkpoint into a run's folder."""
        rest = checkpoints.State(
            self.step,
            self.optimizer.state_dict(),
            self.generator.get_state(),
            self.processes.count,
        )
        return checkpoints.save(out, self.weights, self.ema, rest, self.settings)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the model has the mean of its weights, where one is kept."""
        if self.ema is None:
            return contextlib.nullcontext()
        return self.ema.in_place(self.parameters)

    def _fresh(self) -> DiceptionPipeline:
        _, pool, _ = self.pool()
        shown = torch.cat(
            [
                pictures[:: max(1, len(pictures) // _FITTED)]
                for pictures in (pool.images, pool.targets)
            ]
        )
        texts = dict.fromkeys([*tasks.texts(), *pool.texts])
        return init_pipeline(self.settings, shown.float() / 127.5 - 1, list(texts))

    def _weights(self) -> Weights:
        settings = self.settings
        if not settings.rank:
            return Whole(self.pipe)
        texts = list(dict.fromkeys(self.pool()[1].texts))
        if len(texts) > 1:
            raise ValueError(f'low-rank matrices learn one text, got {len(texts)}: {texts[:3]}')
        return LowRank(self.pipe, settings.rank, texts[0], settings.seed)

    def _restore(self, saved: checkpoints.State, checkpoint: Path) -> None:
        if saved.processes != self.processes.count:
            raise ValueError(
                f'{checkpoint} is of {saved.processes} processes that learnt together, here are '
                f'{self.processes.count}; launch as many, or begin another run with this model'
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


def _find_compiler(device: torch.device) -> None:
    name = os.environ.get('CXX', 'g++')  # as torch chooses
    if device.type == 'cpu' and not shutil.which(name):
        raise FileNotFoundError(
            f'compile needs a C++ compiler on a CPU, and there is no {name}; apt install g++, or '
            'leave compile out'
        )


def rate(settings: TrainSettings, step: int) -> float:
    """Factor of the learning rate: up in the warm-up, then 1, down to 0 at the end.

    Args:
        settings: steps, warmup and decay.
        step: steps done before this one.
    """
    up = (step + 1) / settings.warmup if settings.warmup else 1.0
    fall = settings.decay * settings.steps
    down = (settings.steps - step) / fall if fall else 1.0
    return min(up, down, 1.0)


# A whole run: steps, log, validation and checkpoints in one folder.
#
# OUT/settings.yaml      all settings; `--config OUT/settings.yaml` repeats the run
# OUT/log.csv            loss by task, learning rate, norm of the gradient, samples a second
# OUT/validation.csv     metrics on held-out samples beside both controls, see `report.Validation`
# OUT/sheets/            contact sheets of the validation: input, truth, answer
# OUT/checkpoints/       see `state`
# OUT/model/             pipeline folder, at the end: the mean of the weights where one is kept
#
# Where several processes learn together, the first of them writes all of it.


def begin(
    chosen: TrainSettings,
    out: Path,
    source: Source | None = None,
    pipe: DiceptionPipeline | None = None,
    registry: TaskRegistry = BUILTIN,
) -> Runner:
    """Begin a run.

    Args:
        chosen: settings of the run.
        out: its folder, which must be new or empty.
        source: where samples come from; None for the one that the settings name.
        pipe: the model of the settings, where it is loaded already.
        registry: holds the tasks of the run.

    Raises:
        FileExistsError: there is something in the folder.
        ValueError: see Runner.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f'{out} exists and is not empty; choose another folder, or --resume to go on'
        )
    runner = Runner(chosen, source, pipe=pipe, registry=registry)
    if runner.processes.first:
        out.mkdir(parents=True, exist_ok=True)
        settings.write(chosen, out / 'settings.yaml')
    return runner


def resume(
    chosen: TrainSettings | None,
    out: Path,
    source: Source | None = None,
    pipe: DiceptionPipeline | None = None,
    registry: TaskRegistry = BUILTIN,
) -> Runner:
    """Go on with a run from its last checkpoint, as if it had never stopped.

    Other steps with a decay are another learning rate from here on, see `stretched`.

    Args:
        chosen: its settings; those that change no step may differ. None for those it had.
        out: its folder.
        source: as at its beginning.
        pipe: as at its beginning.
        registry: as at its beginning.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: other settings, or see Runner.
    """
    found = checkpoints.folders(out)
    if not found:
        raise FileNotFoundError(f'{out}: no checkpoint to go on from; leave out --resume to begin')
    had = settings.read(found[-1] / 'settings.yaml')
    chosen = chosen or had
    changed = settings.differences(had, chosen)
    if changed:
        raise ValueError(
            f'{out} was begun with other settings ({"; ".join(changed)}); go on with those, or '
            'begin another run whose model is the last checkpoint'
        )
    runner = Runner(chosen, source, found[-1], pipe, registry)
    if runner.processes.first:
        settings.write(chosen, out / 'settings.yaml')
    return runner


def stretched(had: TrainSettings, chosen: TrainSettings, step: int) -> str:
    """What other steps do to the learning rate of a run that goes on, for people; '' for nothing.

    Args:
        had: settings with which it began.
        chosen: those with which it goes on.
        step: steps done.
    """
    if had.steps == chosen.steps or not chosen.decay:
        return ''
    before, now = (one.lr * rate(one, step) for one in (had, chosen))
    falls = [math.ceil((1 - one.decay) * one.steps) for one in (had, chosen)]
    return (
        f'steps was {had.steps}, now {chosen.steps}, of which decay {chosen.decay:g} is a share: '
        f'the learning rate goes on at {now:.3g}, not {before:.3g}, and falls from step '
        f'{falls[1]} on, not {falls[0]}'
    )


def run(
    runner: Runner,
    out: Path,
    progress: bool = True,
    watch: Callable[[int, validation.Scores], bool] = lambda step, scores: False,
    learnt: Prepared | None = None,
) -> Path:
    """Learn until the last step.

    Args:
        runner: what `begin` or `resume` returned.
        out: the run's folder.
        progress: show a bar.
        watch: told step and scores of every validation, while the model has the mean of its
            weights; ends the run by saying True.
        learnt: whose mean picture answers are judged beside; None for the pool of this step.

    Returns:
        the model folder that was written at the end; of low-rank matrices a folder of those.

    Raises:
        NonFiniteLossError: the loss or the gradient is no number; the last checkpoint stays.
    """
    chosen, first = runner.settings, runner.processes.first
    log = None
    if first:
        log = validation.Table(
            out / 'log.csv',
            ('step', 'loss', 'lr', 'norm', 'samples_per_second', *runner.shares),
            runner.step,
        )
    held = runner.source.validation() if chosen.validate_every and first else []
    judge = None
    if held:
        judge = validation.Validation(held, runner.form, learnt or runner.pool()[1], chosen)
        results = validation.Table(
            out / 'validation.csv', validation.VALIDATION_COLUMNS, runner.step
        )
    losses: dict[str, list[float]] = defaultdict(list)
    norms: list[float] = []
    bar = tqdm(
        total=chosen.steps, initial=runner.step, unit='step', file=sys.stderr,
        disable=not (progress and first),
    )  # fmt: skip
    since, seconds, enough = runner.step, 0.0, False
    try:
        while runner.step < chosen.steps and not enough:
            start = time.perf_counter()
            lr = chosen.lr * rate(chosen, runner.step)
            found, norm = runner.train_step()
            seconds += time.perf_counter() - start
            for task, values in found.items():
                losses[task] += values
            norms.append(norm)
            bar.update()
            step, last = runner.step, runner.step == chosen.steps

            if log is not None and (step % chosen.log_every == 0 or last):
                every = [value for values in losses.values() for value in values]
                samples = (step - since) * chosen.batch_size * chosen.accumulate
                samples *= runner.processes.count
                log.add(
                    step=step,
                    loss=sum(every) / len(every),
                    lr=lr,
                    norm=sum(norms) / len(norms),
                    samples_per_second=samples / seconds,
                    **{task: sum(values) / len(values) for task, values in losses.items()},
                )
                bar.set_postfix(loss=f'{sum(every) / len(every):.4f}')
                losses.clear()
                norms.clear()
                since, seconds = step, 0.0
            if judge is not None and (step % chosen.validate_every == 0 or last):
                with runner.averaged():
                    scores = judge.run(runner.pipe, out / 'sheets' / f'{step:08d}.png')
                    enough = watch(step, scores)
                for line in validation.lines(scores):
                    results.add(step=step, **line)
            if first and (step % chosen.save_every == 0 or last or enough):
                runner.save(out)
    finally:
        bar.close()
        runner.source.close()
    if first:
        _finish(runner, out)
    runner.processes.wait()
    return out / 'model'


def _finish(runner: Runner, out: Path) -> None:
    with files.atomic_folder(out / 'model', replace=True) as partial:
        with runner.averaged():
            runner.weights.write(partial)
        if runner.settings.half and not runner.settings.rank:
            DiceptionPipeline.from_pretrained(partial, torch.float16).save_pretrained(partial)
