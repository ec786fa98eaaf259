# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that learn together, one for each GPU: each from its own part of a batch.

All of them have the same weights and draw the same random numbers, so what is learnt is that of
one process with the whole batch, up to rounding. `accelerate launch -m diception_ros train ...`
(or `torchrun`) starts them; one process that nobody launched so is alone, and nothing here does
anything.
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

# While the first process validates or writes a checkpoint, the others wait that long.
_PATIENCE = datetime.timedelta(hours=3)


@dataclass(frozen=True)
class Processes:
    """This process among those that learn together.

    Attributes:
        device: where this one's part is learnt.
        rank: which one this is, 0 and up.
        count: how many there are.
        by_hand: the process group in which things travel that lie in no GPU.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    by_hand: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the one that judges, logs and writes."""
        return self.rank == 0

    def part(self, size: int) -> slice:
        """Where this process's rows lie among those of all.

        Args:
            size: how many rows each process has.
        """
        return slice(self.rank * size, (self.rank + 1) * size)

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """(B, ...) of each process, as (count * B, ...) in the order of their ranks."""
        if self.count == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.count)]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def add(self, tensors: Iterable[torch.Tensor]) -> None:
        """Put the sum over all processes into each tensor."""
        self._each(distributed.all_reduce, tensors)

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Put what the first process has into each tensor."""
        self._each(distributed.broadcast, tensors, src=0)

    def collect(self, thing: T) -> list[T]:
        """What each process has, in the order of their ranks; travels as a pickle."""
        if self.count == 1:
            return [thing]
        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, thing, group=self.by_hand)
        return parts

    def wait(self) -> None:
        """Until all processes are here."""
        self.collect(None)

    def _each(self, operation: Any, tensors: Iterable[torch.Tensor], **how: int) -> None:
        if self.count > 1:
            # All at once, so that small tensors need not wait for each other.
            for work in [operation(one, async_op=True, **how) for one in tensors]:
                work.wait()


ALONE = Processes(torch.device('cpu'))


def join(device: str) -> Processes:
    """Meet the other processes that were launched, if there are any.

    Args:
        device: 'cpu', 'cuda' or 'cuda:N'; with others each takes a GPU of its own.

    Raises:
        ValueError: there is no such device, or one GPU is named for several processes.
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
    state = PartialState(cpu=chosen.type == 'cpu', backend=backend, timeout=_PATIENCE)
    by_hand = distributed.new_group(backend='gloo', timeout=_PATIENCE)
    return Processes(chosen, state.process_index, state.num_processes, by_hand)


def leave() -> None:
    """Take leave of the other processes, if there are any."""
    if distributed.is_available() and distributed.is_initialized():
        from accelerate import PartialState

        distributed.destroy_process_group()
        PartialState._reset_state()
