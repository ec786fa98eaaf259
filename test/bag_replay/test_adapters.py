# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks of adapters in a replay: answers, truth, scores and images of every kind of prediction."""

import argparse
import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import recordings
from recordings import BEGIN, LATE, MAKE, SIZE, everything, image, recorded, write

from diception_ros.bag_replay import run
from diception_ros.bag_replay.checkpoint import state_path
from diception_ros.bag_replay.run import Job
from diception_ros.bags.frames import choose
from diception_ros.bags.reader import Bag
from diception_ros.cli.main import main
from diception_ros.cli.verbs import VERBS
from diception_ros.core import adapter_card as cards
from diception_ros.core import geometry, images
from diception_ros.core import settings as core_settings
from diception_ros.core.adapter_card import WEIGHTS_FILE, Card
from diception_ros.core.frame import Frame
from diception_ros.core.labels import ImageLabel, save_npz
from diception_ros.core.prompt import Prompt
from diception_ros.datasets.ground_truth import GroundTruthSource
from diception_ros.evaluation import bag_scores
from diception_ros.evaluation.bag_scores import FrameState, TemporalConsistency
from diception_ros.messages import camera_info, make_header
from diception_ros.messages import images as image_messages
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.query import Query
from diception_ros.reporting import html_report, rerun_view
from diception_ros.reporting.contact_sheets import ReportImages
from diception_ros.system import resources
from diception_ros.tasks import TaskRegistry
from diception_ros.workflows.replay import ReplayConfig

KINDS = {'floor': 'mask', 'cups': 'instances', 'slant': 'normals', 'near': 'depth', 'glow': 'rgb'}
# What the page ranks their predictions by.
FIRST = {
    'floor': 'iou ↑', 'cups': 'mean_iou ↑', 'slant': 'mean_deg ↓', 'near': 'abs_rel ↓',
    'glow': 'mae ↓',
}  # fmt: skip
COUNT = 4
EVERY = TaskRegistry(
    tuple(Card(name, name, kind, 'x', '0' * 64, 1, 1, 0.01) for name, kind in KINDS.items())
)


class Cheap(recordings.Cheap):
    def adapt(self, folders):
        self.tasks = TaskRegistry(tuple(cards.read(folder) for folder in folders))


@pytest.fixture
def folders(tmp_path):
    """Adapters with everything but matrices."""
    return {name: adapter(tmp_path / 'adapters' / name, name, kind)
            for name, kind in KINDS.items()}  # fmt: skip


def adapter(folder, name, kind, content=b'numbers'):
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(content)
    Card(name, f'[[image2segmentation]] {name}', kind, 'x', '0' * 64, 1, 1, 0.01).write(folder)
    return str(folder)


def said(task, k):
    return recordings.prediction(Frame(image(k)), Prompt(task), EVERY)


def truths(k, header):
    """Messages that tell the very answers."""
    mask = said('floor', k).values.astype(np.uint8) * 255
    depth = geometry.to_metric(said('near', k), geometry.ScaleShift(0.4, 0.1))
    for task, array, encoding in (
        ('floor', mask, 'mono8'),
        ('cups', said('cups', k).ids.astype(np.uint16) * 3, '16UC1'),
        ('slant', said('slant', k).vectors, '32FC3'),
        ('near', depth.values, '32FC1'),
        ('glow', said('glow', k).preview(), 'rgb8'),
    ):
        yield f'/truth/{task}', image_messages.image(MAKE, array, encoding, header)


def bag_of(path, shift=0):
    messages = [*recorded(COUNT)]
    for k in range(COUNT):
        header = make_header(MAKE, BEGIN + k * 100_000_000, 'cam')
        messages += [(topic, one, BEGIN + k * 100_000_000 + LATE + 5000)
                     for topic, one in truths((k + shift) % COUNT, header)]  # fmt: skip
    return write(path, sorted(messages, key=lambda one: one[2]))


def asked(folders, *names, **more):
    more = {'temporal__track_ids': False, 'tasks': ('depth',), **more}
    return recordings.asked(adapters=tuple(folders[name] for name in names or KINDS), **more)


def judged(bag, out, settings, truth, align='frame'):
    job = Job(out, cameras=('/camera/image_raw',), force=True)
    with Bag(bag) as opened:
        cameras = choose(opened, job.cameras)
        sources = [
            GroundTruthSource(opened, text, cameras, settings.task_names, settings.registry)
            for text in truth
        ]
        for source in sources:
            source.check(opened, settings.categories)
        result = run.replay(opened, Perceiver(Cheap(), MAKE, settings), job)
    sheets = ReportImages(result.frames, registry=settings.registry)
    found = bag_scores.score(bag, out, cameras, job, settings, sources, {}, align, [sheets])
    found.rows = html_report.with_journal(found.rows, result.journal)
    return found, sheets, result, job


def perfect(numbers):
    assert numbers['floor']['iou'] == numbers['cups']['mean_iou'] == 1
    assert numbers['slant']['mean_deg'] < 0.1
    assert numbers['near']['abs_rel'] < 1e-4
    assert numbers['glow']['mae'] < 1e-6


@pytest.mark.parametrize('align', ['frame', 'bag'])
def test_equal_predictions_are_perfect_and_others_are_not(folders, tmp_path, align):
    pytest.importorskip('pycocotools')
    truth = [f'{task}=/truth/{task}' for task in KINDS]
    found, *_ = judged(bag_of(tmp_path / 'a'), tmp_path / 'out.mcap', asked(folders), truth, align)
    perfect(found.numbers[''])
    # The numbers of the tasks whose kind of prediction they share.
    assert found.numbers['']['cups']['ar'] == 1
    assert found.numbers['']['slant']['within_11_25'] == 1
    assert align == 'bag' or 'abs_rel_in_depth' in found.numbers['']['near']
    assert found.missing == {'': {}}
    if align == 'bag':
        assert found.scale_shift.keys() == {'.near'}
        assert found.scale_shift['.near'] == pytest.approx([0.4, 0.1], rel=1e-4)
    found, *_ = judged(
        bag_of(tmp_path / 'b', shift=1), tmp_path / 'out.mcap', asked(folders), truth, align
    )
    numbers = found.numbers['']
    assert numbers['floor']['iou'] < 0.9
    assert numbers['cups']['mean_iou'] < 0.9
    assert numbers['slant']['mean_deg'] > 1
    assert numbers['near']['abs_rel'] > 0.01
    assert numbers['glow']['mae'] > 0.01


def test_two_disparities_have_a_scale_each(folders, tmp_path):
    messages = [*recorded(COUNT)]
    for k in range(COUNT):
        header = make_header(MAKE, BEGIN + k * 100_000_000, 'cam')
        for topic, scale in (('/truth/depth', 0.9), ('/truth/near', 0.3)):
            depth = geometry.to_metric(said('near', k), geometry.ScaleShift(scale, 0.1))
            message = image_messages.image(MAKE, depth.values, '32FC1', header)
            messages.append((topic, message, BEGIN + k * 100_000_000 + LATE))
    bag = write(tmp_path / 'a', sorted(messages, key=lambda one: one[2]))
    truth = ['depth=/truth/depth', 'near=/truth/near']
    found, *_ = judged(bag, tmp_path / 'out.mcap', asked(folders), truth, 'bag')
    assert found.scale_shift[''] == pytest.approx([0.9, 0.1], rel=1e-4)
    assert found.scale_shift['.near'] == pytest.approx([0.3, 0.1], rel=1e-4)


def test_truth_in_folders(folders, tmp_path):
    pytest.importorskip('pycocotools')
    bag, truth = write(tmp_path / 'a', recorded(COUNT)), []
    for task, kind in KINDS.items():
        folder = tmp_path / 'truth' / task
        folder.mkdir(parents=True)
        for k in range(COUNT):
            label, name = said(task, k), BEGIN + k * 100_000_000
            if kind == 'mask':
                cv2.imwrite(str(folder / f'{name}.png'), label.values.astype(np.uint8) * 255)
            elif kind == 'rgb':
                images.write(folder / f'{name}.png', label.preview())
            else:
                save_npz(label, folder / f'{name}.npz')
        truth.append(f'{task}={folder}')
    found, *_ = judged(bag, tmp_path / 'out.mcap', asked(folders), truth)
    numbers = found.numbers['']
    assert numbers['near'].pop('disparity_mae') < 1e-3
    numbers['near']['abs_rel'] = 0  # there are no metres in these files
    perfect(numbers)


def test_the_report_ranks_and_names_them_by_their_kind(folders, tmp_path):
    pytest.importorskip('pycocotools')
    settings = asked(folders)
    truth = [f'{task}=/truth/{task}' for task in KINDS]
    bag = bag_of(tmp_path / 'a', shift=1)
    found, sheets, result, job = judged(bag, tmp_path / 'out.mcap', settings, truth)
    (tmp_path / 'model').mkdir()
    content = html_report.metrics(
        bag, job, settings, ('m', tmp_path / 'model'), result, found, 'frame', truth
    )
    assert [(one['task'], one['kind']) for one in content['adapters']] == [*KINDS.items()]
    text = html_report.page(content, found.rows, sheets)
    worst = {task: [one.words for one in sheets.worst() if one.task == task] for task in KINDS}
    for task, first in FIRST.items():
        metric, arrow = first.split()
        assert f'<th colspan="2">{task}</th></tr>' in text
        card = text.partition(f'<th colspan="2">{task}</th></tr>')[2].partition('</table>')[0]
        assert f'<td>{first}</td>' in card
        values = [float(words.removeprefix(f'{metric} ')) for words in worst[task]]
        assert values == sorted(values, reverse=arrow == '↓')
        assert len(values) > 2  # a prediction that is empty like its truth has no number
        assert f'{task}.{metric}' in html_report._metrics_of(found.rows, EVERY)
        # The number that ranks stands first of its task.
        mine = [
            name
            for name in html_report._metrics_of(found.rows, EVERY)
            if name.startswith(f'{task}.')
        ]
        assert mine[0] == f'{task}.{metric}'


def test_an_image_that_stays_does_not_change():
    image = np.full((*SIZE, 3), 100, np.uint8)
    moved = image.copy()
    moved[:, 16:] = 200
    values = np.random.default_rng(0).random((*SIZE, 3), np.float32)
    other = values.copy()
    other[:, 20:] = 0

    def moment(shown, prediction):
        return FrameState(
            Frame(shown, 0, 'cam', recordings.PINHOLE), {'glow': ImageLabel(prediction)}
        )

    stability = TemporalConsistency()
    assert stability.update(moment(image, values)) == {}
    assert stability.update(moment(moved, other))['glow']['change'] == 0
    found = stability.update(moment(moved, values))['glow']['change']
    assert found == pytest.approx(np.abs(other - values).mean(), rel=1e-5)


def test_the_viewer_shows_every_kind(folders, tmp_path, monkeypatch):
    job, logged = Job(tmp_path / 'out.mcap', cameras=('/camera/image_raw',)), {}
    bag = bag_of(tmp_path / 'a')
    with Bag(bag) as opened:
        run.replay(opened, Perceiver(Cheap(), MAKE, asked(folders)), job)
        cameras = choose(opened, job.cameras)
    stand = SimpleNamespace(
        ViewCoordinates=SimpleNamespace(RDF=None), init=lambda name: None, spawn=lambda: None,
        set_time=lambda *a, **b: None, disconnect=lambda: None,
        log=lambda entity, what, static=False: logged.setdefault(entity, []).append(what),
        **{kind: lambda array, kind=kind, **more: (kind, array)
           for kind in ('Image', 'DepthImage', 'SegmentationImage', 'Points3D')},
    )  # fmt: skip
    monkeypatch.setitem(rerun_view.sys.modules, 'rerun', stand)
    rerun_view.show(bag, job, cameras, asked(folders))
    for topic, kind in (
        ('floor/mask', 'SegmentationImage'), ('floor/overlay', 'Image'),
        ('cups/label', 'SegmentationImage'), ('slant/image', 'Image'),
        ('near/image', 'DepthImage'), ('glow/image', 'Image'),
    ):  # fmt: skip
        shown = logged[f'camera/{topic}']
        assert [one[0] for one in shown] == [kind] * COUNT, topic
    np.testing.assert_array_equal(logged['camera/glow/image'][1][1], said('glow', 1).preview())


def test_going_on_takes_the_same_adapter_wherever_it_lies(folders, tmp_path, monkeypatch):
    from diception_ros.bag_replay import checkpoint

    monkeypatch.setattr(checkpoint, 'CHUNK_FRAMES', 1)
    bag, out, seen = bag_of(tmp_path / 'a'), tmp_path / 'out.mcap', []

    class Stopping(Cheap):
        def infer(self, *given, **more):
            seen.append(1)
            if len(seen) == 3:
                raise KeyboardInterrupt
            return super().infer(*given, **more)

    def go(predictor, settings, **more):
        with Bag(bag) as opened:
            job = Job(more.pop('out', out), cameras=('/camera/image_raw',), **more)
            return run.replay(opened, Perceiver(predictor, MAKE, settings), job)

    go(Cheap(), asked(folders, 'floor', 'glow'), out=tmp_path / 'whole.mcap')
    with pytest.raises(KeyboardInterrupt):
        go(Stopping(), asked(folders, 'floor', 'glow'))
    assert state_path(out).exists()
    moved = {name: str(shutil.move(folders[name], tmp_path / f'new_{name}')) for name in
             ('floor', 'glow')}  # fmt: skip
    wrong = {
        'floor': adapter(tmp_path / 'wrong', 'floor', 'mask', b'other numbers'),
        'glow': moved['glow'],
    }
    for settings in (
        asked(wrong, 'floor', 'glow'), asked(moved, 'glow', 'floor'), asked(moved, 'floor'),
    ):  # fmt: skip
        with pytest.raises(ValueError, match='was begun with adapters = '):
            go(Cheap(), settings, resume=True)
    result = go(Cheap(), asked(moved, 'floor', 'glow'), resume=True)
    assert 0 < result.processed < result.frames == COUNT
    assert out.read_bytes() == (tmp_path / 'whole.mcap').read_bytes()


def test_unknown_ground_truth_task_error_lists_adapter_tasks(folders, tmp_path):
    bag = bag_of(tmp_path / 'a')
    floor, every = asked(folders, 'floor'), asked(folders)
    with Bag(bag) as opened:
        cameras = choose(opened, ('/camera/image_raw',))
        source = GroundTruthSource(
            opened, 'glow=/truth/near', cameras, every.task_names, every.registry
        )
        with pytest.raises(ValueError, match='semantic, floor'):
            GroundTruthSource(
                opened, 'flor=/truth/floor', cameras, floor.task_names, floor.registry
            )
        with pytest.raises(ValueError, match='32FC1'):
            source.check(opened, ())


def test_the_processes_of_many_bags_are_given_the_adapters(folders):
    parser = argparse.ArgumentParser()
    VERBS['replay'].add_options(parser)
    given = ['a.mcap', '--out', 'x', '--adapters', *folders.values()]
    config = core_settings.from_arguments(ReplayConfig, parser.parse_args(given))
    options = core_settings.to_arguments(config, ('bags', 'out'))
    again = parser.parse_args(['a.mcap', '--out', 'x', *options])
    assert again.adapters == [*folders.values()]


# ---- with a network ---------------------------------------------------------------------------


@pytest.fixture
def real(tiny_folder, tmp_path):
    from adapter_fixtures import write_adapter

    found = {}
    for k, (name, kind) in enumerate(KINDS.items()):
        folder = tmp_path / 'real' / name
        found[name] = str(write_adapter(folder, tiny_folder, name, kind=kind, seed=k))
    return found


def test_the_command_writes_what_the_node_would_publish(real, tiny_folder, tmp_path, capsys):
    pytest.importorskip('pycocotools')
    from diception_ros.bags.typestore import TYPES
    from diception_ros.perception.predictor import Predictor

    resources.limit_threads(0, 'cpu')  # as the command does: with more, answers differ by rounding
    settings = asked(real, tasks=('depth', 'normal'), temporal__track_ids=True)
    perceiver, expected = Perceiver(Predictor.load(tiny_folder), MAKE, settings), []
    wanted = frozenset(one.topic for one in perceiver.outputs())
    bag = bag_of(tmp_path / 'a')
    for k in range(COUNT):
        stamp = BEGIN + k * 100_000_000
        header = make_header(MAKE, stamp, 'cam')
        info = camera_info.info(MAKE, recordings.PINHOLE, SIZE, header)
        frame = image_messages.frame_from(
            image_messages.image(MAKE, image(k), 'rgb8', header), info
        )
        prediction = perceiver.process(
            Query('', frame, header, info, settings.active_tasks, topics=wanted)
        )
        expected += [
            ('/perception/' + topic, one.__msgtype__, stamp + LATE,
             bytes(TYPES.serialize_cdr(one, one.__msgtype__)))
            for topic, one in prediction.messages
        ]  # fmt: skip
    out, report = tmp_path / 'out.mcap', tmp_path / 'report'
    adapters = [part for name in KINDS for part in ('--adapters', real[name])]
    code = main([
        'replay', str(bag), '--out', str(out), '--model', str(tiny_folder), *adapters,
        '--tasks', 'depth', 'normal', '--camera', '/camera/image_raw', '--report', str(report),
        '--truth', *(f'{task}=/truth/{task}' for task in KINDS),
    ])  # fmt: skip
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert everything(out) == expected
    content = json.loads((report / 'metrics.json').read_text())
    assert content['numbers'][''].keys() == set(KINDS)
    assert content['settings']['adapters'] == [real[name] for name in KINDS]
    assert '| mae ↓' in printed.out
    assert 'slant.mean_deg' in (report / 'frames.csv').read_text().splitlines()[0]
    assert 'floor (mask, ' in (report / 'index.html').read_text()
