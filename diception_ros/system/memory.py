# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps little memory that is free; without effect where the C library is not glibc.

glibc keeps freed memory in the heap of the thread that took it: for a model whose weights are
stored as float16 and run as float32 that is as much again as half of them.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import ctypes
import sys

# Parameters of mallopt, see malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# Above the threshold a block is mapped by itself, and unmapped when it is freed. glibc begins with
# 128 KiB and raises it to 32 MiB at most, which saves the network's intermediate results from
# being mapped anew for every prediction (a third of the time).
_SMALL, _LARGE = 128 << 10, 32 << 20


def limit_heaps(count: int) -> None:
    """Let threads share a number of heaps, rather than have eight for each processor."""
    _mallopt(_ARENA_MAX, count)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Map large blocks by themselves while a model is loaded; sets thresholds of the process."""
    _mallopt(_MMAP_THRESHOLD, _SMALL)
    try:
        yield
    finally:
        _mallopt(_MMAP_THRESHOLD, _LARGE)
        _mallopt(_TRIM_THRESHOLD, _LARGE)
        release()


def release() -> None:
    """Return the free pages of all heaps to the system."""
    if (library := _library()) is not None:
        library.malloc_trim(0)


def _mallopt(parameter: int, value: int) -> None:
    if (library := _library()) is not None:
        library.mallopt(parameter, value)


def _library() -> ctypes.CDLL | None:
    if sys.platform != 'linux':
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, 'malloc_trim') and hasattr(library, 'mallopt') else None
