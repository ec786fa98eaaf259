# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How many threads of the processor the model takes.

Torch takes one for each core unless told otherwise. Its threads wait for the slowest of them after
every operation, so a single other process that is busy on one of the cores stops them all: on two
cores a replay ran at 0.55 frames/s with two threads and at 7.9 with one. A robot has such
processes, and a replay reads and writes in threads of its own. Threads of ONNX Runtime take the
next piece of work when they are done with one, so two of them are worth it on two cores.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

# What a container may use, in microseconds of each period; 'max' where it is all.
QUOTA = Path('/sys/fs/cgroup/cpu.max')
# With a GPU little is left to do but loading the model, where more threads wait for the memory.
WITH_GPU = 4


def limit(threads: int, device: str) -> int:
    """Let torch take so many threads in this process; imports torch.

    Args:
        threads: 0 for as many as suit this machine.
        device: where the model runs.

    Returns:
        how many there are now.
    """
    import torch

    torch.set_num_threads(threads or automatic(device, processors()))
    return limited()


def limited() -> int:
    """Threads that torch takes now."""
    import torch

    return int(torch.get_num_threads())


def automatic(device: str, share: int, least: int = 1) -> int:
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
