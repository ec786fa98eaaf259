# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What blending answers about shifted images is worth, in grid and in time.

    python bench/grid.py --rooms 30

For each number of shifts: the median step of the painted colours across the borders of tokens by
that across their middles, which is 1 where no grid is to be seen, mean over views of rooms of the
validation split; and the time of an answer by that of an answer without shifts, both from one run.
What it does to the answers themselves says `diception evaluate --split validation --tta-shifts N`.
"""

from __future__ import annotations

import argparse
import itertools
from statistics import fmean, median
import time
from typing import Any

PROMPTS = {'depth': '[[image2depth]]', 'normal': '[[image2normal]]'}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='builtin')
    parser.add_argument('--rooms', type=int, default=30)
    parser.add_argument('--shifts', type=int, nargs='+', default=[1, 2, 3, 4, 8])
    args = parser.parse_args()

    from diception_ros.model import DiceptionPipeline
    from diception_ros.perception.predictor import Predictor
    from diception_ros.simulation import sample_stream

    first = Predictor.load(args.model)
    token = DiceptionPipeline.from_pretrained(args.model).token
    predictors = {n: Predictor.load(args.model, tta_shifts=n) for n in args.shifts}
    side = first.resolution * first.input_scale
    size = side, round(side * 4 / 3)
    views = sample_stream.room_views(0, size, 'validation', args.rooms)
    frames = [samples[0].frame for samples, _ in views]
    steps: dict[int, dict[str, list[float]]] = {
        n: {name: [] for name in PROMPTS} for n in predictors
    }
    seconds: dict[int, list[float]] = {n: [] for n in predictors}
    # The predictors take turns, so that a slow minute of the machine is shared by all.
    for frame, (n, predictor) in itertools.product(frames, predictors.items()):
        for name, text in PROMPTS.items():
            start = time.perf_counter()
            image = predictor.generate(frame, text)
            seconds[n].append(time.perf_counter() - start)
            steps[n][name].append(grid(image, token))
    alone = median(seconds[args.shifts[0]])
    print(f'| shifts | {" | ".join(PROMPTS)} | ms | times that of {args.shifts[0]} |')
    print('|---|' + '---|' * (len(PROMPTS) + 2))
    for n in predictors:
        shown = ' | '.join(f'{fmean(found):.2f}' for found in steps[n].values())
        taken = median(seconds[n])
        print(f'| {n} | {shown} | {1000 * taken:.0f} | {taken / alone:.2f} |')


def grid(image: Any, token: int) -> float:
    """Median step across the borders of tokens by that across their middles.

    Args:
        image: (S, S, 3) painted, float.
        token: width, pixels.
    """
    import numpy as np

    ratios = []
    for axis in (0, 1):
        steps = np.moveaxis(np.abs(np.diff(image, axis=axis)).mean(axis=2), axis, 0)
        borders, middles = steps[token - 1 :: token], steps[token // 2 - 1 :: token]
        ratios.append(float(np.median(borders) / np.median(middles)))
    return fmean(ratios)


if __name__ == '__main__':
    main()
