# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Launch the node perception, and RViz on request.

  ros2 launch diception_ros perception.launch.py image:=/camera/image_raw \
      camera_info:=/camera/camera_info tasks:="[depth, normal]"

An argument that is left empty leaves the parameter to params_file, or to the node's default.
"""

import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
import yaml

from diception_ros.system.ros_environment import (
    DISABLED,
    NODE_PROFILE,
    VARIABLES,
    camera_info_topic,
    variable,
)

# The share folder of the package when it is installed, the repository when it is not.
HERE = Path(__file__).resolve().parents[1]

# Arguments that are parameters of the node.
PARAMETERS = {
    'model': 'model folder',
    'device': 'where the model runs: cpu, cuda or cuda:N',
    'tasks': 'tasks that run on every frame, such as "[depth, normal]"',
    'categories': 'categories to segment (semantic.categories), such as "[person, chair]"',
    'num_inference_steps': 'denoising steps',
    'cameras': 'names of several cameras, such as "[front, left]"',
    'image_transport': 'raw or compressed',
    'metric': 'source of metric depth (depth.metric): off, fixed, aligned or height',
    'camera_height': 'height of the camera above the floor, metres (depth.camera_height)',
    'gravity': 'x y z, direction of gravity in the optical frame (points.gravity)',
    'gravity_frame': 'frame of /tf with z up, in place of gravity (points.gravity_frame)',
    'policy': 'frames received while the model works: latest or all',
    'autostart': 'configure and activate at the start',
    'use_sim_time': 'take the time from /clock',
}
NAMES = {
    'categories': 'semantic.categories',
    'metric': 'depth.metric',
    'camera_height': 'depth.camera_height',
    'gravity': 'points.gravity',
    'gravity_frame': 'points.gravity_frame',
}
# Arguments that are topics.
TOPICS = {
    'image': 'images of the only camera',
    'camera_info': 'its CameraInfo; by default the one beside the image',
    'depth_reference': 'depth references for metric:=aligned',
}


def generate_launch_description():
    """The arguments, the profile for Fast DDS, the node, RViz."""
    arguments = [
        *((name, '', f'{about}; empty: as in params_file') for name, about in PARAMETERS.items()),
        *((name, name, about) for name, about in TOPICS.items()),
        ('params_file', str(HERE / 'config' / 'perception.yaml'), 'file of parameters'),
        ('namespace', '', 'namespace of the node'),
        ('name', 'perception', 'name of the node'),
        ('log_level', 'info', 'debug, info, warn, error or fatal'),
        ('rviz', 'false', 'show the results in RViz'),
        ('shared_memory', 'true', 'use the Fast DDS profile, in which images fit'),
    ]
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=about)
                for name, default, about in arguments
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context):
    """Actions to start, for the given arguments."""
    given = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *TOPICS)}
    other = {
        name: LaunchConfiguration(name).perform(context)
        for name in ('params_file', 'namespace', 'name', 'log_level', 'rviz', 'shared_memory')
    }
    # YAML, as in a parameters file; but a model may be named 2 or on.
    parameters = {
        NAMES.get(name, name): value if name in ('model', 'metric') else yaml.safe_load(value)
        for name, value in given.items()
        if name in PARAMETERS and value
    }
    remappings = [(name, given[name]) for name in TOPICS if given[name] != name]
    if given['image'] != 'image':
        # A transport's topic is expanded before it is remapped, so it needs its own line.
        remappings.append(('image/compressed', f'{given["image"]}/compressed'))
        if given['camera_info'] == 'camera_info':
            remappings.append(('camera_info', camera_info_topic(given['image'])))
    simulated = [{'use_sim_time': True}] if parameters.get('use_sim_time') else []
    actions = [
        LifecycleNode(
            package='diception_ros',
            executable='perception',
            name=other['name'],
            namespace=other['namespace'],
            parameters=[other['params_file'], *([parameters] if parameters else [])],
            remappings=remappings,
            arguments=['--ros-args', '--log-level', f'{other["name"]}:={other["log_level"]}'],
            output='screen',
            emulate_tty=True,
        ),
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', str(HERE / 'rviz' / 'perception.rviz')],
            parameters=simulated,
            condition=IfCondition(other['rviz']),
        ),
    ]
    return [*profile(other['shared_memory']), *actions]


def profile(wanted):
    """The variable that names the profile of Fast DDS, unless there is one already."""
    if wanted.lower() not in ('true', '1'):
        return [SetEnvironmentVariable(DISABLED, '1')]
    if any(os.environ.get(name) for name in VARIABLES):
        return []
    return [
        SetEnvironmentVariable(
            variable(os.environ.get('ROS_DISTRO', '')), str(HERE / NODE_PROFILE)
        )
    ]
