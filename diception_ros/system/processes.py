# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that end with this one, however it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import ctypes
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

# Seconds that a process gets after SIGINT: a recorder finishes its bag.
GRACE = 20.0
_PDEATHSIG = 1  # PR_SET_PDEATHSIG of Linux


class Child:
    """A process whose words go into a file.

    Args:
        name: of the process and of its log.
        command: what is run.
        folder: where the log is written.
        environment: its variables.

    Attributes:
        name: see above.
        log: file with all that it says.
    """

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name, self.log = name, folder / f'{name}.log'
        self._at = 0
        with self.log.open('wb') as file:
            # A session of its own: a Ctrl-C comes here alone, and we end it in order.
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip

    def lines(self) -> list[str]:
        """What it said since this was asked last, whole lines."""
        with self.log.open('rb') as file:
            file.seek(self._at)
            whole, found, _ = file.read().rpartition(b'\n')
        self._at += len(whole) + len(found)
        return whole.decode(errors='replace').splitlines()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise if it has ended although nobody asked it to.

        Raises:
            ChildProcessError: it has; with its last line.
        """
        if self.code is not None:
            words = self.log.read_text(errors='replace').strip().splitlines() or ['without a word']
            raise ChildProcessError(
                f'{self.name} ended with code {self.code}: {words[-1]} (all of it: {self.log})'
            )

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; its code, or None where it goes on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def end(self) -> None:
        """End it: with a word, and with force where it does not listen."""
        if self.code is None:
            self._process.send_signal(signal.SIGINT)
            if self.wait(GRACE) is None:
                self._process.kill()
                self._process.wait()


class Children:
    """Starts processes, and ends those that still run at the end of a `with`.

    Args:
        folder: for logs.
        environment: variables of all of them.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._all: list[Child] = []

    def start(self, name: str, arguments: Sequence[str]) -> Child:
        """Start a verb of `diception` with its options."""
        command = [sys.executable, '-u', '-m', 'diception_ros', *arguments]
        self._all.append(Child(name, command, self._folder, self._environment))
        return self._all[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not stop this
        try:
            for child in reversed(self._all):
                child.end()
        finally:
            signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    # Also when this process is killed and cannot end anybody.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)


# Verbs that run until a signal comes, and then end in order, however often it comes.


@contextlib.contextmanager
def ended_by_signals() -> Iterator[threading.Event]:
    """An event that is set by the first SIGINT, SIGTERM or SIGHUP."""
    event = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` asks to ignore it
        numbers.append(signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda number, stack: event.set()) for number in numbers
    }
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if event.is_set() else handler)


# Ends a process whose work nobody waits for any more.


# How often it is looked whether the parent is there, seconds.
PERIOD = 0.2


def end_with(parent: int) -> None:
    """Kill this process as soon as its parent has ended; killed, that one can tell nobody.

    Args:
        parent: number of the process that started this one.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PERIOD)
    os.kill(os.getpid(), signal.SIGKILL)


# Tries something in another process of this Python, which may crash or hang.


# Importing torch from a slow disk for the first time takes the better part of a minute.
PATIENCE = 120.0
# What the answer begins with: libraries print of their own, also when they end.
_MARK = 'the answer is: '
_BEGIN = f"""
import sys
sys.path[:] = sys.argv[1:]
def tell(value):
    import json
    print({_MARK!r} + json.dumps(value), flush=True)
"""


class Answer(NamedTuple):
    """How a trial ended.

    Attributes:
        said: what the program told; None where it failed.
        error: the last line that it wrote about its failure; '' where all went well.
    """

    said: Any
    error: str


def ask(program: str, seconds: float = PATIENCE) -> Answer:
    """Run a program that calls `tell` with its answer, something that JSON can hold.

    Args:
        program: Python code; it sees the modules that this process would see.
        seconds: time that it gets.
    """
    command = [sys.executable, '-c', f'{_BEGIN}{program}', *sys.path]
    try:
        tried = subprocess.run(
            command, capture_output=True, text=True, errors='replace', timeout=seconds,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Answer(None, f'no answer within {seconds:g} s')
    except OSError as error:
        return Answer(None, f'no process could be started: {error}')
    if tried.returncode < 0:
        return Answer(None, f'the process was killed by signal {-tried.returncode}')
    told = [line for line in tried.stdout.splitlines() if line.startswith(_MARK)]
    if tried.returncode or not told:
        return Answer(None, (tried.stderr.strip().splitlines() or ['no word of why'])[-1])
    return Answer(json.loads(told[-1].removeprefix(_MARK)), '')
