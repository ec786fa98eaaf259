# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The interpreter and the packages that were installed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import importlib.metadata
import importlib.util
import os
from pathlib import Path
import sys

from diception_ros import probe
from diception_ros.doctor import missing
from diception_ros.doctor.finding import BROKEN, OK, WARN, Finding

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
    wanted = missing.built_for(environment)
    running = f'python{version[0]}.{version[1]}'
    if wanted and running not in wanted:
        return Finding('python', BROKEN, found, missing.ros(environment))
    if wanted and missing.in_venv() and not sees_system():
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
    wanted = missing.requirements()
    if not wanted:
        yield Finding(
            'packages', WARN, 'diception_ros is not installed for this Python, only its files '
            'are seen, so what it needs is not known',
            f"in its folder: {sys.executable} -m pip install -e '.[sim,evaluate]'",
        )  # fmt: skip
        return
    absent = [one for one in wanted if installed(one) is None]
    if absent:
        names = [missing.name_of(one) for one in absent]
        yield Finding(
            'packages', BROKEN, f'not installed: {", ".join(names)}',
            missing.install(names, environment),
        )  # fmt: skip
    odd = [f'{missing.name_of(one)} {installed(one)} ({one})' for one in wanted if unfit(one)]
    if odd:
        yield Finding(
            'packages', WARN, f'not of a version that was tried: {"; ".join(odd)}',
            f'{sys.executable} -m pip install '
            + ' '.join(f"'{one}'" for one in wanted if unfit(one)),
        )  # fmt: skip
    if not absent and not odd:
        yield Finding('packages', OK, f'all {len(wanted)} that it needs')
    for extra, use in _EXTRAS.items():
        lacking = [one for one in missing.requirements(extra) if installed(one) is None]
        if lacking:
            names = [missing.name_of(one) for one in lacking]
            yield Finding(
                'packages', WARN, f'{", ".join(names)} is not installed; it is for {use}',
                missing.install(names, environment),
            )  # fmt: skip


def opencv() -> Iterator[Finding]:
    """Whether OpenCV can be loaded, which wants libraries of the system; nothing where it can."""
    if importlib.util.find_spec('cv2') is None:
        return
    answer = probe.ask('import cv2\ntell(cv2.__version__)')
    if answer.said is None:
        error = ImportError(answer.error.partition('Error: ')[2] or answer.error, name='cv2')
        yield Finding('opencv', BROKEN, str(error), missing.cure(error))


def installed(requirement: str) -> str | None:
    """The version of a distribution that is there, None where it is not."""
    name = missing.name_of(requirement)
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
