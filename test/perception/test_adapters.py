# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The Perceiver with adapters: their tasks beside the base's, and what is refused."""

from dataclasses import replace

from adapter_fixtures import write_adapter
import numpy as np
from perceiver_fixtures import EVERY, MAKE, SIZE, chosen, image, raw, request, topics
import pytest

from diception_ros.core import settings
from diception_ros.core.prompt import Prompt
from diception_ros.messages import outputs
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.predictor import Predictor

TOPICS = {
    'mask': ['mask', 'camera_info', 'overlay'],
    'instances': ['label', 'confidence', 'camera_info', 'detections', 'color', 'overlay'],
    'normals': ['image', 'camera_info', 'color'],
    'depth': ['image', 'color'],
    'rgb': ['image', 'camera_info'],
}


@pytest.fixture(scope='module')
def folders(tiny_folder, tmp_path_factory):
    place = tmp_path_factory.mktemp('adapters')
    made = {
        kind: write_adapter(place / kind, tiny_folder, f'my_{kind}', kind=kind, seed=k)
        for k, kind in enumerate(TOPICS)
    }
    made['other'] = write_adapter(place / 'other', tiny_folder, 'my_mask', kind='rgb', seed=9)
    made['foreign'] = write_adapter(
        place / 'foreign', tiny_folder, 'my_mask', kind='rgb', base_sha256='0' * 64
    )
    made['entity'] = write_adapter(place / 'entity', tiny_folder, 'entity')
    made['disparity'] = write_adapter(place / 'disparity', tiny_folder, 'disparity', kind='depth')
    return {name: str(folder) for name, folder in made.items()}


@pytest.fixture
def one(tiny_folder):
    return Perceiver(Predictor.load(tiny_folder), MAKE, chosen())


def take(perceiver, folders, *names, **more):
    changes = {'adapters': [folders[name] for name in names], **more}
    perceiver.change(settings.changed(perceiver.settings, changes))


def named(found):
    return tuple(task.name for task in found)


def everything(perceiver, **more):
    """A request for all that the settings ask and all topics of it."""
    found = frozenset(one.topic for one in perceiver.outputs())
    return replace(request(tasks=perceiver.settings.active_tasks, **more), topics=found)


@pytest.mark.slow
@pytest.mark.parametrize('batch_size', [1, 8])
def test_the_base_predicts_the_same_bytes_before_while_and_after(one, folders, batch_size):
    take(one, folders, batch_size=batch_size, **{'depth.metric': 'fixed', 'depth.scale': 1.0})
    before = one.process(everything(one))
    assert len(before.messages) > 20
    take(one, folders, 'mask', 'rgb', 'depth')
    both = one.process(everything(one))
    assert [prediction.prompt.task for prediction in both.predictions[-3:]] == [
        'my_mask', 'my_rgb', 'my_depth'
    ]  # fmt: skip
    mine = [pair for pair in both.messages if pair[0].startswith('my_')]
    rest = [pair for pair in both.messages if not pair[0].startswith('my_')]
    # In the cloud too, which comes after all predictions.
    assert raw(replace(both, messages=rest)) == raw(before)
    take(one, folders)
    assert raw(one.process(everything(one))) == raw(before)
    take(one, folders, 'mask', 'rgb', 'depth')
    again = one.process(everything(one)).messages
    again = [pair for pair in again if pair[0].startswith('my_')]
    assert raw(replace(both, messages=again)) == raw(replace(both, messages=mine))


@pytest.mark.parametrize('kind', TOPICS)
def test_results_of_an_adapter_are_the_predictors_with_the_header(one, folders, tiny_folder, kind):
    name = f'my_{kind}'
    take(one, folders, kind, 'mask' if kind == 'rgb' else 'rgb')
    assert [each.topic for each in one.outputs() if each.topic.startswith(f'{name}/')] == [
        f'{name}/{end}' for end in TOPICS[kind]
    ]  # fmt: skip
    asked = everything(one)
    prediction = one.process(replace(asked, tasks=(one.settings.registry.get(name),)))
    assert topics(prediction) == [f'{name}/{end}' for end in TOPICS[kind]]
    assert all(message.header == asked.header for _, message in prediction.messages)
    alone = Predictor.load(tiny_folder)
    alone.adapt([folders[kind]])
    (direct,) = alone.predict([asked.frame], [Prompt(name)])
    made = outputs.from_label(
        MAKE, alone.tasks.get(name), direct.label, asked.header, asked.frame, asked.topics,
        asked.info,
    )  # fmt: skip
    assert raw(prediction) == raw(replace(prediction, messages=made))


def test_predictions_of_the_models_size_and_things_with_numbers_that_stay(one, folders):
    take(one, folders, 'mask', 'instances', output_size='model')
    prediction = one.process(everything(one))
    assert image(prediction, 'my_mask/mask').shape == (64, 64)
    camera_info_message = dict(prediction.messages)['my_mask/camera_info']
    assert (camera_info_message.height, camera_info_message.width) == (64, 64)
    assert 'front/tracks/my_instances/missed' in one.state_dict()
    # What was kept goes on in another Perceiver.
    other = Perceiver(one._predictor, MAKE, one.settings)
    other.load_state(one.state_dict())
    later = everything(one, seed=3, stamp_ns=9)
    assert raw(other.process(later)) == raw(one.process(later))


@pytest.mark.parametrize(
    ('names', 'reason'),
    [
        (['mask', 'other'], "two adapters bring a task 'my_mask'"),
        (['mask', 'mask'], "two adapters bring a task 'my_mask'"),
        (['entity'], "a new task cannot be called 'entity'"),
        (['disparity'], 'depth and disparity both have a topic disparity/image'),
        (['rgb', 'foreign'], 'use that model, or adapt this one'),
    ],
)
def test_unsuitable_settings_raise_and_change_nothing(one, folders, names, reason):
    take(one, folders, 'mask')
    before, held = raw(one.process(everything(one))), one.settings
    with pytest.raises(ValueError, match=reason):
        take(one, folders, *names)
    assert one.settings is held
    assert raw(one.process(everything(one))) == before
    assert not one._predictor.tasks.is_adapter('my_rgb')


def test_a_task_of_an_adapter_is_not_named_among_the_tasks(one, folders):
    with pytest.raises(ValueError, match="no task 'my_mask'"):
        chosen(tasks=('depth', 'my_mask'))
    take(one, folders, 'mask')
    one.process(everything(one))
    with pytest.raises(ValueError, match='leave it out, its folder in adapters is enough'):
        chosen(tasks=('depth', 'my_mask'), adapters=(folders['mask'],))


def test_adapters_alone_are_enough(one, folders):
    take(one, folders, 'mask', tasks=())
    assert topics(one.process(everything(one))) == [f'my_mask/{end}' for end in TOPICS['mask']]
    with pytest.raises(ValueError, match='tasks is empty'):
        take(one, folders)


def test_lazy_runs_an_adapter_task_only_with_a_subscriber(one, folders):
    take(one, folders, 'mask', 'rgb')
    assert named(one.tasks_for_topics(frozenset(['my_mask/overlay']))) == ('my_mask',)
    wanted = frozenset(['my_rgb/image', 'normal/image'])
    assert named(one.tasks_for_topics(wanted)) == ('normal', 'my_rgb')
    assert named(one.tasks_for_topics(frozenset(['my_depth/image']))) == ()
    take(one, folders, 'mask', lazy=False)
    assert named(one.tasks_for_topics(frozenset())) == (*EVERY, 'my_mask')


def test_the_network_changes_in_the_thread_that_perceives(one, folders, monkeypatch):
    calls, adapt = [], one._predictor.adapt
    monkeypatch.setattr(one._predictor, 'adapt', lambda f: (calls.append(f), adapt(f)))
    take(one, folders, 'mask')
    assert calls == []
    for _ in range(2):
        one.process(everything(one))
    assert calls == [(folders['mask'],)]
    take(one, folders, 'mask', seed=7)
    one.process(everything(one))
    assert len(calls) == 1


def test_a_frame_that_came_before_its_adapter_went_has_the_other_results(one, folders):
    """Also where no frame came while the adapter was in."""
    take(one, folders, 'mask')
    asked = everything(one)
    take(one, folders)
    assert not one._predictor.tasks.is_adapter('my_mask')
    expected = one.process(everything(one))
    one.reset()
    assert raw(one.process(asked)) == raw(expected)


def test_an_adapter_that_is_written_anew_counts_with_the_next_change(
    one, folders, tiny_folder, tmp_path
):
    folder = {'it': str(write_adapter(tmp_path / 'it', tiny_folder, 'it', kind='rgb', seed=1))}
    take(one, folder, 'it')
    first = image(one.process(everything(one)), 'it/image')
    write_adapter(tmp_path / 'it', tiny_folder, 'it', kind='rgb', seed=2, rank=3)
    np.testing.assert_array_equal(image(one.process(everything(one)), 'it/image'), first)
    take(one, folder, 'it', lazy=False)
    assert (image(one.process(everything(one)), 'it/image') != first).any()
    assert first.shape == (*SIZE, 3)
