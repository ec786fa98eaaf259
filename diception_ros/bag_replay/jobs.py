# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Many bags: each in a process of its own, here or on a cluster, so that none stops another."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Generator, Sequence
import contextlib
import glob
import json
import os
from pathlib import Path
import sys
import time
from typing import Any, NamedTuple

from tqdm import tqdm

from diception_ros.bag_replay import checkpoint
from diception_ros.bag_replay.job import DAMAGED, code_of
from diception_ros.bags.reader import ENDS
from diception_ros.system import processes, threads

# Where the processes of many bags run: on this machine, or on a cluster of Ray.


# How long an interrupted process may take to leave a file with an index, seconds. A step of the
# model is not interrupted, and the large one takes long on a CPU.
ENDING_S = 20.0
NAP_S = 0.05
# A process that a cluster lost is started again so often; Ray's own number.
RETRIES = 3


class Task(NamedTuple):
    """The replay of one bag.

    Attributes:
        bag: the bag.
        out: what is written, absolute.
        command: line of the process.
        folder: in which it runs, absolute: where the names on the command line are looked for.
    """

    bag: Path
    out: Path
    command: list[str]
    folder: Path


class Done(NamedTuple):
    """What came of it.

    Attributes:
        task: what it was.
        code: exit code of the process.
        words: the last that it said.
    """

    task: Task
    code: int
    words: str


def summary_of(out: Path) -> Path:
    """Where the process of a bag says what came of it."""
    return out.with_suffix('.json')


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


def work(task: Task) -> Done:
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


def here(
    todo: Sequence[Task], jobs: int, begun: Callable[[Task], None] = lambda task: None
) -> Generator[Done, None, None]:
    """Run `jobs` at a time on this machine.

    Args:
        todo: what is to be done.
        jobs: processes at a time.
        begun: told of each that begins.

    Yields:
        What came of each, in the order in which they end.
    """
    waiting, running = deque(todo), list[tuple[Task, processes.Subprocess]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.popleft()
                running.append((task, _start(task)))
                begun(task)
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


def on_ray(todo: Sequence[Task], jobs: int, gpu: bool) -> Generator[Done, None, None]:
    """Run them on a cluster of Ray whose machines see the same files.

    Args:
        todo: what is to be done.
        jobs: processors that each takes.
        gpu: whether each takes a GPU.

    Yields:
        What came of each, in the order in which they end.

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
    _look_for_room(ray.nodes(), {'CPU': jobs, 'GPU': int(gpu)})
    # Started again here and not by Ray, which would not say --resume.
    remote: Any = ray.remote(num_cpus=jobs, num_gpus=int(gpu), max_retries=0)(work)
    waiting = {remote.remote(task): (task, RETRIES) for task in todo}
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting))
            for one in ready:
                task, retries = waiting.pop(one)
                try:
                    yield ray.get(one)
                except ray.exceptions.RayTaskError as error:
                    yield Done(task, 1, str(error.cause))
                except ray.exceptions.RayError as error:
                    if retries:
                        waiting[remote.remote(again(task))] = task, retries - 1
                    else:
                        yield Done(task, 1, f'lost by Ray: {str(error).splitlines()[0]}')
    finally:
        for one in waiting:
            ray.cancel(one)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=ENDING_S)


def again(task: Task) -> Task:
    """The same, going on where a process that was lost came to."""
    return task._replace(command=[*task.command, '--resume'])


def _look_for_room(nodes: Sequence[dict[str, Any]], wanted: dict[str, int]) -> None:
    """Say so where no machine has what is wanted; Ray waits for one that may be added."""
    there = [node['Resources'] for node in nodes if node['Alive']]
    if not any(all(one.get(name, 0) >= n for name, n in wanted.items()) for one in there):
        words = ' and '.join(f'{n} {name}' for name, n in wanted.items() if n)
        tqdm.write(f'no machine of the cluster has {words}; waiting for one', file=sys.stderr)


# Options that are not handed on to the process of a bag.
_OURS = ('bags', 'out', 'jobs', 'engine', 'summary', 'report', 'threads', 'view', 'view_file',
         'help')  # fmt: skip


def find(given: Sequence[str]) -> list[Path]:
    """The bags of a command line.

    Args:
        given: bags, folders of bags, and patterns.

    Raises:
        FileNotFoundError: there is no such bag, or a pattern matches none.
        ValueError: a folder holds none.
    """
    found: list[Path] = []
    for one in given:
        path = Path(one)
        if path.exists():
            found += _inside(path)
            continue
        matched = sorted(glob.glob(one, recursive=True)) if glob.has_magic(one) else []
        if not matched:
            raise FileNotFoundError(f'{one}: no such bag')
        for name in matched:
            found += _inside(Path(name))
    return list(dict.fromkeys(found))


def run(
    bags: Sequence[Path],
    args: argparse.Namespace,
    declare: Callable[[argparse.ArgumentParser], None],
) -> int:
    """Replay every bag; the exit code is that of the worst.

    Args:
        bags: the bags.
        args: of the command line.
        declare: declares its options.

    Raises:
        ValueError: --out is a file's name, a number of jobs below one, or a GPU of a cluster by
            its number.
        ModuleNotFoundError: --engine ray without Ray.
    """
    if args.out.suffix == '.mcap':
        raise ValueError(f'--out is {args.out}; of {len(bags)} bags expected a folder')
    if args.jobs < 1:
        raise ValueError(f'--jobs is {args.jobs}; expected at least 1')
    if args.engine == 'ray' and ':' in args.device:
        raise ValueError(f'--device is {args.device}; expected cuda, of which Ray says which')
    if args.view or args.view_file:
        raise ValueError('--view shows one bag; give it the one that you want to see')
    args.out.mkdir(parents=True, exist_ok=True)
    tasks = _tasks(bags, args, arguments(args, declare))
    done = [_before(task) for task in tasks if args.resume and _finished(task, args)]
    todo = [task for task in tasks if task.bag not in {one.task.bag for one in done}]
    running: list[str] = []

    def begun(task: Task) -> None:
        running.append(task.out.stem)
        bar.set_postfix_str(', '.join(running))

    with (
        tqdm(total=len(tasks), initial=len(done), desc='bags', file=sys.stderr) as bar,
        contextlib.closing(_engine(args, todo, begun)) as ending,
    ):
        for one in ending:
            running[:] = [name for name in running if name != one.task.out.stem]
            bar.set_postfix_str(', '.join(running), refresh=False)
            bar.update()
            done.append(one)
            if one.code not in (0, DAMAGED):
                tqdm.write(f'{one.task.bag}: {one.words}', file=sys.stderr)
    done.sort(key=lambda one: bags.index(one.task.bag))
    sys.stdout.write(table(done) + '\n')
    codes = {one.code for one in done}
    return 1 if codes - {0, DAMAGED} else max(codes)


def names(bags: Sequence[Path]) -> list[str]:
    """Names of what is written, one for each bag: what sets it apart from the others."""
    full = [Path(os.path.abspath(bag)) for bag in bags]
    plain = [one.name.removesuffix('.zstd') for one in full]
    stems = [name.rpartition('.')[0] if name.endswith(ENDS) else name for name in plain]
    if len(set(stems)) == len(stems):
        return stems
    root = Path(os.path.commonpath([one.parent for one in full]))
    return ['_'.join(one.relative_to(root).parts) for one in full]


def arguments(
    args: argparse.Namespace, declare: Callable[[argparse.ArgumentParser], None]
) -> list[str]:
    """The options of a command line that are not at their defaults, to be given again."""
    parser = argparse.ArgumentParser()
    declare(parser)
    found: list[str] = []
    for action in parser._actions:
        value = getattr(args, action.dest, action.default)
        if action.dest in _OURS or value == action.default:
            continue
        option = action.option_strings[0]
        if isinstance(value, bool):
            found.append(option if value else option.replace('--', '--no-', 1))
        elif isinstance(action, argparse._AppendAction):
            found += [f'{option}={one}' for one in value]
        elif isinstance(value, (list, tuple)):
            found += [option, *map(str, value)]
        else:
            found.append(f'{option}={value}')
    return found


def table(done: Sequence[Done]) -> str:
    """What came of every bag, in Markdown."""
    rows = [('bag', 'frames', 'seconds', 'result')]
    for one in done:
        frames = seconds = ''
        result = 'done' if one.code == 0 else one.words
        if one.code in (0, 1, DAMAGED) and summary_of(one.task.out).exists():
            said = json.loads(summary_of(one.task.out).read_text())
            frames, seconds = str(said['frames']), f'{said["seconds"]:.1f}'
            left = sum(said['skipped'].values())
            result = said['damage'] or (f'{left} frames left out' if left else result)
        rows.append((str(one.task.bag), frames, seconds, result))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f'| {" | ".join(map(str.ljust, row, widths))} |' for row in rows]
    rule = '|' + '|'.join('-' * (width + 2) for width in widths) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]])


def _tasks(bags: Sequence[Path], args: argparse.Namespace, options: list[str]) -> list[Task]:
    found = []
    for bag, name in zip(bags, names(bags), strict=True):
        out = (args.out / f'{name}.mcap').absolute()
        more = [f'--report={args.report / name}'] if args.report else []
        more += [f'--summary={summary_of(out)}', f'--threads={_threads(args)}']
        command = [sys.executable, '-m', 'diception_ros', 'replay', str(bag.absolute()),
                   f'--out={out}', *more, *options]  # fmt: skip
        found.append(Task(bag, out, command, Path.cwd()))
    return found


def _threads(args: argparse.Namespace) -> int:
    """Of each process: those that run at a time divide the processors among them."""
    share = args.jobs if args.engine == 'ray' else threads.processors() // args.jobs
    return int(args.threads) or threads.automatic(args.device, share)


def _finished(task: Task, args: argparse.Namespace) -> bool:
    """Whether nothing is left to do of a bag: the summary is written, and then all cleaned up."""
    there = task.out.exists() and summary_of(task.out).exists()
    return there and not args.force and not checkpoint.place(task.out).exists()


def _before(task: Task) -> Done:
    """What came of a bag in an earlier run."""
    said = json.loads(summary_of(task.out).read_text())
    return Done(task, code_of(said['damage'], said['skipped'], said['frames']), 'done before')


def _engine(
    args: argparse.Namespace, todo: Sequence[Task], begun: Callable[[Task], None]
) -> Generator[Done, None, None]:
    if args.engine == 'ray':
        # Which of them it works on is not told.
        return on_ray(todo, args.jobs, args.device.startswith('cuda'))
    return here(todo, args.jobs, begun)


def _inside(path: Path) -> list[Path]:
    """A bag itself, or the bags in a folder."""
    if not path.is_dir() or (path / 'metadata.yaml').exists():
        return [path]
    inside = sorted(path.iterdir())
    folders = [one for one in inside if one.is_dir() and (one / 'metadata.yaml').exists()]
    files = [one for one in inside if one.name.removesuffix('.zstd').endswith(ENDS)]
    if not folders and not files:
        raise ValueError(f'{path}: no bags in it')
    return folders + files
