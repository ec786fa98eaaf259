# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which topics come out of the Perceiver, and that relative is never called metric."""

from copy import deepcopy
from dataclasses import fields, replace

import numpy as np
from perceiver_fixtures import (
    EVERY,
    MAKE,
    SIZE,
    Canned,
    chosen,
    everything,
    image,
    perceiver,
    request,
    topics,
)
import pytest

from diception_ros import tasks
from diception_ros.core import images
from diception_ros.core.images import ResizeTransform
from diception_ros.core.labels import Disparity
from diception_ros.messages import images as image_messages
from diception_ros.messages import outputs
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.query import cause

# ---- topics -------------------------------------------------------------------------------------


def named(found):
    return tuple(task.name for task in found)


@pytest.mark.parametrize(
    ('names', 'metric'),
    [
        (EVERY, 'off'), (EVERY, 'fixed'), (('pose', 'depth'), 'off'), (('pose', 'depth'), 'fixed'),
        (('semantic', 'entity'), 'off'),
    ],
)  # fmt: skip
def test_published_topics_equal_declared_topics(tiny, names, metric):
    changes = {'depth__metric': metric, 'depth__scale': 1.0, 'scan__frame': 'base'}
    one = perceiver(tiny, tasks=names, **changes)
    announced = [output for output in one.outputs() if not output.latched]
    prediction = one.process(request(tasks=names))
    assert topics(prediction) == [output.topic for output in announced]
    for (_, message), output in zip(prediction.messages, announced, strict=True):
        assert message.__msgtype__ == output.kind
        assert message.header.stamp == request().header.stamp
        frame_id = 'base' if output.topic == 'scan' else request().header.frame_id
        assert message.header.frame_id == frame_id
    assert named(one.tasks_for_topics(frozenset(topics(prediction)))) == tuple(names)


def test_outputs_of_settings_that_do_not_hold_yet(tiny):
    one = perceiver(tiny, tasks=['pose'])
    other = chosen(tasks=['depth'], depth__metric='aligned')
    assert {'depth/image', 'points'} <= {output.topic for output in one.outputs(other)}
    assert {output.topic.split('/')[0] for output in one.outputs()} == {'pose'}


@pytest.mark.parametrize(
    ('wanted', 'names'),
    [
        ([], []),
        (['normal/color'], ['normal']),
        (['pose/overlay', 'disparity/image', 'other/image'], ['depth', 'pose']),
        (['depth/color'], ['depth']),
        (['depth/camera_info'], ['depth']),
        (['points'], ['depth', 'normal', 'semantic']),
        (['points', 'entity/label'], ['depth', 'normal', 'semantic', 'entity']),
        (['scan'], ['depth', 'normal', 'semantic']),
    ],
)
def test_only_tasks_of_subscribed_topics_are_required(wanted, names):
    one = Perceiver(Canned(), MAKE, chosen(depth__metric='aligned'))
    assert named(one.tasks_for_topics(frozenset(wanted))) == tuple(names)


def test_without_metres_nothing_needs_their_topics():
    one = Perceiver(Canned(), MAKE, chosen())
    wanted = frozenset(['depth/image', 'depth/camera_info', 'points'])
    assert named(one.tasks_for_topics(wanted)) == ()


def test_all_is_needed_where_laziness_is_off():
    assert (
        named(Perceiver(Canned(), MAKE, chosen(lazy=False)).tasks_for_topics(frozenset())) == EVERY
    )


# ---- relative is not metric ---------------------------------------------------------------------

METRIC = {'depth/image', 'depth/camera_info', 'points', 'scan'}


def test_without_a_source_of_metres_no_metric_topic_comes_out(tiny):
    one = perceiver(tiny)
    assert METRIC.isdisjoint(output.topic for output in one.outputs())
    assert METRIC.isdisjoint(topics(one.process(request())))


def test_with_a_bad_fit_no_metric_topic_comes_out(tiny):
    one = perceiver(tiny, depth__metric='aligned')
    prediction = one.process(request())
    assert METRIC.isdisjoint(topics(prediction))
    assert [note.kind for note in prediction.notes] == ['no reference']
    noise = np.random.default_rng(0).uniform(0.3, 30, SIZE).astype(np.float32)
    reference = image_messages.image(MAKE, noise, '32FC1', request().header)
    prediction = one.process(request(reference=reference))
    assert METRIC.isdisjoint(topics(prediction))
    assert 'disparity/image' in topics(prediction)
    assert not prediction.fit.ok
    assert [note.kind for note in prediction.notes] == ['bad fit']


def test_result_gives_the_reason_for_missing_metric_depth(tiny):
    one = perceiver(tiny, depth__metric='aligned', every_n__depth=2)
    relative = image(one.process(request(camera='left')), 'disparity/image')
    metres = (1 / (0.7 * relative + 0.2)).astype(np.float32)
    good = image_messages.image(MAKE, metres, '32FC1', request().header)
    color = image_messages.image(MAKE, request().frame.image, 'rgb8', request().header)
    for reference, tried, problem in (
        (good, True, ''),
        (None, False, 'no depth reference within 0.05 s'),
        (color, False, 'depth reference: '),
    ):
        result = one.process(request(reference=reference))
        assert (result.fit is not None) == tried
        assert result.depth_problem.startswith(problem)
        assert (result.depth_problem == '') == (result.metric_depth is not None)
        assert {'disparity/image', 'normal/image'} <= set(topics(result))
        # In the other frame it is not the turn of the depth.
        other = one.process(request(reference=reference))
        assert (other.fit, other.depth_problem, other.metric_depth) == (None, None, None)


def test_disparity_is_never_published_on_a_metric_topic(tiny):
    """The converter goes by the type, so whatever is wanted, a Disparity is not called metres."""
    depth = tasks.get('depth')
    made = outputs.from_label(
        MAKE, depth, Disparity(np.ones(SIZE, np.float32)), request().header,
        request().frame, everything(), request().info,
    )  # fmt: skip
    assert METRIC.isdisjoint(dict(made))


def test_metres_of_a_reference_come_out_as_metres(tiny):
    relative = image(perceiver(tiny).process(request()), 'disparity/image')
    truth = 1 / (0.7 * relative + 0.2)
    reference = image_messages.image(MAKE, truth.astype(np.float32), '32FC1', request().header)
    one = perceiver(tiny, depth__metric='aligned')
    prediction = one.process(request(reference=reference))
    np.testing.assert_allclose(image(prediction, 'depth/image'), truth, rtol=1e-4)
    assert prediction.fit.ok
    assert prediction.fit.scale_shift == pytest.approx((0.7, 0.2), rel=1e-3)
    # Nobody listens: nothing is fitted.
    quiet = one.process(request(reference=reference, topics=['disparity/image']))
    assert quiet.fit is None


# ---- sizes --------------------------------------------------------------------------------------


def test_predictions_at_the_size_of_the_model(tiny):
    changes = {'depth__metric': 'fixed', 'depth__scale': 1.0, 'depth__shift': 0.1}
    small = perceiver(tiny, output_size='model', **changes).process(request())
    whole = perceiver(tiny, **changes).process(request())
    assert topics(small) == topics(whole)
    fit = ResizeTransform(SIZE, 64)
    for topic, message in small.messages:
        if hasattr(message, 'height'):
            assert (message.height, message.width) == (64, 64) or topic == 'pose/keypoints', topic
    # Brought to the camera's size the labels are those that come at the camera's size.
    for one, other in zip(small.predictions, whole.predictions, strict=True):
        at_camera = one.label.to_image_size(fit)
        for field in fields(at_camera):
            np.testing.assert_array_equal(
                getattr(at_camera, field.name), getattr(other.label, field.name)
            )
    info, camera = dict(small.messages)['depth/camera_info'], request().frame.intrinsics
    expected = camera.to_model(fit)
    assert (info.k[0], info.k[4]) == pytest.approx((expected.fx, expected.fy))
    assert (info.k[2], info.k[5]) == pytest.approx((expected.cx, expected.cy))


@pytest.mark.parametrize('size', ['camera', 'model'])
def test_the_cloud_shows_what_the_images_show(tiny, size):
    from diception_ros.messages import point_clouds

    changes = {'depth__metric': 'fixed', 'depth__scale': 1.0, 'depth__shift': 0.1}
    names = ['depth', 'normal', 'entity']
    one = perceiver(tiny, output_size=size, tasks=names, **changes)
    prediction = one.process(request(tasks=names))
    message, info = (
        dict(prediction.messages)['points'],
        dict(prediction.messages)['depth/camera_info'],
    )
    records = point_clouds.records_from(message).reshape(message.height, message.width)
    depth = image(prediction, 'depth/image')
    np.testing.assert_array_equal(records['z'], depth)
    np.testing.assert_array_equal(records['instance'], image(prediction, 'entity/label'))
    np.testing.assert_array_equal(records['normal_y'], image(prediction, 'normal/image')[..., 1])
    preview = (
        request().frame.image if size == 'camera' else images.resize(request().frame.image, 64)[0]
    )
    packed = records['rgb'].view(np.uint32)
    shown = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)
    np.testing.assert_array_equal(shown, preview)
    # Projected by the CameraInfo that comes beside the depth, each point is on its pixel.
    column = info.k[0] * records['x'] / records['z'] + info.k[2]
    row = info.k[4] * records['y'] / records['z'] + info.k[5]
    np.testing.assert_allclose(column, np.mgrid[: depth.shape[0], : depth.shape[1]][1], atol=1e-3)
    np.testing.assert_allclose(row, np.mgrid[: depth.shape[0], : depth.shape[1]][0], atol=1e-3)


def test_a_cloud_holds_what_was_asked(tiny):
    changes = {'depth__metric': 'fixed', 'depth__scale': 1.0}
    prediction = perceiver(tiny, **changes).process(request(tasks=['depth']))
    names = [field.name for field in dict(prediction.messages)['points'].fields]
    assert names == ['x', 'y', 'z', 'rgb']


def test_a_cloud_needs_a_pinhole(tiny):
    asked = request(tasks=['depth'], info=None)
    asked = replace(asked, frame=replace(asked.frame, intrinsics=None))
    prediction = perceiver(tiny, depth__metric='fixed', depth__scale=1.0).process(asked)
    assert 'points' not in topics(prediction)
    assert 'depth/image' in topics(prediction)
    assert [note.kind.partition(' no')[0] for note in prediction.notes] == ['no camera_info']


@pytest.mark.parametrize(
    ('spoil', 'advice'),
    [
        (lambda info: (info.k.fill(0), info.p.fill(0)), 'not calibrated'),
        (lambda info: info.p.fill(np.nan), 'finite'),
        (lambda info: setattr(info, 'width', info.width + 2), 'remap camera_info'),
        (lambda info: setattr(info, 'binning_x', 2), 'set both to 0'),
        (lambda info: (setattr(info, 'width', 0), setattr(info, 'height', 0)), 'width and height'),
    ],
    ids=['uncalibrated', 'P of NaN', 'another size', 'binning', 'size 0'],
)
def test_an_unusable_camera_info_costs_only_what_needs_it(tiny, spoil, advice):
    given = request()
    message = image_messages.image(MAKE, given.frame.image, 'rgb8', given.header)
    info = deepcopy(given.info)
    spoil(info)
    frame = image_messages.frame_from(message, info)
    assert advice in frame.no_intrinsics
    changes = {'depth__metric': 'fixed', 'depth__scale': 1.0, 'scan__frame': 'base'}
    one = perceiver(tiny, tasks=EVERY, **changes)
    good = one.process(given)
    prediction = one.process(replace(given, frame=frame, info=info))
    needing = {
        'points',
        'scan',
        *(topic for topic in topics(good) if topic.endswith('camera_info')),
    }
    lost = {topic for topic in topics(good) if topic not in topics(prediction)}
    # The CameraInfo of a calibration of zeros is published as it is received.
    assert lost == ({'points', 'scan'} if advice == 'not calibrated' else needing)
    # The kind has the cause, so that one after another is logged; values and advice are left out.
    kinds = [note.kind for note in prediction.notes]
    assert [kind.partition(' ')[0] for kind in kinds] == ['camera_info', 'no']
    assert kinds[1] == f'no {kinds[0]}'
    assert kinds[0] == f'camera_info {cause(frame.no_intrinsics)}'
    assert not any(character.isdigit() or character == ';' for character in kinds[0])
    assert all(advice in note.text for note in prediction.notes)
