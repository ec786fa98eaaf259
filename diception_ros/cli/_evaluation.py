# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception evaluate` does with a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import contextlib
from dataclasses import asdict
import importlib.util
import sys
import time
from typing import Any

from tqdm import tqdm

from diception_ros import settings, tasks
from diception_ros.evaluate import datasets, questions, report, rooms
from diception_ros.evaluate.diary import Diary
from diception_ros.evaluate.gallery import Gallery
from diception_ros.evaluate.protocols import Protocol
from diception_ros.evaluate.verdict import Verdict, Witness
from diception_ros.frame import Frame
from diception_ros.labels import Instances, Keypoints, Label
from diception_ros.model import folder, quiet
from diception_ros.predict import Predictor
from diception_ros.prompt import Prompt

_ANSWERING = ('device', 'dtype', 'guidance', 'seed', 'batch_size', 'shifts', 'resolution')
_ASPECT = 4 / 3  # width by height of the rooms' pictures, as they are learnt from


def on_rooms(args: argparse.Namespace) -> int:
    """Judge a model on simulated rooms, and print and write what came out."""
    _check(args)
    predictors, about = _load(args)
    first = next(iter(predictors.values()))
    side = first.resolution
    size = args.size or (side, round(side * _ASPECT))
    gallery = Gallery(questions.names(args.tasks))
    start = time.monotonic()
    print('mean pictures of rooms of the training split', file=sys.stderr)
    means = rooms.mean_of_rooms(args.scene_seed, size, side, args.mean_scenes, args.gl)
    with witnesses(args, gallery) as looking:
        views = rooms.views(args.scene_seed, size, args.split, args.scenes, backend=args.gl)
        progress = tqdm(views, total=args.scenes, unit='room', file=sys.stderr)
        verdict = rooms.judge(
            progress,
            {steps: _asker(predictor) for steps, predictor in predictors.items()},
            means,
            args.tasks,
            looking,
        )
    seconds = time.monotonic() - start
    if args.out is not None:
        report.write_json(
            args.out / 'metrics.json',
            {
                'kind': 'rooms',
                **about,
                'rooms': {
                    'split': args.split,
                    'seed': args.scene_seed,
                    'pictures': verdict.frames,
                    'size': {'height': size[0], 'width': size[1]},
                    'mean_rooms': args.mean_scenes,
                },
                'columns': verdict.columns,
                'numbers': verdict.numbers,
                'categories': verdict.categories,
                'seconds': round(seconds, 1),
            },
        )
        gallery.write(args.out)
    tell(args, verdict, f'pictures of {args.split} rooms', seconds)
    return 0


@contextlib.contextmanager
def witnesses(args: argparse.Namespace, gallery: Gallery) -> Iterator[list[Witness]]:
    """Those who look on: none where nothing is written, else the gallery and a diary."""
    if args.out is None:
        yield []
        return
    args.out.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Diary(args.out / 'answers.csv')) as diary:
        yield [gallery, diary]


def tell(args: argparse.Namespace, verdict: Verdict, what: str, seconds: float) -> None:
    """Print the table, and what it is about."""
    print(report.markdown(verdict.numbers, verdict.columns, report.headings(verdict.columns)))
    print(
        f'{verdict.frames} {what} in {seconds:.0f} s'
        + (f'; wrote {args.out}' if args.out else ''),
        file=sys.stderr,
    )


def on_cases(
    args: argparse.Namespace, protocol: Protocol
) -> tuple[dict[str, datasets.Answer], dict[str, Any]]:
    """What answers the pictures of a data set at each number of steps, and what to tell of it."""
    predictors, about = _load(args)
    prompt = Prompt(protocol.task)

    def asker(predictor: Predictor) -> datasets.Answer:
        def answer(case: datasets.Case) -> Label:
            frame = datasets.frame_of(protocol, case)
            return predictor.predict([frame], [prompt])[0].label

        return answer

    return {steps: asker(predictor) for steps, predictor in predictors.items()}, about


def _load(args: argparse.Namespace) -> tuple[dict[str, Predictor], dict[str, Any]]:
    """A predictor for each number of steps, with one model, and what to tell of them."""
    first, chosen, about = load(args)
    return {str(one.steps): Predictor(first.pipe, one) for one in chosen}, about


def load(
    args: argparse.Namespace,
) -> tuple[Predictor, list[settings.PredictSettings], dict[str, Any]]:
    """A predictor, settings for each number of steps, and what to tell of them."""
    more = {name: getattr(args, name) for name in _ANSWERING}
    chosen = [settings.PredictSettings(**more, steps=steps) for steps in dict.fromkeys(args.steps)]
    model = folder.resolve(args.model)
    quiet.hush()
    first = Predictor.load(model, **asdict(chosen[0]))
    about = {
        'model': {'name': str(args.model), 'sha256': report.digest(model)},
        'settings': {
            **asdict(chosen[0]),
            'steps': [one.steps for one in chosen],
            'resolution': first.resolution,
            'shifts': first.shifts,
        },
    }
    return first, chosen, about


def _check(args: argparse.Namespace) -> None:
    for name in ('scenes', 'mean_scenes'):
        if getattr(args, name) < 1:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} is {getattr(args, name)}; expected at least 1')
    if args.scene_seed < 0:
        raise ValueError(f'--scene-seed is {args.scene_seed}; expected at least 0')
    check_counted(args.tasks)


def check_counted(names: Sequence[str]) -> None:
    """Make sure, before the work and not at its end, that answers of tasks can be counted.

    Raises:
        ValueError: pycocotools is not installed, and one of the tasks needs it.
    """
    counted = [name for name in names if tasks.get(name).label in (Instances, Keypoints)]
    if counted and importlib.util.find_spec('pycocotools') is None:
        raise ValueError(
            f"--tasks: COCO's numbers for {', '.join(counted)} need pycocotools, which is not "
            'installed; pip install pycocotools, or choose other tasks'
        )


def _asker(predictor: Predictor) -> rooms.Answer:
    def answer(frame: Frame, prompts: Sequence[Prompt]) -> list[Label]:
        return [prediction.label for prediction in predictor.predict([frame], prompts)]

    return answer
