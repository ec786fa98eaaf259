# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks what is in the wheel and the sdist of a folder, and with --install that both work.

    python tools/check_dist.py [--install] [dist]

--install makes a virtual environment that has nothing but pip (it gets several GB), installs the
wheel with the versions of the constraints file, runs `diception predict` on an image in a folder
outside of the tree, and does the same with the sdist.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from pathlib import Path
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile

ROOT = Path(__file__).resolve().parents[1]
NAME = 'diception_ros'
SHARED = ('config', 'launch', 'rviz', 'resource', 'package.xml')
# For the developers of the package alone.
FOREIGN = ('test', 'tests', 'bench', 'findings', '.ci', '.venv', 'demo_output')


def files(folder: str) -> set[str]:
    """Files of a folder of the tree, as paths relative to the tree."""
    found = (path for path in (ROOT / folder).rglob('*') if path.is_file())
    return {
        path.relative_to(ROOT).as_posix() for path in found if path.suffix not in ('.pyc', '.pyo')
    }


def check_wheel(names: Collection[str]) -> Iterator[str]:
    """What is wrong with the names of the files of a wheel."""
    # Data files too: setup.py names those that are read at run time.
    yield from (f'{path} is missing' for path in sorted(files(NAME) - set(names)))
    shared = {name.partition('.data/data/share/')[2] for name in names}
    for folder in ('config', 'launch', 'rviz'):
        for path in files(folder):
            if f'{NAME}/{path}' not in shared:
                yield f'share/{NAME}/{path} is missing'
    for path in (f'{NAME}/package.xml', f'ament_index/resource_index/packages/{NAME}'):
        if path not in shared:
            yield f'share/{path} is missing'
    for name in sorted(names):
        top = name.partition('/')[0]
        if top != NAME and not top.startswith(f'{NAME}-'):
            yield f'{name} does not belong into a wheel'


def check_sdist(names: Collection[str]) -> Iterator[str]:
    """What is wrong with the names of the files of an sdist, without its top folder."""
    wanted = files(NAME) | {'setup.py', 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'}
    for folder in SHARED:
        wanted |= files(folder) if (ROOT / folder).is_dir() else {folder}
    wanted |= {path.name for path in ROOT.glob('constraints*.txt')} | {'CHANGELOG.rst'}
    yield from (f'{path} is missing' for path in sorted(wanted - set(names)))
    for name in sorted(names):
        if name.partition('/')[0] in FOREIGN:
            yield f'{name} does not belong into an sdist'


def check(wheel: Path, sdist: Path) -> list[str]:
    """What is wrong with a wheel and an sdist."""
    with zipfile.ZipFile(wheel) as archive:
        found = [f'{wheel.name}: {text}' for text in check_wheel(archive.namelist())]
    with tarfile.open(sdist) as archive:
        names = [one.name.partition('/')[2] for one in archive.getmembers() if one.isfile()]
    return found + [f'{sdist.name}: {text}' for text in check_sdist(names)]


def try_installed(wheel: Path, sdist: Path) -> None:
    """Install both in a new virtual environment and predict outside of the tree.

    Raises:
        CalledProcessError: something fails.
    """
    name = 'constraints.txt' if sys.version_info >= (3, 11) else 'constraints-py310.txt'
    constraints = ['-c', str(ROOT / name)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / 'venv', with_pip=True)
        python = str(place / 'venv' / 'bin' / 'python')

        def run(*command: str) -> None:
            print('$', *command[1:], flush=True)
            # -I and another folder: the tree is not seen.
            subprocess.run(command, cwd=place, check=True)

        # torch by itself, as in the Makefile.
        run(python, '-m', 'pip', 'install', '-q', *constraints, 'torch')
        for package in (wheel, sdist):
            again = ['--force-reinstall', '--no-deps'] if package == sdist else []
            run(python, '-m', 'pip', 'install', '-q', *constraints, *again, str(package.resolve()))
            program = "from PIL import Image; Image.new('RGB', (64, 48), 'gray').save('image.png')"
            run(python, '-I', '-c', program)
            command = str(place / 'venv' / 'bin' / 'diception')
            run(python, '-I', command, '--version')
            run(python, '-I', command, 'predict', 'image.png', '--tasks', 'depth', 'entity',
                '--out', f'out{package.suffix}')  # fmt: skip
            shown = sorted(path.name for path in (place / f'out{package.suffix}').rglob('*.*'))
            print(f'{package.name}: {", ".join(shown)}', flush=True)


def main() -> str | int:
    """The exit code, or what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, nargs='?', default=ROOT / 'dist')
    parser.add_argument('--install', action='store_true', help='try both in a new environment')
    args = parser.parse_args()
    wheels, sdists = [*args.folder.glob('*.whl')], [*args.folder.glob('*.tar.gz')]
    if len(wheels) != 1 or len(sdists) != 1:
        return f'{args.folder}: expected one wheel and one sdist; make both with: make dist'
    if wrong := check(wheels[0], sdists[0]):
        return '\n'.join(wrong)
    for path in (wheels[0], sdists[0]):
        print(f'{path.name}: {path.stat().st_size / 1e6:.1f} MB')
    if args.install:
        try_installed(wheels[0], sdists[0])
    return 0


if __name__ == '__main__':
    sys.exit(main())
