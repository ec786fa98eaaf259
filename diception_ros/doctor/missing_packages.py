# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Advice for failed imports, for every verb and the node.

The usual cause on a robot: `ros2 run` starts another Python than the one that has the libraries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import importlib.metadata
import os
from pathlib import Path
import re
import shlex
import sys

# Modules whose distribution has another name.
_DISTRIBUTIONS = {
    'PIL': 'pillow',
    'cv2': 'opencv-python',
    'google': 'protobuf',
    'skimage': 'scikit-image',
    'yaml': 'pyyaml',
    'rerun': 'rerun-sdk',
}
# System libraries that OpenCV's wheels need, and their packages on Debian and Ubuntu.
_SYSTEM = {
    'libGL.so.1': 'libgl1',
    'libgthread-2.0.so.0': 'libglib2.0-0',
    'libglib-2.0.so.0': 'libglib2.0-0',
}
# Modules of ROS, which a robot does not get from pip.
_ROS = re.compile(r'_?rclpy|rcl_|rosidl_|rmw_|ament_|\w+_(msgs|srvs|interfaces)$')


def fix_hint(error: ImportError, environment: Mapping[str, str] = os.environ) -> str:
    """How to fix a failed import, in a sentence or more."""
    module = (error.name or '').split('.')[0]
    if any(str(error).startswith(f'{library}:') for library in _SYSTEM):
        # Only the first missing one is reported, so all are named.
        packages = ' '.join(dict.fromkeys(_SYSTEM.values()))
        return (
            'a library of the system is missing, which pip cannot bring; on Debian and Ubuntu: '
            f'apt-get install {packages}'
        )
    if module == 'rclpy' or _ROS.match(module):
        return f'{_here()}. {ros(environment)}'
    return f'{_here()}. {install([module] if module else [], environment)}'


def install(modules: list[str], environment: Mapping[str, str] = os.environ) -> str:
    """How to install missing packages for this Python.

    Args:
        modules: as they are imported; none for all requirements of this package.
        environment: variables of the process.
    """
    wanted = [requirement(_DISTRIBUTIONS.get(name, name)) for name in modules]
    what = shlex.join(wanted) if wanted else "-e '.[sim,evaluate]' (in the folder of this package)"
    command = f'{sys.executable} -m pip install {what}'
    if environment.get('ROS_DISTRO') and not in_venv():
        return (
            '`ros2 run` and `ros2 launch` take the python3 that is active: activate the virtual '
            'environment that has it, in this terminal. If there is none: python3 -m venv '
            f'--system-site-packages venv; . venv/bin/activate; pip install {what} '
            '(docs/install.md has every step)'
        )
    return f'Install it there: {command}'


def ros(environment: Mapping[str, str] = os.environ) -> str:
    """How to get rclpy and the message packages."""
    distro = environment.get('ROS_DISTRO')
    if distro:
        wanted = built_for(environment)
        running = f'python{sys.version_info.major}.{sys.version_info.minor}'
        if wanted and running not in wanted:
            return (
                f'ROS {distro} is built for {wanted[0]} and this is {running}: use '
                f'/usr/bin/python3, or a virtual environment made by it'
            )
        return (
            f'ROS {distro} is sourced; a virtual environment sees it when it was made with '
            '--system-site-packages, and a package of messages comes with apt as '
            f'ros-{distro}-NAME'
        )
    there = sorted(path.name for path in Path('/opt/ros').glob('*') if path.is_dir())
    if there:
        return f'ROS is installed but not sourced: . /opt/ros/{there[-1]}/setup.sh'
    wanted = requirements('ros') or ['ros-rclpy[fastrtps]', 'ros-sensor-msgs']
    return (
        'Without a ROS installation, rclpy comes from PyPI: '
        f'{sys.executable} -m pip install {shlex.join(wanted)}'
    )


def packages(names: Iterable[str], distro: str) -> str:
    """The command that installs packages of a ROS distribution on Debian and Ubuntu."""
    return 'apt-get install ' + ' '.join(
        f'ros-{distro}-{name.replace("_", "-")}' for name in names
    )


def requirement(distribution: str) -> str:
    """The requirement of this package for a distribution, such as 'torch<3,>=2.5'."""
    for extra in ('', *_extras()):
        for item in requirements(extra):
            if name_of(item).lower() == distribution.lower():
                return item
    return distribution


def requirements(extra: str = '') -> list[str]:
    """The requirements of setup.py; none if this package is not installed.

    Args:
        extra: only those of this extra, such as 'sim'.
    """
    try:
        lines = importlib.metadata.requires('diception_ros') or []
    except importlib.metadata.PackageNotFoundError:
        return []
    requirement_lines = []
    for line in lines:
        wanted, _, marker = (part.strip() for part in line.partition(';'))
        extras = re.findall(r'extra == ["\']([^"\']+)', marker)
        older = re.search(r'python_version < ["\'](\d+)\.(\d+)', marker)
        needed = older is None or sys.version_info < (int(older[1]), int(older[2]))
        if needed and extras == ([extra] if extra else []):
            requirement_lines.append(wanted)
    return requirement_lines


def _extras() -> list[str]:
    try:
        about = importlib.metadata.metadata('diception_ros')
    except importlib.metadata.PackageNotFoundError:
        return []
    return [str(name) for name in about.get_all('Provides-Extra') or []]


def name_of(requirement: str) -> str:
    """'ros-rclpy[fastrtps]>=1' -> 'ros-rclpy'."""
    match = re.match(r'[\w.-]+', requirement)
    return match[0] if match else requirement


def in_venv() -> bool:
    """Whether this Python is that of a virtual environment."""
    return sys.prefix != sys.base_prefix


def built_for(environment: Mapping[str, str]) -> list[str]:
    """The Pythons that the sourced ROS has packages for, such as ['python3.12']."""
    return list(
        dict.fromkeys(
            match[1]
            for path in environment.get('PYTHONPATH', '').split(os.pathsep)
            if (match := re.search(r'/lib/(python3\.\d+)/(?:site|dist)-packages', path))
        )
    )


def _here() -> str:
    return f'this runs in {sys.executable}'
