# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wheel, sdist, containers, workflow and matrix agree with the tree and the docs."""

import ast
from pathlib import Path
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml

import diception_ros
from diception_ros.doctor.checks import NEWEST, OLDEST
from diception_ros.system import ros_environment

ROOT = Path(__file__).resolve().parents[1]
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # replaced by build_meta
print(build_meta.build_wheel(out))
print(build_meta.build_sdist(out))
"""
LEFT_OUT = shutil.ignore_patterns('.*', '__pycache__', '*.egg-info', 'build', 'dist', 'site')


DOCKERFILE = (ROOT / 'docker' / 'Dockerfile').read_text()
WORKFLOW = (ROOT / '.github' / 'workflows' / 'ci.yml').read_text()
INSTALL = (ROOT / 'docs' / 'install.md').read_text()
# Of docs/install.md; Docker's official image `ros` has a tag DISTRO-ros-base of each.
DISTROS = ('humble', 'jazzy', 'kilted', 'lyrical')


@pytest.fixture(scope='module')
def tools():
    """The modules of tools/."""
    sys.path.insert(0, str(ROOT / 'tools'))
    try:
        import check_dist
        import matrix
    finally:
        del sys.path[0]
    return SimpleNamespace(check_dist=check_dist, matrix=matrix)


@pytest.fixture
def checks(tools):
    return tools.check_dist


def test_package_xml_has_the_version_of_the_package():
    found = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert found == diception_ros.__version__
    assert 'version=VERSION' in (ROOT / 'setup.py').read_text()
    # catkin_prepare_release replaces the first by the second.
    titles = re.findall(
        r'^(Forthcoming|[\d.]+ \(.*\))\n-+$', (ROOT / 'CHANGELOG.rst').read_text(), re.M
    )
    assert titles
    assert titles[0] == 'Forthcoming' or titles[0].startswith(f'{found} (')


@pytest.mark.slow
def test_the_wheel_and_the_sdist_are_complete_and_have_no_tests(tmp_path, checks):
    pytest.importorskip('setuptools', minversion='70.1')  # the first that builds wheels by itself
    tree = tmp_path / 'tree'
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    done = subprocess.run(
        [sys.executable, '-c', BUILD, str(tmp_path)], cwd=tree, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = tmp_path.glob('*.whl'), tmp_path.glob('*.tar.gz')
    assert checks.check(wheel, sdist) == []
    assert wheel.name == f'diception_ros-{diception_ros.__version__}-py3-none-any.whl'


def test_what_is_missing_or_foreign_in_a_wheel_is_named(checks):
    names = {*checks.files('diception_ros'), 'test/nodes.py'}
    text = '\n'.join(checks.check_wheel(names - {'diception_ros/__main__.py'}))
    assert 'diception_ros/__main__.py is missing' in text
    assert 'share/diception_ros/package.xml is missing' in text
    assert 'test/nodes.py does not belong into a wheel' in text
    assert 'model/builtin' not in text
    assert 'bench/zero.py does not belong' in '\n'.join(checks.check_sdist({'bench/zero.py'}))


def constraints_of_docs():
    """{distribution: constraints file} of the table in docs/install.md."""
    found = {}
    for line in INSTALL.splitlines():
        if row := re.match(
            r'\| ([A-Z][\w, ]+?)(?: \(.*?\))? \| [\d.]+ \| `(constraints[\w-]*\.txt)`', line
        ):
            found |= dict.fromkeys(row[1].lower().split(', '), row[2])
    return found


def test_the_dockerfile_takes_the_constraints_of_the_docs():
    docs = constraints_of_docs()
    assert set(docs) == set(DISTROS)
    arguments = dict(re.findall(r'^ARG (\w+)=(\S+)', DOCKERFILE, re.M))
    assert 'FROM ros:${DISTRO}-ros-base' in DOCKERFILE
    assert arguments['DISTRO'] in ros_environment._DISTROS.values()
    assert arguments['CONSTRAINTS'] == docs[arguments['DISTRO']]
    (note,) = (line for line in DOCKERFILE.splitlines() if line.startswith('# For Humble'))
    other = dict(re.findall(r'(\w+) \([^)]*\): (constraints[\w-]*\.txt)', note))
    assert {name.lower(): file for name, file in other.items()} == {
        name: file for name, file in docs.items() if file != arguments['CONSTRAINTS']
    }
    assert all((ROOT / file).is_file() for file in docs.values())


def test_package_xml_depends_on_every_ros_package_that_is_imported():
    depends = {one.text for one in ElementTree.parse(ROOT / 'package.xml').iter('exec_depend')}
    imported = set()
    for path in [*(ROOT / 'diception_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition('.')[0])
            elif isinstance(node, ast.Import):
                imported |= {name.name.partition('.')[0] for name in node.names}
    ros = re.compile(r'\w+_(msgs|srvs|interfaces)|rclpy|cv_bridge|sensor_msgs_py|launch\w*')
    ros_packages = {name for name in imported if ros.fullmatch(name)}
    assert {'rclpy', 'launch_ros', 'lifecycle_msgs'} <= ros_packages <= depends


def test_the_dockerfile_installs_what_the_docs_and_package_xml_say():
    depends = {one.text for one in ElementTree.parse(ROOT / 'package.xml').iter('exec_depend')}
    brought = set(re.findall(r'ros-\$\{DISTRO\}-([\w-]+)', DOCKERFILE))
    assert {name.replace('-', '_') for name in brought} <= depends
    for step in ('torch', '-e src/diception_ros'):  # torch first, by itself
        assert re.search(rf'pip install -c \S*constraints\S* {step}', INSTALL)
    steps = re.findall(r'pip install --no-cache-dir -c constraints.txt (.*)', DOCKERFILE)
    assert steps == ['${TORCH}', '-e src/diception_ros']
    assert 'colcon build --packages-select diception_ros' in DOCKERFILE
    assert 'colcon build --packages-select diception_ros' in INSTALL


def test_compose_refers_to_files_and_arguments_that_exist():
    compose = yaml.safe_load((ROOT / 'docker' / 'compose.yaml').read_text())
    build = compose['x-image']['build']
    assert (ROOT / 'docker' / build['context'] / build['dockerfile']).is_file()
    defaults = dict(re.findall(r'^ARG (DISTRO|CONSTRAINTS)=(\S+)', DOCKERFILE, re.M))
    assert build['args'] == {name: f'${{{name}:-{value}}}' for name, value in defaults.items()}
    assert (ROOT / defaults['CONSTRAINTS']).is_file()
    default = defaults['DISTRO']
    for service in compose['services'].values():
        assert service['image'] == f'diception_ros:${{DISTRO:-{default}}}'
    variables = compose['services']['bag']['environment']
    assert set(variables) == set(ros_environment.VARIABLES)
    assert set(variables.values()) == {f'/workspace/src/diception_ros/{ros_environment.PROFILE}'}
    command = compose['services']['node']['command']
    launch = (ROOT / 'launch' / 'perception.launch.py').read_text()
    for name in re.findall(r'(\w+):=', command):
        assert f"'{name}'" in launch or f'{name}:=' in INSTALL, name


def test_the_workflow_pins_its_actions_and_runs_targets_that_exist():
    for action in re.findall(r'uses: (\S+.*)', WORKFLOW):
        assert re.fullmatch(r'[\w/-]+@[0-9a-f]{40}  # v[\d.]+', action), action
    targets = re.findall(r'^(\w[\w-]*):', (ROOT / 'Makefile').read_text(), re.M)
    assert {*re.findall(r'run: make ([\w-]+)', WORKFLOW)} == {'dist-check', 'matrix'} & {*targets}
    jobs = yaml.safe_load(WORKFLOW)['jobs']
    assert any(step.get('run') == 'bash .ci/run' for step in jobs['test']['steps'])
    assert all(job['timeout-minutes'] <= 90 for job in jobs.values())


def test_the_matrix_covers_each_python_ros_numpy_and_opencv(tools):
    made = tools.matrix.COMBINATIONS
    low, high = OLDEST[1], NEWEST[1]
    assert {one.python for one in made} == {f'3.{k}' for k in range(low, high + 1)}
    assert {one.ros for one in made} == set(tools.matrix.ROS)
    pins = [one.pins() for one in made]
    for name in ('numpy', 'opencv-python'):
        majors = {int(re.search(rf'^{name}==(\d+)', text, re.M)[1]) for text in pins}
        assert len(majors) == 2, majors
    for text in pins:
        names = [line.partition('==')[0] for line in text.splitlines() if line[0] != '#']
        assert len(names) == len(set(names))
    included = yaml.safe_load(WORKFLOW)['jobs']['matrix']['strategy']['matrix']['include']
    assert [(one['name'], one['python']) for one in included] == [
        (one.name, one.python) for one in made
    ]


def test_the_outcome_of_the_matrix_counts_a_missing_report_as_a_failure(tools):
    report = '<testsuite name="pytest" errors="0" failures="1" skipped="2" tests="9" time="1">'
    assert tools.matrix.outcome([report]) == '6 passed, 1 failed, 2 skipped'
    assert 'failed' in tools.matrix.outcome([report.replace('failures="1"', 'failures="0"'), ''])
