# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the simulation share: one renderer, and a few views of a few rooms."""

import pytest
from simulated import SIZE


@pytest.fixture(scope='session')
def renderer(opengl):
    """A renderer of small images; skips where there is no OpenGL."""
    from diception_ros.simulation.renderer import Renderer

    made = Renderer(SIZE)
    yield made
    made.close()


def _views(renderer, realism):
    from diception_ros.simulation.realism import Realism
    from diception_ros.simulation.sample_stream import scene_views

    realism = Realism.parse(realism)
    return [
        view for n in range(8) for view in scene_views(renderer, 3, n, 'test', 2, realism=realism)
    ]


@pytest.fixture(scope='session')
def plain_views(renderer):
    """Two views of each of eight rooms."""
    return _views(renderer, '')


@pytest.fixture(scope='session')
def views(plain_views):
    """Those of plain rooms."""
    return plain_views


@pytest.fixture(scope='session')
def realistic_views(renderer):
    """Two views of each of eight rooms with all of `Realism` but furniture models."""
    return _views(renderer, 'all')
