# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG that stands in a page by itself: numbers over time, and how often they occur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
import math

import numpy as np

WIDTH, HEIGHT = 720, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 12, 34
# Okabe and Ito's colours: told apart by the colour-blind, too.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
# A line of more points is drawn by the extremes of as many groups.
MOST = 600


def lines(
    title: str, unit: str, series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
) -> str:
    """Numbers over time.

    Args:
        title: what they are.
        unit: of the numbers, '' for none.
        series: by name, seconds and numbers; NaN leaves a gap.
    """
    known = [(x, y) for xs, ys in series.values() for x, y in zip(xs, ys, strict=True)
             if math.isfinite(y)]  # fmt: skip
    if not known:
        return ''
    x0, x1 = min(x for x, _ in known), max(x for x, _ in known)
    y0, y1 = min(0.0, *(y for _, y in known)), max(y for _, y in known)
    x1, y1 = (x1 if x1 > x0 else x0 + 1), (y1 if y1 > y0 else y0 + 1)

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - x0) / (x1 - x0) * (WIDTH - _LEFT - _RIGHT)
        return f'{across:.1f},{HEIGHT - _BOTTOM - (y - y0) / (y1 - y0) * _high():.1f}'

    parts = [_frame(title, (x0, x1), (y0, y1), 's', unit)]
    for colour, (name, (xs, ys)) in zip(_colours(len(series)), series.items(), strict=True):
        path, pen = [], 'M'
        for x, y in _thinned(xs, ys):
            if not math.isfinite(y):
                pen = 'M'
                continue
            path.append(f'{pen}{place(x, y)}')
            pen = 'L'
        if len(path) == 1:
            path.append(f'L{path[0][1:]}')  # a single point is a dot
        parts.append(
            f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.5" '
            f'stroke-linecap="round"><title>{escape(name)}</title></path>'
        )
    return _svg(title, parts) + _legend(list(series))


def bars(title: str, unit: str, edges: Sequence[float], counts: Sequence[float]) -> str:
    """How often numbers occur.

    Args:
        title: what they are.
        unit: of the numbers.
        edges: of the bins, one more than counts.
        counts: how many are in each.
    """
    most = max(counts, default=0)
    if not most:
        return ''
    parts = [_frame(title, (edges[0], edges[-1]), (0, most), unit, '')]
    wide = (WIDTH - _LEFT - _RIGHT) / len(counts)
    for k, count in enumerate(counts):
        high = count / most * _high()
        parts.append(
            f'<rect x="{_LEFT + k * wide:.1f}" y="{HEIGHT - _BOTTOM - high:.1f}" '
            f'width="{max(wide - 1, 0.5):.1f}" height="{high:.1f}" fill="{COLOURS[0]}">'
            f'<title>{_number(edges[k])} to {_number(edges[k + 1])}: {count:.0f}</title></rect>'
        )
    return _svg(title, parts)


def histogram(title: str, unit: str, values: Sequence[float], bins: int = 30) -> str:
    """How often numbers occur; '' where there are fewer than two that are known."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return ''
    counts, edges = np.histogram(known, bins)
    return bars(title, unit, edges.tolist(), counts.tolist())


def _high() -> int:
    return HEIGHT - _TOP - _BOTTOM


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'{"".join(parts)}</svg>'
    )


def _frame(
    title: str, x: tuple[float, float], y: tuple[float, float], across: str, up: str
) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = [
        f'<path d="M{_LEFT},{_TOP}V{bottom}H{right}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.4"/>'
    ]
    for share in (0, 0.5, 1):
        value, at = y[0] + share * (y[1] - y[0]), bottom - share * _high()
        parts.append(
            f'<text x="{_LEFT - 6}" y="{at + 4:.0f}" text-anchor="end">{_number(value)}</text>'
            f'<path d="M{_LEFT},{at:.0f}H{right}" stroke="currentColor" stroke-opacity="0.1"/>'
        )
    for share in (0, 0.25, 0.5, 0.75, 1):
        value, at = x[0] + share * (x[1] - x[0]), _LEFT + share * (right - _LEFT)
        anchor = 'start' if share == 0 else 'end' if share == 1 else 'middle'
        parts.append(
            f'<text x="{at:.0f}" y="{bottom + 15}" text-anchor="{anchor}">{_number(value)}</text>'
        )
    words = f'{title}, {up}' if up else title
    parts.append(
        f'<text x="{(_LEFT + right) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">'
        f'{escape(words)}{f" over {across}" if across else ""}</text>'
    )
    return ''.join(parts)


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ''
    marks = (
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for colour, name in zip(_colours(len(names)), names, strict=True)
    )
    return f'<p class="legend">{"".join(marks)}</p>'


def _colours(count: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(count)]


def _number(value: float) -> str:
    for least, size, letter in ((1e9, 1e9, 'G'), (1e6, 1e6, 'M'), (1e4, 1e3, 'k')):
        if abs(value) >= least:
            return f'{value / size:.4g}{letter}'
    return f'{value:.4g}'


def _thinned(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Lowest and highest of groups, so that a spike stays to be seen."""
    pairs = [*zip(xs, ys, strict=True)]
    if len(pairs) <= MOST:
        return pairs
    step = math.ceil(2 * len(pairs) / MOST)
    found = []
    for at in range(0, len(pairs), step):
        group = [one for one in pairs[at : at + step] if math.isfinite(one[1])]
        if not group:
            found.append((pairs[at][0], math.nan))
            continue
        ends = {min(group, key=lambda one: one[1]), max(group, key=lambda one: one[1])}
        found += sorted(ends)
    return found
