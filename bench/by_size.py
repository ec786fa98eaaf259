# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good predictions are by the size of the object.

    diception evaluate --tasks semantic --out OUT
    python bench/by_size.py OUT/predictions.csv semantic iou

Predictions of what is in the image, in fifths by its share of the image: means of
that share and of the number.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
import csv
from pathlib import Path
from statistics import fmean

import numpy as np


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', type=Path)
    parser.add_argument('item')
    parser.add_argument('metric')
    parser.add_argument('--parts', type=int, default=5)
    args = parser.parse_args()
    rows = by_size(args.predictions, args.item, args.metric, args.parts)
    print(f'| predictions | share of the image | {args.metric} |\n|---|---|---|')
    for count, share, value in rows:
        print(f'| {count} | {100 * share:.1f} % | {value:.3f} |')
    total = sum(count for count, _, _ in rows)
    print(f'| {total} | | {sum(count * value for count, _, value in rows) / total:.3f} |')


def by_size(path: Path, item: str, metric: str, parts: int) -> list[tuple[int, float, float]]:
    """How many predictions, the mean of their share of the image, and that of the metric.

    Args:
        path: predictions.csv of an evaluation.
        item: kind of item, such as semantic.
        metric: of its predictions.
        parts: as equal as can be, from small to large.
    """
    predictions: defaultdict[str, dict[str, float]] = defaultdict(dict)
    with path.open(newline='') as file:
        for line in csv.DictReader(file):
            if line['item'] == item and line['value']:
                predictions[line['frame']][line['metric']] = float(line['value'])
    found = sorted(
        (numbers['share'], numbers[metric])
        for numbers in predictions.values()
        if numbers.get('share', 0) > 0 and metric in numbers
    )
    if len(found) < parts:
        raise ValueError(
            f'{path}: {len(found)} predictions of {item} have {metric} and a share of the '
            f'image; expected at least {parts}'
        )
    return [
        (len(part), fmean(part[:, 0]), fmean(part[:, 1]))
        for part in np.array_split(np.array(found), parts)
    ]


if __name__ == '__main__':
    main()
