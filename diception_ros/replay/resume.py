# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a replay begins: anew, where an earlier one was, or behind its last frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diception_ros import card as cards
from diception_ros import settings as declared
from diception_ros.replay import checkpoint
from diception_ros.replay.checkpoint import Checkpoint
from diception_ros.replay.index import Index
from diception_ros.replay.recorder import journal_of
from diception_ros.replay.writer import partial_of

if TYPE_CHECKING:
    from pathlib import Path

    from diception_ros.perceive.perceiver import Perceiver
    from diception_ros.replay.bags import Bag
    from diception_ros.replay.cameras import Camera
    from diception_ros.replay.run import Job


def about(
    bag: Bag, perceiver: Perceiver, job: Job, cameras: Sequence[Camera], model: str
) -> dict[str, Any]:
    """What has to be the same when a replay goes on."""
    return {
        **declared.values(perceiver.settings),
        # They may lie elsewhere now, but must be the same.
        'adapters': [cards.digest(folder) for folder in perceiver.settings.adapters],
        'bag': [str(bag.path.absolute()), {t.name: t.count for t in bag.topics.values()}],
        'model': model,
        'cameras': [[c.name, c.topic, c.info, c.reference] for c in cameras],
        'start': job.start_s,
        'end': job.end_s,
        'every': job.every,
        'max-frames': job.most,
        'views': job.views,
        'copy': job.copy,
        'points': [list(point) for point in job.points],
        'prefix': job.prefix,
        'batch-frames': job.batch,
        'compress': job.compress,
        'threads': job.threads,
    }


def begin(job: Job, same: Mapping[str, Any]) -> Checkpoint:
    """How far a replay is before it begins; the bag that it writes is there where that is all.

    Args:
        job: says what is written, and whether anything may be replaced or gone on with.
        same: what has to be the same, see `about`.

    Raises:
        FileExistsError: there is a bag, or a part of one, and neither may be.
        ValueError: it was begun differently.
    """
    partial, state = partial_of(job.out), checkpoint.place(job.out)
    there = job.out.exists()
    if job.resume and not job.force and state.exists() and partial.exists() != there:
        found = checkpoint.read(state, same)
        if not there or is_whole(job.out, found):
            return found
    if there and not (job.force and job.out.is_file()):
        hint = '; --force replaces it' if job.out.is_file() else ' and is no file'
        raise FileExistsError(f'{job.out} exists{hint}')
    if partial.exists() and not (job.force or job.resume):
        raise FileExistsError(
            f'{partial} is left of a replay that did not end; --resume goes on with it, --force '
            'begins anew'
        )
    state.unlink(missing_ok=True)
    return Checkpoint()


def is_whole(out: Path, found: Checkpoint) -> bool:
    """Whether a bag, and the journal beside it, are those that the last checkpoint tells of."""
    journal = journal_of(out)
    if not out.is_file() or not journal.exists() or journal.stat().st_size != found.journal:
        return False
    with out.open('rb') as file:
        try:
            index = Index.read(file, found.offset)
        except ValueError:
            return False
        file.seek(found.offset)
        return file.read() == index.ending(found.offset)


def clean(out: Path) -> None:
    """Remove what is kept beside a bag for as long as something is left to do of it."""
    # The checkpoint last: without it nobody looks for the journal.
    journal_of(out).unlink(missing_ok=True)
    checkpoint.place(out).unlink(missing_ok=True)
