# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scores a model on simulated rooms, a data set or labelled images: `diception evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
from dataclasses import asdict, dataclass
import importlib.util
import json
import math
import time
from typing import TYPE_CHECKING, Any

from diception_ros.core import adapter_card as cards
from diception_ros.core.settings import PredictSettings
from diception_ros.datasets import benchmarks
from diception_ros.system import files, safe_load
from diception_ros.system.progress import SILENT, Progress
from diception_ros.tasks import BUILTIN, TaskRegistry
from diception_ros.workflows.evaluate_config import COCO, RGBD, EvaluateConfig
from diception_ros.workflows.simulate import parse_size

if TYPE_CHECKING:
    from diception_ros.core.adapter_card import Card
    from diception_ros.core.frame import Frame
    from diception_ros.core.labels import Label
    from diception_ros.core.prompt import Prompt
    from diception_ros.datasets.labelled import Labelled
    from diception_ros.datasets.sample import Sample
    from diception_ros.evaluation.dataset_scores import BenchmarkSample, PredictionFiles
    from diception_ros.evaluation.evaluators import EvalCallback, EvaluationResult
    from diception_ros.perception.predictor import Predictor

_ASPECT = 4 / 3  # width by height of the images of rooms, as in training
# The axes of a ground truth are doubted where a mirrored one fits so much better.
_DOUBT = 0.8


@dataclass(frozen=True)
class EvaluateResult:
    """Scores.

    Attributes:
        numbers: by kind of prompt (or data set), metric and column; a column is a number of
            denoising steps, a baseline (shuffled, mean), or 'paper'.
        columns: in their order.
        frames: images that were scored.
        table: the most important numbers as Markdown.
        summary: one line on what was scored.
    """

    numbers: Mapping[str, Mapping[str, Mapping[str, float]]]
    columns: Sequence[str]
    frames: int
    table: str
    summary: str


def evaluate(config: EvaluateConfig, progress: Progress = SILENT) -> EvaluateResult:
    """Score a model; `out` gets metrics.json, predictions.csv, first.png and worst.png.

    Raises:
        FileNotFoundError: no model, data set or labels.
        ImportError: MuJoCo or pycocotools is missing.
        ValueError: an adapter or labels that don't fit.

    Examples:
        >>> from diception_ros import EvaluateConfig, evaluate
        >>> result = evaluate(EvaluateConfig(adapters=['adapter'], labels={'data': 'labels'},
        ...                                  model='model'))
        >>> 0 <= result.numbers['floor']['iou']['1'] <= 1
        True
    """
    from diception_ros.model import folder

    # Before anything that takes seconds to import.
    folder.check_folder(folder.resolve(config.model or 'builtin'))
    if config.out is None:
        return _evaluate(config, progress)
    files.check_folders([config.out])
    with files.exclusive_folder(config.out):
        return _evaluate(config, progress)


def _evaluate(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    if config.adapters:
        return _on_labels(config, progress)
    if config.protocol == RGBD:
        return _on_rgbd(config, progress)
    if config.protocol == COCO:
        return _on_coco(config, progress)
    if config.dataset is not None:
        return _on_dataset(config, progress)
    return _on_rooms(config, progress)


def _on_rooms(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    room_config = config.rooms
    check_counted(room_config.tasks)
    from diception_ros.evaluation import evaluators
    from diception_ros.simulation import sample_stream

    predictor, about = _load(config, progress)
    side = predictor.resolution
    # As large as the network's input image, so that it is never enlarged.
    rows = side * predictor.input_scale
    size = parse_size(room_config.size) if room_config.size else (rows, round(rows * _ASPECT))
    start = time.monotonic()
    progress.log('mean images of rooms of the training split')
    means = evaluators.mean_of_rooms(
        room_config.scene_seed, size, side, room_config.mean_scenes, room_config.gl, progress
    )
    with _callbacks(config, evaluators.names(room_config.tasks)) as (callbacks, write):
        views = sample_stream.room_views(
            room_config.scene_seed, size, room_config.split, room_config.scenes,  # type: ignore[arg-type]
            backend=room_config.gl,
        )  # fmt: skip
        each = progress.each(views, room_config.scenes, unit='room')
        predict_fns = _predict_fns(config, predictor)
        result = evaluators.evaluate_samples(
            each, predict_fns, means, room_config.tasks, callbacks
        )
        seconds = time.monotonic() - start
        write({
            'kind': 'rooms', **about,
            'rooms': {
                'split': room_config.split,
                'seed': room_config.scene_seed,
                'images': result.frames,
                'size': {'height': size[0], 'width': size[1]},
                'mean_rooms': room_config.mean_scenes,
            },
            'columns': result.columns,
            'numbers': result.numbers,
            'categories': result.categories,
            'seconds': round(seconds, 1),
        })  # fmt: skip
    summary = f'{result.frames} images of {room_config.split} rooms in {seconds:.0f} s'
    return _result(result.numbers, result.columns, result.frames, summary)


def _on_dataset(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    from diception_ros.core.prompt import Prompt
    from diception_ros.evaluation import dataset_scores
    from diception_ros.reporting import tables

    assert config.protocol is not None
    assert config.dataset is not None
    protocol = benchmarks.get(config.protocol)
    samples, without = dataset_scores.find_samples(protocol, config.dataset, config.list)
    predict_fns: dict[str, dataset_scores.PredictFn]
    predictions = None
    about: dict[str, Any] = {}
    if config.predictions is not None:
        predictions = dataset_scores.PredictionFiles(config.predictions, protocol, samples)
        predict_fns = {'predictions': predictions}
    elif config.shared:
        files_of = _predict_shared(config, protocol, samples, progress)
        predict_fns, predictions = dict(files_of), next(iter(files_of.values()))
    else:
        predictor, about = _load(config, progress)

        def of_sample(predict_fn: Any) -> dataset_scores.PredictFn:
            prompts = [Prompt(protocol.task)]
            return lambda sample: predict_fn(dataset_scores.frame_of(protocol, sample), prompts)[0]

        predict_fns = {
            column: of_sample(predict_fn)
            for column, predict_fn in _predict_fns(config, predictor).items()
        }
    if len(samples) != protocol.images:
        progress.log(f"{len(samples)} images; the paper's table is of {protocol.images}")
    with _callbacks(config, [protocol.task]) as (callbacks, write):
        each = progress.each(samples, len(samples), unit='image')
        result = dataset_scores.evaluate(protocol, each, predict_fns, callbacks)
        if predictions is not None:
            about = {
                'predictions': {
                    'folder': str(predictions.folder),
                    'cropped': predictions.cropped,
                    'metadata': _metadata(predictions),
                }
            }
        _warn_of_axes(result, protocol, progress)
        columns = _add_published(result, {protocol.name: protocol.published})
        write({
            'kind': 'dataset', **about,
            'dataset': {
                'folder': str(config.dataset),
                'protocol': protocol.name,
                'list': str(config.list) if config.list else None,
                'images': result.frames,
                'without_truth': without,
            },
            'columns': columns,
            'numbers': result.numbers,
            'images': [sample.name for sample in samples],
        })  # fmt: skip
    # The paper does not say in which space it aligned, so both are shown.
    more = {'abs_rel_in_depth': -1, 'delta1_in_depth': 1} if protocol.task == 'depth' else {}
    shown = {protocol.name: {**tables.SHOWN[protocol.task], **more}}
    summary = f'{result.frames} images of {config.dataset}'
    return _result(result.numbers, columns, result.frames, summary, shown)


def _predict_shared(
    config: EvaluateConfig,
    protocol: benchmarks.Protocol,
    samples: Sequence[BenchmarkSample],
    progress: Progress,
) -> dict[str, PredictionFiles]:
    """The predictions of each column, made by several processes, in the folder `out`."""
    from diception_ros.evaluation import dataset_scores
    from diception_ros.workflows.predict import PredictConfig, predict

    assert config.out is not None
    if samples[0].row is not None:
        raise ValueError(
            f'{samples[0].image}: one file of many images is read by one process; leave out '
            '--jobs and --engine'
        )
    files_by_column = {}
    for column, how in config.column_settings.items():
        folder = config.out / 'predictions' / column
        result = predict(
            PredictConfig(
                images=tuple(str(sample.image) for sample in samples), out=folder,
                model=config.model or 'builtin', tasks=(protocol.task,), jobs=config.jobs,
                engine=config.engine, compute=config.compute, predict=how,
            ),
            progress,
        )  # fmt: skip
        for path, why in result.skipped.items():
            raise ValueError(f'{path}: no prediction ({why})')
        files_by_column[column] = dataset_scores.PredictionFiles(folder, protocol, samples)
    return files_by_column


def _on_rgbd(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    from diception_ros.datasets import rgbd
    from diception_ros.evaluation import rgbd_scores

    assert config.dataset is not None
    sources = rgbd.find_sources(
        config.dataset, config.labels.image_topic, config.labels.label_topic
    )
    guessed = [source.name for source in sources if not source.intrinsics_known]
    if guessed:
        progress.log(
            f'{", ".join(guessed)}: intrinsics are not known; true normals are computed with '
            f'what is given or {rgbd.DEFAULT_FOV_DEG:.0f} degrees across'
        )
    predictor, about = _load(config, progress)
    with _callbacks(config, rgbd_scores.TASKS) as (callbacks, write):
        result = rgbd_scores.evaluate(
            sources,
            _predict_fns(config, predictor),
            callbacks,
            lambda frames, total: progress.each(frames, total, unit='image'),
        )
        write({
            'kind': 'dataset', **about,
            'dataset': {'folder': str(config.dataset), 'protocol': RGBD, 'frames': result.frames},
            'columns': result.columns,
            'numbers': result.numbers,
            'sources': result.sources,
        })  # fmt: skip
    numbers, shown = dict(result.numbers), dict(rgbd_scores.SHOWN)
    if len(sources) > 1:
        for name, by_task in result.sources.items():
            numbers |= {f'{name} {task}': by_task[task] for task in by_task}
            shown |= {f'{name} {task}': rgbd_scores.SHOWN[task] for task in by_task}
    count = sum(result.frames.values())
    summary = f'{count} images of {len(sources)} sources of {config.dataset}'
    return _result(numbers, result.columns, count, summary, shown)


def _on_coco(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    check_counted(['entity'])
    from diception_ros.datasets import coco
    from diception_ros.evaluation import dataset_scores, evaluators

    assert config.dataset is not None
    annotated = coco.find_set(config.dataset, config.labels.images)
    names = evaluators.names(dataset_scores.coco_tasks(annotated))
    if not annotated.has_people:
        progress.log(f'{config.dataset}: no keypoints in it, poses are not scored')
    predictor, about = _load(config, progress)
    progress.log('mean images of the annotations')
    means = dataset_scores.coco_means(annotated, names, predictor.resolution)
    with _callbacks(config, names) as (callbacks, write):
        frames = progress.each(annotated.frames(), annotated.count, unit='image')
        groups = ((item.frame, dataset_scores.coco_items(item, names)) for item in frames)
        predict_fns = _predict_fns(config, predictor)
        result = evaluators.evaluate_items(groups, predict_fns, means, names, callbacks)
        columns = _add_published(result, dataset_scores.COCO_PUBLISHED)
        write({
            'kind': 'dataset', **about,
            'dataset': {
                'folder': str(config.dataset),
                'protocol': COCO,
                'files': [
                    str(item.path) for item in (annotated.instances, annotated.people)
                ],
                'images': result.frames,
            },
            'columns': columns,
            'numbers': result.numbers,
            'categories': result.categories,
        })  # fmt: skip
    summary = f'{result.frames} images of {config.dataset}'
    return _result(result.numbers, columns, result.frames, summary, dataset_scores.COCO_SHOWN)


def _on_labels(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    adapter_cards = [cards.read(folder) for folder in config.adapters]
    registry = TaskRegistry(tuple(adapter_cards))
    names = [card.name for card in adapter_cards]
    check_counted(names, registry)
    import numpy as np

    from diception_ros.evaluation import evaluators

    labels = [config.labels.read(card.kind, card.name) for card in adapter_cards]
    groups = _group_by_image(labels)
    predictor, about = _load(config, progress)
    predictor.adapt(config.adapters)
    for text in _warnings(adapter_cards, labels):
        progress.log(f'{config.labels.data}: {text}')
    start = time.monotonic()
    means = evaluators.mean_targets(groups, predictor.resolution, registry)
    with _callbacks(config, names, registry) as (callbacks, write):
        each = progress.each(groups, len(groups), unit='image')
        views = ((samples, np.random.default_rng(0)) for samples in each)
        predict_fns = _predict_fns(config, predictor)
        result = evaluators.evaluate_samples(views, predict_fns, means, names, callbacks, registry)
        seconds = time.monotonic() - start
        write({
            'kind': 'labels', **about,
            'adapters': [
                {
                    'task': card.name,
                    'kind': card.kind,
                    'folder': str(folder),
                    'sha256': cards.digest(folder),
                    'labels_sha256': item.digest,
                    'trained_on_these': _trained_on(card, item),
                }
                for folder, card, item in zip(config.adapters, adapter_cards, labels, strict=True)
            ],
            'labels': {
                'path': str(config.labels.data),
                'category': config.labels.category,
                'images': [sample.name for sample in labels[0].samples],
            },
            'columns': result.columns,
            'numbers': result.numbers,
            'seconds': round(seconds, 1),
        })  # fmt: skip
    summary = f'{result.frames} images of {config.labels.data} in {seconds:.0f} s'
    return _result(result.numbers, result.columns, result.frames, summary, registry=registry)


def _add_published(
    found: EvaluationResult, published: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Add the paper's numbers as a last column, NaN where it has none; returns the columns."""
    from diception_ros.reporting.tables import PAPER

    for name, numbers in found.numbers.items():
        for metric, columns in numbers.items():
            columns[PAPER] = published.get(name, {}).get(metric, math.nan)
    return [*found.columns, PAPER]


def _result(
    numbers: Mapping[str, Mapping[str, Mapping[str, float]]],
    columns: Sequence[str],
    frames: int,
    summary: str,
    shown: Mapping[str, Mapping[str, int]] | None = None,
    registry: TaskRegistry = BUILTIN,
) -> EvaluateResult:
    """What was found.

    Raises:
        ValueError: no number was found, because no image has a label that is known somewhere.
    """
    from diception_ros.reporting import tables

    shown = shown or tables.SHOWN
    values = [
        numbers[name][metric].get(columns[0], math.nan)
        for name, metrics in shown.items()
        for metric in metrics
        if metric in numbers.get(name, {})
    ]
    if values and all(map(math.isnan, values)):
        raise ValueError(
            f'nothing could be scored in {frames} images: expected a known label in one of them; '
            'look at the depth images or annotations'
        )
    table = tables.markdown(numbers, columns, shown, registry)
    return EvaluateResult(numbers, columns, frames, table, summary)


@contextlib.contextmanager
def _callbacks(
    config: EvaluateConfig, kinds: Sequence[str], registry: TaskRegistry = BUILTIN
) -> Iterator[tuple[list[EvalCallback], Callable[[dict[str, Any]], None]]]:
    """Callbacks, and what writes metrics.json and the contact sheets; nothing without `out`."""
    if config.out is None:
        yield [], lambda content: None
        return
    from diception_ros.reporting import tables
    from diception_ros.reporting.contact_sheets import QualitativeResults

    out, results = config.out, QualitativeResults(kinds, registry=registry)

    def write(content: dict[str, Any]) -> None:
        tables.write_json(out / 'metrics.json', content)
        results.write(out)

    with tables.PredictionCSV(out / 'predictions.csv') as rows:
        yield [results, rows], write


def _load(config: EvaluateConfig, progress: Progress) -> tuple[Predictor, dict[str, Any]]:
    """The predictor, and what metrics.json has on it."""
    from diception_ros.model import folder
    from diception_ros.perception.predictor import Predictor

    name = config.model or 'builtin'
    model = folder.resolve(name)
    folder.silence_library_logging()
    first = next(iter(config.column_settings.values()))
    predictor = Predictor.load(
        model, config.compute, bool(config.adapters), progress.log, **asdict(first)
    )
    about = {
        'model': {'name': name, 'sha256': files.sha256(model)},
        'settings': {
            'device': config.compute.device,
            'dtype': config.compute.dtype,
            'backend': predictor.backend.name,
            **asdict(first),
            'num_inference_steps': list(config.num_inference_steps),
            'processing_resolution': predictor.resolution,
            'tta_shifts': predictor.tta_shifts,
        },
    }
    return predictor, about


def _predict_fns(config: EvaluateConfig, predictor: Predictor) -> dict[str, Any]:
    """By column what predicts the labels of a frame and prompts."""
    return {
        column: _predict_fn(predictor, settings)
        for column, settings in config.column_settings.items()
    }


def _predict_fn(
    predictor: Predictor, settings: PredictSettings
) -> Callable[[Frame, Sequence[Prompt]], list[Label]]:
    """A function of a frame and prompts that returns their labels."""
    return lambda frame, prompts: [
        prediction.label
        for prediction in predictor.infer([frame] * len(prompts), prompts, settings)
    ]


def check_counted(names: Sequence[str], registry: TaskRegistry = BUILTIN) -> None:
    """Check, before the work and not at its end, that results of tasks can be counted.

    Raises:
        ValueError: pycocotools is not installed, and one of the tasks needs it.
    """
    from diception_ros.core.labels import Instances, Keypoints

    counted = [name for name in names if registry.get(name).label in (Instances, Keypoints)]
    if counted and importlib.util.find_spec('pycocotools') is None:
        raise ValueError(
            f"--tasks: COCO's numbers for {', '.join(counted)} need pycocotools, which is not "
            'installed; pip install pycocotools, or choose other tasks'
        )


def _metadata(predictions: PredictionFiles) -> list[Any]:
    """Model, settings and versions in the files beside the predictions, each once."""
    distinct: dict[str, Any] = {}
    for path in predictions.files():
        file = path.with_suffix('.json')
        if file.is_file():
            content = safe_load.json_object(file)
            subset = {name: content.get(name) for name in ('model', 'settings', 'versions')}
            distinct.setdefault(json.dumps(subset, sort_keys=True), subset)
    return list(distinct.values())


def _warn_of_axes(
    found: EvaluationResult, protocol: benchmarks.Protocol, progress: Progress
) -> None:
    numbers = found.numbers[protocol.name]
    for axis in (axis for axis in 'xyz' if f'mean_deg_{axis}' in numbers):
        for column in found.columns:
            angle, other = numbers['mean_deg'][column], numbers[f'mean_deg_{axis}'][column]
            if other < _DOUBT * angle:
                progress.log(
                    f'{column}: the mean angle is {angle:.1f} degrees, and would be {other:.1f} '
                    f"if the ground truth's {axis} pointed the other way; look at first.png of "
                    '--out before you trust these numbers'
                )


def _group_by_image(labels: Sequence[Labelled]) -> list[list[Sample]]:
    """The samples of each image."""
    grouped = [list(samples) for samples in zip(*(label.samples for label in labels), strict=True)]
    for samples in grouped:
        if len({sample.name for sample in samples}) > 1:
            raise ValueError(
                f'the adapters are scored on the same images, got '
                f'{" and ".join(sample.name for sample in samples)}; give those of other images '
                'alone'
            )
    return grouped


def _trained_on(card: Card, labels: Labelled) -> bool:
    """Whether an adapter was trained on these labels."""
    return card.data.get('sha256') == labels.digest


def _train_images(card: Card) -> Any:
    return card.data.get('train_images', card.data.get('learnt'))  # its name until release 0.1


def _warnings(adapter_cards: Sequence[Card], labels: Sequence[Labelled]) -> list[str]:
    """What has to be known to read the numbers."""
    from diception_ros.datasets.labelled import FEW

    count = len(labels[0].samples)
    # What adapt logs on few images is about training.
    warnings = [text for label in labels for text in label.warnings if 'are few' not in text]
    if count < FEW:
        warnings.append(
            f'{count} images are few: the numbers mean little, and the mean image, which is '
            'made of their labels, knows much of each'
        )
    warnings += [
        f'{card.name} was trained on these very labels ({_train_images(card)} of {count}, and was '
        'chosen by the others), so the numbers mean little for other images'
        for card, item in zip(adapter_cards, labels, strict=True)
        if _trained_on(card, item)
    ]
    return list(dict.fromkeys(warnings))
