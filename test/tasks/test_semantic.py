# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.labels import Instances
from diception_ros.core.prompt import Point, Prompt

TASK = tasks.get('semantic')


@pytest.mark.parametrize('seed', range(4))
def test_decode_undoes_encode_and_names_what_was_asked_for(seed):
    label = example(TASK, np.random.default_rng(seed), 384)
    back = TASK.decode(TASK.encode(label), Prompt('semantic', category=' person '))
    assert back.categories == ('person',) * len(label.scores)
    assert TASK.score(back, label)['mean_iou'] > 0.98


def test_without_a_prompt_the_category_is_not_known():
    label = example(TASK, np.random.default_rng(0), 128)
    assert set(TASK.decode(TASK.encode(label)).categories) == {''}


def test_text_is_prompt_space_category():
    assert TASK.text(Prompt('semantic', category='person')) == '[[image2semantic]] person'
    assert TASK.text(Prompt('semantic', category=' dining table ')) == (
        '[[image2semantic]] dining table'
    )


def test_text_refuses_no_category_and_points():
    with pytest.raises(ValueError, match="task 'semantic' needs a category"):
        TASK.text(Prompt('semantic'))
    with pytest.raises(ValueError, match='takes no points'):
        TASK.text(Prompt('semantic', category='cat', points=(Point(1, 2),)))


def test_encoding_rejects_several_categories():
    ids = np.array([[1, 2], [0, 0]], np.int32)
    label = Instances(ids, ('dog', 'cat'), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="one category, got 'cat', 'dog'"):
        TASK.encode(label)


def test_no_people_is_a_black_image():
    label = Instances(np.zeros((16, 16), np.int32), (), np.zeros(0, np.float32))
    rgb = TASK.encode(label)
    assert (rgb == 0).all()
    assert len(TASK.decode(rgb, Prompt('semantic', category='cat')).scores) == 0
