# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `diception evaluate` does with a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import contextlib
from dataclasses import asdict
import importlib.util
import json
import math
import sys
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from diception_ros.cli import _labels
from diception_ros.core import adapter_card as cards
from diception_ros.core import settings
from diception_ros.core.adapter_card import Card
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Instances, Keypoints, Label
from diception_ros.core.prompt import Prompt
from diception_ros.core.settings import PredictSettings
from diception_ros.datasets import benchmarks
from diception_ros.datasets.benchmarks import Protocol
from diception_ros.datasets.labelled import FEW, Labelled
from diception_ros.datasets.sample import Sample
from diception_ros.evaluation import dataset_scores, evaluators, rooms
from diception_ros.evaluation.dataset_scores import Predictions
from diception_ros.evaluation.evaluators import EvalCallback, EvaluationResult
from diception_ros.model import folder
from diception_ros.perception.predictor import Predictor
from diception_ros.perception.query import Question
from diception_ros.reporting import tables
from diception_ros.reporting.contact_sheets import QualitativeResults
from diception_ros.reporting.tables import PredictionCSV
from diception_ros.system import files
from diception_ros.tasks import BUILTIN, TaskRegistry

_ASPECT = 4 / 3  # width by height of the rooms' pictures, as they are learnt from


def on_rooms(args: argparse.Namespace) -> int:
    """Judge a model on simulated rooms, and print and write what came out."""
    _check(args)
    predictors, about = _load(args)
    first = next(iter(predictors.values()))
    side = first.resolution
    size = args.size or (side, round(side * _ASPECT))
    gallery = QualitativeResults(evaluators.names(args.tasks))
    start = time.monotonic()
    print('mean pictures of rooms of the training split', file=sys.stderr)
    means = rooms.mean_of_rooms(args.scene_seed, size, side, args.mean_scenes, args.gl)
    with evaluation_callbacks(args, gallery) as looking:
        views = rooms.views(args.scene_seed, size, args.split, args.scenes, backend=args.gl)
        progress = tqdm(views, total=args.scenes, unit='room', file=sys.stderr)
        verdict = rooms.evaluate(
            progress,
            {steps: _asker(predictor) for steps, predictor in predictors.items()},
            means,
            args.tasks,
            looking,
        )
    seconds = time.monotonic() - start
    if args.out is not None:
        tables.write_json(
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
def evaluation_callbacks(
    args: argparse.Namespace, gallery: QualitativeResults
) -> Iterator[list[EvalCallback]]:
    """Those who look on: none where nothing is written, else the gallery and a diary."""
    if args.out is None:
        yield []
        return
    args.out.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(PredictionCSV(args.out / 'answers.csv')) as diary:
        yield [gallery, diary]


def tell(
    args: argparse.Namespace,
    verdict: EvaluationResult,
    what: str,
    seconds: float,
    registry: TaskRegistry = BUILTIN,
) -> None:
    """Print the table, and what it is about."""
    headings = tables.headings(verdict.columns)
    print(tables.markdown(verdict.numbers, verdict.columns, headings, registry=registry))
    print(
        f'{verdict.frames} {what} in {seconds:.0f} s'
        + (f'; wrote {args.out}' if args.out else ''),
        file=sys.stderr,
    )


def on_cases(
    args: argparse.Namespace, protocol: Protocol
) -> tuple[dict[str, dataset_scores.PredictFn], dict[str, Any]]:
    """What answers the pictures of a data set at each number of steps, and what to tell of it."""
    predictors, about = _load(args)
    prompt = Prompt(protocol.task)

    def asker(predictor: Predictor) -> dataset_scores.PredictFn:
        def answer(case: dataset_scores.BenchmarkSample) -> Label:
            frame = dataset_scores.frame_of(protocol, case)
            return predictor.predict([frame], [prompt])[0].label

        return answer

    return {steps: asker(predictor) for steps, predictor in predictors.items()}, about


def _load(args: argparse.Namespace) -> tuple[dict[str, Predictor], dict[str, Any]]:
    """A predictor for each number of steps, with one model, and what to tell of them."""
    first, chosen, about = load(args)
    return {str(one.num_inference_steps): Predictor(first.pipe, one) for one in chosen}, about


def load(
    args: argparse.Namespace,
) -> tuple[Predictor, list[settings.PredictSettings], dict[str, Any]]:
    """A predictor, settings for each number of steps, and what to tell of them."""
    compute = settings.from_arguments(settings.ComputeSettings, args)
    args_of = [
        argparse.Namespace(**{**vars(args), 'num_inference_steps': steps})
        for steps in dict.fromkeys(args.num_inference_steps)
    ]
    chosen = [settings.from_arguments(settings.PredictSettings, one) for one in args_of]
    model = folder.resolve(args.model)
    folder.silence_library_logging()
    first = Predictor.load(model, compute, **asdict(chosen[0]))
    about = {
        'model': {'name': str(args.model), 'sha256': files.sha256(model)},
        'settings': {
            'device': compute.device,
            'dtype': compute.dtype,
            **asdict(chosen[0]),
            'num_inference_steps': [one.num_inference_steps for one in chosen],
            'processing_resolution': first.resolution,
            'tta_shifts': first.tta_shifts,
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


def check_counted(names: Sequence[str], registry: TaskRegistry = BUILTIN) -> None:
    """Make sure, before the work and not at its end, that answers of tasks can be counted.

    Raises:
        ValueError: pycocotools is not installed, and one of the tasks needs it.
    """
    counted = [name for name in names if registry.get(name).label in (Instances, Keypoints)]
    if counted and importlib.util.find_spec('pycocotools') is None:
        raise ValueError(
            f"--tasks: COCO's numbers for {', '.join(counted)} need pycocotools, which is not "
            'installed; pip install pycocotools, or choose other tasks'
        )


def _asker(predictor: Predictor) -> rooms.PredictFn:
    def answer(frame: Frame, prompts: Sequence[Prompt]) -> list[Label]:
        return [prediction.label for prediction in predictor.predict([frame], prompts)]

    return answer


# What `diception evaluate DATASET` does; loads torch only where a model answers.


_PAPER = 'paper'
# The truth's axes are doubted where a mirrored one fits so much better than the one that is taken.
_DOUBT = 0.8


def on_dataset(args: argparse.Namespace) -> int:
    """Judge a model, or predictions in files, on a data set; print and write what came out."""
    protocol = benchmarks.get(args.protocol)
    cases, without = dataset_scores.find_samples(protocol, args.dataset, args.list)
    answers: dict[str, dataset_scores.PredictFn]
    predictions = None
    if args.predictions is not None:
        predictions = Predictions(args.predictions, protocol, cases)
        answers = {'predictions': predictions}
        about: dict[str, Any] = {}
    else:
        answers, about = on_cases(args, protocol)
    if len(cases) != protocol.images:
        print(f"{len(cases)} pictures; the paper's table is of {protocol.images}", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        callbacks: list[EvalCallback] = []
        gallery = QualitativeResults([protocol.task])
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            diary = PredictionCSV(args.out / 'answers.csv')
            stack.callback(diary.close)
            callbacks = [gallery, diary]
        progress = tqdm(cases, unit='picture', file=sys.stderr)
        verdict = dataset_scores.evaluate(protocol, progress, answers, callbacks)
    if predictions is not None:
        about = {
            'predictions': {
                'folder': str(args.predictions),
                'cropped': predictions.cropped,
                'stories': _stories(predictions),
            }
        }
    numbers = verdict.numbers[protocol.name]
    for metric, columns in numbers.items():
        columns[_PAPER] = protocol.published.get(metric, math.nan)
    if args.out is not None:
        tables.write_json(
            args.out / 'metrics.json',
            {
                'kind': 'dataset',
                **about,
                'dataset': {
                    'folder': str(args.dataset),
                    'protocol': protocol.name,
                    'list': str(args.list) if args.list else None,
                    'pictures': verdict.frames,
                    'without_truth': without,
                },
                'columns': [*verdict.columns, _PAPER],
                'numbers': verdict.numbers,
                'pictures': [case.name for case in cases],
            },
        )
        gallery.write(args.out)
    shown = {**tables.SHOWN[protocol.task], **_also(protocol)}
    headings = {**tables.headings(verdict.columns), _PAPER: 'paper, 28 steps, guidance 2'}
    print(
        tables.markdown(
            verdict.numbers, [*verdict.columns, _PAPER], headings, {protocol.name: shown}
        )
    )
    _doubt_axes(verdict, protocol)
    if args.out is not None:
        print(f'wrote {args.out}', file=sys.stderr)
    return 0


def _also(protocol: benchmarks.Protocol) -> dict[str, int]:
    # The paper does not say in which space it aligned, so both are shown.
    return {'abs_rel_in_depth': -1, 'delta1_in_depth': 1} if protocol.task == 'depth' else {}


def _stories(predictions: Predictions) -> list[Any]:
    """What the files beside the predictions tell of models and settings, each once."""
    found: dict[str, Any] = {}
    for path in predictions.files():
        story = path.with_suffix('.json')
        if story.is_file():
            told = json.loads(story.read_text())
            kept = {name: told.get(name) for name in ('model', 'settings', 'versions')}
            found.setdefault(json.dumps(kept, sort_keys=True), kept)
    return list(found.values())


def _doubt_axes(verdict: EvaluationResult, protocol: benchmarks.Protocol) -> None:
    numbers = verdict.numbers[protocol.name]
    axes = [axis for axis in 'xyz' if f'mean_deg_{axis}' in numbers]
    for axis in axes:
        for column in verdict.columns:
            taken, other = numbers['mean_deg'][column], numbers[f'mean_deg_{axis}'][column]
            if other < _DOUBT * taken:
                print(
                    f'{column}: the mean angle is {taken:.1f} degrees, and would be {other:.1f} '
                    f"if the truth's {axis} pointed the other way; look at first.png of --out "
                    'before you trust these numbers',
                    file=sys.stderr,
                )


# What `diception evaluate` does with adapters: judge their tasks on somebody's own labels.


def on_labels(args: argparse.Namespace) -> int:
    """Judge the tasks of adapters on labels, and print and write what came out."""
    brought = [cards.read(folder) for folder in args.adapters]
    registry = TaskRegistry(tuple(brought))
    names = [card.name for card in brought]
    check_counted(names, registry)
    labels = [_labels.read(args, card.kind, card.name) for card in brought]
    groups = _together(labels)
    # Loads torch, and the model.
    predictor, chosen, about = load(args)
    predictor.adapt(args.adapters)
    for text in _doubts(args, brought, labels):
        print(f'{args.data}: {text}', file=sys.stderr)
    start = time.monotonic()
    means = rooms.mean_pictures(groups, predictor.resolution, registry)
    gallery = QualitativeResults(names, registry=registry)
    with evaluation_callbacks(args, gallery) as callbacks:
        verdict = rooms.evaluate(
            ((samples, np.random.default_rng(0)) for samples in tqdm(groups, unit='picture')),
            {str(one.num_inference_steps): _labelled_asker(predictor, one) for one in chosen},
            means,
            names,
            callbacks,
            registry,
        )
    seconds = time.monotonic() - start
    if args.out is not None:
        content = _content(args, brought, labels, verdict, seconds)
        tables.write_json(args.out / 'metrics.json', {'kind': 'labels', **about, **content})
        gallery.write(args.out)
    tell(args, verdict, f'pictures of {args.data}', seconds, registry)
    return 0


def _together(labels: Sequence[Labelled]) -> list[list[Sample]]:
    """The samples of each picture."""
    found = [list(samples) for samples in zip(*(one.samples for one in labels), strict=True)]
    for samples in found:
        if len({one.name for one in samples}) > 1:
            raise ValueError(
                f'the adapters are judged on the same pictures, got '
                f'{" and ".join(one.name for one in samples)}; give those of other pictures alone'
            )
    return found


def _learnt(card: Card, labels: Labelled) -> bool:
    """Whether an adapter learnt from these labels."""
    return card.data.get('sha256') == labels.digest


def _doubts(
    args: argparse.Namespace, brought: Sequence[Card], labels: Sequence[Labelled]
) -> list[str]:
    """What has to be known to read the numbers."""
    count = len(labels[0].samples)
    # What adapt says of few pictures is about learning.
    found = [text for one in labels for text in one.warnings if 'pictures are few' not in text]
    if count < FEW:
        found.append(
            f'{count} pictures are few: the numbers say little, and the mean picture, which is '
            'made of their labels, knows much of each'
        )
    found += [
        f'{card.name} learnt from these very labels ({card.data.get("learnt")} of {count}, and '
        'was chosen by the others), so the numbers say little of other pictures'
        for card, one in zip(brought, labels, strict=True)
        if _learnt(card, one)
    ]
    return list(dict.fromkeys(found))


def _content(
    args: argparse.Namespace,
    brought: Sequence[Card],
    labels: Sequence[Labelled],
    verdict: EvaluationResult,
    seconds: float,
) -> dict[str, Any]:
    return {
        'adapters': [
            {
                'task': card.name,
                'kind': card.kind,
                'folder': str(folder),
                'sha256': cards.digest(folder),
                'labels_sha256': one.digest,
                'learnt_from_them': _learnt(card, one),
            }
            for folder, card, one in zip(args.adapters, brought, labels, strict=True)
        ],
        'labels': {
            'place': str(args.data),
            'category': args.category,
            'pictures': [sample.name for sample in labels[0].samples],
        },
        'columns': verdict.columns,
        'numbers': verdict.numbers,
        'seconds': round(seconds, 1),
    }


def _labelled_asker(predictor: Predictor, settings: PredictSettings) -> rooms.PredictFn:
    def answer(frame: Frame, prompts: Sequence[Prompt]) -> list[Label]:
        found = predictor.ask([Question(frame, prompt, settings) for prompt in prompts])
        return [prediction.label for prediction in found]

    return answer
