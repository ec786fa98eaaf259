# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Many bags: each in a process of its own, here or on a cluster, so that none stops another."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
import glob
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any, NamedTuple

from tqdm import tqdm

from diception_ros.replay.parts import ENDS

# Options that are not handed on to the process of a bag.
_OURS = ('bags', 'out', 'jobs', 'engine', 'summary', 'report', 'view', 'help')
DAMAGED = 3


class Task(NamedTuple):
    """The replay of one bag.

    Attributes:
        bag: the bag.
        out: what is written.
        command: line of the process.
    """

    bag: Path
    out: Path
    command: list[str]


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
        ValueError: --out is a file's name, or a number of jobs below one.
        ModuleNotFoundError: --engine ray without Ray.
    """
    if args.out.suffix == '.mcap':
        raise ValueError(f'--out is {args.out}; of {len(bags)} bags expected a folder')
    if args.jobs < 1:
        raise ValueError(f'--jobs is {args.jobs}; expected at least 1')
    args.out.mkdir(parents=True, exist_ok=True)
    options = arguments(args, declare)
    todo = []
    for bag, name in zip(bags, names(bags), strict=True):
        out = args.out / f'{name}.mcap'
        more = [f'--report={args.report / name}'] if args.report else []
        more.append(f'--summary={summary_of(out)}')
        command = [sys.executable, '-m', 'diception_ros', 'replay', str(bag.absolute()),
                   f'--out={out.absolute()}', *more, *options]  # fmt: skip
        todo.append(Task(bag, out, command))
    engine = _on_ray if args.engine == 'ray' else _here
    done = []
    with tqdm(total=len(todo), unit='bag', file=sys.stderr) as bar:
        for one in engine(todo, args.jobs):
            bar.update()
            done.append(one)
            if one.code not in (0, DAMAGED):
                tqdm.write(f'{one.task.bag}: {one.words}', file=sys.stderr)
    done.sort(key=lambda one: todo.index(one.task))
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


def summary_of(out: Path) -> Path:
    """Where the process of a bag says what came of it."""
    return out.with_suffix('.json')


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


def work(task: Task) -> Done:
    """Run the process of one bag; its words go into a .log file beside what it writes."""
    summary_of(task.out).unlink(missing_ok=True)
    log = task.out.with_suffix('.log')
    with log.open('wb') as file:
        code = subprocess.run(
            task.command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            check=False,
        ).returncode  # fmt: skip
    lines = log.read_text(errors='replace').replace('\r', '\n').split('\n')
    words = next((line for line in reversed(lines) if line.strip()), 'no word')
    return Done(task, code, words if code >= 0 else f'ended by signal {-code}')


def _here(todo: Sequence[Task], jobs: int) -> Iterator[Done]:
    with ThreadPoolExecutor(jobs) as pool:
        for one in as_completed([pool.submit(work, task) for task in todo]):
            yield one.result()


def _on_ray(todo: Sequence[Task], jobs: int) -> Iterator[Done]:
    """On a cluster whose machines see the same files; `jobs` is how many processors each takes."""
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError(
            '--engine ray needs Ray, which is not installed', name='ray'
        ) from error
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    remote: Any = ray.remote(num_cpus=jobs)(work)
    waiting = [remote.remote(task) for task in todo]
    while waiting:
        ready, waiting = ray.wait(waiting)
        yield from ray.get(ready)


def _inside(path: Path) -> list[Path]:
    """A bag itself, or the bags in a folder."""
    if path.is_file() or (path / 'metadata.yaml').exists():
        return [path]
    inside = sorted(path.iterdir())
    folders = [one for one in inside if one.is_dir() and (one / 'metadata.yaml').exists()]
    files = [one for one in inside if one.name.removesuffix('.zstd').endswith(ENDS)]
    if not folders and not files:
        raise ValueError(f'{path}: no bags in it')
    return folders + files
