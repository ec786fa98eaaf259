# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Draws what bench/adapt.py measured: one plot for each task, as SVG, and a table in Markdown.

Of several seeds the mean, with the least and the most in brackets, and as a bar in the plot.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
import csv
from html import escape
import math
from pathlib import Path
from statistics import fmean

COLORS = {'adapted': '#1f6feb', 'untrained': '#bf8700', 'scratch': '#8250df', 'base': '#57606a'}
WORDS = {
    'adapted': 'adapted, 1 % of the parameters',
    'untrained': 'the same, network untrained',
    'scratch': 'from scratch, all parameters',
    'base': 'without adaptation',
}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 300, 200, 44, 34, 36, 26

# By method and number of images, a value for each seed.
Lines = dict[str, dict[int, list[float]]]


def main() -> None:
    """Write the image, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('results', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    plots = {}
    for path in sorted(args.results.glob('*.csv')):
        metric, lines = read(path)
        plots[path.stem] = metric, lines
        print(table(path.stem, metric, lines))
    args.out.write_text(image(plots))


def read(path: Path) -> tuple[str, Lines]:
    """Metric, and its values by method and number of images."""
    lines: Lines = {method: defaultdict(list) for method in WORDS}
    with path.open(newline='') as file:
        for row in csv.DictReader(file):
            lines[row['method']][int(row['images'])].append(float(row['true']))
            metric = row['metric']
    return metric, {method: dict(values) for method, values in lines.items() if values}


def counts_of(lines: Lines) -> list[int]:
    """Numbers of training images."""
    return sorted({count for one in lines.values() for count in one if count})


def at_count(values: dict[int, list[float]], count: int) -> list[float]:
    """What a method reached; without adaptation it is the same everywhere."""
    return values.get(count, values.get(0, []))


def table(task: str, metric: str, lines: Lines) -> str:
    """Methods by images, in Markdown."""
    counts = counts_of(lines)
    rows = [
        f'| {task}, {metric} | {" | ".join(map(str, counts))} |',
        '|---' * (len(counts) + 1) + '|',
    ]
    for method, values in lines.items():
        cells = [cell(at_count(values, count)) for count in counts]
        rows.append(f'| {WORDS[method]} | {" | ".join(cells)} |')
    return '\n'.join(rows) + '\n'


def cell(values: list[float]) -> str:
    """Mean, and between what the seeds are."""
    if not values:
        return ''
    spread = f' ({min(values):.3f}-{max(values):.3f})' if len(values) > 1 else ''
    return f'{fmean(values):.3f}{spread}'


def image(plots: dict[str, tuple[str, Lines]]) -> str:
    """The plots beside each other."""
    step = LEFT + WIDTH + GAP
    whole, high = step * len(plots), TOP + HEIGHT + BOTTOM + 24 * 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {high}" width="{whole}" '
        f'height="{high}" font-family="sans-serif" font-size="12" fill="#24292f">',
        f'<rect width="{whole}" height="{high}" fill="white"/>',
    ]
    for k, (task, (metric, lines)) in enumerate(plots.items()):
        parts += plot(task, metric, lines, k * step + LEFT)
    y = TOP + HEIGHT + BOTTOM + 16
    for k, (method, words) in enumerate(WORDS.items()):
        x = LEFT + (k % 2) * 300
        parts.append(f'<line x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}" '
                     f'stroke="{COLORS[method]}" stroke-width="3"/>'
                     f'<text x="{x + 32}" y="{y}">{escape(words)}</text>')  # fmt: skip
        y += 20 * (k % 2)
    return '\n'.join([*parts, '</svg>']) + '\n'


def round_step(most: float) -> float:
    """A round number of which some five make up the axis."""
    size = 10.0 ** math.floor(math.log10(most / 5))
    return min(size * one for one in (1, 2, 2.5, 5, 10) if size * one * 5 >= most)


def plot(task: str, metric: str, lines: Lines, left: int) -> list[str]:
    """One plot, whose left edge is at `left`; images on a logarithmic axis."""
    counts = counts_of(lines)
    every = [value for one in lines.values() for values in one.values() for value in values]
    step = round_step(1.0 if metric == 'iou' else max(every))
    ticks = 5 if metric == 'iou' else math.ceil(max(every) / step)
    top = step * ticks
    across = math.log(counts[-1] / counts[0]) or 1.0

    def at(count: int, value: float) -> tuple[float, float]:
        x = left + WIDTH * math.log(count / counts[0]) / across
        return x, TOP + HEIGHT * (1 - value / top)

    arrow = 'better above' if metric == 'iou' else 'better below'
    parts = [
        f'<text x="{left}" y="20" font-weight="bold">{escape(task)}: {metric}, {arrow}</text>'
    ]
    for tick in range(ticks + 1):
        value = step * tick
        y = at(counts[0], value)[1]
        parts.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" '
                     f'stroke="#d0d7de"/><text x="{left - 6}" y="{y + 4:.1f}" '
                     f'text-anchor="end">{value:.2g}</text>')  # fmt: skip
    for count in counts:
        x = at(count, 0)[0]
        parts.append(
            f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{count}</text>'
        )
    parts.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 31}" text-anchor="middle">'
                 'labelled images</text>')  # fmt: skip
    for method, values in lines.items():
        places = [(n, at_count(values, n)) for n in counts if at_count(values, n)]
        points = [at(n, fmean(some)) for n, some in places]
        for n, some in places:
            if len(some) > 1:
                (x, low), (_, high) = at(n, min(some)), at(n, max(some))
                parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" '
                             f'stroke="{COLORS[method]}"/>')  # fmt: skip
        path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if method == 'base' else ''
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLORS[method]}" '
                     f'stroke-width="2.5"{dashes}/>')  # fmt: skip
        if method != 'base':
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLORS[method]}"/>'
                      for x, y in points]  # fmt: skip
    return parts


if __name__ == '__main__':
    main()
