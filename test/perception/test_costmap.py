# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cloud and scan of a known scene, and what costmap layers of nav2 make of them."""

from dataclasses import replace
import math

from floor_scenes import HEIGHT, LENS, SIZE, scene
import numpy as np
from perceiver_fixtures import MAKE, Canned, chosen, image, request, topics
import pytest

from diception_ros.core import settings
from diception_ros.core.frame import Frame
from diception_ros.core.geometry import to_disparity
from diception_ros.core.labels import Instances, MetricDepth, Normals
from diception_ros.messages import camera_info, make_header, point_clouds
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.settings import PerceptionSettings

TASKS = ('depth', 'semantic', 'normal')
WORDS = ('cup', 'box')
FRAME_ID = 'camera_optical_frame'


def run(stamp_ns=5, tasks=TASKS, topics=None, **changes):
    """A floor, a wall and a box of the category box, at their true size."""
    depth, normals, parts = scene(pitch=10, box=(1.5, 0.2))
    disparity, scale_shift = to_disparity(MetricDepth(depth))
    ids = np.isin(parts, (3, 4)).astype(np.int32)
    given = Canned(
        depth=disparity,
        normal=Normals(normals),
        entity=Instances((parts == 1).astype(np.int32), ('',), np.ones(1, np.float32)),
        semantic={
            'box': Instances(ids, ('box',), np.array([0.8], np.float32)),
            'cup': Instances(0 * ids, (), np.zeros(0, np.float32)),
        },
    )
    chosen_values = {
        'tasks': tuple(dict.fromkeys((*tasks, *TASKS))), 'depth__metric': 'fixed',
        'depth__scale': scale_shift.scale, 'depth__shift': scale_shift.shift,
        'semantic__categories': WORDS,
        **changes,
    }  # fmt: skip
    query = request(stamp_ns=stamp_ns, size=SIZE, tasks=tasks, topics=topics)
    header = make_header(MAKE, stamp_ns, FRAME_ID)
    query = replace(
        query, header=header, info=camera_info.info(MAKE, LENS, SIZE, header),
        frame=Frame(query.frame.image, stamp_ns, FRAME_ID, LENS),
    )  # fmt: skip
    return Perceiver(given, MAKE, chosen(**chosen_values)).process(query), depth, parts


def records(result):
    message = dict(result.messages)['points']
    return message, point_clouds.records_from(message)


class SemanticLayer:
    """What nav2's semantic segmentation layer does with its topics.

    Source: the callbacks and bufferSegmentation of kiwicampus/semantic_segmentation_layer.
    Messages are matched by stamp, one is refused whose number of pixels is not that of the cloud,
    and pixel v * width + u of label and confidence belongs to the point at this place.
    """

    def __init__(self):
        self.waiting, self.refused, self.observed = {}, [], []

    def receive(self, topic, message):
        stamp = message.header.stamp.sec, message.header.stamp.nanosec
        held = self.waiting.setdefault(stamp, {})
        held[topic] = message
        if len(held) == 3:
            del self.waiting[stamp]
            self.buffer(held['semantic/label'], held['semantic/confidence'], held['points'])

    def buffer(self, label, confidence, cloud):
        pixels = label.width * label.height
        if pixels != cloud.width * cloud.height or len(label.data) < pixels:
            self.refused.append('size')
            return
        points = point_clouds.records_from(cloud)
        for place in range(pixels):
            if np.isfinite(points['z'][place]) and label.data[place] < len(WORDS):
                self.observed.append((place, label.data[place], confidence.data[place]))


def test_semantic_layer_takes_label_confidence_and_cloud_as_they_are():
    layer = SemanticLayer()
    frames = [run(stamp_ns, points__edge_filter=True)[0] for stamp_ns in (5, 7)]
    # Of topics of their own, in any order.
    for topic in ('points', 'semantic/label', 'semantic/confidence'):
        for result in frames:
            layer.receive(topic, dict(result.messages)[topic])
    assert not layer.waiting
    assert not layer.refused
    _, _, parts = run()
    box = np.flatnonzero(np.isin(parts, (3, 4)).ravel())
    seen = {place for place, *_ in layer.observed}
    assert len(box) >= len(seen) > 0.9 * len(box)
    assert seen <= set(box.tolist())
    # 'box' is number 1 of the label map, and its score .8.
    assert {(label, confidence) for _, label, confidence in layer.observed} == {(1, 204)}
    headers = [dict(frames[0].messages)[topic].header for topic in
               ('points', 'semantic/label', 'semantic/confidence')]  # fmt: skip
    assert headers[0] == headers[1] == headers[2]


def test_semantic_layer_refuses_a_thinned_cloud():
    layer = SemanticLayer()
    for topic, message in run(points__stride=2)[0].messages:
        if topic in ('points', 'semantic/label', 'semantic/confidence'):
            layer.receive(topic, message)
    assert layer.refused == ['size']


@pytest.mark.parametrize('tasks', [TASKS, ('depth', 'entity', 'semantic', 'normal')])
def test_label_and_instance_of_the_cloud_are_those_of_the_semantic_maps(tasks):
    result, _, parts = run(tasks=tasks)
    _, points = records(result)
    np.testing.assert_array_equal(points['label'], image(result, 'semantic/label').ravel())
    np.testing.assert_array_equal(points['instance'], image(result, 'semantic/instances').ravel())
    assert set(points['label'][np.isin(parts, (3, 4)).ravel()]) == {1}


def test_voxel_layer_marks_the_box_and_the_wall_but_no_floor():
    result, depth, parts = run(points__ground='drop')
    _, points = records(result)
    left = np.isfinite(points['z']).reshape(SIZE)
    assert not left[parts == 1].any()
    assert left[parts == 4].all()
    assert left[(parts == 2)].mean() > 0.95
    counts = result.cloud
    assert counts.pop('ground_height') == pytest.approx(HEIGHT, rel=0.01)
    assert sum(counts.values()) == depth.size
    assert counts['ground'] >= np.count_nonzero(parts == 1)


@pytest.mark.parametrize(('name', 'kept'), [('keep', (3, 4)), ('drop', (1, 2))])
def test_classes_are_kept_or_dropped_by_their_words(name, kept):
    result, _, parts = run(**{f'points__{name}_classes': ['box']})
    _, points = records(result)
    np.testing.assert_array_equal(np.isfinite(points['z']), np.isin(parts, kept).ravel())
    # Without the categories of this frame no cloud and no scan is better than a wrong one.
    result, *_ = run(tasks=('depth', 'normal'), **{f'points__{name}_classes': ['box']})
    assert not {'points', 'scan'} & set(topics(result))
    assert [note.kind for note in result.notes] == ['no classes']


def test_scan_sees_the_box_and_not_the_floor():
    result, _, _ = run(topics=['scan'])
    scan = dict(result.messages)['scan']
    assert (scan.header.frame_id, scan.header.stamp.nanosec) == ('camera_frame', 5)
    angles = scan.angle_min + scan.angle_increment * np.arange(len(scan.ranges))
    assert scan.angle_max == pytest.approx(angles[-1])
    # In the camera's plane, which is tilted by 10 degrees; the foot of the box is the nearest.
    nearest = np.cos(np.radians(10)) * 1.5 + np.sin(np.radians(10)) * (HEIGHT - 0.2)
    ahead = scan.ranges[np.abs(angles) < 0.05] * np.cos(angles[np.abs(angles) < 0.05])
    assert ahead == pytest.approx(nearest, rel=0.02)
    assert (scan.ranges[np.abs(angles) > 0.2] > 3.5).all()
    assert topics(result) == ['scan']
    assert result.cloud['kept'] > 0


def test_scan_leaves_out_what_is_above_the_robot():
    low, *_ = run(topics=['scan'], scan__height_max=0.15)
    ranges = dict(low.messages)['scan'].ranges
    assert np.isfinite(ranges).any()
    high, *_ = run(topics=['scan'])
    nearer = dict(high.messages)['scan'].ranges
    assert (nearer <= ranges).all()
    assert (nearer < ranges).any()


def test_scan_needs_a_frame_with_its_axes():
    result, *_ = run(topics=['scan'])
    assert result.notes == []
    prediction = Perceiver(
        Canned(depth=to_disparity(MetricDepth(scene()[0]))[0]), MAKE,
        chosen(tasks=['depth'], depth__metric='fixed', depth__scale=1.0),
    ).process(request(size=SIZE, tasks=['depth'], topics=['scan']))  # fmt: skip
    assert topics(prediction) == []
    assert [note.kind for note in prediction.notes] == ['scan frame']
    assert 'scan.frame' in prediction.notes[0].text


def test_height_of_the_camera_gives_metres_whatever_the_order_of_the_tasks():
    for tasks in (TASKS, TASKS[::-1]):
        result, depth, _ = run(
            tasks=tasks, depth__metric='height', depth__camera_height=HEIGHT, depth__scale=0.0
        )
        np.testing.assert_allclose(image(result, 'depth/image'), depth, rtol=2e-3)
        assert result.fit.ok


def test_metric_height_without_normals_adds_a_note():
    one = Perceiver(
        Canned(), MAKE, chosen(depth__metric='height', depth__camera_height=0.5, tasks=TASKS)
    )
    needed = one.tasks_for_topics(frozenset(['depth/image']))
    assert [task.name for task in needed] == ['depth', 'normal']
    result, *_ = run(
        tasks=('depth', 'semantic'), depth__metric='height', depth__camera_height=HEIGHT
    )
    assert 'depth/image' not in topics(result)
    assert [note.kind for note in result.notes] == ['gravity', 'no normals']


@pytest.mark.parametrize(
    ('changes', 'problem'),
    [
        ({'depth__metric': 'height', 'tasks': ['depth', 'normal']}, 'depth.camera_height 0'),
        (
            {'depth__metric': 'height', 'depth__camera_height': 1.0, 'tasks': ['depth']},
            'no normal',
        ),
        ({'points__keep_classes': ['dog']}, "'dog'; expected some of semantic.categories"),
        ({'points__keep_classes': ['cat'], 'tasks': ['depth']}, 'tasks has no semantic'),
        ({'points__keep_classes': ['cat'], 'points__drop_classes': ['cat']}, 'use one'),
        ({'points__gravity': '0 0 0'}, 'three numbers'),
        ({'points__gravity': 'down'}, 'three numbers'),
        ({'points__range_max': 1.0, 'points__range_min': 2.0}, 'more than points.range_min'),
    ],
)
def test_settings_that_do_not_fit_together(changes, problem):
    with pytest.raises(ValueError, match=problem):
        chosen(**changes)


NUMBERS = [one for one in settings.declared(PerceptionSettings) if one.kind in (int, float)]


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('one', NUMBERS, ids=lambda one: one.name)
def test_every_number_at_its_ends_is_refused_by_name_or_calculated_with(one):
    more = {'points__ground': 'drop', 'points__edge_filter': True, 'points__voxel': 0.1}
    if one.name == 'depth.camera_height':
        more['depth__metric'] = 'height'
    values = {one.low, one.high, -1, 2**63}
    if one.kind is float:
        values |= {5e-324, 1e-300, -0.0, 1e308, math.inf, -math.inf, math.nan}
    problems = []
    for value in values - {None}:
        try:
            run(**{**more, one.name.replace('.', '__'): value})
        except ValueError as error:
            problems.append(str(error))
    assert all(one.name in problem for problem in problems)
    assert problems


def test_filters_change_between_two_frames():
    depth, normals, _ = scene(pitch=10)
    given = Canned(depth=to_disparity(MetricDepth(depth))[0], normal=Normals(normals))
    names = ['depth', 'normal']
    changes = {'tasks': names, 'depth__metric': 'fixed', 'depth__scale': 1.0}
    one = Perceiver(given, MAKE, chosen(**changes))
    query = request(size=SIZE, tasks=names, topics=['points'])
    sizes = []
    for more in ({}, {'points__stride': 2}, {'points__voxel': 0.1}, {}):
        one.change(chosen(**changes, **more))
        sizes.append(len(dict(one.process(query).messages)['points'].data))
    assert sizes[1] * 4 == sizes[0] == sizes[3]
    assert 0 < sizes[2] < sizes[0]
