# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts are values, and refuse what no task can answer."""

from __future__ import annotations

import pytest

from diception_ros.core.prompt import Point, Prompt


def test_a_prompt_is_a_value():
    one = Prompt('segmentation', points=(Point(3, 4),))
    assert one == Prompt('segmentation', points=(Point(x=3, y=4),))
    assert len({one, Prompt('depth'), Prompt('depth')}) == 2


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'task': ''}, 'name of a task'),
        ({'category': ' '}, 'Prompt.category'),
        ({'points': (Point(1, 1),) * 6}, 'at most 5 points, got 6'),
        ({'points': (Point(float('nan'), 1),)}, 'finite'),
        ({'points': (Point(1, -0.6),)}, 'outside any image'),
    ],
)
def test_a_prompt_refuses_what_no_task_can_predict(wrong, message):
    with pytest.raises(ValueError, match=message):
        Prompt(**{'task': 'segmentation', **wrong})


@pytest.mark.parametrize('points', [((3, 4),), [Point(3, 4)]])
def test_a_bare_pair_or_a_list_is_not_taken_for_points(points):
    with pytest.raises(TypeError, match='Point'):
        Prompt('segmentation', points=points)


def test_points_are_checked_against_the_frame_x_against_its_width():
    Prompt('segmentation', points=(Point(639, 479), Point(0, 0))).check_inside((480, 640))
    for point in (Point(640, 0), Point(0, 480)):
        with pytest.raises(ValueError, match='outside the frame of 640 x 480'):
            Prompt('segmentation', points=(point,)).check_inside((480, 640))
