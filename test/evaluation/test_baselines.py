# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Judging beside baselines: predictions whose numbers are known without a network."""

from disc_samples import SIDE, discs
import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.core import images
from diception_ros.core.labels import Disparity, Mask
from diception_ros.evaluation import evaluators
from diception_ros.simulation.sample_stream import room_views

COUNT = 5
ASKED = ('depth', 'segmentation')


@pytest.fixture(scope='module')
def groups():
    """Five views; their samples and their sources of chance."""
    samples = discs(COUNT, 0)
    return [(samples[2 * k : 2 * k + 2], np.random.default_rng(k)) for k in range(COUNT)]


def fresh(groups):
    return [(samples, np.random.default_rng(k)) for k, (samples, _) in enumerate(groups)]


def seer(groups):
    """Answers what is true of the image, whatever it was asked about another one."""
    truths = {
        id(samples[0].frame.image.base): {one.prompt.task: one.label for one in samples}
        for samples, _ in groups
    }

    def prediction(frame, prompts):
        return [truths[id(frame.image.base)][prompt.task] for prompt in prompts]

    return prediction


def blind(frame, prompts):
    """Answers the same to everything."""
    half = np.zeros(frame.size, np.bool_)
    half[:, : frame.size[1] // 2] = True
    known = {'depth': Disparity(half.astype(np.float32)), 'segmentation': Mask(half)}
    return [known[prompt.task] for prompt in prompts]


def labels(groups, task):
    return [one.label for samples, _ in groups for one in samples if one.prompt.task == task]


def test_true_labels_are_perfect_and_shuffled_ones_are_the_next_views(groups):
    verdict = evaluators.evaluate_samples(fresh(groups), {'1': seer(groups)}, {}, ASKED)
    assert verdict.columns == ('1', 'shuffled', 'mean')
    assert verdict.frames == COUNT
    assert verdict.numbers['depth']['disparity_mae']['1'] == pytest.approx(0, abs=1e-6)
    for name in ('segmentation_1', 'segmentation_5'):
        assert verdict.numbers[name]['iou']['1'] == 1
    masks = labels(groups, 'segmentation')
    score = tasks.get('segmentation').score
    expected = np.mean([score(masks[(k + 1) % COUNT], masks[k])['iou'] for k in range(COUNT)])
    found = verdict.numbers['segmentation_1']['iou']
    assert found['shuffled'] == pytest.approx(expected)
    assert expected < 0.5
    assert np.isnan(found['mean'])


def test_blind_model_scores_the_same_on_the_wrong_image(groups):
    verdict = evaluators.evaluate_samples(fresh(groups), {'1': blind}, {}, ASKED)
    for metrics in verdict.numbers.values():
        for metric, columns in metrics.items():
            assert columns['1'] == pytest.approx(columns['shuffled'], nan_ok=True), metric


def test_model_of_the_prompt_alone_scores_the_same_on_the_wrong_image(groups):
    def prediction(frame, prompts):
        columns = np.arange(frame.size[1])
        labels = []
        for prompt in prompts:
            left = np.broadcast_to(columns < prompt.points[0].x, frame.size)
            labels.append(Mask(np.ascontiguousarray(left)))
        return labels

    verdict = evaluators.evaluate_samples(fresh(groups), {'1': prediction}, {}, ['segmentation'])
    for name in ('segmentation_1', 'segmentation_5'):
        found = verdict.numbers[name]['iou']
        assert 0 < found['1'] == pytest.approx(found['shuffled'])


def test_a_single_view_has_no_other_image(groups):
    verdict = evaluators.evaluate_samples(fresh(groups)[:1], {'1': blind}, {}, ASKED)
    assert verdict.numbers['segmentation_1']['images'] == {'1': 1, 'shuffled': 0, 'mean': 0}
    assert evaluators.evaluate_samples([], {'1': blind}, {}, ASKED).frames == 0


def test_constant_control_is_the_mean_of_encoded_images(groups):
    trained = discs(7, 1)
    means = evaluators.mean_targets([trained[:4], trained[4:]], SIDE)
    masks = [one.label.values for one in trained if one.prompt.task == 'segmentation']
    np.testing.assert_allclose(means['segmentation'][..., 1], np.mean(masks, axis=0), atol=1e-6)
    verdict = evaluators.evaluate_samples(fresh(groups), {'1': blind}, means, ASKED)
    for name, task in (('depth', 'depth'), ('segmentation_5', 'segmentation')):
        constant = tasks.get(task).decode(means[task])
        scores = [tasks.get(task).score(constant, label) for label in labels(groups, task)]
        for metric in scores[0]:
            expected = np.mean([score[metric] for score in scores])
            assert verdict.numbers[name][metric]['mean'] == pytest.approx(expected)


def test_constant_control_is_resized_to_the_frame(groups):
    big = evaluators.mean_targets([discs(3, 2)], 64)
    verdict = evaluators.evaluate_samples(fresh(groups), {'1': blind}, big, ASKED)
    constant = (
        tasks.get('depth')
        .decode(big['depth'])
        .to_image_size(images.ResizeTransform((SIDE, SIDE), 64))
    )
    scores = [tasks.get('depth').score(constant, one) for one in labels(groups, 'depth')]
    expected = np.mean([score['disparity_rmse'] for score in scores])
    assert verdict.numbers['depth']['disparity_rmse']['mean'] == pytest.approx(expected)


def test_every_number_of_steps_has_a_column_and_the_first_is_shuffled(groups):
    calls = {'1': 0, '4': 0}

    def counting(column, prediction):
        def counted(frame, prompts):
            calls[column] += len(prompts)
            return prediction(frame, prompts)

        return counted

    predictions = {'1': counting('1', blind), '4': counting('4', seer(groups))}
    verdict = evaluators.evaluate_samples(fresh(groups), predictions, {}, ASKED)
    assert verdict.columns == ('1', '4', 'shuffled', 'mean')
    assert verdict.numbers['segmentation_1']['iou']['4'] == 1
    assert verdict.numbers['segmentation_1']['iou']['1'] < 0.5
    assert calls == {'1': 2 * 3 * COUNT, '4': 3 * COUNT}


def test_other_tasks_are_left_out(groups):
    verdict = evaluators.evaluate_samples(fresh(groups), {'1': blind}, {}, ['depth'])
    assert list(verdict.numbers) == ['depth']


def test_callbacks_receive_each_prediction_once(groups):
    seen = []

    class Eye:
        def on_prediction(self, number, frame, question, predicted, score):
            assert frame is groups[number][0][0].frame
            assert score == pytest.approx(
                tasks.get(question.prompt.task).score(predicted, question.truth)
            )
            seen.append((number, question.name))

    predictions = {'1': blind, '4': seer(groups)}
    evaluators.evaluate_samples(fresh(groups), predictions, {}, ASKED, [Eye()])
    names = ('depth', 'segmentation_1', 'segmentation_5')
    assert sorted(seen) == [(k, name) for k in range(COUNT) for name in names]


def test_views_are_as_many_as_asked_and_of_their_split(opengl):
    for split, each in (('test', 1), ('train', 2)):
        found = list(room_views(3, (48, 64), split, 3, each))
        names = [samples[0].name.rsplit('/', 1)[0] for samples, _ in found]
        assert len(set(names)) == 3
        assert all(name.startswith(f'{split}/3/') for name in names)
        for samples, _ in found:
            assert len({id(one.frame) for one in samples}) == 1
            assert {'depth', 'normal', 'entity'} <= {one.prompt.task for one in samples}
    again = [rng.integers(2**62) for _, rng in room_views(3, (48, 64), 'train', 3, 2)]
    assert again == [rng.integers(2**62) for _, rng in found]
    assert len(set(again)) == 3


def test_the_mean_of_rooms_is_of_the_training_split(opengl):
    found = evaluators.mean_of_rooms(3, (32, 48), 32, 1)
    samples = [mine for mine, _ in room_views(3, (32, 48), 'train', 4, 4)]
    expected = evaluators.mean_targets(samples, 32)
    assert found.keys() == expected.keys()
    for task in found:
        np.testing.assert_array_equal(found[task], expected[task])
