# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of a machine: what is missing, what does not fit together, and how to fix it.

Imports that may crash the process (a numpy that a library was not built for, a driver) run in
another process. Nothing is changed and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import importlib.metadata
import importlib.util
import os
from pathlib import Path
import re
import shutil
import sys
import tempfile
from typing import Any

from diception_ros.doctor import missing_packages
from diception_ros.system import processes, ros_environment, safe_load
from diception_ros.system.ros_environment import distro

# BROKEN: it cannot run. WARN: it runs, but could be better, or an optional part is missing.
OK, WARN, BROKEN = 'OK', 'WARN', 'BROKEN'


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        check: what was checked, in a word.
        status: OK, WARN or BROKEN.
        message: what was found.
        fix_hint: how to fix it; empty if nothing is to be done.
    """

    check: str
    status: str
    message: str
    fix_hint: str = ''

    def __str__(self) -> str:
        lines = [f'{self.status:<6}  {self.check:<10}  {self.message}']
        if self.fix_hint:
            lines.append(f'{"":<20}-> {self.fix_hint}')
        return '\n'.join(lines)


def check_machine(model_name: str, device_name: str) -> Iterator[Finding]:
    """Run all checks, one after the other.

    Args:
        model_name: a model folder, or 'builtin'.
        device_name: where it will run: cpu, cuda or cuda:N.
    """
    yield interpreter()
    yield from packages()
    yield from opencv()
    torch_finding = device(device_name)
    yield torch_finding
    if torch_finding.check != 'torch':  # without it the folder cannot be checked
        yield model(model_name)
    yield from ros()
    yield from clashes()
    yield from graphics()
    yield space()
    yield from shared_memory()


# ---- Python and its packages --------------------------------------------------------------------

OLDEST, NEWEST = (3, 10), (3, 13)
# Extras of setup.py, and what needs them.
_EXTRAS = {
    'sim': 'diception simulate, demo, evaluate without DATASET',
    'evaluate': "COCO's numbers of evaluate and replay",
}


def interpreter(
    version: tuple[int, ...] = sys.version_info[:3], environment: Mapping[str, str] = os.environ
) -> Finding:
    """Check whether this Python is a supported one, and sees the packages of ROS."""
    python = f'{".".join(map(str, version))}, {sys.executable}'
    span = f'{_dotted(OLDEST)} to {_dotted(NEWEST)}'
    if version < OLDEST:
        return Finding(
            'python', BROKEN, f'{python}; expected {span}',
            'use a newer one: ROS 2 Humble (Ubuntu 22.04) and later have it; for make: '
            'make demo PYTHON=python3.11',
        )  # fmt: skip
    wanted = missing_packages.built_for(environment)
    running = f'python{version[0]}.{version[1]}'
    if wanted and running not in wanted:
        return Finding('python', BROKEN, python, missing_packages.ros(environment))
    if wanted and missing_packages.in_venv() and not sees_system():
        return Finding(
            'python', WARN, f'{python}, a virtual environment that does not see the packages of '
            'apt, some of which ROS needs',
            'make it with: python3 -m venv --system-site-packages venv',
        )  # fmt: skip
    if version[:2] > NEWEST:
        return Finding(
            'python', WARN, f'{python}; tried are {span}',
            'if a library has no release for it yet, take an older Python',
        )  # fmt: skip
    return Finding('python', OK, python)


def sees_system() -> bool:
    """Whether this virtual environment was made with --system-site-packages."""
    try:
        lines = Path(sys.prefix, 'pyvenv.cfg').read_text().lower().splitlines()
    except OSError:
        return False
    lines_of = dict(line.split('=', 1) for line in lines if '=' in line)
    return {name.strip(): value.strip() for name, value in lines_of.items()}.get(
        'include-system-site-packages'
    ) == 'true'


def packages(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Check whether the requirements of setup.py are installed, in versions that it allows."""
    wanted = missing_packages.requirements()
    if not wanted:
        yield Finding(
            'packages', WARN, 'diception_ros is not installed for this Python, only its files '
            'are seen, so what it needs is not known',
            f"in its folder: {sys.executable} -m pip install -e '.[sim,evaluate]'",
        )  # fmt: skip
        return
    absent = [item for item in wanted if installed(item) is None]
    if absent:
        names = [missing_packages.name_of(item) for item in absent]
        yield Finding(
            'packages', BROKEN, f'not installed: {", ".join(names)}',
            missing_packages.install(names, environment),
        )  # fmt: skip
    odd = [
        f'{missing_packages.name_of(item)} {installed(item)} ({item})'
        for item in wanted
        if unfit(item)
    ]
    if odd:
        yield Finding(
            'packages', WARN, f'not of a version that was tried: {"; ".join(odd)}',
            f'{sys.executable} -m pip install '
            + ' '.join(f"'{item}'" for item in wanted
        if unfit(item)),
        )  # fmt: skip
    if not absent and not odd:
        yield Finding('packages', OK, f'all {len(wanted)} that it needs')
    for extra, use in _EXTRAS.items():
        lacking = [
            requirement
            for requirement in missing_packages.requirements(extra)
            if installed(requirement) is None
        ]
        if lacking:
            names = [missing_packages.name_of(item) for item in lacking]
            yield Finding(
                'packages', WARN, f'{", ".join(names)} is not installed; it is for {use}',
                missing_packages.install(names, environment),
            )  # fmt: skip


def opencv() -> Iterator[Finding]:
    """Check whether OpenCV can be imported, which needs system libraries; no finding if it can."""
    if importlib.util.find_spec('cv2') is None:
        return
    result = processes.run_isolated('import cv2\nreport(cv2.__version__)')
    if result.value is None:
        error = ImportError(result.error.partition('Error: ')[2] or result.error, name='cv2')
        yield Finding('opencv', BROKEN, str(error), missing_packages.fix_hint(error))


def installed(requirement: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    name = missing_packages.name_of(requirement)
    # OpenCV has four distributions on PyPI, and apt installs it without one.
    names = [name]
    if name == 'opencv-python':
        names += ['opencv-python-headless', 'opencv-contrib-python']
    for distribution in names:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    if name == 'opencv-python' and importlib.util.find_spec('cv2') is not None:
        return ''
    return None


def unfit(requirement: str) -> bool:
    """Whether the installed version is not an allowed one."""
    version = installed(requirement)
    if not version or importlib.util.find_spec('packaging') is None:
        return False
    from packaging.requirements import Requirement

    return not Requirement(requirement).specifier.contains(version, prereleases=True)


def _dotted(version: tuple[int, ...]) -> str:
    return '.'.join(map(str, version))


# ---- device -------------------------------------------------------------------------------------

# Exists while NVIDIA's kernel driver is loaded.
_DRIVER = Path('/proc/driver/nvidia/version')
_PROGRAM = """
import torch
found = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
report({
    'torch': torch.__version__, 'cuda': torch.version.cuda, 'threads': torch.get_num_threads(),
    'devices': [[item.name, item.total_memory] for item in found],
})
"""
_BUILD = 'install a build of torch for CUDA: https://pytorch.org/get-started/locally'


def device(wanted: str) -> Finding:
    """Check whether torch works and has the device.

    Args:
        wanted: 'cpu', 'cuda' or 'cuda:N'.

    Returns:
        A finding about 'torch' if it cannot be imported, else about 'device'.
    """
    result = processes.run_isolated(_PROGRAM)
    if result.value is None:
        return Finding('torch', BROKEN, result.error, missing_packages.install(['torch']))
    return device_finding(wanted, result.value, _DRIVER.exists())


def device_finding(wanted: str, report: dict[str, Any], driver: bool) -> Finding:
    """The finding for what torch reports.

    Args:
        wanted: see `device`.
        report: versions 'torch' and 'cuda' (None in a build without), 'threads', and 'devices'
            with name and memory of each, bytes.
        driver: whether NVIDIA's driver is loaded.
    """
    devices, built = report['devices'], report['cuda'] is not None
    about = f'torch {report["torch"]}'
    shown = ', '.join(f'{name} ({size / 2**30:.0f} GiB)' for name, size in devices)
    kind, _, number = wanted.partition(':')
    if kind not in ('cpu', 'cuda') or (number and not number.isdecimal()):
        return Finding('device', BROKEN, f'{wanted!r}', 'expected cpu, cuda or cuda:N')
    if kind == 'cuda' and int(number or 0) >= len(devices):
        if not built:
            return Finding('device', BROKEN, f'{about} was built without CUDA', _BUILD)
        if not driver:
            return Finding(
                'device', BROKEN, f'{about} is built for CUDA {report["cuda"]}, but no NVIDIA '
                'driver is loaded',
                'install the driver (nvidia-smi then shows the card), in a container give '
                '--gpus all, or set device to cpu',
            )  # fmt: skip
        return Finding(
            'device', BROKEN, f'{about} sees {shown or "no CUDA device"}, not {wanted}',
            'look at nvidia-smi and CUDA_VISIBLE_DEVICES; a driver older than CUDA '
            f'{report["cuda"]} needs an update or an older torch',
        )  # fmt: skip
    if kind == 'cuda':
        return Finding('device', OK, f'{about}, {shown}')
    if devices:
        return Finding('device', WARN, f'{about} on the CPU, beside {shown}', 'set device to cuda')
    if driver:
        return Finding(
            'device', WARN, f'{about} on the CPU, although an NVIDIA driver is loaded',
            'look at nvidia-smi and CUDA_VISIBLE_DEVICES' if built else _BUILD,
        )  # fmt: skip
    return Finding('device', OK, f'{about} on the CPU, {report["threads"]} threads')


# ---- graphics, disk, shared memory, model folder ------------------------------------------------

# What each process takes of /dev/shm with the Fast DDS profile, bytes.
SEGMENT = 64 << 20
# A minute of results for a camera of 640x480 at 10 Hz is less.
MIN_DISK = 2_000_000_000
# A process that exits normally leaves none; 20 killed ones leave about as many.
MANY_SEGMENTS = 100
_GL = """
from diception_ros.simulation import renderer
mujoco, context = renderer.open_gl_context((8, 8))
context.free()
report(mujoco.__version__)
"""


def graphics() -> Iterator[Finding]:
    """Check whether simulated rooms can be rendered; no finding without MuJoCo."""
    if importlib.util.find_spec('mujoco') is None:
        return
    backend = os.environ.get('MUJOCO_GL') or 'egl'
    result = processes.run_isolated(_GL)
    if result.value is None:
        reason = result.error.partition('Error: ')[2] or result.error
        problem, _, fix_hint = reason.rpartition('; ')
        yield Finding('graphics', WARN, problem or reason, fix_hint)
    else:
        yield Finding('graphics', OK, f'{backend}, MuJoCo {result.value}')


def space(places: Mapping[str, Path] | None = None) -> Finding:
    """Check the free space on disks.

    Args:
        places: folders by their use; None for those of this process.
    """
    places = places or {'here': Path.cwd(), 'temporary files': Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(path).free for name, path in places.items()}
    shown = ', '.join(f'{size / 1e9:.0f} GB {name}' for name, size in free.items())
    if min(free.values()) < MIN_DISK:
        return Finding(
            'disk', WARN, f'{shown} free', 'make room; bags and model folders are large'
        )
    return Finding('disk', OK, f'{shown} free')


def shared_memory(place: Path = Path('/dev/shm')) -> Iterator[Finding]:
    """Check whether processes can exchange images in shared memory."""
    if not place.is_dir():
        yield Finding(
            'memory', WARN, f'no {place}, so messages go through the network card',
            'in a container: --ipc=host',
        )  # fmt: skip
        return
    room = shutil.disk_usage(place)
    # A camera, the node and a viewer.
    if room.free < 3 * SEGMENT:
        yield Finding(
            'memory', WARN, f'{room.free >> 20} MiB of {room.total >> 20} MiB of {place} free; '
            f'with the profile for Fast DDS each process takes {SEGMENT >> 20} MiB',
            'in a container: --shm-size=1g or --ipc=host; else see what fills it',
        )  # fmt: skip
    else:
        yield Finding('memory', OK, f'{room.free >> 20} MiB of {place} free')
    left = len([*place.glob('fastrtps_*'), *place.glob('fastdds_*')])
    if left > MANY_SEGMENTS:
        yield Finding(
            'memory', WARN, f'{left} files of Fast DDS in {place}, most of them of processes '
            'that were killed',
            f'end all ROS processes, then: rm {place}/fastrtps_* {place}/fastdds_*',
        )  # fmt: skip


# Parts of a pipeline without weights.
_WEIGHTLESS = ('scheduler', 'tokenizer', 'tokenizer_2', 'tokenizer_3')


def model(name: str) -> Finding:
    """Check whether a model folder is complete; weights are not read."""
    from diception_ros.model import folder

    path = folder.resolve(name)
    try:
        folder.check_folder(path)
    except (OSError, ValueError) as error:
        if name == folder.BUILTIN:
            return Finding(
                'model', BROKEN, f'the built-in model is not in {path}',
                'install this package again, from a whole copy of its repository',
            )  # fmt: skip
        return Finding('model', BROKEN, str(error), 'docs/install.md says how to make one')
    lacking, size = _parts(path)
    if lacking:
        return Finding(
            'model', BROKEN, f'{path}: lacks {", ".join(lacking)}',
            'copy the folder again, or make it anew with diception convert',
        )  # fmt: skip
    if not any(path.glob('**/*.safetensors')):
        return Finding('model', WARN, f'{path}: no weights in it', 'make it anew')
    return Finding('model', OK, f'{name}, {size / 1e6:.0f} MB in {path}')


def _parts(path: Path) -> tuple[list[str], int]:
    """Components of the index that are missing, and the size of the folder in bytes."""
    lacking = []
    for name, value in safe_load.json_object(path / 'model_index.json').items():
        if not isinstance(value, list) or value == [None, None]:
            continue
        part = path / name
        if not part.is_dir():
            lacking.append(name)
        elif name not in _WEIGHTLESS and not any(part.glob('*.safetensors')):
            lacking.append(f'the weights of {name}')
    return lacking, sum(item.stat().st_size for item in path.rglob('*') if item.is_file())


# ---- ROS 2 --------------------------------------------------------------------------------------

# An image of 1920x1080 with three channels, bytes.
_IMAGE_BYTES = 1920 * 1080 * 3
_NEEDED = (
    'sensor_msgs', 'diagnostic_msgs', 'geometry_msgs', 'std_msgs', 'std_srvs', 'lifecycle_msgs',
)  # fmt: skip
_ROS_PROGRAM = f"""
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
    """Check ROS: the distribution, rclpy, message packages and the middleware."""
    name = distro(environment)
    sourced = bool(environment.get('ROS_DISTRO'))
    if not sourced and importlib.util.find_spec('rclpy') is None:
        yield Finding(
            'ros', WARN, 'no rclpy, so node, play, record and demo cannot run; the rest can',
            missing_packages.ros(environment),
        )  # fmt: skip
        return
    result = processes.run_isolated(_ROS_PROGRAM)
    report = result.value
    if report is None:
        fix_hint = missing_packages.ros(environment)
        yield Finding('ros', BROKEN, f'{name or "ROS"}: rclpy: {result.error}', fix_hint)
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
    """Check whether large images get through Fast DDS between processes."""
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
        text = Path(path).read_text('utf-8', 'replace')
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

    checked = encodings.check_cv_bridge()
    reason = checked.reason
    if not reason:
        out = processes.run_isolated(_BRIDGE_OUT)
        if out.value is not None:
            return Finding('cv_bridge', OK, f'agrees on {len(checked.encodings)} encodings')
        reason = (
            f'imgmsg_to_cv2 agrees on {len(checked.encodings)} encodings, but cv2_to_imgmsg '
            f'fails: {out.error}'
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
