# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs many command lines, each as a process of its own, on this machine or on a Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
import socket
import sys
import time
from typing import Any, NamedTuple

from tqdm import tqdm

from diception_ros.system import files, processes

LOCAL, RAY = ENGINES = ('local', 'ray')
# Seconds that an interrupted process gets to leave a file with an index. A step of the model is
# not interrupted, and the large one takes long on a CPU.
ENDING_S = 20.0
POLL_S = 0.05
# Restarts of a process that a cluster lost; Ray's own number.
RETRIES = 3


class EngineJob(NamedTuple):
    """A process that processes one input.

    Attributes:
        source: the input: a bag, or what stands for it in messages.
        out: what is written, absolute; the log is written beside it.
        command: line of the process.
        folder: in which it runs, absolute; relative paths of the command line start there.
        needs: files and folders without which it cannot run.
        resume: options that are added when the process was lost and is started again.
    """

    source: Path
    out: Path
    command: list[str]
    folder: Path
    needs: tuple[Path, ...] = ()
    resume: tuple[str, ...] = ()


class EngineResult(NamedTuple):
    """Result of a job.

    Attributes:
        job: the job.
        code: exit code of the process.
        last_line: of its log.
    """

    job: EngineJob
    code: int
    last_line: str


def run(
    engine: str,
    todo: Sequence[EngineJob],
    jobs: int,
    gpu: bool,
    started: Callable[[EngineJob], None] = lambda job: None,
) -> Generator[EngineResult, None, None]:
    """Run jobs on an engine.

    Args:
        engine: one of `ENGINES`.
        todo: the jobs.
        jobs: on this machine, processes at a time; with Ray, processors that each takes.
        gpu: whether each takes a GPU of the cluster.
        started: called with each job that starts; not with Ray, which does not report it.

    Yields:
        Results in the order in which the processes end.
    """
    if engine == RAY:
        return run_ray(todo, jobs, gpu)
    return run_local(todo, jobs, started)


def run_local(
    todo: Sequence[EngineJob], jobs: int, started: Callable[[EngineJob], None] = lambda job: None
) -> Generator[EngineResult, None, None]:
    """Run `jobs` at a time on this machine; see `run`."""
    waiting, running = deque(todo), list[tuple[EngineJob, processes.Subprocess]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                job = waiting.popleft()
                running.append((job, _start(job)))
                started(job)
            time.sleep(POLL_S)
            for job, child in list(running):
                if (code := child.code) is not None:
                    running.remove((job, child))
                    yield _done(job, child, code)
    finally:
        for _, child in running:
            child.interrupt()
        end = time.monotonic() + ENDING_S
        for _, child in running:
            child.end(max(0.0, end - time.monotonic()))


def run_ray(
    todo: Sequence[EngineJob], jobs: int, gpu: bool
) -> Generator[EngineResult, None, None]:
    """Run them on a cluster of Ray whose machines see the same files; see `run`.

    Raises:
        ModuleNotFoundError: without Ray.
    """
    ray = _connect()
    _check_resources(ray.nodes(), {'CPU': jobs, 'GPU': int(gpu)})
    # Started again here and not by Ray, which would not add --resume.
    remote: Any = ray.remote(num_cpus=jobs, num_gpus=int(gpu), max_retries=0)(_run_on_node)
    waiting = {remote.remote(job): (job, RETRIES) for job in todo}
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting))
            for reference in ready:
                job, retries = waiting.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    yield EngineResult(job, 1, str(error.cause))
                except ray.exceptions.RayError as error:
                    if retries:
                        waiting[remote.remote(retry_with_resume(job))] = job, retries - 1
                    else:
                        yield EngineResult(job, 1, f'lost by Ray: {files.first_line(error)}')
    finally:
        for reference in waiting:
            ray.cancel(reference)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=ENDING_S)


def run_job(job: EngineJob) -> EngineResult:
    """Run the process of a job to its end."""
    child = _start(job)
    try:
        # In short naps: Ray's cancel does not wake a thread that waits for a process.
        while (code := child.code) is None:
            time.sleep(POLL_S)
        return _done(job, child, code)
    except BaseException:
        child.end(ENDING_S)
        raise


def retry_with_resume(job: EngineJob) -> EngineJob:
    """The same job with its options for a restart."""
    return job._replace(command=[*job.command, *job.resume])


def check_device(engine: str, device: str) -> None:
    """Check that an engine can choose the device.

    Raises:
        ValueError: a certain GPU for a cluster.
    """
    if engine == RAY and ':' in device:
        raise ValueError(f'device is {device}; expected cuda: Ray chooses which')


def slots(engine: str, jobs: int, gpu: bool) -> int:
    """Processes that an engine runs at a time; see `run`."""
    if engine == LOCAL:
        return jobs
    wanted = {'CPU': jobs, 'GPU': int(gpu)}
    resources = [node['Resources'] for node in _connect().nodes() if node['Alive']]
    each = (
        min(int(node.get(name, 0) // count) for name, count in wanted.items() if count)
        for node in resources
    )
    return max(1, sum(each))


def _connect() -> Any:
    """The module of Ray, connected to the cluster that RAY_ADDRESS names, or to a local one."""
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError(
            '--engine ray needs Ray, which is not installed', name='ray'
        ) from error
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    return ray


def _run_on_node(job: EngineJob) -> EngineResult:
    """Run a job on a node of the cluster, which must have the files that it needs."""
    for path in (job.folder, job.out.parent, *job.needs):
        if not (job.folder / path).exists():
            import ray

            context = ray.get_runtime_context()
            node = f'{ray.util.get_node_ip_address()}, {socket.gethostname()}'
            raise FileNotFoundError(
                f'{path} is not on the Ray node {context.get_node_id()[:8]} ({node}); all nodes '
                'must see the same files under the same names'
            )
    return run_job(job)


def _start(job: EngineJob) -> processes.Subprocess:
    """Start the process of a job; its log is a file beside what it writes."""
    log = job.out.with_suffix('.log')
    return processes.Subprocess(job.out.stem, job.command, log, folder=job.folder)


def _done(job: EngineJob, child: processes.Subprocess, code: int) -> EngineResult:
    line = child.last_line or 'no output'
    return EngineResult(job, code, line if code >= 0 else f'ended by signal {-code}')


def _check_resources(nodes: Sequence[dict[str, Any]], wanted: dict[str, int]) -> None:
    """Log if no machine has what is wanted; Ray waits for one that may be added."""
    resources = [node['Resources'] for node in nodes if node['Alive']]
    if not any(all(each.get(name, 0) >= n for name, n in wanted.items()) for each in resources):
        words = ' and '.join(f'{n} {name}' for name, n in wanted.items() if n)
        tqdm.write(f'no machine of the cluster has {words}; waiting for one', file=sys.stderr)
