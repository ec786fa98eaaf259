# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Advice for failed imports: for each cause, the hint that fixes it."""

import sys

import pytest

from diception_ros.doctor import missing_packages

RUNNING = f'python3.{sys.version_info.minor}'
SOURCED = {'ROS_DISTRO': 'jazzy', 'PYTHONPATH': f'/opt/ros/jazzy/lib/{RUNNING}/site-packages'}


def failed(module):
    return ModuleNotFoundError(f'No module named {module!r}', name=module)


@pytest.fixture
def alone(monkeypatch):
    """As if this Python were that of the system."""
    monkeypatch.setattr(sys, 'prefix', sys.base_prefix)


@pytest.mark.parametrize(
    ('module', 'installs'),
    [('torch', 'torch'), ('cv2', 'opencv-python'), ('skimage.io', 'scikit-image'),
     ('google.protobuf', 'protobuf'), ('mujoco', 'mujoco'), ('something_else', 'something_else')],
)  # fmt: skip
def test_pip_hint_uses_the_distribution_name_for_this_python(module, installs):
    hint = missing_packages.fix_hint(failed(module), {})
    assert f'{sys.executable} -m pip install' in hint
    assert installs in hint


@pytest.mark.parametrize('library', ['libGL.so.1', 'libgthread-2.0.so.0'])
def test_what_pip_cannot_bring_is_not_asked_of_pip(library):
    text = f'{library}: cannot open shared object file: No such file or directory'
    hint = missing_packages.fix_hint(ImportError(text, name='cv2'), {})
    assert 'apt-get install libgl1 libglib2.0-0' in hint
    assert 'pip install' not in hint
    other = 'libcudart.so.13: cannot open shared object file: No such file or directory'
    assert 'pip install' in missing_packages.fix_hint(ImportError(other, name='torch'), {})


def test_the_versions_are_those_of_setup():
    for one in missing_packages.requirements():
        assert missing_packages.requirement(missing_packages.name_of(one)) == one
    assert missing_packages.requirement('torch').startswith('torch')
    assert missing_packages.requirement('torch') != 'torch'
    assert 'pytest' not in ' '.join(missing_packages.requirements())
    assert missing_packages.requirement('mujoco').startswith('mujoco>')
    assert [missing_packages.name_of(one) for one in missing_packages.requirements('sim')] == [
        'mujoco'
    ]


@pytest.mark.usefixtures('alone')
def test_with_ros_the_fix_hint_is_a_venv_with_system_packages():
    hint = missing_packages.fix_hint(failed('torch'), SOURCED)
    assert '--system-site-packages' in hint
    assert 'ros2 run' in hint
    assert hint.index('--system-site-packages') < hint.index('pip install')


def test_inside_an_environment_it_is_enough_to_install(monkeypatch):
    monkeypatch.setattr(sys, 'prefix', '/somewhere/venv')
    assert 'ros2 run' not in missing_packages.fix_hint(failed('torch'), SOURCED)


@pytest.mark.parametrize('module', ['rclpy', 'rclpy._rclpy_pybind11', 'sensor_msgs', 'std_srvs',
                                    'builtin_interfaces', 'rosidl_parser'])  # fmt: skip
def test_what_ros_brings_is_not_sought_with_pip_where_ros_is(module):
    assert 'pip' not in missing_packages.fix_hint(failed(module), SOURCED)
    assert "'ros-rclpy[fastrtps]'" in missing_packages.fix_hint(failed(module), {})


def test_ros_built_for_another_python_gets_a_fix_hint():
    other = {'ROS_DISTRO': 'humble', 'PYTHONPATH': '/opt/ros/humble/lib/python3.6/site-packages'}
    hint = missing_packages.fix_hint(failed('rclpy._rclpy_pybind11'), other)
    assert 'python3.6' in hint
    assert RUNNING in hint
    assert missing_packages.built_for(SOURCED) == [RUNNING]


def test_what_this_python_does_not_need_is_not_missing(monkeypatch):
    lines = ['numpy>=1', 'old>=1; python_version < "3.14"', 'older; python_version < "3.1"',
             'mujoco>=3; extra == "sim"']  # fmt: skip
    monkeypatch.setattr(missing_packages.importlib.metadata, 'requires', lambda name: lines)
    assert missing_packages.requirements() == ['numpy>=1', 'old>=1']
    assert missing_packages.requirements('sim') == ['mujoco>=3']
    monkeypatch.setattr(sys, 'version_info', (3, 14, 0))
    assert missing_packages.requirements() == ['numpy>=1']
