# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The table of verbs, the command line made of it, and the option --json (docs/conventions.md)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
import contextlib
import difflib
import inspect
import json
import math
import os
import re
import sys
import traceback
from typing import Any, NamedTuple, NoReturn

from diception_ros import __version__
from diception_ros.core.settings import RENAMED
from diception_ros.system import processes, ros_environment
from diception_ros.system.files import error_text

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


# ---- the command line ---------------------------------------------------------------------------

# Options that were renamed, beside those of settings.RENAMED.
_RENAMED_OPTIONS = {
    'task': 'tasks',
    'category': 'categories',
    'semantic-categories': 'categories',
    'adapter': 'adapters',
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors name the option or choice that was probably meant."""

    def __init__(self, **given: Any) -> None:
        super().__init__(
            **given, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class, but arguments that no option takes are an error of this parser."""
        self._given = [str(text) for text in args or ()]
        parsed, extra = super().parse_known_args(args, namespace)
        for text in extra:
            if text.startswith('--'):
                self.error(f'unknown option {text.partition("=")[0]}{self._hint(text)}')
        if extra:
            self.error(f'unexpected argument {extra[0]!r}')
        return parsed, extra

    def error(self, message: str) -> NoReturn:
        """As the base class, without the usage in front of the error."""
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            known = [name.strip("' ") for name in choice[2].split(',')]
            message += _did_you_mean(choice[1], known)
        missing = re.fullmatch(r'the following arguments are required: ([^-].*)', message)
        if missing and (greedy := self._greedy()):
            message += (
                f'; {" and ".join(greedy)} took all words that follow, so put {missing[1]} in '
                'front, or behind --'
            )
        self.exit(2, f'{self.prog}: {message}; see {self.prog} --help\n')

    def _greedy(self) -> list[str]:
        """The given options that take any number of values."""
        return [
            option
            for action in self._actions
            if action.nargs in ('*', '+')
            for option in action.option_strings
            if option in self._given
        ]

    def _hint(self, text: str) -> str:
        flag = text.removeprefix('--').partition('=')[0]
        known = [name.removeprefix('--') for name in self._option_string_actions]
        plain = flag.removeprefix('no-')
        new = [_RENAMED_OPTIONS.get(plain, '')]
        for old, names in RENAMED.items():
            if old.replace('_', '-').replace('.', '-') == plain:
                new += [name.replace('_', '-').replace('.', '-') for name in names]
        for name in new:
            if name in known:
                return f'; it is now --{name}'
        return _did_you_mean(flag, known, '--')


def _did_you_mean(given: str, known: Sequence[str], before: str = '') -> str:
    close = difflib.get_close_matches(given, known, n=1)
    return f'; did you mean {before}{close[0]}?' if close else ''


def parser(verb: str | None = None) -> Parser:
    """The command line.

    Args:
        verb: the only verb whose options are declared, so that no other is imported; None: all.
    """
    top = Parser(prog='diception', description='One diffusion model for six perception tasks.')
    top.add_argument('--version', action='version', version=f'diception_ros {__version__}')
    choices = top.add_subparsers(dest='verb', metavar='VERB', required=True, parser_class=Parser)
    for name, (about, add_options, _) in sorted(VERBS.items()):
        # argparse fills in names after a percent sign of help.
        line = about.partition('\n')[0].rstrip('.').replace('%', '%%')
        each = choices.add_parser(name, help=line, description=about)
        if verb in (None, name):
            add_options(each)
    return top


def _open_streams() -> None:
    """Open standard streams that are closed, as `2>&-` does, to nowhere.

    The next file that is opened would have their number, and what libraries write to it.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            # The lowest number that is free.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: the command line without the program's name; sys.argv when None.

    Returns:
        exit code: 0 done, 1 failed with an error message, 2 wrong command line, 130 interrupted.
    """
    _open_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        parser('').print_help()
        return 0
    first = next((text for text in arguments if not text.startswith('-')), '')
    try:
        # Declaring the options imports what they are of.
        args = parser(first).parse_args(arguments)
        processes.exit_with_parent()
        if not getattr(args, 'shared_memory', True):
            ros_environment.disable_profile()
        return int(VERBS[args.verb].run(args) or 0)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has ended; the interpreter would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f'diception {first}: {error_text(error)}', file=sys.stderr)
    except ImportError as error:
        from diception_ros.doctor import missing_packages

        print(
            f'diception {first}: {error}; {missing_packages.fix_hint(error)}. '
            '`diception doctor` looks at everything',
            file=sys.stderr,
        )
    except MemoryError as error:
        # NumPy's says how much was asked for.
        print(f'diception {first}: out of memory. {error}'.rstrip(' .'), file=sys.stderr)
    except Exception:
        traceback.print_exc()
        print(f'diception {first}: this is a bug; please report what is above', file=sys.stderr)
    return 1
