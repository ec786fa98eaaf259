# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks that adapters bring: the laws of every task, under a name and a text of their own."""

import pickle

import numpy as np
import pytest
from task_examples import example

from diception_ros import tasks
from diception_ros.core.adapter_card import KINDS, Card
from diception_ros.core.labels import Disparity, ImageLabel, Instances, Mask, Normals
from diception_ros.core.prompt import Point, Prompt
from diception_ros.tasks import TaskRegistry

SIZE = 64
LABELS = {
    'mask': Mask, 'instances': Instances, 'normals': Normals, 'depth': Disparity,
    'rgb': ImageLabel,
}  # fmt: skip
LIKE = {'mask': 'segmentation', 'instances': 'entity', 'normals': 'normal', 'depth': 'depth'}


def card(kind, name='floor', prompt='[[image2segmentation]] floor'):
    return Card(name, prompt, kind, 'builtin', '0' * 64, 1, 1, 0.01)


@pytest.mark.parametrize('kind', KINDS)
def test_it_keeps_the_laws_of_every_task(kind):
    task = tasks.adapter_task(card(kind))
    assert (task.name, task.prompt, task.label) == ('floor', card(kind).prompt, LABELS[kind])
    assert not task.takes_points
    assert not task.takes_category
    label = example(task, np.random.default_rng(0), SIZE)
    assert type(label) is LABELS[kind]
    rgb = task.encode(label)
    assert (rgb.shape, rgb.dtype) == ((SIZE, SIZE, 3), np.float32)
    assert 0 <= rgb.min() <= rgb.max() <= 1
    back = task.decode(rgb)
    assert type(back) is LABELS[kind]
    scores = task.score(back, label)
    assert all(isinstance(value, float) for value in scores.values())
    metric, perfect = {
        'mask': ('iou', 1), 'instances': ('mean_iou', 1), 'normals': ('mean_deg', 0),
        'depth': ('disparity_mae', 0), 'rgb': ('mae', 0),
    }[kind]  # fmt: skip
    assert scores[metric] == pytest.approx(perfect, abs=0.5 if kind == 'normals' else 0.02)


@pytest.mark.parametrize('kind', LIKE)
def test_adapter_task_encodes_decodes_and_scores_like_the_builtin_task(kind):
    task, like = tasks.adapter_task(card(kind)), tasks.get(LIKE[kind])
    label = example(like, np.random.default_rng(1), SIZE)
    np.testing.assert_array_equal(task.encode(label), like.encode(label))
    assert task.score(label, label) == like.score(label, label)


def test_its_text_is_the_card_s_and_nothing_may_be_added():
    task = tasks.adapter_task(card('mask'))
    assert task.text(Prompt('floor')) == '[[image2segmentation]] floor'
    for prompt in (Prompt('floor', 'cup'), Prompt('floor', points=(Point(1, 1),))):
        with pytest.raises(ValueError, match='floor'):
            task.text(prompt)


def test_image_label_decoding_clips_to_the_valid_range():
    task = tasks.adapter_task(card('rgb'))
    rgb = np.random.default_rng(0).uniform(-0.2, 1.2, (8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(task.decode(rgb).values, rgb.clip(0, 1))
    label = task.decode(rgb)
    np.testing.assert_array_equal(task.encode(label), label.values)
    assert task.score(label, label) == {'mae': 0.0, 'psnr': float('inf')}
    grey = ImageLabel(np.full((8, 8, 3), 0.5, np.float32))
    darker = ImageLabel(np.full((8, 8, 3), 0.4, np.float32))
    assert task.score(darker, grey) == pytest.approx({'mae': 0.1, 'psnr': 20.0}, rel=1e-5)
    with pytest.raises(ValueError, match='8'):
        task.score(label, ImageLabel(np.zeros((4, 4, 3), np.float32)))


def test_a_registry_holds_the_tasks_of_its_adapters_and_no_other_does():
    registry = TaskRegistry((card('mask'),))
    assert registry.is_adapter('floor')
    assert registry.get('floor').prompt == card('mask').prompt
    assert registry.get('depth') is tasks.get('depth')
    assert registry.names() == [*tasks.names(), 'floor']
    assert pickle.loads(pickle.dumps(registry)) == registry
    assert TaskRegistry((card('depth'),)).get('floor').label is Disparity
    assert not tasks.BUILTIN.is_adapter('floor')
    assert 'floor' not in tasks.names()
    assert card('mask').prompt not in tasks.texts()
    with pytest.raises(ValueError, match="no task 'floor'"):
        tasks.get('floor')
    with pytest.raises(
        ValueError, match=r"no task 'flor'; did you mean 'floor'\? known: depth.*floor"
    ):
        registry.get('flor')
    with pytest.raises(ValueError, match="two adapters bring a task 'floor'"):
        TaskRegistry((card('mask'), card('depth')))


@pytest.mark.parametrize('name', tasks.names())
def test_no_task_of_the_base_can_be_replaced(name):
    for make in (tasks.adapter_task, lambda one: TaskRegistry((one,))):
        with pytest.raises(ValueError, match=f"cannot be called '{name}', which is one of depth"):
            make(card('mask', name))
