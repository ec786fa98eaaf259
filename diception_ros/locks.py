# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One process at a time writes what several would spoil."""

from __future__ import annotations

import errno
import fcntl
from typing import IO


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
