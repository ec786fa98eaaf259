# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""OpenGL beside torch: both may bring LLVM, and only one order of loading them works."""

import shutil
import subprocess
import sys

from lz4.frame import _frame
import pytest

DRAW = """
from diception_ros.simulation import renderer

renderer.open_gl_context((8, 8))
"""
# Says which libraries ctypes is asked for.
WATCH = """
import sys

sys.path.insert(0, sys.argv[1])
sys.addaudithook(lambda event, given: event == 'ctypes.dlopen' and print(given[0]))
"""


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)], capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_compiler_of_torch_is_loaded_before_opengl(opengl, tmp_path):
    folder = tmp_path / 'triton' / '_C'
    folder.mkdir(parents=True)
    (folder.parent / '__init__.py').touch()
    shutil.copy(_frame.__file__, folder / 'libtriton.so')  # any library
    names = run(WATCH + DRAW, tmp_path)
    drawing = next(k for k, name in enumerate(names) if 'EGL' in name or 'OSMesa' in name)
    assert str(folder / 'libtriton.so') in names[:drawing]


def test_torch_finds_its_compiler_after_a_room_was_drawn(opengl):
    pytest.importorskip('triton', reason='a torch without CUDA')
    assert run(DRAW + 'import triton; print(triton.__version__)')
