# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The Predictor with adapters: tasks of the base and of adapters about the same frame."""

from dataclasses import fields
import threading

from adapter_fixtures import write_adapter
import numpy as np
import pytest

from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity, ImageLabel, Instances, Mask, Normals
from diception_ros.core.prompt import Point, Prompt
from diception_ros.core.settings import PredictSettings
from diception_ros.perception.predictor import Predictor

KINDS = {
    'mask': Mask, 'instances': Instances, 'normals': Normals, 'depth': Disparity,
    'rgb': ImageLabel,
}  # fmt: skip
BASE = [Prompt('depth'), Prompt('segmentation', points=(Point(3, 4),))]
FRAME = Frame(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


@pytest.fixture(scope='module')
def model(tiny_folder):
    return Predictor.load(tiny_folder, device='cpu', num_inference_steps=2, guidance_scale=2.0)


@pytest.fixture
def predictor(model):
    yield model
    model.adapt([])


@pytest.fixture(scope='module')
def folders(tiny_folder, tmp_path_factory):
    place = tmp_path_factory.mktemp('adapters')
    return {
        kind: write_adapter(place / kind, tiny_folder, f'my_{kind}', kind=kind, seed=i)
        for i, kind in enumerate(KINDS)
    }


def ask(predictor, prompts, batch_size):
    settings = PredictSettings(num_inference_steps=2, guidance_scale=2.0, batch_size=batch_size)
    return predictor.infer([FRAME] * len(prompts), prompts, settings)


def arrays(label):
    found = [getattr(label, one.name) for one in fields(label)]
    return [value for value in found if isinstance(value, np.ndarray)]


def same(one, other):
    return all(
        np.array_equal(first, second, equal_nan=first.dtype.kind == 'f')
        for first, second in zip(arrays(one), arrays(other), strict=True)
    )


@pytest.mark.parametrize('batch_size', [1, 8])
def test_base_and_adapters_predict_in_one_batch(predictor, folders, batch_size):
    before = ask(predictor, BASE, batch_size)
    names = predictor.adapt(folders.values())
    assert names == [f'my_{kind}' for kind in KINDS]
    mine = [Prompt(name) for name in names]
    mixed = [mine[0], BASE[0], *mine[1:3], BASE[1], *mine[3:]]
    found = {one.prompt: one.label for one in ask(predictor, mixed, batch_size)}
    assert list(found) == mixed
    for prompt, kind in zip(mine, KINDS.values(), strict=True):
        assert type(found[prompt]) is kind
        assert found[prompt].size == FRAME.size
    for one in before:
        # The same base prompts stand in the batch, so not even rounding differs.
        assert same(one.label, found[one.prompt])
    # An adapter's prediction is its own, whoever else is asked.
    for prompt in mine:
        (alone,) = ask(predictor, [prompt], batch_size)
        assert same(alone.label, found[prompt])


def test_two_adapters_predict_one_text_differently(predictor, folders, tiny_folder, tmp_path):
    text = '[[image2segmentation]] my_rgb'
    other = write_adapter(tmp_path / 'a', tiny_folder, 'other', text, 'rgb', seed=9)
    predictor.adapt([folders['rgb'], other])
    one, two = ask(predictor, [Prompt('my_rgb'), Prompt('other')], 8)
    assert np.abs(one.label.values - two.label.values).mean() > 0.01


def test_a_task_without_its_adapter_is_an_error(predictor, folders):
    settings = PredictSettings()
    with pytest.raises(ValueError, match="no task 'my_mask'"):
        predictor.predict([FRAME], [Prompt('my_mask')])
    predictor.check([Prompt('my_mask'), BASE[0]], settings, [folders['mask']])
    with pytest.raises(ValueError, match="no task 'my_mask'"):
        predictor.check([Prompt('my_mask')], settings)
    predictor.adapt([folders['mask']])
    predictor.predict([FRAME], [Prompt('my_mask')])
    predictor.adapt([folders['depth']])
    gone = "no task 'my_mask'.*known: .*my_depth"
    with pytest.raises(ValueError, match=gone):
        predictor.predict([FRAME], [BASE[0], Prompt('my_mask')])
    with pytest.raises(ValueError, match=gone):
        predictor.check([Prompt('my_mask')], settings, [folders['depth']])


def test_an_adapter_task_takes_neither_points_nor_a_category(predictor, folders):
    for prompt in (Prompt('my_mask', 'cup'), Prompt('my_mask', points=(Point(1, 1),))):
        with pytest.raises(ValueError, match='my_mask'):
            predictor.check([prompt], PredictSettings(), [folders['mask']])
        predictor.adapt([folders['mask']])
        with pytest.raises(ValueError, match='my_mask'):
            predictor.predict([FRAME], [prompt])


def test_the_name_of_a_task_of_the_base_is_refused_before_anything_changes(
    predictor, folders, tiny_folder, tmp_path
):
    before = ask(predictor, BASE, 1)
    depth = write_adapter(tmp_path / 'depth', tiny_folder, 'depth')
    for refuse in (
        lambda: predictor.adapt([folders['mask'], depth]),
        lambda: predictor.check([], PredictSettings(), [folders['mask'], depth]),
    ):
        with pytest.raises(ValueError, match="a new task cannot be called 'depth'"):
            refuse()
    assert not predictor.tasks.is_adapter('my_mask')
    assert all(same(one.label, two.label) for one, two in
               zip(before, ask(predictor, BASE, 1), strict=True))  # fmt: skip


def test_an_unsuitable_adapter_leaves_those_that_are_in(predictor, folders, tmp_path):
    predictor.adapt([folders['mask']])
    (before,) = ask(predictor, [Prompt('my_mask')], 1)
    with pytest.raises(ValueError, match='no such folder'):
        predictor.adapt([folders['depth'], tmp_path / 'none'])
    (after,) = ask(predictor, [Prompt('my_mask')], 1)
    assert same(before.label, after.label)


def test_a_check_in_another_thread_disturbs_no_prediction(predictor, folders):
    """As the node's, which checks new parameters while its worker answers."""
    predictor.adapt([folders['mask']])
    prompts = [Prompt('my_mask'), *BASE]
    before = ask(predictor, prompts, 1)
    ended, wrong, count = threading.Event(), [], [0]

    def check():
        while not ended.is_set():
            try:
                predictor.check(prompts[:1], PredictSettings(), list(folders.values()))
                count[0] += 1
            except Exception as error:
                wrong.append(error)
                return

    thread = threading.Thread(target=check)
    thread.start()
    try:
        found = [ask(predictor, prompts, 1) for _ in range(3)]
    finally:
        ended.set()
        thread.join()
    assert not wrong
    assert count[0]
    for predictions in found:
        assert all(
            same(one.label, two.label) for one, two in zip(before, predictions, strict=True)
        )
