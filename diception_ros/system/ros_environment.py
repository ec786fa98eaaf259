# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Environment of a ROS process: distribution, Fast DDS profile, log directory. Needs no ROS.

Stock Fast DDS loses large best-effort messages between processes: its shared memory of 512 KiB is
smaller than one image. A profile gives it more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, MutableMapping
import contextlib
import os
from pathlib import Path
import re
import shutil
import socket
import sys
import tempfile

# A part of a ROS name, between its slashes.
NAME = re.compile('[A-Za-z_][A-Za-z0-9_]*')

PROFILE = 'config/fastdds_shm.xml'
# Of a process that sends no images but the node's results.
NODE_PROFILE = 'config/fastdds_shm_node.xml'
# Fast DDS 3, which came with Kilted, renamed it.
VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
# Set to anything, it keeps this package and the processes that it starts from naming the profile.
DISABLED = 'DICEPTION_NO_SHARED_MEMORY'
_OLD = ('foxy', 'galactic', 'humble', 'iron', 'jazzy')
# By the major version of rclpy, where no distribution is sourced.
_DISTROS = {3: 'humble', 5: 'iron', 7: 'jazzy', 9: 'kilted', 10: 'lyrical'}
# Free bytes that the profile needs: a segment of 64 MiB for this process and one for another.
_SHARED_MEMORY = 2 * 64 * 2**20
# Ports of these domains lie below the ephemeral ports of Linux.
_DOMAINS = range(10, 100)


def camera_info_topic(image: str) -> str:
    """The topic of the CameraInfo of a topic of images, by image_transport's convention.

    It is in the namespace of the images: '/front/camera_info' for '/front/image_raw' and for
    '/front/image_raw/compressed', 'camera_info' for 'image_raw'.
    """
    namespace, slash, _ = image.removesuffix('/compressed').rpartition('/')
    return f'{namespace}{slash}camera_info'


def distro(environment: Mapping[str, str] = os.environ) -> str:
    """The ROS distribution: the sourced one, else that of the wheels; '' if none."""
    if sourced := environment.get('ROS_DISTRO'):
        return sourced
    import importlib.metadata  # takes as long as all else that help imports

    try:
        version = importlib.metadata.version('rclpy')
    except importlib.metadata.PackageNotFoundError:
        return ''
    return _DISTROS.get(int(version.split('.')[0]), '')


def variable(distro: str) -> str:
    """The variable that names the profile in a ROS distribution, such as 'jazzy'."""
    return VARIABLES[distro in _OLD]


def profile(name: str = PROFILE) -> Path | None:
    """A profile of this package, in the repository or where it was installed."""
    package = Path(__file__).resolve().parents[1]
    roots = [
        package.parent,  # the repository
        Path(sys.prefix, 'share', package.name),  # pip
        *(parent / 'share' / package.name for parent in package.parents),  # colcon
    ]
    return next((root / name for root in roots if (root / name).is_file()), None)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Declare the option --no-shared-memory of a verb that uses ROS."""
    parser.add_argument(
        '--shared-memory', action=argparse.BooleanOptionalAction, default=True,
        help='use the Fast DDS profile of this package, with shared memory that images fit into, '
        'unless the environment names another (default: yes)',
    )  # fmt: skip


def disable_profile() -> None:
    """Set DISABLED, as --no-shared-memory asks; child processes follow."""
    os.environ[DISABLED] = '1'


def use_profile(
    environment: MutableMapping[str, str] = os.environ,
    shared_memory: Path = Path('/dev/shm'),
    name: str = PROFILE,
) -> bool:
    """Set the variable of the profile unless a variable is set; call it before rclpy.init.

    Args:
        environment: variables of the process.
        shared_memory: where Fast DDS puts its segments. With too little room there, as in a
            container of 64 MB, the profile would leave it without shared memory, so it isn't set.
        name: PROFILE or NODE_PROFILE.

    Returns:
        Whether the variable was set.
    """
    file = profile(name)
    other_rmw = 'fastrtps' not in environment.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp')
    chosen = any(environment.get(name) for name in (*VARIABLES, DISABLED))
    if file is None or other_rmw or chosen:
        return False
    try:
        if shutil.disk_usage(shared_memory).free < _SHARED_MEMORY:
            return False
    except OSError:
        return False
    environment[variable(distro(environment))] = str(file)
    return True


def prepare(profile_name: str = PROFILE) -> list[str]:
    """Prepare the environment of this process for rclpy; call it before rclpy.init.

    Sets the Fast DDS profile, a folder for temporary files (torch does not import without one) and
    the log directory, each only where the user did not.

    Args:
        profile_name: PROFILE or NODE_PROFILE.

    Returns:
        Further arguments for rclpy.init.
    """
    use_profile(name=profile_name)
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        if _writable(Path('/dev/shm')):
            tempfile.tempdir = os.environ['TMPDIR'] = '/dev/shm'
    return log_arguments()


def log_arguments(
    environment: MutableMapping[str, str] = os.environ, warn: Callable[[str], object] | None = None
) -> list[str]:
    """Make sure that rclpy finds a log directory it can write to; rclpy.init fails without one.

    Without a usable ROS_LOG_DIR, ROS_HOME or HOME, ROS_LOG_DIR is set to a folder of the user's
    home or of temporary files. If none is writable, log files are turned off.

    Args:
        environment: variables of the process.
        warn: receives one line if the log goes elsewhere; None: standard error.

    Returns:
        Further arguments for rclpy.init.
    """
    warn = warn or (lambda text: sys.stderr.write(f'{text}\n'))
    home = environment.get('HOME', '')
    configured = environment.get('ROS_LOG_DIR', '')
    if not configured and environment.get('ROS_HOME'):
        configured = f'{environment["ROS_HOME"]}/log'
    if configured or home:
        first = configured or f'{home}/.ros/log'
        if _writable(Path(first.replace('~', home, 1) if first.startswith('~') else first)):
            return []
        problem = f'{first} is not writable'
    else:
        problem = 'HOME is not set'
    for folder in _log_folders():
        if _writable(folder):
            environment['ROS_LOG_DIR'] = str(folder)
            warn(f'ROS log: {problem}, so log files go to {folder}; ROS_LOG_DIR chooses another')
            return []
    warn(f'ROS log: {problem}, so there are no log files; set ROS_LOG_DIR to a writable folder')
    return ['--ros-args', '--disable-external-lib-logs']


def _log_folders() -> list[Path]:
    folders = []
    home = os.path.expanduser('~')  # without HOME, that of the password database
    if home.startswith('/'):
        folders.append(Path(home, '.ros', 'log'))
    with contextlib.suppress(OSError):  # no folder for temporary files is writable
        folders.append(Path(tempfile.gettempdir(), f'ros_log_{os.getuid()}'))
    return folders


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def domain() -> Iterator[int]:
    """A ROS domain of its own among the demos, benches and tests of this machine, in a `with`.

    Raises:
        OSError: all of them are taken.
    """
    for step in range(len(_DOMAINS)):
        number = _DOMAINS[(os.getpid() + step) % len(_DOMAINS)]
        with socket.socket(socket.AF_UNIX) as lock:
            try:
                # An abstract name: nothing is left behind, whatever happens.
                lock.bind(f'\0diception_ros_domain_{number}')
            except OSError:
                continue
            yield number
            return
    raise OSError('every ROS domain from 10 to 99 is taken by another demo, bench or test')


def variables(number: int) -> dict[str, str]:
    """Variables for processes that talk to each other on this machine and to nobody else.

    Args:
        number: ROS_DOMAIN_ID.
    """
    environment, name = {**os.environ, 'ROS_DOMAIN_ID': str(number)}, distro()
    if name == 'humble':
        environment['ROS_LOCALHOST_ONLY'] = '1'
    else:
        environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    use_profile(environment)
    return environment
