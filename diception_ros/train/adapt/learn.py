# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Learns an adapter, and keeps its best state.

OUT/card.json, OUT/adapter.safetensors   the adapter, at the end: its best state
OUT/labels.json                          what it learns from, so that a resume has the same
OUT/best/00000050/                       the best state so far, by its step; gone at the end
OUT/run/                                 log, validation, contact sheets, checkpoints: see `run`
"""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path
import shutil
from typing import Any

from diception_ros.card import CARD_FILE, WEIGHTS_FILE, Card
from diception_ros.train import report, run, state
from diception_ros.train.adapt.fewshot import FewShot
from diception_ros.train.adapt.plan import Plan
from diception_ros.train.adapt.settings import AdaptSettings
from diception_ros.train.loop import Runner

# Which number says how good an answer of each kind is, and whether more is better.
MAIN = {
    'mask': ('best_iou', True),
    'instances': ('mean_iou', True),
    'normals': ('mean_deg', False),
    'depth': ('disparity_mae', False),
    'rgb': ('mae', False),
}
_LABELS_FILE = 'labels.json'


def learn(
    what: Plan, chosen: AdaptSettings, out: Path, resume: bool = False, progress: bool = True
) -> Card:
    """Learn, and write the adapter.

    Args:
        what: from `make_plan`.
        chosen: how.
        out: folder of the adapter, new or empty unless it goes on.
        resume: go on from the last checkpoint in it.
        progress: show a bar.

    Returns:
        The adapter's card, with its metrics on what was held back.

    Raises:
        FileExistsError: there is something in the folder, or the adapter is finished.
        FileNotFoundError: nothing to go on from.
        ValueError: it is to go on with something else than it began with.
    """
    source = FewShot(what.learnt, what.held, what.settings.pool, chosen.smallest, chosen.seed)
    story = {'task': what.card.name, 'prompt': what.card.prompt, 'kind': what.card.kind,
             'base_sha256': what.card.base_sha256, 'smallest': chosen.smallest,
             **what.card.data}  # fmt: skip
    if resume:
        _same(out, story)
    if resume and state.folders(out / 'run'):
        runner = run.resume(what.settings, out / 'run', source, what.pipe)
    else:
        if resume:
            # It was stopped before its first checkpoint, so it goes on from the beginning.
            shutil.rmtree(out / 'run', ignore_errors=True)
        elif out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FileExistsError(
                f'{out} exists and is not empty; choose another folder, or --resume to go on'
            )
        runner = run.begin(what.settings, out / 'run', source, what.pipe)
        (out / _LABELS_FILE).write_text(json.dumps(story, indent=2) + '\n')
    best = _Best(runner, what.card, out, chosen.patience)
    # One that was killed after its last validation has nothing more to learn.
    if not best.enough:
        # Whole pictures, like those that it is judged by; a pool would be another after a resume.
        run.run(runner, out / 'run', progress, best.watch, runner.form.prepare(what.learnt))
    last = best.state if what.held else out / 'run' / 'model'
    shutil.copyfile(last / WEIGHTS_FILE, out / WEIGHTS_FILE)
    card = replace(what.card, metrics=best.metrics, threshold=best.threshold)
    card.write(out)
    for rest in (out / 'run' / 'checkpoints', out / 'run' / 'model', out / 'best'):
        shutil.rmtree(rest, ignore_errors=True)
    return card


class _Best:
    """Keeps the best state, and says when it has not become better for long.

    Args:
        runner: the run; what was found before the step at which it goes on is read from its table.
        card: of the adapter.
        out: its folder.
        patience: validations in a row that may be no better; 0: any number.
    """

    def __init__(self, runner: Runner, card: Card, out: Path, patience: int) -> None:
        self._runner, self._place, self._patience = runner, out / 'best', patience
        self._task, self._threshold = card.name, card.threshold
        self._metric, self._more = MAIN[card.kind]
        self._value, self._waited = float('nan'), 0
        self._step = 0
        self.metrics: dict[str, object] = {}
        found: dict[int, report.Metrics] = {}
        for line in report.read_table(out / 'run' / 'validation.csv', runner.step):
            numbers = {name: float(line[name]) for name in report.ANSWERS}
            found.setdefault(int(line['step']), {})[line['metric']] = numbers
        for step, metrics in found.items():
            self._see(step, metrics)

    @property
    def enough(self) -> bool:
        """Whether it has not become better for long."""
        return bool(self._patience) and self._waited >= self._patience

    @property
    def state(self) -> Path:
        """Folder of the best state."""
        return self._place / f'{self._step:08d}'

    @property
    def threshold(self) -> float:
        """Of masks the best state's, else what the card had."""
        found: Any = self.metrics.get('threshold', {'true': self._threshold})
        return float(found['true'])

    def watch(self, step: int, scores: report.Scores) -> bool:
        before = self.state
        # With the digits that the table has, or a run that goes on would decide otherwise.
        metrics = {
            metric: {answer: float(f'{value:.6g}') for answer, value in numbers.items()}
            for metric, numbers in scores[self._task].items()
        }
        if self._see(step, metrics):
            partial = self._place / 'partial'
            shutil.rmtree(partial, ignore_errors=True)
            self._runner.weights.write(partial)
            # The one before stays: there is no checkpoint of this step yet, and a run that is
            # killed now goes on from the one before.
            for old in self._place.iterdir():
                if old not in (before, partial):
                    shutil.rmtree(old)
            partial.rename(self.state)
        return self.enough

    def _see(self, step: int, metrics: report.Metrics) -> bool:
        value = metrics[self._metric]['true']
        gain = (value - self._value) * (1 if self._more else -1)
        # As long as nothing could be scored (NaN), the latest state is the best that is known.
        better = math.isnan(self._value) or gain > 0
        self._waited = 0 if better else self._waited + 1
        if better:
            self._value, self._step = value, step
            self.metrics = {'step': step, **metrics}
        return better


def _same(out: Path, story: dict[str, object]) -> None:
    """Raise unless an adapter goes on with what it began with."""
    path = out / _LABELS_FILE
    if (out / CARD_FILE).is_file():
        raise FileExistsError(f'{out}: this adapter is finished; choose another folder')
    if not path.is_file():
        raise FileNotFoundError(
            f'{out}: nothing to go on from; begin without --resume, in a new or empty folder'
        )
    had = json.loads(path.read_text())
    for name, now in story.items():
        if had.get(name) != now:
            raise ValueError(
                f'{out} was begun with another {name}: {had.get(name)!r}, now {now!r}; go on with '
                'that, or choose another folder'
            )
