# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the simulation share: one renderer, and a few views of a few rooms."""

import importlib.util

import pytest

SIZE = (96, 128)


@pytest.fixture(scope='session')
def renderer():
    """A renderer of small pictures; skips where there is no OpenGL."""
    # Not importorskip: MuJoCo chooses its OpenGL when it is imported.
    if importlib.util.find_spec('mujoco') is None:
        pytest.skip('MuJoCo is not installed (diception_ros[sim])')
    from diception_ros.sim.renderer import Renderer

    try:
        made = Renderer(SIZE)
    except OSError as error:
        pytest.skip(str(error))
    yield made
    made.close()


@pytest.fixture(scope='session')
def views(renderer):
    """Two views of each of eight rooms."""
    from diception_ros.sim.stream import scene_views

    return [view for n in range(8) for view in scene_views(renderer, 3, n, 'test', 2)]
