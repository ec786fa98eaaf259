# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of model, messages and node on several Pythons, ROS releases, numpys and OpenCVs.

    python tools/matrix.py [--only NAME ...] [--logs DIR] [--keep DIR] [--node TEST ...]

Each combination gets a virtual environment of its own, which is removed afterwards (up to 6 GB and
some minutes each) unless --keep names a folder for them: one that is there is used as it is. The
Pythons are those of PATH and of pyenv. Prints the table of docs/install.md. The exit code is 1 if
a combination fails, or cannot be installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
import datetime
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = Path(__file__).resolve().parents[1]
# All tests of the node start processes, which marks them slow; of the others the quick ones do.
QUICK = ['test/model', 'test/messages', '-m', 'not slow']
NODE = ['test/node']
# rclpy and sensor_msgs of the ROS releases on PyPI; the other ROS packages follow from them.
ROS = {
    'jazzy': ('ros-rclpy==7.1.6', 'ros-sensor-msgs==5.3.6'),
    'kilted': ('ros-rclpy==9.1.2', 'ros-sensor-msgs==5.5.1'),
}
COLUMNS = ('rclpy', 'numpy', 'opencv-python', 'torch', 'diffusers', 'transformers')
VERSIONS = f"""
import importlib.metadata, json, platform
found = {{name: importlib.metadata.version(name) for name in {COLUMNS!r}}}
print(json.dumps({{'python': platform.python_version(), **found}}))
"""


@dataclass(frozen=True)
class Combination:
    """What is installed.

    Attributes:
        name: for --only.
        python: version, such as '3.12'.
        ros: key of `ROS`.
        constraints: file of the tree that pins the versions.
        other: versions instead of those of the file.
    """

    name: str
    python: str
    ros: str
    constraints: str
    other: tuple[str, ...] = ()

    def pins(self) -> str:
        """The text of a constraints file."""
        other = (*self.other, *ROS[self.ros])
        replaced = {pin.partition('==')[0] for pin in other}
        lines = (ROOT / self.constraints).read_text().splitlines()
        kept = [
            line for line in lines
            if line.partition('==')[0] not in replaced and not line.startswith('ros-')
        ]  # fmt: skip
        return '\n'.join([*kept, *other]) + '\n'


# Each Python, release of ROS, and major version of numpy and OpenCV at least once; the first two
# are what robots with Ubuntu 22.04 and 24.04 have.
COMBINATIONS = (
    Combination('py310', '3.10', 'jazzy', 'constraints-py310.txt'),
    Combination('jazzy', '3.12', 'jazzy', 'constraints-ros.txt'),
    Combination('opencv4', '3.11', 'kilted', 'constraints.txt', ('opencv-python==4.14.0.94',)),
    Combination('py313', '3.13', 'kilted', 'constraints.txt'),
)


def interpreter(version: str) -> str:
    """The program of a Python version in PATH or pyenv.

    Raises:
        FileNotFoundError: there is none.
    """
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'))
    found = sorted(pyenv.glob(f'versions/{version}*/bin/python'))
    candidates = [*map(str, reversed(found)), shutil.which(f'python{version}') or '']
    for program in filter(None, candidates):
        # A shim of pyenv is there for versions that are not active, too.
        if subprocess.run([program, '-c', ''], capture_output=True, check=False).returncode == 0:
            return program
    raise FileNotFoundError(f'python{version} is neither in PATH nor in {pyenv}')


def run(
    one: Combination, logs: Path, keep: Path | None = None, node: Sequence[str] = NODE
) -> tuple[dict[str, str], str]:
    """Versions and the outcome of a combination.

    Args:
        one: the combination.
        logs: folder of its log.
        keep: folder where its virtual environment stays, or is already.
        node: tests of the node.

    Raises:
        OSError: no such Python.
        CalledProcessError: something cannot be installed; the log has the reason.
    """
    with tempfile.TemporaryDirectory() as folder, (logs / f'{one.name}.log').open('w') as log:
        place = Path(folder)
        environment = keep / one.name if keep else place / 'venv'
        pins, python = place / 'pins.txt', str(environment / 'bin' / 'python')
        pins.write_text(one.pins())
        # The tree beside this file, also in an environment kept from another one, and in the nodes
        # that tests start elsewhere.
        variables = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
                     'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1',
                     'PIP_DISABLE_PIP_VERSION_CHECK': '1'}  # fmt: skip

        def call(*command: str) -> int:
            return subprocess.run(
                command, cwd=ROOT, env=variables, stdout=log, stderr=log, check=False
            ).returncode

        def install(*what: str) -> None:
            command = [python, '-m', 'pip', 'install', '-q', '--no-compile', '-c', str(pins)]
            command += what
            if code := call(*command):
                raise subprocess.CalledProcessError(code, command)

        if not Path(python).exists():
            call(interpreter(one.python), '-m', 'venv', str(environment))
            install('torch')
            install('--use-pep517', '-e', '.[ros,dev]')
        found = json.loads(subprocess.check_output([python, '-c', VERSIONS], env=variables))
        outcomes = []
        for number, arguments in enumerate((QUICK, list(node))):
            report = place / f'{number}.xml'
            call(python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', f'--junitxml={report}',
                 *arguments)  # fmt: skip
            outcomes.append(report.read_text() if report.exists() else '')
        return found, outcome(outcomes)


def outcome(reports: list[str]) -> str:
    """'812 passed, 3 skipped' of JUnit reports; an empty report is a failure."""
    names = ('tests', 'failures', 'errors', 'skipped')
    total = dict.fromkeys(names, 0)
    for report in reports:
        for name in names:
            found = re.search(rf'<testsuite [^>]*\b{name}="(\d+)"', report)
            total[name] += int(found[1]) if found else name == 'errors'
    failed = total['failures'] + total['errors']
    passed = total['tests'] - failed - total['skipped']
    shown = {'passed': passed, 'failed': failed, 'skipped': total['skipped']}
    return ', '.join(f'{count} {name}' for name, count in shown.items() if count)


def main() -> int:
    """Print the table as the rows come."""
    names = [one.name for one in COMBINATIONS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', choices=names, default=names, metavar='NAME',
                        help=f'some of {", ".join(names)}')  # fmt: skip
    parser.add_argument('--logs', type=Path, help='folder for logs; by default a temporary one')
    parser.add_argument('--keep', type=Path, help='folder where virtual environments stay')
    parser.add_argument('--node', nargs='+', default=NODE, metavar='TEST',
                        help='tests of the node; all by default')  # fmt: skip
    args = parser.parse_args()
    logs = args.logs or Path(tempfile.mkdtemp(prefix='matrix-'))
    logs.mkdir(parents=True, exist_ok=True)
    print(f'logs: {logs}', file=sys.stderr)
    titles = ['day', 'ROS', 'Python', *COLUMNS, 'tests']
    print(f'| {" | ".join(titles)} |\n{"|---" * len(titles)}|')
    failed = False
    for one in COMBINATIONS:
        if one.name not in args.only:
            continue
        try:
            found, text = run(one, logs, args.keep, args.node)
        except (OSError, subprocess.CalledProcessError) as error:
            found, text = {}, f'not run: {error}'
        failed |= not found or 'failed' in text
        cells = [found.get(name, '') for name in COLUMNS]
        row = [datetime.date.today().isoformat(), one.ros, found.get('python', one.python), *cells]
        print(f'| {" | ".join([*row, text])} |', flush=True)
        log = logs / f'{one.name}.log'
        for line in log.read_text().splitlines() if log.exists() else ():
            if line.startswith(('FAILED ', 'ERROR ')):
                print(f'{one.name}: {line}', file=sys.stderr, flush=True)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
