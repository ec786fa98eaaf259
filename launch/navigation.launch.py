# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Launch the node perception for a costmap of nav2, and on request a costmap alone to look at.

  ros2 launch diception_ros navigation.launch.py image:=/camera/image_raw camera_height:=0.3 \
      costmap:=true

All arguments of perception.launch.py are taken, too. docs/navigation.md has the rest.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# The share folder of the package when it is installed, the repository when it is not.
HERE = Path(__file__).resolve().parents[1]
ARGUMENTS = [
    ('params_file', str(HERE / 'config' / 'navigation.yaml'), 'file of parameters of the node'),
    ('costmap', 'false', 'start a costmap of nav2 without the rest of nav2'),
    (
        'costmap_file',
        str(HERE / 'config' / 'nav2_costmap.yaml'),
        'file of parameters of the costmap',
    ),
]


def generate_launch_description():
    """The node, and the costmap with what activates it."""
    condition = IfCondition(LaunchConfiguration('costmap'))
    perception = PythonLaunchDescriptionSource(str(HERE / 'launch' / 'perception.launch.py'))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=about)
                for name, default, about in ARGUMENTS
            ),
            IncludeLaunchDescription(
                perception,
                launch_arguments={'params_file': LaunchConfiguration('params_file')}.items(),
            ),
            Node(
                package='nav2_costmap_2d',
                executable='nav2_costmap_2d',
                parameters=[LaunchConfiguration('costmap_file')],
                output='screen',
                condition=condition,
            ),
            Node(
                package='nav2_lifecycle_manager',
                executable='lifecycle_manager',
                name='costmap_manager',
                parameters=[
                    # A costmap alone forms no bond.
                    {'autostart': True, 'node_names': ['costmap/costmap'], 'bond_timeout': 0.0}
                ],
                output='screen',
                condition=condition,
            ),
        ]
    )
