# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every `diception` command line in the documents is one that the command line accepts."""

from pathlib import Path
import re
import shlex

import pytest

from diception_ros.cli.main import parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def commands(page: Path) -> list[str]:
    """Command lines in the code blocks of a page, comments and continuations resolved."""
    blocks = re.findall(r'^```(?:bash|text)?\n(.*?)^```', page.read_text(), re.M | re.S)
    lines = [
        re.split(r'\s{2,}#|\s+# |\s\|\s', line)[0].strip()
        for block in blocks
        for line in re.sub(r'\\\n\s*', ' ', block).splitlines()
    ]
    # Square brackets and dots mark what a reader fills in.
    return [
        line
        for line in lines
        if line.startswith('diception ') and not re.search(r' \[-| \.\.\.', line)
    ]


CASES = [
    pytest.param(line, id=f'{page.stem}: {line}') for page in PAGES for line in commands(page)
]


def test_the_documents_have_commands():
    assert len(CASES) > 30


@pytest.mark.parametrize('line', CASES)
def test_documented_command_parses(line):
    parser().parse_args(shlex.split(line)[1:])
