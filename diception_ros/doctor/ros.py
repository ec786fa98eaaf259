# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS 2: the distribution, rclpy, the middleware and its profile, other libraries beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import importlib.metadata
import importlib.util
import os
from pathlib import Path
import re

from diception_ros.doctor import missing_packages
from diception_ros.doctor.checks import BROKEN, OK, WARN, Finding
from diception_ros.system import processes, ros_environment
from diception_ros.system.ros_environment import distro

# An image of 1920x1080 with three channels, bytes.
_IMAGE_BYTES = 1920 * 1080 * 3
_NEEDED = (
    'sensor_msgs', 'diagnostic_msgs', 'geometry_msgs', 'std_msgs', 'std_srvs', 'lifecycle_msgs',
)  # fmt: skip
_PROGRAM = f"""
import importlib
import rclpy
found = {{'rclpy': rclpy.__file__}}
for name in {(*_NEEDED, 'vision_msgs')!r}:
    try:
        importlib.import_module(name + '.msg' if name != 'std_srvs' else 'std_srvs.srv')
    except ImportError as error:
        found[name] = str(error)
try:
    found['rmw'] = rclpy.get_rmw_implementation_identifier()
except Exception as error:
    found['no rmw'] = str(error)
report(found)
"""


def ros(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Check ROS: the distribution, rclpy, message packages and the middleware.

    Args:
        environment: variables of the process.
    """
    name = distro(environment)
    sourced = bool(environment.get('ROS_DISTRO'))
    if not sourced and importlib.util.find_spec('rclpy') is None:
        yield Finding(
            'ros', WARN, 'no rclpy, so node, play, record and demo cannot run; the rest can',
            missing_packages.ros(environment),
        )  # fmt: skip
        return
    answer = processes.run_isolated(_PROGRAM)
    report = answer.value
    if report is None:
        cure = missing_packages.ros(environment)
        yield Finding('ros', BROKEN, f'{name or "ROS"}: rclpy: {answer.error}', cure)
        return
    where = '' if sourced else ', not sourced'
    yield Finding(
        'ros', OK, f'{name or "unknown"}{where}, rclpy in {Path(report["rclpy"]).parent}'
    )
    yield from _messages(report, name if sourced else '')
    if 'no rmw' in report:
        asked = environment.get('RMW_IMPLEMENTATION', '')
        yield Finding(
            'middleware', BROKEN, report['no rmw'],
            f'RMW_IMPLEMENTATION is {asked!r}: install it, or unset it' if asked else
            'install one, such as rmw_fastrtps_cpp',
        )  # fmt: skip
        return
    domain = environment.get('ROS_DOMAIN_ID', '0')
    yield Finding('middleware', OK, f'{report["rmw"]}, ROS_DOMAIN_ID {domain}')
    if 'fastrtps' in report['rmw']:
        yield profile(name, environment)


def _messages(report: Mapping[str, str], name: str) -> Iterator[Finding]:
    """Missing message packages; `name` of the distribution, '' for the wheels."""
    lacking = [package for package in _NEEDED if package in report]
    if lacking:
        yield Finding(
            'messages', BROKEN, '; '.join(f'{item}: {report[item]}' for item in lacking),
            _install(lacking, name),
        )  # fmt: skip
    if 'vision_msgs' in report:
        yield Finding(
            'messages', WARN, 'no vision_msgs, so detections and label_info are not published',
            _install(['vision_msgs'], name) if name else 'it comes with a ROS installation alone',
        )  # fmt: skip


def _install(packages: list[str], name: str) -> str:
    if name:
        return missing_packages.packages(packages, name)
    return 'pip install ' + ' '.join(f'ros-{package.replace("_", "-")}' for package in packages)


def profile(name: str, environment: Mapping[str, str] = os.environ) -> Finding:
    """Check whether large images get through Fast DDS between processes.

    Args:
        name: of the distribution.
        environment: variables of the process.
    """
    right = ros_environment.variable(name)
    other = next(variable for variable in ros_environment.VARIABLES if variable != right)
    file = ros_environment.profile()
    export = f'export {right}={file or "FILE of " + ros_environment.PROFILE}'
    both = f'{export} for the camera and for this; this package sets it for its own processes'
    if right in environment and not environment[right]:
        return Finding('profile', WARN, f'{right} is set to nothing', f'unset {right}, or {both}')
    path = environment.get(right)
    if not path:
        if environment.get(other):
            return Finding(
                'profile', WARN, f'{other} is set, but {name or "this ROS"} reads {right}', both
            )
        return Finding(
            'profile', WARN, 'none: Fast DDS loses big best-effort images between processes',
            both,
        )  # fmt: skip
    try:
        text = Path(path).read_text()
    except OSError as error:
        return Finding('profile', WARN, f'{right}: {error}', both)
    sizes = [int(size) for size in re.findall(r'<segment_size>\s*(\d+)', text)]
    if '<type>SHM</type>' not in re.sub(r'\s', '', text) or max(sizes, default=0) < _IMAGE_BYTES:
        return Finding(
            'profile', WARN, f'{path} gives shared memory of {max(sizes, default=0)} bytes, less '
            f'than one image of 1920x1080 ({_IMAGE_BYTES})',
            both,
        )  # fmt: skip
    return Finding('profile', OK, f'{right}={path}, {max(sizes) >> 20} MiB of shared memory')


def clashes() -> Iterator[Finding]:
    """Check for versions that are known to clash."""
    if importlib.util.find_spec('cv_bridge') is not None:
        yield _bridge()
    plugins = importlib.util.find_spec('launch_testing') is not None
    if plugins and _major('pytest') >= 9 and not os.environ.get('PYTEST_DISABLE_PLUGIN_AUTOLOAD'):
        yield Finding(
            'pytest', WARN, f'pytest {importlib.metadata.version("pytest")} fails on the plugins '
            'of launch_testing',
            'export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1, as make does',
        )  # fmt: skip


# The opposite direction: with OpenCV 5 it fails where imgmsg_to_cv2 works.
_BRIDGE_OUT = """
import numpy as np
from cv_bridge import CvBridge
pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
message = CvBridge().cv2_to_imgmsg(pixels, 'bgr8')
assert (message.height, message.width, message.encoding) == (2, 3, 'bgr8'), 'another shape'
assert bytes(message.data) == pixels.tobytes(), 'other pixels'
report('')
"""


def _bridge() -> Finding:
    from diception_ros.messages import encodings

    found = encodings.check_cv_bridge()
    reason = found.reason
    if not reason:
        out = processes.run_isolated(_BRIDGE_OUT)
        if out.value is not None:
            return Finding('cv_bridge', OK, f'agrees on {len(found.encodings)} encodings')
        reason = (
            f'imgmsg_to_cv2 agrees on {len(found.encodings)} encodings, but cv2_to_imgmsg fails: '
            f'{out.error}'
        )
    versions = ', '.join(
        f'{name} {_version(name)}' for name in ('numpy', 'opencv-python') if _version(name)
    )
    return Finding(
        'cv_bridge', WARN, f'{reason}; beside {versions}',
        'nothing for this package, which converts images itself; for other nodes in this '
        "environment: pip install 'numpy<2' 'opencv-python<5'",
    )  # fmt: skip


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ''


def _major(name: str) -> int:
    return int((_version(name) or '0').split('.')[0])
