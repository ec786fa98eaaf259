# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Judging on the data sets of the paper; what answers is handed in, so no model is needed here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity, Label, MetricDepth, Normals, io
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.benchmarks import Protocol, Size
from diception_ros.evaluation import evaluators
from diception_ros.evaluation.evaluators import EvalCallback, EvalItem, EvaluationResult

MapT = TypeVar('MapT', bound=Disparity | MetricDepth | Normals)


@dataclass(frozen=True)
class BenchmarkSample:
    """One picture with a known truth.

    Attributes:
        name: the picture's path in the folder.
        picture: its file.
        truth: the files of its truth.
        size: (H, W) of the whole picture, pixels.
    """

    name: str
    picture: Path
    truth: tuple[Path, ...]
    size: Size


# What answers a case: its label, of the size that the model sees.
PredictFn = Callable[[BenchmarkSample], Label]


def find_samples(
    protocol: Protocol, root: Path, listed: Path | None = None
) -> tuple[list[BenchmarkSample], int]:
    """Find the pictures of a data set and their truths.

    Args:
        protocol: says where they are.
        root: the folder.
        listed: a file whose lines begin with a picture's path in the folder, such as those that
            come with Marigold; a line whose second word is None is left out. None for all
            pictures of the folder.

    Returns:
        The cases in the order of their names, or of the list; and how many pictures were left out
        because they have no truth, which only some protocols allow.

    Raises:
        FileNotFoundError: no such folder or list, or a file of the data set is missing.
        ValueError: the folder holds no picture where the protocol expects them, or the list none.
    """
    expects = f'protocol {protocol.name} expects {protocol.layout}'
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder; {expects}')
    if listed is None:
        found = (path.relative_to(root) for path in root.glob(protocol.pattern))
        names = sorted(path.as_posix() for path in found if not path.name.startswith('.'))
        if not names:
            raise ValueError(f'{root}: nothing in it matches {protocol.pattern}; {expects}')
    else:
        lines = [line.split() for line in listed.read_text().splitlines()]
        names = [words[0] for words in lines if words and words[1:2] != ['None']]
        if not names:
            raise ValueError(f'{listed}: expected a line for each picture, got none')
    cases, without = [], 0
    for name in names:
        picture = root / name
        if not picture.is_file():
            raise FileNotFoundError(f'{picture}: no such picture; {expects}')
        choices = [tuple(root / part for part in parts) for parts in protocol.truths(name)]
        truth = next((parts for parts in choices if all(p.is_file() for p in parts)), None)
        if truth is None and protocol.partial and listed is None:
            without += 1
            continue
        if truth is None:
            missing = ' or '.join(
                ', '.join(str(part) for part in parts if not part.is_file()) for parts in choices
            )
            raise FileNotFoundError(f'{picture}: its truth {missing} is missing; {expects}')
        cases.append(BenchmarkSample(name, picture, truth, _size(picture)))
    if not cases:
        raise ValueError(f'{root}: none of {without} pictures has a truth; {expects}')
    return cases, without


def frame_of(protocol: Protocol, case: BenchmarkSample) -> Frame:
    """What the model sees of a case."""
    image = images.read(case.picture)
    if protocol.window is not None:
        image = np.ascontiguousarray(image[protocol.window(case.size)])
    return Frame(image)


def truth_of(protocol: Protocol, case: BenchmarkSample) -> MetricDepth | Normals:
    """The truth of what the model sees; unknown where a pixel does not count."""
    truth = protocol.read(case.truth, case.size)
    if protocol.window is not None:
        truth = crop(truth, protocol.window(case.size))
    if protocol.counted is not None:
        known = protocol.counted(truth.size)
        array = _array(truth)
        mask = known if array.ndim == 2 else known[..., None]
        truth = type(truth)(np.where(mask, array, np.float32(np.nan)))
    return truth


def crop(label: MapT, window: tuple[slice, slice]) -> MapT:
    """A part of a label, rows and columns."""
    return type(label)(np.ascontiguousarray(_array(label)[window]))


def _array(label: Disparity | MetricDepth | Normals) -> NDArray[np.float32]:
    return label.vectors if isinstance(label, Normals) else label.values


def alignment_grid(size: Size, longest: int) -> NDArray[np.bool_] | None:
    """(H, W) bool: the pixels that are left when a picture is shrunk by picking.

    Args:
        size: (H, W), pixels.
        longest: how many pixels are left along the longer side; 0 for all.

    Returns:
        None where all are left.
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
    cases: Iterable[BenchmarkSample],
    answers: Mapping[str, PredictFn],
    callbacks: Sequence[EvalCallback] = (),
) -> EvaluationResult:
    """Ask about every case and add up.

    For normals, `mean_deg` stands beside what it would be if the truth's x, y or z pointed the
    other way, `mean_deg_x` and so on: data sets disagree about their axes.

    Args:
        protocol: of the data set.
        cases: see `find`.
        answers: by column.
        callbacks: see `verdict.EvalCallback`; they are told the first column's answers.

    Raises:
        ValueError: an answer is not of the size that the model sees; files as `find` says.
    """
    tallies = {name: _tally(protocol) for name in answers}
    first, count = next(iter(answers)), 0
    for number, case in enumerate(cases):
        truth = truth_of(protocol, case)
        question = EvalItem(protocol.task, Prompt(protocol.task), truth)
        for name, answer in answers.items():
            label = answer(case)
            if label.size != truth.size:
                raise ValueError(
                    f'{case.picture}: expected an answer of {truth.size} (H, W), got {label.size}'
                )
            score = tallies[name].update(question, label)
            if name == first:
                for callback in callbacks:
                    callback.on_prediction(
                        number, frame_of(protocol, case), question, label, score
                    )
        count += 1
    results = {name: tally.compute() for name, tally in tallies.items()}
    numbers = {
        metric: {name: results[name].get(metric, float('nan')) for name in answers}
        for metric in results[first]
    }
    return EvaluationResult(tuple(answers), {protocol.name: numbers}, frames=count)


def _tally(protocol: Protocol) -> evaluators.Evaluator:
    if protocol.task == 'depth':
        return evaluators.DepthEvaluator(
            protocol.metres, lambda size: alignment_grid(size, protocol.alignment_side)
        )
    return evaluators.NormalsEvaluator(check_axes=True)


def _size(picture: Path) -> Size:
    try:
        with Image.open(picture) as image:
            width, height = image.size
    except OSError as error:
        raise ValueError(f'{picture}: not a picture that can be read ({error})') from error
    return height, width


# Answers that were written to files earlier, so that scoring needs no model.


class Predictions:
    """Labels that `diception predict` wrote earlier, found by the pictures' paths.

    `diception predict` names the folder of an answer after the picture's path below what all its
    pictures share, so an answer may lie under any end of the path in the data set; the longest
    that is there counts.

    Args:
        folder: --out of that command.
        protocol: says which task.
        cases: of which each must have an answer.

    Raises:
        FileNotFoundError: no such folder, or a picture has no answer.
        ValueError: two pictures have the same answer.
    """

    def __init__(self, folder: Path, protocol: Protocol, cases: Sequence[BenchmarkSample]) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder}: no such folder of predictions')
        self._protocol = protocol
        self._kind: type[Disparity] | type[Normals] = (
            Disparity if protocol.task == 'depth' else Normals
        )
        self._files: dict[str, Path] = {}
        # Answers that are of the whole picture where the model of the protocol sees a part.
        self.cropped = 0
        owners: dict[Path, str] = {}
        lacking = []
        for case in cases:
            path = self._place(folder, case)
            if path is None:
                lacking.append(case)
                continue
            other = owners.setdefault(path, case.name)
            if other != case.name:
                raise ValueError(
                    f'{path}: this answer would count for {other} and for {case.name}; predict '
                    'all pictures of the data set by one command, so that their folders differ'
                )
            self._files[case.name] = path
        if lacking:
            expected = folder / lacking[0].name / f'{protocol.task}.npz'
            raise FileNotFoundError(
                f'{lacking[0].picture}: no prediction {expected}, nor under any shorter end of '
                f'its path ({len(lacking)} of {len(cases)} pictures have none); write them with '
                f'diception predict --tasks {protocol.task} --out {folder}'
            )

    def __call__(self, case: BenchmarkSample) -> Label:
        """Read the answer to a case.

        Raises:
            ValueError: it is no label, of another kind, or of another size.
        """
        path = self._files[case.name]
        label = io.load_npz(path)
        if not isinstance(label, self._kind):
            raise ValueError(
                f'{path}: expected {self._kind.__name__} for protocol {self._protocol.name}, '
                f'got {type(label).__name__}'
            )
        window = self._protocol.window
        seen = case.size if window is None else _extent(window(case.size))
        if label.size == seen:
            return label
        if window is not None and label.size == case.size:
            self.cropped += 1
            return crop(label, window(case.size))
        choices = seen if seen == case.size else f'{seen} or {case.size}'
        raise ValueError(
            f'{path}: expected the size of {case.picture}, {choices} (H, W), got {label.size}'
        )

    def files(self) -> list[Path]:
        """The files of all answers, in the order of the cases."""
        return list(self._files.values())

    def _place(self, folder: Path, case: BenchmarkSample) -> Path | None:
        parts = case.name.split('/')
        for start in range(len(parts)):
            path = folder.joinpath(*parts[start:], f'{self._protocol.task}.npz')
            if path.is_file():
                return path
        return None


def _extent(window: tuple[slice, slice]) -> Size:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start
