# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verdict of the demo: the truth itself scores best, and a wrong prediction worse."""

from dataclasses import replace
import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from recordings import MAKE, write

from diception_ros import tasks
from diception_ros.core import images
from diception_ros.core.geometry import to_disparity
from diception_ros.core.images import contact_sheet
from diception_ros.core.labels import Instances, MetricDepth
from diception_ros.core.prompt import Point
from diception_ros.evaluation.evaluators import MeanBaseline
from diception_ros.live_demo import run, verify
from diception_ros.messages import make_header, outputs
from diception_ros.simulation import record
from diception_ros.simulation.views import IMAGE, recorded_views
from diception_ros.system.progress import SILENT
from diception_ros.workflows import demo

NAMES = tasks.names()
FIRST = 2  # image that is clicked on
BEST = {
    'depth': ('delta1', 1), 'normal': ('mean_deg', 0), 'segmentation_1': ('iou', 1),
    'entity': ('mean_iou', 1), 'semantic': ('iou', 1), 'pose': ('pck', 1),
}  # fmt: skip


@pytest.fixture(scope='module')
def played(tmp_path_factory):
    """A short drive of small images, with a click."""
    if importlib.util.find_spec('mujoco') is None:
        pytest.skip('MuJoCo is not installed')
    room = {**vars(run.ROOM), 'views': 4, 'size': (96, 128)}
    path = tmp_path_factory.mktemp('drive') / 'drive.mcap'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, 'ROOM', record.Recording(**room))
        patch.setattr(run, '_CLICKED', FIRST)
        try:
            assert [*run.simulate_drive(path)] == [1, 2, 3, 4]
        except OSError as error:
            pytest.skip(str(error))
    return run.read_drive(path)


def true_labels(view, played):
    """The label that answers each task."""
    for name in NAMES:
        for question in verify.items_of(view, played, [name]):
            label = question.truth
            if isinstance(label, MetricDepth):
                label = to_disparity(label)[0]
            if name == 'semantic':
                ids = view.instances().ids
                shown = view.instances().categories
                kept = [k for k, one in enumerate(shown, 1) if one in played.categories]
                lut = np.zeros(len(shown) + 1, np.int32)
                lut[kept] = np.arange(1, len(kept) + 1)
                label = Instances(
                    lut[ids], tuple(shown[k - 1] for k in kept), np.ones(len(kept), np.float32)
                )
            yield name, label
            break


def answered(played, change=lambda name, label: label):
    for view in recorded_views(played.path):
        header = view.messages[IMAGE].header
        for name, label in true_labels(view, played):
            task = tasks.get(name)
            wanted = {one.topic for one in outputs.declared(task, MAKE)}
            for topic, message in outputs.from_label(
                MAKE, task, change(name, label), header, view.frame, wanted,
                categories=played.categories,
            ):  # fmt: skip
                yield f'/perception/{topic}', message, view.frame.stamp_ns


@pytest.fixture(scope='module')
def live(played, tmp_path_factory):
    return write(tmp_path_factory.mktemp('live') / 'live', answered(played))


@pytest.fixture(scope='module')
def baseline():
    flat = {name: np.full((64, 64, 3), 0.4, np.float32) for name in NAMES}
    flat['normal'] = np.broadcast_to(np.float32([0.5, 0.5, 1.0]), (64, 64, 3))  # to the camera
    return MeanBaseline(flat)


def test_clicks_are_on_the_largest_object_of_a_known_category(played):
    assert played.truth
    assert played.click is not None
    views = [*recorded_views(played.path)]
    view = views[FIRST]
    number = view.instances().ids[round(played.click.y), round(played.click.x)]
    assert view.instances().categories[number - 1] == played.categories[0] == 'refrigerator'
    assert len(played.categories) == 3
    assert set(played.categories) <= set(view.instances().categories)


def test_ground_truth_scores_best(played, live, baseline):
    numbers = verify.score(played, live, NAMES, baseline)
    assert set(numbers) == set(BEST)
    for kind, (metric, best) in BEST.items():
        found = numbers[kind][metric]
        assert found[verify.MODEL] == pytest.approx(best, abs=0.5 if kind == 'normal' else 0.02)
        assert abs(found[verify.CONSTANT] - best) > 0.1, kind


def test_predictions_of_another_image_score_worse(played, live, baseline, tmp_path):
    recorded = [*answered(played)]
    last = [*recorded_views(played.path)][-1].messages[IMAGE].header
    shifted = write(
        tmp_path / 'shifted',
        [
            (topic, message.__class__(**{**vars(message), 'header': last}), stamp)
            for topic, message, stamp in recorded
            if message.header.stamp.nanosec == 0
        ],
    )
    right, wrong = (verify.score(played, bag, NAMES, baseline) for bag in (live, shifted))
    for kind in ('entity', 'segmentation_1', 'normal'):
        metric, best = BEST[kind]
        error = [abs(one[kind][metric][verify.MODEL] - best) for one in (right, wrong)]
        assert error[1] > error[0] + 0.02, kind


def test_only_requested_tasks_are_scored(played, live, baseline):
    assert set(verify.score(played, live, ['normal'], baseline)) == {'normal'}
    nobody = run.Drive(**{**vars(played), 'click': None})
    assert 'segmentation_1' not in verify.score(nobody, live, NAMES, baseline)


def test_a_click_on_a_wall_asks_for_the_wall(played):
    view = next(recorded_views(played.path))
    room = view.instances(stuff=True)
    walls = [k for k, name in enumerate(room.categories, 1) if name == 'wall']
    row, column = np.argwhere(np.isin(room.ids, walls))[0]
    clicked = run.Drive(**{**vars(played), 'click': Point(float(column), float(row))})
    (question,) = verify.items_of(view, clicked, ['segmentation'])
    assert question.truth.values[row, column]
    assert not (question.truth.values & (view.instances().ids > 0)).any()


def test_predictions_of_unplayed_images_are_not_scored(played, baseline, tmp_path):
    recorded = []
    for topic, message, stamp in answered(played):
        header = make_header(MAKE, stamp + 1_000_000, message.header.frame_id)
        fields = {**vars(message), 'header': header}
        recorded.append((topic, message.__class__(**fields), stamp + 1_000_000))
    assert verify.score(played, write(tmp_path / 'late', recorded), NAMES, baseline) == {}


def test_a_drive_of_another_version_is_not_current(played, live, tmp_path):
    assert run.is_current(played.path)
    assert not run.is_current(live)
    assert not run.is_current(tmp_path / 'none.mcap')
    (tmp_path / 'damaged.mcap').write_bytes(b'damaged')
    assert not run.is_current(tmp_path / 'damaged.mcap')


def test_the_constant_image_is_rendered_once(tmp_path, monkeypatch):
    calls = []

    def means(*args):
        calls.append(args)
        return {'depth': np.full((32, 32, 3), 0.25, np.float32)}

    monkeypatch.setattr(verify.evaluators, 'mean_of_rooms', means)
    for size in ((48, 64), (48, 64), (24, 32)):
        found = verify.mean_baseline(32, size, tmp_path)
        prediction = found.predict(SimpleNamespace(task='depth', category=None), size)
        np.testing.assert_allclose(prediction.values, 0.25, atol=1e-6)
    assert [args[1:3] for args in calls] == [((48, 64), 32), ((24, 32), 32)]


def test_the_process_beside_the_drive_renders_the_same_mean_images(
    played, tmp_path, tiny_folder, monkeypatch
):
    monkeypatch.setattr(run, 'ROOM', replace(run.ROOM, size=(24, 32)))
    config = demo.DemoConfig(out=tmp_path / 'beside', model=str(tiny_folder))
    config.out.mkdir()
    for _ in range(2):  # the second time it is there
        with demo._mean_images(config) as wait:
            wait(SILENT)
        (file,) = config.out.iterdir()
    verify.mean_baseline(demo._side(config), (24, 32), tmp_path)
    found, expected = np.load(file), np.load(tmp_path / file.name)
    assert sorted(found) == sorted(expected) != []
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


def played_frame(played, title):
    """The image under 'image 2 of 4'."""
    return [*recorded_views(played.path)][int(title.split()[1]) - 1].frame.image


def test_the_sheet_shows_predictions_above_truths(played, live, tmp_path, monkeypatch):
    sheets = []
    real = contact_sheet

    def keep(drawn, names, columns):
        sheets.append((drawn, names, columns))
        return real(drawn, names, columns)

    monkeypatch.setattr(verify, 'contact_sheet', keep)
    verify.write(tmp_path / 'with.png', played, live, NAMES, 4)
    own = run.Drive(**{**vars(played), 'truth': False})
    verify.write(tmp_path / 'without.png', own, live, NAMES, 4)
    (drawn, titles, columns), (predictions, others, _) = sheets
    assert columns == 1 + len(NAMES)
    assert len(predictions) == 3 * columns
    assert len(drawn) == 2 * len(predictions)
    assert {title for title in titles if title.endswith(': truth')} == {
        f'{n}: truth' for n in NAMES
    }
    for row in range(3):
        mine, true = (2 * row * columns, (2 * row + 1) * columns)
        assert titles[mine : mine + columns] == others[row * columns : (row + 1) * columns]
        for k, name in enumerate(NAMES, 1):
            np.testing.assert_array_equal(drawn[mine + k], predictions[row * columns + k])
            # The predictions are the truth; names and colours of things may differ.
            if titles[true + k] and name in ('depth', 'normal', 'pose', 'segmentation'):
                same = drawn[mine + k] == drawn[true + k]
                assert same.mean() > 0.99, name
            elif titles[true + k]:  # what is painted upon is the same
                ours, theirs = (
                    (image != plain).any(axis=-1)
                    for image in (drawn[mine + k], drawn[true + k])
                    for plain in [played_frame(played, titles[mine])]
                )
                assert (ours & theirs).sum() > 0.8 * (ours | theirs).sum(), name
    assert (
        images.read(tmp_path / 'with.png').shape[0]
        > images.read(tmp_path / 'without.png').shape[0]
    )
