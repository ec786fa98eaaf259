# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that end with this one, however it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
import ctypes
from pathlib import Path
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

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
