# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report: one page that needs nothing beside it, neither files nor a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import csv
from html import escape
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diception_ros.core import adapter_card as cards
from diception_ros.core import settings
from diception_ros.reporting import tables
from diception_ros.reporting.tables import COUNTS, shown_of
from diception_ros.system import files
from diception_ros.tasks import TaskRegistry

# Plots as SVG that stands in a page by itself: numbers over time, and how often they occur.


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


if TYPE_CHECKING:
    from diception_ros.reporting.contact_sheets import Sheets, Shot

# Rows of the table of frames; all are in frames.csv.
ROWS = 200

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1100px;padding:1rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left}
td{overflow-wrap:anywhere}
.wide{overflow:auto;max-height:26rem;border:1px solid var(--line)}
.wide td{white-space:nowrap;overflow-wrap:normal}
.wide th{position:sticky;top:0;background:Canvas}
svg{width:100%;max-width:720px;font-size:11px;fill:currentColor;display:block}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr))}
.cards{gap:1.5rem;align-items:start}
.plots{display:grid;gap:.5rem 1rem}
.plots{grid-template-columns:repeat(auto-fill,minmax(min(430px,100%),1fr))}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(320px,100%),1fr));gap:1rem}
figure{margin:0}figcaption{font-size:.85rem;padding:.2rem 0}
.pair{position:relative;line-height:0;--cut:50%;touch-action:pan-y}
.pair img{width:100%;display:block}
.pair img+img{position:absolute;inset:0;height:100%;clip-path:inset(0 0 0 var(--cut))}
.pair::after{content:'';position:absolute;inset:0 auto 0 var(--cut);width:2px;background:#fff;
box-shadow:0 0 3px #000;pointer-events:none}
.pair input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize}
.pair:focus-within{outline:3px solid #56B4E9}
.legend span{margin-right:1rem}
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}
.warn{border-left:4px solid #D55E00;padding:.3rem .8rem;background:var(--soft)}
"""
# The picture is cut where the slider stands; keys and fingers move it, too.
_SCRIPT = """
for (const slider of document.querySelectorAll('.pair input')) {
  const move = () => slider.parentElement.style.setProperty('--cut', slider.value + '%');
  slider.addEventListener('input', move);
  move();
}
"""


def page(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], sheets: Sheets) -> str:
    """The page.

    Args:
        metrics: what metrics.json holds.
        rows: of frames.csv.
        sheets: pictures.
    """
    title = f'Replay of {metrics["bag"]["name"]}'
    parts = [
        f'<h1>{escape(title)}</h1>',
        _warnings(metrics),
        _facts(metrics),
        _numbers(metrics, sheets.registry),
        _worst_rows(rows, sheets.registry),
        _over_time(rows, sheets.registry),
        _histograms(rows, sheets),
        _sheet('Worst answers', sheets.worst()),
        _sheet('Frames spread over the bag', sheets.spread),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n'
        + '\n'.join(part for part in parts if part)
        + f'\n<script>{_SCRIPT}</script></body></html>\n'
    )


def _warnings(metrics: Mapping[str, Any]) -> str:
    words = [metrics['damage']] if metrics['damage'] else []
    words += [f'{count} frames left out: {kind}' for kind, count in metrics['skipped'].items()]
    words += metrics['notes'].values()
    return ''.join(f'<p class="warn">{escape(str(one))}</p>' for one in words)


def _facts(metrics: Mapping[str, Any]) -> str:
    speed = metrics['speed']
    facts = {
        'bag': metrics['bag']['path'],
        'SHA-256 of the bag': metrics['bag']['sha256'],
        'answers': metrics['out'],
        'model': metrics['model']['name'],
        'adapters': ', '.join(
            f'{one["task"]} ({one["kind"]}, {one["folder"]})' for one in metrics['adapters']
        )
        or 'none',
        'cameras': ', '.join(one['topic'] for one in metrics['cameras']),
        'frames': metrics['frames'],
        'speed': f'{speed["frames_per_s"]:.2f} frames/s; model '
        f'{1000 * speed["model_s"]["p50"]:.1f} ms (median), '
        f'{1000 * speed["model_s"]["p99"]:.1f} ms (99 %)',
        'depth is aligned': f'by {metrics["align"]}',
        'versions': ', '.join(f'{name} {one}' for name, one in metrics['versions'].items()),
    }
    cells = ''.join(
        f'<tr><td>{escape(name)}</td><td style="text-align:left">{escape(str(one))}</td></tr>'
        for name, one in facts.items()
    )
    changed = ''.join(
        f'<tr><td>{escape(name)}</td><td style="text-align:left">{escape(_setting(one))}</td></tr>'
        for name, one in metrics['settings'].items()
    )
    return (
        f'<h2>What was run</h2><table>{cells}</table>'
        f'<details><summary>All settings</summary><table>{changed}</table></details>'
    )


def _setting(value: Any) -> str:
    return ' '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _numbers(metrics: Mapping[str, Any], registry: TaskRegistry) -> str:
    blocks = []
    for heading, key in (('Scores', 'numbers'), ('Change from frame to frame', 'stability')):
        cards = [
            _card(' '.join(filter(None, (camera, task))), shown_of(task, registry), each)
            for camera, found in metrics[key].items()
            for task, each in found.items()
        ]
        if cards:
            blocks.append(f'<h2>{heading}</h2><div class="cards">{"".join(cards)}</div>')
    return ''.join(blocks)


_ARROWS = {1: ' ↑', -1: ' ↓', 0: ''}


def _card(heading: str, directions: Mapping[str, int], numbers: Mapping[str, Any]) -> str:
    body = ''.join(
        f'<tr><td>{escape(metric)}{_ARROWS[directions.get(metric, 0)]}</td>'
        f'<td>{_cell(value)}</td></tr>'
        for metric, value in numbers.items()
        if metric != 'skipped' or value
    )
    return f'<table><tr><th colspan="2">{escape(heading)}</th></tr>{body}</table>'


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return '–'
    return f'{value:.4g}' if isinstance(value, float) else escape(str(value))


def _metrics_of(rows: Sequence[Mapping[str, Any]], registry: TaskRegistry) -> list[str]:
    """Columns of scores, the one that ranks a task first."""
    names = list(dict.fromkeys(name for row in rows for name in row if '.' in name))

    def place(name: str) -> tuple[str, int]:
        task, _, metric = name.partition('.')
        shown = list(shown_of(task, registry))
        return task, shown.index(metric) if metric in shown else len(shown)

    return sorted((n for n in names if n.partition('.')[2] not in COUNTS), key=place)


def _worst_rows(rows: Sequence[Mapping[str, Any]], registry: TaskRegistry) -> str:
    columns = _metrics_of(rows, registry)
    if not columns:
        return ''
    first = columns[0]
    task, _, metric = first.partition('.')
    sign = shown_of(task, registry).get(metric, -1)

    def badness(pair: tuple[int, Mapping[str, Any]]) -> float:
        value = pair[1].get(first, math.nan)
        return math.inf if math.isnan(value) else sign * value

    ranked = sorted(enumerate(rows), key=badness)[:ROWS]
    head = ''.join(f'<th>{escape(name)}</th>' for name in ('frame', 'camera', 'stamp', *columns))
    body = ''.join(
        f'<tr><td>{number}</td><td>{escape(str(row["camera"]))}</td>'
        f'<td>{row["stamp_ns"] / 1e9:.3f}</td>'
        + ''.join(f'<td>{_cell(row.get(name))}</td>' for name in columns)
        + '</tr>'
        for number, row in ranked
    )
    return (
        f'<h2>Frames, the worst first by {escape(first)}</h2>'
        f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
    )


def _over_time(rows: Sequence[Mapping[str, Any]], registry: TaskRegistry) -> str:
    if not rows:
        return ''
    zero = min(row['log_ns'] for row in rows)
    cameras = list(dict.fromkeys(row['camera'] for row in rows))

    def plot(name: str) -> str:
        series = {}
        for camera in cameras:
            mine = [row for row in rows if row['camera'] == camera]
            series[camera or 'camera'] = (
                [(row['log_ns'] - zero) / 1e9 for row in mine],
                [float(row.get(name, math.nan)) for row in mine],
            )
        return lines(*_titled(name), series)

    return _plots('Over time', rows, plot, registry)


def _histograms(rows: Sequence[Mapping[str, Any]], sheets: Sheets) -> str:
    values = []
    for task, counts in sheets.values.items():
        edges = np.linspace(0, 1, len(counts) + 1).tolist()
        values.append(bars(f'{task}: values of all pixels', '', edges, counts.tolist()))

    def plot(name: str) -> str:
        title, unit = _titled(name)
        numbers = [float(row.get(name, math.nan)) for row in rows]
        return histogram(f'{title}{f", {unit}" if unit else ""}: frames', '', numbers)

    return _plots('Histograms', rows, plot, sheets.registry, values)


def _titled(name: str) -> tuple[str, str]:
    known = {'model_s': ('model', 's'), 'messages_s': ('making messages', 's')}
    return known.get(name, (name, ''))


def _plots(
    heading: str,
    rows: Sequence[Mapping[str, Any]],
    plot: Callable[[str], str],
    registry: TaskRegistry,
    before: Sequence[str] = (),
) -> str:
    """Plots of the numbers that matter, and behind a click of the others."""
    columns = _metrics_of(rows, registry)
    first = {name.partition('.')[0]: name for name in reversed(columns)}
    first_of = set(first.values())
    chosen = [n for n in columns if n in first_of or '.change' in n or n.endswith('.kept')]
    others = [name for name in columns if name not in chosen]
    shown = [*before, *map(plot, ['model_s', 'messages_s', *chosen])]
    more = [one for one in map(plot, others) if one]
    if not any(shown):
        return ''
    text = f'<h2>{heading}</h2>{_grid(shown)}'
    if more:
        text += f'<details><summary>{len(more)} more</summary>{_grid(more)}</details>'
    return text


def _grid(drawn: Sequence[str]) -> str:
    each = ''.join(f'<div>{one}</div>' for one in drawn if one)
    return f'<div class="plots">{each}</div>'


def _told(shot: Shot) -> str:
    return ' · '.join(filter(None, (f'frame {shot.number}', shot.camera, shot.task, shot.words)))


def _sheet(heading: str, shots: Sequence[Shot]) -> str:
    if not shots:
        return ''
    figures = ''.join(
        '<figure><div class="pair">'
        f'<img alt="picture of the camera" src="{shot.image}">'
        f'<img alt="answer to {escape(shot.task)}" src="{shot.answer}">'
        f'<input type="range" min="0" max="100" value="50" step="0.5" '
        f'aria-label="picture or answer, frame {shot.number}"></div>'
        f'<figcaption>{escape(_told(shot))}</figcaption></figure>'
        for shot in shots
    )
    return (
        f'<h2>{heading}</h2><p>Left the picture, right the answer.</p>'
        f'<div class="sheet">{figures}</div>'
    )


# What a replay leaves behind beside the bag: metrics.json, frames.csv, and the page.


if TYPE_CHECKING:
    from diception_ros.bag_replay.job import Job, Result
    from diception_ros.evaluation.bag_scores import Scores
    from diception_ros.perception.settings import PerceptionSettings


def metrics(
    bag: Path,
    job: Job,
    asked: PerceptionSettings,
    model: tuple[str, Path],
    result: Result,
    scores: Scores,
    align: str,
    truths: Sequence[str],
) -> dict[str, Any]:
    """What metrics.json holds; docs/replay.md says what each means."""
    seconds = [float(row['model_s']) for row in scores.rows if 'model_s' in row]
    # What was done before a resume is in the journal, but not in the seconds of the last run.
    rate = result.answered / result.seconds if result.seconds else 0.0
    name, folder = model
    return {
        'kind': 'replay',
        'bag': {'name': bag.name, 'path': str(bag), 'sha256': files.sha256(bag)},
        'out': str(job.out),
        'model': {'name': name, 'sha256': files.sha256(folder)},
        'adapters': [
            {
                'task': card.name,
                'kind': card.kind,
                'folder': folder,
                'sha256': cards.digest(folder),
            }
            for folder, card in zip(asked.adapters, asked.registry.cards, strict=True)
        ],
        'settings': settings.values(asked),
        'options': {
            'start': job.start_s, 'end': job.end_s, 'every': job.every,
            'max_frames': job.max_frames, 'batch_frames': job.batch_frames,
            'points': [list(one) for one in job.points],
            'truth': list(truths), 'threads': job.threads,
        },
        'cameras': [
            {'name': c.name, 'topic': c.topic, 'camera_info': c.info, 'reference': c.reference}
            for c in result.cameras
        ],
        'frames': result.frames,
        'skipped': dict(result.skipped),
        'damage': result.damage,
        'notes': dict(result.notes),
        'align': align,
        'numbers': scores.numbers,
        'stability': scores.stability,
        'warped': scores.warped,
        'affine': scores.affine,
        'missing_truth': scores.missing,
        'speed': {
            'seconds': result.seconds,
            'frames_per_s': rate,
            'model_s': {
                'p50': float(np.percentile(seconds, 50)) if seconds else float('nan'),
                'p99': float(np.percentile(seconds, 99)) if seconds else float('nan'),
            },
        },
    }  # fmt: skip


def with_journal(rows: list[dict[str, Any]], journal: Path) -> list[dict[str, Any]]:
    """Rows with the seconds that each frame took; without rows those of the journal alone."""
    with journal.open(newline='') as file:
        told = [
            {
                'camera': line['camera'], 'stamp_ns': int(line['stamp_ns']),
                'log_ns': int(line['log_ns']), 'model_s': float(line['model_s']),
                'messages_s': float(line['messages_s']),
            }
            for line in csv.DictReader(file)
        ]  # fmt: skip
    known = {(row['camera'], row['log_ns'], row['stamp_ns']): row for row in rows}
    return [
        {**line, **known.get((line['camera'], line['log_ns'], line['stamp_ns']), {})}
        for line in told
    ]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a line for each frame; what is not known is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with files.atomic_file(path) as partial, partial.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(columns)
        for row in rows:
            writer.writerow(_story_told(row.get(name, '')) for name in columns)


def _story_told(value: Any) -> Any:
    if isinstance(value, float):
        return '' if math.isnan(value) else f'{value:.6g}'
    return value


def whole(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the versions that metrics.json has."""
    return {**content, 'versions': tables.versions()}
