# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the simulation share: one renderer, and a few views of a few rooms."""

import pytest
from simulated import SIZE


@pytest.fixture(scope='session')
def renderer(opengl):
    """A renderer of small pictures; skips where there is no OpenGL."""
    from diception_ros.simulation.renderer import Renderer

    made = Renderer(SIZE)
    yield made
    made.close()


@pytest.fixture(scope='session')
def views(renderer):
    """Two views of each of eight rooms."""
    from diception_ros.simulation.sample_stream import scene_views

    return [view for n in range(8) for view in scene_views(renderer, 3, n, 'test', 2)]
