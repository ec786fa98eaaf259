# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""OpenGL without a screen: which library draws, and one clear error where there is none."""

from __future__ import annotations

import ctypes.util
import os
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
