# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reports of a replay: the content of metrics.json, and an HTML page in a single file.

The page is `templates/report.html.j2`, with every text escaped; here is what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import csv
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from diception_ros.core import adapter_card as cards
from diception_ros.core import settings
from diception_ros.reporting import tables
from diception_ros.reporting.tables import COUNTS, shown_of
from diception_ros.system import files
from diception_ros.tasks import TaskRegistry

if TYPE_CHECKING:
    from diception_ros.bag_replay.run import Job, Result
    from diception_ros.evaluation.bag_scores import Scores
    from diception_ros.perception.settings import PerceptionSettings
    from diception_ros.reporting.contact_sheets import ReportImages

# Rows of the table of frames; all are in frames.csv.
MAX_ROWS = 200
# A line of more points is drawn by the extremes of as many groups.
MAX_POINTS = 600
# Pixels of a plot, and its margins.
WIDTH, HEIGHT = 720, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 12, 34
# Okabe and Ito's colours, which colour-blind people tell apart, too.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / 'templates'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['number'] = _cell
    return environment


def _plot(macro: str, plot: Mapping[str, Any]) -> str:
    drawn: str = getattr(_templates().get_template('plots.svg.j2').module, macro)(plot)
    return drawn


def lines(
    title: str, unit: str, series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
) -> str:
    """Numbers over time as SVG; a series is seconds and numbers, of which NaN leaves a gap."""
    known = [
        (x, y)
        for xs, ys in series.values()
        for x, y in zip(xs, ys, strict=True)
        if math.isfinite(y)
    ]
    if not known:
        return ''
    x0, x1 = min(x for x, _ in known), max(x for x, _ in known)
    y0, y1 = min(0.0, *(y for _, y in known)), max(y for _, y in known)
    x1, y1 = (x1 if x1 > x0 else x0 + 1), (y1 if y1 > y0 else y0 + 1)
    drawn = []
    for k, (name, (xs, ys)) in enumerate(series.items()):
        path, pen = [], 'M'
        for x, y in _thinned(xs, ys):
            if not math.isfinite(y):
                pen = 'M'
                continue
            across = _LEFT + (x - x0) / (x1 - x0) * (WIDTH - _LEFT - _RIGHT)
            path.append(f'{pen}{across:.1f},{_row((y - y0) / (y1 - y0)):.1f}')
            pen = 'L'
        if len(path) == 1:
            path.append(f'L{path[0][1:]}')  # a single point is a dot
        drawn.append({'name': name, 'path': ''.join(path), 'color': COLORS[k % len(COLORS)]})
    return _plot('line_plot', {**_frame(title, (x0, x1), (y0, y1), 's', unit), 'lines': drawn})


def bars(title: str, unit: str, edges: Sequence[float], counts: Sequence[float]) -> str:
    """How often numbers occur, as SVG; there is one more edge than bins."""
    most = max(counts, default=0)
    if not most:
        return ''
    wide = (WIDTH - _LEFT - _RIGHT) / len(counts)
    drawn = [
        {
            'x': f'{_LEFT + k * wide:.1f}',
            'y': f'{_row(count / most):.1f}',
            'width': f'{max(wide - 1, 0.5):.1f}',
            'height': f'{_row(0) - _row(count / most):.1f}',
            'title': f'{_number(edges[k])} to {_number(edges[k + 1])}: {count:.0f}',
        }
        for k, count in enumerate(counts)
    ]
    frame = _frame(title, (edges[0], edges[-1]), (0, most), unit, '')
    return _plot('bar_plot', {**frame, 'bars': drawn, 'color': COLORS[0]})


def histogram(title: str, unit: str, values: Sequence[float], bins: int = 30) -> str:
    """How often numbers occur; '' where there are fewer than two that are known."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return ''
    counts, edges = np.histogram(known, bins)
    return bars(title, unit, edges.tolist(), counts.tolist())


def _row(share: float) -> float:
    """Row of a plot, pixels, at a share of its height."""
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _frame(
    title: str, x: tuple[float, float], y: tuple[float, float], across: str, up: str
) -> dict[str, Any]:
    """Axes, ticks and caption of a plot."""
    right = WIDTH - _RIGHT
    caption = (f'{title}, {up}' if up else title) + (f' over {across}' if across else '')
    rows = [
        {'at': round(_row(share)), 'text': _number(y[0] + share * (y[1] - y[0]))}
        for share in (0, 0.5, 1)
    ]
    columns = [
        {
            'at': round(_LEFT + share * (right - _LEFT)),
            'text': _number(x[0] + share * (x[1] - x[0])),
            'anchor': 'start' if share == 0 else 'end' if share == 1 else 'middle',
        }
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    return {
        'title': title, 'caption': caption, 'width': WIDTH, 'height': HEIGHT, 'left': _LEFT,
        'right': right, 'top': _TOP, 'bottom': HEIGHT - _BOTTOM, 'rows': rows,
        'columns': columns, 'middle': round((_LEFT + right) / 2),
    }  # fmt: skip


def _number(value: float) -> str:
    for least, size, letter in ((1e9, 1e9, 'G'), (1e6, 1e6, 'M'), (1e4, 1e3, 'k')):
        if abs(value) >= least:
            return f'{value / size:.4g}{letter}'
    return f'{value:.4g}'


def _thinned(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Lowest and highest of groups, so that a spike remains visible."""
    pairs = [*zip(xs, ys, strict=True)]
    if len(pairs) <= MAX_POINTS:
        return pairs
    step = math.ceil(2 * len(pairs) / MAX_POINTS)
    thinned = []
    for at in range(0, len(pairs), step):
        group = [pair for pair in pairs[at : at + step] if math.isfinite(pair[1])]
        if not group:
            thinned.append((pairs[at][0], math.nan))
            continue
        ends = {min(group, key=lambda pair: pair[1]), max(group, key=lambda pair: pair[1])}
        thinned += sorted(ends)
    return thinned


def page(
    metrics: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], sheets: ReportImages
) -> str:
    """The report as HTML, of what metrics.json and frames.csv hold."""
    columns = _metrics_of(rows, sheets.registry)
    return (
        _templates()
        .get_template('report.html.j2')
        .render(
            title=f'Replay of {metrics["bag"]["name"]}',
            warnings=[
                *([metrics['damage']] if metrics['damage'] else []),
                *(
                    f'{count} frames left out: {kind}'
                    for kind, count in metrics['skipped'].items()
                ),
                *metrics['notes'].values(),
            ],
            run=_facts(metrics),
            settings={name: _setting(value) for name, value in metrics['settings'].items()},
            scores=_cards(metrics['numbers'], sheets.registry),
            stability=_cards(metrics['stability'], sheets.registry),
            columns=columns,
            ranked=_ranked(rows, columns, sheets.registry),
            over_time=_over_time(rows, columns),
            histograms=_histograms(rows, columns, sheets),
            worst=sheets.worst(),
            spread=sheets.spread,
        )
    )


def _facts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    speed, versions = metrics['speed'], metrics.get('versions') or tables.versions()
    adapters = [
        f'{metric["task"]} ({metric["kind"]}, {metric["folder"]})'
        for metric in metrics['adapters']
    ]
    return {
        'bag': metrics['bag']['path'],
        'SHA-256 of the bag': metrics['bag']['sha256'],
        'results': metrics['out'],
        'model': metrics['model']['name'],
        'adapters': ', '.join(adapters) or 'none',
        'cameras': ', '.join(camera['topic'] for camera in metrics['cameras']),
        'frames': metrics['frames'],
        'speed': f'{speed["frames_per_s"]:.2f} frames/s; model '
        f'{1000 * speed["model_s"]["p50"]:.1f} ms (median), '
        f'{1000 * speed["model_s"]["p99"]:.1f} ms (99 %)',
        'depth is aligned': f'by {metrics["align"]}',
        'versions': ', '.join(f'{name} {version}' for name, version in versions.items()),
    }


def _setting(value: Any) -> str:
    return ' '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _cards(numbers: Mapping[str, Any], registry: TaskRegistry) -> list[dict[str, Any]]:
    return [
        {
            'heading': ' '.join(filter(None, (camera, task))),
            'directions': shown_of(task, registry),
            'numbers': each,
        }
        for camera, by_task in numbers.items()
        for task, each in by_task.items()
    ]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return '–'
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _metrics_of(rows: Sequence[Mapping[str, Any]], registry: TaskRegistry) -> list[str]:
    """Columns of scores, the one that ranks a task first."""
    names = list(dict.fromkeys(name for row in rows for name in row if '.' in name))

    def place(name: str) -> tuple[str, int]:
        task, _, metric = name.partition('.')
        shown = list(shown_of(task, registry))
        return task, shown.index(metric) if metric in shown else len(shown)

    return sorted((n for n in names if n.partition('.')[2] not in COUNTS), key=place)


def _ranked(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], registry: TaskRegistry
) -> list[tuple[int, Mapping[str, Any]]]:
    """Numbers and rows of the worst frames by the first column."""
    if not columns:
        return []
    first = columns[0]
    task, _, metric = first.partition('.')
    sign = shown_of(task, registry).get(metric, -1)

    def badness(pair: tuple[int, Mapping[str, Any]]) -> float:
        value = pair[1].get(first, math.nan)
        return math.inf if math.isnan(value) else sign * value

    return sorted(enumerate(rows), key=badness)[:MAX_ROWS]


def _over_time(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> dict[str, Sequence[str]]:
    start = min((row['log_ns'] for row in rows), default=0)
    cameras = list(dict.fromkeys(row['camera'] for row in rows))

    def plot(name: str) -> str:
        series = {}
        for camera in cameras:
            mine = [row for row in rows if row['camera'] == camera]
            series[camera or 'camera'] = (
                [(row['log_ns'] - start) / 1e9 for row in mine],
                [float(row.get(name, math.nan)) for row in mine],
            )
        return lines(*_titled(name), series)

    return _plots(columns, plot)


def _histograms(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], sheets: ReportImages
) -> dict[str, Sequence[str]]:
    values = []
    for task, counts in sheets.values.items():
        edges = np.linspace(0, 1, len(counts) + 1).tolist()
        values.append(bars(f'{task}: values of all pixels', '', edges, counts.tolist()))

    def plot(name: str) -> str:
        title, unit = _titled(name)
        numbers = [float(row.get(name, math.nan)) for row in rows]
        return histogram(f'{title}{f", {unit}" if unit else ""}: frames', '', numbers)

    return _plots(columns, plot, values)


def _titled(name: str) -> tuple[str, str]:
    known = {'model_s': ('model', 's'), 'messages_s': ('making messages', 's')}
    return known.get(name, (name, ''))


def _plots(
    columns: Sequence[str], plot: Callable[[str], str], before: Sequence[str] = ()
) -> dict[str, Sequence[str]]:
    """Plots of the numbers that matter, and of the others."""
    first = {name.partition('.')[0]: name for name in reversed(columns)}
    first_of = set(first.values())
    chosen = [
        n for n in columns if n in first_of or '.change' in n or n.endswith('.label_consistency')
    ]
    others = [name for name in columns if name not in chosen]
    shown = [*before, *map(plot, ['model_s', 'messages_s', *chosen])]
    return {'shown': [*filter(None, shown)], 'more': [*filter(None, map(plot, others))]}


def metrics(
    bag: Path,
    job: Job,
    perception: PerceptionSettings,
    model: tuple[str, Path],
    result: Result,
    scores: Scores,
    align: str,
    truths: Sequence[str],
) -> dict[str, Any]:
    """What metrics.json holds; docs/replay.md says what each means."""
    seconds = [float(row['model_s']) for row in scores.rows if 'model_s' in row]
    # What was done before a resume is in the journal, but not in the seconds of the last run.
    rate = result.processed / result.seconds if result.seconds else 0.0
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
            for folder, card in zip(perception.adapters, perception.registry.cards, strict=True)
        ],
        'settings': settings.values(perception),
        'options': {
            'start': job.start_s, 'end': job.end_s, 'every': job.every,
            'max_frames': job.max_frames, 'batch_frames': job.batch_frames,
            'points': [list(point) for point in job.points],
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
        'scale_shift': scores.scale_shift,
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
    with journal.open(newline='', encoding='utf-8') as file:
        lines = [
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
        for line in lines
    ]
