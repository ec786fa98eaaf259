# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Print a script that completes `diception` commands in a shell.

  bash:  diception completion bash > ~/.local/share/bash-completion/completions/diception
  zsh:   diception completion zsh > ~/.zfunc/_diception    (a folder of fpath, before compinit)
  fish:  diception completion fish > ~/.config/fish/completions/diception.fish
The script is static, so pressing Tab runs no Python. Print it anew after an update.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

SHELLS = ('bash', 'zsh', 'fish')
# Of options and arguments without a type of their own.
_FILES, _FOLDERS = ('IMAGE', 'BAG', 'FILE', 'PATH'), ('DIR',)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument('shell', choices=SHELLS, metavar='SHELL', help=', '.join(SHELLS))


def main(args: argparse.Namespace) -> int:
    """Print."""
    import shtab

    from diception_ros.cli.main import parser

    whole = parser()
    _add_hints(whole)
    print(shtab.complete(whole, args.shell))
    return 0


def _add_hints(parser: argparse.ArgumentParser) -> None:
    """Say what is a file, a folder or a task."""
    import shtab

    from diception_ros import tasks

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _add_hints(each)
        elif action.metavar == 'TASK' and action.choices is None:
            action.choices = tasks.names()
        elif action.choices is None:
            hinted: Any = action
            if action.metavar in _FOLDERS:
                hinted.complete = shtab.DIRECTORY
            elif action.metavar in _FILES or action.type is Path:
                hinted.complete = shtab.FILE
