# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a killed process left is taken away by the next; what a living one needs is not."""

from pathlib import Path
import subprocess
import sys
import tempfile

import pytest
from recordings import everything, recorded, write

from diception_ros.bags.reader import Bag
from diception_ros.system.files import PREFIX, TempFolder, remove_abandoned

HOLDER = """
import sys, time
from pathlib import Path
from diception_ros.bags.reader import Bag
with Bag(Path(sys.argv[1])):
    print('open', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for temporary files, of these tests alone."""
    place = tmp_path / 'temporary'
    place.mkdir()
    monkeypatch.setenv('TMPDIR', str(place))
    monkeypatch.setattr(tempfile, 'tempdir', None)
    return place


def holder(path):
    process = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'open\n'
    return process


def test_the_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(place, tmp_path):
    path = write(tmp_path / 'bag', recorded(3), 'sqlite3-file')
    dead = holder(path)
    (left,) = place.iterdir()
    dead.kill()
    dead.communicate()
    assert [*left.iterdir()]
    living = holder(path)
    try:
        (kept,) = place.iterdir()
        assert kept != left
        with Bag(path):
            assert len([*place.iterdir()]) == 2
        assert [*place.iterdir()] == [kept]
        assert [*kept.iterdir()]
        assert len(everything(path)) == 9
    finally:
        living.kill()
        living.communicate()
    with Bag(write(tmp_path / 'plain', recorded(1))):  # needs no folder, and takes away others'
        assert not [*place.iterdir()]


def test_only_folders_of_its_own_are_taken_away(place):
    aim = place / 'precious'
    aim.mkdir()
    (aim / 'file').write_text('mine')
    (place / f'{PREFIX}link').symlink_to(aim)
    (place / f'{PREFIX}file').write_text('mine')
    remove_abandoned()
    assert (aim / 'file').read_text() == 'mine'
    assert len([*place.iterdir()]) == 3


def test_a_folder_that_was_taken_away_before_it_was_locked_is_made_anew(place, monkeypatch):
    made = []

    def mkdtemp(prefix):
        path = place / f'{prefix}{len(made)}'
        path.mkdir()
        made.append(path)
        if len(made) == 1:
            remove_abandoned()
        return str(path)

    monkeypatch.setattr(tempfile, 'mkdtemp', mkdtemp)
    with TempFolder() as scratch:
        assert scratch.folder == made[1]
        assert scratch.folder.is_dir()
        remove_abandoned()
        assert scratch.folder.is_dir()
    assert not Path(made[1]).exists()


def test_temp_folder_is_not_needed_before_its_first_use(monkeypatch):
    def fail():
        raise FileNotFoundError('no usable temporary directory')

    monkeypatch.setattr(tempfile, 'gettempdir', fail)
    monkeypatch.setattr(tempfile, 'mkdtemp', lambda prefix: fail())
    with TempFolder() as temporary, pytest.raises(OSError, match='set TMPDIR'):
        temporary.folder  # noqa: B018
