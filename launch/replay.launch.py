# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a bag into the node perception and records its results.

  ros2 launch diception_ros replay.launch.py bag:=drive out:=results image:=/camera/image_raw

The bag is played once the node is active. This is the live path: frames that come while the model
works are dropped unless policy:=all. `diception replay` processes every frame and needs no ROS.
All arguments of perception.launch.py are taken, too; ends when the bag does.
"""

from pathlib import Path
import sys

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

HERE = Path(__file__).resolve().parent
ARGUMENTS = [
    ('bag', None, 'bag that is played'),
    ('out', None, 'bag that is recorded: a folder of ros2 bag, or a .mcap of diception record'),
    ('rate', '1.0', 'playback speed factor'),
    ('record', '', 'topics that are recorded; empty: all'),
    ('tool', 'ros2', 'what plays and records: ros2 (ros2 bag) or diception'),
    ('linger', '5.0', 'seconds after the last message in which results may come'),
]


def generate_launch_description():
    """The arguments, and what is started once they are known."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, description=about)
                if default is None
                else DeclareLaunchArgument(name, default_value=default, description=about)
                for name, default, about in ARGUMENTS
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context):
    """The node, the recorder, and the player once the node is active."""
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    topics = given['record'].split()
    if given['tool'] == 'diception':
        diception = [sys.executable, '-m', 'diception_ros']
        play = [*diception, 'play', given['bag'], '--rate', given['rate']]
        record = [*diception, 'record', *topics, '--out', given['out'], '--sim-time']
    else:
        play = ['ros2', 'bag', 'play', given['bag'], '--rate', given['rate'], '--clock']
        record = ['ros2', 'bag', 'record', '-s', 'mcap', '-o', given['out'], '--use-sim-time']
        record += topics or ['-a']
    player = ExecuteProcess(cmd=play, output='screen')
    end = TimerAction(
        period=float(given['linger']),
        actions=[EmitEvent(event=Shutdown(reason='the bag has been played'))],
    )
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(HERE / 'perception.launch.py')),
            launch_arguments={'use_sim_time': 'true'}.items(),
        ),
        # Ctrl-C of launch finishes its bag.
        ExecuteProcess(cmd=record, output='screen'),
        RegisterEventHandler(
            # Its subscription exists before the node does, and the model loads for longer than
            # discovery takes. A node that is deactivated and activated again plays nothing again.
            OnStateTransition(goal_state='active', entities=[player], handle_once=True)
        ),
        RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[end])),
    ]
