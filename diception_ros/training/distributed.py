# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training: one process per GPU, each with its own part of every batch.

All processes hold the same weights and draw the same random numbers, so the result is that of one
process with the whole batch, up to rounding. `accelerate launch -m diception_ros train ...` (or
`torchrun`) starts them. In a process that was started otherwise nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import datetime
import os
from typing import Any, TypeVar

import torch
from torch import distributed

from diception_ros.model.folder import find_device

T = TypeVar('T')

# Time that other ranks wait while rank 0 validates or writes a checkpoint.
_TIMEOUT = datetime.timedelta(hours=3)


@dataclass(frozen=True)
class Processes:
    """This process among those of a data-parallel run.

    Attributes:
        device: where this rank computes.
        rank: number of this process, from 0.
        count: number of processes.
        cpu_group: process group (gloo) for objects and other data in host memory.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    cpu_group: Any = None

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which validates, logs and writes."""
        return self.rank == 0

    def rank_slice(self, size: int) -> slice:
        """Rows of this rank in data of all ranks, `size` rows each."""
        return slice(self.rank * size, (self.rank + 1) * size)

    def all_gather(self, values: torch.Tensor) -> torch.Tensor:
        """(B, ...) of each rank, as (count * B, ...) in the order of ranks."""
        if self.count == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.count)]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def all_reduce(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all ranks."""
        self._each(distributed.all_reduce, tensors)

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by that of rank 0."""
        self._each(distributed.broadcast, tensors, src=0)

    def gather_object(self, item: T) -> list[T]:
        """The item of each rank, in the order of ranks; sent as a pickle."""
        if self.count == 1:
            return [item]
        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, item, group=self.cpu_group)
        return parts

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.gather_object(None)

    def _each(self, operation: Any, tensors: Iterable[torch.Tensor], **options: int) -> None:
        if self.count > 1:
            # Started together, so that small tensors do not wait for each other.
            for work in [operation(tensor, async_op=True, **options) for tensor in tensors]:
                work.wait()


SINGLE = Processes(torch.device('cpu'))


def init(device: str) -> Processes:
    """Join the process group, if several processes were launched.

    Args:
        device: 'cpu', 'cuda' or 'cuda:N'; with several processes each takes its own GPU.

    Raises:
        ValueError: the device does not exist, or one GPU is named for several processes.
    """
    count = int(os.environ.get('WORLD_SIZE', '1'))
    if count == 1:
        return Processes(find_device(device))
    if ':' in device:
        raise ValueError(
            f'device is {device!r} for {count} processes; set cuda, each takes a GPU of its own'
        )
    mine = f'cuda:{os.environ.get("LOCAL_RANK", "0")}' if device == 'cuda' else device
    chosen = find_device(mine)

    from accelerate import PartialState

    backend = 'gloo' if chosen.type == 'cpu' else 'nccl'
    state = PartialState(cpu=chosen.type == 'cpu', backend=backend, timeout=_TIMEOUT)
    cpu_group = distributed.new_group(backend='gloo', timeout=_TIMEOUT)
    return Processes(chosen, state.process_index, state.num_processes, cpu_group)


def destroy() -> None:
    """Leave the process group, if there is one."""
    if distributed.is_available() and distributed.is_initialized():
        from accelerate import PartialState

        distributed.destroy_process_group()
        PartialState._reset_state()
