# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tries something in another process of this Python, which may crash or hang."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NamedTuple

# Importing torch from a slow disk for the first time takes the better part of a minute.
PATIENCE = 120.0


class Answer(NamedTuple):
    """How a trial ended.

    Attributes:
        said: what the program printed, read as JSON; None where it failed.
        error: the last line that it wrote about its failure; '' where all went well.
    """

    said: Any
    error: str


def ask(program: str, seconds: float = PATIENCE) -> Answer:
    """Run a program that prints one line of JSON.

    Args:
        program: Python code; it sees the modules that this process would see.
        seconds: time that it gets.
    """
    command = [sys.executable, '-c', f'import sys; sys.path[:] = sys.argv[1:]\n{program}']
    try:
        tried = subprocess.run(
            [*command, *sys.path],
            capture_output=True, text=True, errors='replace', timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Answer(None, f'no answer within {seconds:.0f} s')
    if tried.returncode < 0:
        return Answer(None, f'the process was killed by signal {-tried.returncode}')
    lines = tried.stdout.strip().splitlines()
    if tried.returncode or not lines:
        return Answer(None, (tried.stderr.strip().splitlines() or ['no word of why'])[-1])
    return Answer(json.loads(lines[-1]), '')
