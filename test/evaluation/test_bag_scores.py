# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Right answers score as right, wherever the truth comes from; what stays does not change."""

import json
from pathlib import Path

import numpy as np
import pytest
import recordings
from recordings import BEGIN, LATE, MAKE, SIZE, image, write
from surfaces import normals_from

from diception_ros.bag_replay import run
from diception_ros.bag_replay.run import Job
from diception_ros.bags.frames import choose
from diception_ros.bags.reader import Bag
from diception_ros.core import geometry
from diception_ros.core.frame import Frame, Intrinsics, Transform
from diception_ros.core.labels import Disparity, Instances, MetricDepth, save_npz
from diception_ros.datasets.ground_truth import GroundTruthSource, poses_of
from diception_ros.evaluation import bag_scores
from diception_ros.evaluation.bag_scores import FrameState, ScaleShiftFitter, TemporalConsistency
from diception_ros.messages import images as image_messages
from diception_ros.messages import make_header, point_clouds, poses
from diception_ros.reporting import html_report
from diception_ros.reporting.tables import write_csv, write_json

TASKS = ('depth', 'normal', 'entity', 'semantic', 'pose')
COUNT = 5


def said(task, k):
    """What the cheap model answers to the k-th image."""
    from diception_ros.core.prompt import Prompt

    prompt = Prompt(task, 'person' if task == 'semantic' else None)
    return recordings.prediction(Frame(image(k)), prompt)


def metres(k, scale=0.4, shift=0.1):
    return geometry.to_metric(said('depth', k), geometry.ScaleShift(scale, shift))


def truths(k, header):
    """Messages that tell the very answers."""
    yield '/truth/depth', image_messages.image(MAKE, metres(k).values, '32FC1', header)
    yield '/truth/normal', image_messages.image(MAKE, said('normal', k).vectors, '32FC3', header)
    ids = said('entity', k).ids.astype(np.uint16) * 3  # numbers need not be dense
    yield '/truth/entity', image_messages.image(MAKE, ids, '16UC1', header)
    persons = np.where(said('semantic', k).ids > 0, 0, 255).astype(np.uint8)
    yield '/truth/semantic', image_messages.image(MAKE, persons, 'mono8', header)
    yield (
        '/truth/pose',
        point_clouds.joint_cloud(MAKE, point_clouds.joints_of(said('pose', k)), header),
    )


@pytest.fixture
def bag(tmp_path):
    messages = [*recordings.recorded(COUNT)]
    for k in range(COUNT):
        stamp = BEGIN + k * 100_000_000
        header = make_header(MAKE, stamp + 1_000_000, 'cam')
        messages += [(topic, one, stamp + LATE + 50_000_000) for topic, one in truths(k, header)]
    return write(tmp_path / 'bag', sorted(messages, key=lambda one: one[2]))


def judged(bag, tmp_path, truth, align='frame', callbacks=(), **job):
    asked = recordings.asked(
        tasks=TASKS, semantic__categories=('person',), temporal__track_ids=False
    )
    job = Job(tmp_path / 'out.mcap', cameras=('/camera/image_raw',), force=True, **job)
    from diception_ros.perception.perceiver import Perceiver

    with Bag(bag) as opened:
        cameras = choose(opened, job.cameras)
        result = run.replay(opened, Perceiver(recordings.Cheap(), MAKE, asked), job)
        sources = [GroundTruthSource(opened, text, cameras, asked.tasks) for text in truth]
        where = poses_of(opened, cameras, ())
    found = bag_scores.score(bag, job.out, cameras, job, asked, sources, where, align, callbacks)
    return found, result, job, asked


def perfect(numbers):
    assert numbers['depth']['abs_rel'] < 1e-4
    assert numbers['depth']['delta1'] == 1
    assert numbers['normal']['mean_deg'] < 0.1
    assert numbers['entity']['mean_iou'] == 1
    assert numbers['semantic']['iou_person'] == 1
    assert numbers['pose']['pck'] == 1


ALL = [f'{task}=/truth/{task}' for task in TASKS]


@pytest.mark.parametrize('align', ['frame', 'bag'])
def test_equal_predictions_are_perfect(bag, tmp_path, align):
    pytest.importorskip('pycocotools')
    found, *_ = judged(bag, tmp_path, ALL, align)
    perfect(found.numbers[''])
    assert len(found.rows) == COUNT
    assert [row['stamp_ns'] for row in found.rows] == [
        BEGIN + k * 100_000_000 for k in range(COUNT)
    ]
    assert found.missing == {'': {}}
    if align == 'bag':
        assert found.scale_shift[''] == pytest.approx([0.4, 0.1], rel=1e-4)


def test_one_scale_for_the_bag_is_worse_than_one_for_each_frame(bag, tmp_path):
    messages = [*recordings.recorded(COUNT)]
    for k in range(COUNT):
        header = make_header(MAKE, BEGIN + k * 100_000_000, 'cam')
        depth = metres(k, 0.2 + 0.1 * k, 0.1)
        message = image_messages.image(MAKE, depth.values, '32FC1', header)
        messages.append(('/truth/depth', message, BEGIN + k * 100_000_000 + LATE))
    path = write(tmp_path / 'b', sorted(messages, key=lambda one: one[2]))
    each, whole = (
        judged(path, tmp_path, ['depth=/truth/depth'], align)[0].numbers['']['depth']['abs_rel']
        for align in ('frame', 'bag')
    )
    assert each < 1e-4
    assert whole > 0.05


def test_a_part_of_the_frames_is_scored_with_its_own_truth(bag, tmp_path):
    found, *_ = judged(bag, tmp_path, ['depth=/truth/depth'], every=2, start_s=0.05)
    assert len(found.rows) == 2
    assert found.numbers['']['depth']['abs_rel'] < 1e-4


@pytest.mark.parametrize('names', ['stamps', 'order'])
def test_truth_in_folders(bag, tmp_path, names):
    folders = {}
    for task, end in (('depth', 'png'), ('normal', 'npz'), ('entity', 'npy')):
        folder = tmp_path / f'{task}_truth'
        folder.mkdir()
        folders[task] = folder
        for k in range(COUNT):
            stem = str(BEGIN + k * 100_000_000) if names == 'stamps' else f'{k:03d}'
            path = folder / f'{stem}.{end}'
            if end == 'png':
                import cv2

                cv2.imwrite(
                    str(path), np.nan_to_num(np.round(metres(k).values * 1000)).astype(np.uint16)
                )
            elif end == 'npz':
                save_npz(said(task, k), path)
            else:
                np.save(path, said(task, k).ids)
    found, *_ = judged(bag, tmp_path, [f'{task}={folder}' for task, folder in folders.items()])
    numbers = found.numbers['']
    assert numbers['depth']['abs_rel'] < 1e-2  # millimetres
    assert numbers['normal']['mean_deg'] < 0.1
    assert numbers['entity']['mean_iou'] == 1


def test_truth_of_another_size_is_compared_where_it_is(bag, tmp_path):
    messages = [*recordings.recorded(COUNT)]
    for k in range(COUNT):
        header = make_header(MAKE, BEGIN + k * 100_000_000, 'cam')
        small = np.ascontiguousarray(metres(k).values[1::2, 1::2])
        message = image_messages.image(MAKE, small, '32FC1', header)
        messages.append(('/truth/depth', message, BEGIN + k * 100_000_000 + LATE))
    path = write(tmp_path / 'b', sorted(messages, key=lambda one: one[2]))
    found, *_ = judged(path, tmp_path, ['depth=/truth/depth'])
    assert found.numbers['']['depth']['abs_rel'] < 1e-4


def test_unused_ids_are_no_people(bag, tmp_path):
    pytest.importorskip('pycocotools')
    messages = [*recordings.recorded(COUNT)]
    people = 0
    for k in range(COUNT):
        header = make_header(MAKE, BEGIN + k * 100_000_000, 'cam')
        joints = point_clouds.joints_of(said('pose', k))
        people += len(np.unique(joints['instance']))
        joints['instance'] = joints['instance'] * 7 + 20  # as of all things of a scene
        away = joints[:1].copy()
        away['instance'], away['u'], away['visibility'], away['score'] = 300, np.nan, 0, 0
        message = point_clouds.joint_cloud(MAKE, np.concatenate([joints, away]), header)
        messages.append(('/truth/pose', message, BEGIN + k * 100_000_000 + LATE))
    path = write(tmp_path / 'b', sorted(messages, key=lambda one: one[2]))
    found, *_ = judged(path, tmp_path, ['pose=/truth/pose'])
    dense, *_ = judged(bag, tmp_path, ['pose=/truth/pose'])
    assert found.numbers['']['pose'] == dense.numbers['']['pose']
    assert found.numbers['']['pose']['people'] == people > 0
    assert found.numbers['']['pose']['ignored'] == 0


def test_missing_truths_are_counted(bag, tmp_path):
    folder = tmp_path / 'some'
    folder.mkdir()
    save_npz(metres(2), folder / f'{BEGIN + 200_000_000}.npz')
    found, *_ = judged(bag, tmp_path, [f'depth={folder}'])
    assert found.missing['']['depth'] == COUNT - 1
    assert found.numbers['']['depth']['images'] == 1


@pytest.mark.parametrize(('text', 'says'), [
    ('depth', 'TASK=TOPIC'), ('dept=/truth/depth', 'TASK=TOPIC'), ('depth=/nothing', 'neither'),
    ('segmentation=/truth/depth', 'not among --tasks'), ('depth=/truth/pose', 'PointCloud2'),
    ('rear.depth=/truth/depth', "no camera 'rear'"),
])  # fmt: skip
def test_truths_that_are_none_are_refused(bag, text, says):
    with Bag(bag) as opened, pytest.raises(ValueError, match=says):
        GroundTruthSource(opened, text, choose(opened, ['/camera/image_raw']), TASKS)


def test_ground_truth_of_another_kind_raises_before_the_run(bag, tmp_path):
    np.save(tmp_path / '1.npy', np.zeros((4, 4), np.int32))
    with Bag(bag) as opened:
        cameras = choose(opened, ['/camera/image_raw'])
        for text, says in (
            ('depth=/truth/normal', '16UC1'), ('normal=/truth/depth', '32FC3'),
            ('entity=/truth/depth', 'whole numbers'), (f'depth={tmp_path}', '16UC1'),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=says):
                GroundTruthSource(opened, text, cameras, TASKS).check(opened, ('person',))
        for text in ALL:
            GroundTruthSource(opened, text, cameras, TASKS).check(opened, ('person',))


def test_results_are_written_as_json_and_csv(bag, tmp_path):
    found, result, job, asked = judged(bag, tmp_path, ['depth=/truth/depth'])
    found.rows = html_report.with_journal(found.rows, result.journal)
    folder = tmp_path / 'model'
    folder.mkdir()
    content = html_report.metrics(
        bag, job, asked, ('m', folder), result, found, 'frame', ['depth=/truth/depth']
    )
    write_json(tmp_path / 'metrics.json', content)
    read = json.loads((tmp_path / 'metrics.json').read_text())
    assert set(read) == {
        'format', 'kind', 'bag', 'out', 'model', 'adapters', 'settings', 'options', 'cameras',
        'frames', 'skipped', 'damage', 'notes', 'align', 'numbers', 'stability', 'warped',
        'scale_shift', 'missing_truth', 'speed', 'versions',
    }  # fmt: skip
    page = Path(__file__).parents[2] / 'docs' / 'replay.md'
    for name in (*read, *read['speed'], *read['options']):
        assert f'`{name}`' in page.read_text(), name
    assert read['settings']['seed'] == 42
    assert read['speed']['model_s']['p50'] > 0
    write_csv(tmp_path / 'frames.csv', found.rows)
    lines = (tmp_path / 'frames.csv').read_text().splitlines()
    assert len(lines) == COUNT + 1
    assert lines[0].startswith('camera,stamp_ns,log_ns,model_s,messages_s,depth.abs_rel')


def moment(image, predictions, pose=None, depth=None, pinhole=recordings.PINHOLE):
    return FrameState(Frame(image, 0, 'cam', pinhole), predictions, pose, depth)


def test_temporal_consistency_is_perfect_where_static_and_masks_motion():
    rng = np.random.default_rng(0)
    image = np.full((*SIZE, 3), 100, np.uint8)
    moved = image.copy()
    moved[:, 16:] = 200
    values = rng.random(SIZE).astype(np.float32)
    other = values.copy()
    other[:, 20:] = 0
    stability = TemporalConsistency()
    assert stability.update(moment(image, {'depth': Disparity(values)})) == {}
    found = stability.update(moment(moved, {'depth': Disparity(other)}))
    assert found['depth']['change'] == 0
    assert 0.3 < found['depth']['compared'] < 0.5
    found = stability.update(moment(moved, {'depth': Disparity(values)}))
    assert found['depth']['change'] == pytest.approx(np.abs(other - values).mean(), rel=1e-5)


def plane(pose, normal, offset, size, pinhole):
    """Depth and normals of the plane n . P = offset (world) as a camera sees it."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    rays = np.stack([(columns - pinhole.cx) / pinhole.fx, (rows - pinhole.cy) / pinhole.fy,
                     np.ones(size)], axis=-1)  # fmt: skip
    world = rays @ pose.rotation.T
    depth = (offset - pose.translation @ normal) / (world @ normal)
    return MetricDepth(depth.astype(np.float32))


def test_the_motion_of_the_camera_is_no_change():
    size, pinhole = (40, 60), Intrinsics(60, 60, 29.5, 19.5)
    angle = 0.05
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    wheres = [Transform(np.eye(3), np.zeros(3)), Transform(turn, np.array([0.2, 0.05, 0.3])),
              Transform(turn @ turn, np.array([0.3, 0.15, 0.4]))]  # fmt: skip
    normal = np.array([0.3, 0.1, 1.0])
    stability, still = TemporalConsistency(), TemporalConsistency()
    for where in wheres:
        depth = plane(where, normal, 3.0, size, pinhole)
        prediction = geometry.to_disparity(depth)[0]
        normals = normals_from(depth, pinhole)
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        predictions = {'depth': prediction, 'normal': normals}
        found = stability.update(moment(noise, predictions, where, depth, pinhole))
        alone = still.update(moment(np.zeros_like(noise), predictions, None, None, pinhole))
    assert found['depth']['change_depth'] < 5e-3
    assert found['normal']['change_deg'] < 0.5
    assert found['depth']['compared'] > 0.7
    # Without the poses, the same pixels show other places.
    assert alone['normal']['change_deg'] > 2


def test_temporal_consistency_masks_disoccluded_pixels():
    where = Transform(np.eye(3), np.zeros(3))
    far = MetricDepth(np.full(SIZE, 3, np.float32))
    near = far.values.copy()
    near[:, :8] = 1
    image = np.zeros((*SIZE, 3), np.uint8)
    rng = np.random.default_rng(0)
    stability = TemporalConsistency()
    predictions = {'entity': Instances(rng.integers(0, 2, SIZE).astype(np.int32), ('',),
                                   np.ones(1, np.float32))}  # fmt: skip
    stability.update(moment(image, predictions, where, MetricDepth(near)))
    found = stability.update(moment(image, predictions, where, far))
    assert found['entity']['compared'] == 0.75
    assert found['entity']['label_consistency'] == 1


def test_truths_of_other_moments_do_not_count(tmp_path):
    messages = [*recordings.recorded(3, period_s=1)]
    for k, off in enumerate((40_000_000, 60_000_000, -60_000_000)):
        stamp = BEGIN + k * 1_000_000_000 + off
        depth = image_messages.image(
            MAKE, metres(k).values, '32FC1', make_header(MAKE, stamp, 'cam')
        )
        messages.append(('/truth/depth', depth, stamp + LATE))
    path = write(tmp_path / 'b', sorted(messages, key=lambda one: one[2]))
    found, *_ = judged(path, tmp_path, ['depth=/truth/depth'])
    assert found.missing == {'': {'depth': 2}}
    assert found.numbers['']['depth']['abs_rel'] < 1e-4


def test_predictions_cut_off_at_0_do_not_bend_the_scale_of_the_bag():
    values = np.linspace(-0.2, 0.9, 100, dtype=np.float32).reshape(10, 10)
    depth = MetricDepth((1 / (0.5 * values + 0.3)).astype(np.float32))
    scale_shifts = ScaleShiftFitter()
    scale_shifts.update('', {'depth': Disparity(np.maximum(values, 0))}, {'depth': depth})
    assert scale_shifts.compute()['', 'depth'] == pytest.approx((0.5, 0.3), rel=1e-4)


def test_a_pose_in_the_bag_is_used(tmp_path):
    messages = [*recordings.recorded(3)]
    for k in range(3):
        stamp = BEGIN + k * 100_000_000
        header = make_header(MAKE, stamp, 'map')
        pose = poses.pose_stamped(MAKE, np.array([0.0, 0, k * 0.01]), np.eye(3), header)
        messages.append(('/camera/pose', pose, stamp + LATE))
        header = make_header(MAKE, stamp, 'cam')
        depth = image_messages.image(MAKE, metres(k).values, '32FC1', header)
        messages.append(('/truth/depth', depth, stamp + LATE))
    path = write(tmp_path / 'b', sorted(messages, key=lambda one: one[2]))
    found, *_ = judged(path, tmp_path, ['depth=/truth/depth'])
    assert found.warped == {'': 2}
    assert 'change_depth' in found.stability['']['depth']
    found, *_ = judged(path, tmp_path, [])
    assert found.warped == {'': 0}
    assert found.stability == {'': {}}  # the images have no colour in common
