# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of training share."""

import importlib.util

import pytest


@pytest.fixture(scope='session')
def opengl():
    """Skips where rooms cannot be rendered."""
    # Not importorskip: MuJoCo chooses its OpenGL when it is imported.
    if importlib.util.find_spec('mujoco') is None:
        pytest.skip('MuJoCo is not installed (diception_ros[sim])')
    from diception_ros.sim import gl

    try:
        gl.context((8, 8))[1].free()
    except OSError as error:
        pytest.skip(str(error))
