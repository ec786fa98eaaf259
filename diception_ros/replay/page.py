# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report: one page that needs nothing beside it, neither files nor a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from diception_ros.evaluate.report import COUNTS, shown_of
from diception_ros.replay import plots

if TYPE_CHECKING:
    from diception_ros.replay.sheets import Sheets, Shot

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
        _numbers(metrics),
        _worst_rows(rows),
        _over_time(rows),
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


def _numbers(metrics: Mapping[str, Any]) -> str:
    blocks = []
    for heading, key in (('Scores', 'numbers'), ('Change from frame to frame', 'stability')):
        cards = [
            _card(' '.join(filter(None, (camera, task))), task, each)
            for camera, found in metrics[key].items()
            for task, each in found.items()
        ]
        if cards:
            blocks.append(f'<h2>{heading}</h2><div class="cards">{"".join(cards)}</div>')
    return ''.join(blocks)


def _card(heading: str, task: str, numbers: Mapping[str, Any]) -> str:
    body = ''.join(
        f'<tr><td>{escape(metric)}{_arrow(task, metric)}</td><td>{_cell(value)}</td></tr>'
        for metric, value in numbers.items()
        if metric != 'skipped' or value
    )
    return f'<table><tr><th colspan="2">{escape(heading)}</th></tr>{body}</table>'


def _arrow(task: str, metric: str) -> str:
    direction = shown_of(task).get(metric, 0)
    return {1: ' ↑', -1: ' ↓', 0: ''}[direction]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return '–'
    return f'{value:.4g}' if isinstance(value, float) else escape(str(value))


def _metrics_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of scores, the one that ranks a task first."""
    names = list(dict.fromkeys(name for row in rows for name in row if '.' in name))

    def place(name: str) -> tuple[str, int]:
        task, _, metric = name.partition('.')
        shown = list(shown_of(task))
        return task, shown.index(metric) if metric in shown else len(shown)

    return sorted((n for n in names if n.partition('.')[2] not in COUNTS), key=place)


def _worst_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = _metrics_of(rows)
    if not columns:
        return ''
    first = columns[0]
    task, _, metric = first.partition('.')
    sign = shown_of(task).get(metric, -1)

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


def _over_time(rows: Sequence[Mapping[str, Any]]) -> str:
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
        return plots.lines(*_titled(name), series)

    return _plots('Over time', rows, plot)


def _histograms(rows: Sequence[Mapping[str, Any]], sheets: Sheets) -> str:
    values = []
    for task, counts in sheets.values.items():
        edges = np.linspace(0, 1, len(counts) + 1).tolist()
        values.append(plots.bars(f'{task}: values of all pixels', '', edges, counts.tolist()))

    def plot(name: str) -> str:
        title, unit = _titled(name)
        numbers = [float(row.get(name, math.nan)) for row in rows]
        return plots.histogram(f'{title}{f", {unit}" if unit else ""}: frames', '', numbers)

    return _plots('Histograms', rows, plot, values)


def _titled(name: str) -> tuple[str, str]:
    known = {'model_s': ('model', 's'), 'messages_s': ('making messages', 's')}
    return known.get(name, (name, ''))


def _plots(
    heading: str,
    rows: Sequence[Mapping[str, Any]],
    plot: Callable[[str], str],
    before: Sequence[str] = (),
) -> str:
    """Plots of the numbers that matter, and behind a click of the others."""
    columns = _metrics_of(rows)
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
