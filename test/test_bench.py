# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The help of every bench comes before torch is imported, and the test helpers they call exist."""

import ast
from collections import Counter
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'bench'))
import soak

BENCH = Path(soak.__file__).parent

# These load the training loop or the model first.
SLOW = {'adapt', 'adapt_full_size', 'adapt_recipe', 'fuzz', 'replay'}
SCRIPTS = [
    path for path in sorted(BENCH.glob('*.py'))
    if '__main__' in path.read_text() and path.stem not in SLOW
]  # fmt: skip
# Runs the script of argv[1] and says afterwards what it loaded.
RUN = """
import atexit, runpy, sys
atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition('/')[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.slow
@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.stem)
def test_help_comes_without_torch(path):
    done = subprocess.run(
        [sys.executable, '-c', RUN, str(path), '--help'], capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('usage: ')
    assert done.stderr.splitlines()[-1] == 'False'


def names(path):
    """What a module of test/ defines at its top."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        else:
            yield from (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


@pytest.mark.parametrize('path', sorted(BENCH.glob('*.py')), ids=lambda path: path.stem)
def test_helpers_of_tests_that_are_called_exist(path):
    # No type checker reads bench/, and a long run does not belong into this suite.
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name: set(names(BENCH.parent / 'test' / f'{alias.name}.py'))
        for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        if (BENCH.parent / 'test' / f'{alias.name}.py').is_file()
    }  # fmt: skip
    missing = [
        f'line {node.lineno}: {node.value.id}.{node.attr}' for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        and node.attr not in imported.get(node.value.id, {node.attr})
    ]  # fmt: skip
    assert not missing


@pytest.mark.parametrize(('kb_per_image', 'is_found'), [(0, False), (4, True)])
def test_soak_finds_a_leak_below_the_free_memory_that_heaps_keep(kb_per_image, is_found):
    # An hour as in RESULTS: 30 images a minute, 200 MB in use, up to 60 MB kept free.
    for seed in range(50):
        free = np.random.default_rng(seed).exponential(14, 60).clip(max=60)
        used = 200 + 30 * np.arange(60) * kb_per_image / 1e3
        rounds = [
            {'processed': 30 * minute, 'threads': 23, 'fds': 29, 'in_use_mb': used[minute],
             'private_mb': used[minute] + free[minute]}
            for minute in range(60)
        ]  # fmt: skip
        judged = object.__new__(soak.Soak)
        judged.wrong = Counter()
        judged.judge(rounds)
        assert bool(judged.wrong) == is_found
