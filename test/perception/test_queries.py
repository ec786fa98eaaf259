# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which tasks the Perceiver predicts for which frame."""

import numpy as np
from perceiver_fixtures import (
    MAKE,
    SIZE,
    Canned,
    chosen,
    image,
    perceiver,
    request,
    semantic,
    things,
    topics,
)

from diception_ros.core import settings
from diception_ros.core.labels import Disparity
from diception_ros.core.prompt import Point
from diception_ros.perception.perceiver import Perceiver

# ---- which tasks, when --------------------------------------------------------------------------


def test_every_n_th_frame_of_each_camera():
    one = Perceiver(
        Canned(depth=Disparity(np.zeros(SIZE, np.float32)), entity=things(0)), MAKE,
        settings.changed(chosen(), {'every_n.depth': 2, 'every_n.entity': 3}),
    )  # fmt: skip

    def asked(camera):
        answer = one.process(request(tasks=['depth', 'entity'], camera=camera))
        return [prediction.prompt.task for prediction in answer.predictions]

    front = [asked('front') for _ in range(7)]
    both, depth, entity = ['depth', 'entity'], ['depth'], ['entity']
    assert front == [both, [], depth, entity, depth, [], both]
    assert [asked('left'), asked('left'), asked('front')] == [both, [], []]
    one.reset('front')
    assert [asked('front'), asked('left')] == [both, depth]


def test_tasks_that_take_points_wait_for_them(tiny):
    answer = perceiver(tiny).process(request(points=()))
    assert not [topic for topic in topics(answer) if topic.startswith('segmentation')]
    assert [note.kind for note in answer.notes] == ['segmentation without points']
    assert len(answer.predictions) == 6


def test_points_outside_of_the_frame_stop_their_task_only(tiny):
    answer = perceiver(tiny).process(request(points=(Point(60, 1),)))
    assert [note.kind for note in answer.notes] == ['segmentation outside']
    assert 'lies outside the frame of 60 x 40 pixels' in answer.notes[0].text
    assert len(answer.predictions) == 6


def test_a_frame_about_which_nothing_is_asked():
    canned = Canned()
    answer = Perceiver(canned, MAKE, chosen()).process(request(tasks=[]))
    assert (answer.messages, answer.predictions, canned.asked) == ([], [], [])


# ---- categories ---------------------------------------------------------------------------------


def test_several_categories_share_one_map():
    answer = semantic().process(request(tasks=['semantic']))
    label, ids = image(answer, 'semantic/label'), image(answer, 'semantic/instances')
    # person 0 to 9; cat, which is surer, 15 to 24; what is left of the person 25 to 29; cat 40.
    row = np.full(60, 255)
    row[0:10], row[15:25], row[25:30], row[40:50] = 0, 1, 0, 1
    np.testing.assert_array_equal(label[10], row)
    assert (label[:5] == 255).all()
    assert ids[10].tolist() == [*[1] * 10, *[0] * 5, *[3] * 10, *[2] * 5, *[0] * 10, *[4] * 10,
                                *[0] * 10]  # fmt: skip


def test_latched_messages_are_those_of_the_settings():
    one = semantic()
    one.change(chosen(semantic__categories=('dog', 'cat')))
    answer = one.process(request(tasks=['semantic']))
    assert [one.prompt.category for one in answer.predictions] == ['dog', 'cat']
    assert set(np.unique(image(answer, 'semantic/label'))) == {1, 255}
    assert 'semantic/label_info' not in topics(answer)
    ((topic, info),) = one.latched()
    assert topic == 'semantic/label_info'
    assert [(each.class_id, each.class_name) for each in info.class_map] == [
        (0, 'dog'), (1, 'cat'), (255, 'UNLABELED')
    ]  # fmt: skip
    # A frame changes nothing, and a task without categories has none.
    assert one.latched() == [(topic, info)]
    one.change(chosen(tasks=['depth', 'entity']))
    assert one.latched() == []


def test_a_listener_to_a_latched_topic_starts_no_task():
    one = semantic()
    assert one.tasks_for_topics(frozenset(['semantic/label_info'])) == ()
    wanted = frozenset(['semantic/label_info', 'semantic/label'])
    assert [task.name for task in one.tasks_for_topics(wanted)] == ['semantic']
