# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the verbs, reads the command line, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import importlib
import os
import pkgutil
import sys
import traceback

from diception_ros import __version__, cli
from diception_ros.system import processes
from diception_ros.system.files import error_text


def verbs() -> list[str]:
    """The verbs there are: the other files of this folder."""
    names = (module.name for module in pkgutil.iter_modules(cli.__path__))
    return sorted(name for name in names if name != 'main' and not name.startswith('_'))


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog='diception', description='One diffusion model for six perception tasks.'
    )
    top.add_argument('--version', action='version', version=f'diception_ros {__version__}')
    choices = top.add_subparsers(dest='verb', metavar='VERB', required=True)
    for name in verbs():
        module = importlib.import_module(f'diception_ros.cli.{name}')
        about = module.__doc__ or ''
        verb = choices.add_parser(
            name,
            help=about.splitlines()[0].rstrip('.').replace('%', '%%'),  # argparse fills in names
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.main)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: the command line without the program's name; sys.argv when None.

    Returns:
        exit code: 0 done, 1 failed and said why, 2 wrong command line, 130 interrupted.
    """
    args = parser().parse_args(arguments)
    processes.obey_parent()
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f'diception {args.verb}: {error_text(error)}', file=sys.stderr)
    except ImportError as error:
        from diception_ros.doctor import missing_packages

        print(
            f'diception {args.verb}: {error}; {missing_packages.cure(error)}. '
            '`diception doctor` looks at everything',
            file=sys.stderr,
        )
    except Exception:
        traceback.print_exc()
        print(
            f'diception {args.verb}: this is a bug; please report what is above', file=sys.stderr
        )
    return 1
