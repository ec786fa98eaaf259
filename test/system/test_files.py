# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files: written whole or not at all, locked, hashed, and temporary folders."""

import errno
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

from hypothesis import given
from hypothesis import strategies as st
import pytest
from recordings import everything, recorded, write

from diception_ros.bags.reader import Bag
from diception_ros.system import files, ros_environment
from diception_ros.system.files import PREFIX, TempFolder, remove_abandoned


def test_atomic_file_keeps_the_old_content_until_the_end(tmp_path):
    path = tmp_path / 'a.txt'
    files.write_text(path, 'old')
    with files.atomic_file(path) as partial:
        partial.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError('x')])
def test_atomic_file_leaves_nothing_after_an_error(tmp_path, error):
    def interrupted():
        with files.atomic_file(tmp_path / 'a.txt') as partial:
            partial.write_text('half')
            raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        interrupted()
    assert not [*tmp_path.iterdir()]


KILLED = """
import os, signal, sys
from pathlib import Path
from diception_ros.system import files
out = Path(sys.argv[1])
with files.atomic_file(out / 'one' / 'a.npz') as file, files.atomic_folder(out / 'b') as folder:
    file.write_bytes(b'half')
    (folder / 'c').touch()
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
"""


def killed(out, name):
    """A process that writes a file and a folder, and gets a signal in the middle."""
    (out / 'one').mkdir(parents=True, exist_ok=True)
    return subprocess.Popen([sys.executable, '-c', KILLED, str(out), name])


def test_the_next_run_removes_what_a_killed_one_left_incomplete(tmp_path):
    out = tmp_path / 'out'
    killed(out, 'SIGKILL').wait()
    assert len([*out.rglob('*.partial')]) == 2
    (out / 'other.partial').touch()  # of another program
    with files.exclusive_folder(out):
        assert {path.name for path in out.rglob('*')} == {'one', 'other.partial'}


def test_another_name_beside_it_removes_what_a_killed_run_left_incomplete(tmp_path):
    killed(tmp_path, 'SIGKILL').wait()
    with files.atomic_folder(tmp_path / 'd'):
        files.write_text(tmp_path / 'one' / 'd', 'whole')
        assert not (tmp_path / 'b.diception.partial').exists()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')} == {
        'one', 'one/d', 'd'
    }  # fmt: skip


def test_what_a_living_process_writes_stays_and_is_refused_to_others(tmp_path):
    process = killed(tmp_path, 'SIGSTOP')
    try:
        os.waitpid(process.pid, os.WUNTRACED)
        with files.exclusive_folder(tmp_path):
            assert len([*tmp_path.rglob('*.partial')]) == 2
        for name, write in (
            ('one/a.npz', lambda path: files.write_text(path, 'other')),
            ('b', lambda path: files.atomic_folder(path).__enter__()),
        ):
            with pytest.raises(BlockingIOError) as caught:
                write(tmp_path / name)
            expected = f'{tmp_path / name}: another process writes it; wait for it to end'
            assert files.error_text(caught.value).lower() == expected.lower()
    finally:
        process.kill()
        process.wait()


def test_a_pipe_is_written_to_and_a_link_keeps_its_place(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    files.write_text(tmp_path / 'pipe', 'text')
    assert os.read(reader, 10) == b'text'
    os.close(reader)
    (tmp_path / 'place').mkdir()
    for aim in ('a', 'b'):
        (tmp_path / 'link').unlink(missing_ok=True)
        (tmp_path / 'link').symlink_to(Path('place', aim))
        files.write_text(tmp_path / 'link', aim)
        files.write_text(tmp_path / 'link', aim)
        assert (tmp_path / 'link').is_symlink()
        assert (tmp_path / 'place' / aim).read_text() == aim
    assert (tmp_path / 'pipe').is_fifo()


def test_an_error_names_the_file_and_not_the_incomplete_one(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        files.write_text(tmp_path / 'no' / 'a', 'text')
    assert files.error_text(caught.value) == f'{tmp_path}/no/a: no such file or directory'


@pytest.mark.parametrize('replace', [False, True])
def test_atomic_folder_appears_whole_and_clears_what_a_killed_run_left(tmp_path, replace):
    path = tmp_path / 'model'
    (tmp_path / 'model.diception.partial' / 'deep').mkdir(parents=True)
    (tmp_path / 'model.diception.partial' / 'left').touch()
    if replace:
        path.mkdir()
        (path / 'old').touch()
    with files.atomic_folder(path, replace) as partial:
        assert not [*partial.iterdir()]
        (partial / 'new').touch()
        assert path.exists() == replace
    assert [p.name for p in path.iterdir()] == ['new']
    assert [*tmp_path.iterdir()] == [path]


def test_atomic_folder_leaves_the_old_one_after_an_error(tmp_path):
    def interrupted():
        with files.atomic_folder(tmp_path / 'model', replace=True) as partial:
            (partial / 'half').touch()
            raise KeyboardInterrupt

    (tmp_path / 'model').mkdir()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [*tmp_path.rglob('*')] == [tmp_path / 'model']
    with pytest.raises(FileExistsError, match='model exists'):
        files.atomic_folder(tmp_path / 'model').__enter__()
    (tmp_path / 'file').touch()
    with pytest.raises(FileExistsError, match='file is a file'):
        files.atomic_folder(tmp_path / 'file' / 'model').__enter__()


def test_a_second_run_into_one_folder_is_refused(tmp_path):
    program = (
        'import sys\nfrom pathlib import Path\nfrom diception_ros.system import files\n'
        'with files.exclusive_folder(Path(sys.argv[1])):\n'
        '    with files.atomic_folder(Path(sys.argv[1]) / "model"):\n'
        '        print("held", flush=True)\n        sys.stdin.read()'
    )
    out = tmp_path / 'out'
    holder = subprocess.Popen(
        [sys.executable, '-c', program, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b'held\n'
    with pytest.raises(BlockingIOError, match='another run writes it'):
        files.exclusive_folder(out).__enter__()
    with pytest.raises(BlockingIOError, match='another process writes it'):
        files.atomic_folder(out / 'model').__enter__()
    holder.communicate()
    with files.exclusive_folder(out):
        assert (out / 'model').is_dir()


class SafetensorError(Exception):
    """As that library's: no OSError, and without a number."""


@pytest.mark.parametrize('error', [
    lambda: OSError(errno.ENOSPC, 'No space left on device'),
    lambda: SafetensorError('I/O error: No space left on device (os error 28)'),
    lambda: shutil.Error([('a', 'b', "[Errno 28] No space left on device: 'a' -> 'b'")]),
])  # fmt: skip
@pytest.mark.parametrize('block', [files.atomic_file, files.atomic_folder])
def test_a_full_disk_names_the_file(tmp_path, error, block):
    def full():
        with block(tmp_path / 'a.npz'):
            raise error()

    with pytest.raises(OSError, match=r'a\.npz') as caught:
        full()
    assert files.error_text(caught.value) == f'{tmp_path}/a.npz: no space left on device'
    assert not [*tmp_path.iterdir()]


@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_hash_of_parts_differs_where_parts_differ(one, other):
    assert (files.sha256_of_parts(one) == files.sha256_of_parts(other)) == (one == other)


def test_hash_of_a_folder_knows_names_and_contents(tmp_path):
    def made(name, contents):
        for place, content in contents.items():
            path = tmp_path / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return files.sha256(tmp_path / name)

    first = made('a', {'x/one': b'12', 'two': b'3'})
    assert made('b', {'two': b'3', 'x/one': b'12'}) == first
    others = [
        made('c', {'x/one': b'1', 'two': b'23'}),
        made('d', {'x/two': b'12', 'one': b'3'}),
        made('e', {'x/one': b'12', 'two': b'3', 'three': b''}),
    ]
    assert len({first, *others}) == 4


def test_the_profile_of_fast_dds_is_found():
    for name in (ros_environment.PROFILE, ros_environment.NODE_PROFILE):
        assert ros_environment.profile(name) == Path(__file__).parents[2] / name


HOLDER = """
import sys, time
from pathlib import Path
from diception_ros.bags.reader import Bag
with Bag(Path(sys.argv[1])):
    print('open', flush=True)
    time.sleep(600)
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
