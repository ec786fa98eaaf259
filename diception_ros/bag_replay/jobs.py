# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Replays of many bags, each in a process of its own, on this machine or on a Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
import glob
import os
from pathlib import Path
import sys
import time
from typing import Any, NamedTuple

from tqdm import tqdm

from diception_ros.bag_replay.job import DAMAGED
from diception_ros.bags.reader import ENDS, bags_in
from diception_ros.system import processes, safe_load

# Seconds that an interrupted process gets to leave a file with an index. A step of the model is
# not interrupted, and the large one takes long on a CPU.
ENDING_S = 20.0
NAP_S = 0.05
# Restarts of a process that a cluster lost; Ray's own number.
RETRIES = 3


class Task(NamedTuple):
    """The replay of one bag by a process.

    Attributes:
        bag: the bag.
        out: what is written, absolute.
        command: line of the process.
        folder: in which it runs, absolute; relative paths of the command line start there.
    """

    bag: Path
    out: Path
    command: list[str]
    folder: Path


class Done(NamedTuple):
    """Result of a task.

    Attributes:
        task: the task.
        code: exit code of the process.
        words: the last line of its log.
    """

    task: Task
    code: int
    words: str


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


def run_local(
    todo: Sequence[Task], jobs: int, started: Callable[[Task], None] = lambda task: None
) -> Generator[Done, None, None]:
    """Run `jobs` at a time on this machine.

    Args:
        todo: the tasks.
        jobs: processes at a time.
        started: called with each task that starts.

    Yields:
        Results in the order in which the processes end.
    """
    waiting, running = deque(todo), list[tuple[Task, processes.Subprocess]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.popleft()
                running.append((task, _start(task)))
                started(task)
            time.sleep(NAP_S)
            for task, child in list(running):
                if (code := child.code) is not None:
                    running.remove((task, child))
                    yield _done(task, child, code)
    finally:
        for _, child in running:
            child.interrupt()
        end = time.monotonic() + ENDING_S
        for _, child in running:
            child.end(max(0.0, end - time.monotonic()))


def run_ray(todo: Sequence[Task], jobs: int, gpu: bool) -> Generator[Done, None, None]:
    """Run them on a cluster of Ray whose machines see the same files.

    Args:
        todo: the tasks.
        jobs: processors that each takes.
        gpu: whether each takes a GPU.

    Yields:
        Results in the order in which the processes end.

    Raises:
        ModuleNotFoundError: without Ray.
    """
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError(
            '--engine ray needs Ray, which is not installed', name='ray'
        ) from error
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    _check_resources(ray.nodes(), {'CPU': jobs, 'GPU': int(gpu)})
    # Started again here and not by Ray, which would not add --resume.
    remote: Any = ray.remote(num_cpus=jobs, num_gpus=int(gpu), max_retries=0)(run_task)
    waiting = {remote.remote(task): (task, RETRIES) for task in todo}
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting))
            for reference in ready:
                task, retries = waiting.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    yield Done(task, 1, str(error.cause))
                except ray.exceptions.RayError as error:
                    if retries:
                        waiting[remote.remote(retry_with_resume(task))] = task, retries - 1
                    else:
                        yield Done(task, 1, f'lost by Ray: {str(error).splitlines()[0]}')
    finally:
        for reference in waiting:
            ray.cancel(reference)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=ENDING_S)


def run_task(task: Task) -> Done:
    """Run the process of one bag to its end."""
    child = _start(task)
    try:
        # In short naps: Ray's cancel does not wake a thread that waits for a process.
        while (code := child.code) is None:
            time.sleep(NAP_S)
        return _done(task, child, code)
    except BaseException:
        child.end(ENDING_S)
        raise


def retry_with_resume(task: Task) -> Task:
    """The same task, from where a lost process was."""
    return task._replace(command=[*task.command, '--resume'])


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
        rows.append((str(each.task.bag), frames, seconds, result))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f'| {" | ".join(map(str.ljust, row, widths))} |' for row in rows]
    rule = '|' + '|'.join('-' * (width + 2) for width in widths) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]])


def _start(task: Task) -> processes.Subprocess:
    """Start the process of one bag; its log is a file beside what it writes.

    Raises:
        OSError: no process could be started, or the log can't be written.
    """
    summary_of(task.out).unlink(missing_ok=True)
    log = task.out.with_suffix('.log')
    return processes.Subprocess(task.out.stem, task.command, log, folder=task.folder)


def _done(task: Task, child: processes.Subprocess, code: int) -> Done:
    words = child.last_line or 'no word'
    return Done(task, code, words if code >= 0 else f'ended by signal {-code}')


def _check_resources(nodes: Sequence[dict[str, Any]], wanted: dict[str, int]) -> None:
    """Log if no machine has what is wanted; Ray waits for one that may be added."""
    resources = [node['Resources'] for node in nodes if node['Alive']]
    if not any(all(each.get(name, 0) >= n for name, n in wanted.items()) for each in resources):
        words = ' and '.join(f'{n} {name}' for name, n in wanted.items() if n)
        tqdm.write(f'no machine of the cluster has {words}; waiting for one', file=sys.stderr)
