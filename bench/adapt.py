# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What few-shot adaptation is worth: a new task from 1 to 50 pictures, beside three controls.

    for task in floor shadow highlight; do
        diception simulate --labels $task --scenes 50 --views 1 --size 171x128 --seed 5 \
            --out DATA/${task}_train
        diception simulate --labels $task --scenes 100 --views 1 --size 171x128 --seed 5 \
            --split test --out DATA/${task}_test
        python bench/adapt.py DATA $task --out RESULTS
    done
    python bench/adapt_curves.py RESULTS --out docs/images/adaptation_curves.svg

adapted     low-rank matrices, 1 % of the parameters, in the built-in model
untrained   the same matrices in the same network with random weights, that learnt no task
scratch     all weights of the network with random weights
base        the built-in model asked the same text, without adaptation

All see the same pictures, parts of them and noise, for the same number of steps. Of the first n of
the 50 pictures a fifth is held back where there are five or more, as `diception adapt` does it; of
masks those choose the threshold, and nothing else is chosen. The score is that of the last step,
on test rooms that no model has seen: the mean over pictures, and of masks also `pooled`, all
intersections by all unions, which pictures with little of the thing do not decide. One line of CSV
each.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path
import tempfile
import time
from typing import Any

import torch

from diception_ros import tasks
from diception_ros.data import labelled
from diception_ros.data.batch import fit_label
from diception_ros.data.sample import Sample
from diception_ros.model import quiet
from diception_ros.train import adapt, fresh, report
from diception_ros.train.adapt_settings import AdaptSettings
from diception_ros.train.fewshot import FewShot
from diception_ros.train.loop import Runner
from diception_ros.train.weights import load_pipeline

KINDS = {'floor': 'mask', 'shadow': 'mask', 'graspable': 'mask', 'highlight': 'rgb'}
COLUMNS = (
    'task',
    'method',
    'pictures',
    'metric',
    'true',
    'shuffled',
    'mean',
    'pooled',
    'share',
    'seconds',
)


def main() -> None:
    """Measure one task."""
    args = arguments()
    torch.set_num_threads(args.threads)
    quiet.hush()
    kind = KINDS[args.task]
    learnt, test = (
        labelled.read(args.data / f'{args.task}_{part}', kind, args.task).samples
        for part in ('train', 'test')
    )
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        untrained(Path(place))
        with (args.out / f'{args.task}.csv').open('w', newline='') as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for method in args.methods:
                for count in args.counts if method != 'base' else [0]:
                    line = measure(args, method, kind, learnt[:count], test, place)
                    table.writerow(line)
                    file.flush()
                    print(' '.join(f'{one:.4g}' if isinstance(one, float) else str(one)
                                   for one in line.values()), flush=True)  # fmt: skip


def measure(
    args: argparse.Namespace, method: str, kind: str, learnt: list[Sample], test: list[Sample],
    place: str,
) -> dict[str, Any]:  # fmt: skip
    """One line of the table."""
    chosen = AdaptSettings(steps=args.steps, seed=args.seed, bf16=args.bf16, lr=args.lr)
    model = 'builtin' if method in ('adapted', 'base') else place
    prompt = f'[[image2segmentation]] {args.task}'
    known = labelled.Labelled(learnt or test[:1], '', ())
    what = adapt.plan(model, args.task, prompt, kind, known, chosen)
    settings = what.settings
    if method == 'scratch':
        settings = replace(settings, rank=0)
    source = FewShot(what.learnt, [], settings.pool, chosen.smallest, chosen.seed)
    start = time.process_time()
    runner = Runner(settings, source, pipe=what.pipe)
    while method != 'base' and runner.step < settings.steps:
        runner.train_step()
    seconds = time.process_time() - start
    shown = runner.form.prepare(what.learnt)
    judge = report.Validation(test, runner.form, shown, settings)
    sheet = args.out / f'{args.task}_{method}_{len(learnt)}.png'
    metric = 'iou' if kind == 'mask' else adapt.MAIN[kind][0]
    with runner.averaged():
        if kind == 'mask' and what.held and method != 'base':
            own = report.Validation(what.held, runner.form, shown, settings).run(runner.pipe)
            threshold = own[args.task]['threshold']['true']
            tasks.add(replace(what.card, threshold=threshold))
        scores = judge.run(runner.pipe, sheet)[args.task]
        together = pooled(judge, runner, test) if kind == 'mask' else float('nan')
    share = 1.0 if method == 'scratch' else 0.0 if method == 'base' else what.card.share
    return {
        'task': args.task, 'method': method, 'pictures': len(learnt), 'metric': metric,
        **scores[metric], 'pooled': together, 'share': share, 'seconds': seconds,
    }  # fmt: skip


def pooled(judge: report.Validation, runner: Runner, test: list[Sample]) -> float:
    """IoU of all test pictures together."""
    everything = range(len(test))
    task = tasks.get(test[0].prompt.task)
    both = either = 0
    for sample, picture in zip(
        test, judge.paint(runner.pipe, everything, everything), strict=True
    ):
        truth = fit_label(sample, runner.form.resolution).values
        found = task.decode(picture).values
        both += int((truth & found).sum())
        either += int((truth | found).sum())
    return both / either


def untrained(place: Path) -> None:
    """Write the built-in model with random weights in all that learns."""
    pipe = load_pipeline(Path('builtin'))
    torch.manual_seed(0)
    fresh.initialise(pipe.transformer)
    # A fresh network paints nothing, and what paints nothing cannot be adapted from within.
    torch.nn.init.xavier_uniform_(pipe.transformer.proj_out.weight)
    for module in pipe.point_encoder.modules():
        if hasattr(module, 'reset_parameters'):
            module.reset_parameters()
    pipe.save_pretrained(place)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path)
    parser.add_argument('task', choices=KINDS)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--counts', type=int, nargs='+', default=[1, 5, 10, 25, 50])
    parser.add_argument(
        '--methods', nargs='+', default=['base', 'adapted', 'untrained', 'scratch']
    )
    parser.add_argument('--steps', type=int, default=300)
    parser.add_argument('--lr', type=float, default=0.0)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--bf16', action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


if __name__ == '__main__':
    main()
