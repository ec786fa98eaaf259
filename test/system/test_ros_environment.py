# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The Fast DDS profile and the log directory of ROS processes are set unless the user did."""

import argparse
from collections import namedtuple
from pathlib import Path

import pytest

from diception_ros.system import ros_environment
from diception_ros.system.ros_environment import DISABLED, VARIABLES

Usage = namedtuple('Usage', 'free')


@pytest.mark.parametrize(
    ('distro', 'name'), [('jazzy', VARIABLES[1]), ('kilted', VARIABLES[0]), ('x', VARIABLES[0])]
)
def test_use_profile_sets_the_variable_of_the_distribution(distro, name, tmp_path):
    environment = {'ROS_DISTRO': distro}
    assert ros_environment.use_profile(environment, tmp_path)
    assert environment == {'ROS_DISTRO': distro, name: str(ros_environment.profile())}


@pytest.mark.parametrize(
    'given',
    [
        {VARIABLES[0]: '/mine.xml'}, {VARIABLES[1]: '/mine.xml'}, {DISABLED: '1'},
        {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'},
    ],
)  # fmt: skip
def test_use_profile_keeps_the_choice_of_the_user(given, tmp_path):
    environment = dict(given)
    assert not ros_environment.use_profile(environment, tmp_path)
    assert environment == given


def test_use_profile_needs_room_in_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(ros_environment.shutil, 'disk_usage', lambda path: Usage(64 * 2**20))
    assert not ros_environment.use_profile({}, tmp_path)
    monkeypatch.undo()
    assert not ros_environment.use_profile({}, tmp_path / 'nowhere')


def test_option_disables_the_profile_for_child_processes_too(monkeypatch, tmp_path):
    monkeypatch.setenv(DISABLED, '')
    parser = argparse.ArgumentParser()
    ros_environment.add_option(parser)
    assert parser.parse_args([]).shared_memory
    for name in ros_environment.VARIABLES:  # a node that another test started here has set one
        monkeypatch.delenv(name, raising=False)
    assert ros_environment.use_profile({**ros_environment.os.environ}, tmp_path)
    assert not parser.parse_args(['--no-shared-memory']).shared_memory
    ros_environment.disable_profile()
    assert not ros_environment.use_profile({**ros_environment.os.environ}, tmp_path)


def test_log_arguments_leave_a_usable_environment_as_it_is(tmp_path):
    for environment in (
        {'HOME': str(tmp_path)}, {'ROS_HOME': str(tmp_path / 'ros')},
        {'ROS_LOG_DIR': str(tmp_path / 'log'), 'HOME': '/dev/null'},
        {'ROS_LOG_DIR': '~/log', 'HOME': str(tmp_path)},
    ):  # fmt: skip
        given, lines = dict(environment), []
        assert ros_environment.log_arguments(environment, lines.append) == []
        assert environment == given
        assert lines == []


@pytest.mark.parametrize(
    ('environment', 'problem'),
    [
        ({}, 'HOME is not set'),
        ({'HOME': '/dev/null'}, '/dev/null/.ros/log is not writable'),
        ({'HOME': '/dev/null', 'ROS_LOG_DIR': '/dev/null/x'}, '/dev/null/x is not writable'),
    ],
)
def test_log_arguments_find_another_folder(environment, problem, monkeypatch, tmp_path):
    monkeypatch.setattr(ros_environment, '_log_folders', lambda: [Path('/dev/null'), tmp_path])
    lines = []
    assert ros_environment.log_arguments(environment, lines.append) == []
    assert environment['ROS_LOG_DIR'] == str(tmp_path)
    assert len(lines) == 1
    assert problem in lines[0]
    assert str(tmp_path) in lines[0]


def test_log_arguments_turn_files_off_where_nothing_is_writable(monkeypatch):
    monkeypatch.setattr(ros_environment, '_log_folders', lambda: [Path('/dev/null')])
    lines = []
    arguments = ros_environment.log_arguments({}, lines.append)
    assert arguments == ['--ros-args', '--disable-external-lib-logs']
    assert 'set ROS_LOG_DIR to a writable folder' in lines[0]


def test_prepare_finds_a_folder_for_temporary_files(monkeypatch, tmp_path):
    def fail():
        raise FileNotFoundError('no usable temporary directory')

    monkeypatch.setattr(ros_environment, 'use_profile', lambda name: False)
    monkeypatch.setattr(ros_environment.tempfile, 'gettempdir', fail)
    monkeypatch.setattr(ros_environment.tempfile, 'tempdir', None)
    monkeypatch.setenv('TMPDIR', '/nowhere')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert ros_environment.prepare() == []
    assert ros_environment.os.environ['TMPDIR'] == ros_environment.tempfile.tempdir == '/dev/shm'


@pytest.mark.parametrize(
    ('image', 'info'),
    [
        ('/front/image_raw', '/front/camera_info'),
        ('/front/image_raw/compressed', '/front/camera_info'),
        ('/front/image/compressed', '/front/camera_info'),
        ('/image_raw', '/camera_info'),
        # Relative names are expanded by the node's namespace, both of them.
        ('image_raw', 'camera_info'),
        ('front/image_raw', 'front/camera_info'),
    ],
)
def test_camera_info_topic_is_in_the_namespace_of_the_images(image, info):
    assert ros_environment.camera_info_topic(image) == info
