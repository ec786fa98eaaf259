# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation on data sets: those of the paper by its protocols, and COCO-format annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import (
    Disparity,
    Instances,
    Label,
    Mask,
    MetricDepth,
    Normals,
    load_npz,
)
from diception_ros.core.prompt import Prompt
from diception_ros.datasets import benchmarks
from diception_ros.datasets.benchmarks import Protocol, Size
from diception_ros.datasets.coco import CocoFrame, CocoSet
from diception_ros.datasets.sample import Sample
from diception_ros.evaluation import evaluators
from diception_ros.evaluation.evaluators import (
    FIVE_POINTS,
    ONE_POINT,
    EvalCallback,
    EvalItem,
    EvaluationResult,
    Evaluator,
    mask_items,
)


@dataclass(frozen=True)
class BenchmarkSample:
    """One image of a data set with ground truth.

    Attributes:
        name: the image's path in the folder.
        image: its file.
        truth: the files of its ground truth.
        size: (H, W) of the whole image, pixels.
        row: number of the image in files of many images; None where each has its own.
    """

    name: str
    image: Path
    truth: tuple[Path, ...]
    size: Size
    row: int | None = None


# Returns the label of a sample, of the size that the model receives.
PredictFn = Callable[[BenchmarkSample], Label]


def find_samples(
    protocol: Protocol, root: Path, listed: Path | None = None
) -> tuple[list[BenchmarkSample], int]:
    """Find the images of a data set and their ground truth.

    Args:
        protocol: defines where they are.
        root: the folder.
        listed: a file whose lines begin with an image's path in the folder, such as those that
            come with Marigold; a line whose second word is None is skipped. None for all images
            of the folder.

    Returns:
        The samples in the order of their names, or of the list; and how many images were skipped
        because they have no truth, which only some protocols allow.

    Raises:
        FileNotFoundError: no such folder or list, or a file of the data set is missing.
        ValueError: the folder holds no image where the protocol expects them, or the list none.
    """
    expects = f'protocol {protocol.name} expects {protocol.layout}'
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder; {expects}')
    if listed is None:
        names, base = _images_in(protocol, root)
        if not names and (rows := _rows_in(protocol, root)):
            return rows, 0
        if not names:
            raise ValueError(f'{root}: nothing in it matches {protocol.pattern}; {expects}')
    else:
        base = root
        text = listed.read_text('utf-8', 'surrogateescape')
        lines = [line.split() for line in text.splitlines()]
        names = [words[0] for words in lines if words and words[1:2] != ['None']]
        if not names:
            raise ValueError(f'{listed}: expected a line for each image, got none')
    samples, without = [], 0
    for name in names:
        image = base / name
        if not image.is_file():
            raise FileNotFoundError(f'{image}: no such image; {expects}')
        choices = [
            tuple(folder / part for part in parts)
            for folder in dict.fromkeys((base, root))
            for parts in protocol.truths(name)
        ]
        truth = next((parts for parts in choices if all(p.is_file() for p in parts)), None)
        if truth is None and protocol.partial and listed is None:
            without += 1
            continue
        if truth is None:
            missing = ' or '.join(
                ', '.join(str(part) for part in parts if not part.is_file()) for parts in choices
            )
            raise FileNotFoundError(f'{image}: its truth {missing} is missing; {expects}')
        samples.append(BenchmarkSample(name, image, truth, _size(image)))
    if not samples:
        raise ValueError(f'{root}: none of {without} images has a truth; {expects}')
    return samples, without


def _images_in(protocol: Protocol, root: Path) -> tuple[list[str], Path]:
    """The paths of the images, and the folder that they are relative to."""
    for folder in (root, *(root / name for name in protocol.folders)):
        for pattern in (protocol.pattern, *protocol.more_patterns):
            image_files = [path for path in folder.glob(pattern) if not path.name.startswith('.')]
            if image_files:
                return sorted(path.relative_to(folder).as_posix() for path in image_files), folder
    return [], root


def _rows_in(protocol: Protocol, root: Path) -> list[BenchmarkSample]:
    """The samples in the arrays of a data set; none where there are no such files."""
    for folder in (root, *(root / name for name in protocol.folders)):
        paths = [folder / name for name in protocol.arrays]
        if not paths or not all(path.is_file() for path in paths):
            continue
        image, truth = paths
        shapes = [benchmarks.npy_rows(path).shape[:3] for path in paths]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f'{truth}: expected a depth for each pixel of {image.name}, {shapes[0]} '
                f'(N, H, W), got {shapes[1]}'
            )
        count, *size = shapes[0]
        return [
            BenchmarkSample(f'{image.stem}/{k:04d}', image, (truth,), (size[0], size[1]), k)
            for k in range(count)
        ]
    return []


def _size(path: Path) -> Size:
    image = images.opened(path.read_bytes(), str(path))
    return image.height, image.width


def frame_of(protocol: Protocol, sample: BenchmarkSample) -> Frame:
    """The frame that the model receives of a sample."""
    if sample.row is None:
        image = images.read(sample.image)
    else:
        image = benchmarks.rgb_row(sample.image, sample.row)
    if protocol.window is not None:
        image = np.ascontiguousarray(image[protocol.window(sample.size)])
    return Frame(image)


def truth_of(protocol: Protocol, sample: BenchmarkSample) -> MetricDepth | Normals:
    """The true label of that frame; unknown where a pixel does not count."""
    truth: MetricDepth | Normals
    if sample.row is None:
        truth = protocol.read(sample.truth, sample.size)
    else:
        truth = benchmarks.depth_row(sample.truth[0], sample.row, sample.size)
    if protocol.window is not None:
        truth = truth.crop(*protocol.window(sample.size))
    if protocol.counted is not None:
        known = protocol.counted(truth.size)
        array = _array(truth)
        mask = known if array.ndim == 2 else known[..., None]
        truth = type(truth)(np.where(mask, array, np.float32(np.nan)))
    return truth


def _array(label: Disparity | MetricDepth | Normals) -> NDArray[np.float32]:
    return label.vectors if isinstance(label, Normals) else label.values


def alignment_grid(size: Size, longest: int) -> NDArray[np.bool_] | None:
    """(H, W) bool: the pixels that remain when an image is shrunk by picking.

    Args:
        size: (H, W), pixels.
        longest: how many pixels remain along the longer side; 0 for all.

    Returns:
        None where all remain.
    """
    if not longest or max(size) <= longest:
        return None
    step = max(size) / longest
    rows, columns = (np.floor(np.arange(int(n / step)) * step).astype(int) for n in size)
    chosen = np.zeros(size, np.bool_)
    chosen[np.ix_(rows, columns)] = True
    return chosen


def evaluate(
    protocol: Protocol,
    samples: Iterable[BenchmarkSample],
    predict: Mapping[str, PredictFn],
    callbacks: Sequence[EvalCallback] = (),
) -> EvaluationResult:
    """Evaluate every sample.

    Returns:
        The numbers under the protocol's name; of normals also `mean_deg_x` and so on, see
        `metrics.AngularError`.

    Raises:
        ValueError: a prediction is not of the size that the model receives; files as
            `find_samples` says.
    """
    scores = {column: _evaluator(protocol) for column in predict}
    first, count = next(iter(predict)), 0
    for number, sample in enumerate(samples):
        truth = truth_of(protocol, sample)
        item = EvalItem(protocol.task, Prompt(protocol.task), truth)
        for column, predict_one in predict.items():
            label = predict_one(sample)
            if label.size != truth.size:
                raise ValueError(
                    f'{sample.image}: expected a prediction of {truth.size} (H, W), '
                    f'got {label.size}'
                )
            score = scores[column].update(item, label)
            for callback in callbacks if column == first else ():
                callback.on_prediction(number, frame_of(protocol, sample), item, label, score)
        count += 1
    numbers = {protocol.name: evaluators.by_metric(scores)}
    return EvaluationResult(tuple(predict), numbers, frames=count)


def _evaluator(protocol: Protocol) -> Evaluator:
    if protocol.task == 'depth':
        return evaluators.depth_evaluator(
            protocol.metres, lambda size: alignment_grid(size, protocol.alignment_side)
        )
    return evaluators.normals_evaluator(check_axes=True)


class PredictionFiles:
    """Labels that `diception predict` wrote earlier, found by the images' paths.

    `diception predict` names the folder of a prediction after the image's path below what all its
    images share, so a prediction may lie under any end of the path in the data set; the longest
    that exists counts.

    Args:
        folder: --out of that command.
        protocol: defines the task.
        samples: of which each must have a prediction.

    Attributes:
        folder: as given.
        cropped: predictions of the whole image where the model of the protocol receives a part.

    Raises:
        FileNotFoundError: no such folder, or an image has no prediction.
        ValueError: two images have the same prediction.
    """

    def __init__(
        self, folder: Path, protocol: Protocol, samples: Sequence[BenchmarkSample]
    ) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder}: no such folder of predictions')
        self.folder, self._protocol = folder, protocol
        self._kind: type[Disparity] | type[Normals] = (
            Disparity if protocol.task == 'depth' else Normals
        )
        self._files: dict[str, Path] = {}
        self.cropped = 0
        owners: dict[Path, str] = {}
        lacking = []
        for sample in samples:
            path = self._place(folder, sample)
            if path is None:
                lacking.append(sample)
                continue
            other = owners.setdefault(path, sample.name)
            if other != sample.name:
                raise ValueError(
                    f'{path}: this prediction would count for {other} and for {sample.name}; '
                    'predict all images of the data set by one command, so that their folders '
                    'differ'
                )
            self._files[sample.name] = path
        if lacking:
            expected = folder / lacking[0].name / f'{protocol.task}.npz'
            raise FileNotFoundError(
                f'{lacking[0].image}: no prediction {expected}, nor under any shorter end of '
                f'its path ({len(lacking)} of {len(samples)} images have none); write them with '
                f'diception predict --tasks {protocol.task} --out {folder}'
            )

    def __call__(self, sample: BenchmarkSample) -> Label:
        """Read the prediction of a sample.

        Raises:
            ValueError: it is no label, of another kind, or of another size.
        """
        path = self._files[sample.name]
        label = load_npz(path)
        if not isinstance(label, self._kind):
            raise ValueError(
                f'{path}: expected {self._kind.__name__} for protocol {self._protocol.name}, '
                f'got {type(label).__name__}'
            )
        window = self._protocol.window
        seen = sample.size
        if window is not None:
            rows, columns = window(sample.size)
            seen = rows.stop - rows.start, columns.stop - columns.start
        if label.size == seen:
            return label
        if window is not None and label.size == sample.size:
            self.cropped += 1
            return label.crop(*window(sample.size))
        choices = seen if seen == sample.size else f'{seen} or {sample.size}'
        raise ValueError(
            f'{path}: expected the size of {sample.image}, {choices} (H, W), got {label.size}'
        )

    def files(self) -> list[Path]:
        """The files of all predictions, in the order of the samples."""
        return list(self._files.values())

    def _place(self, folder: Path, sample: BenchmarkSample) -> Path | None:
        parts = sample.name.split('/')
        for start in range(len(parts)):
            path = folder.joinpath(*parts[start:], f'{self._protocol.task}.npz')
            if path.is_file():
                return path
        return None


# COCO-format annotations, with the baselines of `evaluators`.


COCO_TASKS = ('segmentation', 'entity', 'semantic', 'pose')
# Figures of the paper, arXiv 2502.17157: points on the mean of 23 data sets (not COCO), the others
# on COCO val2017; how it chose categories and scored people it doesn't say in full.
COCO_PUBLISHED: Mapping[str, Mapping[str, float]] = {
    ONE_POINT: {'iou': 0.471},
    FIVE_POINTS: {'iou': 0.572},
    'entity': {'ar_small': 0.121, 'ar_medium': 0.439, 'ar_large': 0.637},
    'semantic': {'ap': 0.332},
    'pose': {'ap': 0.578},
}
COCO_SHOWN = {
    ONE_POINT: {'iou': 1},
    FIVE_POINTS: {'iou': 1},
    'entity': {'ar': 1, 'ar_small': 1, 'ar_medium': 1, 'ar_large': 1, 'ap': 1, 'mean_iou': 1},
    'semantic': {'ap': 1, 'ar': 1, 'iou': 1, 'category_iou': 1, 'mean_iou': 1},
    'pose': {'ap': 1, 'ap50': 1, 'ar': 1, 'pck': 1, 'untyped_pck': 1},
}


def coco_tasks(annotated: CocoSet) -> list[str]:
    """The tasks that a set has annotations for."""
    return [task for task in COCO_TASKS if task != 'pose' or annotated.has_people]


def coco_items(taken: CocoFrame, names: Sequence[str]) -> list[EvalItem]:
    """The items of one image.

    One object by one and by five points, chosen by the image's name; all entities; each category
    in the image; all people. Items without anything to find are left out, except entities and
    people: predictions there are wrong.
    """
    rng = np.random.default_rng(taken.seed)
    objects, items = taken.objects, []
    if len(objects.categories) and {ONE_POINT, FIVE_POINTS} & set(names):
        number = 1 + int(rng.integers(len(objects.categories)))
        mask = Mask(objects.ids == number)
        items += mask_items(Prompt('segmentation'), mask, rng)
    if 'entity' in names:
        nameless = Instances(objects.ids, ('',) * len(objects.scores), objects.scores)
        items.append(EvalItem('entity', Prompt('entity'), nameless, crowds=taken.crowds))
    if 'semantic' in names:
        for category in dict.fromkeys(objects.categories):
            truth, crowds = (
                label.select(np.array([name == category for name in label.categories], np.bool_))
                for label in (objects, taken.crowds)
            )
            prompt = Prompt('semantic', category)
            items.append(EvalItem('semantic', prompt, truth, crowds=crowds))
    if 'pose' in names and taken.people is not None:
        items.append(
            EvalItem(
                'pose', Prompt('pose'), taken.people, areas=taken.areas, ignored=taken.ignored
            )
        )
    return [item for item in items if item.name in names]


def coco_means(
    annotated: CocoSet, names: Sequence[str], resolution: int
) -> dict[str, NDArray[np.float32]]:
    """`evaluators.mean_targets` of the evaluated images themselves: there is no training split."""
    return evaluators.mean_targets(_samples(annotated, names), resolution)


def _samples(annotated: CocoSet, names: Sequence[str]) -> Iterator[list[Sample]]:
    for annotated_frame in annotated.frames():
        # Of a mask the two items have one target.
        items = [item for item in coco_items(annotated_frame, names) if item.name != FIVE_POINTS]
        yield [
            Sample(annotated_frame.frame, item.prompt, item.truth, name=annotated_frame.name)
            for item in items
        ]
