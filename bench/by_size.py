# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good answers are by the size of what was asked for.

    diception evaluate --tasks semantic --out OUT
    python bench/by_size.py OUT/answers.csv semantic iou

Answers to questions for something that is there, in fifths by its share of the image: means of
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
    parser.add_argument('answers', type=Path)
    parser.add_argument('question')
    parser.add_argument('metric')
    parser.add_argument('--parts', type=int, default=5)
    args = parser.parse_args()
    rows = by_size(args.answers, args.question, args.metric, args.parts)
    print(f'| answers | share of the image | {args.metric} |\n|---|---|---|')
    for count, share, value in rows:
        print(f'| {count} | {100 * share:.1f} % | {value:.3f} |')
    total = sum(count for count, _, _ in rows)
    print(f'| {total} | | {sum(count * value for count, _, value in rows) / total:.3f} |')


def by_size(path: Path, question: str, metric: str, parts: int) -> list[tuple[int, float, float]]:
    """How many answers, the mean of their share of the image, and that of the metric.

    Args:
        path: answers.csv of an evaluation.
        question: kind of question.
        metric: of its answers.
        parts: as equal as can be, from small to large.
    """
    answers: defaultdict[str, dict[str, float]] = defaultdict(dict)
    with path.open(newline='') as file:
        for line in csv.DictReader(file):
            if line['question'] == question and line['value']:
                answers[line['frame']][line['metric']] = float(line['value'])
    found = sorted(
        (one['share'], one[metric])
        for one in answers.values()
        if one.get('share', 0) > 0 and metric in one
    )
    if len(found) < parts:
        raise ValueError(
            f'{path}: {len(found)} answers to {question} have {metric} and a share of the '
            f'image; expected at least {parts}'
        )
    return [
        (len(part), fmean(part[:, 0]), fmean(part[:, 1]))
        for part in np.array_split(np.array(found), parts)
    ]


if __name__ == '__main__':
    main()
