# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Threads of the processor and memory that a process takes for a model.

Torch takes one thread for each core unless told otherwise. Its threads wait for the slowest of
them after every operation, so a single other process that is busy on one of the cores stops them
all: on two cores a replay ran at 0.55 frames/s with two threads and at 7.9 with one. A robot has
such processes, and a replay reads and writes in threads of its own. Threads of ONNX Runtime take
the next piece of work when they are done with one, so two of them are worth it on two cores.

glibc keeps freed memory in the heap of the thread that took it: for a model whose weights are
stored as float16 and run as float32 that is as much again as half of them. What is done about it
has no effect where the C library is not glibc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
import contextlib
import ctypes
import gc
import math
import os
from pathlib import Path
import sys
import threading
from typing import TypeVar

ItemT = TypeVar('ItemT')
ResultT = TypeVar('ResultT')

# What a container may use, in microseconds of each period; 'max' where it is all.
QUOTA = Path('/sys/fs/cgroup/cpu.max')
# With a GPU little is left to do but loading the model, where more threads wait for the memory.
WITH_GPU = 4


def limit_threads(threads: int, device: str) -> int:
    """Let torch take so many threads in this process; imports torch.

    Args:
        threads: 0 for as many as suit this machine.
        device: where the model runs.

    Returns:
        how many there are now.
    """
    import torch

    torch.set_num_threads(threads or automatic_threads(device, processors()))
    return thread_limit()


def thread_limit() -> int:
    """Threads that torch takes now."""
    import torch

    return int(torch.get_num_threads())


def automatic_threads(device: str, share: int, least: int = 1) -> int:
    """Threads that leave room for others.

    Args:
        device: where the model runs.
        share: processors that there are for this process and what works for it.
        least: threads where there are as many processors, whatever else they do.
    """
    configured = os.environ.get('OMP_NUM_THREADS', '').partition(',')[0]
    if configured.isdecimal() and int(configured):
        return int(configured)
    half = max(1, share // 2, min(least, share))
    return half if device == 'cpu' else min(half, WITH_GPU)


def processors() -> int:
    """Processors that this process may use, those of its container alone."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        count = os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no container, or one without a limit
        return count


def concurrently(
    call: Callable[[ItemT], ResultT], items: Iterable[ItemT], threads: int
) -> list[ResultT]:
    """Call a function that lets other threads run for each item, in so many threads.

    Returns:
        what it returned, in the order of the items; the first exception is raised.
    """
    all_items = list(items)
    if min(threads, len(all_items)) < 2:
        return list(map(call, all_items))
    with ThreadPoolExecutor(min(threads, len(all_items))) as pool:
        return list(pool.map(call, all_items))


# Parameters of mallopt, see malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# Above the threshold a block is mapped by itself, and unmapped when it is freed. glibc begins with
# 128 KiB and raises it to 32 MiB at most, which saves the network's intermediate results from
# being mapped anew for every prediction (a third of the time).
_SMALL, _LARGE = 128 << 10, 32 << 20
# Bytes of a block whose free returns the end of its heap, and how many of them are freed: some for
# each of a few heaps, since other threads take turns, too.
_TRIMMING, _TURNS = 96 << 10, 8


def limit_heaps(count: int) -> None:
    """Let threads share a number of heaps, rather than have eight for each processor."""
    _mallopt(_ARENA_MAX, count)


@contextlib.contextmanager
def model_loading() -> Iterator[None]:
    """Map large blocks by themselves while a model is loaded; sets thresholds of the process."""
    _mallopt(_MMAP_THRESHOLD, _SMALL)
    try:
        yield
    finally:
        _mallopt(_MMAP_THRESHOLD, _LARGE)
        _mallopt(_TRIM_THRESHOLD, _LARGE)
        release_memory()


def release_memory() -> None:
    """Return the free pages of all heaps to the system.

    Leaves the threshold of free ends as `model_loading` sets it.
    """
    if (library := _library()) is not None:
        library.malloc_trim(0)
        # That leaves the end of every heap but the first as it is. Freeing a block of more than
        # 64 KiB returns the end of the block's heap if it is above the threshold. A new thread
        # takes the next heap in turn.
        library.mallopt(_TRIM_THRESHOLD, 0)
        threads = [threading.Thread(target=_free_block, args=(library,)) for _ in range(_TURNS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        library.mallopt(_TRIM_THRESHOLD, _LARGE)


def _free_block(library: ctypes.CDLL) -> None:
    library.free(library.malloc(_TRIMMING))


def release_unreferenced() -> None:
    """Free memory that is no longer referenced, on the GPU too."""
    gc.collect()
    torch = sys.modules.get('torch')  # not imported for this
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _mallopt(parameter: int, value: int) -> None:
    if (library := _library()) is not None:
        library.mallopt(parameter, value)


def _library() -> ctypes.CDLL | None:
    if sys.platform != 'linux':
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, 'malloc_trim') or not hasattr(library, 'mallopt'):
        return None
    library.malloc.argtypes, library.malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
    library.free.argtypes, library.free.restype = (ctypes.c_void_p,), None
    return library
