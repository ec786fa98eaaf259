# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JSON, YAML, arrays and tensors are read within limits: no other code parses them directly."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / 'diception_ros'
DIRECT = {'json.load', 'json.loads', 'np.load', 'numpy.load', 'safe_open'}
# Functions that read directly, and why they may.
ALLOWED = {
    'bag_replay/checkpoint.py:load': 'a value that was just written as JSON',
    'node/client.py:read_value': 'a value of the command line, texts as they are',
    'system/processes.py:run_isolated': 'what a child process of ours printed',
}


def direct_reads(source: str) -> list[str]:
    """Functions that call a parser of JSON, YAML or arrays themselves."""
    found = []

    def visit(node, function):
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in DIRECT or (name.startswith('yaml.') and 'load' in name):
                found.append(function)
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(source), '')
    return found


@pytest.mark.parametrize('call', [
    'json.loads(p.read_text())', 'json.load(f)', 'yaml.safe_load(f)', 'yaml.load(f, Loader)',
    'np.load(p)', "safe_open(p, 'pt')",
])  # fmt: skip
def test_the_search_finds_direct_reads(call):
    assert direct_reads(f'def f(p):\n    return {call}') == ['f']
    assert direct_reads('def f(p):\n    return safe_load.json_file(p)') == []


def test_no_code_parses_files_directly():
    found = {
        f'{file.relative_to(ROOT)}:{name}'
        for file in ROOT.rglob('*.py')
        if file.name != 'safe_load.py'
        for name in direct_reads(file.read_text())
    }
    assert found == set(ALLOWED), 'use system/safe_load.py'
