# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A folder for what is decompressed; the next one takes away what killed processes left."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
import shutil
import tempfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

PREFIX = 'diception_bag_'


class Scratch:
    """A temporary folder, made when it is first wanted; use it in a `with`.

    Its process holds a lock on it, which ends with the process, however that ends. So a folder
    that is not locked is nobody's.
    """

    def __init__(self) -> None:
        self._held: tuple[Path, int] | None = None
        sweep()

    @property
    def folder(self) -> Path:
        """The folder."""
        while self._held is None:
            path = Path(tempfile.mkdtemp(prefix=PREFIX))
            lock = _locked(path)
            # Another process may have taken it for one that was left.
            if lock is not None:
                self._held = path, lock
        return self._held[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._held is not None:
            _remove(*self._held)
            self._held = None


def sweep() -> None:
    """Remove the folders of this user whose processes have ended without removing them."""
    for path in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        lock = _locked(path)
        if lock is not None:
            _remove(path, lock)


def _locked(path: Path) -> int | None:
    """The folder's lock; None where somebody has it, or it is no folder of this user's."""
    try:
        place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(place).st_uid == os.getuid() and path.exists():
            return place
    except OSError:
        pass
    os.close(place)
    return None


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


# One process at a time writes what several would spoil.


def take(place: int | IO[bytes], busy: str) -> None:
    """Keep other processes from it until it is closed, which the end of the process does, too.

    Args:
        place: an open file, or the descriptor of a file or of a folder.
        busy: what is said when another process has it.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, busy) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # of some network file systems
            raise


def said(error: Exception) -> str:
    """What an error says; one of the operating system without its number.

    Args:
        error: that came, such as `[Errno 28] No space left on device: 'a.mcap'`, which becomes
            `a.mcap: no space left on device`.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    reason = error.strerror[:1].lower() + error.strerror[1:]
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f'{", ".join(names)}: {reason}' if names else reason
