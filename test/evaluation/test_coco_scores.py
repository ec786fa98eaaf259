# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`--protocol coco`: annotations that the test writes, and predictions whose numbers are known."""

import json

import labelled_files as files
import numpy as np
import pytest

from diception_ros.cli import main as command
from diception_ros.core.labels import COCO_JOINTS, Instances, Keypoints, Mask
from diception_ros.datasets import coco
from diception_ros.evaluation import dataset_scores, evaluators

pytest.importorskip('pycocotools')


def perfect(found):
    """Returns the truth of every query about its own image."""
    known = {}
    for taken in found.frames():
        known[taken.frame.image.tobytes()] = dataset_scores.coco_items(
            taken, evaluators.names(dataset_scores.COCO_TASKS)
        )

    def predict(frame, prompts):
        labels = []
        for prompt in prompts:
            mine = [i for i in known[frame.image.tobytes()] if i.prompt.task == prompt.task
                    and i.prompt.category == prompt.category]  # fmt: skip
            labels.append(mine[0].truth if mine else empty(prompt, frame.size))
        return labels

    return predict


def empty(prompt, size):
    if prompt.task == 'segmentation':
        return Mask(np.zeros(size, bool))
    if prompt.task == 'pose':
        joints, seen = np.zeros((0, 17, 2), np.float32), np.zeros((0, 17), np.uint8)
        return Keypoints(joints, seen, seen.astype(np.float32), joints[:, 0], size)
    return Instances(np.zeros(size, np.int32), (), np.zeros(0, np.float32))


def scored(found, predict):
    names = evaluators.names(dataset_scores.coco_tasks(found))
    groups = ((taken.frame, dataset_scores.coco_items(taken, names)) for taken in found.frames())
    return evaluators.evaluate_items(groups, {'1': predict}, {}, names)


@pytest.mark.parametrize('how', ['polygon', 'runs', 'packed'])
def test_the_truth_is_perfect_and_another_image_is_not(tmp_path, how):
    found = coco.find_set(files.write_coco_set(tmp_path, how=how))
    assert (found.count, found.has_people) == (4, True)
    result = scored(found, perfect(found))
    assert result.frames == 4
    numbers = result.numbers
    for name, metrics in (('segmentation_1', ['iou']), ('segmentation_5', ['iou']),
                          ('entity', ['ar', 'ap']), ('semantic', ['ap', 'iou']),
                          ('pose', ['ap', 'ar', 'pck'])):  # fmt: skip
        for metric in metrics:
            assert numbers[name][metric]['1'] == pytest.approx(1), (name, metric)
    assert numbers['entity']['ap']['shuffled'] < 0.9
    assert result.categories == {'box': 1, 'cup': 1}


def test_people_without_keypoints_and_crowds_are_not_counted(tmp_path):
    found = coco.find_set(files.write_coco_set(tmp_path))
    frames = list(found.frames())
    assert [len(taken.people.joints) for taken in frames] == [1, 1, 1, 0]
    assert frames[3].ignored.tolist() == [[4, 1, 24, 18]]
    first = frames[0].people
    assert first.visibility[0, :3].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(first.joints[0, 1:], files.JOINTS[1:])
    assert np.isnan(first.joints[0, 0]).all()
    truth = perfect(found)

    def everywhere(frame, prompts):
        found = truth(frame, prompts)
        return [first if p.task == 'pose' and not len(x.joints) else x
                for p, x in zip(prompts, found, strict=True)]  # fmt: skip

    numbers = scored(found, everywhere).numbers['pose']
    assert numbers['people']['1'] == 3
    assert numbers['ap']['1'] == pytest.approx(1)  # what lies in the crowd is left out


def test_predictions_in_a_crowd_are_not_counted(tmp_path):
    place = files.write_coco_set(tmp_path, people=False)
    file = place / f'annotations/instances_{files.SPLIT}.json'
    content = json.loads(file.read_text())
    truth = perfect(coco.find_set(place))
    before = scored(coco.find_set(place), truth).numbers['entity']['ap']['1']
    # The prediction stays; one of the objects is marked as a crowd.
    content['annotations'][1]['iscrowd'] = 1
    file.write_text(json.dumps(content))
    found = coco.find_set(place)
    taken = next(iter(found.frames()))
    assert (taken.objects.categories, taken.crowds.categories) == (('cup',), ('box',))
    numbers = scored(found, truth).numbers['entity']
    assert before == numbers['ap']['1'] == pytest.approx(1)
    assert numbers['instances']['1'] == 7


def test_the_choice_of_an_object_depends_on_the_image_alone(tmp_path):
    found = coco.find_set(files.write_coco_set(tmp_path))
    names = evaluators.names(['segmentation'])
    first, again = ([dataset_scores.coco_items(taken, names) for taken in found.frames()]
                    for _ in range(2))  # fmt: skip
    for items, others in zip(first, again, strict=True):
        assert [item.prompt for item in items] == [item.prompt for item in others]
        assert [len(item.prompt.points) for item in items] == [1, 5]


@pytest.mark.parametrize(('change', 'match'), [
    (lambda p: (p / 'annotations/instances_train2017.json').write_text('{}'),
     r'one split, got .*instances_train2017\.json.*instances_val2017\.json'),
    (lambda p: [f.unlink() for f in (p / 'annotations').iterdir()], 'one split, got none'),
    (lambda p: (p / f'annotations/instances_{files.SPLIT}.json').write_text('{}'),
     'not a COCO file'),
    (lambda p: (p / f'{files.SPLIT}/002.png').unlink(), r'there is no 002\.png in .*--images'),
])  # fmt: skip
def test_invalid_coco_set_error_names_the_file(tmp_path, change, match):
    place = files.write_coco_set(tmp_path)
    change(place)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        list(coco.find_set(place).frames())


def test_a_single_file_is_a_set(tmp_path):
    file = files.write_coco(tmp_path)
    found = coco.find_set(file)
    assert (found.count, found.has_people) == (files.COUNT, False)
    assert dataset_scores.coco_tasks(found) == ['segmentation', 'entity', 'semantic']


@pytest.mark.slow
def test_evaluate_prints_controls_and_the_papers_figures(tiny_folder, tmp_path, capsys):
    place = files.write_coco_set(tmp_path / 'data')
    arguments = ['evaluate', place, '--protocol', 'coco', '--model', tiny_folder]
    assert command.main([*map(str, arguments), '--out', str(tmp_path / 'out')]) == 0
    rows = [[cell.strip() for cell in line.split('|')[1:-1]]
            for line in capsys.readouterr().out.splitlines()]  # fmt: skip
    assert rows[0] == ['', 'metric', '1 step', 'shuffled', 'mean', 'paper, 28 steps, guidance 2']
    assert [row[0] for row in rows[2:] if row[0]] == evaluators.names(dataset_scores.COCO_TASKS)
    assert next(row for row in rows if row[0] == 'semantic')[-1] == '0.332'
    found = json.loads((tmp_path / 'out/metrics.json').read_text())
    assert found['dataset']['images'] == 4
    assert found['numbers']['pose']['ap']['paper'] == 0.578
    assert len(COCO_JOINTS) == 17
