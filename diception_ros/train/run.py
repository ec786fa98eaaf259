# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A whole run: steps, log, validation and checkpoints in one folder.

OUT/settings.yaml      all settings; `--config OUT/settings.yaml` repeats the run
OUT/log.csv            loss by task, learning rate, norm of the gradient, samples a second
OUT/validation.csv     metrics on held-out samples beside both controls, see `report.Validation`
OUT/sheets/            contact sheets of the validation: input, truth, answer
OUT/checkpoints/       see `state`
OUT/model/             pipeline folder, at the end: the mean of the weights where one is kept

Where several processes learn together, the first of them writes all of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
import math
import os
from pathlib import Path
import shutil
import sys
import time

import torch
from tqdm import tqdm

from diception_ros.data.batch import Prepared
from diception_ros.model import DiceptionPipeline
from diception_ros.train import report, settings, state
from diception_ros.train.loop import Runner, rate
from diception_ros.train.settings import TrainSettings
from diception_ros.train.sources import Source


def begin(
    chosen: TrainSettings,
    out: Path,
    source: Source | None = None,
    pipe: DiceptionPipeline | None = None,
) -> Runner:
    """Begin a run.

    Args:
        chosen: settings of the run.
        out: its folder, which must be new or empty.
        source: where samples come from; None for the one that the settings name.
        pipe: the model of the settings, where it is loaded already.

    Raises:
        FileExistsError: there is something in the folder.
        ValueError: see Runner.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f'{out} exists and is not empty; choose another folder, or --resume to go on'
        )
    runner = Runner(chosen, source, pipe=pipe)
    if runner.processes.first:
        out.mkdir(parents=True, exist_ok=True)
        settings.write(chosen, out / 'settings.yaml')
    return runner


def resume(
    chosen: TrainSettings | None,
    out: Path,
    source: Source | None = None,
    pipe: DiceptionPipeline | None = None,
) -> Runner:
    """Go on with a run from its last checkpoint, as if it had never stopped.

    Other steps with a decay are another learning rate from here on, see `stretched`.

    Args:
        chosen: its settings; those that change no step may differ. None for those it had.
        out: its folder.
        source: as at its beginning.
        pipe: as at its beginning.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: other settings, or see Runner.
    """
    found = state.folders(out)
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
    runner = Runner(chosen, source, found[-1], pipe)
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
    watch: Callable[[int, report.Scores], bool] = lambda step, scores: False,
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
        log = report.Table(
            out / 'log.csv',
            ('step', 'loss', 'lr', 'norm', 'samples_per_second', *runner.shares),
            runner.step,
        )
    held = runner.source.validation() if chosen.validate_every and first else []
    judge = None
    if held:
        judge = report.Validation(held, runner.form, learnt or runner.pool()[1], chosen)
        results = report.Table(out / 'validation.csv', report.VALIDATION_COLUMNS, runner.step)
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
                for line in report.lines(scores):
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
    partial = out / 'model.partial'
    shutil.rmtree(partial, ignore_errors=True)
    with runner.averaged():
        runner.weights.write(partial)
    if runner.settings.half and not runner.settings.rank:
        DiceptionPipeline.from_pretrained(partial, torch.float16).save_pretrained(partial)
    shutil.rmtree(out / 'model', ignore_errors=True)
    os.replace(partial, out / 'model')
