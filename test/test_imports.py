# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, read off the syntax trees; and that torch stays out where it should."""

import ast
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1] / 'diception_ros'
PACKAGE = 'diception_ros'
# From the bottom up. A part imports from rows below its own and from itself.
ROWS = [
    {''},  # `from diception_ros import __version__`
    {'system'},
    {'core'},
    {'tasks', 'model', 'messages'},
    {'bags'},
    {'datasets', 'simulation', 'perception'},
    {'doctor', 'bag_replay'},
    {'evaluation'},
    {'reporting'},
    {'training'},
    {'live_demo', 'viewer', 'node'},
    {'workflows'},
    {'cli'},
]
SIDEWAYS = {('simulation', 'datasets'), ('node', 'viewer')}
NEEDS_TORCH = {'model', 'datasets.batch', 'training'}
# Of `model`: what runs a model by ONNX Runtime.
MODEL_WITHOUT_TORCH = {
    f'{PACKAGE}.model{end}'
    for end in (
        '', '.backend', '.component_configs', '.folder', '.inputs',
        '.onnx_backend', '.sampler', '.text_embeddings', '.weights',
    )
}  # fmt: skip
NEEDS_ROS = {'node'}


def part(module: str) -> str:
    """The part that a module belongs to: 'diception_ros.model.points' -> 'model'."""
    names = module.split('.')
    return names[1] if len(names) > 1 and names[1] != '__main__' else ('cli' if names[1:] else '')


def row(name: str) -> int:
    return next(i for i, names in enumerate(ROWS) if name in names)


def modules():
    for file in sorted(ROOT.rglob('*.py')):
        name = '.'.join(file.relative_to(ROOT.parent).with_suffix('').parts)
        yield name.removesuffix('.__init__'), file


def imports(tree: ast.AST, top_level: bool = False):
    """Names of imported modules, everywhere or outside functions and TYPE_CHECKING only."""
    nodes = list(ast.iter_child_nodes(tree)) if top_level else list(ast.walk(tree))
    while nodes:
        node = nodes.pop()
        if top_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'imports are absolute'
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)
        if top_level:
            nodes += ast.iter_child_nodes(node)


@pytest.mark.parametrize(
    ('name', 'file'), [*modules()], ids=lambda value: str(value).split('/')[-1]
)
def test_imports_go_down_the_rows(name, file):
    mine = part(name)
    if not mine:
        return  # the public names, for type checkers; test_api.py tests that they are lazy
    for imported in imports(ast.parse(file.read_text())):
        if imported.split('.')[0] != PACKAGE or imported == PACKAGE:
            continue
        theirs = part(imported)
        if not any(theirs in names for names in ROWS):
            assert imported.count('.') == 1, f'{name} imports {imported}, which is in no row'
            continue  # `from diception_ros import __version__`
        allowed = (
            theirs == mine
            or row(theirs) < row(mine)
            or (mine, theirs) in SIDEWAYS
            or (row(theirs) == row(mine) == 0)
        )
        assert allowed, f'{name} ({mine}) imports {imported} ({theirs}): upward or sideways'


@pytest.mark.parametrize(
    ('name', 'file'), [*modules()], ids=lambda value: str(value).split('/')[-1]
)
def test_heavy_imports_are_in_the_listed_packages_only(name, file):
    place = name.removeprefix(f'{PACKAGE}.')
    allowed = {
        'torch': NEEDS_TORCH,
        'diffusers': NEEDS_TORCH,
        'transformers': NEEDS_TORCH,
        'rclpy': NEEDS_ROS,
        'mujoco': {'simulation'},
    }
    for imported in imports(ast.parse(file.read_text()), top_level=True):
        library = imported.split('.')[0]
        if library in allowed:
            assert any(
                place == room or place.startswith(f'{room}.') for room in allowed[library]
            ), f'{name} imports {library}'


def test_every_module_has_a_row():
    assert {part(name) for name, _ in modules()} <= set().union(*ROWS)


HEAVY = {'torch', 'mujoco', 'diffusers', 'transformers', 'matplotlib', 'rclpy'}
LIGHT = sorted(
    name
    for name, _ in modules()
    if (part(name) not in ('model', 'training', 'node') or name in MODEL_WITHOUT_TORCH)
    and name != f'{PACKAGE}.__main__'
    and not name.startswith(f'{PACKAGE}.datasets.batch')
)


def test_light_modules_do_not_load_torch():
    program = (
        'import importlib, sys\n'
        f'for name in {LIGHT!r}:\n'
        '    importlib.import_module(name)\n'
        f'    heavy = {HEAVY!r} & set(sys.modules)\n'
        '    assert not heavy, (name, heavy)\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True)
