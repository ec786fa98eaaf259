# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation as a text table and as metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
import csv
import importlib.metadata
import json
import math
from pathlib import Path
import platform
from types import MappingProxyType
from typing import Any

from diception_ros import __version__
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Instances, Label, Mask
from diception_ros.evaluation.evaluators import EvalItem, metric_family
from diception_ros.system import files
from diception_ros.tasks import BUILTIN, TaskRegistry

FORMAT = 1  # of metrics.json

# What the table shows of each kind of item, the number that matters most first; +1 where more
# is better, -1 where less is. Of the task of an adapter see `shown_of`.
SHOWN: dict[str, dict[str, int]] = {
    'depth': {'abs_rel': -1, 'rmse': -1, 'delta1': 1, 'delta2': 1, 'delta3': 1},
    'normal': {'mean_deg': -1, 'median_deg': -1, 'within_11_25': 1, 'within_22_5': 1,
               'within_30': 1, 'coverage': 1},
    'segmentation': {'iou': 1},
    'segmentation_1': {'iou': 1},
    'segmentation_5': {'iou': 1},
    'entity': {'mean_iou': 1, 'f1': 1, 'ar': 1, 'ap': 1},
    'semantic': {'iou': 1, 'category_iou': 1, 'mean_iou': 1, 'f1': 1, 'ar': 1, 'ap': 1},
    'pose': {'pck': 1, 'ap': 1, 'ap50': 1, 'untyped_pck': 1},
    'rgb': {'mae': -1, 'psnr': 1},
}  # fmt: skip
# Counts, which are no measure of anything.
COUNTS = ('images', 'skipped', 'instances', 'categories', 'people', 'ignored')
_PACKAGES = ('numpy', 'opencv-python', 'scipy', 'torch', 'diffusers', 'transformers',
             'mujoco', 'pycocotools')  # fmt: skip

# The column of published numbers.
PAPER = 'paper'

Numbers = Mapping[str, Mapping[str, Mapping[str, float]]]


def main_metric(kind: str, registry: TaskRegistry = BUILTIN) -> tuple[str, int] | None:
    """The number by which predictions of this kind of item are ranked, and its direction."""
    return next(iter(shown_of(kind, registry).items()), None)


def shown_of(kind: str, registry: TaskRegistry = BUILTIN) -> Mapping[str, int]:
    """What is shown of a kind of item, as in `SHOWN`; nothing where it is not known."""
    return SHOWN.get(metric_family(kind, registry), {})


def heading(column: str) -> str:
    """What stands above a column: those of a model are named after its number of steps."""
    if column == PAPER:
        return 'paper, 28 steps, guidance 2'
    return f'{column} step{"" if column == "1" else "s"}' if column.isdigit() else column


def markdown(
    numbers: Numbers,
    columns: Sequence[str],
    shown: Mapping[str, Mapping[str, int]] = SHOWN,
    registry: TaskRegistry = BUILTIN,
    headings: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """A table of the numbers that matter.

    Args:
        numbers: by kind of item (or data set), metric and column.
        columns: in their order.
        shown: which metrics of which kind, see `SHOWN`; all of a kind that nothing is known of.
        registry: holds the tasks of the kinds.
        headings: what stands above a column; that of `heading` where there is none.
    """
    rows = [['', 'metric', *(headings.get(item, heading(item)) for item in columns)]]
    for kind, metrics in numbers.items():
        every = {name: 0 for name in metrics if name not in COUNTS}
        mine = shown.get(kind) or shown_of(kind, registry) or every
        for place, (metric, direction) in enumerate(mine.items()):
            if metric not in metrics:
                continue
            arrow = {1: ' ↑', -1: ' ↓', 0: ''}[direction]
            cells = [_cell(metric, metrics[metric].get(column, math.nan)) for column in columns]
            rows.append(['' if place else kind, metric + arrow, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f'| {" | ".join(map(str.ljust, row, widths))} |' for row in rows]
    rule = '|' + '|'.join('-' * (width + 2) for width in widths) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]])


def _cell(metric: str, value: float) -> str:
    if math.isnan(value):
        return '–'
    return f'{value:.2f}' if '_deg' in metric else f'{value:.3f}'


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write metrics.json, in one piece; numbers that are none become null."""
    whole = {'format': FORMAT, **content, 'versions': versions()}
    files.write_text(path, json.dumps(_plain(whole), indent=2, allow_nan=False) + '\n')


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def versions() -> dict[str, str]:
    """Versions of what the numbers may depend on, as far as it is installed."""
    versions_by_name = {'diception_ros': __version__, 'python': platform.python_version()}
    for name in _PACKAGES:
        try:
            versions_by_name[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions_by_name


def csv_value(value: Any) -> Any:
    """A number as CSV files have it: six digits, empty where it is not known."""
    if isinstance(value, float):
        return '' if math.isnan(value) else f'{value:.6g}'
    return value


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a line for each row, in one piece; the columns are those of all rows."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with files.atomic_file(path) as partial, partial.open('w', -1, *files.UTF8, '') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(columns)
        for row in rows:
            writer.writerow(csv_value(row.get(name, '')) for name in columns)


class PredictionCSV(contextlib.ExitStack):
    """Writes the numbers of every prediction into a CSV file, a line for each number.

    The file appears at the end of a `with`, or when it is closed.

    Of masks and instances also the share of the image that they cover: `share`, 0 to 1.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        partial = self.enter_context(files.atomic_file(path))
        self._writer = csv.writer(self.enter_context(partial.open('w', -1, *files.UTF8, '')))
        self._writer.writerow(('frame', 'item', 'category', 'metric', 'value'))

    def on_prediction(
        self,
        number: int,
        frame: Frame,
        item: EvalItem,
        predicted: Label,
        score: Mapping[str, float],
    ) -> None:
        """See `EvalCallback`."""
        category = item.prompt.category or ''
        truth = item.truth
        if isinstance(truth, Mask | Instances):
            asked_for = truth.values if isinstance(truth, Mask) else truth.ids > 0
            score = {**score, 'share': float(asked_for.mean())}
        for metric, value in score.items():
            row = (number, item.name, category, metric, csv_value(float(value)))
            self._writer.writerow(row)
