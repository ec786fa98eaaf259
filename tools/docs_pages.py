# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pages of the documentation that are generated from the code; MkDocs runs this file.

- `tutorials/NAME.md`: each script of `examples/`, its docstring above its code.
- `commands/VERB.md`: the help of each verb of the command line.
- `reference/PACKAGE.md`: the public docstrings of each package.
- `contributing.md`: `CONTRIBUTING.md`.
- `SUMMARY.md`: the navigation.
"""

from __future__ import annotations

import argparse
import ast
import os
from pathlib import Path

import mkdocs_gen_files

from diception_ros.cli.main import parser

ROOT = Path(__file__).resolve().parents[1]
# Written by hand, in docs/: file and title.
GUIDES = {
    'Start': ['index.md', 'install.md', 'troubleshooting.md'],
    'Guides': [
        'node.md',
        'navigation.md',
        'replay.md',
        'viewing.md',
        'evaluation.md',
        'training.md',
        'adaptation.md',
        'simulation.md',
    ],
    'About': ['conventions.md', 'architecture.md', 'builtin_model.md', 'builtin_model_credits.md'],
}
LICENCE = '# SPDX'


def title_of(markdown: str) -> str:
    """The first heading of a page."""
    return next(line[2:] for line in markdown.splitlines() if line.startswith('# '))


def write(path: str, text: str) -> None:
    """Add a page to the site."""
    with mkdocs_gen_files.open(path, 'w') as file:
        file.write(text)


def tutorials() -> list[tuple[str, str]]:
    """One page for each example script: title and path."""
    pages = []
    for script in sorted((ROOT / 'examples').glob('*.py')):
        code = script.read_text()
        about = ast.get_docstring(ast.parse(code)) or script.stem
        title, _, rest = about.partition('\n')
        shown = '\n'.join(line for line in code.splitlines() if not line.startswith(LICENCE))
        # The docstring stands above the code already.
        shown = shown.split('"""', 2)[-1].strip()
        path = f'tutorials/{script.stem}.md'
        write(
            path,
            f'# {title.rstrip(".")}\n\n{rest.strip()}\n\n`examples/{script.name}`\n\n'
            f'```python\n{shown}\n```\n',
        )
        pages.append((title.rstrip('.'), path))
    return pages


def commands() -> list[tuple[str, str]]:
    """One page for each verb of the command line: title and path."""
    os.environ['COLUMNS'] = '78'  # how wide argparse writes
    os.environ['NO_COLOR'] = '1'
    top = parser()
    (choices,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    pages = []
    for verb, command in choices.choices.items():
        path = f'commands/{verb}.md'
        write(path, f'# diception {verb}\n\n```text\n{command.format_help()}```\n')
        pages.append((verb, path))
    return pages


def reference() -> list[tuple[str, str]]:
    """One page for each package, with the docstrings of its modules: title and path."""
    write('reference/index.md', '# diception_ros\n\n::: diception_ros\n')
    pages = [('diception_ros', 'reference/index.md')]
    package = ROOT / 'diception_ros'
    for folder in sorted(path.parent for path in package.glob('*/__init__.py')):
        name = folder.name
        modules = [f'diception_ros.{name}']
        for file in sorted(folder.rglob('*.py')):
            parts = file.relative_to(ROOT).with_suffix('').parts
            if not any(part.startswith('_') for part in parts[1:]):
                modules.append('.'.join(parts))
        path = f'reference/{name}.md'
        sections = '\n'.join(f'::: {module}\n' for module in modules)
        write(path, f'# {name}\n\n{sections}')
        pages.append((name, path))
    return pages


def summary() -> None:
    """The navigation."""
    lines = []
    for section, files in GUIDES.items():
        lines.append(f'* {section}')
        for file in files:
            title = title_of((ROOT / 'docs' / file).read_text())
            lines.append(f'    * [{title}]({file})')
    guide = (ROOT / 'CONTRIBUTING.md').read_text()
    write('contributing.md', guide.replace('](docs/', ']('))  # links from docs/
    lines.append(f'    * [{title_of(guide)}](contributing.md)')
    generated = {
        'Tutorials': tutorials(),
        'Commands': commands(),
        'API reference': reference(),
    }
    for section, pages in generated.items():
        if pages:
            lines.append(f'* {section}')
            lines += [f'    * [{title}]({path})' for title, path in pages]
    write('SUMMARY.md', '\n'.join(lines) + '\n')


summary()
