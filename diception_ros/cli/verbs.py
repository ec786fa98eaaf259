# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The table of verbs, and the option --json, which docs/conventions.md describes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
import contextlib
import inspect
import json
import math
import sys
from typing import Any, NamedTuple

from diception_ros import __version__

# Raised when a field changes its meaning or goes away; new fields may come at any time.
SCHEMA = 1

AddOptions = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]


class Verb(NamedTuple):
    """A verb of the command line.

    Attributes:
        about: its help; the first line stands in the list of verbs.
        add_options: declares its options.
        run: does it; returns the exit code.
    """

    about: str
    add_options: AddOptions
    run: Run


VERBS: dict[str, Verb] = {}


def verb(add_options: AddOptions) -> Callable[[Run], Run]:
    """Declare a function as the verb of its name, with its docstring as help."""

    def declare(run: Run) -> Run:
        VERBS[run.__name__] = Verb(inspect.getdoc(run) or '', add_options, run)
        return run

    return declare


def log(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Declare --json."""
    parser.add_argument(
        '--json', action='store_true',
        help='print one JSON document instead, see docs/conventions.md; all else goes to stderr',
    )  # fmt: skip


@contextlib.contextmanager
def json_document(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A dictionary that is printed at the end if --json was given; nothing after an error.

    Until then what libraries print to stdout goes to stderr.
    """
    content: dict[str, Any] = {'kind': args.verb, 'schema': SCHEMA, 'version': __version__}
    if not args.json:
        yield content
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield content
    print(json.dumps(_plain(content), indent=2))


def _plain(value: Any) -> Any:
    """With lists for sequences, texts for paths, and null for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if hasattr(value, 'item'):  # of numpy
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else str(value)
