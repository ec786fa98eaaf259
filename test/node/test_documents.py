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
        told = peer.diagnostics(lambda found: '/perception: camera' in found)
        for name, known in (
            ('/perception', parameter_docs.diagnostics.NODE_VALUES),
            ('/perception: camera', parameter_docs.diagnostics.CAMERA_VALUES),
        ):
            assert set(values(told[name])) <= set(known), name


def test_the_launch_file_s_parameters_are_the_node_s():
    tree = ast.parse(SOURCE.read_text())
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ('PARAMETERS', 'NAMES', 'TOPICS')
    }
    names = {found['NAMES'].get(name, name) for name in found['PARAMETERS']}
    assert names <= {*(one.name for one in declared()), 'use_sim_time'}


def test_layouts_show_topics_that_there_are():
    known = [
        row.split('`')[1].removeprefix('~/') for row in parameter_docs.topics().splitlines()[2:]
    ]
    rviz = yaml.safe_load((ROOT / 'rviz/perception.rviz').read_text())
    shown = [one['Topic']['Value'] for one in rviz['Visualization Manager']['Displays']]
    layout = json.loads((ROOT / 'rviz/perception.foxglove.json').read_text())
    for panel in layout['configById'].values():
        shown += [panel['imageMode']['imageTopic']] if 'imageMode' in panel else []
        shown += panel.get('topics', {})
    assert len(shown) > 10
    for topic in shown:
        assert topic.removeprefix('/perception/') in known


def test_the_profile_is_a_profile():
    root = ElementTree.parse(ROOT / 'config/fastdds_shm.xml').getroot()
    sizes = [int(one.text) for one in root.iter() if one.tag.endswith('segment_size')]
    assert sizes == [64 * 2**20]


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
