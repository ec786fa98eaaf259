# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What few-shot adaptation is worth: new tasks from 1 to 50 images, beside three controls.

    for task in floor shadow highlight graspable; do
        diception simulate --labels $task --scenes 50 --views 1 --size 171x128 --seed 5 \
            --out DATA/${task}_train
        diception simulate --labels $task --scenes 100 --views 1 --size 171x128 --seed 5 \
            --split test --out DATA/${task}_test
    done
    python bench/adapt.py DATA floor shadow highlight graspable --out RESULTS --workers 2
    python bench/adapt_curves.py RESULTS --out docs/images/adaptation_curves.svg

adapted     low-rank matrices, about 1 % of the parameters, in the built-in model
untrained   the same matrices in the same network with random weights, never trained on a task
scratch     all weights of the network with random weights
base        the built-in model asked the same text, without adaptation

All see the same images, parts of them and noise, for `--steps` steps; `adapted` from few
images for fewer, as `diception adapt` does, while the others reach less with those. With seed 0
they learn from the first n of the 50 images, with another one from n that it draws, and hold
back as many as `diception adapt` does; of masks the threshold is chosen as there, and nothing else
is chosen. The score is that of the last step, on test rooms that no model has seen: the mean over
images, and of masks also `pooled`, all intersections by all unions, which images with little
of the thing do not decide. What few images teach depends on which they are, so the counts of
`--repeated` are measured with several seeds.

RESULTS/TASK.csv gets a line when a cell is done, and the same command goes on where it was killed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
import csv
from dataclasses import asdict, replace
import functools
from hashlib import sha256
import multiprocessing
from pathlib import Path
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch

from diception_ros.datasets import labelled
from diception_ros.datasets.batch import fit_label
from diception_ros.datasets.sample import Sample
from diception_ros.model import DiceptionPipeline, folder
from diception_ros.model.folder import fingerprint
from diception_ros.tasks import TaskRegistry
from diception_ros.training import from_scratch, validation
from diception_ros.training.adapt import SELECTION_METRIC, FewShotDataset, prepare_adaptation
from diception_ros.training.checkpoints import load_pipeline
from diception_ros.training.settings import AdaptSettings
from diception_ros.training.trainer import Trainer

KINDS = {'floor': 'mask', 'shadow': 'mask', 'highlight': 'rgb', 'graspable': 'mask'}
METHODS = ('base', 'adapted', 'untrained', 'scratch')


class Cell(NamedTuple):
    """One line of a table, by what is asked."""

    task: str
    method: str
    images: int
    seed: int


COLUMNS = (
    *Cell._fields, 'metric', 'true', 'shuffled', 'mean', 'pooled', 'threshold', 'share', 'seconds',
    'made',
)  # fmt: skip


def main() -> None:
    """Measure all cells that no table has yet."""
    args = arguments()
    chosen = AdaptSettings(bf16=args.bf16, lr=args.lr)
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        shifts = untrained(Path(place))
        made = {
            method: sha256((fingerprint(folder.resolve(model_of(method, place)))
                            + repr((asdict(chosen), args.steps, shifts))).encode()
                           ).hexdigest()[:12]
            for method in METHODS
        }  # fmt: skip
        known = {task: begin(args.out / f'{task}.csv', made) for task in args.tasks}
        left = [cell for cell in cells(args) if cell not in known[cell.task]]
        done = len(list(cells(args))) - len(left)
        work = functools.partial(measure, args.data, args.out, place, chosen, args.steps)
        spawning = multiprocessing.get_context('spawn')
        with spawning.Pool(args.workers, quieten, (args.threads,)) as pool:
            for line in pool.imap_unordered(work, left):
                with (args.out / f'{line["task"]}.csv').open('a', newline='') as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
                    writer.writerow({**line, 'made': made[line['method']]})
                done += 1
                told = (f'{one:.4g}' if isinstance(one, float) else str(one)
                        for one in line.values())  # fmt: skip
                print(f'{done}, {time.monotonic() - start:.0f} s:', *told, flush=True)
            pool.close()
            pool.join()


def model_of(method: str, place: str) -> str:
    """The model that is adapted; `place` has the untrained one."""
    return 'builtin' if method in ('adapted', 'base') else place


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """All that is to be measured, what matters most first."""
    for seed in range(args.seeds):
        for task in args.tasks:
            for count in args.counts if seed == 0 else args.repeated:
                for method in args.methods:
                    if method != 'base':
                        yield Cell(task, method, count, seed)
            if seed == 0 and 'base' in args.methods:
                yield Cell(task, 'base', 0, 0)


def begin(path: Path, made: Mapping[str, str]) -> set[Cell]:
    """Cells that a table has.

    A new table gets its first line. Half a line, and what was measured with another model or other
    settings, is taken away: the untrained network stays the same when the built-in model changes.
    """
    text = path.read_text() if path.is_file() else ''
    lines = list(csv.DictReader(text[: text.rfind('\n') + 1].splitlines()))
    kept = [line for line in lines if line.get('made') == made.get(line['method'])]
    if len(kept) < len(lines):
        print(f'{path}: {len(lines) - len(kept)} of {len(lines)} lines are of another model or '
              'other settings, and are measured anew', flush=True)  # fmt: skip
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(kept)
    return {
        Cell(line['task'], line['method'], int(line['images']), int(line['seed'])) for line in kept
    }


def quieten(threads: int) -> None:
    """Prepare a process."""
    torch.set_num_threads(threads)
    folder.silence_library_logging()


@functools.cache
def samples(data: Path, task: str, part: str) -> list[Sample]:
    """Labelled images, read once by each process."""
    return labelled.read(data / f'{task}_{part}', KINDS[task], task).samples


def measure(
    data: Path, out: Path, place: str, chosen: AdaptSettings, most: int, cell: Cell
) -> dict[str, Any]:
    """One line of the table."""
    task, method, count, seed = cell
    kind = KINDS[task]
    everything, test = samples(data, task, 'train'), samples(data, task, 'test')
    if count > len(everything):
        raise ValueError(f'{data}: {task} has {len(everything)} images, asked for {count}')
    order = np.random.default_rng(seed).permutation(len(everything)) if seed else range(count)
    trained = [everything[k] for k in order[:count]]
    chosen = replace(chosen, seed=seed)
    prompt = f'[[image2segmentation]] {task}'
    known = labelled.Labelled(trained or everything[:1], '', ())
    what = prepare_adaptation(model_of(method, place), task, prompt, kind, known, chosen)
    settings = what.settings
    if method == 'scratch':
        settings = replace(settings, rank=0)
    steps = min(settings.max_steps, most) if method == 'adapted' else most
    settings = replace(settings, max_steps=steps)
    source = FewShotDataset(what.train, [], settings.buffer, chosen.min_crop_scale, chosen.seed)
    start = time.process_time()
    runner = Trainer(settings, source, pipe=what.pipe, registry=what.registry)
    while method != 'base' and runner.step < settings.max_steps:
        runner.train_step()
    seconds = time.process_time() - start
    shown = runner.preprocessor.collate(what.train)
    sheet = out / f'{task}_{method}_{count}_{seed}.png'
    metric = 'iou' if kind == 'mask' else SELECTION_METRIC[kind][0]
    # Without adaptation nobody has seen a label.
    threshold = what.card.threshold if method != 'base' else 0.5
    with runner.average_parameters():
        if kind == 'mask' and what.held_out:
            own = validation.Validator(what.held_out, runner.preprocessor, shown, settings).run(
                runner.pipe
            )
            threshold = own[task]['threshold']['true']
        registry = TaskRegistry((replace(what.card, threshold=threshold),))
        judge = Judge(test, replace(runner.preprocessor, registry=registry), shown, settings)
        scores = judge.run(runner.pipe, sheet)[task]
        together = pooled(judge, runner, test, registry) if kind == 'mask' else float('nan')
    share = 1.0 if method == 'scratch' else 0.0 if method == 'base' else what.card.share
    return {
        **cell._asdict(), 'metric': metric, **scores[metric], 'pooled': together,
        'threshold': threshold, 'share': share, 'seconds': seconds,
    }  # fmt: skip


class Judge(validation.Validator):
    """Paints each answer once: that is most of the work."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._painted: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def sample(
        self, pipe: DiceptionPipeline, questions: Sequence[int], images: Sequence[int]
    ) -> NDArray[np.float32]:
        asked = (*questions, *images)
        if asked not in self._painted:
            self._painted[asked] = super().sample(pipe, questions, images)
        return self._painted[asked]


def pooled(
    judge: validation.Validator, runner: Trainer, test: list[Sample], registry: TaskRegistry
) -> float:
    """IoU of all test images together."""
    everything = range(len(test))
    task = registry.get(test[0].prompt.task)
    both = either = 0
    for sample, image in zip(test, judge.sample(runner.pipe, everything, everything), strict=True):
        truth = fit_label(sample, runner.preprocessor.resolution, registry).values
        found = task.decode(image).values
        both += int((truth & found).sum())
        either += int((truth | found).sum())
    return both / either


def untrained(place: Path) -> int:
    """Write the built-in model with random weights in all that learns; returns its shifts."""
    pipe = load_pipeline(folder.resolve('builtin'))
    torch.manual_seed(0)
    for name in ('transformer', 'point_encoder'):
        trained = getattr(pipe, name)
        pipe.register_modules(**{name: type(trained).from_config(trained.config)})
    from_scratch.init_weights(pipe.transformer)
    # A fresh network paints nothing, and what paints nothing cannot be adapted from within.
    torch.nn.init.xavier_uniform_(pipe.transformer.proj_out.weight)
    pipe.save_pretrained(place)
    shifts: int = pipe.config.shifts
    return shifts


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path)
    parser.add_argument('tasks', nargs='+', choices=KINDS)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--counts', type=int, nargs='+', default=[1, 5, 10, 25, 50])
    parser.add_argument('--repeated', type=int, nargs='*', default=[1, 5])
    parser.add_argument('--seeds', type=int, default=2)
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=METHODS)
    parser.add_argument('--steps', type=int, default=200)
    parser.add_argument('--lr', type=float, default=0.0)
    parser.add_argument('--workers', type=int, default=1, help='processes')
    parser.add_argument('--threads', type=int, default=1, help='of each process')
    parser.add_argument('--bf16', action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


if __name__ == '__main__':
    main()
