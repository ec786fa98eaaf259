# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters and prompts: invalid values are refused with the reason and change nothing."""

from geometry_msgs.msg import Point as Click
from geometry_msgs.msg import Point as Position
from geometry_msgs.msg import PointStamped
from nodes import PATIENCE, REAL, Running, header, image, info, rgb_array, values
import pytest
from rcl_interfaces.srv import DescribeParameters, ListParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from diception_ros.core import settings
from diception_ros.node.parameters import Parameters
from diception_ros.node.settings import declared

FOREIGN = ('use_sim_time', 'start_type_description_service', 'qos_overrides')


@pytest.fixture(scope='module')
def running(domain):
    with Running(domain, {'tasks': '[depth, segmentation]', 'lazy': 'false'}) as node:
        node.wait_for('active: ')
        yield node


@pytest.fixture
def bare(peer):
    """A node here that has the parameters and nothing else."""
    node = Node('bare', context=peer.context)
    # It declares them.
    node.held = Parameters(node, lambda _: None, lambda _: None, lambda: '')
    yield node
    node.destroy_node()


def all_values(peer):
    return {one.name: peer.get(one.name) for one in declared()}


def test_every_parameter_is_declared_with_type_range_and_description(running, peer):
    names = peer.ask('/perception/list_parameters', ListParameters).result.names
    known = {one.name: one for one in declared()}
    assert {name for name in names if not name.startswith(FOREIGN)} == set(known)
    found = peer.ask('/perception/describe_parameters', DescribeParameters, names=[*known])
    for descriptor in found.descriptors:
        one = known[descriptor.name]
        assert descriptor.description == one.about
        bounded = one.low is not None or one.high is not None
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert len(ranges) == (bounded and one.kind in (int, float)), descriptor.name
        for choice in one.choices:
            assert str(choice) in descriptor.additional_constraints
        if ranges and one.low is not None:
            assert ranges[0].from_value == one.low
        if ranges and one.high is not None:
            assert ranges[0].to_value == one.high


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'num_inference_steps': 0}, 'num_inference_steps out of range'),
        ({'num_inference_steps': 'many'}, 'Wrong parameter type'),
        ({'guidance_scale': float('nan')}, 'guidance_scale'),
        ({'guidance_scale': -1}, 'guidance_scale out of range'),
        ({'tasks': ['depth', 'depht']}, "no task 'depht'; did you mean 'depth'?"),
        ({'tasks': []}, 'tasks is empty'),
        ({'output_size': 'screen'}, 'output_size'),
        ({'depth__metric': 'fixed'}, "depth.metric is 'fixed' and depth.scale 0"),
        ({'tasks': ['semantic'], 'semantic__categories': ['unknown']}, 'no embedding for unknown'),
        ({'model': 'other'}, 'clean it up first'),
        ({'cameras': ['front']}, 'clean it up first'),
        ({'autostart': False}, 'read-only'),
        # Of several at once none holds.
        ({'seed': 7, 'ensemble_size': 0}, 'ensemble_size out of range'),
        ({'seed': 7, 'depth__metric': 'guess'}, 'depth.metric'),
    ],
    ids=str,
)
def test_invalid_values_are_refused_and_change_nothing(running, peer, changes, reason):
    before = all_values(peer)
    assert reason in peer.set(**changes)
    assert all_values(peer) == before


def test_values_as_yaml_types_them_are_accepted(running, peer):
    assert peer.set(guidance_scale=3) == ''
    assert peer.get('guidance_scale') == 3.0
    assert isinstance(peer.get('guidance_scale'), float)
    assert peer.set(depth__metric=False) == ''  # off
    assert peer.get('depth.metric') == 'off'
    assert peer.set(seed=7, ensemble_size=2) == ''
    assert (peer.get('seed'), peer.get('ensemble_size')) == (7, 2)
    assert peer.set(ensemble_size=1, guidance_scale=2.0, seed=42) == ''


@pytest.mark.parametrize(
    'value', [[True, False], [1, 2], [b'a'], [1.5], 'depth', 7, 1.5, True, None, ['x']], ids=str
)
@pytest.mark.parametrize('name', ['tasks', 'points.gravity', 'seed', 'lazy', 'max_rate_hz'])
def test_a_value_of_any_type_is_set_or_refused(bare, name, value):
    # An exception would end the node: `ros2 param set /perception tasks "[on, off]"`.
    given = Parameter(name, value=value).to_parameter_msg()
    (result,) = bare.set_parameters([Parameter.from_parameter_msg(given)])
    assert result.successful or result.reason


def test_a_change_that_fails_is_refused_and_changes_nothing(peer):
    errors = []

    def fail(_):
        raise errors[-1]

    for accept, change in ((fail, lambda _: None), (lambda _: None, fail)):
        errors.append(PermissionError('adapter.json is not readable'))
        node = Node('bare', context=peer.context)
        held = Parameters(node, accept, change, lambda: '')
        before = held.perception
        (result,) = node.set_parameters([Parameter('seed', value=7)])
        assert (result.successful, result.reason) == (False, 'adapter.json is not readable')
        assert held.perception == before
        assert node.get_parameter('seed').value == before.predict.seed
        node.destroy_node()


def test_values_of_another_type_that_mean_one_thing_are_accepted(bare):
    for name, value, means in (
        ('tasks', 'depth', ['depth']),
        ('points.gravity', [0.0, 1.0, 0.0], '0.0 1.0 0.0'),
        ('points.gravity', [0, 1, 0], '0 1 0'),
    ):
        assert bare.set_parameters([Parameter(name, value=value)])[0].successful
        held = bare.get_parameter(name).value
        assert (held if isinstance(means, str) else [*held]) == means


def test_a_parameters_file_in_every_notation(domain, peer, tmp_path):
    path = tmp_path / 'given.yaml'
    path.write_text(
        '/**:\n  ros__parameters:\n    guidance_scale: 2\n    cameras: []\n'
        '    num_inference_stpes: 3\n'
        '    depth: {metric: off}\n    semantic.categories: [chair, hot dog]\n'
        '    qos_overrides:\n      /imgae:\n        subscription: {reliability: reliable}\n'
    )
    more = ['--params-file', str(path), '-r', '__node:=other']
    with Running(domain, more=more) as node:
        node.wait_for('active: /image')
        node.wait_for("no parameter 'num_inference_stpes'; did you mean 'num_inference_steps'?")
        node.wait_for('qos_overrides./imgae.subscription.reliability matches no topic')
        assert peer.get('semantic.categories', '/other') == ['chair', 'hot dog']
        assert peer.get('guidance_scale', '/other') == 2.0
        assert peer.get('cameras', '/other') == []


def test_points_prompt_and_the_sixth_is_refused(running, peer):
    mask = '/perception/segmentation/mask'
    peer.listen(mask, Image)
    camera, infos = peer.publisher('/image', Image), peer.publisher('/camera_info', CameraInfo)
    click = peer.publisher('/perception/prompt/click', Click)
    stamped = peer.publisher('/perception/prompt/point', PointStamped)
    head = header(0)
    message = image(rgb_array(), header=head)

    def clear():
        done = peer.ask('/perception/prompt/clear', Trigger)
        assert done.success
        return done.message

    peer.feed(camera, message, lambda: peer.count('processed'))
    clear()
    peer.got[mask].clear()
    before = peer.count('processed')
    peer.feed(camera, message, lambda: peer.count('processed') > before)
    assert not peer.got[mask]  # without a point there is no question
    running.wait_for('segmentation: waits for a point')
    for k in range(5):
        click.publish(Click(x=3.0 * k, y=4.0))
        running.wait_for(f'prompt: {k + 1} of 5 points')
    peer.feed(camera, message, lambda: peer.got[mask])
    click.publish(Click(x=1.0, y=1.0))
    running.wait_for('the model takes at most 5 points')
    assert clear() == '5 points removed'
    for x, y in ((64.0, 4.0), (-1.0, 4.0), (4.0, 48.0)):
        click.publish(Click(x=x, y=y))
    running.wait_for('lies outside', count=3)
    assert clear() == '0 points removed'

    # In space: projected with the CameraInfo, refused behind the camera or in another frame.
    camera_status = peer.count('processed')
    infos.publish(info(head))
    peer.feed(camera, message, lambda: peer.count('processed') > camera_status)
    for position, frame, says in (
        ((0.1, 0.0, 1.0), head.frame_id, '1 of 5 points'),
        ((10.0, 20.0, 0.0), head.frame_id, '2 of 5 points'),
        ((0.0, 0.0, -1.0), head.frame_id, 'not in front of the camera'),
        ((0.0, 0.0, 1.0), 'map', "point in frame 'map' is refused; expected one in the frame"),
    ):
        already = running.text.count(says)
        one = PointStamped(header=header(0, frame))
        one.point = Position(x=position[0], y=position[1], z=position[2])
        stamped.publish(one)
        running.wait_for(says, count=already + 1)
    assert clear() == '2 points removed'
    camera_status = peer.diagnostics()['/perception: camera']
    assert values(camera_status)['points'] == '0'

    # In images of another size the points mean something else.
    click.publish(Click(x=1.0, y=1.0))
    running.wait_for('1 of 5 points', count=running.text.count('1 of 5 points') + 1)
    camera_status = peer.count('processed')
    other = image(rgb_array(size=(24, 32)), header=header(0))
    peer.feed(camera, other, lambda: peer.count('processed') > camera_status)
    running.wait_for('1 points removed, since the size of the images changed')


def test_categories_by_topic_set_the_parameter(running, peer):
    assert peer.set(tasks=['semantic', 'segmentation']) == ''
    words = peer.publisher('/perception/prompt/categories', String)
    words.publish(String(data=' chair, hot dog ,chair'))
    peer.until(lambda: peer.get('semantic.categories') == ['chair', 'hot dog'])
    words.publish(String(data=' , '))
    running.wait_for("' , ' is refused")
    words.publish(String(data='unknown'))
    running.wait_for("'unknown' is refused: no embedding for unknown")
    assert peer.get('semantic.categories') == ['chair', 'hot dog']
    assert peer.set(tasks=['depth', 'segmentation']) == ''


def test_parameter_names_are_unique():
    names = [one.name for one in declared()]
    assert len(names) == len(set(names))
    assert settings.near('tta_shfits', names) == "; did you mean 'tta_shifts'?"
    assert settings.near('shifts', names) == "; it is now 'tta_shifts'"


def test_a_parameter_of_rclpy_of_a_wrong_type_is_an_error_without_traceback(domain):
    with Running(domain, {'use_sim_time': "'yes'"}, command=REAL) as node:
        line = node.wait_for('use_sim_time')
        assert line.startswith('diception node: parameters: ')
        assert node.process.wait(PATIENCE) != 0
        assert 'Traceback' not in node.text


def test_a_camera_info_that_was_published_once_is_received(domain, peer):
    once = {'durability': DurabilityPolicy.TRANSIENT_LOCAL}
    publisher = peer.publisher('/camera_info', CameraInfo, wait=False, **once)
    publisher.publish(info(header(0)))
    override = 'qos_overrides./camera_info.subscription'
    given = {f'{override}.durability': 'transient_local', f'{override}.reliability': 'reliable'}
    with Running(domain, {'tasks': '[normal]', **given}) as node:
        node.wait_for('active: ')
        peer.listen('/perception/normal/camera_info', CameraInfo)
        images = peer.publisher('/image', Image)
        message = image(rgb_array(), header=header(1))
        peer.feed(images, message, lambda: peer.got['/perception/normal/camera_info'])
