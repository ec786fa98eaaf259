# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The interpreter and the packages that were installed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path
import shutil
import sys
import tempfile
from typing import Any

from diception_ros.doctor import missing_packages
from diception_ros.system import processes

# What was found, whether it is well, and what to do if it is not.


# BROKEN: what was asked for cannot run. WARN: it runs, but something is worse than it could be,
# or a part that not everybody needs is missing.
OK, WARN, BROKEN = 'OK', 'WARN', 'BROKEN'


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what, in a word.
        verdict: OK, WARN or BROKEN.
        found: what there is.
        cure: what to do; empty where all is well.
    """

    about: str
    verdict: str
    found: str
    cure: str = ''

    def __str__(self) -> str:
        lines = [f'{self.verdict:<6}  {self.about:<10}  {self.found}']
        if self.cure:
            lines.append(f'{"":<20}-> {self.cure}')
        return '\n'.join(lines)


OLDEST, NEWEST = (3, 10), (3, 13)
# What needs an extra of setup.py, and what it is for.
_EXTRAS = {
    'sim': 'diception simulate, demo, evaluate without DATASET',
    'evaluate': "COCO's numbers of evaluate and replay",
}


def interpreter(
    version: tuple[int, ...] = sys.version_info[:3], environment: Mapping[str, str] = os.environ
) -> Finding:
    """Whether this Python is one of those that were tried, and sees what ROS brings.

    Args:
        version: of Python.
        environment: variables of the process.
    """
    found = f'{".".join(map(str, version))}, {sys.executable}'
    span = f'{_dotted(OLDEST)} to {_dotted(NEWEST)}'
    if version < OLDEST:
        return Finding(
            'python', BROKEN, f'{found}; expected {span}',
            'use a newer one: ROS 2 Humble (Ubuntu 22.04) and later have it; for make: '
            'make demo PYTHON=python3.11',
        )  # fmt: skip
    wanted = missing_packages.built_for(environment)
    running = f'python{version[0]}.{version[1]}'
    if wanted and running not in wanted:
        return Finding('python', BROKEN, found, missing_packages.ros(environment))
    if wanted and missing_packages.in_venv() and not sees_system():
        return Finding(
            'python', WARN, f'{found}, a virtual environment that does not see the packages of '
            'apt, some of which ROS needs',
            'make it with: python3 -m venv --system-site-packages venv',
        )  # fmt: skip
    if version[:2] > NEWEST:
        return Finding(
            'python', WARN, f'{found}; tried are {span}',
            'if a library has no release for it yet, take an older Python',
        )  # fmt: skip
    return Finding('python', OK, found)


def sees_system() -> bool:
    """Whether this virtual environment was made with --system-site-packages."""
    try:
        lines = Path(sys.prefix, 'pyvenv.cfg').read_text().lower().splitlines()
    except OSError:
        return False
    told = dict(line.split('=', 1) for line in lines if '=' in line)
    return {name.strip(): value.strip() for name, value in told.items()}.get(
        'include-system-site-packages'
    ) == 'true'


def packages(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Whether what setup.py asks for is there, in versions that it allows."""
    wanted = missing_packages.requirements()
    if not wanted:
        yield Finding(
            'packages', WARN, 'diception_ros is not installed for this Python, only its files '
            'are seen, so what it needs is not known',
            f"in its folder: {sys.executable} -m pip install -e '.[sim,evaluate]'",
        )  # fmt: skip
        return
    absent = [one for one in wanted if installed(one) is None]
    if absent:
        names = [missing_packages.name_of(one) for one in absent]
        yield Finding(
            'packages', BROKEN, f'not installed: {", ".join(names)}',
            missing_packages.install(names, environment),
        )  # fmt: skip
    odd = [
        f'{missing_packages.name_of(one)} {installed(one)} ({one})' for one in wanted if unfit(one)
    ]
    if odd:
        yield Finding(
            'packages', WARN, f'not of a version that was tried: {"; ".join(odd)}',
            f'{sys.executable} -m pip install '
            + ' '.join(f"'{one}'" for one in wanted if unfit(one)),
        )  # fmt: skip
    if not absent and not odd:
        yield Finding('packages', OK, f'all {len(wanted)} that it needs')
    for extra, use in _EXTRAS.items():
        lacking = [one for one in missing_packages.requirements(extra) if installed(one) is None]
        if lacking:
            names = [missing_packages.name_of(one) for one in lacking]
            yield Finding(
                'packages', WARN, f'{", ".join(names)} is not installed; it is for {use}',
                missing_packages.install(names, environment),
            )  # fmt: skip


def opencv() -> Iterator[Finding]:
    """Whether OpenCV can be loaded, which wants libraries of the system; nothing where it can."""
    if importlib.util.find_spec('cv2') is None:
        return
    answer = processes.run_isolated('import cv2\nreport(cv2.__version__)')
    if answer.value is None:
        error = ImportError(answer.error.partition('Error: ')[2] or answer.error, name='cv2')
        yield Finding('opencv', BROKEN, str(error), missing_packages.cure(error))


def installed(requirement: str) -> str | None:
    """The version of a distribution that is there, None where it is not."""
    name = missing_packages.name_of(requirement)
    # OpenCV comes under four names, and with apt under none.
    names = [name]
    if name == 'opencv-python':
        names += ['opencv-python-headless', 'opencv-contrib-python']
    for one in names:
        try:
            return importlib.metadata.version(one)
        except importlib.metadata.PackageNotFoundError:
            continue
    if name == 'opencv-python' and importlib.util.find_spec('cv2') is not None:
        return ''
    return None


def unfit(requirement: str) -> bool:
    """Whether the version that is there is not one that is asked for."""
    version = installed(requirement)
    if not version or importlib.util.find_spec('packaging') is None:
        return False
    from packaging.requirements import Requirement

    return not Requirement(requirement).specifier.contains(version, prereleases=True)


def _dotted(version: tuple[int, ...]) -> str:
    return '.'.join(map(str, version))


# torch, and where the model is to run.


# Where NVIDIA's kernel driver says that it is loaded.
_DRIVER = Path('/proc/driver/nvidia/version')
_PROGRAM = """
import torch
found = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
report({
    'torch': torch.__version__, 'cuda': torch.version.cuda, 'threads': torch.get_num_threads(),
    'devices': [[one.name, one.total_memory] for one in found],
})
"""
_BUILD = 'install a build of torch for CUDA: https://pytorch.org/get-started/locally'


def device(wanted: str, driver: Path = _DRIVER) -> Finding:
    """Whether torch works, and has the device that is wanted.

    Args:
        wanted: 'cpu', 'cuda' or 'cuda:N'.
        driver: a file that is there when a driver is loaded.

    Returns:
        a finding about 'torch' where it cannot be imported, else about 'device'.
    """
    answer = processes.run_isolated(_PROGRAM)
    if answer.value is None:
        return Finding('torch', BROKEN, answer.error, missing_packages.install(['torch']))
    return judge(wanted, answer.value, driver.exists())


def judge(wanted: str, said: dict[str, Any], driver: bool) -> Finding:
    """What to say about what torch told.

    Args:
        wanted: see `device`.
        said: versions 'torch' and 'cuda' (None in a build without), 'threads', and 'devices' with
            name and bytes of memory of each.
        driver: whether NVIDIA's driver is loaded.
    """
    devices, built = said['devices'], said['cuda'] is not None
    about = f'torch {said["torch"]}'
    shown = ', '.join(f'{name} ({size / 2**30:.0f} GiB)' for name, size in devices)
    kind, _, number = wanted.partition(':')
    if kind not in ('cpu', 'cuda') or (number and not number.isdecimal()):
        return Finding('device', BROKEN, f'{wanted!r}', 'expected cpu, cuda or cuda:N')
    if kind == 'cuda' and int(number or 0) >= len(devices):
        if not built:
            return Finding('device', BROKEN, f'{about} was built without CUDA', _BUILD)
        if not driver:
            return Finding(
                'device', BROKEN, f'{about} is built for CUDA {said["cuda"]}, but no NVIDIA '
                'driver is loaded',
                'install the driver (nvidia-smi then shows the card), in a container give '
                '--gpus all, or set device to cpu',
            )  # fmt: skip
        return Finding(
            'device', BROKEN, f'{about} sees {shown or "no CUDA device"}, not {wanted}',
            'look at nvidia-smi and CUDA_VISIBLE_DEVICES; a driver older than CUDA '
            f'{said["cuda"]} needs an update or an older torch',
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
    return Finding('device', OK, f'{about} on the CPU, {said["threads"]} threads')


# What the machine has: OpenGL for simulated rooms, room on disks and in shared memory.


# Of the profile for Fast DDS: what each process takes of /dev/shm, bytes.
SEGMENT = 64 << 20
# A minute of answers to a camera of 640x480 at 10 Hz is less.
LEAST_DISK = 2_000_000_000
# A process that ends well leaves none; those of 20 that were killed are about as many.
MANY_SEGMENTS = 100
_GL = """
from diception_ros.simulation import renderer
mujoco, context = renderer.open_gl_context((8, 8))
context.free()
report(mujoco.__version__)
"""


def graphics(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Whether simulated rooms can be drawn; nothing where there is no MuJoCo."""
    if importlib.util.find_spec('mujoco') is None:
        return
    backend = environment.get('MUJOCO_GL') or 'egl'
    answer = processes.run_isolated(_GL)
    if answer.value is None:
        reason = answer.error.partition('Error: ')[2] or answer.error
        found, _, cure = reason.rpartition('; ')
        yield Finding('graphics', WARN, found or reason, cure)
    else:
        yield Finding('graphics', OK, f'{backend}, MuJoCo {answer.value}')


def space(places: Mapping[str, Path] | None = None) -> Finding:
    """Whether there is room for what is written.

    Args:
        places: folders by what they are for; None for those of this process.
    """
    places = places or {'here': Path.cwd(), 'temporary files': Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(path).free for name, path in places.items()}
    shown = ', '.join(f'{size / 1e9:.0f} GB {name}' for name, size in free.items())
    if min(free.values()) < LEAST_DISK:
        return Finding(
            'disk', WARN, f'{shown} free', 'make room; bags and model folders are large'
        )
    return Finding('disk', OK, f'{shown} free')


def shared_memory(place: Path = Path('/dev/shm')) -> Iterator[Finding]:
    """Whether pictures can go between processes in shared memory.

    Args:
        place: where it lies.
    """
    if not place.is_dir():
        yield Finding(
            'memory', WARN, f'no {place}, so messages go through the network card',
            'in a container: --ipc=host',
        )  # fmt: skip
        return
    room = shutil.disk_usage(place)
    # A camera, the node and somebody who looks.
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


# The model folder: whether all parts are there. Their weights are not read.
#
# Imports torch when it runs, as everything in `diception_ros.model` does.


# Parts of a pipeline without weights.
_WEIGHTLESS = ('scheduler', 'tokenizer', 'tokenizer_2', 'tokenizer_3')


def model(name: str) -> Finding:
    """Whether a model can be loaded.

    Args:
        name: a model folder, or 'builtin'.
    """
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
    """What is named in the index and is not there, and how much is, bytes."""
    lacking = []
    for name, value in json.loads((path / 'model_index.json').read_text()).items():
        if not isinstance(value, list) or value == [None, None]:
            continue
        part = path / name
        if not part.is_dir():
            lacking.append(name)
        elif name not in _WEIGHTLESS and not any(part.glob('*.safetensors')):
            lacking.append(f'the weights of {name}')
    return lacking, sum(one.stat().st_size for one in path.rglob('*') if one.is_file())
