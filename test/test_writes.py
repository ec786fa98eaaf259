# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What stands under its final name is whole: no code writes a file directly."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / 'diception_ros'
WRITERS = {'write_text', 'write_bytes', 'savez', 'savez_compressed', 'save_file', 'imwrite',
           'save_pretrained', 'tofile'}  # fmt: skip
# Functions that write directly, and why they may.
ALLOWED = {
    'bags/reader.py:_decompress': 'into a temporary folder',
    'bags/reader.py:_whole_pages': 'into a temporary folder',
    'model/pipeline.py:save_pretrained': 'into a folder that the caller makes atomic',
    'model/convert.py:_copy_component': 'into an atomic folder of `convert`',
    'model/convert.py:_write': 'into an atomic folder of `convert`',
    'model/convert.py:_write_index': 'into an atomic folder of `convert`',
    'model/folder.py:strip_origin': 'part of save_pretrained',
    'model/tiny.py:write_official': 'into a folder that the caller makes atomic',
    'model/tiny.py:_tokenizers': 'into a temporary folder',
    'training/checkpoints.py:write': 'into an atomic folder of `save` and of the trainer',
    'training/validation.py:add': 'appends a line to a log',
}


def direct_writes(source: str) -> list[str]:
    """Functions that write a file outside of a `with` of atomic_file or atomic_folder."""
    found = []

    def visit(node, atomic, function):
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            atomic = atomic or any('atomic_' in ast.unparse(item) for item in node.items)
        if isinstance(node, ast.Call) and not atomic and writes(node):
            found.append(function)
        if isinstance(node, ast.Call) and 'atomic_file' in ast.unparse(node.func):
            opened.add(function)
        for child in ast.iter_child_nodes(node):
            visit(child, atomic, function)

    opened = set()
    visit(ast.parse(source), False, '')
    return [name for name in found if name not in opened]


def writes(call: ast.Call) -> bool:
    """Whether a call writes a file, by its name and mode."""
    whole = ast.unparse(call.func)
    name = whole.rpartition('.')[2]
    if whole in ('files.write_text', 'files.write_bytes'):
        return False
    modes = [arg.value for arg in [*call.args, *(word.value for word in call.keywords)]
             if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]  # fmt: skip
    if name in ('open', 'fdopen'):
        return any(set(mode) <= set('rwxab+t') and set(mode) & set('wxa') for mode in modes)
    return name in WRITERS or whole in ('np.save', 'torch.save')


@pytest.mark.parametrize(('source', 'expected'), [
    ("def f(p):\n    p.write_text('a')", ['f']),
    ("def f(p):\n    with p.open('w') as file: file.write('a')", ['f']),
    ("def f(p):\n    np.savez(p, a=1)", ['f']),
    ("def f(p):\n    with files.atomic_file(p) as q, q.open('w') as file: file.write('a')", []),
    ("def f(p):\n    files.write_text(p, 'a')\n    open(p)\n    p.open('rb')", []),
])  # fmt: skip
def test_the_search_finds_direct_writes(source, expected):
    assert direct_writes(source) == expected


def test_no_file_is_written_directly():
    found = {
        f'{file.relative_to(ROOT)}:{name}'
        for file in ROOT.rglob('*.py')
        if file.parent.name != 'system'
        for name in direct_writes(file.read_text())
    }
    assert found == set(ALLOWED), 'use files.write_text, files.atomic_file or files.atomic_folder'
