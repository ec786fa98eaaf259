# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A folder for what is decompressed; the next one takes away what killed processes left."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
import shutil
import tempfile
from typing import TYPE_CHECKING

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
