# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""List the prompts a model folder has embeddings of, or add some.

A category, such as --categories forklift, becomes a prompt of the task semantic. Adding needs text
encoders: those of the model folder, or of an SD3 folder given with --sd3.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        '--model',
        required=True,
        metavar='DIR',
        help="model folder, or 'builtin', which takes none",
    )
    parser.add_argument(
        '--categories',
        nargs='+',
        default=[],
        metavar='NAME',
        help='categories for the task semantic',
    )
    parser.add_argument(
        '--add',
        nargs='+',
        default=[],
        metavar='TEXT',
        help='whole prompts, as the network reads them',
    )
    parser.add_argument(
        '--sd3',
        type=Path,
        metavar='DIR',
        help='where the text encoders are, when the model folder has none',
    )


def main(args: argparse.Namespace) -> int:
    """List or add."""
    from diception_ros import tasks
    from diception_ros.core.prompt import Prompt
    from diception_ros.model import folder as model_folder
    from diception_ros.model.folder import check_folder, resolve
    from diception_ros.model.sd3_folder import encode_with_sd3
    from diception_ros.model.text_embeddings import TABLE_FILE, PromptEmbedding, PromptTable

    model_folder.silence_library_logging()
    folder = resolve(args.model)
    check_folder(folder)
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
        like = next((table[text].tokens.dtype for text in table), None)
        for text, embedding in encode_with_sd3(
            source, missing, lambda line: print(line, file=sys.stderr, flush=True)
        ):
            table.add(text, PromptEmbedding(embedding.tokens.to(like), embedding.pooled.to(like)))
        table.save(path)
    known = {*tasks.texts(), *(item.prompt for item in map(tasks.get, tasks.names()))}
    for text in args.add:
        if text and text not in known and not text.startswith('[['):
            print(
                f'no task of this package has the prompt {text!r}; for a category give '
                f'--categories {text!r}',
                file=sys.stderr,
            )
    for text in table:
        print(repr(text))
    return 0
