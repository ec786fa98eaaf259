# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts are values, and refuse what no task can predict."""

from __future__ import annotations

import pytest

from diception_ros.core.frame import Intrinsics
from diception_ros.core.prompt import Point, Prompt, PromptPoints, parse_categories, point_at


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
def test_points_reject_a_bare_pair_and_a_list(points):
    with pytest.raises(TypeError, match='Point'):
        Prompt('segmentation', points=points)


def test_points_are_checked_against_the_frame_x_against_its_width():
    Prompt('segmentation', points=(Point(639, 479), Point(0, 0))).check_inside((480, 640))
    for point in (Point(640, 0), Point(0, 480)):
        with pytest.raises(ValueError, match='outside the frame of 640 x 480'):
            Prompt('segmentation', points=(point,)).check_inside((480, 640))


def test_points_stay_until_cleared_or_the_image_size_changes():
    points = PromptPoints()
    with pytest.raises(ValueError, match='no image was received yet'):
        points.add(Point(1, 1))
    assert points.for_size((48, 64)) == ((), 0)
    assert [points.add(Point(k, k)) for k in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match='at most 5'):
        points.add(Point(6, 6))
    assert points.for_size((48, 64)) == (tuple(Point(k, k) for k in range(5)), 0)
    assert points.for_size((24, 32)) == ((), 5)
    for x, y in ((32, 1), (1, 24), (-1, 1), (float('nan'), 1)):
        with pytest.raises(ValueError, match='Point'):
            points.add(Point(x, y))
    points.add(Point(31.4, 23.4))
    assert points.clear() == points.count + 1 == 1


def test_words_parses_a_category_list():
    assert parse_categories(' chair, traffic light ,,chair') == ('chair', 'traffic light')
    assert parse_categories(' , ') == ()


def test_point_at_projects_points_in_space():
    pinhole = Intrinsics(100, 200, 31.5, 23.5)
    assert point_at((0, 0, 2), pinhole) == Point(31.5, 23.5)
    assert point_at((0.2, -0.1, 2), pinhole) == Point(41.5, 13.5)
    assert point_at((5, 6, 0), None) == Point(5, 6)
    nowhere, far = (0, 0, float('nan')), (0, 0, float('inf'))
    refused = ((0, 0, -1), pinhole), ((0, 0, 1), None), (nowhere, pinhole), (far, pinhole)
    for position, given in refused:
        with pytest.raises(ValueError, match='is refused'):
            point_at(position, given)
