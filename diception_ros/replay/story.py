# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a replay leaves behind beside the bag: metrics.json, frames.csv, and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diception_ros import card as cards
from diception_ros import settings
from diception_ros.evaluate import report

if TYPE_CHECKING:
    from diception_ros.perceive.settings import PerceptionSettings
    from diception_ros.replay.run import Job, Result
    from diception_ros.replay.scores import Scores


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
        'bag': {'name': bag.name, 'path': str(bag), 'sha256': digest(bag)},
        'out': str(job.out),
        'model': {'name': name, 'sha256': report.digest(folder)},
        'adapters': [
            {
                'task': card.name,
                'kind': card.kind,
                'folder': folder,
                'sha256': cards.digest(folder),
            }
            for folder, card in zip(asked.adapters, asked.cards, strict=True)
        ],
        'settings': settings.values(asked),
        'options': {
            'start': job.start_s, 'end': job.end_s, 'every': job.every, 'max_frames': job.most,
            'batch_frames': job.batch, 'points': [list(one) for one in job.points],
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
    with path.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(columns)
        for row in rows:
            writer.writerow(_told(row.get(name, '')) for name in columns)


def _told(value: Any) -> Any:
    if isinstance(value, float):
        return '' if math.isnan(value) else f'{value:.6g}'
    return value


def digest(bag: Path) -> str:
    """SHA-256 of a bag: of the file, or of all files of a folder."""
    if bag.is_dir():
        return report.digest(bag)
    seen = hashlib.sha256()
    with bag.open('rb') as file:
        while block := file.read(1 << 20):
            seen.update(block)
    return seen.hexdigest()


def whole(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the versions that metrics.json has."""
    return {**content, 'versions': report.versions()}
