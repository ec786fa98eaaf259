# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Documents match the node: tables, parameters file, launch file, viewer layouts."""

import ast
import json
from pathlib import Path
import xml.etree.ElementTree as ElementTree

from nodes import Running, values
import pytest
import yaml

from diception_ros.core import settings
from diception_ros.node.settings import NodeSettings, declared
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system import ros_environment
from tools import parameter_docs

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / 'launch' / 'perception.launch.py'


def test_tables_of_the_document():
    text = (ROOT / parameter_docs.DOCUMENT).read_text()
    assert parameter_docs.filled(text) == text, 'run: python -m tools.parameter_docs'


def test_parameters_file_has_every_default():
    path = ROOT / parameter_docs.DEFAULTS
    assert path.read_text() == parameter_docs.defaults(), 'run: python -m tools.parameter_docs'
    found = yaml.safe_load(path.read_text())['/**']['ros__parameters']
    whole = {**settings.values(NodeSettings()), **settings.values(PerceptionSettings())}
    assert found == {
        name: list(value) if isinstance(value, tuple) else value for name, value in whole.items()
    }


def test_parameters_file_changes_nothing(domain, peer):
    more = ['--params-file', str(ROOT / parameter_docs.DEFAULTS)]
    with Running(domain, {'autostart': 'true'}, more=more) as node:
        node.wait_for('active: ')
        assert 'WARN' not in node.text
        for one in declared():
            expected = list(one.default) if one.kind is tuple else one.default
            assert peer.get(one.name) == expected, one.name
        diagnostics = peer.diagnostics(lambda found: '/perception: camera' in found)
        for name, known in (
            ('/perception', parameter_docs.diagnostics.NODE_VALUES),
            ('/perception: camera', parameter_docs.diagnostics.CAMERA_VALUES),
        ):
            assert set(values(diagnostics[name])) <= set(known), name


def test_the_launch_file_s_parameters_are_the_node_s():
    tree = ast.parse(SOURCE.read_text())
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ('PARAMETERS', 'NAMES', 'TOPICS')
    }
    names = {found['NAMES'].get(name, name) for name in found['PARAMETERS']}
    assert names <= {*(one.name for one in declared()), 'use_sim_time'}


# What a display of RViz shows, by type of message. Of the images RViz has no way to show normals
# (32FC3); Foxglove shows them as numbers.
DISPLAYS = {'Image': 'sensor_msgs/Image', 'PointCloud2': 'sensor_msgs/PointCloud2',
            'LaserScan': 'sensor_msgs/LaserScan'}  # fmt: skip
NOT_IN_RVIZ = {'normal/image'}


def outputs():
    """Type by name relative to the node, of every output that docs/node.md lists."""
    rows = [row.split('|')[2:4] for row in parameter_docs.topics().splitlines()[2:]]
    return {topic.strip(' `').removeprefix('~/'): kind.strip() for topic, kind in rows}


def relative(topic):
    assert topic.startswith('/perception/')
    return topic.removeprefix('/perception/')


def test_costmap_and_node_of_navigation_agree():
    node = yaml.safe_load((ROOT / 'config/navigation.yaml').read_text())['/**']['ros__parameters']
    chosen = settings.changed(
        PerceptionSettings(),
        {name: tuple(one) if isinstance(one, list) else one for name, one in node.items()},
    )
    costmap = yaml.safe_load((ROOT / 'config/nav2_costmap.yaml').read_text())
    costmap = costmap['costmap']['costmap']['ros__parameters']
    voxel, semantic = costmap['voxel_layer']['camera'], costmap['semantic_layer']['camera']
    known = outputs()
    for topic, kind in (
        (voxel['topic'], 'sensor_msgs/PointCloud2'),
        (semantic['pointcloud_topic'], 'sensor_msgs/PointCloud2'),
        (semantic['segmentation_topic'], 'sensor_msgs/Image'),
        (semantic['confidence_topic'], 'sensor_msgs/Image'),
        (semantic['labels_topic'], 'vision_msgs/LabelInfo'),
    ):
        assert known[relative(topic)] == kind
    words = [word for kind in semantic['class_types'] for word in semantic[kind]['classes']]
    assert sorted(words) == sorted([*chosen.categories, 'UNLABELED'])
    # The semantic layer takes clouds of the label's size alone.
    assert (chosen.points.stride, chosen.points.voxel) == (1, 0)
    assert voxel['max_obstacle_height'] > voxel['min_obstacle_height'] > 0
    assert set(costmap['plugins']) == {key for key, one in costmap.items() if 'plugin' in str(one)
                                       and isinstance(one, dict)}  # fmt: skip


def test_rviz_shows_every_output_that_it_can():
    rviz = yaml.safe_load((ROOT / 'rviz/perception.rviz').read_text())
    shown = {}
    for one in rviz['Visualization Manager']['Displays']:
        topic, plugin = relative(one['Topic']['Value']), one['Class'].split('/')[1]
        assert topic not in shown
        assert one['Name'] == topic
        assert one['Topic']['Reliability Policy'] == 'Reliable'
        shown[topic] = DISPLAYS[plugin]
    known = outputs()
    assert shown == {
        topic: kind for topic, kind in known.items()
        if kind in DISPLAYS.values() and topic not in NOT_IN_RVIZ
    }  # fmt: skip


def test_foxglove_shows_every_output():
    layout = json.loads((ROOT / 'rviz/perception.foxglove.json').read_text())
    panels, shown = layout['configById'], []
    for name, panel in panels.items():
        if 'imageMode' in panel:
            mode = panel['imageMode']
            shown += [mode['imageTopic'], *filter(None, [mode.get('calibrationTopic')])]
            # Each of the two programs reads its own key.
            for title in ('foxglovePanelTitle', 'lichtblickPanelTitle'):
                assert panel[title] == relative(mode['imageTopic'])
            assert outputs()[relative(mode['imageTopic'])] == 'sensor_msgs/Image'
        elif name.startswith('RawMessages!'):
            shown.append(panel['topicPath'])
        shown += panel.get('topics', {})
    assert sorted(map(relative, shown)) == sorted(outputs())

    def placed(tree):
        """Names of the panels in a mosaic, and in the tabs in it."""
        if not isinstance(tree, str):
            return [*placed(tree['first']), *placed(tree['second'])]
        tabs = panels[tree].get('tabs', ())
        return [tree, *(name for tab in tabs for name in placed(tab['layout']))]

    assert sorted(placed(layout['layout'])) == sorted(panels)


@pytest.mark.parametrize(
    ('name', 'mib'), [(ros_environment.PROFILE, 64), (ros_environment.NODE_PROFILE, 16)]
)
def test_the_profile_is_a_profile(name, mib):
    root = ElementTree.parse(ROOT / name).getroot()
    sizes = [int(one.text) for one in root.iter() if one.tag.endswith('segment_size')]
    assert sizes == [mib * 2**20]
    (piece,) = (int(one.text) for one in root.iter() if one.tag.endswith('maxMessageSize'))
    assert piece <= sizes[0] / 4


def test_the_launch_file_works_with_the_real_launch(monkeypatch):
    pytest.importorskip('launch_ros', reason='launch and launch_ros are not installed')
    import importlib.util

    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch_ros.actions import LifecycleNode

    for name in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location('perception_launch', SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    for action in module.generate_launch_description().entities:
        if isinstance(action, DeclareLaunchArgument):
            action.execute(context)
    context.launch_configurations['image'] = '/camera/image_raw'
    context.launch_configurations['tasks'] = '[depth]'
    actions = module.start(context)
    (node,) = (one for one in actions if isinstance(one, LifecycleNode))
    assert node.node_executable == 'perception'
    assert len(actions) == 3
    path = SOURCE.parent / 'navigation.launch.py'
    spec = importlib.util.spec_from_file_location('navigation', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(module.generate_launch_description().entities) == len(module.ARGUMENTS) + 3
