# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files: written whole or not at all, locked, hashed, and temporary folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import errno
import fcntl
import functools
import hashlib
import os
from pathlib import Path
import shutil
import stat
import tempfile
from typing import IO

# Prefix of temporary folders.
PREFIX = 'diception_bag_'
_BLOCK = 1 << 20  # bytes read at a time
# Some network file systems have no locks; there, nothing is refused.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)


# End of the names of files and folders of this package that are not complete.
_PARTIAL = '.diception.partial'


def _partial(path: Path) -> Path:
    """Where a file or folder is while it is not complete."""
    return path.with_name(f'{path.name}{_PARTIAL}')


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write a file so that it appears under its name only when it is complete.

    The incomplete file is locked. What killed processes left beside it is removed.

    Args:
        path: of the file; one that exists is replaced at the end of the block, and a pipe or a
            device, such as /dev/stdout, is written to directly.

    Yields:
        The path to write to, in the same folder. It is removed if the block raises.

    Raises:
        BlockingIOError: another process writes it.
        OSError: the file cannot be written; it names the file, also for a full disk.
    """
    if is_stream(Path(path)):
        yield Path(path)
        return
    path = Path(os.path.realpath(path))  # what a link names is replaced, not the link
    partial = _partial(path)
    _remove_partials_beside(path.parent)
    descriptor = _create_locked(path)
    try:
        with _naming(path):
            yield partial
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        os.close(descriptor)


def is_stream(path: Path) -> bool:
    """Whether a pipe, a terminal or another device is there."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _create_locked(path: Path) -> int:
    """Descriptor of the incomplete file of a path, locked."""
    partial = _partial(path)
    while True:
        with _naming(path):
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            lock(descriptor, f'{path}: another process writes it; wait for it to end')
            # Another process may have removed or renamed it before it was locked.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), partial.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file; see `atomic_file`."""
    with atomic_file(path) as partial:
        partial.write_bytes(content)


# What no Unicode is, as a file's name may be, becomes \udcff and so on, as on stderr.
UTF8 = ('utf-8', 'backslashreplace')


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file as UTF-8; see `atomic_file`."""
    write_bytes(path, text.encode(*UTF8))


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """Fill a folder so that it appears under its name only when it is complete.

    Args:
        path: of the folder.
        replace: whether a folder of that name is replaced.

    Yields:
        The empty folder to fill, beside `path`. It is removed if the block raises, and what a
        killed process left there is removed first.

    Raises:
        BlockingIOError: another process fills it.
        FileExistsError: the folder exists and `replace` is not given.
        OSError: the folder cannot be written; it names the folder, also for a full disk.
    """
    if path.exists() and not replace:
        raise FileExistsError(f'{path} exists; give another name, or remove it')
    check_folders([path])
    partial = _partial(path)
    _remove_partials_beside(path.parent)
    with exclusive_folder(partial, f'{path}: another process writes it; wait for it to end'):
        try:
            empty_folder(partial)
            with _naming(path):
                yield partial
                if replace and path.exists():
                    shutil.rmtree(path)
                partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path]) -> None:
    """Raise where a file that is to be written is one that is read, or a folder.

    Raises:
        ValueError: it is one of `inputs`.
        IsADirectoryError: it is a folder.
    """
    known = [path for path in inputs if path.exists()]
    for path in outputs:
        if path is not None and path.exists() and any(map(path.samefile, known)):
            raise ValueError(f'{path} is what is read, and would be replaced; give another name')
        if path is not None and path.is_dir():
            raise IsADirectoryError(f'{path} is a folder; expected the name of a file')


def check_folders(folders: Iterable[Path]) -> None:
    """Raise FileExistsError where a file is in the way of a folder that is to be made."""
    for folder in folders:
        for place in (folder, *folder.parents):
            if place.exists() and not place.is_dir():
                raise FileExistsError(
                    f'{place} is a file; results need a folder of that name, choose another'
                )


def empty_folder(folder: Path) -> None:
    """Delete what is in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def create_folder(folder: Path, is_ours: bool, what: str, force: bool) -> None:
    """Make an empty folder.

    Args:
        folder: to make.
        is_ours: whether this package wrote what is in it.
        what: it is to hold, for messages.
        force: delete what is in it, but only if it `is_ours`.

    Raises:
        FileExistsError: it holds something, and may not be emptied.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not is_ours:
            raise FileExistsError(
                f'{folder} exists and is no folder of {what}; choose another name'
            )
        if not force:
            raise FileExistsError(f'{folder} already holds {what}; --force replaces them')
        empty_folder(folder)  # and keep it, since this run may hold a lock on it
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make errors of a full disk name the file, whichever library raised them."""
    try:
        yield
    except Exception as error:
        # safetensors and torch have errors of their own, without a number, and shutil.Error, an
        # OSError, has a list of what could not be copied.
        if not isinstance(error, OSError) or isinstance(error, shutil.Error):
            if 'No space left' not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if error.errno is not None and error.filename in (None, str(_partial(path))):
            error.filename = str(path)
        raise


def lock(file: int | IO[bytes], busy: str) -> None:
    """Lock a file or folder until it is closed, which the end of the process does as well.

    Args:
        file: an open file, or the descriptor of a file or of a folder.
        busy: message of the error when another process holds the lock.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, busy) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


@contextlib.contextmanager
def exclusive_folder(folder: Path, busy: str = '') -> Iterator[None]:
    """Make a folder where there is none, and keep other runs out of it during a `with`.

    What killed runs left incomplete in it is removed. A folder that was made and is still empty
    at the end is removed.

    Args:
        folder: that one run writes at a time.
        busy: message of the error when another run holds it.

    Raises:
        BlockingIOError: another run holds it.
        OSError: it cannot be made, or is no folder.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock(
            descriptor,
            busy or f'{folder}: another run writes it; wait for it to end, or give another --out',
        )
        remove_partials(folder)
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
        os.close(descriptor)


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left incomplete in a folder and those in it.

    Files and folders that a process is writing stay, since it holds a lock on them. Hidden
    folders are not looked into: of a home, they have most files.
    """
    for place, folders, names in os.walk(folder):
        for name in filter(_is_partial, [*folders, *names]):
            _remove_unlocked(Path(place, name))
        folders[:] = [n for n in folders if not _is_partial(n) and not n.startswith('.')]


# A limit only so that a process that writes into ever new folders does not grow.
@functools.lru_cache(maxsize=1024)
def _remove_partials_beside(folder: Path) -> None:
    """As `remove_partials`, of the folder alone, and once."""
    with contextlib.suppress(OSError):
        for name in filter(_is_partial, os.listdir(folder)):
            _remove_unlocked(folder / name)


def _is_partial(name: str) -> bool:
    return name.endswith(_PARTIAL)


def sha256(path: Path) -> str:
    """SHA-256, hexadecimal, of a file, or of names and contents of all files of a folder."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob('*') if p.is_file()):
            name = file.relative_to(path).as_posix().encode()
            digest.update(len(name).to_bytes(8, 'little') + name)
            digest.update(file.stat().st_size.to_bytes(8, 'little'))
            _add(digest, file)
    else:
        _add(digest, path)
    return digest.hexdigest()


def sha256_of_parts(parts: Iterator[bytes] | list[bytes]) -> str:
    """SHA-256, hexadecimal, of byte strings with their lengths: other parts, another hash."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, 'big') + part)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: Path) -> None:
    with path.open('rb') as file:
        while block := file.read(_BLOCK):
            digest.update(block)


class TempFolder(contextlib.ExitStack):
    """A temporary folder, made on first use and removed at the end of a `with`.

    Its process holds a lock on it, which ends with the process, however that ends. The next
    TempFolder of this user removes the folders that are not locked: those of killed processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._path: Path | None = None
        remove_abandoned()

    @property
    def folder(self) -> Path:
        """The folder."""
        while self._path is None:
            try:
                path = Path(tempfile.mkdtemp(prefix=PREFIX))
            except FileNotFoundError as error:
                raise OSError(f'{error}; set TMPDIR to a folder that can be written') from error
            descriptor = _locked(path)
            # Another process may have removed it before it was locked.
            if descriptor is not None:
                self._path = path
                self.callback(_remove, path, descriptor)
        return self._path


def remove_abandoned() -> None:
    """Remove the temporary folders of this user whose processes ended without removing them."""
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError:  # none can be written, as where the root is read-only
        return
    for path in place.glob(f'{PREFIX}*'):
        _remove_unlocked(path, os.O_DIRECTORY)


def _remove_unlocked(path: Path, flags: int = 0) -> None:
    """Remove a file or folder of this user that no process holds."""
    descriptor = _locked(path, flags)
    if descriptor is not None:
        _remove(path, descriptor)


def _locked(path: Path, flags: int = os.O_DIRECTORY) -> int | None:
    """Descriptor of the locked file or folder; None if it is locked, or not of this user."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_uid == os.getuid() and path.exists():
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _remove(path: Path, descriptor: int) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    os.close(descriptor)


def error_text(error: Exception) -> str:
    """The text of an error; of an OSError without its number.

    Args:
        error: such as `[Errno 28] No space left on device: 'a.mcap'`, which becomes
            `a.mcap: no space left on device`.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    reason = error.strerror[:1].lower() + error.strerror[1:]
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f'{", ".join(names)}: {reason}' if names else reason


def first_line(error: Exception) -> str:
    """The first line of an error's text, at most 200 characters; without a text its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
