# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""OpenGL without a screen: which library draws, and one clear error where there is none."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib.util
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mujoco

BACKENDS = ('egl', 'osmesa')
_PACKAGES = {
    'egl': ('EGL', 'libegl1 libegl-mesa0 libgl1-mesa-dri'),
    'osmesa': ('OSMesa', 'libosmesa6'),
}


def context(size: tuple[int, int], backend: str | None = None) -> tuple[Any, mujoco.GLContext]:
    """Open an OpenGL context and make it the current one.

    Args:
        size: (H, W) of the largest picture, pixels.
        backend: 'egl' (a graphics card, or Mesa's software) or 'osmesa' (software only); None
            takes the environment variable MUJOCO_GL, and 'egl' where it is not set. MuJoCo can
            load only one of them per process.

    Returns:
        The module mujoco, which must not be imported before the backend is known, and the context.

    Raises:
        ImportError: MuJoCo is not installed.
        ValueError: no such backend, or this process has already loaded another.
        OSError: the library is not there or finds nothing to draw on; the message names the
            packages.
    """
    wanted = backend or os.environ.get('MUJOCO_GL') or 'egl'
    if wanted not in BACKENDS:
        raise ValueError(f'OpenGL backend {wanted!r}: expected one of {", ".join(BACKENDS)}')
    if 'mujoco' in sys.modules:
        # The module that contexts come from: mujoco.egl, mujoco.osmesa or mujoco.glfw.
        loaded = sys.modules['mujoco'].GLContext.__module__.rpartition('.')[2]
        if loaded != wanted:
            raise ValueError(
                f'OpenGL backend {wanted!r}: MuJoCo was already loaded with {loaded!r} in this '
                'process; set MUJOCO_GL before it is imported'
            )
    os.environ['MUJOCO_GL'] = wanted
    name, packages = _PACKAGES[wanted]
    if wanted == 'osmesa':
        # PyOpenGL decides once, when it is imported.
        os.environ['PYOPENGL_PLATFORM'] = 'osmesa'
    missing = OSError(
        f'simulation needs {name}, which cannot be loaded here; on Debian and Ubuntu: '
        f'apt-get install {packages}'
    )
    if ctypes.util.find_library(name) is None:
        raise missing
    _triton_first()
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise ImportError(f'simulation needs MuJoCo ({error})', name=error.name) from error
    except (ImportError, AttributeError) as error:  # what PyOpenGL raises on a half-installed GL
        raise missing from error
    try:
        opened = mujoco.GLContext(size[1], size[0])
        opened.make_current()
    except Exception as error:
        # Each backend raises its own kinds; all mean that there is nothing to draw on.
        raise missing from error
    return mujoco, opened


def _triton_first() -> None:
    """Load the compiler of a torch with CUDA, if there is one, before Mesa's.

    Both hold LLVM, and Mesa shows its own to all libraries that come later: torch, once it imports
    triton, would crash (torch 2.13, triton 3.7, Mesa 22.3).
    """
    found = None if 'triton' in sys.modules else importlib.util.find_spec('triton')
    for folder in (found.submodule_search_locations or []) if found else []:
        for library in Path(folder, '_C').glob('libtriton*.so'):
            with contextlib.suppress(OSError):  # then it is of no use to torch either
                ctypes.CDLL(str(library))
