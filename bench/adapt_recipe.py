# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How `diception adapt` should learn masks: one factor at a time, on the built-in model.

    for task in floor shadow; do
        diception simulate --labels $task --scenes 50 --views 1 --size 171x128 --seed 21 \
            --out DATA/${task}_21
        diception simulate --labels $task --scenes 60 --views 1 --size 171x128 --seed 22 \
            --out DATA/${task}_22
    done
    python bench/adapt_recipe.py DATA --workers 2

Trained on the first images of seed 21, all of them, and judged by the 60 of seed 22, mean IoU;
both are of the split `train`, so nothing is chosen by the rooms that bench/adapt.py is about. Each
mask is read at several thresholds: that which `diception adapt` guesses from the training labels;
a half; half of the image's brightest spot, as the task `segmentation` reads; and the best for all
60, which nobody can know.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
import functools
import itertools
import multiprocessing
from pathlib import Path
from typing import Any

from adapt import quieten, samples
import numpy as np
from numpy.typing import NDArray

from diception_ros.core.labels import Mask
from diception_ros.datasets import labelled
from diception_ros.datasets.batch import fit_label
from diception_ros.tasks.segmentation import TASK
from diception_ros.training import validation
from diception_ros.training.adapt import FewShotDataset, prepare_adaptation
from diception_ros.training.settings import AdaptSettings
from diception_ros.training.trainer import Trainer

READINGS = ('guessed', 'half', 'brightest', 'best')


@dataclass(frozen=True)
class Variant:
    """One line of the table.

    Attributes:
        task: floor or shadow.
        images: number of training images.
        steps: of the optimiser.
        name: what is different.
        chosen: changed values of AdaptSettings.
        run: changed values of the training run's settings.
    """

    task: str
    images: int
    steps: int
    name: str = 'as diception adapt does'
    chosen: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant('floor', 50, 200),
    Variant('floor', 50, 200, '`--share 0.015`', {'share': 0.015}),
    Variant('floor', 50, 200, 'all parameters, learning rate 3e-4', {}, {'rank': 0, 'lr': 3e-4}),
    Variant('floor', 50, 200, 'Muon for AdamW', {}, {'optimizer': 'muon'}),
    Variant('floor', 50, 200, '`--lr 1e-3`', {'lr': 1e-3}),
    Variant('floor', 50, 200, 'a fifth of the samples noisy images', {}, {'share_at_noise': 0.8}),
    Variant('floor', 50, 200, '`--cond-dropout 0`', {'cond_dropout': 0.0}),
    Variant('floor', 50, 200, '`--color-jitter 0`', {'color_jitter': 0.0}),
    Variant('floor', 50, 200, '`--min-crop-scale 0.85`', {'min_crop_scale': 0.85}),
    Variant('floor', 50, 500, '`--steps 500`'),
    Variant('floor', 5, 50),
    Variant('floor', 5, 100, '`--steps 100`'),
    Variant('floor', 3, 50),
    Variant('floor', 1, 50),
    Variant('shadow', 50, 200),
    Variant('shadow', 5, 50),
    Variant('shadow', 1, 50),
)


def main() -> None:
    """Measure all, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--workers', type=int, default=1, help='processes')
    parser.add_argument('--bf16', action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    jobs = list(itertools.product(VARIANTS, args.seeds))
    print(f'| task | images | steps | recipe | {" | ".join(READINGS)} |')
    print('|---|---|---|---|' + '---|' * len(READINGS), flush=True)
    work = functools.partial(measure, args.data, args.bf16)
    with multiprocessing.get_context('spawn').Pool(args.workers, quieten, (1,)) as pool:
        found = pool.imap(work, jobs)
        for variant in VARIANTS:
            columns = zip(*(next(found) for _ in args.seeds), strict=True)
            cells = (', '.join(f'{iou:.3f}'.lstrip('0') for iou in one) for one in columns)
            about = f'{variant.task} | {variant.images} | {variant.steps} | {variant.name}'
            print(f'| {about} | {" | ".join(cells)} |', flush=True)


def measure(data: Path, bf16: bool, job: tuple[Variant, int]) -> list[float]:
    """Mean IoU of the images of seed 22, by reading."""
    variant, seed = job
    trained = samples(data, variant.task, '21')[: variant.images]
    test = samples(data, variant.task, '22')
    chosen = AdaptSettings(
        **{
            'seed': seed,
            'bf16': bf16,
            'val_fraction': 0.0,
            'max_steps': variant.steps,
            **variant.chosen,
        }
    )
    prompt = f'[[image2segmentation]] {variant.task}'
    known = labelled.Labelled(trained, '', ())
    what = prepare_adaptation('builtin', variant.task, prompt, 'mask', known, chosen)
    settings = replace(what.settings, **variant.run)
    source = FewShotDataset(what.train, [], settings.buffer, chosen.min_crop_scale, chosen.seed)
    runner = Trainer(settings, source, pipe=what.pipe, registry=what.registry)
    while runner.step < settings.max_steps:
        runner.train_step()
    judge = validation.Validator(
        test, runner.preprocessor, runner.preprocessor.collate(what.train), settings
    )
    everything = range(len(test))
    with runner.average_parameters():
        images = list(judge.sample(runner.pipe, everything, everything))
    truths: list[Any] = [
        fit_label(one, runner.preprocessor.resolution, what.registry) for one in test
    ]
    greys = [image.mean(axis=-1) for image in images]

    def at(threshold: float) -> float:
        return iou([grey > threshold for grey in greys], truths)

    return [
        at(what.card.threshold),
        at(0.5),
        iou([TASK.decode(image).values for image in images], truths),
        max(map(at, validation.THRESHOLDS)),
    ]


def iou(found: Sequence[NDArray[np.bool_]], truths: Sequence[Any]) -> float:
    """Mean over images."""
    scores = [
        TASK.score(Mask(mask), truth)['iou'] for mask, truth in zip(found, truths, strict=True)
    ]
    return float(np.mean(scores))


if __name__ == '__main__':
    main()
