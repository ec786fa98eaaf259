# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the benches measure with: seconds, bytes and operations, on the CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import resource
import time
from typing import Any
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

WARM = 2  # runs that are not counted: compilers and caches


def timed(run: Callable[[], object], repeats: int, device: torch.device) -> list[float]:
    """Seconds of each of several runs, after those that warm up."""
    seconds = []
    for i in range(WARM + repeats):
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        if i >= WARM:
            seconds.append(time.perf_counter() - start)
    return seconds


def tflop(run: Callable[[], object]) -> float:
    """TFLOP of one run: 2 for each multiply-add of matrix products, convolutions and attention."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops() / 1e12)


def matrix_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """The most TFLOP/s that a matrix product reaches on this device."""
    best = 0.0
    for size in (1024, 2048, 4096) if device.type == 'cpu' else (4096, 8192):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        fastest = min(timed(lambda a=a, b=b: torch.mm(a, b), 5, device))  # type: ignore[misc]
        best = max(best, 2 * size**3 / fastest / 1e12)
    return best


def peak_gb(device: torch.device) -> float:
    """Most memory in use so far: of the GPU, or of this process on the CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@contextlib.contextmanager
def peak(device: torch.device) -> Iterator[list[int]]:
    """Measure how many bytes tensors take at most inside, beyond those of before.

    Yields:
        a list that holds the number afterwards.
    """
    out = [0]
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield out
        torch.cuda.synchronize(device)
        out[0] = torch.cuda.max_memory_allocated(device) - before
    else:
        with Living() as living:
            yield out
        out[0] = living.most


class Living(TorchDispatchMode):
    """Counts the bytes of tensors that are made while it is active, and are still there.

    Attributes:
        now: bytes.
        most: bytes at most so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs))
                 if isinstance(one, torch.Tensor)}  # fmt: skip
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, torch.Tensor):
                storage = one.untyped_storage()
                if storage._cdata not in self._known | given:
                    self._known.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)
        return out

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
