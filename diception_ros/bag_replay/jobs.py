# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Replays of many bags: which they are, the names of what is written, and the table of results."""

from __future__ import annotations

from collections.abc import Sequence
import glob
import os
from pathlib import Path

from diception_ros.bag_replay.job import DAMAGED
from diception_ros.bags.reader import ENDS, bags_in
from diception_ros.system import safe_load
from diception_ros.system.engines import Done


def find(given: Sequence[str]) -> list[Path]:
    """The bags of a command line.

    Args:
        given: bags, folders of bags, and patterns.

    Raises:
        FileNotFoundError: there is no such bag, or a pattern matches none.
        ValueError: a folder has none.
    """
    found: list[Path] = []
    for name in given:
        matched = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else []
        for path in [name] if Path(name).exists() or not matched else matched:
            found += bags_in(Path(path))
    return list(dict.fromkeys(found))


def summary_of(out: Path) -> Path:
    """The file for the result of a replay as JSON."""
    return out.with_suffix('.json')


def names(bags: Sequence[Path]) -> list[str]:
    """Names of what is written, one for each bag: what sets it apart from the others."""
    full = [Path(os.path.abspath(bag)) for bag in bags]
    plain = [path.name.removesuffix('.zstd') for path in full]
    stems = [name.rpartition('.')[0] if name.endswith(ENDS) else name for name in plain]
    if len(set(stems)) == len(stems):
        return stems
    root = Path(os.path.commonpath([path.parent for path in full]))
    return ['_'.join(path.relative_to(root).parts) for path in full]


def table(done: Sequence[Done]) -> str:
    """The results of all bags, in Markdown."""
    rows = [('bag', 'frames', 'seconds', 'result')]
    for each in done:
        frames = seconds = ''
        result = 'done' if each.code == 0 else each.words
        if each.code in (0, 1, DAMAGED) and summary_of(each.task.out).exists():
            summary = safe_load.json_object(summary_of(each.task.out))
            frames, seconds = str(summary['frames']), f'{summary["seconds"]:.1f}'
            skipped, lost = sum(summary['skipped'].values()), len(summary.get('not_copied', ()))
            if summary['damage']:
                result = summary['damage']
            elif skipped or lost:
                parts = [f'{skipped} frames left out'] * bool(skipped)
                result = ', '.join([*parts, *[f'{lost} topics not copied'] * bool(lost)])
        rows.append((str(each.task.source), frames, seconds, result))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f'| {" | ".join(map(str.ljust, row, widths))} |' for row in rows]
    rule = '|' + '|'.join('-' * (width + 2) for width in widths) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]])
