# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes that exit with their parent, signals, and isolated trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import json
import os
from pathlib import Path
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

# Seconds that a process gets after SIGINT: a recorder finishes its bag.
GRACE = 20.0
# Environment variable with the process id of a parent with which a command has to exit.
PARENT = 'DICEPTION_PARENT'
# How often the parent is looked for where the system can't wait for it, seconds.
_PERIOD = 0.2


def exit_with_parent(parent: int | None = None, number: int = signal.SIGTERM) -> None:
    """Send this process a signal as soon as its parent has ended, however that ended.

    Args:
        parent: id of the process that started this one; None: the one in the environment variable
            `PARENT`, whose SIGINT is then received here, too; nothing happens without it.
        number: the signal.
    """
    if parent is None:
        name = os.environ.pop(PARENT, '')
        if not name.isdecimal():
            return
        parent = int(name)
        # Processes that Ray starts block it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=_await_parent, args=(parent, number), daemon=True).start()


def _await_parent(parent: int, number: int) -> None:
    # Not PR_SET_PDEATHSIG of Linux: it fires when the thread that started this process ends.
    with contextlib.suppress(AttributeError, OSError):  # not Linux, an old one, or ended already
        descriptor = os.pidfd_open(parent)
        if os.getppid() == parent:
            select.select([descriptor], [], [])
    while os.getppid() == parent:
        time.sleep(_PERIOD)
    os.kill(os.getpid(), number)


class Subprocess:
    """A process of `diception` that exits with this one; its output goes to a file.

    Args:
        name: of the process, for messages.
        command: its command line; `exit_with_parent` is called there.
        log: file for its stdout and stderr.
        environment: its variables; those of this process where left out.
        folder: in which it runs; that of this process where left out.

    Raises:
        OSError: it cannot be started, or the log cannot be written.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] = os.environ,
        folder: Path | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._at, self._interrupted = 0, False
        with log.open('wb') as file:
            # A session of its own: a terminal's Ctrl-C reaches this process alone, which ends the
            # others in order.
            self._process = subprocess.Popen(
                command, env={**environment, PARENT: str(os.getpid())}, cwd=folder,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def lines(self) -> list[str]:
        """The whole lines that it wrote since the last call."""
        with self.log.open('rb') as file:
            file.seek(self._at)
            whole, newline, _ = file.read().rpartition(b'\n')
        self._at += len(whole) + len(newline)
        return whole.decode(errors='replace').splitlines()

    @property
    def last_line(self) -> str:
        """The last line of its log that isn't empty; '' where there is none."""
        lines = self.log.read_text(errors='replace').replace('\r', '\n').split('\n')
        return next((line.strip() for line in reversed(lines) if line.strip()), '')

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise if it has ended by itself.

        Raises:
            ChildProcessError: it has; with the last line of its log.
        """
        if self.code is not None:
            raise ChildProcessError(
                f'{self.name} ended with code {self.code}: '
                f'{self.last_line or "it wrote nothing"} (all of it: {self.log})'
            )

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for its end; its exit code, or None where it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def interrupt(self) -> None:
        """Send SIGINT; later calls do nothing, so that they can't disturb an orderly end."""
        if self.code is None and not self._interrupted:
            self._interrupted = True
            self._process.send_signal(signal.SIGINT)

    def end(self, seconds: float | None = None) -> int:
        """End it: SIGINT, and SIGKILL if it still runs after `seconds`, by default `GRACE`."""
        self.interrupt()
        code = self.wait(GRACE if seconds is None else seconds)
        if code is None:
            self._process.kill()
            code = self._process.wait()
        return code


@contextlib.contextmanager
def process_group(
    folder: Path, environment: Mapping[str, str]
) -> Iterator[Callable[[str, Sequence[str]], Subprocess]]:
    """Start verbs of `diception` with these variables; end those that run at the end of a `with`.

    Yields:
        A function of a name and a command line, without the program, that starts a process.
    """
    started: list[Subprocess] = []

    def start(name: str, arguments: Sequence[str]) -> Subprocess:
        command = [sys.executable, '-u', '-m', 'diception_ros', *arguments]
        started.append(Subprocess(name, command, folder / f'{name}.log', environment))
        return started[-1]

    try:
        yield start
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not stop this
        try:
            for child in reversed(started):
                child.end()
        finally:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT, SIGTERM or SIGHUP sets; later ones are ignored."""
    event = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` wants it ignored
        numbers.append(signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda number, stack: event.set()) for number in numbers
    }
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if event.is_set() else handler)


# Importing torch from a slow disk for the first time takes the better part of a minute.
ISOLATED_TIMEOUT_S = 120.0
# Precedes the result: libraries print lines of their own, also when they end.
_MARK = 'the result is: '
_BEGIN = f"""
import sys
sys.path[:] = sys.argv[1:]
def report(value):
    import json
    print({_MARK!r} + json.dumps(value), flush=True)
"""


class IsolatedResult(NamedTuple):
    """How an isolated program ended.

    Attributes:
        value: what it reported; None if it failed.
        error: the last line that it wrote about its failure; '' if it succeeded.
    """

    value: Any
    error: str


def run_isolated(program: str, seconds: float = ISOLATED_TIMEOUT_S) -> IsolatedResult:
    """Run a program, which may crash or hang, in another process of this Python.

    Args:
        program: Python code; it sees the modules that this process sees, and calls `report` with
            its result, something that JSON can hold.
        seconds: after which it is killed.
    """
    command = [sys.executable, '-c', f'{_BEGIN}{program}', *sys.path]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors='replace', timeout=seconds,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return IsolatedResult(None, f'no result within {seconds:g} s')
    except OSError as error:
        return IsolatedResult(None, f'no process could be started: {error}')
    if done.returncode < 0:
        return IsolatedResult(None, f'the process was killed by signal {-done.returncode}')
    reported = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not reported:
        lines = done.stderr.strip().splitlines()
        return IsolatedResult(None, lines[-1] if lines else 'no error message')
    return IsolatedResult(json.loads(reported[-1].removeprefix(_MARK)), '')
