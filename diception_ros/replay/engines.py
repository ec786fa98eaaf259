# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the processes of many bags run: on this machine, or on a cluster of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

from tqdm import tqdm

from diception_ros import parents

# Exit code of the process of a bag that was damaged.
DAMAGED = 3
# Names, to the process of a bag, the process that wants its result.
PARENT = 'DICEPTION_REPLAY_PARENT'
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


def code_of(damage: str, skipped: Mapping[str, int], frames: int) -> int:
    """Exit code of the process of a bag that came to its end.

    Args:
        damage: where the bag could not be read any further, or ''.
        skipped: frames that were left out.
        frames: that were answered.
    """
    return DAMAGED if damage else int(bool(skipped) or not frames)


class Child:
    """The process of one bag; its words go into a .log file beside what it writes.

    Raises:
        OSError: no process could be started, or there is no place for its words.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        summary_of(task.out).unlink(missing_ok=True)
        self._log = task.out.with_suffix('.log')
        with self._log.open('wb') as file:
            # A session of its own: Ctrl-C in the terminal comes once, from `interrupt`.
            self._process = subprocess.Popen(
                task.command, cwd=task.folder, env={**os.environ, PARENT: str(os.getpid())},
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def interrupt(self) -> None:
        """Ask the process to end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def wait(self, seconds: float | None = None) -> Done:
        """What came of it; a process that takes more seconds is killed."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        lines = self._log.read_text(errors='replace').replace('\r', '\n').split('\n')
        words = next((line for line in reversed(lines) if line.strip()), 'no word')
        return Done(self._task, code, words if code >= 0 else f'ended by signal {-code}')


def work(task: Task) -> Done:
    """Run the process of one bag to its end."""
    child = Child(task)
    try:
        # In short naps: Ray's cancel does not wake a thread that waits for a process.
        while not child.ended():
            time.sleep(NAP_S)
        return child.wait()
    except BaseException:
        child.interrupt()
        child.wait(ENDING_S)
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
    waiting, running = deque(todo), list[Child]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.popleft()
                running.append(Child(task))
                begun(task)
            time.sleep(NAP_S)
            for child in [one for one in running if one.ended()]:
                running.remove(child)
                yield child.wait()
    finally:
        for child in running:
            child.interrupt()
        end = time.monotonic() + ENDING_S
        for child in running:
            child.wait(max(0.0, end - time.monotonic()))


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


def obey_parent() -> None:
    """Let this process end when the one that wants its result says so, or has gone, however.

    Otherwise it would write on beside the one that is started in its place.
    """
    parent = os.environ.get(PARENT)
    if parent:
        # What Ray starts is deaf to it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        parents.end_with(int(parent))


def _look_for_room(nodes: Sequence[dict[str, Any]], wanted: dict[str, int]) -> None:
    """Say so where no machine has what is wanted; Ray waits for one that may be added."""
    there = [node['Resources'] for node in nodes if node['Alive']]
    if not any(all(one.get(name, 0) >= n for name, n in wanted.items()) for one in there):
        words = ' and '.join(f'{n} {name}' for name, n in wanted.items() if n)
        tqdm.write(f'no machine of the cluster has {words}; waiting for one', file=sys.stderr)
