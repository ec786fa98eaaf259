# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Further verbs: shell completion, checks of the machine, prompts, and models for trials."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diception_ros.cli.verbs import add_json_option, json_document, log, parser, verb

SHELLS = ('bash', 'zsh', 'fish')
# Values of options and arguments without a type of their own.
_FILES, _FOLDERS = ('IMAGE', 'BAG', 'FILE', 'PATH'), ('DIR',)


def _completion_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('shell', choices=SHELLS, metavar='SHELL', help=', '.join(SHELLS))


@verb(_completion_options)
def completion(args: argparse.Namespace) -> int:
    """Print a script that completes `diception` commands in a shell.

      bash:  diception completion bash > ~/.local/share/bash-completion/completions/diception
      zsh:   diception completion zsh > ~/.zfunc/_diception    (a folder of fpath, before compinit)
      fish:  diception completion fish > ~/.config/fish/completions/diception.fish
    The script is static, so pressing Tab runs no Python. Print it anew after an update.
    """
    import shtab

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


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--model', default='builtin', metavar='DIR',
        help="model folder to check, or 'builtin' (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        '--device', default='cpu', metavar='D',
        help='where the model will run: cpu, cuda or cuda:N (default: %(default)s)',
    )  # fmt: skip
    add_json_option(parser)


@verb(_doctor_options)
def doctor(args: argparse.Namespace) -> int:
    """Check this machine: what is missing or does not fit, and how to fix it.

    OK. WARN: it runs, but something could be better, or an optional part is missing. BROKEN: it
    cannot run, and the exit code is 1. Nothing is changed.
    """
    from diception_ros.doctor import checks

    findings = []
    with json_document(args) as document:
        for finding in checks.check_machine(args.model, args.device):
            findings.append(finding)
            print(finding, flush=True)
        broken, warnings = (
            sum(finding.status == status for finding in findings)
            for status in (checks.BROKEN, checks.WARN)
        )
        print(f'{broken} broken, {warnings} to look at')
        document |= {'broken': broken, 'warnings': warnings, 'findings': [*map(asdict, findings)]}
    return 1 if broken else 0


def _prompts_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--model',
        required=True,
        metavar='DIR',
        help="model folder, or 'builtin', which takes none",
    )
    parser.add_argument(
        '--categories', nargs='+', default=[], metavar='NAME',
        help='categories for the task semantic',
    )  # fmt: skip
    parser.add_argument(
        '--add', nargs='+', default=[], metavar='TEXT',
        help='whole prompts, as the network reads them',
    )  # fmt: skip
    parser.add_argument(
        '--sd3', type=Path, metavar='DIR',
        help='where the text encoders are, when the model folder has none',
    )  # fmt: skip


@verb(_prompts_options)
def prompts(args: argparse.Namespace) -> int:
    """List the prompts a model folder has embeddings of, or add some.

    A category, such as --categories forklift, becomes a prompt of the task semantic. Adding needs
    text encoders: those of the model folder, or of an SD3 folder given with --sd3.
    """
    from diception_ros import tasks
    from diception_ros.core.prompt import Prompt
    from diception_ros.model import folder as folders
    from diception_ros.model.text_embeddings import TABLE_FILE, PromptTable

    folders.silence_library_logging()
    folder = folders.resolve(args.model)
    folders.check_folder(folder)
    path = folder / TABLE_FILE
    table = PromptTable.load(path) if path.is_file() else PromptTable()
    semantic = tasks.get('semantic')
    wanted = [semantic.text(Prompt(semantic.name, name)) for name in args.categories] + args.add
    missing = [text for text in dict.fromkeys(wanted) if text not in table]
    if missing:
        if table.made_without_encoders:
            raise ValueError(
                f'{args.model}: this model was trained without text encoders, so it takes no text '
                f'but those that it has: diception prompts --model {args.model}'
            )
        source = args.sd3 or folder
        if not (source / 'text_encoder').is_dir():
            raise ValueError(
                f'{source}: no text encoders in it; name the SD3 folder with --sd3 DIR'
            )
        _embed(missing, table, source)
        table.save(path)
    known = {*tasks.texts(), *(item.prompt for item in map(tasks.get, tasks.names()))}
    for text in args.add:
        if text and text not in known and not text.startswith('[['):
            log(
                f'no task of this package has the prompt {text!r}; for a category give '
                f'--categories {text!r}'
            )
    for text in table:
        print(repr(text))
    return 0


def _embed(texts: list[str], table: Any, source: Path) -> None:
    from diception_ros.model.sd3_folder import encode_with_sd3
    from diception_ros.model.text_embeddings import PromptEmbedding

    dtype = next((table[text].tokens.dtype for text in table), None)
    for text, embedding in encode_with_sd3(source, texts, log):
        table.add(text, PromptEmbedding(embedding.tokens.to(dtype), embedding.pooled.to(dtype)))


def _tiny_options(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument(
        '--out', type=Path, metavar='DIR', help='the model folder to make; must not exist'
    )
    kinds.add_argument(
        '--official', type=Path, metavar='DIR',
        help='the folder to make with sd3/ and DICEPTION_v1.pth; must not exist',
    )  # fmt: skip
    parser.add_argument('--seed', type=int, default=0, help='random seed (default: %(default)s)')


@verb(_tiny_options)
def tiny(args: argparse.Namespace) -> int:
    """Write a model with random weights, to try commands before the real weights are there.

    --out writes a model folder with all components of a real one, text encoders included, in 7 MB;
    predictions take milliseconds and are noise. --official writes stand-ins of the published
    files, SD3's folder and DICEPTION_v1.pth, in 2 MB, to rehearse `diception convert`.
    """
    out = args.out or args.official
    if out.exists():
        raise ValueError(f'{out}: exists already; give another folder or remove it')
    from diception_ros import tasks
    from diception_ros.model import folder
    from diception_ros.model.tiny import RESOLUTION, tiny_pipeline, write_official
    from diception_ros.system.files import atomic_folder

    folder.silence_library_logging()
    pipe = tiny_pipeline(args.seed)
    with atomic_folder(out) as partial:
        if args.official:
            write_official(pipe, partial)
        else:
            pipe.get_embeddings(['', *tasks.texts()])
            pipe.save_pretrained(partial)
    log(f'wrote {out}: random weights, its predictions mean nothing')
    if args.official:
        log(
            f'try it: diception convert --sd3 {out}/sd3 --checkpoint {out}/DICEPTION_v1.pth --out '
            f'MODEL --resolution {RESOLUTION}'
        )
    return 0
