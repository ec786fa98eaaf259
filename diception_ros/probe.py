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
