# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Results become the declared messages, with the frame's header and no value changed."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from random_labels import assert_same
from surfaces import normals_from
from task_examples import example

from diception_ros import tasks
from diception_ros.bags.typestore import BagTypes
from diception_ros.core.adapter_card import Card
from diception_ros.core.frame import Frame, Intrinsics
from diception_ros.core.geometry import ScaleShift, to_metric
from diception_ros.core.images import ResizeTransform
from diception_ros.core.labels import Disparity, Instances, Keypoints, Mask, MetricDepth, Normals
from diception_ros.messages import camera_info, make_header, outputs, point_clouds, stamp_of
from diception_ros.messages import images as image_messages

SIZE, SIDE = (90, 160), 128
TYPES = BagTypes()
HEADER = make_header(TYPES, 5, 'cam')
LENS = Intrinsics(140.0, 150.0, 80.0, 44.0)
INFO = camera_info.info(TYPES, LENS, SIZE, make_header(TYPES, 3, 'other'))
CATEGORIES = ('cat', 'person', 'cup')
KINDS = ('Disparity', 'MetricDepth', 'Normals', 'Mask', 'Instances', 'ImageLabel', 'Keypoints')


class WithoutVision(BagTypes):
    def has(self, kind):
        return not kind.startswith('vision_msgs') and super().has(kind)


def frame():
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    return Frame(image, 5, 'cam', LENS)


def label_of(task, at_camera=True, seed=0):
    label = example(task, np.random.default_rng(seed), SIDE)
    return label.to_image_size(ResizeTransform(SIZE, SIDE)) if at_camera else label


def made(task, label, wanted=None, types=TYPES, **more):
    if wanted is None:
        wanted = [one.topic for one in outputs.declared(task, types, type(label))]
    more = {'info': INFO, 'categories': CATEGORIES, **more}
    return dict(outputs.from_label(types, task, label, HEADER, frame(), wanted, **more))


# The kind of prediction that no task has by itself.
GLOW = tasks.adapter_task(
    Card('glow', '[[image2segmentation]] glow', 'rgb', 'x', '0' * 64, 1, 1, 0.01)
)
EVERY = [*map(tasks.get, tasks.names()), GLOW]
every_task = pytest.mark.parametrize('task', EVERY, ids=[task.name for task in EVERY])
both_sizes = pytest.mark.parametrize('at_camera', [True, False], ids=['camera', 'model'])


def test_declared_topics_of_each_task():
    topics = {name: [one.topic for one in outputs.declared(tasks.get(name), TYPES)]
              for name in tasks.names()}  # fmt: skip
    assert topics == {
        'depth': ['disparity/image', 'depth/color'],
        'normal': ['normal/image', 'normal/camera_info', 'normal/color'],
        'segmentation': ['segmentation/mask', 'segmentation/camera_info', 'segmentation/overlay'],
        'semantic': [
            'semantic/label', 'semantic/confidence', 'semantic/instances', 'semantic/camera_info',
            'semantic/label_info', 'semantic/detections', 'semantic/color', 'semantic/overlay',
        ],
        'entity': ['entity/label', 'entity/confidence', 'entity/camera_info', 'entity/detections',
                   'entity/color', 'entity/overlay'],
        'pose': ['pose/keypoints', 'pose/detections', 'pose/overlay'],
    }  # fmt: skip
    metric = outputs.declared(tasks.get('depth'), TYPES, MetricDepth)
    assert [one.topic for one in metric] == ['depth/image', 'depth/camera_info']
    every = [one for name in tasks.names() for one in outputs.declared(tasks.get(name), TYPES)]
    assert {one.topic for one in every if one.latched} == {'semantic/label_info'}
    for one in every:
        assert one.view == one.topic.endswith(('color', 'overlay'))


def test_declared_without_vision_msgs():
    for name in tasks.names():
        task = tasks.get(name)
        less = outputs.declared(task, WithoutVision())
        more = outputs.declared(task, TYPES)
        assert less == [one for one in more if not one.kind.startswith('vision_msgs')]
        got = made(task, label_of(task), wanted=[one.topic for one in more], types=WithoutVision())
        assert list(got) == [one.topic for one in less if not one.latched]
        assert outputs.from_settings(WithoutVision(), task, CATEGORIES) == []


@every_task
@pytest.mark.parametrize('types', [TYPES, WithoutVision()], ids=['vision_msgs', 'without'])
def test_to_label_reads_what_from_label_made(task, types):
    label = label_of(task)
    if isinstance(label, Instances):
        scores = np.random.default_rng(0).random(len(label.scores), np.float32)
        label = replace(label, scores=scores)
    wanted = [one.topic for one in outputs.declared(task, types)]
    messages = {**made(task, label, wanted, types), 'size': SIZE}
    read = outputs.to_label(task, messages, CATEGORIES)
    if isinstance(label, Instances):  # one without pixels is in no message
        count = int(label.ids.max())
        owned = label.areas[:count] > 0
        np.testing.assert_array_equal(read.ids, label.ids)
        names = np.array(label.categories[:count])
        assert (np.array(read.categories)[owned] == names[owned]).all()
        near = 1e-6 if types is TYPES else 0.5 / 255 + 1e-6  # confidence maps have 8 bits
        np.testing.assert_allclose(read.scores[owned], label.scores[:count][owned], atol=near)
    elif isinstance(label, Mask):
        np.testing.assert_array_equal(read.values, label.values)
    else:
        near = 0.5 / 255 + 1e-6 if task is GLOW else 1e-6
        assert_same(label, read, atol=near)
    assert outputs.to_label(task, {'size': SIZE}, CATEGORIES) is None


@every_task
@both_sizes
def test_from_label_makes_the_declared_messages(task, at_camera):
    announced = [one for one in outputs.declared(task, TYPES) if not one.latched]
    got = made(task, label_of(task, at_camera))
    assert list(got) == [one.topic for one in announced]
    for one in announced:
        message = got[one.topic]
        assert message.__msgtype__ == one.kind
        assert message.header is HEADER
        for detection in getattr(message, 'detections', ()):
            assert detection.header is HEADER
        if one.kind == outputs.IMAGE:
            assert (message.height, message.width) == (SIZE if at_camera else (SIDE, SIDE))
        if one.view:
            assert message.encoding == 'rgb8'


@every_task
def test_from_label_makes_only_wanted_messages(task, monkeypatch):
    label = label_of(task)
    announced = outputs.declared(task, TYPES)
    for kind in (Disparity, Normals, Mask, Instances, Keypoints):
        monkeypatch.setattr(kind, 'preview', None)  # drawing would fail
    plain = [one.topic for one in announced if not (one.view or one.latched)]
    assert list(made(task, label, plain)) == plain
    for one in plain:
        assert list(made(task, label, {one, 'points', 'depth/image'})) == [one]
    assert made(task, label, ()) == {}


@every_task
def test_from_label_without_a_camera_info(task):
    label = label_of(task)
    with_info, without = made(task, label), made(task, label, info=None)
    assert set(with_info) - set(without) == {t for t in with_info if t.endswith('camera_info')}


@both_sizes
def test_camera_info_has_the_size_of_its_image(at_camera):
    for name in ('normal', 'entity', 'segmentation', 'semantic'):
        task = tasks.get(name)
        got = made(task, label_of(task, at_camera))
        info = got[f'{name}/camera_info']
        image = got[next(iter(got))]
        assert (info.height, info.width) == (image.height, image.width)
        want = LENS if at_camera else LENS.to_model(ResizeTransform(SIZE, SIDE))
        found = camera_info.intrinsics_from(info)
        np.testing.assert_allclose(
            [found.fx, found.fy, found.cx, found.cy], [want.fx, want.fy, want.cx, want.cy]
        )


def test_relative_depth_is_never_published_as_metric():
    task = tasks.get('depth')
    label = label_of(task)
    everything = ['disparity/image', 'depth/image', 'depth/camera_info', 'depth/color', 'points']
    got = made(task, label, everything)
    assert list(got) == ['disparity/image', 'depth/color']
    assert got['disparity/image'].encoding == '32FC1'
    values = image_messages.array_from(got['disparity/image'])
    np.testing.assert_array_equal(values, label.values)
    assert np.isnan(values).any()


def test_metric_depth_is_in_metres_with_nan_where_unknown():
    task = tasks.get('depth')
    depth = to_metric(label_of(task), ScaleShift(1.0, 0.2))
    got = made(task, depth, ['disparity/image', 'depth/image', 'depth/camera_info', 'depth/color'])
    assert list(got) == ['depth/image', 'depth/camera_info']
    assert got['depth/image'].encoding == '32FC1'
    values = image_messages.array_from(got['depth/image'])
    np.testing.assert_array_equal(values, depth.values)
    assert np.isnan(values).any()
    assert camera_info.intrinsics_from(got['depth/camera_info']) == LENS


def test_normals_are_unit_vectors_towards_the_camera():
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.uniform(0, 0.01, SIZE), axis=1).astype(np.float32) + 1
    values[5, 5] = np.nan
    label = normals_from(MetricDepth(values), LENS)
    message = made(tasks.get('normal'), label)['normal/image']
    assert message.encoding == '32FC3'
    vectors = image_messages.array_from(message)
    np.testing.assert_array_equal(vectors, label.vectors)
    known = ~np.isnan(vectors[..., 0])
    assert not known[5, 5]
    np.testing.assert_allclose(np.linalg.norm(vectors[known], axis=-1), 1, atol=1e-5)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack([(u - LENS.cx) / LENS.fx, (v - LENS.cy) / LENS.fy, np.ones(SIZE)], axis=-1)
    assert ((vectors * rays).sum(axis=-1)[known] < 0).all()


def test_mask_is_0_and_255():
    label = label_of(tasks.get('segmentation'))
    message = made(tasks.get('segmentation'), label)['segmentation/mask']
    assert message.encoding == 'mono8'
    np.testing.assert_array_equal(
        image_messages.array_from(message), np.where(label.values, 255, 0)
    )


@both_sizes
def test_instance_ids_are_never_interpolated(at_camera):
    task = tasks.get('entity')
    small = label_of(task, at_camera=False)
    label = label_of(task, at_camera)
    message = made(task, label)['entity/label']
    assert message.encoding == '16UC1'
    ids = image_messages.array_from(message)
    np.testing.assert_array_equal(ids, label.ids)
    assert set(np.unique(ids)) <= set(np.unique(small.ids))
    # Each pixel has the number of the pixel of the model's square that its centre falls into.
    rows = ((np.arange(ids.shape[0]) + 0.5) * SIDE / ids.shape[0]).astype(int)
    columns = ((np.arange(ids.shape[1]) + 0.5) * SIDE / ids.shape[1]).astype(int)
    np.testing.assert_array_equal(ids, small.ids[rows[:, None], columns])


def test_images_have_8_bits_and_a_camera_info():
    label = label_of(GLOW)
    got = made(GLOW, label)
    assert list(got) == ['glow/image', 'glow/camera_info']
    assert got['glow/image'].encoding == 'rgb8'
    found = image_messages.array_from(got['glow/image'])
    np.testing.assert_array_equal(found, np.rint(label.values * 255).astype(np.uint8))
    # It is no view: it goes out where images for eyes are left out.
    assert not outputs.declared(GLOW, TYPES)[0].view


def things():
    # The second owns no pixel; the fourth lies in the corner.
    ids = np.zeros(SIZE, np.int32)
    ids[10:20, 30:50], ids[40:44, 5:6], ids[-1, -1] = 1, 3, 4
    names = ('person', 'cat', 'cup', 'person')
    return Instances(ids, names, np.array([0.5, 1, 0.25, 0.75], np.float32))


def boxes_of(message):
    """Columns and rows that the boxes reach over: pixel centres at whole numbers."""
    for one in message.detections:
        centre, size = one.bbox.center.position, (one.bbox.size_x, one.bbox.size_y)
        low = np.array([centre.x, centre.y]) - np.array(size) / 2
        yield int(one.id), one, low, low + size


@pytest.mark.parametrize('name', ['entity', 'semantic'])
def test_boxes_enclose_the_pixels_of_their_instance(name):
    label = things()
    got = made(tasks.get(name), label)
    ids = image_messages.array_from(
        got['entity/label' if name == 'entity' else 'semantic/instances']
    )
    found = list(boxes_of(got[f'{name}/detections']))
    assert [number for number, *_ in found] == [1, 3, 4]
    for number, one, low, high in found:
        rows, columns = np.nonzero(ids == number)
        np.testing.assert_allclose(low, [columns.min() - 0.5, rows.min() - 0.5])
        np.testing.assert_allclose(high, [columns.max() + 0.5, rows.max() + 0.5])
        assert one.bbox.center.theta == 0
        turn = one.results[0].pose.pose.orientation
        assert (turn.x, turn.y, turn.z, turn.w) == (0, 0, 0, 1)
        (result,) = one.results
        assert result.hypothesis.class_id == label.categories[number - 1]
        assert result.hypothesis.score == label.scores[number - 1]


def test_label_map_and_label_info_agree():
    label = things()
    got = made(tasks.get('semantic'), label)
    assert got['semantic/label'].encoding == 'mono8'
    numbers = image_messages.array_from(got['semantic/label'])
    ((topic, info),) = outputs.from_settings(TYPES, tasks.get('semantic'), CATEGORIES)
    assert topic == 'semantic/label_info'
    assert (stamp_of(info.header), info.header.frame_id) == (0, '')  # of no frame
    words = {one.class_id: one.class_name for one in info.class_map}
    assert words == {**dict(enumerate(CATEGORIES)), 255: 'UNLABELED'}
    for number, name in enumerate(label.categories, 1):
        assert {words[int(n)] for n in numbers[label.ids == number]} <= {name}
    assert set(numbers[label.ids == 0].tolist()) == {255}
    np.testing.assert_array_equal(image_messages.array_from(got['semantic/instances']), label.ids)


@pytest.mark.parametrize('name', ['entity', 'semantic'])
def test_confidence_is_the_score_of_each_pixels_instance(name):
    label = things()
    got = made(tasks.get(name), label)
    message = got[f'{name}/confidence']
    assert message.encoding == 'mono8'
    numbers = image_messages.array_from(message)
    assert numbers.shape == image_messages.array_from(got[f'{name}/label']).shape
    assert set(numbers[label.ids == 0].tolist()) == {0}
    for number, score in enumerate(label.scores, 1):
        np.testing.assert_allclose(numbers[label.ids == number] / 255, score, atol=0.5 / 255)


def test_from_label_takes_the_category_of_the_prompt():
    task = tasks.get('semantic')
    label = label_of(task)
    got = dict(
        outputs.from_label(TYPES, task, label, HEADER, frame(),
                           ['semantic/label'], categories=('person',))
    )  # fmt: skip
    numbers = image_messages.array_from(got['semantic/label'])
    np.testing.assert_array_equal(numbers, np.where(label.ids > 0, 0, 255))


def test_from_label_refuses_what_a_map_cannot_hold():
    task = tasks.get('semantic')
    with pytest.raises(ValueError, match="'cat', 'cup', got 'person'"):
        made(task, things(), categories=('cat', 'cup'))
    with pytest.raises(ValueError, match='255 categories, got 256'):
        made(task, things(), categories=tuple(map(str, range(256))))
    many = 65536
    crowd = Instances(np.full((1, 1), many, np.int32), ('',) * many, np.ones(many, np.float32))
    with pytest.raises(ValueError, match='65535 instances, got 65536'):
        made(tasks.get('entity'), crowd, ['entity/label'])
    last = Instances(np.full((1, 1), 65535, np.int32), ('',) * 65535, np.ones(65535, np.float32))
    message = made(tasks.get('entity'), last, ['entity/label'])['entity/label']
    assert image_messages.array_from(message).tolist() == [[65535]]


def test_label_map_of_255_categories():
    names = tuple(map(str, range(255)))
    ids = np.arange(256, dtype=np.int32).reshape(16, 16)
    label = Instances(ids, names, np.ones(255, np.float32))
    got = made(tasks.get('semantic'), label, ['semantic/label'], categories=names)
    numbers = image_messages.array_from(got['semantic/label'])
    assert numbers.ravel().tolist() == [255, *range(255)]


def test_joints_and_boxes_of_persons_agree():
    task = tasks.get('pose')
    one = label_of(task)
    # The first without joints, the second with all, the third without some.
    places, seen = one.joints[[0, 0, 0]].copy(), one.visibility[[0, 0, 0]].copy()
    for person, some in ((0, slice(None)), (2, slice(3, 9))):
        places[person, some], seen[person, some] = np.nan, 0
    rng = np.random.default_rng(0)
    scores = np.where(seen > 0, rng.random(seen.shape, np.float32), np.float32(0))
    label = Keypoints(places, seen, scores, one.untyped, one.size)
    got = made(task, label)
    assert [detection.id for detection in got['pose/detections'].detections] == ['2', '3']
    assert got['pose/keypoints'].__msgtype__ == outputs.CLOUD
    back = point_clouds.keypoints_from(got['pose/keypoints'], SIZE)
    np.testing.assert_array_equal(back.joints, label.joints)
    cloud = point_clouds.joints_from(got['pose/keypoints'])
    found = list(boxes_of(got['pose/detections']))
    assert {number for number, *_ in found} == set(cloud['instance'].tolist()) - {0}
    for number, one, low, high in found:
        mine = cloud[cloud['instance'] == number]
        np.testing.assert_allclose(low, [mine['u'].min(), mine['v'].min()], atol=1e-4)
        np.testing.assert_allclose(high, [mine['u'].max(), mine['v'].max()], atol=1e-4)
        assert one.results[0].hypothesis.class_id == 'person'
        assert one.results[0].hypothesis.score == pytest.approx(mine['score'].mean())


@every_task
def test_visualization_images_show_the_label(task):
    label = label_of(task)
    got = made(task, label)
    for topic, message in got.items():
        if topic.endswith('color'):
            np.testing.assert_array_equal(image_messages.rgb_from(message), label.preview())
        if topic.endswith('overlay'):
            shown = image_messages.rgb_from(message)
            np.testing.assert_array_equal(shown, label.preview(frame().image))


def test_declared_of_a_new_task_with_a_known_label():
    wetness = SimpleNamespace(name='wetness', label=Disparity, takes_category=False)
    got = made(wetness, label_of(tasks.get('depth')))
    assert list(got) == ['wetness/image', 'wetness/color']
    ruler = SimpleNamespace(name='depth', label=MetricDepth, takes_category=False)
    names = [one.topic for one in outputs.declared(ruler, TYPES)]
    assert names == ['depth/image', 'depth/camera_info', 'depth/color']
    parts = SimpleNamespace(name='parts', label=Instances, takes_category=True)
    topics = [one.topic for one in outputs.declared(parts, TYPES)]
    assert topics[:3] == ['parts/label', 'parts/confidence', 'parts/instances']
    assert 'parts/label_info' in topics


def test_declared_refuses_unknown_labels():
    odd = SimpleNamespace(name='odd', label=Frame, takes_category=False)
    with pytest.raises(TypeError, match=f"'odd'.*Frame.*known: {', '.join(KINDS)}"):
        outputs.declared(odd, TYPES)
